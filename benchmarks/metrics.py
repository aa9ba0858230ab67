"""Seconds and memory of the metrics: python -m benchmarks.metrics"""

import resource
import time

import numpy as np

from skdiffusion import metrics

CASES = {
    "exact W1, 2000 against 2000 rows, d = 10": (metrics.wasserstein_1, 2000, 10),
    "exact W2, 2000 against 2000 rows, d = 10": (metrics.wasserstein_2, 2000, 10),
    "sliced W1, 100000 rows, d = 10, 200 projections": (metrics.sliced_wasserstein_1, 100_000, 10),
    "energy distance, 5000 rows, d = 10": (metrics.energy_distance, 5000, 10),
    "MMD, 5000 rows, d = 10": (metrics.maximum_mean_discrepancy, 5000, 10),
    "C2ST, 1000 rows, d = 10": (metrics.classifier_two_sample_test, 1000, 10),
}


def main():
    metrics.wasserstein_1(np.zeros((3, 2)), np.ones((3, 2)))  # the import of POT
    print("Median of five runs, one thread.\n\n| metric | seconds | peak memory so far, MB |\n|---|---|---|")
    for label, (metric, n, d) in CASES.items():
        rng = np.random.default_rng(0)
        X, Y = rng.normal(size=(n, d)), rng.normal(size=(n, d))
        seconds = []
        for _ in range(5):
            start = time.process_time()
            metric(X, Y)
            seconds.append(time.process_time() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {label} | {np.median(seconds):.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
