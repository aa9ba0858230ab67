"""Conditional densities by networks for all splits of the features: beside the truth, a mixture and separate fits.

    python -m benchmarks.conditional run --out benchmarks/results/conditional.jsonl [--data FOLDER] [--n 2000]
    python -m benchmarks.conditional report benchmarks/results/conditional.jsonl

Oracles, whose conditional distribution of one feature given all others is known by integration over a grid. Of two
features in turn, on 500 test samples: the root mean square error of the conditional mean in conditional standard
deviations, the Kullback-Leibler divergence beside that of the joint density per feature, the Kolmogorov distance of the
probability integral transform, and the largest error of the integral of five conditional densities. For those that are
Gaussian mixtures, "family" is the same root mean square error of the maximum-likelihood mixture of as many components,
started from the true one: what so many samples tell to whoever knows the family.

Tables, of which 10, 30 and 60 % of the features are unknown together, a random split of each size. Mean held-out
log p(unknown | known) in nats:

- ours: one fit with fit_conditionals=True, weights of the components by the known features ("joint");
- fixed: the same with the weights of the fit;
- mixture: the conditional of the Gaussian mixture of scikit-learn chosen by BIC;
- separate: our default fitted to all features, less our default fitted to the known ones alone.
"""

import time
import warnings
from collections import defaultdict

import numpy as np
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_normal

from benchmarks import cells, targets
from benchmarks.compare import floor_nats

N_TEST, N_DRAWS, N_INTEGRATED, N_TARGETS = 500, 256, 5, 2
SHARES = (0.1, 0.3, 0.6)
TABLES = ("breast_cancer", "diabetes", "iris", "wine")


def _gaussian(d, seed):
    root = np.random.default_rng(seed).standard_normal((d, d))
    return targets.MixtureTarget(np.zeros((1, d)), (root @ root.T / d + 0.1 * np.eye(d))[None])


ORACLES = {
    "gaussian4": lambda: _gaussian(4, 4),
    "gaussian16": lambda: _gaussian(16, 16),
    "banana2": targets.TARGETS["banana"],
    "funnel5": targets.TARGETS["funnel5"],
    "tcopula5": targets.TARGETS["tcopula5"],
    "clayton3": targets.ClaytonCopula,
    "ring2": lambda: targets.Rings(radii=(2.0,), sd=0.2),
    "mixture8": targets.TARGETS["gmm_sep_d8"],
}
FAMILIES = ("gaussian4", "gaussian16", "mixture8")  # full Gaussian mixtures
# Fine about zero, where a funnel is narrow, and as fine as 0.6 % of the distance elsewhere.
GRID = 1e-3 * np.sinh(np.linspace(-13, 13, 4001))
# The same about a conditional mean, in conditional standard deviations: a wide distribution may have a narrow peak, and
# a Student-t of a small share beside a narrow distribution reaches far.
FAR_GRID = 1e-3 * np.sinh(np.linspace(-16, 16, 4001))


def oracle_conditional(target, x, j):
    """Log-density of feature j given the others of one sample on the grid, with mean and standard deviation."""
    complete = np.repeat(x[None], len(GRID), axis=0)
    complete[:, j] = GRID
    log_prob = target.log_prob(complete)
    weight = np.gradient(GRID) * np.exp(log_prob - log_prob.max())
    log_given = np.log(weight.sum()) + log_prob.max()
    mean = weight @ GRID / weight.sum()
    return log_given, mean, np.sqrt(weight @ (GRID - mean) ** 2 / weight.sum())


def integral(conditional, mean, scale):
    """The integral of a conditional density of one feature, given one sample."""
    values = mean + scale * FAR_GRID
    return np.trapezoid(np.exp(conditional.score_samples(values)), values)


