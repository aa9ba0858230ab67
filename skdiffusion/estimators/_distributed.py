"""The fit of an estimator by several processes or by one, and one that goes on from a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import skdiffusion
from skdiffusion._utils.collective import all_processes, alone
from skdiffusion._utils.validation import restored_on_failure
from skdiffusion.diffusion.training import Checkpoint
from skdiffusion.preprocessing import WeightedSamples

# Parameters that may differ between processes, or between a fit and the one that goes on from it.
OWN = {"device", "n_jobs", "random_state", "verbose", "options", "options__checkpoint"}


@contextmanager
def everywhere(estimator: Any, *, goes_on: bool = False) -> Iterator[None]:
    """Run a fit in all processes of the process group, if there is one; all then have what the first has fitted.

    One that goes on from an earlier fit goes on from the same one in all of them.
    """
    with all_processes() as processes:
        processes.enters("the comparison of the parameters")
        processes.check_alike(lambda: _described(estimator), "parameters of the estimator")
        if goes_on:
            processes.check_alike(lambda: _fitted(estimator), "fitted attributes")
        yield
        processes.enters("the exchange of the fitted model")
        fitted = {name: getattr(estimator, name) for name in estimator._saved if hasattr(estimator, name)}
        vars(estimator).update(processes.first(fitted))


@contextmanager
def by_itself(estimator: Any) -> Iterator[None]:
    """Run a fit in this process alone, on the samples that it has; an earlier fit stays if the body raises."""
    with alone(), restored_on_failure(estimator):
        yield


def checkpoint_of(estimator: Any, samples: WeightedSamples, seed: int) -> Checkpoint | None:
    """The checkpoint of a fit of these samples, if `options` asks for one."""
    path = None if estimator.options is None else estimator.options.checkpoint
    if path is None:
        return None
    goes_on = estimator.warm_start and hasattr(estimator, "blend_")
    known = skdiffusion.__version__, goes_on, sorted(_described(estimator).items())
    digest = hashlib.sha256(repr(known).encode())
    for array in (samples.X, samples.weight, samples.groups):
        digest.update(b"" if array is None else f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return Checkpoint(path, digest.hexdigest(), seed)


def _described(estimator: Any) -> dict[str, str]:
    return {name: repr(value) for name, value in estimator.get_params().items() if name not in OWN}


def _fitted(estimator: Any) -> dict[str, str]:
    names = "n_samples_seen_", "component_weights_", "_sample_seed"
    return {name: repr(getattr(estimator, name, None)) for name in names}
