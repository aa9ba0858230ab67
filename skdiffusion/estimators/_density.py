"""DiffusionDensityEstimator: diffusion models as a scikit-learn density estimator."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone

from skdiffusion._utils.collective import collective
from skdiffusion._utils.frames import note_frame
from skdiffusion._utils.measure import takes_numbers_alone
from skdiffusion._utils.parallel import workers
from skdiffusion._utils.processes import helpers
from skdiffusion._utils.progress import (
    CallbackSupportMixin,
    FitProgress,
    training_deadline,
    with_callbacks,
)
from skdiffusion._utils.shards import joined
from skdiffusion._utils.validation import (
    Interval,
    StrOptions,
    check_bounds,
    check_groups,
    check_inside,
    check_magnitude,
    check_weights,
    fit_context,
    generator_seed,
    is_cpu,
    resolve_device,
    restored_on_failure,
    validate_data,
    without_overshoot,
)
from skdiffusion.densities import Blend
from skdiffusion.densities.components import COMPONENTS
from skdiffusion.diffusion.networks import NetworkField
from skdiffusion.diffusion.schedules import Process, resolve_process
from skdiffusion.diffusion.score_model import ScoreModel
from skdiffusion.estimators._base import DATA_TYPES
from skdiffusion.estimators._distilled import DistilledDensityEstimator
from skdiffusion.estimators._distributed import checkpoint_of, everywhere
from skdiffusion.estimators._fit_input import FitInput
from skdiffusion.estimators._joint import MIN_NODES, JointDensityEstimator
from skdiffusion.estimators._large import Given, chunks_of, within_memory
from skdiffusion.estimators._numbers_of_categories import warn_of_numbers_of_categories
from skdiffusion.estimators._numeric_fit import NumericFit
from skdiffusion.estimators._online import ROUND_SHARE, Round, log_prob_of_others
from skdiffusion.estimators._options import Options, OptionsMixin
from skdiffusion.estimators._resolve import check_noise_intervals, component_options, layer_sizes, resolve_options
from skdiffusion.estimators._stages import (
    FitPlan,
    warn_if_interrupted,
    warn_of_moved_constants,
)
from skdiffusion.estimators._table_fit import TableFit, can_be_a_table
from skdiffusion.estimators._table_kinds import Table, kinds_of, refuse_table
from skdiffusion.preprocessing import TrainingData, WeightedSamples

MIN_WEIGHT = 1e-12  # of the largest, of a sample that counts


class DiffusionDensityEstimator(CallbackSupportMixin, OptionsMixin, JointDensityEstimator):
    r"""Density estimation by a diffusion model, blended with densities in closed form.

    Networks learn the score of noised samples, behind transforms of the features, and the probability-flow equation
    makes a density and a sampler of it. Gaussian mixtures, regressions of the features on each other, a kernel density
    and a Student-t join it, by weights that are learned on samples left out:
    :math:`p(x) = \sum_k w_k\, p_k(x)`. Log-densities are in nats, in the units of the features: the Jacobian of every
    internal map is included. A scaler before the estimator in a Pipeline shifts them by the sum of its log scales
    (`skdiffusion.compose.DensityPipeline` does not).

    Parameters
    ----------
    hidden_layer_sizes : "auto", tuple of int or list of tuples, default="auto"
        Widths of the hidden layers. "auto" follows the numbers of samples and features: two layers of 32 to 128 units,
        or three of 48 or 64 with two features. A list has a tuple for each noise interval of `Options`.
    n_estimators : "auto" or int, default="auto"
        Networks of the ensemble, whose velocities are averaged. Each leaves out a different fold.
    max_iter : "auto" or int, default="auto"
        Passes over the samples. "auto" follows the numbers of samples and features, and ends early where the networks
        get next to no weight in the blend.
    early_stopping : bool, default=True
        Keep the weights of lowest loss on the samples left out, and stop when it no longer falls.
    feature_transform : "auto", "yeo-johnson", "gaussianize" or None, default="auto"
        Map of every feature before whitening. "auto" chooses on samples left out.
    bounds : pair (low, high) or None, default=None
        Known bounds of the features, scalars or arrays of shape (n_features,), infinite where open. The density is zero
        outside, and reaches the bounds without leaking over them.
    components : "auto", list of str or None, default="auto"
        Densities in closed form to blend the diffusion with, among "mixture", "student", "regression", "kernel" and,
        for a single feature, "steps". "auto" is all of them, as far as they add to the blend; None is the diffusion
        alone. "kernel" keeps up to 20000 training samples in the fitted object.
    n_steps : "auto" or int, default="auto"
        Steps of the flow. "auto" is the fewest that leave log-densities of samples left out and the total mass stable.
    max_fit_seconds : float or None, default=None
        Wall-clock time that `fit` should take at most. Training and searches are shortened to end in time; about five
        seconds with 100000 samples of 8 features cannot be saved.
    warm_start : bool, default=False
        Continue from the networks of the previous `fit`, keeping its feature transforms.
    device : str, default="auto"
        Torch device. "auto" is a CUDA GPU if there is one, else the CPU.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Columns of categories, at most 256 each: a mask, numbers or names. "from_dtype" are those of a frame that hold
        categories, text or booleans, and groups of one-hot columns in a frame or array. None takes all as numbers.
    atoms : "auto", dict or None, default=None
        Values of numeric features that carry mass, as the zeros of a zero-inflated feature: lists of values by name or
        number of the feature, or "auto", those of `find_atoms`. None spreads such values over narrow cells. Fits
        compare only with the same atoms.
    n_jobs : int or None, default=None
        Processes of `fit`, of scoring complete samples and of `sample`, from 1000 samples on, and threads elsewhere,
        with the same bits whatever their number. None is 1 unless in a :obj:`joblib.parallel_config` context, -1 all.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random. An int makes `fit` and `sample` repeatable.
    fit_conditionals : "auto" or bool, default="auto"
        Whether to train networks for any features given any others, which then answer where features are unknown.
        "auto" does where X has gaps. `fit` takes two to four times as long; complete samples have the same density.
        By default these are at most four, and of fewer than 2000 samples at most 64 wide.
    verbose : int, default=0
        If positive, show a progress bar with the losses and the time left. See also `set_callbacks`.
    options : Options or None, default=None
        Everything else: learning rate, noise levels, solver, fine-tuning, limits of the components.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.
    feature_scale_ : ndarray of shape (n_features,)
        Standard deviations of the training features; NaN for categories.
    blend_ : Blend
        The fitted density; ``blend_.densities`` holds every component, with ``log_prob(X)`` and ``score(X)``.
    component_weights_ : dict
        Weight of every component: "diffusion" and those in closed form, with ``mapped_``, ``power_`` or ``bic_`` before
        names of variants. A weight below 1e-4 is zero.
    conditional_blend_ : Blend or None
        The density that answers where features are unknown, after `fit_conditionals`; None where `blend_` does.
    preprocessor_ : Preprocessor
        The map from features to whitened samples; of a table with categories or atoms the bounds alone.
    atoms_, one_hot_groups_ : dict and list of list of int
        Atoms by number of the feature, and the numbers of the columns of every one-hot group that was found.
    n_iter_, n_samples_seen_ : int
        Epochs run, and samples of positive weight given to `fit` and all calls of `partial_fit` since.
    loss_curve_, validation_scores_ : ndarray of shape (n_checks, 2)
        Optimizer step, and training loss (1 for the standard normal) or 1 - loss on the samples left out.
    best_validation_score_ : float
        Largest of `validation_scores_`.
    loss_by_noise_ : ndarray of shape (n_levels, 2)
        Noise level, in standard deviations, and loss there on samples left out, before any fine-tuning.
    likelihood_curve_ : ndarray of shape (n_checks, 2)
        Step of the fine-tuning and mean log-density on samples left out, in nats; empty without fine-tuning.
    network_gain_ : float
        What the networks gain over the Gaussian that they start from on samples left out, in nats a feature.

    References
    ----------
    Song et al. (2021), Score-based generative modeling through stochastic differential equations. Cole and Lu (2024),
    Score-based generative models break the curse of dimensionality in learning a family of sub-Gaussian distributions.
    Smyth and Wolpert (1999), Linearly combining density estimators via stacking.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> X = load_iris(as_frame=True).data
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> est.score_samples(X).shape, est.sample(5).shape
    ((150,), (5, 4))
    """

    _saved = (
        "n_features_in_", "feature_names_in_", "feature_scale_", "preprocessor_", "blend_", "component_weights_",
        "conditional_blend_", "n_iter_", "loss_curve_", "validation_scores_", "best_validation_score_",
        "loss_by_noise_", "likelihood_curve_", "network_gain_", "n_samples_seen_", "_resolution", "_sample_seed",
        "_frame", "_replay", "atoms_", "one_hot_groups_", "_table", "_kernel_sources",
    )  # fmt: skip

    loss_curve_: np.ndarray
    _parameter_constraints: dict = {
        "hidden_layer_sizes": [StrOptions({"auto"}), "array-like"],
        "n_estimators": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "feature_transform": [StrOptions({"auto", "yeo-johnson", "gaussianize"}), None],
        "bounds": ["array-like", None],
        "components": [StrOptions({"auto"}), list, tuple, None],
        "n_steps": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "max_fit_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "warm_start": ["boolean"],
        "device": [str],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "atoms": [StrOptions({"auto"}), dict, None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "fit_conditionals": [StrOptions({"auto"}), "boolean"],
        "verbose": ["verbose"],
        "options": [Options, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        *,
        n_estimators: Any = "auto",
        max_iter: Any = "auto",
        early_stopping: bool = True,
        feature_transform: Any = "auto",
        bounds: Any = None,
        components: Any = "auto",
        n_steps: Any = "auto",
        max_fit_seconds: float | None = None,
        warm_start: bool = False,
        device: str = "auto",
        categorical_features: Any = "from_dtype",
        atoms: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        fit_conditionals: Any = "auto",
        verbose: int = 0,
        options: Options | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.feature_transform = feature_transform
        self.bounds = bounds
        self.components = components
        self.n_steps = n_steps
        self.max_fit_seconds = max_fit_seconds
        self.warm_start = warm_start
        self.device = device
        self.categorical_features = categorical_features
        self.atoms = atoms
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.fit_conditionals = fit_conditionals
        self.verbose = verbose
        self.options = options

    # -- fitting ---------------------------------------------------------------------------------

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None) -> DiffusionDensityEstimator:
        """Fit the density to the samples of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or source
            Samples; at least 2, within `bounds`. NaN means unknown: incomplete samples are completed by draws from a
            Gaussian mixture, or in a table with categories or atoms from a mixture of products, that is fitted to what
            is known. A sample without any value is left out. Columns of labels of a frame are categories unless
            `categorical_features` says otherwise.

            A source need not fit into memory: a :obj:`numpy.memmap`, a Parquet path, a `pyarrow.dataset`, a dask array
            or frame, or a callable that is called once a pass and returns an iterator of chunks, arrays or frames. Of
            more than 100000 samples without weights, groups, categories and unknown values, wherever they lie, the
            networks learn from all, read block by block, and everything else from a random part of that size
            (`reservoir_size` of `Options`).
        y : ignored
            For the scikit-learn protocol.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights. A sample of weight zero is absent; multiplying all by a constant changes
            nothing. A copy of a sample adds to its weight, and networks and components are sized by the effective
            number of samples (Kish, 1965).
        groups : array-like of shape (n_samples,), optional
            Labels of samples that belong together, such as the samples of a patient, a chain or a stretch of time. A
            group is never split between samples that are learned from and samples that are left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For samples that are infinite, out of bounds or too few, for a feature of which no value is known, for bad
            weights, parameter values or an unavailable device, for a source that is cut off, or whose chunks have
            different columns or passes. An earlier fit is then left as it was.

        Warns
        -----
        InterruptedFitWarning
            After Ctrl-C during training: the best weights so far are kept. If `max_fit_seconds` ended the first reading
            of a source.
        DegenerateDataWarning
            For constant features, which have no density, for samples that lie on a set of lower dimension, and for
            features with structure too fine for the fit.
        UntrainedNetworkWarning
            If training ended, by `max_iter` or `max_fit_seconds`, before the networks gained on samples left out, so
            that early stopping kept the untrained ones.
        """
        one, n_jobs = restored_on_failure(self), self.n_jobs if is_cpu(self.device) else 1
        with one, workers(1), everywhere(self, goes_on=self.warm_start), helpers(n_jobs):
            self._fit(Given(X, sample_weight, groups))
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DiffusionDensityEstimator:
        """Learn from the next samples of a stream; the first call is a `fit`.

        The estimator keeps up to 2000 samples of the stream, the latest ones; a saved file holds them. Once the new
        ones are a twentieth of these, the networks are trained on all that are kept, in as many steps as the new ones
        are worth, and the trained networks replace the earlier ones where samples that are left out gain by it.
        Until then, new samples wait. Incomplete ones are completed by one draw from the density so far. In the same
        rounds mixtures and the Student-t go on, by steps of expectation maximization, where samples that are left out
        gain by that, and the weights of the blend follow. Where fewer samples say more of the latest ones, earlier ones
        are forgotten. A copy of a sample counts once; the weights of a call are relative to each other.

        The feature transforms, the other components and the resolution of ties are those of the first call; groups are
        known to `fit` alone. The networks of `fit_conditionals` do not learn from streams: after the first round the
        density of complete samples answers in their place.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or source
            The chunks of a source (see `fit`) are learned one after the other.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self

        Examples
        --------
        >>> import numpy as np
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0)
        >>> est.partial_fit(X[:50]).partial_fit(X[50:]).n_samples_seen_
        100
        """
        with restored_on_failure(self), workers(1), everywhere(self, goes_on=True):
            if hasattr(self, "blend_"):
                X, sample_weight, _ = joined(X, sample_weight)
                for chunk in chunks_of(self, X, "stream", together=sample_weight is not None):
                    self._continue(chunk, sample_weight)
            else:
                self._fit(Given(X, sample_weight), begins_stream=True)
        return self

    def distill(
        self, *, n_draws: int = 131_072, n_training_steps: int = 2000, random_state: Any = None
    ) -> DistilledDensityEstimator:
        """A density of one evaluation a sample that has learned this one: ten times as fast to score, or more.

        Parameters
        ----------
        n_draws, n_training_steps : int
            Samples drawn for its training, and optimizer steps of it: see `DistilledDensityEstimator`.
        random_state : int, RandomState or None, default=None
            None takes the estimator's own.

        Returns
        -------
        DistilledDensityEstimator
            Fitted; its `divergence_` is the Kullback-Leibler divergence from this density, in nats.

        Examples
        --------
        >>> import numpy as np
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
        >>> fast = est.distill(n_draws=5000, n_training_steps=100, random_state=0)
        >>> fast.score_samples(X).shape
        (100,)
        """
        refuse_table(self, "distill", "its fast density is of numbers; fit it to the numeric features alone")
        seed = self.random_state if random_state is None else random_state
        return DistilledDensityEstimator(
            clone(self), n_draws=n_draws, n_training_steps=n_training_steps, random_state=seed, verbose=self.verbose
        )._fit_to(self)

    def score_model(self, process: str | Process = "vp") -> ScoreModel:
        """The score, noise, denoised and velocity predictions of the networks, where the noise is isotropic.

        Parameters
        ----------
        process : {"vp", "ve", "subvp", "flow"} or Process, default="vp"
            Noising process, which gives times their meaning. All processes are the same flow in the angle
            arctan(sigma / alpha), so that it changes no fit.

        Returns
        -------
        ScoreModel
            In whitened coordinates, or in features of unit variance; ``score_model().field.place`` takes whitened
            samples there.

        Examples
        --------
        >>> import numpy as np
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
        >>> est.score_model("ve").score(X[:5], 0.5).shape
        (5, 2)
        """
        return ScoreModel(self._flow.field, resolve_process(process))

    def _check_samples(
        self, X: Any, sample_weight: Any, groups: Any = None, *, reset: bool
    ) -> tuple[WeightedSamples, tuple[np.ndarray, np.ndarray] | None]:
        """Samples of some weight, with their weights and groups, and the bounds of the features."""
        least = 2 if reset else 1
        X = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=least, reset=reset, allow_nan=True)
        bounds = check_bounds(self.bounds, X.shape[1])
        w = check_weights(sample_weight, X)
        check_magnitude(X=X)
        groups = check_groups(groups, X)
        kept = (w > MIN_WEIGHT) & ~np.isnan(X).all(1)
        X, w, groups = X[kept], w[kept], None if groups is None else groups[kept]
        if reset and len(X) < 2:
            raise ValueError(
                f"Found array with {len(X)} sample(s) of positive 'sample_weight' with a known value while a minimum "
                "of 2 is required."
            )
        if reset and (unknown := np.isnan(X).all(0)).any():
            names = getattr(self, "feature_names_in_", np.arange(X.shape[1]))[unknown].tolist()
            raise ValueError(f"No value of the features {names} is known: leave these features out.")
        if bounds is not None:
            X = without_overshoot(X, *bounds, np.finfo(X.dtype).eps)
        check_inside(X, bounds)
        return WeightedSamples(X, w, groups), bounds

    def _check_stream(self, is_table: bool) -> None:
        """ValueError if a stream would begin with a table of categories or atoms."""
        if is_table:
            raise ValueError(
                "'partial_fit' is not defined for a table with categories or atoms: use 'fit'. Or set "
                "categorical_features=None and atoms=None, which take every column as numbers."
            )

    def _component_names(self) -> list[str]:
        """The components in closed form that are asked for.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        if self.components is None:
            return []
        names = list(COMPONENTS) if isinstance(self.components, str) else list(self.components)
        if unknown := [name for name in names if name not in COMPONENTS]:
            raise ValueError(
                f"The 'components' parameter must be 'auto', None or a list of names among {list(COMPONENTS)}. "
                f"Got {unknown[0]!r} in {self.components!r}."
            )
        return names

    def _fit(self, given: Given, *, begins_stream: bool = False) -> None:
        if self.warm_start:
            refuse_table(self, "warm_start=True", "set it to False, or fit another estimator")
        started, seed = collective().clock(), collective().first(generator_seed(self.random_state))
        rng = np.random.default_rng(seed)
        taken = within_memory(self, given, started, rng)
        kinds = kinds_of(taken.X, self.categorical_features)
        self._check_stream(begins_stream and bool(self.atoms is not None or not kinds.are_plain))
        note_frame(self, taken.X, kinds.label_codes)
        X, sample_weight, groups = kinds.coded(taken.X), taken.sample_weight, taken.groups
        samples, bounds = self._check_samples(X, sample_weight, groups, reset=True)
        checkpoint = checkpoint_of(self, samples, seed)
        if checkpoint is not None and checkpoint.seed != seed:
            rng = np.random.default_rng(checkpoint.seed)
        self._sample_seed = int(rng.integers(2**62))
        begun = FitInput(samples, bounds, rng, started, taken.reservoir, checkpoint)

        grouped = taken.reservoir is None and not begins_stream and not takes_numbers_alone()
        self._table = kinds.table(samples.X, self.atoms, grouped and can_be_a_table(self))
        self._note_kinds(self._table)
        self.n_samples_seen_, self._kernel_sources = begun.n_samples, None
        self.conditional_blend_: Blend | None = None
        if self._table is None:
            NumericFit(self, begun).run()
        else:
            warn_of_numbers_of_categories(samples.X, self._table, kinds)
            TableFit(self, self._table, begun).run()
            self.__dict__.pop("_replay", None)  # of an earlier fit
        if checkpoint is not None:
            checkpoint.close()

    def _note_kinds(self, table: Table | None) -> None:
        """Set the attributes that tell what the columns are."""
        self.atoms_ = {} if table is None else table.columns.atoms
        self.one_hot_groups_ = [] if table is None else [list(group.features) for group in table.columns.one_hot]

    def _plan(self, shape: tuple[int, int], previous: NetworkField | None) -> FitPlan:
        """What the parameters ask for, for a table of this shape."""
        device, network = resolve_device(self.device), None if previous is None else previous.network
        return FitPlan(
            self.feature_transform,
            self._component_names(),
            resolve_options(self, shape, device, network),
            component_options(self.options),
            self.max_fit_seconds,
        )

    def _previous(self, d: int) -> NetworkField | None:
        """The field to continue from, if there is one; its networks must fit the parameters and the samples."""
        if not hasattr(self, "blend_"):
            return None
        field, given = self._flow.network_field, Options() if self.options is None else self.options
        network, (n_intervals, levels) = field.network, check_noise_intervals(given.noise_intervals)
        sizes, of_network = layer_sizes(self.hidden_layer_sizes, n_intervals), network.hidden_layer_sizes
        if isinstance(sizes, tuple) and n_intervals > 1:
            sizes = [sizes] * n_intervals
        asked = network.n_members if self.n_estimators == "auto" else self.n_estimators
        same = (d, sizes or of_network, given.activation, asked, n_intervals)
        intervals = len(network.edges) + 1
        moved = levels is not None and intervals == n_intervals and not np.allclose(np.tan(network.edges), levels)
        if moved or same != (network.n_features, of_network, network.activation, network.n_members, intervals):
            raise ValueError(
                "Networks that go on ('warm_start', 'partial_fit') keep the number of features, 'hidden_layer_sizes', "
                "'n_estimators' and the options 'activation' and 'noise_intervals' of the previous fit: leave these as "
                "they were, or call fit with warm_start=False to start anew."
            )
        return field

    def _continue(self, X: Any, sample_weight: Any) -> None:
        """Note new samples, and train the networks further where they are enough for a round."""
        refuse_table(self, "partial_fit after the first call", "call fit with all samples")
        if not hasattr(self, "_replay"):
            raise ValueError(
                "This estimator was saved by a version that kept no samples for partial_fit to go on from: call fit."
            )
        samples, bounds = self._check_samples(X, sample_weight, reset=False)
        if not len(samples.X):
            return
        started, flow = collective().clock(), self._flow
        if np.isnan(samples.X).any():
            seed = int(np.random.default_rng([self._sample_seed, self.n_samples_seen_, 1]).integers(2**62))
            samples = samples._replace(X=self._completed(samples.X.astype(np.float64), seed, 1, MIN_NODES)[0])
        field = self._previous(self.n_features_in_) or flow.network_field
        rng = np.random.default_rng([self._sample_seed, self.n_samples_seen_])
        data = TrainingData.of(samples, bounds, rng, self._resolution)
        self._resolution = self._resolution.with_values(samples.X.astype(np.float64))
        warn_of_moved_constants(data)
        self.n_samples_seen_ += len(samples.X)
        log_prob = log_prob_of_others(self.blend_, data.X)
        self._replay = self._replay.followed_by(data, self.preprocessor_, log_prob)
        if self._replay.share_waiting < ROUND_SHARE:
            return
        stream = Round(self._replay, self.blend_, component_options(self.options), rng).forgetting()
        shape = max(1, round(stream.buffer.n_effective)), self.n_features_in_
        options = resolve_options(self, shape, field.network.device, field.network)
        forget_decay = self.options is None or self.options.weight_decay == "auto"
        options = options.continued(flow.theta_min, flow.theta_max, forget_decay, stream.buffer.share_waiting)
        options = options.ending_at(*[training_deadline(started, self.max_fit_seconds)] * 2)
        with FitProgress(self, options.n_checks) as progress:
            stream, result, self.network_gain_ = stream.run(options, progress)
        warn_if_interrupted(result, options.training.n_steps)
        self.blend_, self._replay, self.conditional_blend_ = stream.blend, stream.buffer, None
        self.component_weights_ = self.blend_.weights
        self.n_iter_ += max(1, int(np.ceil(result.n_steps * options.training.batch_size / shape[0])))
        self.loss_curve_ = np.concatenate([self.loss_curve_, np.array(result.loss_curve).reshape(-1, 2)])
