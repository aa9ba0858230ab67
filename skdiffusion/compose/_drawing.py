"""Samples from any density estimator of the scikit-learn world, by one call and with a seed of its own."""

import inspect
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skdiffusion._utils.validation import RandomState, generator_seed
from skdiffusion.compose._fitted import chosen_estimator
from skdiffusion.compose._inverses import inverse_samples
from skdiffusion.compose._transformers import active_steps

MAX_ATTEMPTS = 20


def _with_seed(estimator: BaseEstimator, seed: int) -> BaseEstimator:
    """A shallow copy of a fitted estimator with another `random_state`."""
    twin = estimator.__class__.__new__(estimator.__class__)
    twin.__dict__.update(estimator.__dict__)
    twin.random_state = seed
    return twin


def draw_samples(estimator: BaseEstimator, n_samples: int, random_state: RandomState = None) -> np.ndarray:
    """Draw samples in the units of the estimator's input.

    Parameters
    ----------
    estimator : fitted density estimator
        With `sample`, which may take no seed and may return a tuple (as GaussianMixture's); a fitted search
        object; or a Pipeline of invertible transformers that ends in one of these.
    n_samples : int
    random_state : int, RandomState or None, default=None
        The same seed gives the same samples, whatever the estimator's own convention.

    Returns
    -------
    ndarray of shape (n_samples, n_features)

    Raises
    ------
    TypeError
        If the estimator cannot draw samples, or if a step of the Pipeline cannot be inverted.
    ValueError
        If hardly any draw of the last step has a preimage under the transformers of the Pipeline.
    """
    estimator = chosen_estimator(estimator)
    seed = generator_seed(random_state)
    if not hasattr(estimator, "sample"):
        if isinstance(estimator, Pipeline):
            return draw_through(estimator, n_samples, seed)
        raise TypeError(f"{type(estimator).__name__} has no 'sample' method: no samples can be drawn from it.")
    arguments = inspect.signature(estimator.sample).parameters
    if "random_state" in arguments:
        plain = {"as_frame": False} if "as_frame" in arguments else {}
        samples = estimator.sample(n_samples, random_state=seed, **plain)
    else:
        samples = _with_seed(estimator, seed).sample(n_samples)
    if isinstance(samples, tuple):
        # GaussianMixture groups the samples by component.
        samples = np.asarray(samples[0])[np.random.default_rng(seed).permutation(n_samples)]
    return np.asarray(samples)


def draw_through(pipeline: Pipeline, n_samples: int, seed: int) -> np.ndarray:
    """Samples of a pipeline's last step, mapped back through its transformers.

    Draws that no input maps to (a power transform reaches a half-line only) are drawn again. Errors are those of
    `draw_samples`.
    """
    (_, final), *transformers = reversed(active_steps(pipeline))
    kept, missing = [], n_samples
    for attempt in range(MAX_ATTEMPTS):
        samples = draw_samples(final, missing, (seed + attempt) % 2**31)
        samples = _preimages(transformers, samples)
        kept.append(samples)
        missing -= len(samples)
        if missing == 0:
            return np.concatenate(kept)
    raise ValueError(
        f"{missing} of {n_samples} samples drawn from {type(final).__name__} have no preimage under the Pipeline's "
        "transformers: choose other transformers."
    )


def _preimages(transformers: list[tuple[str, BaseEstimator]], samples: np.ndarray) -> np.ndarray:
    """Samples mapped back through named transformers, the last of the pipeline first, without those that fail."""
    for name, step in transformers:
        try:
            with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                warnings.simplefilter("ignore")  # scikit-learn warns of the samples that are dropped below
                samples = inverse_samples(step, samples)
        except TypeError as error:
            raise TypeError(f"Step {name!r} of the Pipeline: {error}") from error
        samples = samples[np.isfinite(samples).all(1)]
    return samples
