r"""Pipelines whose densities are in the units of their input.

With z = T(x), the density of x is :math:`\log p(x) = \log q(T(x)) + \log|\det T'(x)|`. scikit-learn's Pipeline
leaves the second term out, so that the score of one and the same model depends on the scaler before it.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline, _name_estimators
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, check_random_state

from skdiffusion._utils.frames import as_numbers, frame_library, note_frame, to_frame, wants_frame
from skdiffusion._utils.measure import numbers_alone
from skdiffusion._utils.validation import RandomState, check_finite, generator_seed
from skdiffusion.compose._fitted import draw_through
from skdiffusion.compose._jacobians import has_known_jacobian, log_abs_det_jacobian
from skdiffusion.compose._score import mean_log_density
from skdiffusion.compose._transformers import active_steps, not_invertible, passes_nan


def _final_can(method: str) -> Callable[[Pipeline], bool]:
    def check(self: Pipeline) -> bool:
        getattr(self._final_estimator, method)
        return True

    return check


def _frame_or_array(X: ArrayLike) -> Any:
    """The numbers of a frame, whose columns a transformer may select by name; anything else as an array."""
    return check_array(X, dtype=np.float64, ensure_all_finite=False) if frame_library(X) is None else as_numbers(X)


class DensityPipeline(Pipeline):
    r"""A Pipeline of invertible transformers and a density estimator, with densities in the units of its input.

    `score_samples` adds the log-Jacobian of every step, `score` is the mean over samples for any final
    estimator, and `sample` maps draws back. Everything else is scikit-learn's Pipeline, parameters included. NaN means
    unknown where all steps let it pass: the density is then the marginal one of the other features. Booleans and
    categories of numbers in frames are handed on as numbers, and behind a transformer one-hot columns are numbers too.

    Parameters
    ----------
    steps : list of (str, estimator)
        Transformers whose Jacobian is known (see `log_abs_det_jacobian`), then a density estimator.
    transform_input, memory, verbose
        As for `sklearn.pipeline.Pipeline`.

    Attributes
    ----------
    feature_scale_ : ndarray of shape (n_features,)
        Standard deviations of the training features.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from skdiffusion.compose import make_density_pipeline
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) * 100
    >>> scaled = make_density_pipeline(MinMaxScaler(), GaussianMixture(random_state=0, reg_covar=0)).fit(X)
    >>> plain = GaussianMixture(random_state=0, reg_covar=0).fit(X)
    >>> bool(abs(scaled.score(X) - plain.score(X)) < 1e-9)
    True
    >>> scaled.score_samples(X).shape, scaled.sample(5, random_state=0).shape
    ((300,), (5, 2))
    """

    def fit(self, X: ArrayLike, y: None = None, **params: Any) -> "DensityPipeline":
        """Fit the transformers in turn, then the density estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        **params
            As for `sklearn.pipeline.Pipeline.fit`.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If a step is not invertible: the error names it.
        ValueError
            If a step stands before a density estimator with `categorical_features` or `atoms`.
        """
        for name, step in active_steps(self)[:-1]:
            if not has_known_jacobian(step):
                raise TypeError(f"Step {name!r}: {not_invertible(step, 'its Jacobian is not known')}")
            for parameter in ("categorical_features", "atoms"):
                # Its Jacobian would be counted where the density is a probability.
                value = getattr(self._final_estimator, parameter, None)
                if value is not None and not (isinstance(value, str) and value == "from_dtype"):
                    raise ValueError(
                        f"The last step has {parameter!r}: a density of categories or atoms takes no transformer "
                        f"before it. Remove step {name!r}, or set {parameter!r} to None."
                    )
        numbers = as_numbers(X)
        self._check_finite(numbers)
        with numbers_alone() if len(active_steps(self)) > 1 else nullcontext():
            super().fit(numbers, y, **params)
        self._log_jacobian(_safe_indexing(_frame_or_array(numbers), slice(2)))
        self.feature_scale_ = np.nanstd(check_array(numbers, dtype=np.float64, ensure_all_finite="allow-nan"), axis=0)
        note_frame(self, X)
        return self

    def _check_finite(self, X: ArrayLike) -> None:
        """Refuse infinity, and NaN where a step does not take it, by the names of the features that hold it."""
        takes_nan = all(passes_nan(step) for _, step in active_steps(self))
        check_finite(self, check_array(X, dtype=np.float64, ensure_all_finite=False), X, allow_nan=takes_nan)

    def _log_jacobian(self, X: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        """Samples at the last step, the log-Jacobian of all samples given, and which of these have an image."""
        inside = np.ones(len(X), dtype=bool)
        total = np.zeros(len(X))
        for name, step in active_steps(self)[:-1]:
            try:
                total[inside] += log_abs_det_jacobian(step, X)
            except TypeError as error:
                raise TypeError(f"Step {name!r}: {error}") from error
            n_unknown = np.isnan(np.asarray(X, dtype=np.float64)).sum(1)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                X = step.transform(X)
            Z = np.asarray(X, dtype=np.float64)
            finite = ~np.isinf(Z).any(1) & (np.isnan(Z).sum(1) == n_unknown)
            if not finite.all():
                X = _safe_indexing(X, np.flatnonzero(finite))
                inside[np.flatnonzero(inside)[~finite]] = False
        return X, total, inside

    @available_if(_final_can("score_samples"))
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of every sample, in nats, in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            -inf for samples without an image, such as negative ones before a logarithm. The density integrates
            to the mass that the last step puts on images: all of it, but for transformers that reach only a
            part of the line (powers, quantiles), whose missing mass is that of draws which `sample` repeats.
        """
        check_is_fitted(self)
        numbers = as_numbers(X)
        self._check_finite(numbers)
        table = _frame_or_array(numbers)
        out = np.full(len(table), -np.inf)
        Z, total, inside = self._log_jacobian(table)
        if inside.any():
            out[inside] = self._final_estimator.score_samples(Z) + total[inside]
        return out

    @available_if(_final_can("score_samples"))
    def score(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log-density of the samples, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float

        Warns
        -----
        ZeroDensityWarning
            If samples of density zero, as outside `bounds`, make it -inf.
        """
        return mean_log_density(self.score_samples(X), sample_weight)

    @available_if(_final_can("sample"))
    def sample(self, n_samples: int = 1, random_state: RandomState = None, *, as_frame: bool | str = "auto") -> Any:
        """Draw samples in the units of the input.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            None takes the seed of the final estimator, or draws one from NumPy's global generator where it has none.
        as_frame : "auto" or bool, default="auto"
            Whether to return a frame of the library, feature names and dtypes seen in `fit`; "auto" does where `fit`
            saw a frame of pandas or polars, or a table of pyarrow. Integer features are rounded, and categories that
            are numbers are the nearest ones.

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        wanted = wants_frame(self, as_frame)
        own = getattr(self._final_estimator, "random_state", None)
        if random_state is None and own is not None:
            random_state = check_random_state(own)
        samples = draw_through(self, n_samples, generator_seed(random_state))
        return to_frame(samples, self) if wanted else samples


def make_density_pipeline(*steps: BaseEstimator, memory: Any = None, verbose: bool = False) -> DensityPipeline:
    """A `DensityPipeline` whose steps are named after their types.

    Parameters
    ----------
    *steps : estimators
        Transformers, then a density estimator.
    memory, verbose
        As for `sklearn.pipeline.make_pipeline`.

    Returns
    -------
    DensityPipeline

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdiffusion.compose import make_density_pipeline
    >>> X = np.random.default_rng(0).normal(5.0, 2.0, size=(300, 2))
    >>> pipe = make_density_pipeline(StandardScaler(), GaussianMixture(random_state=0)).fit(X)
    >>> pipe.score_samples(X).shape, pipe.sample(5, random_state=0).shape
    ((300,), (5, 2))
    """
    return DensityPipeline(_name_estimators(steps), memory=memory, verbose=verbose)
