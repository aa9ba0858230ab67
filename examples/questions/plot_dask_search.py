"""
Can a search run on a cluster?
==============================

`GridSearchCV` runs wherever joblib runs: here on two worker processes of a local Dask cluster, with
the result of a search in one process. On a real cluster only the address in `Client` changes.
"""

import time

import joblib
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.metrics import mean_log_likelihood


def main():
    X = load_wine().data
    search = GridSearchCV(
        DiffusionDensityEstimator(n_estimators=2, random_state=0),
        {"hidden_layer_sizes": [(16, 16), (32, 32), (64, 64), (128, 128)]},
        scoring=mean_log_likelihood,
        cv=3,
    )
    start = time.perf_counter()
    alone = search.fit(X).cv_results_["mean_test_score"]
    seconds = time.perf_counter() - start
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_backend("dask"),
    ):
        start = time.perf_counter()
        spread = search.fit(X).cv_results_["mean_test_score"]
        print(f"one process {seconds:.1f} s")
        print(f"two workers {time.perf_counter() - start:.1f} s, their start included")
    print("largest difference of a score:", np.abs(alone - spread).max())
    print("chosen:", search.best_params_)


# Worker processes import this file: they must not start clusters of their own.
if __name__ == "__main__":
    main()

# %%
# Where it fails: a fit takes seconds, and so does the start of a worker that has to import torch: a
# cluster pays from about a minute of fits upwards.
