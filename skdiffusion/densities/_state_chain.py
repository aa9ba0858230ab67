r"""The probability of a state as an autoregressive chain of classifiers.

.. math:: p(c) = \prod_j p(c_j \mid c_1, \dots, c_{j-1})

A step is a multinomial logistic regression on the states before it, mixed with the smoothed table of its column: what
no sample of the fit has keeps some mass. A state thus has a probability however rare it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from skdiffusion._utils.warnings import without_convergence_warnings
from skdiffusion.densities._products_em import one_hot
from skdiffusion.densities._stacking import choose_component
from skdiffusion.densities._state_tables import smoothed_table, without_other
from skdiffusion.preprocessing import Columns

TABLE_SHARES = (0.002, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the smoothed table in a step, the best on samples left out
PENALTIES = (10.0, 1.0, 0.1)  # C of the logistic regressions, from the weakest
MAX_SAMPLES = 10_000  # that a logistic regression is fitted to
MIN_CHAIN_SAMPLES = 500  # to which one is fitted whatever the time
MAX_ITER = 200
LEFT_OUT = 0.2  # of the samples, by which the share of the table and the penalty are chosen
MIN_SAMPLES = 20  # below which there are tables alone


@dataclass(frozen=True)
class ChainStep:
    """The distribution of one state given those before it.

    Parameters
    ----------
    table : array of shape (n_states,)
    table_share : float
        Of the table in the mixture with the regression.
    coefficients : array of shape (n_indicators, n_states)
        Of the indicators of the states before this one.
    intercept : array of shape (n_states,)
        Minus infinity for states that no sample of the fit has.
    """

    table: np.ndarray
    table_share: float
    coefficients: np.ndarray
    intercept: np.ndarray

    def probabilities(self, states: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Probabilities (n_samples, n_states) given the states before, (n_samples, n_before), whose indicators start
        at these places."""
        if self.table_share == 1.0:
            return np.repeat(self.table[None], len(states), axis=0)
        logits = np.repeat(self.intercept[None], len(states), axis=0)
        for state, start in zip(states.T, starts):
            logits = logits + self.coefficients[start + state]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        return self.table_share * self.table + (1 - self.table_share) * shares


@dataclass(frozen=True)
class StateChain:
    """The probability of all states.

    Parameters
    ----------
    steps : list of ChainStep
        In the order of the columns of states.
    n_states : int array of shape (n_stated,)
    with_other : bool array of shape (n_stated,)
    """

    steps: list[ChainStep]
    n_states: np.ndarray
    with_other: np.ndarray

    @property
    def _starts(self) -> np.ndarray:
        return np.cumsum(self.n_states) - self.n_states

    def log_prob(self, states: np.ndarray) -> np.ndarray:
        """Log-probability in nats, shape (n_samples,), of known states (n_samples, n_stated)."""
        out, places = np.zeros(len(states)), np.arange(len(states))
        for k, step in enumerate(self.steps):
            shares = step.probabilities(states[:, :k], self._starts)
            out += np.log(shares[places, states[:, k]])
        return out

    def sample(self, uniform: np.ndarray) -> np.ndarray:
        """States from uniform random numbers (n_samples, n_stated)."""
        states = np.empty(uniform.shape, dtype=int)
        for k, step in enumerate(self.steps):
            shares = without_other(step.probabilities(states[:, :k], self._starts), bool(self.with_other[k]))
            states[:, k] = choose_component(shares, uniform[:, k])
        return states


class StepSetting(NamedTuple):
    """What a step of a chain is fitted with."""

    table_share: float
    penalty: float  # C of the logistic regression


def choose_step_settings(
    states: np.ndarray,
    weights: np.ndarray,
    columns: Columns,
    rng: np.random.Generator,
    max_samples: int = MAX_SAMPLES,
) -> list[StepSetting]:
    """The penalty of every step, and the share of its table, under which samples left out are likeliest."""
    order = rng.permutation(len(states))[:max_samples]
    n_left_out = int(LEFT_OUT * len(order))
    train, left_out = order[n_left_out:], order[:n_left_out]
    return [
        _choose(states[:, : k + 1], weights, columns.n_states[: k + 1], train, left_out) for k in range(states.shape[1])
    ]


