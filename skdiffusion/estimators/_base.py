"""What an estimator made of a blend of densities can do once it is fitted: densities, gradients and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_array, check_is_fitted

import skdiffusion
from skdiffusion._utils.blocks import MIN_SENT, values_in_parts
from skdiffusion._utils.frames import as_numbers, to_frame, wants_frame
from skdiffusion._utils.parallel import workers
from skdiffusion._utils.persistence import save
from skdiffusion._utils.processes import helpers, n_helpers
from skdiffusion._utils.validation import (
    check_count,
    check_finite,
    check_n_features,
    draw_seed,
    finite_values,
    generator_seed,
    is_cpu,
    validate_data,
)
from skdiffusion._utils.warnings import warn_user
from skdiffusion.compose import mean_log_density
from skdiffusion.densities import Blend, TransformedDensity
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.estimators._table_kinds import refuse_table
from skdiffusion.estimators._values import SolverError, WithinBounds, quietly
from skdiffusion.exceptions import InconsistentVersionWarning

DATA_TYPES = [np.float64, np.float32]


class SavableEstimator(BaseEstimator):
    """Files, and the version with which an estimator was pickled.

    A subclass lists in `_saved` the attributes that its `fit` sets, and has a line in `_utils.saved_classes`.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_skdiffusion_version": skdiffusion.__version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        written = state.get("_skdiffusion_version")
        if written != skdiffusion.__version__:
            warn_user(
                f"This {type(self).__name__} was saved by skdiffusion {written} and is read by "
                f"{skdiffusion.__version__}: fit it again if its results differ.",
                InconsistentVersionWarning,
            )
        super().__setstate__({k: v for k, v in state.items() if k != "_skdiffusion_version"})

    def save(self, path: str | PathLike) -> None:
        """Write the fitted estimator to a file that `skdiffusion.load` reads without running code.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        TypeError
            If a part of the estimator is not skdiffusion's own: use joblib, whose files run code.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from skdiffusion import DiffusionDensityEstimator, load
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit([[0.0], [1.0], [3.0]])
        >>> path = Path(tempfile.mkdtemp()) / "est.skd"
        >>> est.save(path)
        >>> load(path).n_features_in_
        1
        """
        save(self, path)


