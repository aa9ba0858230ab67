"""Fits to incomplete samples, beside fits to samples that an imputer has completed.

    python -m benchmarks.gaps run --out benchmarks/results/gaps.jsonl [--data FOLDER] [--seeds 3] [--sets NAME ...]
    python -m benchmarks.gaps report benchmarks/results/gaps.jsonl

A share of the values of the training samples is deleted, at random ("random") or the more often the larger the first
feature is, which is always known ("by the first"). Held-out mean log-densities, in nats, of complete test samples:

- ours: our default, fitted to the samples with gaps;
- imputed: our default, fitted after IterativeImputer(sample_posterior=True);
- mixture: the EM mixture that completes the samples, alone;
- complete: our default, fitted before anything was deleted.

The sets that are not tables of the folder run from a clone alone. How good the draws of deleted values are is measured
by `benchmarks.imputation`.
"""

import time
import warnings
from collections import defaultdict

import numpy as np

from benchmarks import cells, targets
from benchmarks.compare import floor_nats

SETS = ("funnel5", "tcopula5", "warped8", "gmm_sep_d8", "breast_cancer", "diabetes")
TABLES = ("kin8nm", "power_plant", "concrete", "wine_red", "magic")
SHARES = (0.3, 0.1)
KINDS = ("random", "by the first")
N_SCORED = 2000


def with_gaps(X, share, kind, rng):
    """Samples with a share of their values deleted; every sample keeps one."""
    probability = np.full(X.shape, share)
    if kind == "by the first":
        rank = X[:, 0].argsort().argsort() / len(X)
        probability = np.minimum(0.9, share * 2 * rank)[:, None] * np.ones(X.shape[1])
        probability[:, 0] = 0.0
    deleted = rng.random(X.shape) < probability
    deleted[deleted.all(1), 0] = False
    return np.where(deleted, np.nan, X)


def iterative(X, seed):
    """scikit-learn's imputer, fitted."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return IterativeImputer(sample_posterior=True, random_state=seed).fit(X)


def run_cell(name, share, kind, seed, n, data):
    """One record."""
    import torch

    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion.densities import Completion

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, test, _ = targets.load(name, n, seed, data)
    X, test, rng = X[:n], test[:N_SCORED], np.random.default_rng([seed, 5])
    gaps = with_gaps(X, share, kind, rng)
    out = {"dataset": name, "share": share, "kind": kind, "seed": seed, "n": len(X), "d": X.shape[1]}

    def nats(density):
        return float(np.maximum(density(test), floor_nats(X.shape[1])).mean())

    for label, samples in (("ours", gaps), ("imputed", None), ("complete", X)):
        start = time.process_time()
        samples = iterative(gaps, seed).transform(gaps) if samples is None else samples
        model = DiffusionDensityEstimator(random_state=seed).fit(samples)
        out[f"{label}_s"] = time.process_time() - start
        out[label] = nats(model.score_samples)
    mixture = Completion(gaps, np.ones(len(X)), None, np.random.default_rng(seed)).density
    out["mixture"] = nats(mixture.log_prob)
    return out


def run(arguments):
    """Run the missing cells."""
    done = {(r["dataset"], r["share"], r["kind"], r["seed"]) for r in cells.read(arguments.out)}
    names = arguments.sets or [*SETS, *(TABLES if arguments.data else ())]
    todo = [(k, share, kind, s) for s in range(arguments.seeds) for share in SHARES for kind in KINDS for k in names]
    todo = [(*c, arguments.n, arguments.data) for c in todo if c not in done]
    cells.run_all("benchmarks.gaps", todo, arguments.out, arguments.jobs)


def report(files):
    """Means over the seeds."""
    by_cell = defaultdict(list)
    for r in cells.read(*files):
        by_cell[r["dataset"], r["share"], r["kind"]].append(r)
    columns = ("ours", "imputed", "mixture", "complete")
    print("| data set | deleted | seeds | " + " | ".join(columns) + " | seconds, ratio |")
    print("|---" * (len(columns) + 4) + "|")
    for (name, share, kind), records in sorted(by_cell.items()):
        mean = {k: np.mean([r[k] for r in records]) for k in (*columns, "ours_s", "complete_s")}
        line = [name, f"{share:.0%} {kind}", len(records), *(f"{mean[k]:.3f}" for k in columns)]
        print("| " + " | ".join(map(str, line)) + f" | {mean['ours_s'] / mean['complete_s']:.1f} |")
    print("\n'imputed' is IterativeImputer; the last column are CPU seconds of a fit with gaps over one without.")


def main():
    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--data")
    p.add_argument("--n", type=int, default=1000)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--sets", nargs="*")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
