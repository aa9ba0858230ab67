"""Samples and values that repeat: copies, groups, codes, round-off, uneven weights.

    python -m benchmarks.care.repeats [--seeds 5] [--cases copies ...]

Printed are held-out mean log-densities in nats, mean and worst over the seeds, beside that of the truth where it is
known, and what generated samples look like where that is the question.
"""

import argparse
import time
import warnings
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, poisson

N_FRESH = 4000


class Table(NamedTuple):
    """Samples to fit, samples to score, the mean log-density of the truth there, and what `fit` is given besides."""

    X: np.ndarray
    fresh: np.ndarray
    truth: float
    given: dict = {}
    describe: object = None


def gaussian(rng, n, d):
    """Standard normal samples and the mean log-density of fresh ones."""
    X, fresh = rng.standard_normal((n, d)), rng.standard_normal((N_FRESH, d))
    return X, fresh, norm.logpdf(fresh).sum(1).mean()


def copied(times):
    def draw(rng):
        X, fresh, truth = gaussian(rng, 500, 5)
        return Table(np.repeat(X, times, axis=0), fresh, truth)

    return draw


def bootstrap(rng):
    X, fresh, truth = gaussian(rng, 500, 5)
    return Table(X[rng.integers(500, size=2000)], fresh, truth)


def chain(rng):
    """A state is repeated until a proposal is accepted."""
    X, fresh, truth = gaussian(rng, 500, 5)
    return Table(np.repeat(X, rng.geometric(0.3, size=500), axis=0), fresh, truth)


def near_copies(rng):
    X, fresh, truth = gaussian(rng, 500, 5)
    X = np.repeat(X, 5, axis=0)
    return Table(X + 1e-6 * rng.standard_normal(X.shape), fresh, truth)


def rounded_copies(rng):
    X, fresh, truth = gaussian(rng, 500, 5)
    return Table(np.repeat(np.round(X, 2), 5, axis=0), fresh, truth)


def coarse(resample):
    def draw(rng):
        """Tenths, drawn again from 500 samples twice as often, or not; truth and scores are of a step shared evenly."""
        X = np.round(rng.standard_normal((500, 2)), 1)
        k = np.round(10 * rng.standard_normal((N_FRESH, 2)))
        truth = np.log((norm.cdf((k + 0.5) / 10) - norm.cdf((k - 0.5) / 10)) / 0.1).sum(1).mean()
        return Table(X[rng.integers(500, size=1000)] if resample else X, k / 10, truth)

    return draw


def panel(grouped):
    def draw(rng):
        """100 subjects with ten samples each, which vary by a twentieth of what the subjects do."""
        X, fresh, truth = gaussian(rng, 100, 3)
        X = (X[:, None] + 0.05 * rng.standard_normal((100, 10, 3))).reshape(-1, 3)
        return Table(X, fresh, truth, {"groups": np.repeat(np.arange(100), 10)} if grouped else {})

    return draw


def coded(value):
    def draw(rng):
        """A tenth of a feature is a code; scored are samples without it, of which the truth has nine tenths."""

        def pair(n):
            a = 1.5 * rng.standard_normal(n)
            return np.column_stack([a, a + 0.7 * rng.standard_normal(n)])

        X, fresh = pair(2000), pair(N_FRESH)
        X[rng.random(2000) < 0.1, 0] = value
        truth = norm(0, 1.5).logpdf(fresh[:, 0]) + norm(fresh[:, 0], 0.7).logpdf(fresh[:, 1]) + np.log(0.9)

        def describe(est):
            drawn = est.sample(5000)[:, 0]
            rest = drawn[drawn != value]
            return f"{(drawn == value).mean():.1%} are the code, the rest from {rest.min():.1f} to {rest.max():.1f}"

        return Table(X, fresh, truth.mean(), {}, describe)

    return draw


