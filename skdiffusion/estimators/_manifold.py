"""ManifoldDiffusionEstimator: densities and samples on an unknown low-dimensional support."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import Tags, TransformerTags
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.blocks import in_blocks, in_parts, slices
from skdiffusion._utils.frames import note_frame, to_frame, wants_frame
from skdiffusion._utils.parallel import workers
from skdiffusion._utils.progress import CallbackSupportMixin, FitParts, with_callbacks
from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion._utils.validation import (
    Interval,
    StrOptions,
    check_count,
    check_magnitude,
    draw_seed,
    fit_context,
    generator_seed,
    validate_data,
)
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import TransformedDensity
from skdiffusion.estimators._base import DATA_TYPES
from skdiffusion.estimators._density import DiffusionDensityEstimator
from skdiffusion.estimators._distributed import by_itself
from skdiffusion.estimators._options import Options, OptionsMixin
from skdiffusion.estimators._support import SupportedDensityEstimator, diffusion_of, has_linear_support
from skdiffusion.exceptions import DegenerateDataWarning, FullDimensionWarning
from skdiffusion.manifold import (
    IntrinsicDensity,
    dimension_spectrum,
    fit_local_polynomials,
    flipd,
    linear_dimension,
    plateau_dimension,
    principal_directions,
)
from skdiffusion.preprocessing import originals, without_round_off

if TYPE_CHECKING:
    from skdiffusion.diffusion.flow import ProbabilityFlow

MIN_FLOOR = 0.01  # standard deviations: the noise at which a flow on a linear support stops
DETECTION_SAMPLES, DETECTION_LEVEL = 200, 0.1  # samples that look for the dimension; noise level of its second estimate
# Parameters of the diffusion models within, and their constraints.
SHARED = (
    "hidden_layer_sizes", "n_estimators", "max_iter", "max_fit_seconds", "device", "n_jobs", "random_state", "verbose",
    "options",
)  # fmt: skip


class _InnerFits:
    """The diffusion models of a fit, which share its parameters, its callbacks and its time."""

    def __init__(self, estimator: ManifoldDiffusionEstimator, parts: FitParts, seed: int, started: float) -> None:
        parameters = estimator.get_params(deep=False)
        self.parameters = {name: parameters[name] for name in SHARED} | {"random_state": seed}
        self.started, self.max_fit_seconds = started, estimator.max_fit_seconds
        self.options = Options() if estimator.options is None else clone(estimator.options)
        if self.options.checkpoint is not None:
            raise ValueError(
                "ManifoldDiffusionEstimator fits several densities, which share no file: leave the 'checkpoint' option "
                "at None."
            )
        self.parts = parts

    def denoiser(self, U: np.ndarray) -> DiffusionDensityEstimator:
        """The flow alone, in half of the time that is left: a model of the density may follow."""
        # Near a set there is no density whose likelihood could be raised or blended, and a map would bend the set.
        options = self.options.set_params(fine_tune=False)
        return self._fit("look at the support", U, 0.5, components=None, feature_transform=None, options=options)

    def density(self, U: np.ndarray) -> DiffusionDensityEstimator:
        """The whole model, of samples that fill their space."""
        return self._fit("density on the support", U, 1.0)

    def _fit(self, name: str, U: np.ndarray, share: float, **given: Any) -> DiffusionDensityEstimator:
        if self.max_fit_seconds is not None:
            left = self.max_fit_seconds - (time.perf_counter() - self.started)
            given["max_fit_seconds"] = max(share * left, 1e-3)
        return self.parts.fit(name, DiffusionDensityEstimator(**{**self.parameters, **given}), U)


@dataclass(frozen=True)
class _StoppedFlow(Density):
    """A flow that stops at a noise level: the density of whitened samples with that much noise."""

    flow: ProbabilityFlow
    level: float  # noise-to-signal ratio

    @property
    def _cos(self) -> float:
        # The flow ends at the distribution of samples plus noise, times the cosine of its angle.
        return np.cos(np.arctan(self.level))

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        return self.flow.log_prob(self._cos * X) + X.shape[1] * np.log(self._cos)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        return self.flow.sample(noise) / self._cos


class ManifoldDiffusionEstimator(CallbackSupportMixin, OptionsMixin, SupportedDensityEstimator):
    r"""Density and samples on an unknown linear subspace or manifold near which the samples lie.

    Principal directions that carry nothing but isotropic noise are split off, and modeled exactly by a
    Gaussian (Chen, Huang, Zhao and Wang, 2023). A diffusion model is trained on the rest. If the Jacobian
    of its score shows that the samples fill these directions, the support is linear. If not, the flow stops
    at a coarse noise level, and its samples are projected onto the set by local polynomials: the score knows the
    set before the density on it, and the smoothness of the set, not of the density, decides how close
    samples come (Shen, Hsieh and He, 2026).

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Intrinsic dimension k.
    support : {"auto", "linear", "nonlinear"}, default="auto"
        Whether the support is a subspace or a curved set. "auto" compares k with the number of principal
        directions.
    noise_floor : "auto" or float, default="auto"
        Standard deviation of the noise at which the flow stops, in the units of the features. "auto" takes
        the standard deviation of the noise across a linear support (at least 1 % of the spread), and for a
        nonlinear one 0.4 to 1 times the spacing of the samples, by the residual of samples left out.
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        As for `DiffusionDensityEstimator`.
    n_estimators : "auto" or int, default="auto"
        Networks whose velocities are averaged.
    max_iter : "auto" or int, default="auto"
        Passes over the samples.
    max_fit_seconds : float or None, default=None
        Wall-clock time within which the training of the networks should end.
    device : str, default="auto"
        Torch device.
    n_jobs : int or None, default=None
        Processes of the fit of the density on the set, of `score_samples` and of `sample`, from 1000 samples on, with
        the same bits whatever their number. ``None`` means 1 unless in a :obj:`joblib.parallel_config` context.
        ``-1`` means using all processors.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random. An int makes `fit` and `sample` repeatable.
    verbose : int, default=0
        Show a progress bar for every network if positive.
    options : Options or None, default=None
        Everything else, as for `DiffusionDensityEstimator`. The model that looks at the support is never fine-tuned.

    Attributes
    ----------
    intrinsic_dimension_ : int
        k, given or found.
    support_ : {"linear", "nonlinear", "full"}
        "full" if the samples fill the space: the fit is then that of `DiffusionDensityEstimator`.
    components_ : ndarray of shape (n_directions, n_features)
        Orthonormal directions that span the linear support, or the smallest subspace that holds a nonlinear one.
    mean_ : ndarray of shape (n_features,)
    noise_variance_ : float
        Variance of the isotropic noise across `components_`; 0 if there is none.
    noise_floor_ : float
        Standard deviation of the noise at which the flow stops, in the units of the features; 0 if `support_` is
        "full".
    dimension_spectrum_ : ndarray of shape (n_levels, n_directions) or None
        Mean eigenvalues of the denoiser's Jacobian at the noise levels of `skdiffusion.manifold.PLATEAU`:
        about 1 along the support, 0 across. None if the dimension did not have to be found.
    flipd_dimension_ : float or None
        Median of a second, independent estimate of the dimension (FLIPD).
    estimator_ : DiffusionDensityEstimator
        The diffusion on the coordinates along `components_`.
    surface_ : LocalPolynomials or None
        The nonlinear support; it keeps the training samples.
    feature_scale_ : ndarray of shape (n_features,)
        Standard deviations of the training features.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.
    n_iter_ : int
        Epochs run by the networks of `estimator_`.
    network_gain_ : float
        What the networks of `estimator_` gain on samples left out over a Gaussian, in nats a feature along
        `components_`.

    Warns
    -----
    FullDimensionWarning
        If the samples fill all features.
    UntrainedNetworkWarning
        If training ended, by `max_iter` or `max_fit_seconds`, before the networks gained on samples left out.

    References
    ----------
    Chen, Huang, Zhao and Wang (2023), Score approximation, estimation and distribution recovery of diffusion
    models on low-dimensional data. Shen, Hsieh and He (2026), arXiv 2603.23792. Stanczuk et al. (2024),
    Diffusion models encode the intrinsic dimension of data manifolds. Kamkari et al. (2024), A geometric view
    of data complexity.

    Examples
    --------
    >>> from skdiffusion import ManifoldDiffusionEstimator
    >>> from skdiffusion.datasets import Sphere
    >>> circle = Sphere(1, n_features=3)
    >>> est = ManifoldDiffusionEstimator(max_iter=200, random_state=0).fit(circle.sample(300, 0))
    >>> est.intrinsic_dimension_, est.support_
    (1, 'nonlinear')
    >>> bool(circle.distance(est.sample(100)).max() < 0.01)
    True
    >>> X = circle.sample(5, 1)
    >>> bool(est.distance(X).max() < 0.01), est.project(X).shape, est.tangent_space(X).shape
    (True, (5, 3), (5, 3, 1))
    >>> est.local_dimension(X)
    array([1, 1, 1, 1, 1])
    >>> est.intrinsic_log_density(X).shape, est.score_samples(X).shape
    ((5,), (5,))
    """

    _parameter_constraints: dict = {
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "support": [StrOptions({"auto", "linear", "nonlinear"})],
        "noise_floor": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        **{name: DiffusionDensityEstimator._parameter_constraints[name] for name in SHARED},
    }

    _density: IntrinsicDensity | None

    _saved = (
        "n_features_in_", "feature_names_in_", "feature_scale_", "mean_", "components_", "noise_variance_",
        "noise_floor_", "support_", "intrinsic_dimension_", "dimension_spectrum_", "flipd_dimension_", "estimator_",
        "surface_", "n_iter_", "network_gain_", "_density", "_sample_seed", "_frame",
    )  # fmt: skip

    def __init__(
        self,
        n_components: str | int = "auto",
        support: str = "auto",
        *,
        noise_floor: str | float = "auto",
        hidden_layer_sizes: str | tuple[int, ...] = "auto",
        n_estimators: str | int = "auto",
        max_iter: str | int = "auto",
        max_fit_seconds: float | None = None,
        device: str = "auto",
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        options: Options | None = None,
    ) -> None:
        self.n_components = n_components
        self.support = support
        self.noise_floor = noise_floor
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.max_fit_seconds = max_fit_seconds
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.options = options

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if has_linear_support(self):
            tags.transformer_tags = TransformerTags(preserves_dtype=[])
        return tags

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> ManifoldDiffusionEstimator:
        """Find the support of the samples of X and the density on it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least 2 samples.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For samples that are not finite or too few, bad parameter values, or more components than the
            samples span. An earlier fit is then left as it was.
        """
        with by_itself(self), workers(1), warnings.catch_warnings():
            # DiffusionDensityEstimator warns of samples on a set of lower dimension: here they are expected.
            warnings.filterwarnings("ignore", message="The samples of X lie on", category=DegenerateDataWarning)
            self._fit(X)
        return self

    def _fit(self, X: ArrayLike) -> None:
        started = time.perf_counter()
        samples = self._training_samples(X)
        rng = np.random.default_rng(generator_seed(self.random_state))
        seed, self._sample_seed = int(rng.integers(2**31 - 1)), int(rng.integers(2**62))
        U = self._fit_principal_directions(samples)
        with FitParts(self, 2) as parts:
            inner = _InnerFits(self, parts, seed, started)
            denoiser = self._find_dimension(inner, U, rng)
            self.surface_, self._density = None, None
            if denoiser is not None and self.intrinsic_dimension_ < U.shape[1]:
                self.support_, self.estimator_ = "nonlinear", denoiser
                self._fit_surface(U, rng)
            else:
                self.support_ = "linear" if U.shape[1] < self.n_features_in_ else "full"
                self.estimator_ = inner.density(U)
                self.noise_floor_ = self._linear_noise_floor(U)
            self.n_iter_, self.network_gain_ = self.estimator_.n_iter_, self.estimator_.network_gain_

    def _training_samples(self, X: ArrayLike) -> np.ndarray:
        """Validated samples in float64; sets their mean and scale."""
        note_frame(self, X)
        given = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2)
        check_magnitude(X=given)
        samples = without_round_off(given.astype(np.float64), np.finfo(given.dtype).eps)
        self.feature_scale_ = samples.std(0)
        # The mean of equal values may be a rounding away from them.
        self.mean_ = np.where(np.ptp(samples, axis=0) > 0, samples.mean(0), samples[0])
        return samples

    def _fit_principal_directions(self, X: np.ndarray) -> np.ndarray:
        """Coordinates of the samples along the principal directions, and the noise across these."""
        n, d = X.shape
        centered = X - self.mean_
        directions, variances = principal_directions(centered)
        if variances[0] == 0:
            raise ValueError("All samples of X are the same: they have no support to be found.")
        spanned = int((variances > 1e-20 * variances[0]).sum())
        k = None if self.n_components == "auto" else int(self.n_components)
        if k is not None and k > spanned:
            raise ValueError(f"The 'n_components' parameter is {k}, but the samples of X span {spanned} dimensions.")
        if k is not None and self.support == "linear":
            r, noise_variance = k, float(variances[k:].sum() / (d - k)) if k < d else 0.0
        else:
            r, noise_variance = linear_dimension(np.append(variances, np.zeros(d - len(variances))), n)
            # A nonlinear support of k dimensions bends into one direction more at least.
            if k is not None and r < k + (self.support == "nonlinear"):
                r, noise_variance = spanned, 0.0
        # Round-off along constant features would come back in generated samples.
        self.components_, self.noise_variance_ = np.where(centered.any(0), directions[:r], 0.0), noise_variance
        return centered @ self.components_.T

    def _find_dimension(self, inner: _InnerFits, U: np.ndarray, rng: np.random.Generator) -> Any:
        """Set the intrinsic dimension; return the model that saw it or that a nonlinear support needs, if any."""
        r = U.shape[1]
        self.dimension_spectrum_ = self.flipd_dimension_ = None
        self.intrinsic_dimension_ = r if self.n_components == "auto" else int(self.n_components)
        unknown = self.support != "linear" and r > 1 and self.n_components == "auto"
        if not unknown and self.intrinsic_dimension_ == r:
            return None
        denoiser = inner.denoiser(U)
        if unknown:
            flow, preprocessor = diffusion_of(denoiser)
            probes = U[rng.permutation(len(U))[:DETECTION_SAMPLES]]
            z = flow.field.place(preprocessor.transform(probes)[0])
            spectrum = dimension_spectrum(flow.field, z, rng)
            self.dimension_spectrum_ = spectrum.mean(1)
            self.flipd_dimension_ = float(np.median(flipd(flow.field, z, DETECTION_LEVEL)))
            self.intrinsic_dimension_ = plateau_dimension(spectrum)
        return denoiser

    def _fit_surface(self, U: np.ndarray, rng: np.random.Generator) -> None:
        """The nonlinear support, the noise floor that suits it, and the density on it."""
        # Copies of a sample say nothing about the set.
        samples = np.unique(U, axis=0)
        samples = samples[np.unique(originals(samples))]
        min_samples = 2 * (self.intrinsic_dimension_ + 1)
        if len(samples) < min_samples:
            raise ValueError(
                f"Found {len(samples)} distinct samples, while at least {min_samples} are needed for a nonlinear "
                f"support of dimension {self.intrinsic_dimension_}: set support='linear' or a smaller 'n_components'."
            )
        scale = None if self.noise_floor == "auto" else float(self.noise_floor)
        self.surface_ = fit_local_polynomials(samples, self.intrinsic_dimension_, rng, scale)
        self.noise_floor_ = float(self.surface_.scale)
        self._density = IntrinsicDensity(self.surface_, rng)

    def _linear_noise_floor(self, U: np.ndarray) -> float:
        """Noise at which the flow on a linear support stops; 0, with a warning, if the samples fill the space."""
        if self.support_ == "full":
            warn_user(
                f"The samples fill all {self.n_features_in_} features: no lower dimension was found, and the fit is "
                "that of DiffusionDensityEstimator.",
                FullDimensionWarning,
            )
            return 0.0
        if self.noise_floor != "auto":
            return float(self.noise_floor)
        return float(max(np.sqrt(self.noise_variance_), MIN_FLOOR * np.sqrt(U.var(0).mean())))

    def _stopped_diffusion(self) -> TransformedDensity:
        """The diffusion along the components of a nonlinear support, its flow stopped at the noise floor."""
        flow, preprocessor = diffusion_of(self.estimator_)
        scale = np.exp(np.log(self.estimator_.feature_scale_).mean())
        level = max(self.noise_floor_ / scale, np.tan(flow.theta_min))
        stopped = replace(flow, theta_min=float(np.arctan(level)))
        return TransformedDensity(preprocessor, _StoppedFlow(stopped, level))

    def _log_density_across(self, residual: np.ndarray) -> np.ndarray | float:
        """Log-density of the part of samples across the components: that of a Gaussian."""
        d = self.n_features_in_ - len(self.components_)
        variance = self.noise_variance_ + self.noise_floor_**2
        if d == 0:
            return 0.0
        with np.errstate(over="ignore"):
            return -0.5 * (residual**2).sum(1) / variance - 0.5 * d * np.log(2 * np.pi * variance)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of samples under the distribution smoothed at the noise floor, in nats.

        It is a proper density on all features. It grows without bound as the floor falls, by the number of directions
        across the support: compare it between fits with the same floor only, and see `intrinsic_log_density`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        X = self._validated(X)
        U, residual = self._coordinates(X)
        if self.surface_ is None:
            along = self.estimator_.score_samples(X if self.support_ == "full" else U)
        else:
            with workers(self.n_jobs):
                along = in_blocks(self._stopped_diffusion().log_prob, U)
        return along + self._log_density_across(residual)

    def intrinsic_log_density(self, X: ArrayLike) -> np.ndarray:
        """Log-density with respect to the k-dimensional volume of the support, at the projections of samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            In nats. On a nonlinear support it is a local-likelihood estimate on the samples themselves; it holds
            where the support bends little within its bandwidth (see `skdiffusion.manifold.IntrinsicDensity`).
        """
        X = self._validated(X)
        U, _ = self._coordinates(X)
        if self._density is None:
            return self.estimator_.score_samples(X if self.support_ == "full" else U)
        return self._density.log_prob(self._onto_support(U))

    def sample(
        self, n_samples: int = 1, random_state: Any = None, *, denoise: bool = True, as_frame: str | bool = "auto"
    ) -> Any:
        """Draw samples on the support.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            None derives the seed from the estimator's own `random_state` (repeatable), or draws it from NumPy's
            global generator where that is None too. A draw of fewer samples is a prefix of a draw of more.
        denoise : bool, default=True
            Take the last step onto the support. False leaves the noise of the floor on the samples: they then have
            the density of `score_samples`.
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
        check_count(n_samples)
        along, across = np.random.SeedSequence(draw_seed(self, random_state)).spawn(2)
        samples = self._from_coordinates(self._sample_along(n_samples, along, denoise))
        if not denoise and len(self.components_) < self.n_features_in_:
            noise = np.random.default_rng(across).standard_normal(samples.shape)
            noise -= (noise @ self.components_.T) @ self.components_
            samples += np.sqrt(self.noise_variance_ + self.noise_floor_**2) * noise
        return to_frame(samples, self) if wanted else samples

    def _sample_along(self, n_samples: int, seed: np.random.SeedSequence, denoise: bool) -> np.ndarray:
        """Coordinates of samples along the components."""
        if self.surface_ is None:
            return self.estimator_.sample(n_samples, random_state=int(seed.generate_state(1)[0] // 2))
        density, rng = self._stopped_diffusion(), np.random.default_rng(seed)
        U = np.empty((n_samples, len(self.components_)))
        with workers(1):
            for block in slices(n_samples):
                normal, samples = rng.standard_normal(U[block].shape), U[block]

                def draw(part: slice, normal: np.ndarray = normal, samples: np.ndarray = samples) -> None:
                    drawn = density.sample(SampleNoise(normal[part]))
                    samples[part] = self._onto_support(drawn) if denoise else drawn

                in_parts(draw, len(samples))
        return U
