"""Samples a second that a CUDA device fits, scores, draws and completes, beside the processor of the same machine.

    python -m benchmarks.gpu run --out benchmarks/results/gpu.jsonl [--samples 10000,100000] [--features 2,10,50]
    python -m benchmarks.gpu report benchmarks/results/gpu.jsonl

Where torch finds no CUDA device, `run` says so and writes nothing. Data are curved and correlated, n x d numbers of a
seed. The processor and the device fit the same samples with the same seed; each then scores and draws with its own
fit. `largest` is the largest table, doubled in its samples, of which the device scores the log-density and takes a
training step; a table that does not fit ends the search.
"""

import datetime
import platform
import sys
import time
import warnings

import numpy as np

from benchmarks import cells

MODULE = "benchmarks.gpu"
SCORED = 20_000
DEVICES = ("cpu", "cuda")
CALLS = ("fit", "score_samples", "sample", "impute")
MAX_SAMPLES = 2**27


def curved(n, d, seed):
    """Samples of which each feature follows from the one before it."""
    X = np.random.default_rng(seed).standard_normal((n, d))
    for j in range(1, d):
        X[:, j] += 0.3 * np.tanh(X[:, j - 1]) * X[:, j - 1]
    return X


def machine(device):
    import torch

    known = {"torch": torch.__version__, "processor": platform.processor() or platform.machine()}
    known["device"] = torch.cuda.get_device_name() if device == "cuda" else known["processor"]
    return known | {"date": datetime.date.today().isoformat()}


def timed(call):
    """What a call returns, and the seconds that it takes with all that it leaves to the device."""
    import torch

    start = time.perf_counter()
    value = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return value, time.perf_counter() - start


def run_cell(kind, device, n, d, seed):
    """Seconds and samples a second of the calls of one fit, or the largest table."""
    warnings.simplefilter("ignore")
    head = {"kind": kind, "on": device, "n": n, "d": d, "seed": seed} | machine(device)
    return head | (largest(device, n, d, seed) if kind == "largest" else rates(device, n, d, seed))


def rates(device, n, d, seed):
    from skdiffusion import DiffusionDensityEstimator

    X, test = curved(n, d, seed), curved(SCORED, d, seed + 1000)
    incomplete = test[:1000].copy()
    incomplete[:, -1] = np.nan
    DiffusionDensityEstimator(max_iter=1, device=device, random_state=0).fit(X[:200])  # starts the device
    est, seconds = DiffusionDensityEstimator(components=None, device=device, random_state=seed), {}
    _, seconds["fit"] = timed(lambda: est.fit(X))
    log_prob, seconds["score_samples"] = timed(lambda: est.score_samples(test))
    _, seconds["sample"] = timed(lambda: est.sample(SCORED, random_state=0))
    _, seconds["impute"] = timed(lambda: est.impute(incomplete, random_state=0))
    counts = {"fit": n * est.n_iter_, "score_samples": SCORED, "sample": SCORED, "impute": len(incomplete)}
    per_second = {call: counts[call] / seconds[call] for call in CALLS}
    return {"seconds": seconds, "per_second": per_second, "held_out_nats": float(log_prob.mean())}


def largest(device, n, d, seed):
    """The most samples, doubled from n on, that are fitted by one step and scored."""
    import torch

    from skdiffusion import DiffusionDensityEstimator, Options

    found = 0
    while n <= MAX_SAMPLES:
        est = DiffusionDensityEstimator(
            components=None, feature_transform=None, device=device, random_state=0,
            options=Options(n_training_steps=1, n_pilot_steps=1),
        )  # fmt: skip
        try:
            est.fit(curved(n, d, seed))
        except (torch.cuda.OutOfMemoryError, MemoryError):
            break
        found, n = n, 2 * n
    return {
        "largest": found,
        "device_gigabytes": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0,
    }


def run(arguments):
    import torch

    if not torch.cuda.is_available():
        print("torch finds no CUDA device: there is nothing to measure.")
        return
    done = {(r["kind"], r["on"], r["n"], r["d"], r["seed"]) for r in cells.read(arguments.out)}
    ns, ds = ([int(v) for v in text.split(",")] for text in (arguments.samples, arguments.features))
    todo = [("rates", on, n, d, s) for s in range(arguments.seeds) for n in ns for d in ds for on in DEVICES]
    todo += [("largest", "cuda", max(ns), d, 0) for d in ds]
    cells.run_all(MODULE, [cell for cell in todo if cell not in done], arguments.out, arguments.jobs, limit_s=3600.0)


def median(records, call):
    """Samples a second of a call, the median of the seeds; NaN without a record."""
    return float(np.median([r["per_second"][call] for r in records])) if records else np.nan


def report(files):
    records = cells.read(*files)
    if not records:
        print("No record yet.")
        return
    rated = [r for r in records if r["kind"] == "rates"]
    print("| samples | features | call | samples a second, processor | device | ratio |\n" + "|---" * 6 + "|")
    for n, d in sorted({(r["n"], r["d"]) for r in rated}):
        for call in CALLS:
            by = {
                on: [r["per_second"][call] for r in rated if (r["on"], r["n"], r["d"]) == (on, n, d)] for on in DEVICES
            }
            cpu, cuda = (float(np.median(by[on])) if by[on] else np.nan for on in DEVICES)
            print(f"| {n} | {d} | {call} | {cpu:.0f} | {cuda:.0f} | {cuda / cpu:.2f} |")
    for r in records:
        if r["kind"] == "largest":
            print(f"\nLargest table of {r['d']} features: {r['largest']} samples, {r['device_gigabytes']:.1f} GB.")
    names = sorted({r["device"] for r in records})
    dates = sorted({r["date"] for r in records})
    print(f"\nMeasured on {' and '.join(names)}, from {dates[0]} to {dates[-1]}.")


def main():
    parser, of_run, _ = cells.command_line(__doc__, run_cell, run, report)
    of_run.add_argument("--samples", default="10000,100000")
    of_run.add_argument("--features", default="2,10,50")
    of_run.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    return arguments.function(arguments)


if __name__ == "__main__":
    sys.exit(main())
