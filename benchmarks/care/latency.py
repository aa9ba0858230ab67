"""What one sample costs, and a hundred, and five thousand: log-density and its gradient, on one thread.

    python -m benchmarks.care.latency [--rounds 200] [--against FOLDER]

Our default is fitted to two thousand samples, beside KernelDensity and GaussianMixture; the median of the calls in
milliseconds. `--against` names a folder with another version of the package: each call is then timed in both by turns,
and the table gives the ratio of the medians too.
"""

import argparse
import os
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

N_TRAIN, DIMENSIONS = 2000, (2, 5, 10)
SIZES = {1: 1.0, 100: 0.1, 5000: 0.02}  # samples of a call, and how many of the rounds it is timed
METHODS = ("score_samples", "score_function")


def samples(d, n, seed=0):
    """Three Gaussians, of which one feature is bent along another and one is skewed."""
    rng = np.random.default_rng([d, seed])
    roots, centers = rng.normal(size=(3, d, d)) / np.sqrt(d), 2.5 * rng.normal(size=(3, d))
    rng = np.random.default_rng([d, n, seed])
    which = rng.integers(3, size=n)
    X = np.einsum("nij,nj->ni", roots[which], rng.normal(size=(n, d))) + centers[which]
    X[:, 0] = np.sin(X[:, 1]) + 0.3 * rng.normal(size=n)
    X[:, 1] = np.exp(X[:, 1] / 3)
    return X


def serve():
    """Time calls as they are asked for on standard input, one a line; the answer is in seconds."""
    warnings.simplefilter("ignore")
    models, answers = {}, sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        name, d, method, size, turn = line.split()
        d, size = int(d), int(size)
        if (name, d) not in models:
            models[name, d] = fitted(name, d), samples(d, 6000, 1)
        model, X = models[name, d]
        start = int(turn) % (len(X) - size)
        before = time.perf_counter()
        getattr(model, method)(X[start : start + size])
        print(time.perf_counter() - before, file=answers, flush=True)


def fitted(name, d):
    """An estimator that has seen the training samples of so many features."""
    from sklearn.mixture import GaussianMixture
    from sklearn.neighbors import KernelDensity

    from skdiffusion import DiffusionDensityEstimator

    estimators = {
        "skdiffusion": DiffusionDensityEstimator(random_state=0),
        "KernelDensity": KernelDensity(bandwidth="scott"),
        "GaussianMixture": GaussianMixture(3, random_state=0),
    }
    model = estimators[name].fit(samples(d, N_TRAIN))
    return pickle.loads(pickle.dumps(model))  # as it is loaded where it serves


class Server:
    """The package of a folder in a process of its own."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.path.abspath(folder), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def seconds(self, *asked):
        """Of one call."""
        print(*asked, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def medians(servers, asked, n_calls):
    """Median seconds of a call in every server, asked by turns; the first calls are not counted."""
    taken = [[server.seconds(*asked, turn) for server in servers] for turn in range(n_calls + 3)]
    return np.median(taken[3:], axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--against")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return serve()
    own = str(Path(__file__).resolve().parents[2])
    servers = [Server(folder) for folder in (own, given.against) if folder]
    print("| estimator | features | call | samples | milliseconds |" + (" before | ratio |" if given.against else ""))
    print("|---" * (5 + 2 * bool(given.against)) + "|")
    for d in DIMENSIONS:
        for name in ("skdiffusion", "KernelDensity", "GaussianMixture"):
            for method in METHODS if name == "skdiffusion" else METHODS[:1]:
                for size, share in SIZES.items():
                    used = servers if name == "skdiffusion" else servers[:1]
                    seconds = medians(used, (name, d, method, size), max(3, int(share * given.rounds)))
                    line = [name, d, method, size, *(f"{1e3 * s:.2f}" for s in seconds)]
                    line += [f"{seconds[0] / seconds[1]:.2f}"] if len(seconds) > 1 else []
                    print("| " + " | ".join(map(str, line)) + " |", flush=True)
    return None


if __name__ == "__main__":
    main()
