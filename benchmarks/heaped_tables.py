"""Tables with features that heap at some values: zeros, coarse grades, ratios most of which are rounded, settings.

The values of a heap are spread over a twentieth of the standard deviation, as `benchmarks.targets` does with repeated
values. Each table has ``sample(n, rng)``, as those of `benchmarks.dependent_tables`; the density itself is not known.
"""

import numpy as np

from benchmarks.dependent_tables import DependentTable


def _spread(values, step, rng):
    """Values with uniform noise of a width."""
    return values + step * (rng.random(len(values)) - 0.5)


def half_zeros(n, rng):
    """Amounts, many of which are zero, beside smooth features."""
    a = rng.standard_normal(n)
    b = a + 0.7 * rng.standard_normal(n)
    amount = np.where(b > 0.2, np.exp(0.6 * b + 0.3 * rng.standard_normal(n)), 0.0)
    other = np.where(rng.random(n) < 0.4, 0.0, rng.gamma(3, 1, n) + 0.5 * np.abs(a))
    amount, other = (_spread(x, 0.05 * x.std(), rng) for x in (amount, other))
    return np.column_stack([a, b, amount, other, 0.5 * amount + 0.3 * other + 0.3 * rng.standard_normal(n)])


def grades(n, rng):
    """A smooth feature and four coarse grades of one factor."""
    factor = rng.standard_normal(n)
    columns = [factor + 0.3 * rng.standard_normal(n)]
    for _ in range(4):
        grade = np.round(1.2 * (factor + 0.8 * rng.standard_normal(n)))
        columns.append(_spread(grade, 0.05 * grade.std(), rng))
    return np.column_stack(columns)


def rounded_ratios(n, rng):
    """Two rounded amounts, their ratio, of which three in four are rounded, and a smooth follower."""
    a, b = np.exp(5 + 0.2 * rng.standard_normal(n)), np.exp(3.9 + 0.25 * rng.standard_normal(n))
    ratio = np.where(rng.random(n) < 0.75, np.round(a / b), np.round(a / b, 2))
    follower = 0.5 * np.log(a) + 0.1 * a / b + 0.1 * rng.standard_normal(n)
    parts = [_spread(np.round(x), 1.0, rng) for x in (a, b)]
    return np.column_stack([*parts, _spread(ratio, 0.05 * ratio.std(), rng), follower])


def settings(n, rng):
    """A machine with 150 settings of uneven use, and smooth responses."""
    of_machine = np.random.default_rng(5)
    levels, use = np.sort(of_machine.normal(0, 1, 150)), of_machine.dirichlet(np.full(150, 0.3))
    setting = levels[rng.choice(150, n, p=use)]
    response, load = 0.8 * setting + 0.5 * rng.standard_normal(n), rng.beta(3, 2, n)
    last = -0.9 * response - 0.3 * setting + 0.2 * load + 0.2 * rng.standard_normal(n)
    return np.column_stack([response, _spread(setting, 0.003, rng), load, last])


TABLES = {rule.__name__: DependentTable(rule) for rule in (half_zeros, grades, rounded_ratios, settings)}
