"""Two versions of the package by turns: CPU seconds to fit, to score and to draw, and held-out nats.

    python -m benchmarks.versions run --against FOLDER --out versions.jsonl [--data FOLDER] [--n 2000] [--seeds 1]
    python -m benchmarks.versions report versions.jsonl

FOLDER is a checkout of the other version. Each cell (data set, n, seed) fits both versions to the same samples, each in
a process of its own with one thread, one right after the other; seeds take turns at which comes first. Seconds are CPU
seconds of the process, without imports.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import cells, targets

N_SCORED, N_DRAWN = 2000, 10_000
OWN = str(Path(__file__).resolve().parents[1])
# It runs in the folder of a version, whose package it imports.
MEASURE = """
import json, sys, time, warnings
import numpy as np, torch
from skdiffusion import DiffusionDensityEstimator

torch.set_num_threads(1)
warnings.simplefilter("ignore")
data, (seed, n_drawn) = np.load(sys.argv[1]), map(int, sys.argv[2:4])
DiffusionDensityEstimator(max_iter=1, random_state=0).fit(data["X"][:50])  # what is imported late
seconds = {}
start = time.process_time()
model = DiffusionDensityEstimator(random_state=seed).fit(data["X"])
seconds["fit"] = time.process_time() - start
start = time.process_time()
log_prob = model.score_samples(data["scored"])
seconds["score_samples"] = time.process_time() - start
start = time.process_time()
model.sample(n_drawn)
seconds["sample"] = time.process_time() - start
error = float(model.log_density_error(data["scored"][:500]).mean())
np.save(sys.argv[4], log_prob)
print(json.dumps({"seconds": seconds, "error": error}))
"""


def measured(folder, samples, seed):
    """What a version takes for the samples in a file, and its log-densities of those that are scored."""
    with tempfile.TemporaryDirectory() as place:
        log_probs = Path(place) / "log_probs.npy"
        command = [sys.executable, "-c", MEASURE, samples, str(seed), str(N_DRAWN), str(log_probs)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{folder}: {done.stderr}")
        return json.loads(done.stdout.splitlines()[-1]), np.load(log_probs)


def run_cell(name, n, seed, data, against):
    """One record: both versions, the gap of their held-out nats and its standard error."""
    X, test, _ = targets.load(name, n, seed, data)
    with tempfile.TemporaryDirectory() as place:
        samples = str(Path(place) / "samples.npz")
        np.savez(samples, X=X, scored=test[:N_SCORED])
        order = [("now", OWN), ("before", against)]
        results = {who: measured(folder, samples, seed) for who, folder in order[:: -1 if seed % 2 else 1]}
    record = {"dataset": name, "n": n, "seed": seed, "n_train": len(X), "d": X.shape[1]}
    record |= {who: values for who, (values, _) in results.items()}
    floored = {who: np.maximum(log_prob, min(-50.0, -2.0 * X.shape[1])) for who, (_, log_prob) in results.items()}
    gain = floored["now"] - floored["before"]
    return record | {"gain": float(gain.mean()), "gain_se": float(gain.std() / np.sqrt(len(gain)))}


def run(arguments):
    """Run the missing cells."""
    done = {(r["dataset"], r["n"], r["seed"]) for r in cells.read(arguments.out)}
    names = arguments.datasets.split(",") if arguments.datasets else targets.names(arguments.data)
    todo = [(name, arguments.n, seed, arguments.data) for seed in range(arguments.seeds) for name in names]
    against = str(Path(arguments.against).resolve())
    missing = [(*cell, against) for cell in todo if cell[:3] not in done]
    cells.run_all("benchmarks.versions", missing, arguments.out, arguments.jobs, arguments.limit)


def report(files):
    """Ratios of seconds and gaps of held-out nats by set, and their medians over the sets, for each n."""
    by_size = defaultdict(lambda: defaultdict(list))
    for r in cells.read(*files):
        by_size[r["n"]][r["dataset"]].append(r)
    for n, by_set in sorted(by_size.items()):
        print(f"n = {n}, or 70 % of a smaller table: now beside before.\n")
        print("| data | d | seeds | fit, s | before | ratio | score_samples | sample | error | before | gain, nats |")
        print("|---" * 11 + "|")
        table = []
        for name, records in sorted(by_set.items()):
            ratios = [
                [r["now"]["seconds"][k] / r["before"]["seconds"][k] for k in ("fit", "score_samples", "sample")]
                for r in records
            ]
            fit, score, sample = np.exp(np.mean(np.log(ratios), axis=0))
            mine, theirs = (np.mean([r[who]["seconds"]["fit"] for r in records]) for who in ("now", "before"))
            errors = [np.mean([r[who]["error"] for r in records]) for who in ("now", "before")]
            gain = np.mean([r["gain"] for r in records])
            spread = np.sqrt(np.mean([r["gain_se"] ** 2 for r in records]) / len(records))
            table.append((fit, score, sample, gain))
            print(
                f"| {name} | {records[0]['d']} | {len(records)} | {mine:.1f} | {theirs:.1f} | {fit:.2f} | "
                f"{score:.2f} | {sample:.2f} | {errors[0]:.4f} | {errors[1]:.4f} | {gain:+.3f} ± {spread:.3f} |"
            )
        fit, score, sample, gain = np.median(table, axis=0)
        print(f"| median | | | | | {fit:.2f} | {score:.2f} | {sample:.2f} | | | {gain:+.3f} |\n")


def main():
    parser, of_run, _ = cells.command_line(__doc__, run_cell, run, report)
    of_run.add_argument("--against", required=True)
    of_run.add_argument("--data", default=None)
    of_run.add_argument("--datasets", default="")
    of_run.add_argument("--n", type=int, default=2000)
    of_run.add_argument("--seeds", type=int, default=1)
    of_run.add_argument("--limit", type=float, default=3600, help="seconds for a whole cell")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
