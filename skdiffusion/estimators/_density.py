"""DiffusionDensityEstimator: diffusion models as a scikit-learn density estimator."""

import warnings
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skdiffusion._threads import torch_threads
from skdiffusion._validation import (
    Interval,
    StrOptions,
    check_bounds,
    check_weights,
    fit_context,
    generator_seed,
    resolve_device,
)
from skdiffusion.companions import PlacedFlow, student_chi2
from skdiffusion.estimators import _fitting as stages
from skdiffusion.estimators._settings import default_settings, resolve_max_iter
from skdiffusion.exceptions import DegenerateDataWarning, InterruptedFitWarning
from skdiffusion.likelihood import ProbabilityFlow
from skdiffusion.networks import ACTIVATIONS, NetworkField
from skdiffusion.ode import STEPPERS
from skdiffusion.preprocessing import Preprocessor, column_resolution, spread_ties
from skdiffusion.processes import PROCESSES, Process, resolve_process
from skdiffusion.score_model import ScoreModel
from skdiffusion.stacking import blend_log_density
from skdiffusion.training import TrainingPlan

CHUNK_ROWS = 8192
MAX_THREADS = 1  # the products are small: a second thread wins a tenth and costs much where cores are shared
SIGMA_MIN, SIGMA_MAX = 0.01, 20.0  # noise levels of training, in whitened standard deviations
DATA_TYPES = [np.float64, np.float32]


