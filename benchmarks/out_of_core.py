"""Fits of more samples than memory holds: memory, time per step, and the rates that a plan for 10^9 samples needs.

    python -m benchmarks.out_of_core run --out benchmarks/results/out_of_core.jsonl [--n 20000000] [--folder DIR]
    python -m benchmarks.out_of_core report benchmarks/results/out_of_core.jsonl

Samples of ten bent features lie in a float32 memmap, in a folder for temporary files unless one is named. "step" is the
CPU time of a training step on the memmap beside that on an array within the reservoir: the difference of two fits of
different length, over the difference of their steps. "fit" is a whole fit, with the mean log-density of fresh samples.
Both have the largest anonymous memory (RssAnon) of the process while they ran. "reading" is the first pass, "rates" are
samples that are scored and generated, chunk by chunk; in samples a second of CPU time. All on one thread.
"""

import os
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import cells

D, SEED, CHUNK = 10, 0, 1_000_000
STEPS = (300, 1300)  # of the two fits that the time of a step follows from
FRESH, RATED, GENERATED = 20_000, 100_000, 65_536


def bent(n, rng):
    """Samples of features that follow from the one before, with noise of a skewed scale."""
    X = rng.standard_normal((n, D), dtype=np.float32)
    for j in range(1, D):
        X[:, j] = 0.6 * X[:, j - 1] + 0.3 * X[:, j - 1] ** 2 + np.exp(0.3 * X[:, j - 1]) * X[:, j] / 2
        np.clip(X[:, j], -8, 8, out=X[:, j])
        X[:, j] += 0.05 * rng.standard_normal(n, dtype=np.float32)
    return X


def memmap(n, folder):
    """The samples in a file, written once."""
    path = Path(folder) / f"out_of_core_{n}.npy"
    if not path.exists():
        part = path.with_suffix(".part")
        X = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(n, D))
        for k, start in enumerate(range(0, n, CHUNK)):
            stop = min(start + CHUNK, n)
            X[start:stop] = bent(stop - start, np.random.default_rng([SEED, k]))
        X.flush()
        del X
        part.rename(path)
    return np.load(path, mmap_mode="r")


class LargestMemory:
    """The largest anonymous memory of this process while a block runs, in MB."""

    def __enter__(self):
        self.mb, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self):
        while not self._over.wait(0.05):
            status = Path("/proc/self/status").read_text()
            self.mb = max(self.mb, int(status.split("RssAnon:")[1].split()[0]) / 1024)

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()


def estimator(**given):
    """The estimator of a cell, without what is fitted to the reservoir alone."""
    from skdiffusion import DiffusionDensityEstimator

    return DiffusionDensityEstimator(components=None, random_state=SEED, **given)


def step_cell(n, folder, where):
    """CPU milliseconds of a step of training, on the memmap or on an array within the reservoir, and memory."""
    from skdiffusion import Options

    X = memmap(n, folder)
    X = X if where == "memmap" else np.array(X[:100_000])
    seconds = []
    with LargestMemory() as memory:
        for n_steps in STEPS:
            options = Options(n_training_steps=n_steps, n_pilot_steps=10, fine_tune=False)
            start = time.process_time()
            estimator(early_stopping=False, n_steps=16, options=options).fit(X)
            seconds.append(time.process_time() - start)
    step_ms = 1e3 * (seconds[1] - seconds[0]) / (STEPS[1] - STEPS[0])
    return {"where": where, "step_ms": step_ms, "rss_anon_mb": memory.mb}


