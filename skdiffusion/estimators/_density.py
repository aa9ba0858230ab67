"""DiffusionDensityEstimator: diffusion models as a scikit-learn density estimator."""

import time
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import validate_data

from skdiffusion._utils.frames import note_frame
from skdiffusion._utils.progress import (
    DENOISING_SHARE,
    SEARCH_SHARE,
    TRAINING_SHARE,
    CallbackSupportMixin,
    FitProgress,
    training_deadline,
    with_callbacks,
)
from skdiffusion._utils.threads import one_thread
from skdiffusion._utils.validation import (
    Interval,
    StrOptions,
    check_bounds,
    check_magnitude,
    check_weights,
    fit_context,
    generator_seed,
    resolve_device,
    restored_on_failure,
)
from skdiffusion.densities import Component, ComponentOptions, TransformedDensity, blend_weights, improved
from skdiffusion.densities.components import COMPONENTS, Spaces, fit_components
from skdiffusion.diffusion import fitting as stages
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import ACTIVATIONS, NetworkField
from skdiffusion.diffusion.ode import STEPPERS
from skdiffusion.diffusion.schedules import PROCESSES, Process, resolve_process
from skdiffusion.diffusion.score_model import ScoreModel
from skdiffusion.diffusion.settings import (
    SIGMA_MAX,
    SIGMA_MIN,
    check_intervals,
    fine_tuning_plan,
    interval_edges,
    layer_sizes,
    noise_limit,
    resolve_settings,
    training_plan,
)
from skdiffusion.diffusion.training import FINE_TUNING_CHECK_EVERY, max_checks
from skdiffusion.estimators._base import DATA_TYPES, FlowDensityEstimator
from skdiffusion.estimators._distilled import DistilledDensityEstimator
from skdiffusion.preprocessing import Preprocessor, TrainingData, dequantize, feature_resolution


