"""Streams through `partial_fit`: densities that stay, and a mean that moves.

    python -m benchmarks.care.streams [--seeds 3] [--chunks 1 7 60 600] [--cases normal ...] [--features 2 5]

A fit on 600 samples is followed by fifty calls. Printed are the held-out mean log-density before and after them, in
nats, and that of a fit to all samples together (for the moving mean: to as many of the last ones as the first fit had),
means over the seeds; the worst change of a seed; and the seconds of a call, mean and longest.
"""

import argparse
import time
import warnings

import numpy as np
import torch

N_FIRST, N_CALLS, N_FRESH = 600, 50, 4000


def normal(n, d, rng):
    """Standard normal samples."""
    return rng.standard_normal((n, d))


def correlated(n, d, rng):
    """Normal samples of correlation 0.9."""
    return np.sqrt(0.1) * rng.standard_normal((n, d)) + np.sqrt(0.9) * rng.standard_normal((n, 1))


def bimodal(n, d, rng):
    """Two normal clusters, four standard deviations apart in every feature."""
    return rng.standard_normal((n, d)) + np.where(rng.random((n, 1)) < 0.3, -2.0, 2.0)


def banana(n, d, rng):
    """A bent density."""
    X = rng.standard_normal((n, d))
    X[:, 1:] = 0.5 * X[:, 1:] + X[:, :1] ** 2 / 2
    return X


def heavy(n, d, rng):
    """Student-t samples of three degrees of freedom."""
    return rng.standard_normal((n, d)) / np.sqrt(rng.chisquare(3, (n, 1)) / 3)


def tied(n, d, rng):
    """Normal samples, of which one feature is counts and one is rounded."""
    X = rng.standard_normal((n, d))
    X[:, 0] = rng.poisson(3, n)
    X[:, -1] = np.round(X[:, -1] + X[:, 0] / 3, 1) if d > 2 else X[:, -1]
    return X


def bounded(n, d, rng):
    """Exponential samples within bounds."""
    return rng.exponential(size=(n, d)) * (1 + (np.arange(d) > 0) * rng.exponential(size=(n, 1)))


CASES = {case.__name__: case for case in (normal, correlated, bimodal, banana, heavy, tied, bounded)}


def moved(n, d, rng):
    """Standard normal samples about 2 in the first feature."""
    X = rng.standard_normal((n, d))
    X[:, 0] += 2.0
    return X


def estimator(name, seed):
    """The estimator of a case."""
    from skdiffusion import DiffusionDensityEstimator

    return DiffusionDensityEstimator(bounds=(0, np.inf) if name == "bounded" else None, random_state=seed)


def streamed(est, chunks):
    """Seconds of every call."""
    seconds = []
    for chunk in chunks:
        start = time.perf_counter()
        est.partial_fit(chunk)
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def measured(name, d, size, seed, refit):
    """Log-density before, after and of a fit to everything, and the seconds of the calls."""
    rng = np.random.default_rng([seed, d])
    first = normal if name == "moving" else CASES[name]
    later = moved if name == "moving" else first
    X, fresh = first(N_FIRST, d, rng), later(N_FRESH, d, rng)
    chunks = [later(size, d, rng) for _ in range(N_CALLS)]
    est = estimator(name, seed).fit(X)
    before = est.score(fresh)
    seconds = streamed(est, chunks)
    everything = np.concatenate(chunks)[-N_FIRST:] if name == "moving" else np.concatenate([X, *chunks])
    whole = estimator(name, seed).fit(everything).score(fresh) if refit and len(everything) > 1 else np.nan
    return before, est.score(fresh), whole, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 7, 60, 600])
    parser.add_argument("--cases", nargs="+", default=[*CASES, "moving"])
    parser.add_argument("--features", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--no-refit", action="store_true", help="leave out the fit to everything")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| case | features | chunk | before | after | change (worst) | refit | seconds a call (longest) |")
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.cases:
        for d in arguments.features:
            for size in arguments.chunks:
                runs = [measured(name, d, size, seed, not arguments.no_refit) for seed in range(arguments.seeds)]
                before, after, whole = (np.array([run[k] for run in runs]) for k in range(3))
                change, seconds = after - before, np.concatenate([run[3] for run in runs])
                print(
                    f"| {name} | {d} | {size} | {before.mean():.3f} | {after.mean():.3f} | "
                    f"{change.mean():+.3f} ({change.min():+.3f}) | {whole.mean():.3f} | "
                    f"{seconds.mean():.2f} ({seconds.max():.2f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
