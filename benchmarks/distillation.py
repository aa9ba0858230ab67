"""What a density of one evaluation a sample loses of its teacher's, and how fast it is.

    python -m benchmarks.distillation run --out benchmarks/results/distillation.jsonl [--data FOLDER] [--datasets A,B]
    python -m benchmarks.distillation report benchmarks/results/distillation.jsonl

Our default is fitted to two thousand samples of a set of at most ten features and distilled with the defaults, on one
thread. The divergence is measured on fresh samples of the teacher.
"""

import time
import warnings

import numpy as np

from benchmarks import cells, targets

MAX_FEATURES = 10
N_FRESH = 8192
N_TIMED = 40_000


def run_cell(name, n, seed, data):
    """One record; of a set of more features only its size."""
    import torch

    from skdiffusion import DiffusionDensityEstimator

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X, test, _ = targets.load(name, n, seed, data)
    out = {"dataset": name, "n": len(X), "d": X.shape[1], "seed": seed}
    if X.shape[1] > MAX_FEATURES:
        return out
    teacher = DiffusionDensityEstimator(random_state=seed).fit(X)
    start = time.process_time()
    student = teacher.distill()
    out["seconds"] = time.process_time() - start
    fresh = teacher.sample(N_FRESH, random_state=seed + 1000)
    start = time.process_time()
    log_p = teacher.score_samples(fresh)
    out["teacher_rate"] = N_FRESH / (time.process_time() - start)
    gap = log_p - student.score_samples(fresh)
    many = np.tile(fresh, (-(-N_TIMED // N_FRESH), 1))[:N_TIMED]
    start = time.process_time()
    student.score_samples(many)
    out["rate"] = N_TIMED / (time.process_time() - start)
    out |= {"divergence": float(gap.mean()), "error": float(gap.std() / np.sqrt(len(gap)))}
    test = test[:2000]
    out |= {"teacher_nats": teacher.score(test), "nats": student.score(test), "weights": student.component_weights_}
    return out


def report(files):
    """One line a set."""
    records = [r for r in cells.read(*files) if r["d"] <= MAX_FEATURES]
    print("| set | features | KL from the teacher, nats | held-out nats, teacher | student | ", end="")
    print("samples scored a second, teacher | student | kernel kept | seconds to distill |\n" + "|---" * 9 + "|")
    for r in sorted(records, key=lambda r: (r["d"], r["dataset"], r["seed"])):
        line = [r["dataset"], r["d"], f"{r['divergence']:.4f} ({r['error']:.4f})", f"{r['teacher_nats']:.3f}"]
        line += [f"{r['nats']:.3f}", f"{r['teacher_rate']:.0f}", f"{r['rate']:.0f}"]
        line += ["yes" if "kernel" in r["weights"] else "no", f"{r['seconds']:.0f}"]
        print("| " + " | ".join(map(str, line)) + " |")
    divergences = np.array([r["divergence"] for r in records])
    print(
        f"\nDivergence: median {np.median(divergences):.4f}, largest {divergences.max():.3f}, at most 0.05 on ", end=""
    )
    print(f"{(divergences <= 0.05).sum()} of {len(records)} sets. Median samples a second: ", end="")
    for text, kept in (("without a kernel", False), ("with one", True)):
        rates = [r["rate"] for r in records if ("kernel" in r["weights"]) == kept]
        print(f"{np.median(rates):.0f} {text}" if rates else f"none {text}", end="; " if not kept else ".\n")


if __name__ == "__main__":
    cells.over_sets(__doc__, "benchmarks.distillation", run_cell, report)
