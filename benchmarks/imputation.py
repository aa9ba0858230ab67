"""Deleted values drawn anew, beside other imputers: how good the draws are, and whether their intervals hold.

    python -m benchmarks.imputation run --out benchmarks/results/imputation.jsonl [--data FOLDER] [--seeds 3]
    python -m benchmarks.imputation report benchmarks/results/imputation.jsonl

A fifth of the values of the training samples is deleted at random, every imputer is fitted to what is left, and draws
19 completions of the first 200 samples. KNNImputer and missforest fill in one value. miceforest, missforest and
ForestDiffusion are run where they are installed, the last with 10 noised copies of every sample in place of its 100,
which take ten times as long. Of every imputer:

- energy: the energy score of the draws of each incomplete sample, in standard deviations;
- covered: how many deleted values lie between the least and the greatest draw, which is 90 % where draws are as the
  values are;
- fresh_covered: the same of test samples, which the fit has not seen, where an imputer can complete these;
- W1: the first Wasserstein distance of completed samples to the samples before anything was deleted, features scaled
  to [0, 1], mean over three draws;
- MAD: mean absolute deviation of the draws of a value from their median, in standard deviations;
- intervals: of the coefficients of the linear regression of the last feature on the others in the samples before
  anything was deleted, how many lie in the 95 % confidence intervals of the completed ones, pooled by Rubin's rules.
"""

import time
import warnings
from collections import defaultdict

import numpy as np
from scipy.stats import t as student_t

from benchmarks import cells, targets
from benchmarks.gaps import iterative, with_gaps

SETS = ("gmm_sep_d8", "warped8", "tcopula5", "breast_cancer", "diabetes", "iris", "wine")
TABLES = ("concrete", "kin8nm", "magic", "power_plant", "wine_red")
SHARE, N_DRAWS, N_IMPUTED = 0.2, 19, 200
LIMIT_S = 3600.0  # of a cell
IMPUTERS = ("ours", "iterative", "knn", "miceforest", "missforest", "forest_diffusion")
N_COPIES = 10  # of every sample, noised, that ForestDiffusion learns from
MEASURES = ("energy", "covered", "fresh_covered", "w1", "mad", "intervals")


def energy_and_coverage(draws, truth, gaps, scale):
    """Energy score of draws (n_draws, n_samples, n_features) of the deleted values, and coverage of 90 % intervals."""
    missing = np.isnan(gaps)
    z, x = np.where(missing, draws / scale, 0.0), np.where(missing, truth / scale, 0.0)
    to_truth = np.linalg.norm(z - x, axis=2).mean(0)
    half = len(z) // 2
    between = np.linalg.norm(z[:half] - z[half : 2 * half], axis=2).mean(0) if half else 0.0
    inside = (draws.min(0) <= truth) & (truth <= draws.max(0))
    return float((to_truth - between / 2)[missing.any(1)].mean()), float(inside[missing].mean())


def regression(X):
    """Coefficients of the linear regression of the last feature on the others, and their variances."""
    A, y = np.column_stack([np.ones(len(X)), X[:, :-1]]), X[:, -1]
    inverse = np.linalg.pinv(A.T @ A)
    coefficients = inverse @ A.T @ y
    residual = y - A @ coefficients
    return coefficients, np.diag(inverse) * (residual @ residual) / max(len(X) - A.shape[1], 1)


def pooled_intervals(draws, truth):
    """Share of the coefficients of complete samples in the 95 % intervals of completed ones (Rubin, 1987)."""
    m, expected = len(draws), regression(truth)[0]
    coefficients, variances = (np.stack(part) for part in zip(*(regression(X) for X in draws)))
    within, between = variances.mean(0), coefficients.var(0, ddof=1) if m > 1 else 0.0
    total = within + (1 + 1 / m) * between
    with np.errstate(divide="ignore"):
        degrees = (m - 1) * (1 + within / ((1 + 1 / m) * between)) ** 2 if m > 1 else np.inf
    half = student_t.ppf(0.975, degrees) * np.sqrt(total)
    return float((np.abs(coefficients.mean(0) - expected) <= half).mean())


def quality(draws, truth, gaps):
    """All measures of completions (n_draws, n_samples, n_features) of samples with gaps."""
    from skdiffusion.metrics import wasserstein_1

    if (draws != truth)[:, ~np.isnan(gaps)].any():
        raise ValueError("The imputer has changed values that are known.")
    low, high, scale = truth.min(0), truth.max(0), truth.std(0)
    energy, covered = energy_and_coverage(draws, truth, gaps, scale)
    deviations = np.abs(draws - np.median(draws, axis=0)).mean(0) / scale
    to_one = [(X - low) / (high - low) for X in (truth, *draws[:3])]
    return {
        "energy": energy,
        "covered": covered,
        "w1": float(np.mean([wasserstein_1(X, to_one[0]) for X in to_one[1:]])),
        "mad": float(deviations[np.isnan(gaps)].mean()),
        "intervals": pooled_intervals(draws, truth),
    }


