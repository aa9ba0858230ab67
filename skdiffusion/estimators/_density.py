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

    Samples are mapped to whitened coordinates, a small ensemble of networks learns the score of the noised samples, and
    the probability-flow equation turns it into a density and a sampler. The result is blended with Gaussian mixtures,
    autoregressive regressions, a kernel density and a Student-t, by weights that are learned on samples left out:

    .. math::
        p = w_1 p_{\rm diffusion} + w_2 p_{\rm mixture} + w_3 p_{\rm student} + w_4 p_{\rm regression}
        + w_5 p_{\rm kernel}.

    Components are chosen by what they add to the blend, so that a kernel density may serve near copies of samples
    alone, and a mixture leave far samples to the others. Log-densities are in nats, in the units of the features: the
    Jacobian of every internal map is included. A scaler placed before the estimator in a Pipeline shifts them by the
    sum of its log scales (`skdiffusion.compose.DensityPipeline` does not).

    Parameters
    ----------
    hidden_layer_sizes : "auto", tuple of int or list of tuples, default="auto"
        Widths of the hidden layers. "auto" follows the effective number of samples: two layers of 32 units up to 150
        samples, 64 below 1000, 96 below 20000 and 128 beyond; with two features, from 151 samples on, three layers of
        48 units, and of 64 from 5000 on. The divergence of two layers costs about one more hidden product whatever the
        number of features, that of three ``2 * n_features``, that of other depths as many passes as there are features.
        With several noise intervals (see `Options`) it may be a list of widths, one tuple for each.
    n_estimators : "auto" or int, default="auto"
        Networks of the ensemble, whose velocities are averaged. Each leaves out a different fold.
    max_iter : "auto" or int, default="auto"
        Passes over the samples (epochs). "auto" follows the numbers of samples and features, and ends early where the
        other components leave the networks next to no weight in the blend: see `min_trial_weight` of `Options`.
    early_stopping : bool, default=True
        Keep the weights of lowest loss on the samples left out, and stop when it no longer falls.
    feature_transform : "auto", "yeo-johnson", "gaussianize" or None, default="auto"
        Map of every feature before whitening. "auto" chooses on samples left out; it also narrows the empty gaps
        between far groups of values, and takes signed logarithms of values over many decades.
    bounds : pair (low, high) or None, default=None
        Known bounds of the features, scalars or arrays of shape (n_features,), infinite where open. The density is zero
        outside, and reaches the bounds without leaking over them. Next to a bound, where few per cent of the samples
        lie, it follows a shape that is fitted there, with a positive limit on the bound unless the samples speak
        for zero or infinity.
    components : "auto", list of str or None, default="auto"
        Densities in closed form to blend the diffusion with, among "mixture", "student", "regression", "steps" and
        "kernel". "auto" is all of them, as far as they add to the blend. None is the pure diffusion. "steps", averages
        of Pólya trees, is for a single feature. A kernel density keeps the training samples in the fitted object, and
        is left out beyond 20000 of them.
    n_steps : "auto" or int, default="auto"
        Steps of the flow. "auto" takes the number that is cheapest on samples left out, of those that leave their
        log-densities and the total mass stable.
    max_fit_seconds : float or None, default=None
        Wall-clock time that `fit` should take at most: training is shortened, with its schedule, to end in time,
        mixtures have fewer components, fewer samples are left out to weigh components by, and the families of
        components for which there is no time are not fitted. What is left takes about five seconds with 100000 samples
        of 8 features.
    warm_start : bool, default=False
        Continue from the networks of the previous `fit`, keeping its feature transforms.
    device : str, default="auto"
        Torch device. "auto" is a CUDA GPU if there is one, else the CPU.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Columns of categories, whose probabilities are learned as such: a mask, numbers or names. "from_dtype" are those
        of a frame with the dtypes of categories, text and booleans, but of 8 and more ordered categories the places in
        their order are rounded numbers; an array has none. None takes every column as numbers. At most 256 categories a
        column. Unless it is None, columns of zeros and ones that exclude each other
        in all samples, beyond chance, are one category too, as an encoder made them, but those that are named here:
        exactly one of them is one, or at most one, in generated samples as in those of `fit`. They are looked for in
        `fit`, not in streams nor in more samples than `reservoir_size` of `Options`, and where the other parameters
        are those that a table with categories takes.
    atoms : "auto", dict or None, default=None
        Values of numeric features that carry mass, as the zeros of a zero-inflated feature: the density there is a
        probability, and the rest of the feature is continuous. A dictionary has lists of values by feature, named or
        numbered. "auto" is what `find_atoms` finds. Log-densities of two fits compare only with the same atoms. None
        spreads such values over narrow cells, as those of other ties.
    n_jobs : int or None, default=None
        Threads that `score_samples` and the other methods that look at samples run at most, with the same bits
        whatever their number; `fit` and `sample` run on one, where two were slower. ``None`` means 1 unless in a
        :obj:`joblib.parallel_config` context. ``-1`` means using all processors.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random. An int makes `fit` and `sample` repeatable.
    fit_conditionals : "auto" or bool, default="auto"
        Whether to train networks for the densities of any features given any others, which then answer where features
        are unknown: `score_samples` and `impute` of incomplete samples, `conditional`, `marginal` and
        ``sample(given=)``, whatever the number of unknown features. "auto" does where X has gaps. Without them, these
        answer from closed forms, quadrature and importance sampling. The density of complete samples is the same; `fit`
        takes two to three times as long. There is nothing to train for a single feature.
    verbose : int, default=0
        If positive, show a progress bar with the losses and the time left. From scikit-learn 1.9 on the estimator
        also takes callbacks (`set_callbacks`), for instance `sklearn.callback.ProgressBar`.
    options : Options or None, default=None
        Everything else: learning rate, noise levels, solver, fine-tuning, limits of the components. None takes the
        defaults.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.
    feature_scale_ : ndarray of shape (n_features,)
        Standard deviations of the training features; NaN for categories.
    blend_ : Blend
        The fitted density: ``blend_.densities`` holds every component, with ``log_prob(X)`` and ``score(X)`` in the
        units of the features.
    component_weights_ : dict
        Weight of every component: "diffusion", "mixture", "student", "regression", "steps", "kernel"; ``mapped_``
        stands before those behind the feature transforms that suit these samples best, ``power_`` before those behind
        power transforms, ``bic_`` before the mixture of a single feature whose size that criterion chooses. A weight
        below 1e-4 is zero, and its component is never evaluated.
    conditional_blend_ : Blend or None
        The density that answers where features are unknown, with weights of its own, after `fit_conditionals`; None
        where `blend_` does.
    preprocessor_ : Preprocessor
        The map from features to whitened samples; of a table with categories or atoms the bounds alone.
    atoms_ : dict
        Rising atoms by number of the feature; empty without `atoms`.
    one_hot_groups_ : list of list of int
        Numbers of the columns of every one-hot group that was found: see `categorical_features`.
    n_iter_ : int
        Epochs run.
    n_samples_seen_ : int
        Samples of positive weight that `fit` and all calls of `partial_fit` since were given.
    loss_curve_ : ndarray of shape (n_checks, 2)
        Optimizer step and training loss; 1 is the loss of the standard normal distribution.
    validation_scores_ : ndarray of shape (n_checks, 2)
        Optimizer step and 1 - loss on the samples left out: the explained part.
    best_validation_score_ : float
        Largest of `validation_scores_`.
    loss_by_noise_ : ndarray of shape (n_levels, 2)
        Noise level, in standard deviations of whitened samples or of features, and validation loss there at the best
        check, before any fine-tuning.
    likelihood_curve_ : ndarray of shape (n_checks, 2)
        Step of the fine-tuning and mean log-density of the blend on samples left out, in nats; empty without
        fine-tuning.
    network_gain_ : float
        What the networks gain on samples left out over the Gaussian that they start from, behind the same feature
        transforms, in nats a feature. It is 0 where early stopping kept the untrained networks: other
        `hidden_layer_sizes` change nothing then, unless a longer training does.

    References
    ----------
    Song et al. (2021), Score-based generative modeling through stochastic differential equations.
    Cole and Lu (2024), Score-based generative models break the curse of dimensionality in learning a family of
    sub-Gaussian distributions. Smyth and Wolpert (1999), Linearly combining density estimators via stacking.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> est.score_samples(X[:3]).shape
    (3,)
    >>> est.sample(5, random_state=0).shape
    (5, 2)
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
        with restored_on_failure(self), workers(1), everywhere(self, goes_on=self.warm_start):
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
