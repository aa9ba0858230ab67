"""Densities at and near the bounds of features: root mean square errors over seeds, and held-out nats.

    python -m benchmarks.care.bounds [case ...] [--columns one] [--n 1000] [--seeds 10]

A line for each bound: the root mean square error of the log-density, in nats, on the bound and where 0.1, 1, 3 and 5 %
of the samples lie nearer to it, the other features at their medians. Where the true density on the bound is zero or
infinite there is no first figure. Then held-out nats less those of the truth, the mean over seeds and its standard
error, and how far generated samples among the 5 % nearest to a bound are from true ones, by the statistic of Kolmogorov
and Smirnov over its standard deviation: below 1.4 in 95 of 100 cases for samples of the same distribution.
"""

import argparse
import warnings

import numpy as np
from scipy import stats

SHARES = np.array([0.0, 0.001, 0.01, 0.03, 0.05])
INF = np.inf


def independent(*densities):
    """Samplers and log-density of independent features."""

    def sample(rng, n):
        return np.column_stack([density.rvs(size=n, random_state=rng) for density in densities])

    return sample, lambda X: sum(density.logpdf(X[:, j]) for j, density in enumerate(densities))


def truncated_normal(correlation, mean, bounded):
    """A normal distribution of unit variances and one correlation, cut off where bounded features are negative."""
    d = len(mean)
    normal = stats.multivariate_normal(mean, np.full((d, d), correlation) + (1 - correlation) * np.eye(d))
    chosen = np.ix_(bounded, bounded)
    inside = stats.multivariate_normal(cov=normal.cov[chosen]).cdf(np.asarray(mean)[bounded])

    def sample(rng, n):
        X = np.atleast_2d(normal.rvs(int(2 * n / inside) + 100, random_state=rng)).reshape(-1, d)
        return X[(X[:, bounded] >= 0).all(1)][:n]

    return sample, lambda X: normal.logpdf(X).reshape(len(X)) - np.log(inside)


def cut(density, low):
    """A feature below `low` of which nothing is left, counted from there."""

    def sample(rng, n):
        return density.isf(density.sf(low) * rng.random((n, 1))) - low

    return sample, lambda X: density.logpdf(X[:, 0] + low) - np.log(density.sf(low))


def half_normal_and_bump():
    """Seven of ten samples half normal, the others far from the bound."""
    parts = stats.halfnorm(), stats.norm(2.5, 0.3)

    def sample(rng, n):
        near = rng.random(n) < 0.7
        return np.where(near, *(part.rvs(size=n, random_state=rng) for part in parts))[:, None]

    return sample, lambda X: np.log(0.7 * parts[0].pdf(X[:, 0]) + 0.3 * parts[1].pdf(X[:, 0]))


def waiting_times(rng, n):
    """An exponential feature, and another whose mean rises with the first."""
    first = rng.exponential(size=n)
    return np.column_stack([first, rng.exponential(1 + first)])


def waiting_times_log_density(X):
    return -X[:, 0] - X[:, 1] / (1 + X[:, 0]) - np.log1p(X[:, 0])


def wave(rng, n):
    """An exponential feature, and another about a wave of it."""
    first = rng.exponential(size=n)
    return np.column_stack([first, np.sin(2 * first) + 0.5 * rng.standard_normal(n)])


def wave_log_density(X):
    return -X[:, 0] + stats.norm(np.sin(2 * X[:, 0]), 0.5).logpdf(X[:, 1])


