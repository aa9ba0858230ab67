"""Cole, Lu (2024): densities relative to a Gaussian, and what a network predicts, as experiments.

The reference is known, N(0, I): no whitening, no feature maps, no components.
"""

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.theory.records import entry, jackknifed, mean_ratio, source, spread, with_error
from skdiffusion._utils.protocols import VelocityField

N_LEVELS, WIDTH = 16, 64


@dataclass
class Parametrised(VelocityField):
    """A field F = skip(theta) z + scale(theta) network(z, theta).

    Its kinds: "v", the velocity itself; "relative", a bounded part N with F = -sin(theta) N, blended with "v" below the
    level sigma_c; "noise", the noise without any reference.
    """

    network: object
    kind: str
    sigma_c: float = 0.0

    def parts(self, theta):
        """Skip, scale, and the factor by which a velocity error counts in the loss."""
        sin, cos = np.sin(theta), np.cos(theta)
        if self.kind == "noise":
            return np.tan(theta), -1 / cos, cos
        scale = 1.0 if self.kind == "v" else sin / np.sqrt(sin**2 + self.sigma_c**2) * np.sqrt(1 + self.sigma_c**2)
        return 0.0 * theta, scale + 0.0 * theta, 1.0 + 0.0 * theta

    def __call__(self, z, theta, divergence=False):
        """Velocity and divergence, for `skdiffusion.diffusion.ode.solve`."""
        skip, scale, _ = self.parts(theta)
        out, trace = self.network.evaluator()(torch.as_tensor(z, dtype=self.network.dtype), theta, divergence)
        velocity = skip * z + scale * out.double().numpy()
        return velocity, None if trace is None else skip * z.shape[1] + scale * trace.double().numpy()


class Draws:
    """Noised samples of 16 levels with their targets, from a generator: the batches of a training, or its checks."""

    def __init__(self, source, field, plan, rng):
        self.source, self.field, self.plan, self.rng = source, field, plan, rng

    def __call__(self, per_level):
        """z, the features of its levels and the target, (1, levels, per_level, d); then skip, scale and weight."""
        from skdiffusion.diffusion.networks import noise_features
        from skdiffusion.diffusion.training import add_noise, noise_angles, plain_target

        rng, source = self.rng, self.source
        theta = noise_angles(rng, (1, N_LEVELS), self.plan)[0]
        x = torch.as_tensor(source[rng.integers(len(source), size=(1, N_LEVELS, per_level))], dtype=torch.float32)
        e = torch.as_tensor(rng.standard_normal(x.shape), dtype=torch.float32)
        cos, sin, skip, scale, weight = (
            torch.as_tensor(a, dtype=torch.float32) for a in (np.cos(theta), np.sin(theta), *self.field.parts(theta))
        )
        columns = [a[:, None, None] for a in (skip, scale, weight)]
        z = add_noise(x, e, cos, sin)
        return z, noise_features(theta, torch.float32, "cpu"), plain_target(x, e, cos, sin), *columns


