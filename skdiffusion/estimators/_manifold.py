"""ManifoldDiffusionEstimator: densities and samples on an unknown low-dimensional support."""

import time
import warnings
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.utils import TransformerTags
from sklearn.utils.validation import check_is_fitted, validate_data

from skdiffusion._utils.frames import note_frame, to_frame, wants_frame
from skdiffusion._utils.progress import CallbackSupportMixin, FitParts, with_callbacks
from skdiffusion._utils.threads import one_thread
from skdiffusion._utils.validation import (
    Interval,
    StrOptions,
    check_count,
    check_magnitude,
    fit_context,
    generator_seed,
    restored_on_failure,
)
from skdiffusion.estimators._base import DATA_TYPES
from skdiffusion.estimators._density import DiffusionDensityEstimator
from skdiffusion.estimators._options import Options
from skdiffusion.estimators._support import SupportedDensityEstimator
from skdiffusion.exceptions import DegenerateDataWarning, FullDimensionWarning
from skdiffusion.manifold import (
    IntrinsicDensity,
    dimension_spectrum,
    fit_local_polynomials,
    flipd,
    linear_dimension,
    plateau_dimension,
)

CHUNK_SAMPLES = 8192
MIN_FLOOR = 0.01  # standard deviations: the noise at which a flow on a linear support stops
DETECTION_SAMPLES = 200