def ours(gaps, fresh, seed):
    """Our default, of which the fit is the longest part."""
    from skdiffusion import DiffusionDensityEstimator

    model = DiffusionDensityEstimator(random_state=seed).fit(gaps)
    return [model.impute(X, n_draws=N_DRAWS, random_state=seed) for X in (gaps[:N_IMPUTED], fresh)]


def chained(gaps, fresh, seed):
    """Draws by IterativeImputer."""
    imputer = iterative(gaps, seed)
    draws = [
        [imputer.set_params(random_state=s).transform(X) for X in (gaps[:N_IMPUTED], fresh)] for s in range(N_DRAWS)
    ]
    return [np.stack(part) for part in zip(*draws)]


def knn(gaps, fresh, seed):
    """The one value that the nearest neighbors have."""
    from sklearn.impute import KNNImputer

    imputer = KNNImputer().fit(gaps)
    return [imputer.transform(X)[None] for X in (gaps[:N_IMPUTED], fresh)]


def miceforest(gaps, fresh, seed):
    """Draws by chained equations of boosted trees, for the samples of the fit."""
    import miceforest as mf
    import pandas as pd

    kernel = mf.ImputationKernel(pd.DataFrame(gaps).rename(columns=str), num_datasets=N_DRAWS, random_state=seed)
    kernel.mice(3, verbose=False, num_threads=1)
    return [np.stack([kernel.complete_data(i).to_numpy()[:N_IMPUTED] for i in range(N_DRAWS)])]


def missforest(gaps, fresh, seed):
    """One value by random forests in turn, for the samples of the fit."""
    import pandas as pd
    from missforest import MissForest
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    forests = RandomForestClassifier(random_state=seed), RandomForestRegressor(random_state=seed)
    frame = pd.DataFrame(gaps).rename(columns=str)
    complete = MissForest(*forests, verbose=0).fit_transform(frame)[frame.columns]  # it has sorted them
    return [complete.to_numpy()[None, :N_IMPUTED]]


def forest_diffusion(gaps, fresh, seed):
    """Draws by a diffusion whose noise boosted trees predict, for the samples of the fit."""
    from ForestDiffusion import ForestDiffusionModel

    own = gaps[:N_IMPUTED]
    model = ForestDiffusionModel(gaps, diffusion_type="vp", duplicate_K=N_COPIES, n_jobs=1, seed=seed, nthread=1)
    drawn = model.impute(X=np.tile(model.scaler.transform(own), (N_DRAWS, 1)))
    # What is known comes back from its scale with other last bits.
    return [np.where(np.isnan(own), drawn.reshape(N_DRAWS, *own.shape), own)]


def run_cell(name, seed, n, data):
    """One record."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, test, _ = targets.load(name, n, seed, data)
    X, test, rng = X[:n], test[:N_IMPUTED], np.random.default_rng([seed, 6])
    gaps, fresh = with_gaps(X, SHARE, "random", rng), with_gaps(test, SHARE, "random", rng)
    out = {"dataset": name, "seed": seed, "n": len(X), "d": X.shape[1]}
    for label, imputer in zip(IMPUTERS, (ours, chained, knn, miceforest, missforest, forest_diffusion)):
        start = time.process_time()
        try:
            own, *others = imputer(gaps, fresh, seed)
        except ImportError:
            continue
        out[label] = {"seconds": time.process_time() - start} | quality(own, X[:N_IMPUTED], gaps[:N_IMPUTED])
        if others:
            out[label]["fresh_covered"] = energy_and_coverage(others[0], test, fresh, X.std(0))[1]
    return out


def run(arguments):
    """Run the missing cells."""
    done = {(r["dataset"], r["seed"]) for r in cells.read(arguments.out)}
    names = arguments.sets or [*SETS, *(TABLES if arguments.data else ())]
    todo = [(name, seed) for seed in range(arguments.seeds) for name in names]
    todo = [(*cell, arguments.n, arguments.data) for cell in todo if cell not in done]
    cells.run_all("benchmarks.imputation", todo, arguments.out, arguments.jobs, LIMIT_S)


def report(files):
    """Means over the seeds: a table of each measure, a line for each data set."""
    by_set = defaultdict(list)
    for record in cells.read(*files):
        by_set[record["dataset"]].append(record)
    for measure in (*MEASURES, "seconds"):
        found = {name: means_of(records, measure) for name, records in sorted(by_set.items())}
        labels = [label for label in IMPUTERS if any(label in values for values in found.values())]
        print(f"\n| {measure} | seeds | " + " | ".join(labels) + " |")
        print("|---" * (len(labels) + 2) + "|")
        for name, values in found.items():
            line = [f"{values[label]:.3f}" if label in values else "" for label in labels]
            print(f"| {name} | {len(by_set[name])} | " + " | ".join(line) + " |")
        means = [np.mean([v[label] for v in found.values() if label in v]) for label in labels]
        print("| mean | | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")


def means_of(records, measure):
    """Mean of a measure over records by imputer, of those of which all records hold it."""
    labels = [label for label in IMPUTERS if all(measure in record.get(label, {}) for record in records)]
    return {label: np.mean([record[label][measure] for record in records]) for label in labels}


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