class DiffusionDensityEstimator(DensityMixin, BaseEstimator):
    r"""Density estimation by a diffusion model, stacked with closed-form companions.

    Rows are mapped to whitened coordinates, a small ensemble of networks learns the score of the noised
    rows, and the probability-flow equation turns it into a density and a sampler. The result is blended
    with a Gaussian mixture, a kernel density and a Student-t by weights learnt on held-out rows:

    .. math:: p = w_1 p_{\rm diffusion} + w_2 p_{\rm mixture} + w_3 p_{\rm student} + w_4 p_{\rm kernel}.

    Log-densities are in nats, in the units of the columns: every internal map's Jacobian is included. A
    scaler placed before the estimator in a Pipeline shifts them by the sum of its log scales.

    Parameters
    ----------
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the hidden layers. Two layers have a closed-form divergence whatever the number of
        columns; other depths cost n_features times more to score.
    activation : {"silu", "gelu", "tanh", "relu"}, default="silu"
        Activation of the hidden layers.
    process : {"vp", "ve", "subvp", "flow"} or Process, default="vp"
        Noising process: the meaning of `t_min` and of the times of `score_model_`, and the horizon.
    marginals : {"auto", "yeo-johnson", "gaussianize"} or None, default="auto"
        Map of every column before whitening. "auto" chooses on held-out rows.
    bounds : pair (low, high) or None, default=None
        Known bounds of the columns, scalars or arrays of shape (n_features,), infinite where open. The
        density is zero outside, and reaches the bounds without leaking over them.
    stacking : "auto", bool or "mixture", default="auto"
        Whether to blend with the companions. False is the pure diffusion. The kernel companion keeps the
        training rows in the fitted object ("auto" leaves it out beyond 20000 rows); "mixture" never has it.
    n_estimators : "auto" or int, default="auto"
        Members of the ensemble, whose velocities are averaged. Each holds out a different fold.
    t_min : "auto" or float, default="auto"
        Time in (0, 1) at which the flow stops before the data: the density is smoothed at that noise level.
    learning_rate : "auto" or float, default="auto"
        Peak learning rate of AdamW.
    weight_decay : float, default=1e-4
        Decoupled weight decay.
    batch_size : "auto" or int, default="auto"
        Rows a step and member.
    max_iter : "auto" or int, default="auto"
        Passes over the rows (epochs).
    early_stopping : bool, default=True
        Keep the weights of lowest loss on the held-out rows, and stop when it no longer falls.
    validation_fraction : float, default=0.125
        Share of the rows that each member holds out, for early stopping and for the stacking weights.
    n_iter_no_change : "auto" or int, default="auto"
        Optimiser steps without improvement of at least `tol` after which training stops.
    tol : float, default=0.0
        Fall of the validation loss that counts as an improvement.
    solver : "auto" or str, default="auto"
        Stepper of the flow, a key of `skdiffusion.ode.STEPPERS`. "auto" is a Runge-Kutta method of order 4
        for densities and an Adams-Bashforth method of order 2 for samples.
    n_steps : "auto" or int, default="auto"
        Steps of the flow. "auto" doubles them until held-out log-densities and the total mass are stable.
    warm_start : bool, default=False
        Continue from the networks of the previous `fit`, keeping its column maps.
    device : str, default="auto"
        Torch device. "auto" is a CUDA GPU if there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random. An int makes `fit` and `sample` repeatable.
    verbose : int, default=0
        Print progress if positive.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the columns, where `X` had them.
    n_iter_ : int
        Epochs run.
    loss_curve_ : ndarray of shape (n_checks, 2)
        Optimiser step and training loss; 1 is the loss of the fitted Gaussian.
    validation_scores_ : ndarray of shape (n_checks, 2)
        Optimiser step and 1 - loss on held-out rows: the explained part.
    best_validation_score_ : float
        Largest of `validation_scores_`.
    stacking_weights_ : dict
        Weight of every member of the blend.
    members_ : dict
        Every member's density, with ``log_density(X)`` and ``score(X)`` in the units of the columns.
    preprocessor_ : Preprocessor
        The map from columns to whitened rows.
    score_model_ : ScoreModel
        Score, noise, denoised and velocity predictions in whitened coordinates.

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
        "t_min": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="neither")],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "n_iter_no_change": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"auto", *STEPPERS})],
        "n_steps": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "warm_start": ["boolean"],
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
        t_min="auto",
        learning_rate="auto",
        weight_decay=1e-4,
        batch_size="auto",
        max_iter="auto",
        early_stopping=True,
        validation_fraction=0.125,
        n_iter_no_change="auto",
        tol=0.0,
        solver="auto",
        n_steps="auto",
        warm_start=False,
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
        self.t_min = t_min
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.solver = solver
        self.n_steps = n_steps
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- fitting ---------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the density to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; at least 2, finite, within `bounds`.
        y : ignored
            For the scikit-learn protocol.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights. A row of weight zero is absent; multiplying all by a constant changes
            nothing.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For rows that are not finite, out of bounds or too few, for bad weights, parameter values or
            an unavailable device. An earlier fit is then left as it was.

        Warns
        -----
        InterruptedFitWarning
            After Ctrl-C during training: the best weights so far are kept.
        DegenerateDataWarning
            For constant columns, which have no density.
        """
        return self._restore_on_failure(self._fit, X, sample_weight)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Continue training on new rows; the first call is a `fit`.

        The column maps, the companions and the stacking weights are those of the first call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        first = not hasattr(self, "score_model_")
        return self._restore_on_failure(self._fit if first else self._continue, X, sample_weight)

    def _restore_on_failure(self, function, X, sample_weight):
        before = self.__dict__.copy()
        try:
            with torch_threads(MAX_THREADS):
                function(X, sample_weight)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _check_rows(self, X, sample_weight, reset):
        """Rows of positive weight in float64, their weights, and the bounds of the columns."""
        X = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2 if reset else 1, reset=reset)
        bounds = check_bounds(self.bounds, X.shape[1])
        w = check_weights(sample_weight, X)
        X, w = X[w > 0].astype(np.float64), w[w > 0]
        if reset and len(X) < 2:
            raise ValueError(
                f"Found array with {len(X)} sample(s) of positive 'sample_weight' while a minimum of 2 is required."
            )
        if bounds is not None:
            outside = ((X < bounds[0]) | (X > bounds[1])).any(1)
            if outside.any():
                raise ValueError(
                    f"{outside.sum()} of {len(X)} rows of X lie outside 'bounds' (the first is row "
                    f"{np.flatnonzero(outside)[0]}): widen 'bounds' or drop these rows."
                )
        return X, w, bounds

    def _check_sizes(self):
        if isinstance(self.hidden_layer_sizes, str):
            return None
        sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).ravel()
        if not len(sizes) or not all(isinstance(s, Integral) and s > 0 for s in sizes):
            raise ValueError(
                "The 'hidden_layer_sizes' parameter must be 'auto' or a tuple of positive integers. "
                f"Got {self.hidden_layer_sizes!r} instead."
            )
        return tuple(int(s) for s in sizes)

    def _settings(self, n, d):
        settings = default_settings(n, d)
        given = {}
        if (sizes := self._check_sizes()) is not None:
            given["hidden_layer_sizes"] = sizes
        if self.n_estimators != "auto":
            given["n_members"] = int(self.n_estimators)
        if self.batch_size != "auto":
            given["batch_size"] = int(self.batch_size)
        if self.learning_rate != "auto":
            given["learning_rate"] = float(self.learning_rate)
        if self.n_iter_no_change != "auto":
            given["patience"] = int(self.n_iter_no_change)
        settings = replace(settings, **given)
        n_folds = min(n, max(settings.n_members, int(round(1 / self.validation_fraction))))
        n_steps = resolve_max_iter(self.max_iter, settings.n_steps, n, settings.batch_size)
        return replace(settings, n_folds=n_folds, n_members=min(settings.n_members, n_folds), n_steps=n_steps)

    def _fit(self, X, sample_weight):
        device = resolve_device(self.device)
        process = resolve_process(self.process)
        self._check_sizes()
        X, w, bounds = self._check_rows(X, sample_weight, reset=True)
        n, d = X.shape
        rng = np.random.default_rng(generator_seed(self.random_state))
        sample_seed = int(rng.integers(2**62))
        continued = self.warm_start and hasattr(self, "score_model_")

        resolution = column_resolution(X, bounds)
        constant = np.ptp(X, axis=0) == 0
        if constant.any():
            warnings.warn(
                f"Columns {np.flatnonzero(constant).tolist()} are constant and have no density: they are given "
                "a nominal resolution. Drop them to compare log-densities.",
                DegenerateDataWarning,
                stacklevel=4,
            )
        X = spread_ties(X, resolution, rng, bounds)
        settings = self._settings(n, d)
        folds = stages.make_folds(n, settings.n_folds, rng)

        theta_max = float(np.arctan(min(process.ratio(1.0), 200.0)))
        theta_min = float(np.arctan(SIGMA_MIN) if self.t_min == "auto" else process.angle(self.t_min))
        if theta_min >= theta_max:
            raise ValueError(f"The 't_min' parameter must lie below the horizon t = 1. Got {self.t_min!r}.")
        plan = TrainingPlan(
            n_steps=settings.n_steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=self.weight_decay,
            noise_mean=settings.noise_mean,
            sigma_range=(float(np.tan(theta_min)), SIGMA_MAX),
            n_references=settings.n_references,
            patience=settings.patience if self.early_stopping else 0,
            keep_best=self.early_stopping,
            tol=self.tol,
            verbose=self.verbose,
        )
        training = (folds, settings, plan, self.activation, device, rng)
        if continued:
            preprocessors = [self.preprocessor_]
            initial = self.score_model_.field.network
        else:
            candidates = stages.marginal_candidates(X, w, folds, rng, bounds, self.marginals)
            preprocessors, initial = [Preprocessor(X, w, c, bounds) for c in candidates], None
        preprocessor = stages.choose_preprocessor(X, w, preprocessors, *training)
        z, _ = preprocessor.transform(X)

        companions = []
        if self.stacking is not False:
            raw = next((p for p in preprocessors if p.marginals is None), None) or Preprocessor(X, w, None, bounds)
            mapped = next((p for p in preprocessors if p.marginals is not None), None)
            companions = stages.fit_companions(
                X, w, raw, mapped, folds, settings.n_members, rng, self.stacking != "mixture"
            )
            if self.t_min == "auto":
                sigma_min = float(np.clip(0.2 * stages.narrowest_scale(companions), 1e-3, SIGMA_MIN))
                theta_min = float(np.arctan(sigma_min))
                training = (folds, settings, replace(plan, sigma_range=(sigma_min, SIGMA_MAX)), *training[3:])
        result = stages.train_network(z, w, *training, initial)
        flow = self._make_flow(NetworkField(result.network), theta_min, theta_max)
        if self.n_steps == "auto":
            held = folds[0][:200]
            flow = stages.choose_steps(flow, z[held], stages.wide_rows(d, rng, 300))
            flow = stages.choose_sample_steps(flow, rng.standard_normal((256, d)))
        weights = [1.0]
        members = [("diffusion", PlacedFlow(preprocessor, flow))]
        if companions:
            unseen = preprocessor.transform_left_out(X, w)
            held_out = stages.held_out_flow(*unseen, result.network, flow, folds)
            stack = [stages.Member("diffusion", members[0][1], held_out), *companions]
            held = np.concatenate(folds[: settings.n_members])
            weights = stages.blend_weights(stack, w[held])
            members = [(m.name, m.law) for m in stack]

        if result.interrupted:
            warnings.warn(
                f"The fit was interrupted after {result.n_steps} of {settings.n_steps} steps: the best weights so "
                "far are kept. Fit again, or with warm_start=True to continue.",
                InterruptedFitWarning,
                stacklevel=4,
            )
        self.preprocessor_ = preprocessor
        self.score_model_ = ScoreModel(flow.field, process)
        self.members_ = dict(members)
        self.stacking_weights_ = {name: float(p) for (name, _), p in zip(members, weights)}
        self._sample_seed = sample_seed
        self._record(result, settings, n)

    def _record(self, result, settings, n):
        self.n_iter_ = max(1, int(np.ceil(result.n_steps * settings.batch_size / n)))
        self.loss_curve_ = np.array(result.loss_curve).reshape(-1, 2)
        scores = np.array(result.validation_curve).reshape(-1, 2)
        self.validation_scores_ = np.column_stack([scores[:, 0], 1 - scores[:, 1]])
        self.best_validation_score_ = float(self.validation_scores_[:, 1].max()) if len(scores) else np.nan

    def _make_flow(self, field, theta_min, theta_max):
        given = {}
        if self.solver != "auto":
            given = {"density_stepper": self.solver, "sample_stepper": self.solver}
            if self.solver != "rk4":
                given["tolerance"] = 0.0
        if self.n_steps != "auto":
            given |= {"density_steps": int(self.n_steps), "sample_steps": int(self.n_steps), "tolerance": 0.0}
        return ProbabilityFlow(field, float(theta_min), theta_max, **given)

    def _continue(self, X, sample_weight):
        X, w, bounds = self._check_rows(X, sample_weight, reset=False)
        if not len(X):
            return
        rng = np.random.default_rng([self._sample_seed, self.n_iter_])
        X = spread_ties(X, column_resolution(X, bounds), rng, bounds)
        z, _ = self.preprocessor_.transform(X)
        member = self.members_["diffusion"]
        network = self.score_model_.field.network
        settings = replace(self._settings(len(X), X.shape[1]), n_members=network.n_members)
        plan = TrainingPlan(
            n_steps=settings.n_steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate / 4,
            weight_decay=self.weight_decay,
            noise_mean=settings.noise_mean,
            sigma_range=(float(np.tan(member.flow.theta_min)), SIGMA_MAX),
            n_references=settings.n_references,
            verbose=self.verbose,
        )
        result = stages.train_more(z, w, network, plan, rng)
        flow = replace(member.flow, field=NetworkField(result.network))
        self.members_ = {**self.members_, "diffusion": replace(member, flow=flow)}
        self.score_model_ = replace(self.score_model_, field=flow.field)
        self.n_iter_ += max(1, int(np.ceil(result.n_steps * settings.batch_size / len(X))))
        self.loss_curve_ = np.concatenate([self.loss_curve_, np.array(result.loss_curve).reshape(-1, 2)])

    # -- densities -------------------------------------------------------------------------------

    def _by_chunk(self, function, X, columns=()):
        """Apply `function` to chunks of rows within the bounds; -inf for scalars elsewhere."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=DATA_TYPES, reset=False)
        out = np.full((len(X), *columns), np.nan if columns else -np.inf)
        with torch_threads(MAX_THREADS):
            for start in range(0, len(X), CHUNK_ROWS):
                block = X[start : start + CHUNK_ROWS].astype(np.float64)
                inside = self.preprocessor_.inside(block)
                if inside.any():
                    out[start : start + CHUNK_ROWS][inside] = function(block[inside])
        return out

    def _member_log_densities(self, X):
        return np.stack([m.log_density(X) for m in self.members_.values()], axis=1)

    def score_samples(self, X):
        """Log-density of every row, in nats, in the units of the columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            -inf for rows outside `bounds`. A row's value does not depend on the other rows.
        """
        weights = np.array(list(getattr(self, "stacking_weights_", {}).values()))
        return self._by_chunk(lambda block: blend_log_density(self._member_log_densities(block), weights), X)

    def score(self, X, y=None, sample_weight=None):
        """Mean log-density of the rows, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        log_density = self.score_samples(X)
        if sample_weight is None:
            return float(log_density.mean())
        w = check_weights(sample_weight, log_density[:, None])
        return float(np.average(log_density[w > 0], weights=w[w > 0]))

    def score_function(self, X):
        """Gradient of the log-density that `score_samples` reports.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN is returned for rows outside `bounds`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        weights = np.array(list(self.stacking_weights_.values()))

        def gradient(block):
            L = self._member_log_densities(block)
            share = weights * np.exp(L - blend_log_density(L, weights)[:, None])
            return sum(share[:, [i]] * m.score(block) for i, m in enumerate(self.members_.values()))

        return self._by_chunk(gradient, X, (self.n_features_in_,))

    def log_density_error(self, X):
        """Estimated numerical error of `score_samples` per row, in nats, by doubling the solver's steps.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Non-negative; 0 for rows outside `bounds`, whose density is known to be zero.
        """
        check_is_fitted(self)
        member = self.members_["diffusion"]
        weights = np.array(list(self.stacking_weights_.values()))

        def error(block):
            L = self._member_log_densities(block)
            flow = replace(member.flow, density_steps=2 * member.flow.density_steps)
            finer = L.copy()
            finer[:, 0] = replace(member, flow=flow).log_density(block)
            return np.abs(blend_log_density(L, weights) - blend_log_density(finer, weights))

        out = self._by_chunk(error, X)
        return np.where(np.isneginf(out), 0.0, out)

    # -- samples and codes -----------------------------------------------------------------------

    def sample(self, n_samples=1, random_state=None):
        """Draw rows from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            None derives the seed from the estimator's own `random_state` (repeatable), or takes fresh
            entropy where that is None too. A draw of fewer rows is a prefix of a draw of more.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < 0:
            raise ValueError(f"The 'n_samples' argument must be a non-negative integer. Got {n_samples!r} instead.")
        if random_state is not None:
            seed = generator_seed(random_state)
        elif self.random_state is not None:
            seed = self._sample_seed
        else:
            seed = None
        streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]
        weights = np.array(list(self.stacking_weights_.values()))
        law = getattr(self.members_.get("student"), "law", None)
        out = np.empty((n_samples, self.n_features_in_))
        with torch_threads(MAX_THREADS):
            for start in range(0, n_samples, CHUNK_ROWS):
                rows = min(CHUNK_ROWS, n_samples - start)
                noise = streams[0].standard_normal((rows, self.n_features_in_))
                choice = np.searchsorted(np.cumsum(weights), streams[1].random(rows), side="right")
                uniforms = streams[2].random(rows)
                chi2 = student_chi2(streams[3], rows, law.degrees if law is not None else None)
                block = out[start : start + rows]
                for i, member in enumerate(self.members_.values()):
                    mine = np.minimum(choice, len(weights) - 1) == i
                    if mine.any():
                        block[mine] = member.sample_from_noise(noise[mine], uniforms[mine], chi2[mine])
        return out

    def to_latent(self, X):
        """Codes of rows under the diffusion member: standard normal if the model is right.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows within `bounds`; others get NaN.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        member = self.members_["diffusion"]
        encode = lambda block: member.flow.to_latent(member.preprocessor.transform(block)[0])  # noqa: E731
        return self._by_chunk(encode, X, (self.n_features_in_,))

    def from_latent(self, codes):
        """Rows of codes: the inverse of `to_latent`, up to the solver's error.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        codes = validate_data(self, codes, dtype=DATA_TYPES, reset=False)
        member = self.members_["diffusion"]
        with torch_threads(MAX_THREADS):
            return member.preprocessor.inverse_transform(member.flow.from_latent(codes.astype(np.float64)))
