"""Features over many decades: far clusters, codes far from the other values, log-normal and heavy-tailed features.

    python -m benchmarks.care.decades [case ...] [--n 2000] [--seeds 3]

For every case a line: the held-out log-density of the truth and of a default fit in nats, the loss, and the share of
generated samples where hardly any should be (below zero, in a gap between clusters) beside that of the truth.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from skdiffusion import DiffusionDensityEstimator

N_TEST, N_GENERATED = 5000, 20_000


class Case(NamedTuple):
    """Samples of a known density."""

    sample: Callable  # (rng, n) -> X
    log_prob: Callable  # X -> log-densities
    stray: Callable = lambda X: np.zeros(len(X), dtype=bool)  # samples of which the truth has next to none


def clusters(centers, scales, weights=None):
    """Isotropic Gaussians; a stray sample is farther than 12 scales from each of the clusters, in some feature."""
    centers = np.asarray(centers, dtype=float)
    scales = np.broadcast_to(scales, len(centers)).astype(float)
    weights = np.full(len(centers), 1 / len(centers)) if weights is None else np.asarray(weights)

    def sample(rng, n):
        k = rng.choice(len(centers), n, p=weights)
        return centers[k] + scales[k, None] * rng.standard_normal((n, centers.shape[1]))

    def log_prob(X):
        parts = [stats.norm.logpdf(X, c, s).sum(1) + np.log(w) for c, s, w in zip(centers, scales, weights)]
        return np.logaddexp.reduce(parts, axis=0)

    def stray(X):
        return np.min([np.abs((X - c) / s).max(1) for c, s in zip(centers, scales)], axis=0) > 12

    return Case(sample, log_prob, stray)


def log_normal(sigma, d=1, shift=0.0, sign=1.0, correlation=0.0):
    """sign * (exp(Gaussian) + shift); a stray sample is on the wrong side of the shift."""
    covariance = sigma**2 * ((1 - correlation) * np.eye(d) + correlation)

    def sample(rng, n):
        return sign * (np.exp(rng.multivariate_normal(np.zeros(d), covariance, n)) + shift)

    def log_prob(X):
        u = np.log(np.maximum(sign * X - shift, 1e-300))
        return stats.multivariate_normal.logpdf(u, np.zeros(d), covariance).reshape(-1) - u.sum(1)

    return Case(sample, log_prob, lambda X: (sign * X < shift).any(1))


def independent(distribution, d=1, stray=lambda X: np.zeros(len(X), dtype=bool)):
    """Features of one distribution of scipy.stats."""
    return Case(
        lambda rng, n: distribution.rvs((n, d), random_state=rng), lambda X: distribution.logpdf(X).sum(1), stray
    )


def signed_log_normal(sigma):
    one = log_normal(sigma)
    return Case(
        lambda rng, n: one.sample(rng, n) * rng.choice([-1.0, 1.0], (n, 1)),
        lambda X: one.log_prob(np.abs(X)) - np.log(2),
    )


def signed_power():
    """sinh(3 z): a heavy tail on both sides of an ordinary middle."""
    return Case(
        lambda rng, n: np.sinh(3 * rng.standard_normal((n, 1))),
        lambda X: (stats.norm.logpdf(np.arcsinh(X) / 3) - np.log(3) - 0.5 * np.log1p(X**2)).sum(1),
    )


def one_of_many():
    """A log-normal feature beside three correlated Gaussian ones, of which the first follows its logarithm."""
    covariance = np.full((4, 4), 0.5) + 0.5 * np.eye(4)

    def sample(rng, n):
        X = rng.multivariate_normal(np.zeros(4), covariance, n)
        X[:, 0] = np.exp(3 * X[:, 0])
        return X

    def log_prob(X):
        u = np.log(np.maximum(X[:, 0], 1e-300))
        Z = np.column_stack([u / 3, X[:, 1:]])
        return stats.multivariate_normal.logpdf(Z, np.zeros(4), covariance) - u - np.log(3)

    return Case(sample, log_prob, lambda X: X[:, 0] < 0)


def code():
    """A tenth of the samples is about -999 in the first feature, whose others follow the second."""

    def sample(rng, n):
        b = 1.5 * rng.standard_normal(n)
        a = b + 0.5 * rng.standard_normal(n)
        coded = rng.random(n) < 0.1
        return np.column_stack([np.where(coded, -999 + 0.5 * (2 * rng.random(n) - 1), a), b])

    def log_prob(X):
        a, b = X.T
        regular = np.log(0.9) + stats.norm.logpdf(a, b, 0.5)
        coded = np.where(np.abs(a + 999) <= 0.5, np.log(0.1), -np.inf)
        return np.logaddexp(regular, coded) + stats.norm.logpdf(b, 0, 1.5)

    return Case(sample, log_prob, lambda X: (np.abs(X[:, 0] + 999) > 1) & (np.abs(X[:, 0] - X[:, 1]) > 6))


SIGNS = np.array([[1, 1, 1, 1, 1], [-1, 1, -1, 1, 1], [1, -1, -1, -1, 1]])
CASES = {
    "far_1e4": clusters([[0.0, 0.0], [1e4, 1e4]], 1),
    "far_1e6": clusters([[0.0, 0.0], [1e6, 1e6]], 1),
    "far_1_feature": clusters([[0.0], [1e6]], 1),
    "far_three": clusters([[0.0, 0.0], [1e4, 0.0], [1e6, 1e6]], 1, [0.2, 0.3, 0.5]),
    "far_5_features": clusters(1e5 * SIGNS, 1),
    "far_scales": clusters([[0.0, 0.0], [1e5, 1e5]], [1, 1e3]),
    "near_100": clusters([[0.0, 0.0], [100.0, 100.0]], 1),
    "nested_1e3": clusters([[0.0, 0.0], [0.0, 0.0]], [1, 1e3]),
    "nested_1e5": clusters([[0.0], [0.0]], [1, 1e5]),
    "log_normal_2": log_normal(2.0),
    "log_normal_4": log_normal(4.0),
    "log_normal_4_two": log_normal(4.0, d=2),
    "log_normal_shifted": log_normal(2.5, shift=100.0),
    "log_normal_negated": log_normal(3.0, d=2, shift=-5.0, sign=-1.0),
    "log_normal_correlated": log_normal(3.0, d=3, correlation=0.8),
    "log_uniform": independent(stats.loguniform(1e-3, 1e7), d=2, stray=lambda X: (X < 0).any(1)),
    "pareto": independent(stats.pareto(0.7), stray=lambda X: (X < 0).any(1)),
    "cauchy": independent(stats.cauchy(3.0, 2.0), d=2),
    "signed_log_normal": signed_log_normal(3.0),
    "signed_power": signed_power(),
    "one_of_many": one_of_many(),
    "code": code(),
}


def measure(case, n, seed, **parameters):
    """Held-out log-density of the truth and of a fit, and the stray shares of the truth and of generated samples."""
    rng = np.random.default_rng(seed)
    X, test = case.sample(rng, n), case.sample(rng, N_TEST)
    estimator = DiffusionDensityEstimator(random_state=seed, **parameters).fit(X)
    strays = (case.stray(Y).mean() for Y in (test, estimator.sample(N_GENERATED, random_state=seed)))
    return (case.log_prob(test).mean(), estimator.score(test), *strays)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-iter", type=int, default=None, help="epochs, for a quick look")
    arguments = parser.parse_args()
    parameters = {} if arguments.max_iter is None else {"max_iter": arguments.max_iter}
    warnings.simplefilter("ignore")
    print(f"n = {arguments.n}, mean of {arguments.seeds} seeds (largest loss in brackets)")
    print(f"{'case':22} {'truth':>9} {'ours':>9} {'loss':>15} {'stray':>9} {'of truth':>9} {'seconds':>8}")
    for name in arguments.cases:
        start = time.perf_counter()
        runs = [measure(CASES[name], arguments.n, seed, **parameters) for seed in range(arguments.seeds)]
        truth, ours, of_truth, stray = np.mean(runs, axis=0)
        loss, largest = truth - ours, max(run[0] - run[1] for run in runs)
        seconds = (time.perf_counter() - start) / arguments.seeds
        nats = f"{name:22} {truth:9.3f} {ours:9.3f} {loss:7.3f} ({largest:5.2f})"
        print(f"{nats} {stray:9.2%} {of_truth:9.2%} {seconds:8.0f}", flush=True)


if __name__ == "__main__":
    main()