CASES = {
    "half normal": (independent(stats.halfnorm()), (0, INF)),
    "exponential": (independent(stats.expon()), (0, INF)),
    "uniform": (independent(stats.uniform()), (0, 1)),
    "beta(2, 1)": (independent(stats.beta(2, 1)), (0, 1)),
    "arcsine": (independent(stats.beta(0.5, 0.5)), (0, 1)),
    "gamma(2)": (independent(stats.gamma(2)), (0, INF)),
    "gamma(1/2)": (independent(stats.gamma(0.5)), (0, INF)),
    "log-normal": (independent(stats.lognorm(1)), (0, INF)),
    "normal, cut at -1": (independent(stats.truncnorm(-1, INF, loc=1)), (0, INF)),
    "normal, cut at -2": (independent(stats.truncnorm(-2, INF, loc=2)), (0, INF)),
    "normal, cut at 2": (independent(stats.truncnorm(2, INF, loc=-2)), (0, INF)),
    "normal in a box": (independent(stats.truncnorm(-0.3, 1.2, loc=0.3)), (0, 1.5)),
    "normal far away": (independent(stats.norm(50, 1)), (0, INF)),
    "Gumbel, cut at 0": (cut(stats.gumbel_r(), 0.0), (0, INF)),
    "half Cauchy": (independent(stats.halfcauchy()), (0, INF)),
    "exponential in a box": (independent(stats.truncexpon(2)), (0, 2)),
    "triangular": (independent(stats.triang(0)), (0, INF)),
    "half normal and a bump": (half_normal_and_bump(), (0, INF)),
    "Weibull(3/2)": (independent(stats.weibull_min(1.5)), (0, INF)),
    "half normal, normal": (independent(stats.halfnorm(), stats.norm()), ([0, -INF], INF)),
    "uniform, beta(1, 2)": (independent(stats.uniform(), stats.beta(1, 2)), (0, 1)),
    "correlated 0.5, one cut": (truncated_normal(0.5, [0.0, 0.0], [0]), ([0, -INF], INF)),
    "correlated 0.5, both cut": (truncated_normal(0.5, [0.3, 0.3], [0, 1]), (0, INF)),
    "waiting times": ((waiting_times, waiting_times_log_density), (0, INF)),
    "wave": ((wave, wave_log_density), ([0, -INF], INF)),
    "three, correlated 0.5": (truncated_normal(0.5, [0.5, 0.0, 0.0], [0]), ([0, -INF, -INF], INF)),
    "exponential, half normal, uniform": (
        independent(stats.expon(), stats.halfnorm(), stats.uniform()), ([0, 0, 0], [INF, INF, 1]),
    ),
}  # fmt: skip


def one_column(name):
    """Whether a case is of a single feature."""
    return CASES[name][0][0](np.random.default_rng(0), 2).shape[1] == 1


def edges(bounds, d):
    """Feature, bound and sign of every finite bound."""
    for sign, ends in ((1.0, bounds[0]), (-1.0, bounds[1])):
        for j, end in enumerate(np.broadcast_to(np.asarray(ends, float), d)):
            if np.isfinite(end):
                yield j, end, sign


def run_case(name, n, seed):
    """Errors at every bound (n_bounds, n_places), held-out nats less those of the truth, and KS statistics."""
    from skdiffusion import DiffusionDensityEstimator

    (sample, log_density), bounds = CASES[name]
    rng = np.random.default_rng(seed)
    X, test = sample(rng, n), sample(np.random.default_rng(10_000), 20_000)
    est = DiffusionDensityEstimator(bounds=bounds, random_state=seed).fit(X)
    held_out = test[:4000]
    gap = est.score(held_out) - log_density(held_out).mean()
    drawn, errors, statistics = est.sample(20_000), [], []
    for j, end, sign in edges(bounds, X.shape[1]):
        distance = sign * (test[:, j] - end)
        places = np.tile(np.median(test, axis=0), (len(SHARES), 1))
        places[:, j] = end + sign * np.where(SHARES == 0, 0.0, np.quantile(distance, SHARES))
        with np.errstate(all="ignore"):
            errors.append(est.score_samples(places) - log_density(places))
        reach = np.quantile(distance, 0.05)
        near, generated = distance[distance < reach], sign * (drawn[:, j] - end)
        generated = generated[generated < reach]
        deviation = np.sqrt(1 / len(near) + 1 / max(1, len(generated)))
        statistics.append(stats.ks_2samp(near, generated).statistic / deviation if len(generated) else INF)
    return np.array(errors), gap, np.array(statistics)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="all by default")
    parser.add_argument("--columns", choices=("one", "several"), help="the cases of one column, or the others")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{arguments.n} samples, {arguments.seeds} seeds.\n")
    places = " | ".join("bound" if share == 0 else f"{share:.1%}" for share in SHARES)
    print(f"| case, bound | {places} | held-out | samples |\n|---" + "|---" * (len(SHARES) + 2) + "|")
    chosen = [name for name in CASES if arguments.columns in (None, "one" if one_column(name) else "several")]
    for name in arguments.cases or chosen:
        runs = [run_case(name, arguments.n, seed) for seed in range(arguments.seeds)]
        errors, gaps, statistics = (np.array(part) for part in zip(*runs))
        d = CASES[name][0][0](np.random.default_rng(0), 2).shape[1]
        for k, (j, end, _) in enumerate(edges(CASES[name][1], d)):
            rms = np.sqrt((errors[:, k] ** 2).mean(0))
            cells = " | ".join(f"{value:.2f}" if np.isfinite(value) else "" for value in rms)
            nats = f"{gaps.mean():+.4f} +- {gaps.std() / np.sqrt(len(gaps)):.4f}"
            label = f"{name}, feature {j} at {end:g}" if d > 1 else f"{name}, {end:g}"
            print(f"| {label} | {cells} | {nats} | {np.mean(statistics[:, k]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