class DiffusionDensityEstimator(CallbackSupportMixin, FlowDensityEstimator):
    r"""Density estimation by a diffusion model, stacked with closed-form components.

    Samples are mapped to whitened coordinates, a small ensemble of networks learns the score of the noised
    samples, and the probability-flow equation turns it into a density and a sampler. The result is blended
    with Gaussian mixtures, regressions, a kernel density and a Student-t by weights learnt on held-out samples:

    .. math::
        p = w_1 p_{\rm diffusion} + w_2 p_{\rm mixture} + w_3 p_{\rm student} + w_4 p_{\rm regression}
        + w_5 p_{\rm kernel}.

    The kernel density is the empirical distribution under variance-preserving noise, which leaves whitened samples their
    covariance; its kernels are as wide as samples lie apart, where samples left out gain by it. Components are chosen by
    what they add to the blend: a kernel may serve near copies of samples alone, a mixture leave far samples to the others;
    kernel and regressions are left out where they add nothing. Mixtures have up to 256 components, and where they have
    weight, and its steps are cheap, are the mean of many ends of expectation maximization. Regressions take the features
    one after another, in several orders, mean and log-variance by hinges and products of those before, which score
    tests choose, noise normal or a mixture: a feature that follows from others, or whose spread does, is told by a
    formula where a network needs many samples.

    Log-densities are in nats, in the units of the features: every internal map's Jacobian is included. A
    scaler placed before the estimator in a Pipeline shifts them by the sum of its log scales.

    Parameters
    ----------
    hidden_layer_sizes : "auto", tuple of int or list of tuples, default="auto"
        Widths of the hidden layers. The divergence of two layers costs about one more hidden product whatever the
        number of features, that of three `2 * n_features`, that of other depths as many passes as there are features.
        With `n_intervals` it may be a list of widths, one tuple for each interval.
    activation : {"silu", "gelu", "tanh", "relu"}, default="silu"
        Activation of the hidden layers.
    process : {"vp", "ve", "subvp", "flow"} or Process, default="vp"
        Noising process: the meaning of `t_min` and of the times of `score_model_`, and the horizon.
    marginals : {"auto", "yeo-johnson", "gaussianize"} or None, default="auto"
        Map of every feature before whitening. "auto" chooses on held-out samples.
    bounds : pair (low, high) or None, default=None
        Known bounds of the features, scalars or arrays of shape (n_features,), infinite where open. The
        density is zero outside, and reaches the bounds without leaking over them; a sample on a bound has the
        density of its nearest neighbors.
    stacking : "auto", bool or "mixture", default="auto"
        Whether to blend with the components. False is the pure diffusion. The kernel component keeps the
        training samples in the fitted object ("auto" leaves it out beyond 20000 samples); "mixture" never has it.
    n_estimators : "auto" or int, default="auto"
        Members of the ensemble, whose velocities are averaged. Each holds out a different fold.
    n_intervals : int or array-like of float, default=1
        Intervals of noise levels, each with networks of its own: a number of them, which share the log noise
        level equally, or the times between them. Smaller networks at larger noise are what the minimax rate in
        W1 takes (Oko, Akiyama and Suzuki, 2023); `skdiffusion.theory.besov.design` proposes both.
    score_clip : "auto", float or None, default=None
        Bound C of the score: predicted noise beyond C sqrt(log n_samples) is set to it. "auto" is C = 2, which
        true scores do not reach.
    t_min : "auto" or float, default="auto"
        Time in (0, 1) at which the flow stops before the data: the density is smoothed at that noise level.
    learning_rate : "auto" or float, default="auto"
        Peak learning rate of AdamW. "auto" falls as one over the root of the steps where `max_iter` asks for more than
        the default makes.
    weight_decay : "auto" or float, default="auto"
        Decoupled weight decay. "auto" is n_features (200 / n_samples)^2, at most 0.3, for more than two features, 1e-4
        for one or two; later calls of `partial_fit` then have none.
    n_nonzero_weights : int or None, default=None
        Parameters of a network that may differ from zero: the others are pruned during training.
    weight_bound : float or None, default=None
        Largest absolute value of a parameter. With ``activation="relu"`` both give the sparse networks of
        bounded weights of the minimax theory.
    batch_size : "auto" or int, default="auto"
        Samples a step and member.
    max_iter : "auto" or int, default="auto"
        Passes over the samples (epochs).
    early_stopping : bool, default=True
        Keep the weights of lowest loss on the held-out samples, and stop when it no longer falls.
    fine_tune : "auto" or bool, default="auto"
        Whether to raise the exact likelihood of the trained networks, by gradients through the flow, as long as
        held-out samples gain. "auto" does from 5000 samples of three features on, unless `max_iter` is given or
        `early_stopping` is off. It takes two or three hidden layers, and no intervals, clipping or constraints: "auto"
        leaves it out with these, True is then an error.
    validation_fraction : float, default=0.125
        Share of the samples that each member holds out, for early stopping and for the stacking weights: 2500 samples at
        most, or as many as are worth that where `sample_weight` is uneven.
    n_iter_no_change : "auto" or int, default="auto"
        Optimizer steps without improvement of at least `tol` after which training stops.
    tol : float, default=0.0
        Fall of the validation loss that counts as an improvement.
    solver : "auto" or str, default="auto"
        Stepper of the flow, a key of `skdiffusion.diffusion.ode.STEPPERS`. "auto" takes Adams-Bashforth methods, with one
        evaluation of the networks a step: "ab4" in the log signal-to-noise ratio for log-densities and codes, and for
        samples of 24 steps or more; for those of fewer steps "ab2".
    n_steps : "auto" or int, default="auto"
        Steps of the flow. "auto" takes the number that is cheapest on held-out samples, of those that leave their
        log-densities and the total mass stable.
    warm_start : bool, default=False
        Continue from the networks of the previous `fit`, keeping its feature maps.
    max_fit_seconds : float or None, default=None
        Wall-clock time that `fit` should take at most: training is shortened, with its schedule, to end in time, and
        mixtures have fewer components. Maps, short runs and the other components are not cut, so that the least time
        depends on the samples.
    device : str, default="auto"
        Torch device. "auto" is a CUDA GPU if there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random. An int makes `fit` and `sample` repeatable.
    verbose : int, default=0
        If positive, show a progress bar with the losses and the time left. From scikit-learn 1.9 on the estimator
        also takes callbacks (`set_callbacks`), for instance `sklearn.callback.ProgressBar`.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.
    feature_scale_ : ndarray of shape (n_features,)
        Standard deviations of the training features.
    n_iter_ : int
        Epochs run.
    loss_curve_ : ndarray of shape (n_checks, 2)
        Optimizer step and training loss; 1 is the loss of the standard normal distribution.
    validation_scores_ : ndarray of shape (n_checks, 2)
        Optimizer step and 1 - loss on held-out samples: the explained part.
    best_validation_score_ : float
        Largest of `validation_scores_`.
    loss_by_noise_ : ndarray of shape (n_levels, 2)
        Noise level, in standard deviations of whitened samples or of features, and held-out loss there at the best check,
        before any fine-tuning.
    likelihood_curve_ : ndarray of shape (n_checks, 2)
        Step of the fine-tuning and mean log-density of the blend on held-out samples, in nats; empty without fine-tuning.
    stacking_weights_ : dict
        Weight of every member of the blend: "diffusion", "mixture", "student", "regression", "kernel", with "mapped_"
        behind the feature maps that suit these samples best, with "power_" behind power maps. Regressions and
        a kernel are there only if they add to the others. A weight below 1e-4 is zero, and its member is not asked.
    members_ : dict
        Every member's density, with ``log_density(X)`` and ``score(X)`` in the units of the features.
    preprocessor_ : Preprocessor
        The map from features to whitened samples.
    score_model_ : ScoreModel
        Score, noise, denoised and velocity predictions, where the noise is isotropic: in whitened coordinates, or in
        features of unit variance; ``score_model_.field.place`` takes whitened samples there.

    References
    ----------
    Song et al. (2021), Score-based generative modeling through stochastic differential equations.
    Cole and Lu (2024), Score-based generative models break the curse of dimensionality in learning a
    family of sub-Gaussian distributions. Smyth and Wolpert (1999), Linearly combining density
    estimators via stacking.

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

    _parameter_constraints: dict = {
        "hidden_layer_sizes": [StrOptions({"auto"}), "array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "process": [StrOptions(set(PROCESSES)), Process],
        "marginals": [StrOptions({"auto", "yeo-johnson", "gaussianize"}), None],
        "bounds": ["array-like", None],
        "stacking": [StrOptions({"auto", "mixture"}), "boolean"],
        "n_estimators": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_intervals": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "score_clip": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither"), None],
        "t_min": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="neither")],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "weight_decay": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "n_nonzero_weights": [Interval(Integral, 1, None, closed="left"), None],
        "weight_bound": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "fine_tune": [StrOptions({"auto"}), "boolean"],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "n_iter_no_change": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"auto", *STEPPERS})],
        "n_steps": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "warm_start": ["boolean"],
        "max_fit_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        hidden_layer_sizes="auto",
        activation="silu",
        *,
        process="vp",
        marginals="auto",
        bounds=None,
        stacking="auto",
        n_estimators="auto",
        n_intervals=1,
        score_clip=None,
        t_min="auto",
        learning_rate="auto",
        weight_decay="auto",
        n_nonzero_weights=None,
        weight_bound=None,
        batch_size="auto",
        max_iter="auto",
        early_stopping=True,
        fine_tune="auto",
        validation_fraction=0.125,
        n_iter_no_change="auto",
        tol=0.0,
        solver="auto",
        n_steps="auto",
        warm_start=False,
        max_fit_seconds=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.process = process
        self.marginals = marginals
        self.bounds = bounds
        self.stacking = stacking
        self.n_estimators = n_estimators
        self.n_intervals = n_intervals
        self.score_clip = score_clip
        self.t_min = t_min
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.n_nonzero_weights = n_nonzero_weights
        self.weight_bound = weight_bound
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.fine_tune = fine_tune
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.solver = solver
        self.n_steps = n_steps
        self.warm_start = warm_start
        self.max_fit_seconds = max_fit_seconds
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- fitting ---------------------------------------------------------------------------------

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the density to the samples of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; at least 2, finite, within `bounds`.
        y : ignored
            For the scikit-learn protocol.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights. A sample of weight zero is absent; multiplying all by a constant changes
            nothing.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For samples that are not finite, out of bounds or too few, for bad weights, parameter values or
            an unavailable device. An earlier fit is then left as it was.

        Warns
        -----
        InterruptedFitWarning
            After Ctrl-C during training: the best weights so far are kept.
        DegenerateDataWarning
            For constant features, which have no density, and for samples that lie on a set of lower dimension.
        """
        with restored_on_failure(self), one_thread():
            self._fit(X, sample_weight)
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Continue training on new samples; the first call is a `fit`.

        The feature maps, the components and the stacking weights are those of the first call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        with restored_on_failure(self), one_thread():
            if hasattr(self, "score_model_"):
                self._continue(X, sample_weight)
            else:
                self._fit(X, sample_weight)
        return self

    def distill(self, *, n_draws=131_072, max_iter=2000, random_state=None):
        """A density of one evaluation a sample that has learnt this one: ten times as fast to score, or more.

        Parameters
        ----------
        n_draws, max_iter : int
            Samples drawn for its training, and steps of it: see `DistilledDensityEstimator`.
        random_state : int, RandomState or None, default=None
            None takes the estimator's own.

        Returns
        -------
        DistilledDensityEstimator
            Fitted; its `divergence_` is the Kullback-Leibler divergence from this density, in nats.
        """
        seed = self.random_state if random_state is None else random_state
        given = {"n_draws": n_draws, "max_iter": max_iter, "random_state": seed, "verbose": self.verbose}
        return DistilledDensityEstimator(clone(self), **given)._fit_to(self)

    def _check_samples(self, X, sample_weight, reset):
        """Samples of positive weight in float64, their weights, and the bounds of the features."""
        X = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2 if reset else 1, reset=reset)
        bounds = check_bounds(self.bounds, X.shape[1])
        w = check_weights(sample_weight, X)
        check_magnitude(X=X)
        X, w = X[w > 0].astype(np.float64), w[w > 0]
        if reset and len(X) < 2:
            raise ValueError(
                f"Found array with {len(X)} sample(s) of positive 'sample_weight' while a minimum of 2 is required."
            )
        if bounds is not None:
            outside = ((X < bounds[0]) | (X > bounds[1])).any(1)
            if outside.any():
                raise ValueError(
                    f"{outside.sum()} of {len(X)} samples of X lie outside 'bounds' (the first is sample "
                    f"{np.flatnonzero(outside)[0]}): widen 'bounds' or drop these samples."
                )
        return X, w, bounds

    def _fit(self, X, sample_weight):
        started = time.perf_counter()
        device = resolve_device(self.device)
        process = resolve_process(self.process)
        layer_sizes(self.hidden_layer_sizes, check_intervals(self.n_intervals)[0])
        note_frame(self, X)
        X, w, bounds = self._check_samples(X, sample_weight, reset=True)
        n, d = X.shape
        rng = np.random.default_rng(generator_seed(self.random_state))
        sample_seed = int(rng.integers(2**62))
        initial = self._initial_network(d) if self.warm_start else None
        settings = resolve_settings(self, n, d, initial)
        theta_min = float(np.arctan(SIGMA_MIN) if self.t_min == "auto" else process.angle(self.t_min))
        theta_max = float(np.arctan(min(process.ratio(1.0), SIGMA_MAX)))
        if theta_min >= theta_max:
            raise ValueError(
                f"The 't_min' parameter must lie below the horizon, where noise is {SIGMA_MAX:g} times the signal or "
                f"t = 1. Got {self.t_min!r}."
            )
        plan = training_plan(self, settings, theta_min)
        interval_edges(self.n_intervals, theta_min, theta_max, process)

        X, bounds = stages.resolved(X, rng, bounds)
        folds = stages.make_folds(w, settings.n_folds, rng)
        training = (folds, settings, plan, self.activation, device, rng)
        if initial is None:
            candidates = stages.feature_transform_candidates(X, w, folds, rng, bounds, self.marginals)
            preprocessors = [Preprocessor(X, w, c, bounds) for c in candidates]
            preprocessor, reference = stages.choose_coordinates(X, w, preprocessors, *training)
        else:
            preprocessors = [self.preprocessor_]
            preprocessor, reference = self.preprocessor_, self.score_model_.field.reference

        components, options = [], ComponentOptions()
        if self.stacking is not False:
            raw = next((p for p in preprocessors if p.feature_transform is None), None) or Preprocessor(X, w, None, bounds)
            mapped = next((p for p in preprocessors if p.feature_transform is not None), None)
            # A stream of their own: the networks are the same whatever the components draw.
            own_rng = rng.spawn(1)[0]
            names = [name for name in COMPONENTS if name != "kernel" or self.stacking != "mixture"]
            data = TrainingData(X, w, tuple(folds), settings.n_members, bounds, rng)
            allowed = np.inf if self.max_fit_seconds is None else SEARCH_SHARE * self.max_fit_seconds
            components = fit_components(data, Spaces(raw, mapped), names, options, own_rng, allowed)
        if self.t_min == "auto":
            scale = min((c.density.narrowest for c in components), default=1.0)
            scale *= 1.0 if reference is None else reference.narrowest
            theta_min = float(np.arctan(np.clip(0.2 * scale, 1e-3, SIGMA_MIN)))
            plan = training_plan(self, settings, theta_min)

        if initial is None:
            settings = replace(settings, edges=interval_edges(self.n_intervals, theta_min, theta_max, process))
        z, _ = preprocessor.transform(X)
        n_checks = max_checks(plan, settings.edges if initial is None else initial.edges)
        progress = FitProgress(self, n_checks + -(-settings.n_tuning_steps // FINE_TUNING_CHECK_EVERY))
        share = DENOISING_SHARE if settings.n_tuning_steps else TRAINING_SHARE
        plan = replace(plan, monitor=progress, deadline=training_deadline(started, self.max_fit_seconds, share))
        result = stages.train_network(z, w, folds, settings, plan, self.activation, device, rng, reference, initial)
        field = NetworkField(result.network, noise_limit(self, n), reference)
        flow = self._make_flow(field, theta_min, theta_max)
        unseen = preprocessor.transform_left_out(X, w)
        tuning = None
        if settings.n_tuning_steps and not (result.interrupted or progress.stopped):
            progress.fine_tuning(result.n_steps)
            deadline = training_deadline(started, self.max_fit_seconds)
            plan = replace(fine_tuning_plan(self, settings), monitor=progress, deadline=deadline)
            tuning = stages.fine_tune_network(flow, z, *unseen, w, folds, components, plan, rng)
            flow = replace(flow, field=field.with_network(tuning.network))
        if self.n_steps == "auto":
            flow = stages.choose_steps(flow, z[folds[0][:100]], stages.wide_samples(d, rng, 400 if d <= 2 else 150))
            flow = stages.choose_sample_steps(flow, rng.standard_normal((256, d)))
        members, weights = [("diffusion", TransformedDensity(preprocessor, flow))], [1.0]
        if components:
            held_out = stages.held_out_flow(*unseen, flow, folds)
            diffusion = Component(*members[0], held_out, "diffusion")
            stack, w_held = [diffusion, *components], w[np.concatenate(folds[: settings.n_members])]
            if time.perf_counter() < training_deadline(started, self.max_fit_seconds):
                stack = improved(stack, w_held, options)
            weights = blend_weights(stack, w_held, options)
            members = [(m.name, m.density) for m in stack]

        stages.warn_if_interrupted(result, settings, tuning)
        stages.warn_if_singular(X, flow.field, z[folds[0]], rng)
        self.preprocessor_ = preprocessor
        self.score_model_ = ScoreModel(flow.field, process)
        self.members_ = dict(members)
        self.stacking_weights_ = {name: float(p) for (name, _), p in zip(members, weights)}
        self.feature_scale_ = np.sqrt(np.average((X - np.average(X, axis=0, weights=w)) ** 2, axis=0, weights=w))
        self._sample_seed = sample_seed
        self._record(result, tuning, settings, n)
        progress.close()

    def _initial_network(self, d):
        """The networks to continue from, if there are any; they must fit the parameters and the samples."""
        if not hasattr(self, "score_model_"):
            return None
        network, (n_intervals, _) = self.score_model_.field.network, check_intervals(self.n_intervals)
        sizes, of_network = layer_sizes(self.hidden_layer_sizes, n_intervals), network.hidden_layer_sizes
        if isinstance(sizes, tuple) and n_intervals > 1:
            sizes = [sizes] * n_intervals
        asked = network.n_members if self.n_estimators == "auto" else self.n_estimators
        same = (d, sizes or of_network, self.activation, asked, n_intervals)
        intervals = len(network.edges) + 1
        if same != (network.n_features, of_network, network.activation, network.n_members, intervals):
            raise ValueError(
                "With 'warm_start' the number of features, 'hidden_layer_sizes', 'activation', 'n_estimators' and "
                "'n_intervals' must be those of the previous fit: set warm_start=False to start anew."
            )
        return network

    def _record(self, result, tuning, settings, n):
        self.n_iter_ = max(1, int(np.ceil(result.n_steps * settings.batch_size / n)))
        self.likelihood_curve_ = np.array([] if tuning is None else tuning.validation_curve).reshape(-1, 2)
        self.loss_curve_ = np.array(result.loss_curve).reshape(-1, 2)
        scores = np.array(result.validation_curve).reshape(-1, 2)
        self.validation_scores_ = np.column_stack([scores[:, 0], 1 - scores[:, 1]])
        self.loss_by_noise_ = result.loss_by_noise
        self.best_validation_score_ = float(self.validation_scores_[:, 1].max()) if len(scores) else np.nan

    def _make_flow(self, field, theta_min, theta_max):
        given = {}
        if self.solver != "auto":
            given["stepper"] = given["sample_stepper"] = self.solver
            if not STEPPERS[self.solver].estimates_error:
                given["tolerance"] = 0.0
        if self.n_steps != "auto":
            given |= {"density_steps": int(self.n_steps), "sample_steps": int(self.n_steps), "tolerance": 0.0}
        return ProbabilityFlow(field, float(theta_min), theta_max, **given)

    def _continue(self, X, sample_weight):
        X, w, bounds = self._check_samples(X, sample_weight, reset=False)
        if not len(X):
            return
        rng = np.random.default_rng([self._sample_seed, self.n_iter_])
        z, _ = self.preprocessor_.transform(dequantize(X, feature_resolution(X, bounds), rng, bounds))
        member, network = self.members_["diffusion"], self.score_model_.field.network
        settings = resolve_settings(self, len(X), X.shape[1], network)
        # New samples should move the networks, not erase them.
        weight_decay = 0.0 if self.weight_decay == "auto" else settings.weight_decay
        settings = replace(settings, learning_rate=settings.learning_rate / 4, weight_decay=weight_decay)
        plan = training_plan(self, settings, member.density.theta_min)
        progress = FitProgress(self, max_checks(plan, network.edges))
        deadline = training_deadline(time.perf_counter(), self.max_fit_seconds)
        plan = replace(plan, monitor=progress, deadline=deadline)
        result = stages.train_more(z, w, member.density.field, plan, rng)
        stages.warn_if_interrupted(result, settings)
        flow = replace(member.density, field=member.density.field.with_network(result.network))
        self.members_ = {**self.members_, "diffusion": replace(member, density=flow)}
        self.score_model_ = replace(self.score_model_, field=flow.field)
        self.n_iter_ += max(1, int(np.ceil(result.n_steps * settings.batch_size / len(X))))
        self.loss_curve_ = np.concatenate([self.loss_curve_, np.array(result.loss_curve).reshape(-1, 2)])
        progress.close()