def zero_inflated(rng):
    """A third of a feature is zero, the rest of it gamma; scored are samples that are not zero."""

    def pair(n):
        return np.column_stack([rng.gamma(2.0, 1.0, n), rng.standard_normal(n)])

    X, fresh = pair(2000), pair(N_FRESH)
    X[rng.random(2000) < 1 / 3, 0] = 0.0
    fresh = fresh[fresh[:, 0] > 0.2]
    truth = np.log(fresh[:, 0]) - fresh[:, 0] + norm.logpdf(fresh[:, 1]) + np.log(2 / 3)

    def describe(est):
        drawn = est.sample(5000)[:, 0]
        return f"{(drawn == 0).mean():.1%} are zero, {(drawn < 0).mean():.1%} are below"

    return Table(X, fresh, truth.mean(), {}, describe)


def tenths(mixed):
    def draw(rng):
        """Tenths, which are computed in two ways if `mixed`; the truth of a step is shared out evenly over it."""
        k, half = np.round(4 * rng.standard_normal(2000)), rng.random(2000) < 0.5
        X = np.column_stack([np.where(half, k / 10, k * 0.1) if mixed else k / 10, rng.standard_normal(2000)])
        k, b = np.round(4 * rng.standard_normal(N_FRESH)), rng.standard_normal(N_FRESH)
        mass = norm.cdf((k + 0.5) / 4) - norm.cdf((k - 0.5) / 4)
        fresh = np.column_stack([k / 10, b])

        def describe(est):
            return f"half a step away {est.score(fresh + [0.05, 0.0]):.3f}"

        return Table(X, fresh, (np.log(mass / 0.1) + norm.logpdf(b)).mean(), {}, describe)

    return draw


def counts(rng):
    X, fresh = rng.poisson(3.0, (2000, 1)), rng.poisson(3.0, (N_FRESH, 1))
    return Table(X.astype(float), fresh.astype(float), poisson(3.0).logpmf(fresh).mean())


def two_ratings(rng):
    X, fresh = rng.integers(10, size=(2000, 2)), rng.integers(10, size=(N_FRESH, 2))
    return Table(X.astype(float), fresh.astype(float), -np.log(100.0))


def weighted(d, scale):
    def draw(rng):
        """Draws of a wide distribution, weighted to a standard normal one."""
        X, fresh, truth = gaussian(rng, 4000, d)
        X *= scale
        log_weight = norm.logpdf(X).sum(1) - norm(scale=scale).logpdf(X).sum(1)
        w = np.exp(log_weight - log_weight.max())

        def describe(_):
            return f"effective number {w.sum() ** 2 / (w @ w):.0f}"

        return Table(X, fresh, truth, {"sample_weight": w}, describe)

    return draw


CASES = {
    "each sample once": copied(1),
    "each sample twice": copied(2),
    "each sample five times": copied(5),
    "bootstrap": bootstrap,
    "chain": chain,
    "near copies": near_copies,
    "rounded copies": rounded_copies,
    "coarse": coarse(False),
    "coarse bootstrap": coarse(True),
    "panel": panel(False),
    "panel with groups": panel(True),
    "code -999": coded(-999.0),
    "code 0": coded(0.0),
    "zero-inflated": zero_inflated,
    "tenths": tenths(False),
    "tenths with round-off": tenths(True),
    "counts": counts,
    "two ratings": two_ratings,
    "weights, d = 2": weighted(2, 15.0),
    "weights, d = 5": weighted(5, 2.6),
}


def measured(draw, seed):
    """Held-out nats, those of the truth, seconds of the processor and what generated samples look like."""
    from skdiffusion import DiffusionDensityEstimator

    table, start = draw(np.random.default_rng(seed)), time.process_time()
    est = DiffusionDensityEstimator(random_state=0).fit(table.X, **table.given)
    seconds = time.process_time() - start
    return est.score(table.fresh), table.truth, seconds, table.describe(est) if table.describe else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'case':<24}{'truth':>8}{'mean':>8}{'worst':>8}{'CPU s':>7}  last seed")
    for name in arguments.cases:
        runs = [measured(CASES[name], seed) for seed in range(arguments.seeds)]
        score, truth, seconds, said = (list(part) for part in zip(*runs))
        worst = min(s - t for s, t in zip(score, truth)) + np.mean(truth)
        figures = f"{np.mean(truth):8.3f}{np.mean(score):8.3f}{worst:8.3f}{np.mean(seconds):7.1f}"
        print(f"{name:<24}{figures}  {said[-1]}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
