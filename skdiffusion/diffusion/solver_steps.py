"""How many steps the solver takes: the fewest of which more would change neither log-densities nor samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skdiffusion._utils.processes import begin, n_helpers, results
from skdiffusion.diffusion.flow import MAX_STEPS, ProbabilityFlow
from skdiffusion.preprocessing import MappedData, TrainingData

FIRST_DENSITY_STEPS, FIRST_SAMPLE_STEPS = 16, 8  # where the search starts
STEP_SAMPLES = 100  # validation samples that choose the steps of the solver
SAMPLE_STEP_SAMPLES = 256  # generated samples that choose the steps of the sampler


def with_chosen_steps(flow: ProbabilityFlow, data: TrainingData, mapped: MappedData) -> ProbabilityFlow:
    """The flow with steps, for log-densities and for samples, that more steps would not change."""
    d, rng = data.n_features, data.rng
    wide = wide_samples(d, rng, 400 if d <= 2 else 150)
    flow = choose_steps(flow, mapped.z[data.folds[0][:STEP_SAMPLES]], wide)
    return choose_sample_steps(flow, rng.standard_normal((SAMPLE_STEP_SAMPLES, d)))


def choose_sample_steps(flow: ProbabilityFlow, noise: np.ndarray, error_limit: float = 0.02) -> ProbabilityFlow:
    """The fewest sampling steps of which twice as many move samples by less than `error_limit` standard deviations
    (RMS)."""
    steps = FIRST_SAMPLE_STEPS
    while steps < MAX_STEPS:
        moved = flow.draw(noise, steps) - flow.draw(noise, 2 * steps)
        if np.sqrt((moved**2).mean()) < error_limit:
            break
        steps = 3 * steps // 2
    return replace(flow, sample_steps=min(steps, MAX_STEPS))


def choose_steps(
    flow: ProbabilityFlow,
    z: np.ndarray,
    wide: tuple[np.ndarray, np.ndarray],
    mass_limit: float = 5e-4,
    error_limit: float = 0.01,
) -> ProbabilityFlow:
    """The density steps that are cheapest on validation samples, of those that leave them and the total mass stable.

    Parameters
    ----------
    flow : ProbabilityFlow
    z : array of shape (n, d)
        Validation samples.
    wide : (samples, log_prob) of a density about twice as wide as the data
        Few steps put mass where no sample lies; these samples see it.
    mass_limit, error_limit : float
        Changes of the total mass, and of log-densities in nats, that count as stable.
    """
    samples, log_wide = wide
    both = np.concatenate([z, samples])

    def solve(steps: int) -> tuple[np.ndarray, float]:
        solver = replace(flow, density_steps=steps)
        parts = [begin(solver.refined_log_density, part) for part in np.array_split(both, 1 + n_helpers())]
        log_p, taken = (np.concatenate(values) for values in zip(*results(parts)))
        return log_p, (2 * taken - steps)[: len(z)].mean()  # a refined sample has paid for every doubling

    steps, chosen, cheapest = FIRST_DENSITY_STEPS, MAX_STEPS, np.inf
    current, cost = solve(steps)
    while steps < min(MAX_STEPS, cheapest):
        finer, finer_cost = solve(3 * steps // 2)
        error = np.abs(finer - current)[: len(z)].mean()
        now, then = (np.exp(np.minimum(log_p[len(z) :] - log_wide, 30)) for log_p in (finer, current))
        moved = now - then
        noise = 3 * moved.std() / np.sqrt(len(moved)) if z.shape[1] > 2 else 0.0
        if error < error_limit and abs(moved.mean()) < mass_limit + noise and cost < cheapest:
            chosen, cheapest = steps, cost
        steps, current, cost = 3 * steps // 2, finer, finer_cost
    return replace(flow, density_steps=chosen)


def wide_samples(d: int, rng: np.random.Generator, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of N(0, 4 I) and their log-densities."""
    samples = 2.0 * rng.standard_normal((n_samples, d))
    return samples, -0.5 * (samples**2).sum(1) / 4 - d * np.log(2 * np.sqrt(2 * np.pi))
