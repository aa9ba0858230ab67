"""Training, `score_samples` and `sample` beside the time of their matrix products alone, on one thread.

    python -m benchmarks.floors [--repeats 5] [--quick]

Every product of a call is recorded with its shapes and strides, then done again on random numbers: no implementation
of the same algorithm can take less. The last line scores 100000 samples in eight features with one network.
"""

import argparse
import time
import warnings
from collections import Counter
from functools import partial

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.targets import MixtureTarget

PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm, torch.ops.aten.baddbmm}


class RecordedProducts(TorchDispatchMode):
    """Counts of the matrix products within a block, by operation, shapes, strides and type."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Note a product, and do it."""
        if func.overloadpacket in PRODUCTS:
            self.counts[func.overloadpacket, tuple((tuple(a.shape), a.stride(), a.dtype) for a in args)] += 1
        return func(*args, **(kwargs or {}))


def seconds_of(counts, most=200):
    """Seconds that these products take."""
    total = 0.0
    for (function, tensors), count in counts.items():
        arguments = []
        for shape, stride, dtype in tensors:
            size = 1 + sum((n - 1) * step for n, step in zip(shape, stride))
            arguments.append(torch.randn(size, dtype=dtype).as_strided(shape, stride))
        function(*arguments)
        done = min(count, most)
        start = time.perf_counter()
        for _ in range(done):
            function(*arguments)
        total += (time.perf_counter() - start) * count / done
    return total


def summary(pairs):
    """Medians of the seconds of a call and of its products, and of their ratio pair by pair, with its range."""
    whole, floor = np.array(pairs).T
    ratio = whole / floor
    return np.median(whole), np.median(floor), np.median(ratio), ratio.min(), ratio.max()


def beside_its_products(call, repeats):
    """`summary` of a call."""
    with RecordedProducts() as recorded:
        call()
    pairs = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        pairs.append((time.perf_counter() - start, seconds_of(recorded.counts)))
    return summary(pairs)


def training_seconds(X, repeats):
    """`summary` of a training step: the difference of fits of 60 and of 20 epochs."""
    from skdiffusion import DiffusionDensityEstimator, Options

    def fit(epochs):
        given = {"components": None, "feature_transform": None, "n_steps": 4, "random_state": 0}
        given["options"] = Options(patience=10_000)
        return DiffusionDensityEstimator(max_iter=epochs, **given).fit(X)

    counts, steps = {}, {}
    for epochs in (20, 60):
        with RecordedProducts() as recorded:
            steps[epochs] = int(fit(epochs).loss_curve_[-1, 0])
        counts[epochs] = recorded.counts
    left = counts[60] - counts[20]
    n_steps, pairs = steps[60] - steps[20], []
    for _ in range(repeats):
        times = []
        for epochs in (20, 60):
            start = time.perf_counter()
            fit(epochs)
            times.append(time.perf_counter() - start)
        pairs.append(((times[1] - times[0]) / n_steps, seconds_of(left) / n_steps))
    return summary(pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small counts, to see that it runs")
    arguments = parser.parse_args()
    from skdiffusion import DiffusionDensityEstimator

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    scored, drawn, many = (500, 2000, 2000) if arguments.quick else (5000, 50_000, 100_000)
    print("| columns | call | seconds | its products | ratio (range) |\n|---|---|---|---|---|")
    for d in (2, 8) if arguments.quick else (2, 8, 32):
        rng = np.random.default_rng(d)
        density = MixtureTarget(rng.normal(size=(3, d)), np.stack([np.eye(d) * s for s in (0.3, 0.5, 1.0)]))
        X, fresh = density.sample(2000, rng), density.sample(scored, rng)
        est = DiffusionDensityEstimator(components=None, max_iter=20, random_state=0).fit(X)
        samples = {
            "training step": training_seconds(X[:500] if arguments.quick else X, arguments.repeats),
            f"score_samples, {scored} rows": beside_its_products(partial(est.score_samples, fresh), arguments.repeats),
            f"sample, {drawn} rows": beside_its_products(partial(est.sample, drawn), arguments.repeats),
        }
        for name, (whole, floor, ratio, low, high) in samples.items():
            print(f"| {d} | {name} | {whole:.4f} | {floor:.4f} | {ratio:.2f} ({low:.2f}-{high:.2f}) |", flush=True)
        if d == 8:
            one = DiffusionDensityEstimator((128, 128), n_estimators=1, components=None, random_state=0).fit(X)
            queries, times = density.sample(many, rng), []
            for _ in range(min(3, arguments.repeats)):
                start = time.perf_counter()
                one.score_samples(queries)
                times.append(time.perf_counter() - start)
            last = f"{many} rows in {d} columns, one member of width 128: {np.median(times):.2f} s, "
            last += f"mean numerical error {one.log_density_error(queries[:1000]).mean():.5f} nats."
    print("\n" + last)


if __name__ == "__main__":
    main()
