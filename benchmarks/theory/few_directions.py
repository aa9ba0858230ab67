"""Cole, Lu (2024): the excess over the number of samples, of densities that depart from a Gaussian in few directions.

The theorem is about networks of bounded norm that minimize the loss. Gradient descent from a random start does not find
such a network where a direction shows in no moment before the fourth. Directions found by moments stand in for that
search: a network of the coordinates along these is tried beside one of all features and beside the Gaussian, and the
loss on samples that were left out chooses.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmarks.theory.gaussian import N_LEVELS, draw, split, target_density, train
from benchmarks.theory.records import divergence, entry, jackknifed, slope, source, spread, with_error
from skdiffusion._utils.protocols import VelocityField

SMALL_ANGLE = 0.1  # at which the score of the density along the directions is read off
DIMENSIONS = 2, 8, 32, 64
TARGETS = "ridge", "mixture"
SIZES = (512, 4000, 32_768)
# Steps for the least number of samples, which grow with its square root: fewer end before the loss does. Few steps in
# more than two features show what can be learned there.
STEPS, FEW_STEPS = 1000, 300
# The learning rate falls from the first step on: over the last three tenths alone, the more steps there are the farther
# from the minimum they end.
SCHEDULE = {"learning_rate": 5e-3, "decay_fraction": 1.0}
MAX_SEARCHED = 4000  # samples of the search for directions, which are enough in 64 features
COMPARED = 512  # noised validation samples of a level by which two networks are compared
ONE_PERCENT = 2.58  # standard errors that a Gaussian is off, to either side, in one of a hundred cases
RIDGE_KURTOSIS = -2 * 0.9**4  # excess kurtosis of two humps of variance 0.19 at -0.9 and 0.9


@dataclass
class Along(VelocityField):
    """A field of the coordinates along an orthonormal basis, (d, r); across it samples are Gaussian."""

    field: VelocityField
    basis: np.ndarray

    def __call__(self, z, theta, divergence=False):
        """Velocity and divergence, for `skdiffusion.diffusion.ode.solve`."""
        velocity, trace = self.field(z @ self.basis, theta, divergence)
        return velocity @ self.basis.T, trace


def informative_basis(samples, validation, seed):
    """Orthonormal directions, (d, r), in which samples are not N(0, I); r may be 0.

    Those whose variance lies outside the spectrum of Gaussian samples, and those of least or largest kurtosis, for as
    long as the validation samples have another kurtosis along them than a Gaussian at the level of one percent.
    """
    from scipy.stats import kurtosistest

    from skdiffusion.theory.gaussian import fourth_moment_directions

    n, d = samples.shape
    values, axes = np.linalg.eigh(samples.T @ samples / n)
    edge = np.sqrt(d / n)
    off = (values > 1.1 * (1 + edge) ** 2) | (values < 0.9 * max(0.0, 1 - edge) ** 2)
    found = list(axes[:, off].T)
    candidates = fourth_moment_directions(samples[:MAX_SEARCHED], random_state=seed)
    for sign, ordered in ((-1, candidates), (1, candidates[::-1])):
        for direction in ordered:
            left = direction - sum((direction @ b) * b for b in found)
            if np.linalg.norm(left) <= 0.5:
                continue
            if sign * kurtosistest(validation @ direction).statistic < ONE_PERCENT:
                break
            found.append(left / np.linalg.norm(left))
    return np.array(found).T if found else np.zeros((d, 0))


def turned(basis, field, samples, rng):
    """The basis after a step of Newton's method on the likelihood of the density along it, whose score a field knows.

    With N the part of the score beyond the Gaussian, the likelihood is stationary where E[x N(u)] stays in the basis.
    """
    cos, sin = np.cos(SMALL_ANGLE), np.sin(SMALL_ANGLE)
    z = samples[:50_000] * cos
    z = z + rng.standard_normal(z.shape) * sin
    u = z @ basis
    network = field.network.evaluator()
    along = torch.as_tensor(u, dtype=field.network.dtype)
    with torch.no_grad():
        relative = -network(along, SMALL_ANGLE)[0].double().numpy() / sin
        bend = -network.jacobian(along, SMALL_ANGLE).double().numpy().mean(0) / sin
    moment = z.T @ relative / len(z)
    across = moment - basis @ (basis.T @ moment)
    curvature = basis.T @ moment - bend.T
    return np.linalg.qr(basis + across @ np.linalg.pinv(curvature))[0]


def whole_training(n):
    """Steps of a whole training on n samples."""
    return round(STEPS * np.sqrt(n / SIZES[0]))


def learn(validation, samples, rng, n_steps, weight_decay=1e-4):
    """`train` of a velocity, in fewer and longer steps."""
    return train(validation, samples, "v", rng, n_steps=n_steps, weight_decay=weight_decay, **SCHEDULE)


def held_out_error(field, validation, seed):
    """Mean squared error of a velocity, summed over the features, on noised validation samples.

    The noise is the same for every field, so that two of them differ by what they know and not by what was drawn.
    """
    from skdiffusion.diffusion.training import TrainingPlan, noise_angles

    rng, errors = np.random.default_rng([seed, 10]), []
    for theta in noise_angles(rng, (1, N_LEVELS), TrainingPlan(n_steps=1))[0]:
        x = validation[rng.integers(len(validation), size=COMPARED)]
        noise, cos, sin = rng.standard_normal(x.shape), np.cos(theta), np.sin(theta)
        gap = field(x * cos + noise * sin, theta)[0] - (x * sin - noise * cos)
        errors.append((gap**2).sum(1).mean())
    return float(np.mean(errors))


def learned_field(X, seed):
    """The best on validation samples of the Gaussian, a network of all features, and one of informative directions."""
    rng = np.random.default_rng([seed, 9])
    validation, samples = split(X, rng)
    d = X.shape[1]
    decay = min(0.3, d * (200 / len(X)) ** 2) if d > 2 else 1e-4  # as `DiffusionDensityEstimator` has it
    fields = [learn(validation, samples, rng, whole_training(len(X)) if d == 2 else FEW_STEPS, decay)]
    basis = informative_basis(samples, validation, seed)
    if 0 < basis.shape[1] < d:
        basis = turned(basis, learn(validation @ basis, samples @ basis, rng, FEW_STEPS), samples, rng)
        fields.append(Along(learn(validation @ basis, samples @ basis, rng, whole_training(len(X))), basis))
    return min(fields, key=lambda field: held_out_error(field, validation, seed))


def few_directions_cell(target, d, n, seed):
    """Divergence of the learned density from the truth, in nats, and of the Gaussian."""
    from skdiffusion.diffusion.flow import ProbabilityFlow

    density, rng = target_density(target, d), np.random.default_rng([seed, d, n])
    X, test = draw(density, n, rng), draw(density, 500, rng)
    field = learned_field(X, seed)
    flow = ProbabilityFlow(field, 0.01, float(np.arctan(20.0)), density_steps=32, tolerance=0.0)
    true, gaussian = density.log_prob(test), -0.5 * (test**2).sum(1) - 0.5 * d * np.log(2 * np.pi)
    return {"excess": divergence(true, flow.log_prob(test)), "gaussian": divergence(true, gaussian)}


def excess_tables(quick, kept):
    """For each target, the numbers of samples, and by dimension the excess and the share of it in the Gaussian's.

    Both have a row for each number of samples and a column for each seed.
    """
    sizes, seeds = ((512, 2000), range(2)) if quick else (SIZES, range(5))
    for target in TARGETS:
        excess, shares = {}, {}
        for d in DIMENSIONS[:2] if quick else DIMENSIONS:
            cells = [[kept(few_directions_cell, "few directions", target, d, n, s) for s in seeds] for n in sizes]
            excess[d] = np.array([[c["excess"] for c in of_n] for of_n in cells])
            shares[d] = np.array([[c["excess"] / c["gaussian"] for c in of_n] for of_n in cells])
        yield target, sizes, excess, shares


def range_of_slopes(n, tables):
    """Largest less smallest slope, in n, of the logarithm of means over the seeds; of tables of an axis more."""
    logs = np.log(np.mean(tables, axis=-1))
    return float(np.ptp(np.polyfit(np.log(n), logs.T, 1)[0]))


@source("abstract: a rate in n that is independent of the dimension", "stated")
def excess_over_samples(quick, kept):
    """E4a, the rate: the slope of the excess in the number of samples, in every dimension."""
    out = []
    for target, sizes, excess, _ in excess_tables(quick, kept):
        slopes = {d: slope(sizes, values) for d, values in excess.items()}
        shown = ", ".join(f"d = {d}: {text}" for d, (_, text) in slopes.items())
        found = [value for value, _ in slopes.values()]
        span = f"{target}, n = {sizes[0]} ... {sizes[-1]}"
        out.append(entry("gaussian", f"slope of the excess nats, {span}", "<= -0.5", shown, max(found) <= -0.5))
        claim = f"range of these slopes over the dimensions, {target}"
        found = jackknifed(partial(range_of_slopes, sizes), np.array(list(excess.values())))
        out.append(entry("gaussian", claim, "<= 0.15", with_error(*found), found[0] <= 0.15))
    return out


@source("parametric floor r (d - r) / 2n of r unknown directions; detection of one by fourth moments", "derived")
def excess_in_many_features(quick, kept):
    """E4a, the constant, in the most features: beside the Gaussian, and beside what unknown directions cost anyone."""
    from skdiffusion.theory.gaussian import detection_size

    out = []
    for target, sizes, excess, shares in excess_tables(quick, kept):
        d = max(excess)
        n_directions = 1 if target == "ridge" else 2
        of_gaussian = shares[d].mean(1)
        shown = ", ".join(f"n = {n}: {r:.2f} ({spread(v, 4)} nats)" for n, r, v in zip(sizes, of_gaussian, excess[d]))
        claim = f"excess / that of the Gaussian, {target}, d = {d}, largest over n = {sizes[0]} ... {sizes[-1]}"
        out.append(entry("gaussian", claim, "<= 1.02", shown, of_gaussian.max() <= 1.02))
        for n, values in list(zip(sizes, excess[d]))[1:]:
            in_floors = values / (n_directions * (d - n_directions) / (2 * n))
            claim = f"excess / parametric floor, {target}, d = {d}, n = {n}"
            shown = spread(in_floors, 1)
            if target == "ridge":
                needed = detection_size(d, RIDGE_KURTOSIS)
                shown += f" (the spectrum of fourth moments shows the ridge from {needed:.0f} samples on)"
            out.append(entry("gaussian", claim, "<= 10", shown, in_floors.mean() <= 10))
    return out


EXPERIMENTS = (excess_over_samples, excess_in_many_features)
