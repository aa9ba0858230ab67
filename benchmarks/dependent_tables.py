"""Tables in which some features nearly follow from others: sums, products, ratios, rounded copies, shapes, chains.

Each has ``sample(n, rng)``, as the targets of `benchmarks.targets`; the density itself is not known.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DependentTable:
    """A table by the rule that makes n samples from a generator."""

    rule: Callable

    def sample(self, n, rng):
        return self.rule(n, rng)


def _noisy(values, relative, rng):
    """Values with noise of so many of their standard deviations, or of their interquartile ranges if that is less."""
    low, high = np.quantile(values, [0.25, 0.75])
    return values + relative * min(values.std(), (high - low) / 1.35) * rng.standard_normal(len(values))


def sums(n, rng):
    """Three skewed parts, their total, a subtotal and a mean."""
    a, b, c = rng.gamma(2.0, 1.0, n), rng.gamma(4.0, 0.5, n), np.abs(rng.standard_t(4, n))
    total, part = a + b + c, a + 0.5 * b
    return np.column_stack([a, b, c, _noisy(total, 1e-2, rng), _noisy(part, 1e-3, rng), _noisy(total / 3, 0.1, rng)])


def products(n, rng):
    """Price, quantity, their revenue, and a tax of it."""
    price, quantity = np.exp(0.6 * rng.standard_normal(n)), 1 + rng.gamma(2.0, 2.0, n)
    revenue = price * quantity * np.exp(1e-2 * rng.standard_normal(n))
    return np.column_stack([price, quantity, revenue, _noisy(0.2 * revenue, 3e-2, rng)])


def ratios(n, rng):
    """Two lengths, their ratio, its inverse, and a contrast."""
    a = rng.gamma(3.0, 1.0, n) + 0.3
    b = np.exp(0.4 * rng.standard_normal(n) + 0.4 * np.log(a))
    ratio = a / b
    return np.column_stack(
        [a, b, _noisy(ratio, 1e-2, rng), _noisy(b / a, 3e-2, rng), _noisy((a - b) / (a + b), 0.1, rng)]
    )


def rounded_copies(n, rng):
    """Two features of a few modes, and coarse and fine copies of them."""
    x = rng.choice([-2.0, 0.0, 3.0], n) + 0.6 * rng.standard_normal(n)
    y = 0.5 * x + rng.standard_t(4, n)
    copies = [np.round(x, 1) + 1e-3 * rng.standard_normal(n), np.round(2 * y) / 2 + 0.1 * rng.standard_normal(n)]
    return np.column_stack([x, y, *copies, x + 1e-2 * rng.standard_normal(n)])


def power_law(n, rng):
    """Height and girth of trees, and volumes by a power law of both."""
    girth = np.exp(0.5 * rng.standard_normal(n))
    height = 10 * girth**0.6 * np.exp(0.15 * rng.standard_normal(n))
    volume = 0.08 * height * girth**2 * np.exp(0.03 * rng.standard_normal(n))
    return np.column_stack([girth, height, volume, 0.6 * volume**0.95 * np.exp(0.1 * rng.standard_normal(n))])


def heavy_driver(n, rng):
    """A Student-t feature of three degrees of freedom, and its linear, bent and saturated followers."""
    t = rng.standard_t(3, n)
    follow = [2 * t + 0.02 * rng.standard_normal(n), np.sign(t) * np.log1p(np.abs(t)) + 0.01 * rng.standard_normal(n)]
    follow += [np.tanh(t) + 0.05 * rng.standard_normal(n), np.sqrt(1 + t**2) * np.exp(0.05 * rng.standard_normal(n))]
    return np.column_stack([t, *follow])


def sizes_and_costs(n, rng):
    """Log-normal sizes, and counts and costs by powers of them."""
    size = np.exp(rng.standard_normal(n))
    cost = 3 * size**0.8 * np.exp(0.02 * rng.standard_normal(n))
    staff = size**0.5 * np.exp(0.2 * rng.standard_normal(n))
    return np.column_stack([size, cost, staff, _noisy(cost / staff, 3e-2, rng), _noisy(size + cost, 1e-2, rng)])


def chain(n, rng):
    """Six features, each nearly a function of the one before it."""
    x = [1.5 * rng.standard_normal(n)]
    for k in range(5):
        bent = x[-1] + 0.8 * np.sin(1.5 * x[-1]) if k % 2 else 0.5 * x[-1] + 0.3 * x[-1] ** 2 - 0.5
        x.append(_noisy(bent, (0.1, 0.03, 0.03, 0.1, 0.01)[k], rng))
    return np.column_stack(x)


def ellipses(n, rng):
    """Shapes of leaves: axes, area, perimeter, elongation, compactness, solidity and two contrasts."""
    long = np.exp(0.35 * rng.standard_normal(n))
    aspect = 0.15 + 0.8 * rng.beta(2.0, 3.0, n)
    wide = long * aspect
    area = np.pi / 4 * long * wide * np.exp(0.02 * rng.standard_normal(n))
    lobes = 1 + 0.15 * rng.gamma(0.7, 1.0, n)
    around = np.pi / 2 * (1.5 * (long + wide) - np.sqrt(long * wide)) * lobes
    compact = around**2 / (4 * np.pi * area)
    solid = np.clip(1.02 / lobes + 0.01 * rng.standard_normal(n), 0.05, 1.2)
    shape = [1 - aspect + 0.01 * rng.standard_normal(n), compact * np.exp(0.01 * rng.standard_normal(n)), solid]
    return np.column_stack([long, wide, area, around, *shape, _noisy(np.log(area), 0.05, rng)])


def boxes(n, rng):
    """Edges of parcels, their volume, surface, diagonal and weight."""
    a, b, c = np.sort(np.exp(0.5 * rng.standard_normal((3, n)) + 0.4 * rng.standard_normal(n)), axis=0)
    volume, surface = a * b * c * np.exp(0.01 * rng.standard_normal(n)), 2 * (a * b + b * c + a * c)
    weight = volume * np.exp(0.5 + 0.3 * rng.standard_normal(n))
    diagonal = np.sqrt(a**2 + b**2 + c**2)
    return np.column_stack([a, b, c, volume, _noisy(surface, 1e-2, rng), _noisy(diagonal, 1e-3, rng), weight])


def body(n, rng):
    """Height, weight, body mass index, surface and a fat share."""
    height = 1.7 + 0.1 * rng.standard_normal(n) + 0.06 * rng.choice([-1, 1], n)
    index = 18 + rng.gamma(3.0, 2.2, n)
    weight = index * height**2
    fat = 1.2 * index - 15 + 3 * rng.standard_normal(n)
    surface = 0.235 * height**0.42 * weight**0.51 * np.exp(5e-3 * rng.standard_normal(n))
    return np.column_stack([height, weight, _noisy(index, 0.02, rng), surface, fat])


def prices(n, rng):
    """Returns of a day: three heavy-tailed ones, their range, and the volume that follows it."""
    spread = np.exp(0.4 * rng.standard_normal(n))
    day = 0.01 * spread * rng.standard_t(4, n)
    night = 0.3 * day + 0.005 * spread * rng.standard_t(4, n)
    high, low = np.abs(rng.gamma(2.0, 0.003, n)) * spread, np.abs(rng.gamma(2.0, 0.003, n)) * spread
    span = np.abs(day) + high + low
    volume = np.exp(2 + 0.5 * np.log(span / 0.02) + 0.1 * rng.standard_normal(n))
    return np.column_stack([day, night, _noisy(day + night, 1e-2, rng), _noisy(span, 1e-2, rng), volume])


def moments(n, rng):
    """Powers of a scale and of a skew, as moments of pictures are: each nearly a power of one before."""
    scale, skew = np.exp(0.5 * rng.standard_normal(n)), rng.standard_t(5, n)
    raw = [scale**k * np.exp(0.03 * k * rng.standard_normal(n)) for k in (1, 2, 3)]
    mixed = [_noisy(scale * skew, 0.03, rng), _noisy(scale * skew**2, 0.1, rng), _noisy(scale**2 * skew, 0.05, rng)]
    return np.column_stack([*raw, skew, *mixed, _noisy(raw[2] / raw[0], 0.02, rng), np.log(raw[1])])


def sensors(n, rng):
    """Two heavy-tailed signals, seen by six sensors of very different noise."""
    signal = rng.standard_t(2.5, (2, n))
    mix = np.array([[1, 0], [0, 1], [1, 1], [1, -1], [0.5, 2], [3, 0.2]]) @ signal
    noise = np.array([1e-3, 1e-2, 3e-3, 0.1, 0.03, 0.05])[:, None]
    return (mix + noise * rng.standard_normal((6, n))).T


def leaves(n, rng):
    """Outlines and textures of leaves of eight species: ratios near their bounds, squares of heavy-tailed depths."""
    kind = rng.integers(8, size=n)
    of_kind = np.random.default_rng(17)
    aspect = 1 + np.exp(of_kind.normal(0, 0.9, 8)[kind] + 0.15 * rng.standard_normal(n))
    lobes = np.exp(of_kind.normal(-3, 1.3, 8)[kind] + 0.25 * rng.standard_normal(n))
    contrast = 0.1 * np.exp(of_kind.normal(0, 0.5, 8)[kind] + 0.3 * rng.standard_normal(n))
    bright = 0.8 * contrast**1.3 * np.exp(0.15 * rng.standard_normal(n))
    solid = 1 / (1 + lobes) * (1 - 0.02 * rng.beta(2, 5, n))
    around = 4 * np.pi / (aspect + 1 / aspect + 2) * solid**2 * np.exp(0.05 * rng.standard_normal(n)) / np.pi
    outline = [
        np.sqrt(1 - aspect**-2) - 2e-3 * rng.gamma(1, 1, n),
        aspect,
        1 - 0.9 / aspect + 0.02 * rng.standard_normal(n),
    ]
    depth = [solid, around, lobes * 0.1, 5 * lobes**2 * np.exp(0.1 * rng.standard_normal(n))]
    smooth = contrast**2 / (1 + contrast**2)
    texture = [bright, contrast, smooth * np.exp(2e-3 * rng.standard_normal(n))]
    texture += [0.2 * bright * contrast**1.5 * np.exp(0.2 * rng.standard_normal(n))]
    return np.column_stack([*outline, *depth, *texture])


def beans(n, rng):
    """Beans of five species, their areas, axes and shape factors, each nearly an expression of two others."""
    kind = rng.integers(5, size=n)
    of_kind = np.random.default_rng(23)
    long = np.exp(of_kind.normal(6, 0.35, 5)[kind] + 0.08 * rng.standard_normal(n))
    aspect = 1.1 + np.exp(of_kind.normal(-0.8, 0.4, 5)[kind] + 0.2 * rng.standard_normal(n))
    wide = long / aspect
    area = np.pi / 4 * long * wide * np.exp(3e-3 * rng.standard_normal(n))
    hull = area * (1 + 0.004 + 0.004 * rng.gamma(2, 1, n))
    around = np.pi / 2 * (1.5 * (long + wide) - np.sqrt(long * wide)) * np.exp(0.01 + 0.006 * rng.gamma(2, 1, n))
    across = np.sqrt(4 * area / np.pi)
    factors = [area / hull, 4 * np.pi * area / around**2, across / long, long / area, np.sqrt(1 - aspect**-2)]
    return np.column_stack([area, around, long, wide, across, aspect, *factors])


def patterns(n, rng):
    """Counts of cases and of tests in regions of very different size, their shares, and sums of both."""
    people = np.exp(9 + 1.4 * rng.standard_normal(n))
    share = rng.beta(4, 30, n)
    tests = people * np.exp(-2 + 0.4 * rng.standard_normal(n))
    cases = tests * share * np.exp(0.02 * rng.standard_normal(n))
    return np.column_stack(
        [people, tests, cases, tests / people, cases / tests, people - cases + 30 * rng.standard_t(3, n)]
    )


TABLES = {
    rule.__name__: DependentTable(rule)
    for rule in (
        sums, products, ratios, rounded_copies, power_law, heavy_driver, sizes_and_costs, chain, ellipses, boxes, body,
        prices, moments, sensors, leaves, beans, patterns,
    )
}  # fmt: skip
