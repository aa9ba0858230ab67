r"""The density of present values given a state: a probability flow of which the state is an input without noise.

With the indicators s of a state and the present features o, the flow runs in

.. math:: w = S_{oo}^{-1/2} (x_o - (B^T s)_o),

where B is the regression of the features on the indicators and S the covariance of its residuals. The network sees w
with noise, s without, and zero for absent features; it moves present features alone. A zero network is the exact
conditional Gaussian, and for every state the density is normalized up to the error of the solver.

A network of d + q inputs whose outputs for s and for absent features are zero is such a flow in all d + q coordinates:
the closed-form divergence of `FilmEnsemble` is then that of the present features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from skdiffusion._utils.numerics import samples_times_matrix
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.processes import Task, begin, results
from skdiffusion.diffusion.ensemble import averaging_gain
from skdiffusion.diffusion.fitting import Progress, make_flow
from skdiffusion.diffusion.flow import LOG_2PI, ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.out_of_fold import GAIN_CAP
from skdiffusion.diffusion.solver_steps import SAMPLE_STEP_SAMPLES, STEP_SAMPLES, choose_sample_steps, choose_steps
from skdiffusion.diffusion.training import TrainingResult, TrainingSets, train

N_WIDE = 150  # samples of twice the width of the data, which see mass where none belongs
SAMPLE_ERROR = 0.02  # standard deviations by which samples may move when the steps are doubled


@dataclass(frozen=True)
class StateRegression:
    """The linear regression of mapped features on the indicators of the state.

    Parameters
    ----------
    coefficients : array of shape (n_indicators, n_numeric)
    covariance : array of shape (n_numeric, n_numeric)
        Of the residuals.
    """

    coefficients: np.ndarray
    covariance: np.ndarray

    def roots(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """The symmetric root of the covariance of some features, its inverse, and its log-determinant."""
        values, axes = np.linalg.eigh(self.covariance[np.ix_(features, features)])
        root = np.sqrt(values)
        return (axes * root) @ axes.T, (axes / root) @ axes.T, float(np.log(root).sum())


class StateFlow:
    """The density of present values given the indicators of a state.

    Parameters
    ----------
    flow : ProbabilityFlow
        Of a network of n_numeric + n_indicators inputs.
    regression : StateRegression
    """

    _saved = ("flow", "regression")

    def __init__(self, flow: ProbabilityFlow, regression: StateRegression):
        self.flow, self.regression = flow, regression
        self._flows: dict[bytes, ProbabilityFlow] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"flow": self.flow, "regression": self.regression}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._flows = {}

    @property
    def n_numeric(self) -> int:
        """Number of the features."""
        return len(self.regression.covariance)

    def of(self, features: np.ndarray) -> ProbabilityFlow:
        """The flow of some present features: the network neither sees nor moves the others."""
        key = features.tobytes()
        if key not in self._flows:
            field = self.flow.network_field
            assert isinstance(field.network, FilmEnsemble), "One network serves all noise levels."
            network = restricted(field.network, features, self.n_numeric)
            self._flows[key] = replace(self.flow, field=field.with_network(network))
        return self._flows[key]

    def member(self, m: int) -> StateFlow:
        """The same with one of the networks alone."""
        field = self.flow.network_field
        flow = replace(self.flow, field=field.with_network(field.network.member(m)), tolerance=0.0)
        return StateFlow(flow, self.regression)

    def log_prob(self, z: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Log-density in nats, shape (n_samples,).

        Parameters
        ----------
        z : array of shape (n_samples, n_numeric)
            NaN where a feature is absent.
        given : array of shape (n_samples, n_indicators)
        """
        mean = samples_times_matrix(given, self.regression.coefficients)
        return self.log_prob_of_residuals(z - mean, given)

    def log_prob_of_residuals(self, residuals: np.ndarray, given: np.ndarray) -> np.ndarray:
        """The same of what the regression leaves of the features."""
        out = np.zeros(len(residuals))
        for rows, features in Patterns.of(residuals).parts():
            if len(features):
                w, log_root = self._whitened(residuals[np.ix_(rows, features)], features)
                places = joined_rows(w, features, given[rows], self.n_numeric)
                # The flow does not move the rest, of which its prior has the density.
                rest = 0.5 * (given[rows] ** 2).sum(1) + 0.5 * (places.shape[1] - len(features)) * LOG_2PI
                out[rows] = self.of(features).log_prob(places) + rest - log_root
        return out

    def gaussian_log_prob(self, residuals: np.ndarray) -> np.ndarray:
        """The log-density that a network of zero weights gives to what the regression leaves, shape (n_samples,)."""
        out = np.zeros(len(residuals))
        for rows, features in Patterns.of(residuals).parts():
            w, log_root = self._whitened(residuals[np.ix_(rows, features)], features)
            out[rows] = -0.5 * (w**2).sum(1) - 0.5 * len(features) * LOG_2PI - log_root
        return out

    def _whitened(self, residuals: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, float]:
        _, inverse, log_root = self.regression.roots(features)
        return samples_times_matrix(residuals, inverse), log_root

    def sample(self, present: np.ndarray, given: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Values of present features, (n_samples, n_numeric), NaN elsewhere, from standard normal numbers."""
        out = np.full(normal.shape, np.nan)
        for rows, features in Patterns.of(np.where(present, 0.0, np.nan)).parts():
            if len(features):
                places = joined_rows(normal[np.ix_(rows, features)], features, given[rows], self.n_numeric)
                w = self.of(features).draw(places)[:, features]
                mean = samples_times_matrix(given[rows], self.regression.coefficients[:, features])
                out[np.ix_(rows, features)] = mean + samples_times_matrix(w, self.regression.roots(features)[0])
        return out


def joined_rows(w: np.ndarray, features: np.ndarray, given: np.ndarray, n_numeric: int) -> np.ndarray:
    """Values of present features, zeros for absent ones, and the given indicators, side by side."""
    out = np.zeros((len(w), n_numeric + given.shape[1]))
    out[:, features], out[:, n_numeric:] = w, given
    return out


def restricted(network: FilmEnsemble, features: np.ndarray, n_numeric: int) -> FilmEnsemble:
    """The network without the inputs of absent features, and with outputs for present ones alone."""
    out = network.with_flat(network.flat.clone())
    layers = out.views(out.flat)
    absent = np.setdiff1d(np.arange(n_numeric), features)
    layers[0][0][:, absent] = 0.0
    still = np.setdiff1d(np.arange(network.n_features), features)
    for part in layers[-1]:
        part[:, :, still] = 0.0
    return out


@dataclass(frozen=True)
class StateSamples:
    """What a flow given the state learns from.

    Parameters
    ----------
    residuals, residuals_left_out : arrays of shape (n_samples, n_numeric)
        Of the regression, NaN for absent features; the latter of regressions fitted without each sample.
    given : array of shape (n_samples, n_indicators)
    weight : array of shape (n_samples,)
    training, validation : sequences of int arrays
        For every network, the samples that it learns from and those that choose its weights, which it has not seen.
    """

    residuals: np.ndarray
    residuals_left_out: np.ndarray
    given: np.ndarray
    weight: np.ndarray
    training: list[np.ndarray]
    validation: list[np.ndarray]


def fit_state_flow(
    samples: StateSamples,
    regression: StateRegression,
    options: DiffusionOptions,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[StateFlow, np.ndarray, TrainingResult]:
    """Train the networks of a flow given the state, and choose the steps of its solver.

    Returns
    -------
    flow : StateFlow
    log_prob : array of shape (n_validated,)
        Out-of-fold log-densities of the validation samples given their states, of mapped values.
    result : TrainingResult
    """
    d = samples.residuals.shape[1]
    rows = np.zeros((len(samples.weight), d + samples.given.shape[1]))
    rows[:, d:] = samples.given
    for own, features in Patterns.of(samples.residuals).parts():
        if len(features):
            whitened = samples.residuals[np.ix_(own, features)] @ regression.roots(features)[1]
            rows[np.ix_(own, features)] = whitened
    noised = np.zeros(rows.shape, dtype=bool)
    noised[:, :d] = ~np.isnan(samples.residuals)
    network, device = _new_network(d, samples.given, options, rng), options.network.device
    sets = TrainingSets(
        torch.as_tensor(rows, dtype=torch.float32, device=device), samples.weight, samples.training,
        samples.validation, torch.as_tensor(noised, device=device),
    )  # fmt: skip
    plan = replace(options.training, n_target_samples=0, monitor=progress)
    result = train(network, sets, plan, rng)
    flow = StateFlow(make_flow(NetworkField(result.network), options.solver), regression)
    if options.solver.n_steps is None:
        flow = _with_chosen_steps(flow, samples, rng)
    return flow, _out_of_fold(flow, samples), result


def _new_network(d: int, given: np.ndarray, options: DiffusionOptions, rng: np.random.Generator) -> FilmEnsemble:
    """Untrained members whose first weights suit d noised inputs and the few indicators that are not zero."""
    own, n_inputs = options.network, d + given.shape[1]
    network = FilmEnsemble(n_inputs, own.sizes_by_interval[0], own.activation, own.n_members)
    network.initialize(rng, own.input_gain, own.hidden_gain)
    first = network.views(network.flat)[0][0]
    active = max(1.0, float(given.sum(1).mean())) if given.size else 1.0
    first[:, :d] *= np.sqrt(n_inputs / d)
    first[:, d:] *= np.sqrt(n_inputs / active)
    return network.to(device=own.device)


def _with_chosen_steps(flow: StateFlow, samples: StateSamples, rng: np.random.Generator) -> StateFlow:
    """The flow with steps that suit the commonest set of present features."""
    patterns = [(rows, features) for rows, features in Patterns.of(samples.residuals).parts() if len(features)]
    rows, features = max(patterns, key=lambda pattern: len(pattern[0]))
    own, d = flow.of(features), flow.n_numeric
    rows = rng.permutation(rows)

    def places(which: np.ndarray) -> np.ndarray:
        w, _ = flow._whitened(samples.residuals[np.ix_(which, features)], features)
        return joined_rows(w, features, samples.given[which], d)

    wide = places(rng.choice(rows, N_WIDE))
    wide[:, features] = 2.0 * rng.standard_normal((N_WIDE, len(features)))
    rest = np.delete(wide, features, axis=1)
    log_wide = -0.5 * (wide[:, features] ** 2).sum(1) / 4 - len(features) * np.log(2.0)
    log_wide -= 0.5 * (rest**2).sum(1) + 0.5 * wide.shape[1] * LOG_2PI
    own = choose_steps(own, places(rows[:STEP_SAMPLES]), (wide, log_wide))
    noise = places(rng.choice(rows, SAMPLE_STEP_SAMPLES))
    noise[:, features] = rng.standard_normal((len(noise), len(features)))
    own = choose_sample_steps(own, noise, SAMPLE_ERROR * np.sqrt(len(features) / noise.shape[1]))
    chosen = replace(flow.flow, density_steps=own.density_steps, sample_steps=own.sample_steps)
    return StateFlow(chosen, flow.regression)


def _out_of_fold(flow: StateFlow, samples: StateSamples) -> np.ndarray:
    """Log-densities of the validation samples, each by the network that has not seen it, with what the average of all
    networks is expected to gain."""
    members = [flow.member(m) for m in range(flow.flow.network_field.network.n_members)]
    every = np.concatenate(samples.validation)
    owner = np.repeat(np.arange(len(members)), [len(fold) for fold in samples.validation])

    def begun(member: StateFlow, rows: np.ndarray) -> Task[np.ndarray]:
        return begin(member.log_prob_of_residuals, samples.residuals_left_out[rows], samples.given[rows])

    if len(members) < 3:
        own = results([begun(member, fold) for member, fold in zip(members, samples.validation)])
        return np.concatenate(own)
    values = results([begun(member, every) for member in members])
    table = np.stack(values, axis=1)
    places = np.arange(len(every))
    result = table[places, owner]
    table[places, owner] = np.nan
    return result + np.minimum(averaging_gain(table), GAIN_CAP)
