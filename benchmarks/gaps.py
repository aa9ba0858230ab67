"""Fits to incomplete samples, and filled gaps, beside scikit-learn's imputers.

    python -m benchmarks.gaps run --out benchmarks/results/gaps.jsonl [--data FOLDER] [--seeds 3] [--sets NAME ...]
    python -m benchmarks.gaps report benchmarks/results/gaps.jsonl

A share of the values of the training samples is deleted, at random ("random") or the more often the larger the first
feature is, which is always known ("by the first"). Held-out mean log-densities, in nats, of complete test samples:

- ours: our default, fitted to the samples with gaps;
- imputed: our default, fitted after IterativeImputer(sample_posterior=True);
- mixture: the EM mixture that completes the samples, alone;
- complete: our default, fitted before anything was deleted.

Of the deleted values of the first 200 samples: the energy score of 19 draws for each incomplete sample, in standard
deviations, and how many lie between the least and the greatest of them, which is 90 % where draws are as the values.
Beside our default: IterativeImputer, KNNImputer, which fills in one value, and miceforest where it is installed. The
sets that are not tables of the folder run from a clone alone.
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
N_SCORED, N_DRAWS, N_IMPUTED = 2000, 19, 200
PEERS = ("imputed", "knn", "miceforest")
ONE_VALUE = ("knn",)  # which have no intervals


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


def quality(draws, truth, gaps, scale):
    """Energy score of draws (n_draws, n_samples, n_features) of the deleted values, and coverage of 90 % intervals."""
    missing = np.isnan(gaps)
    z, x = np.where(missing, draws / scale, 0.0), np.where(missing, truth / scale, 0.0)
    to_truth = np.linalg.norm(z - x, axis=2).mean(0)
    half = len(z) // 2
    between = np.linalg.norm(z[:half] - z[half : 2 * half], axis=2).mean(0) if half else 0.0
    low, high = draws.min(0), draws.max(0)
    incomplete = missing.any(1)
    covered = ((low <= truth) & (truth <= high))[missing].mean()
    return {"energy": float((to_truth - between / 2)[incomplete].mean()), "covered": float(covered)}


def iterative(X, seed):
    """scikit-learn's imputer, fitted."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return IterativeImputer(sample_posterior=True, random_state=seed).fit(X)


def knn(gaps, seed):
    """The one value that the nearest neighbors have."""
    from sklearn.impute import KNNImputer

    return KNNImputer().fit_transform(gaps)[None, :N_IMPUTED]


def miceforest(gaps, seed):
    """Draws by chained equations of boosted trees."""
    import miceforest as mf
    import pandas as pd

    kernel = mf.ImputationKernel(pd.DataFrame(gaps).rename(columns=str), num_datasets=N_DRAWS, random_state=seed)
    kernel.mice(3, verbose=False, num_threads=1)
    return np.stack([kernel.complete_data(i).to_numpy()[:N_IMPUTED] for i in range(N_DRAWS)])


def of_peers(gaps, seed, score):
    """Scores and seconds of the imputers beside IterativeImputer, of those that are installed."""
    out = {}
    for label, peer in (("knn", knn), ("miceforest", miceforest)):
        start = time.process_time()
        try:
            draws = peer(gaps, seed)
        except ImportError:
            continue
        out |= {f"{label}_{key}": value for key, value in score(draws).items()}
        out[f"{label}_s"] = time.process_time() - start
    return out


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

    def scored(draws):
        return quality(draws, X[:N_IMPUTED], gaps[:N_IMPUTED], X.std(0))

    for label, samples in (("ours", gaps), ("imputed", None), ("complete", X)):
        start = time.process_time()
        imputer = iterative(gaps, seed) if samples is None else None
        samples = imputer.transform(gaps) if samples is None else samples
        model = DiffusionDensityEstimator(random_state=seed).fit(samples)
        out[f"{label}_s"] = time.process_time() - start
        out[label] = nats(model.score_samples)
        if label == "ours":
            start = time.process_time()
            draws = model.impute(gaps[:N_IMPUTED], n_draws=N_DRAWS, random_state=seed)
            out["impute_s"] = time.process_time() - start
        elif label == "imputed":
            draws = np.stack([imputer.set_params(random_state=s).transform(gaps[:N_IMPUTED]) for s in range(N_DRAWS)])
        else:
            continue
        out |= {f"{label}_{key}": value for key, value in scored(draws).items()}
    out |= of_peers(gaps, seed, scored)
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
    known = [c for c in ("ours", *PEERS) if any(f"{c}_energy" in r for of_cell in by_cell.values() for r in of_cell)]
    heads = [*columns, *(f"energy, {c}" for c in known), *(f"covered, {c}" for c in known if c not in ONE_VALUE)]
    print("| data set | deleted | seeds | " + " | ".join(heads) + " | seconds, ratio |")
    print("|---" * (len(heads) + 4) + "|")
    for (name, share, kind), records in sorted(by_cell.items()):
        mean = {k: np.mean([r[k] for r in records]) for k in records[0] if isinstance(records[0][k], float)}
        keys = [*columns, *(f"{c}_energy" for c in known), *(f"{c}_covered" for c in known if c not in ONE_VALUE)]
        line = [name, f"{share:.0%} {kind}", len(records), *(f"{mean[k]:.3f}" if k in mean else "" for k in keys)]
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