def measure_feature(model, target, test, j, rng):
    """What the conditional density of a feature given all others misses of the truth."""
    incomplete = test.copy()
    incomplete[:, j] = np.nan
    log_given, mean, scale = np.array([oracle_conditional(target, x, j) for x in test]).T
    conditional = model.conditional(incomplete)
    found = conditional.score_samples(test[:, j])
    draws = conditional.sample(N_DRAWS, random_state=0)[:, :, 0]
    # The draws' own error is taken off.
    square = ((draws.mean(1) - mean) / scale) ** 2 - draws.var(1) / scale**2 / N_DRAWS
    rank = (draws < test[:, [j]]).sum(1) + rng.random(len(test))
    integrals = [integral(model.conditional(incomplete[[i]]), mean[i], scale[i]) for i in range(N_INTEGRATED)]
    return {
        "rmse": float(np.sqrt(max(square.mean(), 0.0))),
        "kl": float((target.log_prob(test) - log_given - found).mean()),
        "ks": float(kstest(rank / (N_DRAWS + 1), "uniform").statistic),
        "integral": float(np.abs(np.array(integrals) - 1).max()),
    }


def family_rmse(target, X, test, features):
    """Root mean square errors of conditional means by the mixture of the true family that is likeliest for samples."""
    from sklearn.mixture import GaussianMixture

    precisions = np.linalg.inv(target.factors @ target.factors.transpose(0, 2, 1))
    start = {"weights_init": target.weights, "means_init": target.means, "precisions_init": precisions}
    found = GaussianMixture(len(target.weights), **start, reg_covar=1e-9, tol=1e-6, max_iter=500).fit(X)
    family, out = targets.MixtureTarget(found.means_, found.covariances_, found.weights_), []
    for j in features:
        (_, mean, scale), (_, of_family, _) = (
            np.array([oracle_conditional(t, x, j) for x in test]).T for t in (target, family)
        )
        out.append(float(np.sqrt((((of_family - mean) / scale) ** 2).mean())))
    return out


def run_oracle(name, n, seed):
    """One record of an oracle."""
    from skdiffusion import DiffusionDensityEstimator

    target, rng = ORACLES[name](), np.random.default_rng([seed, 1])
    X, test = target.sample(n, rng), target.sample(N_TEST, rng)
    start = time.process_time()
    model = DiffusionDensityEstimator(random_state=seed, fit_conditionals=True).fit(X)
    out = {"kind": "oracle", "dataset": name, "n": n, "seed": seed, "d": X.shape[1]}
    out["fit_s"] = time.process_time() - start
    out["joint_kl"] = float((target.log_prob(test) - model.score_samples(test)).mean() / X.shape[1])
    features = rng.permutation(X.shape[1])[:N_TARGETS]
    parts = [measure_feature(model, target, test, j, rng) for j in features]
    if name in FAMILIES:
        out["family"] = family_rmse(target, X, test, features)
    return out | {key: [part[key] for part in parts] for key in parts[0]}


def mixture_conditional(X, test, known):
    """Log-densities of the unknown features given the known ones by the Gaussian mixture that BIC chooses."""
    from sklearn.mixture import GaussianMixture

    fits = [GaussianMixture(k, random_state=0, reg_covar=1e-4).fit(X) for k in (1, 2, 4, 8, 16) if 20 * k <= len(X)]
    best = min(fits, key=lambda mixture: mixture.bic(X))
    marginal = [
        np.log(w) + multivariate_normal.logpdf(test[:, known], m[known], C[np.ix_(known, known)])
        for w, m, C in zip(best.weights_, best.means_, best.covariances_)
    ]
    return best.score_samples(test) - logsumexp(marginal, axis=0)