def fit_cell(n, folder, where):
    """A whole fit."""
    X = memmap(n, folder)
    X = X if where == "memmap" else np.array(X[:100_000])
    estimator(max_iter=1).fit(bent(200, np.random.default_rng(1)))  # what is loaded on first use
    with LargestMemory() as memory:
        start, wall = time.process_time(), time.perf_counter()
        est = estimator().fit(X)
        seconds, wall = time.process_time() - start, time.perf_counter() - wall
    fresh = bent(FRESH, np.random.default_rng([SEED, 10**6]))
    steps = int(est.loss_curve_[-1, 0])
    record = {"where": where, "seconds": seconds, "wall": wall, "rss_anon_mb": memory.mb, "steps": steps}
    return record | {"nats": est.score(fresh), "gain": est.network_gain_}


def reading_cell(n, folder, where):
    """The first pass over the memmap, which checks all samples and draws the reservoir."""
    from skdiffusion.estimators._large import Given, within_memory

    X = memmap(n, folder)
    start = time.process_time()
    within_memory(estimator(), Given(X), time.perf_counter(), np.random.default_rng(0))
    return {"where": where, "reading_per_s": n / (time.process_time() - start)}


def rates_cell(n, folder, where):
    """Samples a second that a fit scores and generates."""
    from skdiffusion import Options

    X = memmap(n, folder)
    est = estimator(options=Options(n_training_steps=300, fine_tune=False)).fit(np.array(X[:20_000]))
    start = time.process_time()
    sum(len(part) for part in est.score_chunks(X[:RATED]))
    scored = RATED / (time.process_time() - start)
    start = time.process_time()
    sum(len(part) for part in est.sample_chunks(GENERATED, 0))
    return {"where": where, "scored_per_s": scored, "sampled_per_s": GENERATED / (time.process_time() - start)}


KINDS = {"step": step_cell, "fit": fit_cell, "reading": reading_cell, "rates": rates_cell}
PLACES = {"step": ("memmap", "array"), "fit": ("memmap", "array"), "reading": ("memmap",), "rates": ("memmap",)}


def run_cell(kind, where, n, repeat, folder):
    """One measurement."""
    warnings.simplefilter("ignore")
    return {"kind": kind, "n": n, "repeat": repeat} | KINDS[kind](n, folder, where)


def run(arguments):
    """Run what is not yet in the file."""
    folder = arguments.folder or tempfile.gettempdir()
    memmap(arguments.n, folder)
    done = {(r["kind"], r["where"], r["n"], r["repeat"]) for r in cells.read(arguments.out)}
    todo = [
        (kind, where, arguments.n, repeat)
        for repeat in range(arguments.repeats)
        for kind in arguments.kinds
        for where in PLACES[kind]
        if (kind, where, arguments.n, repeat) not in done
    ]
    cells.run_all(__spec__.name, [(*cell, os.fspath(folder)) for cell in todo], arguments.out, limit_s=3600)


def report(files):
    """Medians over the repeats."""
    records = defaultdict(list)
    for r in cells.read(*files):
        records[r["kind"], r["n"], r["where"]].append(r)
    print("| | samples | read from | figures |\n|---|---|---|---|")
    for (kind, n, where), found in records.items():
        names = [k for k in found[-1] if k not in ("kind", "n", "where", "repeat")]
        known = {k: [r[k] for r in found if k in r] for k in names}
        figures = ", ".join(f"{k} {np.median(values):.6g}" for k, values in known.items())
        print(f"| {kind} | {n} | {where} | {figures} ({len(found)} runs) |")
    for n in sorted({n for _, n, _ in records}):
        if not all(records.get(("step", n, where)) for where in PLACES["step"]):
            continue
        step = {w: np.median([r["step_ms"] for r in records["step", n, w]]) for w in PLACES["step"]}
        print(f"Time per step at {n} samples, relative to that in memory: {step['memmap'] / step['array']:.3f}")


if __name__ == "__main__":
    _, of_run, _ = parsers = cells.command_line(__doc__, run_cell, run, report)
    of_run.add_argument("--n", type=int, default=20_000_000)
    of_run.add_argument("--repeats", type=int, default=1)
    of_run.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    of_run.add_argument("--folder")
    arguments = parsers[0].parse_args()
    arguments.function(arguments)