def _choose(
    states: np.ndarray, weights: np.ndarray, n_states: np.ndarray, train: np.ndarray, left_out: np.ndarray
) -> StepSetting:
    """The setting of the step of the last of some states."""
    best, highest = StepSetting(1.0, PENALTIES[-1]), -np.inf
    if states.shape[1] == 1 or len(train) < MIN_SAMPLES:
        return best
    starts, places = np.cumsum(n_states[:-1]) - n_states[:-1], np.arange(len(left_out))
    for penalty in PENALTIES:
        fitted = fit_step(states[train], weights[train], n_states, StepSetting(0.0, penalty))
        reached = -np.inf
        for share in TABLE_SHARES:
            step = replace(fitted, table_share=share)
            shares = step.probabilities(states[left_out, :-1], starts)[places, states[left_out, -1]]
            score = float(np.average(np.log(shares), weights=weights[left_out]))
            reached = max(reached, score)
            if score > highest:
                best, highest = StepSetting(share, penalty), score
        if reached < highest:  # stronger penalties lose
            break
    return best


def affordable_chain_samples(seconds: float, available: float) -> int:
    """Samples of the regressions of a chain that is fitted in the time available, where one to `MAX_SAMPLES` would take
    so many seconds."""
    return (
        MAX_SAMPLES
        if seconds <= max(available, 0.0)
        else max(MIN_CHAIN_SAMPLES, int(MAX_SAMPLES * available / seconds))
    )


def fit_state_chain(
    states: np.ndarray,
    weights: np.ndarray,
    columns: Columns,
    settings: list[StepSetting],
    rng: np.random.Generator,
    max_samples: int = MAX_SAMPLES,
) -> StateChain:
    """Fit the chain to known states; the regressions to no more samples than pay, or than there is time for."""
    some = rng.permutation(len(states))[:max_samples]
    steps = []
    for k, setting in enumerate(settings):
        step = fit_step(states[some, : k + 1], weights[some], columns.n_states[: k + 1], setting)
        table = smoothed_table(states[:, k], weights, int(columns.n_states[k]))
        steps.append(replace(step, table=table))
    return StateChain(steps, columns.n_states, columns.with_other)


def fit_step(states: np.ndarray, weights: np.ndarray, n_states: np.ndarray, setting: StepSetting) -> ChainStep:
    """The step of the last of some states."""
    n, n_indicators = int(n_states[-1]), int(n_states[:-1].sum())
    table = smoothed_table(states[:, -1], weights, n)
    if setting.table_share == 1.0 or len(np.unique(states[:, -1])) < 2:
        return ChainStep(table, 1.0, np.zeros((n_indicators, n)), np.zeros(n))
    before = csr_matrix(one_hot(states[:, :-1], n_states[:-1]))
    return ChainStep(table, setting.table_share, *_logistic(before, states[:, -1], weights, n, setting.penalty))


def _logistic(
    before: csr_matrix, state: np.ndarray, weights: np.ndarray, n_states: int, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and intercepts of a multinomial logistic regression, for all states."""
    model = LogisticRegression(C=penalty, max_iter=MAX_ITER)
    with without_convergence_warnings():  # of regressions that a few more steps would hardly move
        model.fit(before, state, sample_weight=weights)
    coefficients, intercept = np.zeros((before.shape[1], n_states)), np.full(n_states, -np.inf)
    if len(model.classes_) == 2:  # one logit, of the second against the first
        coefficients[:, model.classes_[1]] = model.coef_[0]
        intercept[model.classes_] = [0.0, model.intercept_[0]]
    else:
        coefficients[:, model.classes_], intercept[model.classes_] = model.coef_.T, model.intercept_
    return coefficients, intercept
