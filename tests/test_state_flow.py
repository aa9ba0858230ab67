"""The flow of present values given a state: normalized for every state, exact for a zero network, learned by masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField
from skdiffusion.diffusion.options import DiffusionOptions, NetworkOptions, SolverOptions
from skdiffusion.diffusion.state_flow import StateFlow, StateRegression, StateSamples, fit_state_flow
from skdiffusion.diffusion.training import TrainingPlan, TrainingSets, train

D, Q = 2, 3  # features and indicators
REGRESSION = StateRegression(np.array([[-2.0, 0.5], [2.0, 0.0], [0.3, -0.2]]), np.array([[1.0, 0.6], [0.6, 0.8]]))


def state_flow(scale=0.0):
    """A flow with a network of random weights, of which the last layer has this scale."""
    network = FilmEnsemble(D + Q, (16, 16), n_members=2)
    network.initialize(np.random.default_rng(0), 1.0, 1.2)
    last = network.views(network.flat)[-1]
    for part in last:
        part.copy_(torch.as_tensor(scale * np.random.default_rng(1).standard_normal(tuple(part.shape))))
    field = NetworkField(network, precision="double")
    flow = ProbabilityFlow(field, np.arctan(0.01), np.arctan(20.0), density_steps=64, sample_steps=64)
    return StateFlow(flow, REGRESSION)


def given(n, rng):
    out = np.zeros((n, Q))
    out[np.arange(n), rng.integers(0, 2, n)] = 1.0
    out[:, 2] = rng.integers(0, 2, n)
    return out


def test_a_zero_network_is_the_conditional_gaussian():
    rng = np.random.default_rng(2)
    s, z = given(50, rng), rng.normal(size=(50, D))
    z[:20, 1] = np.nan
    z[20:25] = np.nan
    expected = []
    for row, state in zip(z, s):
        known = np.flatnonzero(~np.isnan(row))
        mean, covariance = (state @ REGRESSION.coefficients)[known], REGRESSION.covariance[np.ix_(known, known)]
        expected.append(multivariate_normal(mean, covariance).logpdf(row[known]) if len(known) else 0.0)
    np.testing.assert_allclose(state_flow().log_prob(z, s), expected, atol=1e-9)


@pytest.mark.parametrize("present", [[True, False], [True, True]])
def test_every_state_has_a_normalized_density(present):
    flow, states = state_flow(0.25), np.unique(given(100, np.random.default_rng(3)), axis=0)
    axis = np.linspace(-7, 7, 141)
    places = np.column_stack([axis, np.full(len(axis), np.nan)])
    if all(present):
        places = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    gaussians = []
    for state in states:
        shifted = places + state @ REGRESSION.coefficients
        density = np.exp(flow.log_prob(shifted, np.repeat(state[None], len(places), axis=0)))
        cell = (axis[1] - axis[0]) ** sum(present)
        assert density.sum() * cell == pytest.approx(1, abs=1e-3)
        gaussians.append(np.exp(state_flow().log_prob(shifted, np.repeat(state[None], len(places), axis=0))))
        assert np.abs(density - gaussians[-1]).max() > 0.05  # the network does something, and another for each state


def test_samples_follow_the_density_and_the_state():
    flow, n = state_flow(0.25), 20_000
    state = np.repeat(np.array([[0.0, 1.0, 1.0]]), n, axis=0)
    present = np.repeat([[True, False]], n, axis=0)
    drawn = flow.sample(present, state, np.random.default_rng(4).standard_normal((n, D)))
    assert np.isnan(drawn[:, 1]).all()
    axis = np.linspace(-6, 11, 2001)
    log_prob = flow.log_prob(np.column_stack([axis, np.full(len(axis), np.nan)]), state[: len(axis)])
    cumulative = np.cumsum(np.exp(log_prob)) * (axis[1] - axis[0])
    ranks = np.interp(drawn[:, 0], axis, cumulative)
    distance = np.abs(np.sort(ranks) - (np.arange(n) + 0.5) / n).max()
    assert distance < 1.95 / np.sqrt(n)  # Kolmogorov and Smirnov, one in a thousand


def test_given_entries_keep_the_outputs_for_them_at_zero():
    """Their targets do not count, and neither do those of absent features."""
    rng = np.random.default_rng(5)
    network = FilmEnsemble(D + Q, (16, 16), n_members=1)
    network.initialize(rng, 1.0, 1.2)
    samples = np.hstack([rng.normal(size=(200, D)), given(200, rng)])
    noised = np.zeros(samples.shape, dtype=bool)
    noised[:, 0], noised[:100, 1] = True, True
    samples[~noised[:, 1], 1] = 0.0
    sets = TrainingSets(
        torch.as_tensor(samples, dtype=torch.float32), np.ones(200), [np.arange(150)], [np.arange(150, 200)],
        torch.as_tensor(noised),
    )  # fmt: skip
    result = train(network, sets, TrainingPlan(n_steps=60, batch_size=64, keep_best=False), rng)
    last = result.network.views(result.network.flat)[-1]
    assert all((part[:, :, D:] == 0).all() for part in last)
    assert all((part[:, :, :D] != 0).any() for part in last)
    assert np.isfinite([loss for _, loss in result.validation_curve]).all()


def test_a_network_learns_what_differs_between_states():
    """Two clusters in one state and one in the other: nothing that a regression on the state knows."""
    rng, n = np.random.default_rng(6), 1500
    s = np.zeros((n, 2))
    s[np.arange(n), np.arange(n) % 2] = 1.0
    z = 0.3 * rng.standard_normal((n, 1)) + np.where(s[:, :1] == 1, rng.choice([-1.0, 1.0], (n, 1)), 0.0)
    regression = StateRegression(np.zeros((2, 1)), np.array([[z.var()]]))
    folds = [np.arange(0, n, 8), np.arange(1, n, 8)]
    samples = StateSamples(z, z, s, np.ones(n), [np.setdiff1d(np.arange(n), fold) for fold in folds], folds)
    plan = TrainingPlan(n_steps=400, batch_size=256, learning_rate=1e-2)
    options = DiffusionOptions(
        NetworkOptions((32, 32), 2, input_gain=2.0), plan, SolverOptions(np.arctan(0.01), np.arctan(20.0))
    )
    flow, held_out, _ = fit_state_flow(samples, regression, options, rng, Quiet())
    truth = np.where(
        s[:, 0] == 1,
        np.logaddexp(*(-0.5 * ((z[:, 0] - m) / 0.3) ** 2 for m in (-1.0, 1.0))) - np.log(2),
        -0.5 * (z[:, 0] / 0.3) ** 2,
    ) - np.log(0.3 * np.sqrt(2 * np.pi))
    places = np.concatenate(folds)
    assert (truth[places] - held_out).mean() < 0.08
    assert (truth - flow.log_prob(z, s)).mean() < 0.06
    zero = replace(flow.flow, field=NetworkField(FilmEnsemble(3, (4, 4))))
    assert (truth - StateFlow(zero, regression).log_prob(z, s)).mean() > 0.3


class Quiet:
    """Progress that nobody hears of."""

    stopped = False

    def __call__(self, *_):
        return None

    def fine_tuning(self, done):
        pass
