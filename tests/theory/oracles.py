"""Exact distributions on the line along the flow, and the Wasserstein-2 distance of a sampler's output to them."""

import numpy as np
from scipy.stats import norm

from skdiffusion.theory.wasserstein import step_coefficient

MIDPOINTS = (np.arange(4000) + 0.5) / 4000


class LineMixture:
    """A mixture of Gaussians of one variance on the line, noised to a level."""

    def __init__(self, weights, means, variance):
        self.weights, self.means, self.variance = (np.asarray(v, dtype=float) for v in (weights, means, variance))

    def score(self, y, tau):
        total = self.variance + tau**2
        gaps = self.means - y[:, None]
        logits = np.log(self.weights) - 0.5 * gaps**2 / total
        share = np.exp(logits - logits.max(1, keepdims=True))
        return (share * gaps).sum(1) / share.sum(1) / total

    def quantiles(self, tau, levels=MIDPOINTS):
        scale = np.sqrt(self.variance + tau**2)
        low, high = self.means.min() - 10 * scale, self.means.max() + 10 * scale
        for _ in range(80):
            middle = (low + high) / 2
            below = norm.cdf((np.asarray(middle)[..., None] - self.means) / scale) @ self.weights < levels
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2


def line_distance(density, levels, integrator, score=None):
    """W2 between a sampler that starts from the exact distribution at the first level and the exact one at the last."""
    score = score or density.score
    y = density.quantiles(levels[0])
    for start, stop in zip(levels[:-1], levels[1:]):
        y = y + step_coefficient(integrator, start, stop) * score(y, start)
    return np.sqrt(((np.sort(y) - density.quantiles(levels[-1])) ** 2).mean())


def gaussian_distance(variances, levels, integrator):
    """The same for a centered Gaussian of these variances, in closed form."""
    scale = np.sqrt(np.asarray(variances) + levels[0] ** 2)
    for start, stop in zip(levels[:-1], levels[1:]):
        scale = scale * (1 - step_coefficient(integrator, start, stop) / (np.asarray(variances) + start**2))
    exact = np.sqrt(np.asarray(variances) + levels[-1] ** 2)
    return np.sqrt(((np.abs(scale) - exact) ** 2).sum())


def grid(kind, n_steps, first=40.0, last=0.01):
    """Falling levels, uniform in the angle, in the log level or in a power of the level."""
    u = np.linspace(0, 1, n_steps + 1)
    if kind == "angle":
        levels = np.tan(np.arctan(first) + u * (np.arctan(last) - np.arctan(first)))
    elif kind == "log":
        levels = np.exp(np.log(first) + u * (np.log(last) - np.log(first)))
    else:
        levels = (first ** (1 / 7) + u * (last ** (1 / 7) - first ** (1 / 7))) ** 7
    levels[0], levels[-1] = first, last
    return levels