class ManifoldDiffusionEstimator(CallbackSupportMixin, SupportedDensityEstimator):
    r"""Density and samples on an unknown linear subspace or manifold near which the samples lie.

    Principal directions that carry nothing but isotropic noise are split off, and modeled exactly by a
    Gaussian (Chen, Huang, Zhao and Wang, 2023). A diffusion model is trained on the rest. If the Jacobian
    of its score says that the samples fill these directions, the support is linear. If not, the flow stops
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
        nonlinear one 0.4 to 1 times the spacing of the samples, by the residual of held-out samples.
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        As for `DiffusionDensityEstimator`.
    n_estimators : "auto" or int, default="auto"
        Networks whose velocities are averaged.
    max_iter : "auto" or int, default="auto"
        Passes over the samples.
    max_fit_seconds : float or None, default=None
        Wall-clock time that the training of the networks should end within.
    device : str, default="auto"
        Torch device.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random.
    verbose : int, default=0
        Show a progress bar for every network if positive.
    options : Options or None, default=None
        Everything else, as for `DiffusionDensityEstimator`.

    Attributes
    ----------
    intrinsic_dimension_ : int
        k, given or found.
    support_ : {"linear", "nonlinear", "full"}
        "full" if the samples fill the space: the estimator then is the plain one.
    components_ : ndarray of shape (n_directions, n_features)
        Orthonormal samples spanning the linear support, or the smallest subspace that holds a nonlinear one.
    mean_ : ndarray of shape (n_features,)
    noise_variance_ : float
        Variance of the isotropic noise across `components_`; 0 if there is none.
    noise_floor_ : float
        Noise at which the flow stops, in the units of the features.
    dimension_spectrum_ : ndarray of shape (n_levels, n_directions) or None
        Mean eigenvalues of the denoiser's Jacobian at the noise levels of `skdiffusion.manifold.PLATEAU`:
        about 1 along the support, 0 across. None if nothing had to be found.
    flipd_dimension_ : float or None
        Median of a second, independent estimate of the dimension (FLIPD).
    estimator_ : DiffusionDensityEstimator
        The diffusion on the coordinates along `components_`.
    surface_ : LocalPolynomials or None
        The nonlinear support; it keeps the training samples.
    feature_scale_ : ndarray of shape (n_features,)
        Standard deviations of the training features.
    n_features_in_ : int
    n_iter_ : int

    Warns
    -----
    FullDimensionWarning
        If no direction can be left out.

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
    """

    _parameter_constraints: dict = {
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "support": [StrOptions({"auto", "linear", "nonlinear"})],
        "noise_floor": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        **{
            name: DiffusionDensityEstimator._parameter_constraints[name]
            for name in (
                "hidden_layer_sizes",
                "n_estimators",
                "max_iter",
                "max_fit_seconds",
                "device",
                "random_state",
                "verbose",
                "options",
            )
        },
    }

    def __init__(
        self,
        n_components="auto",
        support="auto",
        *,
        noise_floor="auto",
        hidden_layer_sizes="auto",
        n_estimators="auto",
        max_iter="auto",
        max_fit_seconds=None,
        device="auto",
        random_state=None,
        verbose=0,
        options=None,
    ):
        self.n_components = n_components
        self.support = support
        self.noise_floor = noise_floor
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.max_fit_seconds = max_fit_seconds
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.options = options

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if hasattr(self, "transform"):
            tags.transformer_tags = TransformerTags(preserves_dtype=[])
        return tags

    # -- fitting ---------------------------------------------------------------------------------

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
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
            samples span.
        """
        with restored_on_failure(self), one_thread(), warnings.catch_warnings():
            # The plain estimator would point here.
            warnings.filterwarnings("ignore", message="The samples of X lie on", category=DegenerateDataWarning)
            self._fit(X)
        return self

    def _options(self, **given):
        options = Options() if self.options is None else clone(self.options)
        return options.set_params(**given)

    def _inner(self, seed, started, **given):
        shared = ("hidden_layer_sizes", "n_estimators", "max_iter", "device", "verbose", "options")
        given = {name: getattr(self, name) for name in shared} | given
        if self.max_fit_seconds is not None:
            # A second network may follow the one that looks at the support.
            left = self.max_fit_seconds - (time.perf_counter() - started)
            given["max_fit_seconds"] = max(left / 2 if given.get("components", "") is None else left, 1e-3)
        return DiffusionDensityEstimator(**given, random_state=seed)

    def _fit(self, X):
        started = time.perf_counter()
        note_frame(self, X)
        X = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2).astype(np.float64)
        check_magnitude(X=X)
        n, d = X.shape
        rng = np.random.default_rng(generator_seed(self.random_state))
        seed = int(rng.integers(2**31 - 1))
        self._sample_seed = int(rng.integers(2**62))
        self.feature_scale_ = X.std(0)
        # The mean of equal values may be a rounding away from them.
        self.mean_ = np.where(np.ptp(X, axis=0) > 0, X.mean(0), X[0])
        directions, noise_variance = self._principal_directions(X - self.mean_)
        r = len(directions)
        self.components_, self.noise_variance_ = directions, noise_variance
        U = (X - self.mean_) @ directions.T

        self.dimension_spectrum_ = self.flipd_dimension_ = self.surface_ = self._density = None
        k = r if self.n_components == "auto" else int(self.n_components)
        look = self.support != "linear" and r > 1 and self.n_components == "auto"
        curved = None
        with FitParts(self, 2) as parts:
            if look or k < r:
                # Near a set there is no density whose likelihood could be raised.
                inner = self._inner(
                    seed, started, components=None, feature_transform=None, options=self._options(fine_tune=False)
                )
                curved = parts.fit("look at the support", inner, U)
            if look:
                k = self._find_dimension(curved, U, rng)
            self.intrinsic_dimension_ = k
            if k < r:
                self.support_, self.estimator_ = "nonlinear", curved
                self._fit_surface(U, rng)
            else:
                self.support_ = "linear" if r < d else "full"
                self.estimator_ = parts.fit("density on the support", self._inner(seed, started), U)
                spread = np.sqrt(U.var(0).mean())
                automatic = max(np.sqrt(noise_variance), MIN_FLOOR * spread)
                self.noise_floor_ = float(automatic if self.noise_floor == "auto" else self.noise_floor)
            if self.support_ == "full":
                self.noise_floor_ = 0.0
                warnings.warn(
                    f"The samples fill all {d} features: no lower dimension was found, and the fit is that of "
                    "DiffusionDensityEstimator.",
                    FullDimensionWarning,
                    stacklevel=4,
                )
            self.n_iter_ = self.estimator_.n_iter_

    def _principal_directions(self, centered):
        n, d = centered.shape
        _, values, axes = np.linalg.svd(centered, full_matrices=False)
        variances = values**2 / n
        if variances[0] == 0:
            raise ValueError("All samples of X are the same: they have no support to be found.")
        spanned = int((variances > 1e-20 * variances[0]).sum())
        if self.n_components != "auto" and self.n_components > spanned:
            raise ValueError(
                f"The 'n_components' parameter is {self.n_components}, but the samples of X span {spanned} dimensions."
            )
        if self.support == "linear" and self.n_components != "auto":
            r = int(self.n_components)
            noise = float(variances[r:].sum() / (d - r)) if r < d else 0.0
        else:
            r, noise = linear_dimension(np.append(variances, np.zeros(d - len(variances))), n)
            if self.n_components != "auto" and r < self.n_components + (self.support == "nonlinear"):
                r, noise = spanned, 0.0
        axes = axes[:r]
        # A sign that does not depend on the routine: the largest entry is positive.
        largest = axes[np.arange(r), np.abs(axes).argmax(1)]
        return axes * np.sign(largest)[:, None], noise

    def _find_dimension(self, estimator, U, rng):
        member = estimator.blend_.densities["diffusion"]
        z = member.preprocessor.transform(U[rng.permutation(len(U))[:DETECTION_SAMPLES]])[0]
        z = member.density.field.place(z)
        spectrum = dimension_spectrum(member.density.field, z, rng)
        self.dimension_spectrum_ = spectrum.mean(1)
        self.flipd_dimension_ = float(np.median(flipd(member.density.field, z, 0.1)))
        return plateau_dimension(spectrum)

    def _fit_surface(self, U, rng):
        # Copies of a sample say nothing about the set.
        samples = np.unique(U, axis=0)
        least = 2 * (self.intrinsic_dimension_ + 1)
        if len(samples) < least:
            raise ValueError(
                f"Found {len(samples)} distinct samples, while at least {least} are needed for a nonlinear support of "
                f"dimension {self.intrinsic_dimension_}: set support='linear' or a smaller 'n_components'."
            )
        scale = None if self.noise_floor == "auto" else float(self.noise_floor)
        self.surface_ = fit_local_polynomials(samples, self.intrinsic_dimension_, rng, scale)
        self.noise_floor_ = float(self.surface_.scale)
        self._density = IntrinsicDensity(self.surface_, rng)

    # -- the density -------------------------------------------------------------------------------

    def _flow(self):
        """The diffusion member, its flow stopped at the noise floor; and that level in whitened units."""
        member = self.estimator_.blend_.densities["diffusion"]
        spread = np.exp(np.log(self.estimator_.feature_scale_).mean())
        level = max(self.noise_floor_ / spread, np.tan(member.density.theta_min))
        return replace(member.density, theta_min=float(np.arctan(level))), member.preprocessor, level

    def _across(self, residual):
        """Log-density of the part across the components: Gaussian, exactly."""
        d = self.n_features_in_ - len(self.components_)
        variance = self.noise_variance_ + self.noise_floor_**2
        if d == 0:
            return 0.0
        with np.errstate(over="ignore"):
            return -0.5 * (residual**2).sum(1) / variance - 0.5 * d * np.log(2 * np.pi * variance)

    def score_samples(self, X):
        """Log-density of samples under the distribution smoothed at the noise floor, in nats: a proper density on R^D.

        Its value grows without bound as the floor falls, by the number of directions across the support:
        compare it between fits with the same floor only, and see `intrinsic_log_density`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        X = self._checked(X)
        U, residual = self._coordinates(X)
        if self.surface_ is None:
            along = self.estimator_.score_samples(X if self.support_ == "full" else U)
        else:
            flow, preprocessor, level = self._flow()
            z, log_det = preprocessor.transform(U)
            cos = np.cos(np.arctan(level))
            with one_thread(), np.errstate(over="ignore", invalid="ignore"):
                # The flow's distribution is that of samples plus noise, times the cosine.
                along = np.concatenate(
                    [flow.log_prob(cos * z[i : i + CHUNK_SAMPLES]) for i in range(0, len(z), CHUNK_SAMPLES)]
                )
            along = along + z.shape[1] * np.log(cos) + log_det
            along = np.where(np.isnan(along), -np.inf, along)
        return along + self._across(residual)

    def intrinsic_log_density(self, X):
        """Log-density with respect to the k-dimensional volume of the support, at the projections of samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            In nats. On a nonlinear support it is a local-likelihood estimate on the samples themselves; it holds
            where the support bends little within its bandwidth (see `IntrinsicDensity`).
        """
        X = self._checked(X)
        U, _ = self._coordinates(X)
        if self.surface_ is None:
            return self.estimator_.score_samples(X if self.support_ == "full" else U)
        return self._density.log_prob(self._on_support(U))

    def sample(self, n_samples=1, random_state=None, *, denoise=True, as_frame="auto"):
        """Draw samples on the support.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            None repeats the estimator's own seed, or takes fresh entropy where that is None too.
        denoise : bool, default=True
            Take the last step onto the support. False leaves the noise of the floor on the samples: they then have
            the density of `score_samples`.
        as_frame : "auto" or bool, default="auto"
            Whether to return a frame of the library, feature names and dtypes seen in `fit`; "auto" does where `fit`
            saw a pandas or polars frame. Integer features are rounded.

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        wanted = wants_frame(self, as_frame)
        check_count(n_samples)
        if random_state is not None:
            seed = generator_seed(random_state)
        else:
            seed = self._sample_seed if self.random_state is not None else None
        along, across = np.random.SeedSequence(seed).spawn(2)
        if self.surface_ is None:
            U = self.estimator_.sample(n_samples, random_state=int(along.generate_state(1)[0] // 2))
        else:
            flow, preprocessor, level = self._flow()
            rng = np.random.default_rng(along)
            U = np.empty((n_samples, len(self.components_)))
            with one_thread():
                for start in range(0, n_samples, CHUNK_SAMPLES):
                    part = U[start : start + CHUNK_SAMPLES]
                    z = flow.draw(rng.standard_normal(part.shape)) / np.cos(np.arctan(level))
                    part[:] = preprocessor.inverse_transform(z)
                    if denoise:
                        part[:] = self._on_support(part)
        samples = self._samples(U)
        if not denoise and len(self.components_) < self.n_features_in_:
            noise = np.random.default_rng(across).standard_normal(samples.shape)
            noise -= (noise @ self.components_.T) @ self.components_
            samples += np.sqrt(self.noise_variance_ + self.noise_floor_**2) * noise
        return to_frame(samples, self) if wanted else samples
