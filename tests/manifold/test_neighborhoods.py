"""Neighborhoods are thin around curves and surfaces, and round around clusters and in mixtures of scales."""

import numpy as np
import pytest

from skdiffusion.datasets import Sphere, SwissRoll
from skdiffusion.manifold._neighborhoods import are_thin


def two_scales(d, ratio):
    def draw(rng, n):
        return rng.standard_normal((n, d)) * np.where(rng.random(n) < 0.05, 1.0, 1 / ratio)[:, None]

    return draw


def clusters(centers, widths):
    def draw(rng, n):
        which = rng.integers(len(centers), size=n)
        return np.asarray(centers)[which] + np.asarray(widths)[which, None] * rng.standard_normal((n, len(centers[0])))

    return draw


def curve(rng, n):
    t = rng.random(n)
    points = np.stack([np.cos(3 * t), np.sin(4 * t), t, np.cos(6 * t), t**2], axis=1)
    return points + 0.005 * rng.standard_normal((n, 5))


ROUND = {
    "two scales in the plane": two_scales(2, 100),
    "two scales": two_scales(5, 30),
    "clusters": clusters([[0, 0, 0], [1, 2, 0], [-1, 1, 3]], [0.01] * 3),
    "clusters that differ in one feature": clusters([[0, 0], [2, 0.05]], [0.01] * 2),
    "clusters on a line": clusters(np.outer(range(5), [1.0, 0.7]), [0.01] * 5),
    "clusters of different width": clusters([[0, 0], [3, 1], [-2, 4]], [0.003, 0.05, 0.4]),
    "clusters that join among many neighbors": clusters(
        np.random.default_rng(0).standard_normal((20, 2)), np.full(20, 0.005)
    ),
    "many clusters": clusters(np.random.default_rng(0).standard_normal((40, 3)), np.full(40, 0.005)),
    "heavy tails": lambda rng, n: rng.standard_t(2, (n, 3)),
    "log-normal": lambda rng, n: np.exp(rng.standard_normal((n, 2))),
    "correlated": lambda rng, n: rng.standard_normal((n, 2)) @ [[1.0, 0.999], [0.0, 0.045]],
    "copies": lambda rng, n: np.repeat(rng.standard_normal((n // 20, 2)), 20, axis=0),
}
THIN = {
    "circle": lambda rng, n: Sphere(1, noise=0.01).sample(n, 0),
    "stretched circle": lambda rng, n: Sphere(1, noise=0.01).sample(n, 0) * [1e4, 1e-3],
    "sphere": lambda rng, n: Sphere(2, noise=0.01).sample(n, 0),
    "swiss roll": lambda rng, n: SwissRoll(noise=0.01).sample(n, 0),
    "curve": curve,
    "broader circle": lambda rng, n: Sphere(1, noise=0.02).sample(n, 0),
    "several circles": lambda rng, n: Sphere(1, noise=0.01).sample(n, 0) + 2.5 * rng.integers(3, size=(n, 1)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("draw", ROUND.values(), ids=ROUND)
def test_round_neighborhoods(draw, seed):
    assert not are_thin(draw(np.random.default_rng(seed), 1000), 100, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("draw", THIN.values(), ids=THIN)
def test_thin_neighborhoods(draw, seed):
    assert are_thin(draw(np.random.default_rng(seed), 1000), 100, np.random.default_rng(seed))


def test_of_few_samples_nothing_is_known(rng):
    assert not are_thin(Sphere(2).sample(40, 0), 40, rng)
