"""What is read from any fitted density estimator of the scikit-learn world, ours or not, and samples drawn from it."""

import inspect
import warnings
from copy import copy

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline

from skdiffusion._utils.validation import RandomState, generator_seed
from skdiffusion.compose._transformers import active_steps, inverse_samples

MAX_ATTEMPTS = 20


def chosen_estimator(estimator: BaseEstimator) -> BaseEstimator:
    """The best estimator of a fitted search, or of a search of searches; any other estimator itself.

    Parameters
    ----------
    estimator : fitted estimator

    Returns
    -------
    estimator

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdiffusion.compose import chosen_estimator
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> search = GridSearchCV(GaussianMixture(random_state=0), {"n_components": [1, 2]}).fit(X)
    >>> type(chosen_estimator(search)).__name__
    'GaussianMixture'
    """
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def at_last_step(estimator: BaseEstimator, X: ArrayLike) -> tuple[BaseEstimator, ArrayLike]:
    """The last step of a fitted Pipeline, and X as that step sees it; the best estimator of a search, or any other.

    Parameters
    ----------
    estimator : fitted estimator
    X : array-like of shape (n_samples, n_features)

    Returns
    -------
    estimator
    X : array-like of shape (n_samples, n_features_of_the_step)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdiffusion.compose import at_last_step
    >>> X = np.random.default_rng(0).normal(5.0, 2.0, size=(100, 2))
    >>> pipe = make_pipeline(StandardScaler(), GaussianMixture(random_state=0)).fit(X)
    >>> mixture, Z = at_last_step(pipe, X)
    >>> type(mixture).__name__, bool(abs(Z.mean()) < 1e-12)
    ('GaussianMixture', True)
    """
    estimator = chosen_estimator(estimator)
    while isinstance(estimator, Pipeline):
        *transformers, (_, last) = active_steps(estimator)
        for _, transformer in transformers:
            X = transformer.transform(X)
        estimator = chosen_estimator(last)
    return estimator, X


def names_at_last_step(estimator: BaseEstimator, names: list[str]) -> tuple[BaseEstimator, list[str] | None]:
    """The last step of a fitted pipeline, and the names of the features as it sees them.

    Parameters
    ----------
    estimator : estimator
        Fitted: a pipeline, a search over one, or anything else, which is its own last step.
    names : list of str
        Of the features that the estimator takes.

    Returns
    -------
    step : estimator
    names : list of str or None
        None where a transformer gives no names.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import PolynomialFeatures
    >>> from skdiffusion.compose import names_at_last_step
    >>> x = np.arange(4.0)[:, None]
    >>> model = make_pipeline(PolynomialFeatures(2), LinearRegression()).fit(x, x[:, 0])
    >>> names_at_last_step(model, ["age"])[1]
    ['1', 'age', 'age^2']
    """
    estimator = chosen_estimator(estimator)
    seen: list[str] | None = names
    while isinstance(estimator, Pipeline):
        *transformers, (_, last) = active_steps(estimator)
        for _, transformer in transformers:
            if seen is not None:
                named = hasattr(transformer, "get_feature_names_out")
                seen = [str(name) for name in transformer.get_feature_names_out(seen)] if named else None
        estimator = chosen_estimator(last)
    return estimator, seen


def log_density_of(estimator: BaseEstimator, samples: np.ndarray) -> np.ndarray:
    """Log-densities of samples in an array, under an estimator that may have been fitted on a frame.

    Parameters
    ----------
    estimator : fitted density estimator
    samples : ndarray of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_samples,)
        In nats.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from skdiffusion.compose import log_density_of
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> log_density_of(GaussianMixture(random_state=0).fit(X), X).shape
    (100,)
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return estimator.score_samples(samples)


def training_scale(estimator: BaseEstimator, X: np.ndarray) -> np.ndarray:
    """Standard deviations of the features on which an estimator was fitted, 1 for constant ones.

    An estimator gives them as `feature_scale_`; KernelDensity and GaussianMixture are known. For any other they are
    those of `X`.

    Parameters
    ----------
    estimator : fitted density estimator
    X : ndarray of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_features,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KernelDensity
    >>> from skdiffusion.compose import training_scale
    >>> X = np.array([[0.0, 1.0], [4.0, 1.0]])
    >>> training_scale(KernelDensity().fit(X), X)
    array([2., 1.])
    """
    estimator = chosen_estimator(estimator)
    if hasattr(estimator, "feature_scale_"):
        scale = estimator.feature_scale_
    elif isinstance(estimator, GaussianMixture):
        scale = _mixture_scale(estimator)
    elif isinstance(estimator, KernelDensity):
        scale = np.asarray(estimator.tree_.data).std(0)
    else:
        scale = X.std(0)
    scale = np.asarray(scale, dtype=np.float64)
    return np.where(scale > 0, scale, 1.0)


def _mixture_scale(mixture: GaussianMixture) -> np.ndarray:
    """Standard deviations of the features under a fitted mixture, which are those of its training samples."""
    center = mixture.weights_ @ mixture.means_
    variances = {
        "full": lambda c: np.diagonal(c, axis1=1, axis2=2),
        "tied": lambda c: np.tile(np.diagonal(c), (len(mixture.weights_), 1)),
        "diag": lambda c: c,
        "spherical": lambda c: np.tile(c[:, None], (1, mixture.means_.shape[1])),
    }[mixture.covariance_type](mixture.covariances_)
    return np.sqrt(mixture.weights_ @ (variances + (mixture.means_ - center) ** 2))


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

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KernelDensity
    >>> from skdiffusion.compose import draw_samples
    >>> kernel = KernelDensity(bandwidth=0.5).fit(np.random.default_rng(0).normal(size=(100, 2)))
    >>> draw_samples(kernel, 5, random_state=0).shape
    (5, 2)
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
        twin = copy(estimator)
        twin.random_state = seed
        samples = twin.sample(n_samples)
    if isinstance(samples, tuple):
        # GaussianMixture groups the samples by component.
        samples = np.asarray(samples[0])[np.random.default_rng(seed).permutation(n_samples)]
    return np.asarray(samples)


def draw_through(pipeline: Pipeline, n_samples: int, seed: int) -> np.ndarray:
    """Samples of a pipeline's last step, mapped back through its transformers.

    Draws that no input maps to (a power transform reaches a half-line only) are drawn again.
    """
    (_, final), *transformers = reversed(active_steps(pipeline))
    kept, missing = [], n_samples
    for attempt in range(MAX_ATTEMPTS):
        kept.append(_preimages(transformers, draw_samples(final, missing, (seed + attempt) % 2**31)))
        missing -= len(kept[-1])
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