class MeanLogDensity(DensityMixin, SavableEstimator):
    """`score` of every density estimator here: the mean of `score_samples`."""

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
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

        Examples
        --------
        >>> import numpy as np
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
        >>> bool(np.isclose(est.score(X), est.score_samples(X).mean()))
        True
        """
        return mean_log_density(self.score_samples(X), sample_weight)


class BlendedDensityEstimator(MeanLogDensity):
    """Base of the density estimators that blend densities, of which one has a latent map.

    A subclass sets in `fit`: `blend_`, `component_weights_`, `preprocessor_`, `_resolution` and `_sample_seed`;
    it has the parameter `random_state`, and `_latent_component`, the name of the component with the latent map.
    """

    n_jobs: int | None = None  # a parameter of some
    _latent_component: str
    blend_: Blend
    preprocessor_: Any  # Preprocessor, or TablePreprocessor
    _resolution: Any  # Resolution, or TableResolution

    @property
    def _latent(self) -> TransformedDensity:
        """The component with a map to standard normal codes."""
        check_is_fitted(self)
        refuse_table(self, "The latent map of the diffusion", "its states have none; use score_samples and sample")
        return cast(TransformedDensity, self.blend_.densities[self._latent_component])

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=DATA_TYPES, reset=False)

    def _checked_codes(self, codes: Any) -> np.ndarray:
        """Codes in an array or frame, whose columns have no names that `fit` could know."""
        check_is_fitted(self)
        numbers = as_numbers(codes)
        codes = check_array(numbers, dtype=DATA_TYPES, estimator=self, input_name="codes", ensure_all_finite=False)
        check_n_features(self, codes, reset=False)
        check_finite(self, codes, numbers, "codes")
        return codes

    def _evaluate(
        self, function: Callable[[np.ndarray], np.ndarray], X: np.ndarray, outside: float = -np.inf, width: int = 0
    ) -> np.ndarray:
        """Values of a function of samples: one of each, or as many as `width`. Beyond the bounds they are `outside`.

        Processes that help know the function by a copy.
        """
        out = np.empty((len(X), width) if width else len(X))
        with self._side_by_side(len(X)):
            values_in_parts(WithinBounds(function, self.preprocessor_, outside, out.shape[1:]), X.__getitem__, out)
        return out

    @contextmanager
    def _side_by_side(self, n_samples: int) -> Iterator[None]:
        """Run the body with the processes that `n_jobs` allows, or with threads where these may not help."""
        sent = n_samples >= MIN_SENT and is_cpu(getattr(self, "device", "cpu"))
        with helpers(self.n_jobs if sent else 1), workers(1 if n_helpers() else self.n_jobs):
            yield

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of every sample, in nats, in the units of the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            -inf for samples outside `bounds`. The value of a sample does not depend on the other samples.
        """
        X = self._checked(X)
        return self._evaluate(self.blend_.log_prob, X)

    def score_function(self, X: Any) -> np.ndarray:
        """Gradient of the log-density that `score_samples` reports.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN is returned for samples outside `bounds`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)

        Examples
        --------
        >>> import numpy as np
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
        >>> est.score_function(X[:5]).shape
        (5, 2)
        """
        refuse_table(self, "The gradient", "log-densities have no gradient in the states; use score_samples")
        X = self._checked(X)
        return self._evaluate(self.blend_.score, X, np.nan, X.shape[1])

    def to_latent(self, X: Any) -> np.ndarray:
        """Codes of samples under the component with a latent map: standard normal if the model is right.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples within `bounds`; others get NaN.

        Returns
        -------
        ndarray of shape (n_samples, n_features)

        Examples
        --------
        >>> import numpy as np
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
        >>> codes = est.to_latent(X)
        >>> bool(np.abs(est.from_latent(codes) - X).max() < 0.05)
        True
        """
        X = self._checked(X)
        return self._evaluate(self._latent.to_latent, X, np.nan, X.shape[1])

    def from_latent(self, codes: Any) -> np.ndarray:
        """Samples of codes: the inverse of `to_latent`, up to the solver's error.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_features)
            An array, or a frame whatever its columns are called.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        codes = self._checked_codes(codes)
        codes, samples = codes.astype(np.float64), np.empty(codes.shape)
        with self._side_by_side(len(codes)):
            values_in_parts(partial(quietly, self._latent.from_latent), codes.__getitem__, samples)
        return self._resolution.at_spikes(finite_values(samples, "'codes'"))

    def sample(self, n_samples: int = 1, random_state: Any = None, *, as_frame: bool | str = "auto") -> Any:
        """Draw samples from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            None derives the seed from the estimator's own `random_state` (repeatable), or draws it from NumPy's
            global generator where that is None too. A draw of fewer samples is a prefix of a draw of more.
        as_frame : "auto" or bool, default="auto"
            Whether to return a frame of the library, feature names and dtypes seen in `fit`; "auto" does where `fit`
            saw a frame of pandas or polars, or a table of pyarrow. Integer features are rounded, and categories that
            are numbers are the nearest ones.

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features)

        Examples
        --------
        >>> import numpy as np
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
        >>> est.sample(5, random_state=1).shape
        (5, 2)
        """
        check_is_fitted(self)
        wanted = wants_frame(self, as_frame)
        check_count(n_samples)
        seed = draw_seed(self, random_state)
        with self._side_by_side(n_samples):
            out = self.blend_.draw(n_samples, self.n_features_in_, seed)
        out = self._resolution.requantized(out)
        return to_frame(out, self) if wanted else out


class FlowDensityEstimator(BlendedDensityEstimator):
    """Base of the estimators whose latent map is a flow, solved numerically, with errors that can be estimated."""

    _latent_component = "diffusion"

    @property
    def _flow(self) -> ProbabilityFlow:
        """The probability flow, on whitened samples."""
        return cast(ProbabilityFlow, self._latent.density)

    def log_density_error(self, X: Any) -> np.ndarray:
        """Estimated numerical error of `score_samples` per sample, in nats, by doubling the solver's steps.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Non-negative; 0 for samples outside `bounds`, whose density is known to be zero.
        """
        X = self._checked(X)
        if self.component_weights_["diffusion"] == 0:
            return np.zeros(len(X))
        flow = replace(self._flow, density_steps=2 * self._flow.density_steps)
        error = SolverError(self.blend_, "diffusion", replace(self._latent, density=flow))
        return self._evaluate(error, X, 0.0)

    def sample_error(self, n_samples: int = 500, random_state: Any = None) -> float:
        """Estimated numerical error of `sample` in the Wasserstein-2 distance: that of the solver, not of the fit.

        The distance between the distribution that the solver draws and that of the exact flow of the same networks,
        each feature in its training standard deviations; the other components of the blend draw without error.

        Parameters
        ----------
        n_samples : int, default=500
            Samples drawn for the estimate.
        random_state : int, RandomState or None, default=None

        Returns
        -------
        float
            The root mean square distance of the samples of both, from the same noise: an upper bound of W2, within
            15 % of that distance where the steps are 16 or more (measured in `benchmarks.theory`).

        Examples
        --------
        >>> import numpy as np
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
        >>> bool(est.sample_error(random_state=0) < 0.1)  # standard deviations
        True
        """
        check_is_fitted(self)
        check_count(n_samples, minimum=1)
        noise = np.random.default_rng(generator_seed(random_state)).standard_normal((n_samples, self.n_features_in_))
        preprocessor, scale = self._latent.preprocessor, np.where(self.feature_scale_ > 0, self.feature_scale_, 1.0)
        with workers(1):
            error = self._flow.sample_error(noise, lambda z: preprocessor.inverse_transform(z) / scale)
        return float(np.sqrt(self.component_weights_["diffusion"]) * error)
