"""The fit of a table with categories or atoms: the same blend, of densities of states and present values."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion._utils.progress import (
    CLOSED_FORM_SHARE,
    PILOT_SHARE,
    SEARCH_SHARE,
    FitProgress,
    affordable_samples,
    training_deadline,
)
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion._utils.validation import resolve_device
from skdiffusion.densities import (
    FOLD_EFFORT,
    Blend,
    Component,
    ComponentOptions,
    ProductSetting,
    StateChain,
    StateDensity,
    StateDiffusion,
    StateNoise,
    StudentTables,
    TableDensity,
    affordable_chain_samples,
    best_of_restarts,
    choose_product_setting,
    choose_step_settings,
    fit_state_chain,
    fit_state_regression,
    fit_student_t,
    incomplete_originals,
    one_hot,
    smoothed_table,
)
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.state_flow import StateFlow, StateSamples, fit_state_flow
from skdiffusion.diffusion.training import TrainingResult
from skdiffusion.estimators._fit_input import FitInput
from skdiffusion.estimators._options import Options
from skdiffusion.estimators._resolve import component_options, resolve_options
from skdiffusion.estimators._stages import warn_if_interrupted, warn_if_untrained, warn_of_constant_features
from skdiffusion.estimators._table_data import Ends, MappedTable, TableData
from skdiffusion.estimators._table_kinds import Table
from skdiffusion.preprocessing import (
    TRANSFORMS,
    Columns,
    CompletedSamples,
    WeightedSamples,
    fit_present_maps,
    merged_copies,
    whole_groups,
)

if TYPE_CHECKING:
    from skdiffusion.estimators._density import DiffusionDensityEstimator

COMPONENTS = ("mixture", "student")  # in closed form, of tables
MIN_SHAPE = 3  # features for which networks of two hidden layers are the default
CHAIN_SECONDS = 1000.0  # of a fit, from which as many samples choose the settings of chains as chains are fitted to
N_DRAWS = 3  # for every incomplete sample
LEFT_OUT = 0.25  # of the samples, that choose the mixture that completes samples
TRANSFORMS_ASKED = {None: (None,), "yeo-johnson": ("yeo-johnson",), "gaussianize": (1.0, 0.3), "auto": TRANSFORMS}


@dataclass(frozen=True)
class TablePreprocessor:
    """The bounds of the features of a table.

    Parameters
    ----------
    low, high : arrays of shape (n_features,)
        Infinite where open, and of categories.
    """

    low: np.ndarray
    high: np.ndarray

    def inside(self, X: np.ndarray) -> np.ndarray:
        """Whether what is known of samples is within the bounds, shape (n_samples,) of bool."""
        return np.logical_not(np.any((X < self.low) | (X > self.high), axis=1))


def check_table_parameters(estimator: DiffusionDensityEstimator) -> list[str]:
    """The components in closed form of a table that are asked for.

    Raises
    ------
    ValueError
        For what a table with categories or atoms does not have.
    """
    given, why = Options() if estimator.options is None else estimator.options, "of a table with categories or atoms"
    if estimator.fit_conditionals is True:
        raise ValueError(f"There are no networks for all splits {why}: leave fit_conditionals at 'auto'.")
    if estimator.warm_start and hasattr(estimator, "blend_"):
        raise ValueError(f"warm_start=True does not go on from a fit {why}: set it to False.")
    unknown = {"score_clip": given.score_clip, "n_nonzero_weights": given.n_nonzero_weights}
    unknown |= {"weight_bound": given.weight_bound, "fine_tune": given.fine_tune is True or None}
    unknown["noise_intervals"] = None if np.ndim(given.noise_intervals) == 0 and given.noise_intervals == 1 else True
    if set_ := [name for name, value in unknown.items() if value is not None]:
        raise ValueError(f"The networks {why} do not take the options {set_}: leave them at their defaults.")
    if estimator.components is None:
        return []
    names = list(COMPONENTS) if isinstance(estimator.components, str) else list(estimator.components)
    if missing := [name for name in names if name not in COMPONENTS]:
        raise ValueError(
            f"The blend {why} has the components {list(COMPONENTS)} beside the diffusion. The 'components' parameter "
            f"names {missing[0]!r}: leave it out."
        )
    return names


def can_be_a_table(estimator: DiffusionDensityEstimator) -> bool:
    """Whether the parameters are those that a table with categories or atoms takes."""
    try:
        check_table_parameters(estimator)
    except ValueError:
        return False
    return not estimator.warm_start


class TableFit:
    """The fit of one table: data, maps, components, diffusion, blend.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator
    table : Table
    begun : FitInput
    """

    def __init__(self, estimator: DiffusionDensityEstimator, table: Table, begun: FitInput) -> None:
        self.checkpoint, samples, bounds = begun.checkpoint, begun.samples, begun.bounds
        self.estimator, self.rng, self.started = estimator, begun.rng, begun.started
        self.network_gain = 0.0
        self.columns, self.names = table.columns, check_table_parameters(estimator)
        self.limits: ComponentOptions = component_options(estimator.options)
        self.bounds = None if bounds is None else _without_categories(self.columns, bounds)
        seconds = estimator.max_fit_seconds
        self.search_seconds = np.inf if seconds is None else SEARCH_SHARE * seconds
        samples = samples._replace(X=whole_groups(self.columns, samples.X))
        if np.isnan(samples.X).any():
            # Copies become weights before anything is drawn for them, which would hide that they are copies.
            samples = merged_copies(samples, incomplete_originals(samples.X))
            samples, self.rng = collective().first((self._completed(samples), self.rng))
        data = TableData.of(samples, self.columns, self.bounds, self.rng)
        warn_of_constant_features(data.resolution.resolution)
        self.options = self._resolved((data.n_effective, max(MIN_SHAPE, len(self.columns.numeric))))
        self.data = data.split(self.options.n_folds, self.options.network.n_members, affordable_samples(seconds))
        network = replace(self.options.network, n_members=self.data.n_validated)  # few groups make few folds
        self.options = replace(self.options, network=network)
        transforms = TRANSFORMS_ASKED[estimator.feature_transform]
        self.mapped = self._behind(self.data, transforms)

    def _resolved(self, shape: tuple[int, int]) -> DiffusionOptions:
        device = resolve_device(self.estimator.device)
        return resolve_options(self.estimator, shape, device, fine_tunes=False).kept_in(self.checkpoint)

    def _behind(self, data: TableData, transforms: tuple) -> MappedTable:
        maps = fit_present_maps(data.x, data.sample_weight, data.ends, transforms, self.rng)
        return MappedTable.of(data, maps)

    # -- incomplete samples ----------------------------------------------------------------------

    def _completed(self, samples: WeightedSamples) -> WeightedSamples:
        """Every incomplete sample completed by several draws from a mixture of products, which share its weight."""
        X, weight, groups, _ = samples
        data = TableData.of(samples, self.columns, self.bounds, self.rng, merged=False)
        mapped = self._behind(data, TRANSFORMS)
        density = TableDensity(self.columns, mapped.maps, self._alone(mapped))
        incomplete = np.isnan(X).any(1)
        times = np.where(incomplete, N_DRAWS, 1)
        source = np.repeat(np.arange(len(X)), times)
        drawn = X[source].astype(np.float64)
        n, p = drawn.shape
        uniform = self.rng.random((n, p + 1))
        noise = SampleNoise(self.rng.standard_normal((n, p)), uniform[:, p], boundary=uniform[:, :p])
        complete = density.completed(drawn, noise)
        log_proposal = np.where(incomplete[source], density.log_prob(complete) - density.log_prob(drawn), 0.0)
        completed = CompletedSamples(source, log_proposal, ~np.isnan(drawn))
        drawn = np.where(np.isnan(drawn), data.resolution.requantized(complete), drawn)
        shared, own = weight[source] / times[source], np.arange(len(X)) if groups is None else groups
        return WeightedSamples(drawn, shared / shared.max(), own[source], completed)

    def _alone(self, mapped: MappedTable) -> StateDensity:
        """The mixture of products of all samples, of the size that some of them choose."""
        order = self.rng.permutation(mapped.data.n_samples)
        n_left_out = max(1, int(LEFT_OUT * len(order)))
        end = self._own_deadline(PILOT_SHARE)
        setting = self._setting(mapped, order[n_left_out:], order[:n_left_out], end)
        return best_of_restarts(mapped.products(np.sort(order)), setting, self.limits.em_restarts, self.rng, end)

    # -- components ------------------------------------------------------------------------------

    def _own_deadline(self, share: float) -> float:
        """The moment of `time.perf_counter` at which a share of the time is over: mixtures are fitted process by
        process, and all take that of the first."""
        return collective().own_moment(training_deadline(self.started, self.estimator.max_fit_seconds, share))

    def _setting(self, mapped: MappedTable, train: np.ndarray, left_out: np.ndarray, deadline: float) -> ProductSetting:
        """The size that samples left out choose, in half of the time until the deadline at most."""
        now = time.perf_counter()
        end = now + min(self.search_seconds, (deadline - now) / 2)
        known, log_det = mapped.products(left_out, left_out=True), mapped.log_det_left_out[left_out]
        return choose_product_setting(mapped.products(train), known, log_det, self.rng, self.limits, end)

    def _out_of_fold(self, mapped: MappedTable, fold: np.ndarray, density: StateDensity) -> np.ndarray:
        """Log-densities of a fold by a density that was fitted without it."""
        with np.errstate(over="ignore", invalid="ignore"):
            log_prob = density.log_prob(self.data.states[fold], mapped.z_left_out[fold])
        log_prob = log_prob + mapped.log_det_left_out[fold]
        return np.where(np.isnan(log_prob), -np.inf, log_prob)

    def _component(
        self, name: str, mapped: MappedTable, densities: list[StateDensity], min_weight: float = 0.0
    ) -> Component:
        """A component of the density of all samples, and of those fitted without each validation fold."""
        whole, *others = densities
        log_prob = [self._out_of_fold(mapped, f, d) for f, d in zip(self.data.validation_folds, others)]
        density = TableDensity(self.columns, mapped.maps, whole)
        return Component(name, density, self.data.observed(np.concatenate(log_prob)), name, min_weight)

    def _trained_on(self) -> list[np.ndarray]:
        """All samples, and those outside every validation fold."""
        return [np.arange(self.data.n_samples), *(self.data.without(fold) for fold in self.data.validation_folds)]

    def mixture(self) -> Component:
        """The mixture of products, of the size that the first fold chooses."""
        every, first, *_ = sets = self._trained_on()
        deadline = self._own_deadline(CLOSED_FORM_SHARE)
        setting = self._setting(self.mapped, first, self.data.validation_folds[0], deadline)
        others = []
        # The mixture of all samples takes the last two parts of the time.
        for left, rows in zip(range(len(sets) + 1, 2, -1), sets[1:]):
            now = time.perf_counter()
            effort = FOLD_EFFORT.until(now + (deadline - now) / left)
            others.append(self.mapped.products(rows).fit(setting, self.rng, effort)[0])
        samples, restarts = self.mapped.products(every), self.limits.em_restarts
        whole = best_of_restarts(samples, setting, restarts, self.rng, deadline)
        return self._component("mixture", self.mapped, [whole, *others])

    def student(self) -> Component:
        """The Student-t of the present values times smoothed tables, without transforms."""
        data, mapped = self.data, self._behind(self.data, (None,))
        filled = self._filled(mapped)

        def fitted(rows: np.ndarray) -> StateDensity:
            w, columns = data.sample_weight[rows], self.columns
            student = fit_student_t(filled[rows], w) if filled.shape[1] else None
            states = zip(data.states[rows].T, columns.n_states)
            return StudentTables(student, [smoothed_table(c, w, int(n)) for c, n in states], columns.with_other)

        densities = [fitted(rows) for rows in self._trained_on()]
        return self._component("student", mapped, densities, self.limits.min_student_weight)

    def _filled(self, mapped: MappedTable) -> np.ndarray:
        """Mapped values, the absent ones drawn given the others from a single Gaussian and tables."""
        samples = mapped.products(np.arange(self.data.n_samples))
        gaussian, _ = samples.fit(ProductSetting(1, 2.0 + mapped.z.shape[1]), self.rng)
        normal, n = self.rng.standard_normal(mapped.z.shape), len(mapped.z)
        noise = StateNoise(normal, np.empty((n, len(self.columns.stated))), self.rng.random(n))
        return gaussian.completed(self.data.states, mapped.z, noise)[1]

    def diffusion(self, progress: Any) -> tuple[Component, TrainingResult | None]:
        """The chain of the states times the flow of the present values given the state."""
        data, chains = self.data, self._chains()
        log_prob = np.concatenate([c.log_prob(data.states[f]) for c, f in zip(chains[1:], data.validation_folds)])
        flow, result = None, None
        if len(self.columns.numeric):
            flow, own, result = self._flow(progress)
            log_prob = log_prob + own + self.mapped.log_det_left_out[data.validated]
        density = TableDensity(self.columns, self.mapped.maps, StateDiffusion(chains[0], flow, self.columns))
        return Component("diffusion", density, self.data.observed(log_prob), "diffusion"), result

    def _chains(self) -> list[StateChain]:
        """The chains of all samples, and of those outside every fold, in half of the time until training ends."""
        data, w, clock = self.data, self.data.sample_weight, collective().clock
        started, trained_on = clock(), self._trained_on()
        seconds = self.estimator.max_fit_seconds
        some = affordable_chain_samples(1.0, np.inf if seconds is None else seconds / CHAIN_SECONDS)
        settings = choose_step_settings(data.states, w, self.columns, self.rng, some)
        chosen = clock()
        available = (training_deadline(self.started, seconds) - chosen) / 2
        # To choose the settings takes longer than one chain.
        longer = max(1.0, min(data.n_samples, affordable_chain_samples(0.0, np.inf)) / some)
        n = affordable_chain_samples(longer * (chosen - started), available / len(trained_on))
        return [fit_state_chain(data.states[i], w[i], self.columns, settings, self.rng, n) for i in trained_on]

    def _flow(self, progress: Any) -> tuple[StateFlow, np.ndarray, TrainingResult]:
        data = self.data
        given = one_hot(data.states, self.columns.n_states)
        regression, residuals, left_out = fit_state_regression(self.mapped.z, given, data.sample_weight, self.rng)
        # What the maps of each sample left out say of it, beside the regression without it.
        left_out = left_out + (self.mapped.z_left_out - self.mapped.z)
        folds = data.validation_folds
        training = [data.without(fold) for fold in folds]
        samples = StateSamples(residuals, left_out, given, data.sample_weight, training, list(folds))
        flow, log_prob, result = fit_state_flow(samples, regression, self.options, self.rng, progress)
        gaussian = flow.gaussian_log_prob(left_out[data.validated])
        gain = np.average(log_prob - gaussian, weights=data.sample_weight[data.validated])
        self.network_gain = float(gain) / len(self.columns.numeric)
        return flow, log_prob, result

    # -- the whole -------------------------------------------------------------------------------

    def run(self) -> None:
        """Fit everything, and set the attributes of the estimator."""
        estimator = self.estimator
        fitted = [getattr(self, name)() for name in COMPONENTS if name in self.names]
        # Machines may differ by round-off, and by what they draw until their time is over.
        components, self.rng = collective().first((fitted, self.rng))
        deadline = training_deadline(self.started, estimator.max_fit_seconds)
        self.options = self.options.ending_at(deadline, deadline)
        with FitProgress(estimator, self.options.n_checks) as progress:
            diffusion, result = self.diffusion(progress)
        everything = [diffusion, *components]
        if components:
            estimator.blend_ = Blend.of(everything, self.data.validation_weight, self.limits)
        else:
            estimator.blend_ = Blend({"diffusion": diffusion.density}, {"diffusion": 1.0})
        estimator.component_weights_ = estimator.blend_.weights
        low, high = np.full(self.columns.n_features, -np.inf), np.full(self.columns.n_features, np.inf)
        low[self.columns.numeric], high[self.columns.numeric] = self.data.ends
        estimator.preprocessor_ = TablePreprocessor(low, high)
        estimator._resolution = self.data.resolution
        estimator.feature_scale_ = self._scales()
        self._record(result)

    def _scales(self) -> np.ndarray:
        """Standard deviations of the features, NaN for categories."""
        X = self.columns.joined(self.data.states, self.data.x)
        scale = WeightedSamples(X, self.data.sample_weight).scale
        scale[list(self.columns.discrete)] = np.nan
        return scale

    def _record(self, result: TrainingResult | None) -> None:
        """Set the attributes that tell how training went."""
        estimator, options = self.estimator, self.options
        estimator.likelihood_curve_, estimator.network_gain_ = np.empty((0, 2)), self.network_gain
        estimator.n_iter_, estimator.loss_by_noise_ = 0, np.empty((0, 2))
        estimator.loss_curve_ = estimator.validation_scores_ = np.empty((0, 2))
        estimator.best_validation_score_ = np.nan
        if result is None:
            return
        warn_if_interrupted(result, options.training.n_steps)
        warn_if_untrained(result, options.training)
        steps = result.n_steps * options.training.batch_size
        estimator.n_iter_ = max(1, int(np.ceil(steps / self.data.n_effective)))
        estimator.loss_curve_ = np.array(result.loss_curve).reshape(-1, 2)
        scores = np.array(result.validation_curve).reshape(-1, 2)
        estimator.validation_scores_ = np.column_stack([scores[:, 0], 1 - scores[:, 1]])
        estimator.loss_by_noise_ = result.loss_by_noise
        if len(scores):
            estimator.best_validation_score_ = float(estimator.validation_scores_[:, 1].max())


def _without_categories(columns: Columns, bounds: Ends) -> Ends:
    """Bounds that are open for categories."""
    low, high = (np.array(end) for end in bounds)
    for j in columns.discrete:
        low[j], high[j] = -np.inf, np.inf
    return low, high