def run_table(name, n, seed, data):
    """One record of a table."""
    from skdiffusion import DiffusionDensityEstimator

    X, test, _ = targets.load(name, n, seed, data)
    test, d, rng = test[:N_TEST], X.shape[1], np.random.default_rng([seed, 7])
    mean, scale = X.mean(0), X.std(0)
    X, test = (X - mean) / scale, (test - mean) / scale
    start = time.process_time()
    model = DiffusionDensityEstimator(random_state=seed, fit_conditionals=True).fit(X)
    out = {"kind": "table", "dataset": name, "n": len(X), "asked": n, "seed": seed, "d": d, "splits": []}
    out["fit_s"] = time.process_time() - start
    joint = model.score_samples(test)
    for share in SHARES:
        unknown = np.sort(rng.permutation(d)[: min(d - 1, max(1, round(share * d)))])
        known, incomplete = np.setdiff1d(np.arange(d), unknown), test.copy()
        incomplete[:, unknown] = np.nan
        start = time.process_time()
        ours = model.conditional(incomplete).score_samples(test[:, unknown])
        seconds = time.process_time() - start
        fixed = model.conditional(incomplete, weights="fixed").score_samples(test[:, unknown])
        alone = DiffusionDensityEstimator(random_state=seed).fit(X[:, known])
        floor = floor_nats(len(unknown))
        of_known = np.maximum(alone.score_samples(test[:, known]), floor_nats(len(known)))
        split = {"share": share, "unknown": len(unknown), "seconds": seconds}
        every = {"ours": ours, "fixed": fixed, "mixture": mixture_conditional(X, test, known)}
        every["separate"] = np.maximum(joint, floor_nats(d)) - of_known
        for label, values in every.items():
            split[label] = float(np.maximum(values, floor).mean())
        for label in ("mixture", "separate"):  # standard errors of the differences
            gain = np.maximum(ours, floor) - np.maximum(every[label], floor)
            split[f"over_{label}_se"] = float(gain.std() / np.sqrt(len(gain)))
        marginal = model.score_samples(incomplete)
        split["gap"] = float(np.mean(ours - (joint - marginal)))
        out["splits"].append(split)
    return out


def run_cell(kind, name, n, seed, data):
    """One record."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return run_oracle(name, n, seed) if kind == "oracle" else run_table(name, n, seed, data)


def run(arguments):
    """Run the missing cells."""
    done = {(r["kind"], r["dataset"], r.get("asked", r["n"]), r["seed"]) for r in cells.read(arguments.out)}
    folder = [name for name in targets.names(arguments.data) if name not in (*targets.TARGETS, *targets.BUNDLED)]
    names = [("oracle", k) for k in ORACLES] + [("table", k) for k in (*TABLES, *folder)]
    if arguments.datasets:
        names = [cell for cell in names if cell[1] in arguments.datasets.split(",")]
    todo = [(*cell, arguments.n, seed) for seed in range(arguments.seeds) for cell in names]
    todo = [(*c, arguments.data) for c in todo if c not in done]
    cells.run_all("benchmarks.conditional", todo, arguments.out, arguments.jobs)


def report(files):
    """A line for each oracle, and one for each split of a table."""
    by_kind = defaultdict(list)
    for r in sorted(cells.read(*files), key=lambda r: (r["dataset"], r["seed"])):
        by_kind[r["kind"]].append(r)
    print("| oracle | d | n | seed | RMSE of means | family | KL | KL of the joint, a feature | KS | integral | s |")
    print("|---" * 11 + "|")
    for r in by_kind["oracle"]:
        lists = [", ".join(f"{v:.3f}" for v in r.get(key, ())) for key in ("rmse", "family", "kl")]
        line = [r["dataset"], r["d"], r["n"], r["seed"], *lists, f"{r['joint_kl']:.3f}"]
        line += [", ".join(f"{v:.3f}" for v in r["ks"]), f"{max(r['integral']):.4f}", f"{r['fit_s']:.0f}"]
        print("| " + " | ".join(map(str, line)) + " |")
    print("\n| table | d | n | seed | unknown | ours | fixed | mixture | separate | ours - separate, a feature | gap |")
    print("|---" * 11 + "|")
    for r in by_kind["table"]:
        for s in r["splits"]:
            values = [f"{s[key]:.3f}" for key in ("ours", "fixed", "mixture", "separate")]
            behind = (s["ours"] - s["separate"]) / s["unknown"]
            line = [r["dataset"], r["d"], r["n"], r["seed"], s["unknown"], *values, f"{behind:.3f}", f"{s['gap']:.3f}"]
            print("| " + " | ".join(map(str, line)) + " |")


def main():
    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--data")
    p.add_argument("--datasets", default="")
    p.add_argument("--n", type=int, default=2000)
    p.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