def split(X, rng):
    """A tenth of the samples, in random order, to choose by, and the others to learn from."""
    order = rng.permutation(len(X))
    return X[order[: len(X) // 10]], X[order[len(X) // 10 :]]


def train(validation, samples, kind, rng, sigma_c=0.0, *, weight_decay=1e-4, **schedule):
    """The field of a network with the weights that are best on validation samples, the untrained ones among them.

    `schedule` holds fields of a `TrainingPlan`: its steps and their learning rates.
    """
    from skdiffusion.diffusion.networks import FilmEnsemble, Passes
    from skdiffusion.diffusion.training import AdamW, TrainingPlan

    d = samples.shape[1]
    network = FilmEnsemble(d, (WIDTH, WIDTH), "silu")
    network.initialize(rng, 1.0, 1.2)
    average = network.with_flat(network.flat.clone())
    plan = TrainingPlan(**({"n_steps": 2000, "learning_rate": 3e-3} | schedule))
    field = Parametrised(average, kind, sigma_c)
    batches, checked = Draws(samples, field, plan, rng), Draws(validation, field, plan, rng)(256)
    passes, optimizer = Passes(network, N_LEVELS, 16), AdamW(network.flat, weight_decay)
    checks = Passes(average, N_LEVELS, 256)

    def validation_loss():
        z, features, target, skip, scale, weight = checked
        return float(((skip * z + scale * checks.velocity(z, features) - target) * weight).square().mean())

    with torch.no_grad():
        best, kept = validation_loss(), average.flat.clone()
        for step in range(plan.n_steps):
            z, features, target, skip, scale, weight = batches(16)
            error = (skip * z + scale * passes.velocity(z, features) - target) * weight
            optimizer.step(passes.gradient(error * weight * scale * (2 / (256 * d))), plan.learning_rate_at(step))
            average.flat.lerp_(network.flat, plan.averaging_weight(step))
            if (step + 1) % 50 == 0:
                loss = validation_loss()
                if loss < best:
                    best, kept = loss, average.flat.clone()
    return Parametrised(network.with_flat(kept), kind, sigma_c)


def fit(X, kind, seed, sigma_c=0.0, n_steps=2000, weight_decay=1e-4):
    """Train one network on nine tenths of the samples, and keep the weights that are best on the others."""
    rng = np.random.default_rng([seed, 9])
    return train(*split(X, rng), kind, rng, sigma_c, n_steps=n_steps, weight_decay=weight_decay)


@source("S = -x + alpha E[grad f(x_0) given x_t]: a zero network is N(0, I)", "derived")
def zero_network_is_the_gaussian(quick, kept):
    """E4b."""
    from skdiffusion.diffusion.flow import ProbabilityFlow
    from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField

    worst = 0.0
    for d in (1, 8, 64):
        network = FilmEnsemble(d, (32, 32), "silu", 2)
        z = np.random.default_rng(0).standard_normal((200, d))
        flow = ProbabilityFlow(NetworkField(network), 0.01, 1.55)
        worst = max(worst, np.abs(flow.log_prob(z) + 0.5 * (z**2).sum(1) + 0.5 * d * np.log(2 * np.pi)).max())
    return [entry("gaussian", "zero network: largest error of a log-density", "<= 1e-6", f"{worst:.1e}", worst <= 1e-6)]


def target_density(kind, d):
    """A ridge of two humps along a random direction, or a mixture of three unit Gaussians of bounded means."""
    from skdiffusion.densities import GaussianMixtureDensity

    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((d, d)))[0]
    if kind == "ridge":
        means, covariance = (
            0.9 * np.array([[-1.0], [1.0]]) * turn[:, 0],
            np.eye(d) - 0.81 * np.outer(turn[:, 0], turn[:, 0]),
        )
        return GaussianMixtureDensity([0.5, 0.5], means, np.stack([covariance] * 2))
    corners = 1.5 * np.array([[1.0, 0.0], [-0.5, 0.866], [-0.5, -0.866]])
    return GaussianMixtureDensity(np.full(3, 1 / 3), corners @ turn[:, :2].T, np.stack([np.eye(d)] * 3))


def draw(density, n, rng):
    """Samples of a mixture distribution."""
    k = rng.choice(len(density.weights), n, p=density.weights)
    return density.means[k] + np.einsum(
        "nij,nj->ni", np.linalg.cholesky(density.covariances)[k], rng.standard_normal((n, density.means.shape[1]))
    )


def excess_cell(target, kind, d, n, weight_decay, seed):
    """Mean log-density of fresh samples below that of the truth, in nats."""
    from skdiffusion.diffusion.flow import ProbabilityFlow

    density, rng = target_density(target, d), np.random.default_rng([seed, d, n])
    X, test = draw(density, n, rng), draw(density, 2000, rng)
    field = fit(X, kind, seed, weight_decay=weight_decay)
    log_p = ProbabilityFlow(field, 0.01, float(np.arctan(20.0)), density_steps=48, tolerance=0.0).log_prob(test)
    return float((density.log_prob(test) - log_p).mean())


@source("zero network is N(0, I); without that reference the error of it adds up over the features", "derived")
def growth_without_reference(quick, kept):
    """The control of E4a: networks that predict the noise, by the number of features."""
    dimensions, n, seeds = (2, 8) if quick else (2, 8, 32, 64), 1000 if quick else 4000, range(1 if quick else 5)
    out = []
    for target in ("ridge", "mixture"):
        runs = {d: [kept(excess_cell, "excess", target, "noise", d, n, 1e-4, s) for s in seeds] for d in dimensions}
        growth, error = jackknifed(mean_ratio, runs[dimensions[-1]], runs[dimensions[0]])
        shown = ", ".join(f"d = {d}: {spread(v, 4)}" for d, v in runs.items())
        claim = f"excess nats, {target}, noise predicted without reference, n = {n}: growth"
        out.append(entry("gaussian", claim, ">= 3", f"{shown}; growth {with_error(growth, error, '.0f')}", growth >= 3))
    return out


LEVELS_C = (0.0, 0.1, 0.3, 1.0)


def score_cell(target, sigma_c, seed):
    """Root mean square error of the velocity below a noise level of exp(-2), for a smooth distribution or a circle."""
    from skdiffusion.densities import GaussianMixtureDensity

    if target == "smooth":
        density = target_density("mixture", 2)
    else:  # a circle of unit variance, as narrow components along it
        angle = 2 * np.pi * np.arange(400) / 400
        means = np.sqrt(2) * np.column_stack([np.cos(angle), np.sin(angle)])
        density = GaussianMixtureDensity(np.full(400, 1 / 400), means, np.stack([1e-4 * np.eye(2)] * 400))
    rng = np.random.default_rng([seed, 77])
    X, test = draw(density, 4000, rng), draw(density, 2000, rng)
    field = fit(X, "v" if sigma_c == 0 else "relative", seed, sigma_c)
    errors = []
    for theta in np.arctan(np.geomspace(0.02, np.exp(-2), 6)):
        z = test * np.cos(theta) + rng.standard_normal(test.shape) * np.sin(theta)
        gap = field(z, theta)[0] - density(z, theta)[0]
        errors.append((gap**2).sum(1).mean())
    return float(np.sqrt(np.mean(errors)))


@source("N = E[grad f(x_0) given x_t] is bounded where grad f is", "derived")
def relative_part_or_velocity(quick, kept):
    """E4c: F = c(theta) N, c = sin / sqrt(sin^2 + sigma_c^2): from the velocity (0) to the relative score (large)."""
    seeds, out = range(1 if quick else 5), []
    for target, wanted in (("smooth", "sigma_c = 1 below 0"), ("circle", "sigma_c = 1 above 0")):
        errors = {c: [kept(score_cell, "score", target, c, s) for s in seeds] for c in LEVELS_C}
        shown = ", ".join(f"{c:g}: {spread(v, 4)}" for c, v in errors.items())
        better = np.mean(errors[1.0]) < np.mean(errors[0.0])
        claim = f"error of the velocity at noise below exp(-2) by sigma_c, {target} target"
        out.append(entry("gaussian", claim, wanted, shown, better == (target == "smooth")))
    return out


EXPERIMENTS = (zero_network_is_the_gaussian, growth_without_reference, relative_part_or_velocity)
