"""
Can a fit run on a cluster?
===========================

A density is fitted where the partitions of a Dask array lie, by one and by two worker processes.
Both give the same density up to round-off, and the log-densities of the array are computed there
too, lazily. On a real cluster only the address in `Client` changes.
"""

import os
import time

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from skdiffusion import Options
from skdiffusion.dask import DaskDiffusionDensityEstimator

N_SAMPLES, N_FEATURES = 2000, 6


def samples():
    X = np.random.default_rng(0).standard_normal((N_SAMPLES, N_FEATURES))
    X[:, 1:] += 0.4 * X[:, :-1] ** 2
    return X


def main():
    X = da.from_array(samples(), chunks=(500, N_FEATURES))
    scores = {}
    print(
        f"{os.cpu_count()} processors, load of the last minute {os.getloadavg()[0]:.1f} (0 is idle)"
    )
    for n_workers in (1, 2):
        with (
            LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            est = DaskDiffusionDensityEstimator(
                client=client,
                components=["mixture"],
                random_state=0,
                options=Options(n_training_steps=300),
            )
            client.run(__import__, "skdiffusion.estimators")  # imports torch: not a part of the fit
            start = time.perf_counter()
            est.fit(X)
            seconds = time.perf_counter() - start
            scores[n_workers] = est.score_samples(X).compute()
            nats = scores[n_workers].mean()
            print(f"{n_workers} worker(s): fit in {seconds:.1f} s, {nats:.3f} nats")
    difference = np.abs(scores[1] - scores[2]).max()
    print(f"largest difference of a log-density: {difference:.1e}")
    assert difference < 0.01


# Worker processes import this file: they must not start clusters of their own.
if __name__ == "__main__":
    main()

# %%
# Where it fails: on two cores two workers save little, and they are slower than one where the cores
# have other work, for they wait for each other in every step, and each computes the closed forms
# for itself. A cluster pays where networks are wide, batches are large and workers have cores of
# their own.
