"""Rows from any density estimator of the scikit-learn world, by one call and with a seed of our own."""

import inspect

import numpy as np

from skdiffusion._validation import generator_seed
from skdiffusion.jacobians import active_steps, inverse_rows


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
            rows = draw_rows(estimator.steps[-1][1], n_samples, seed)
            for name, step in reversed(active_steps(estimator)[:-1]):
                try:
                    rows = inverse_rows(step, rows)
                except TypeError as error:
                    raise TypeError(f"Step {name!r} of the Pipeline: {error}") from error
            return rows
        raise TypeError(f"{type(estimator).__name__} has no 'sample' method: no rows can be drawn from it.")
    if "random_state" in inspect.signature(estimator.sample).parameters:
        rows = estimator.sample(n_samples, random_state=seed)
    else:
        rows = _with_seed(estimator, seed).sample(n_samples)
    if isinstance(rows, tuple):
        # GaussianMixture groups the rows by component.
        rows = np.asarray(rows[0])[np.random.default_rng(seed).permutation(n_samples)]
    return np.asarray(rows)
