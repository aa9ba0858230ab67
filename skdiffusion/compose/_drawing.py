"""Rows from any density estimator of the scikit-learn world, by one call and with a seed of our own."""

import inspect
import warnings

import numpy as np

from skdiffusion._utils.validation import generator_seed
from skdiffusion.compose._jacobians import active_steps, inverse_rows

MAX_ATTEMPTS = 20


def _fitted(estimator):
    """What a fitted search object chose, or the estimator itself."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def _with_seed(estimator, seed):
    """A shallow copy of a fitted estimator with another `random_state`."""
    twin = estimator.__class__.__new__(estimator.__class__)
    twin.__dict__.update(estimator.__dict__)
    twin.random_state = seed
    return twin


def draw_rows(estimator, n_samples, random_state=None):
    """Draw rows in the units of the estimator's input.

    Parameters
    ----------
    estimator : fitted density estimator
        With `sample`, which may take no seed and may return a tuple (as GaussianMixture's); a fitted search
        object; or a Pipeline of invertible transformers that ends in one of these.
    n_samples : int
    random_state : int, RandomState or None, default=None
        The same seed gives the same rows, whatever the estimator's own convention.

    Returns
    -------
    ndarray of shape (n_samples, n_features)

    Raises
    ------
    TypeError
        If there is no way to draw from the estimator.
    """
    estimator = _fitted(estimator)
    seed = generator_seed(random_state)
    if not hasattr(estimator, "sample"):
        if hasattr(estimator, "steps"):
            return draw_through(estimator, n_samples, seed)
        raise TypeError(f"{type(estimator).__name__} has no 'sample' method: no rows can be drawn from it.")
    arguments = inspect.signature(estimator.sample).parameters
    if "random_state" in arguments:
        plain = {"as_frame": False} if "as_frame" in arguments else {}
        rows = estimator.sample(n_samples, random_state=seed, **plain)
    else:
        rows = _with_seed(estimator, seed).sample(n_samples)
    if isinstance(rows, tuple):
        # GaussianMixture groups the rows by component.
        rows = np.asarray(rows[0])[np.random.default_rng(seed).permutation(n_samples)]
    return np.asarray(rows)


def score_rows(estimator, rows):
    """Log-densities of rows in an array, under an estimator that may have been fitted on a frame."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return estimator.score_samples(rows)


def draw_through(pipeline, n_samples, seed):
    """Rows of a pipeline's last step, mapped back through its transformers.

    Draws that no input maps to (a power transform reaches a half-line only) are drawn again.

    Parameters
    ----------
    pipeline : fitted Pipeline
    n_samples : int
    seed : int

    Returns
    -------
    ndarray of shape (n_samples, n_features)

    Raises
    ------
    TypeError
        If a step cannot be inverted.
    ValueError
        If hardly any draw has a preimage.
    """
    (_, final), *transformers = reversed(active_steps(pipeline))
    kept, missing = [], n_samples
    for attempt in range(MAX_ATTEMPTS):
        rows = draw_rows(final, missing, (seed + attempt) % 2**31)
        for name, step in transformers:
            try:
                with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    warnings.simplefilter("ignore")  # scikit-learn warns of the rows that are dropped below
                    rows = inverse_rows(step, rows)
            except TypeError as error:
                raise TypeError(f"Step {name!r} of the Pipeline: {error}") from error
            rows = rows[np.isfinite(rows).all(1)]
        kept.append(rows)
        missing -= len(rows)
        if missing == 0:
            return np.concatenate(kept)
    raise ValueError(
        f"{missing} of {n_samples} rows drawn from {type(final).__name__} have no preimage under the Pipeline's "
        "transformers: choose other transformers."
    )
