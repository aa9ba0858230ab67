"""Shen, Hsieh, He (2026): what a coarse score knows of a set, and what it does not know of the density on it.

The score is the exact one of the noised samples, which a network without error would learn. Its flow, stopped at the
coarse level, gives samples plus noise of this level. They are projected onto the set by local polynomials, as
`ManifoldDiffusionEstimator` does.
"""

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.theory.records import entry, slope, source, spread
from skdiffusion.datasets import Capsule, Sphere

SETS = {
    "sphere": lambda n_features, density: Sphere(2, n_features, density),
    "capsule": lambda n_features, density: Capsule(n_features, density),
}
CASES = [(n_features, density) for n_features in (3, 16) for density in ("uniform", "kinked")]


def coarse_draws(X, n_draws, rng):
    """Samples of the score of X stopped at the coarse level, projected onto the set, and the level."""
    from skdiffusion.manifold import fit_local_polynomials, sample_spacing

    level = sample_spacing(X)
    noised = X[rng.integers(len(X), size=n_draws)] + level * rng.standard_normal((n_draws, X.shape[1]))
    return fit_local_polynomials(X, 2, rng).project(noised), level


def total_variation(X, level, target, fresh):
    """Total variation on a surface between kernels of a width around X and the truth, over fresh samples of it."""
    near = cKDTree(X).query_ball_point(fresh, 5 * level)
    exponents = [-0.5 * ((X[index] - x) ** 2).sum(1) / level**2 for index, x in zip(near, fresh)]
    density = np.array([np.exp(e).sum() for e in exponents]) / (len(X) * 2 * np.pi * level**2)
    return 0.5 * np.abs(density / np.exp(target.log_prob(fresh)) - 1).mean()


def coarse_cell(name, n_features, density, n, seed):
    """Distances of coarse samples to the set, median and 99 %, and the total variation of their density."""
    target, rng = SETS[name](n_features, density), np.random.default_rng([seed, n])
    X = target.sample(n, seed)
    draws, level = coarse_draws(X, 2000, rng)
    distance = target.distance(draws)
    tv = total_variation(X, level, target, target.sample(400, 1000 + seed))
    return {"median": float(np.median(distance)), "far": float(np.quantile(distance, 0.99)), "tv": float(tv)}


@source("abstract: the set at a near-parametric rate, the density not", "stated")
def set_before_density(quick, kept):
    """Slopes in the number of samples, for a smooth surface and for one of smoothness 2, k = 2."""
    from skdiffusion.theory.subspace import projection_rate

    sizes, seeds, out = (500, 2800, 16_000), range(5), []
    if quick:
        sizes, seeds = (500, 2000), range(2)
    # Of smoothness 2 with the logarithm; a surface without end of smoothness is to be faster than any such rate.
    theory = np.log(projection_rate(sizes[-1], 2, 2) / projection_rate(sizes[0], 2, 2)) / np.log(sizes[-1] / sizes[0])
    for name, limit in (("sphere", -1.0), ("capsule", theory + 0.05)):
        found = {"far": [], "tv": []}
        for n_features, density in CASES[: 1 if quick else 4]:
            cells = [[kept(coarse_cell, "coarse", name, n_features, density, n, s) for s in seeds] for n in sizes]
            for key, slopes in found.items():
                values = [[c[key] for c in at_n] for at_n in cells]
                slopes.append((*slope(sizes, values), f"D = {n_features}, {density}"))
        shown = {key: "; ".join(f"{case}: {text}" for _, text, case in slopes) for key, slopes in found.items()}
        span = f"{name}, n = {sizes[0]} ... {sizes[-1]}"
        out.append(
            entry("manifold", f"slope of the distance of coarse samples (99 % of them), {span}", f"<= {limit:.2f}",
                shown["far"], max(value for value, *_ in found["far"]) <= limit)
        )  # fmt: skip
        out.append(
            entry("manifold", f"slope of the TV of their density, {span}", ">= -0.25", shown["tv"],
                min(value for value, *_ in found["tv"]) >= -0.25)
        )  # fmt: skip
    return out


def coverage_cell(n, n_draws, seed):
    """Finest scale at which coarse samples, training samples and fresh ones cover a sphere, up to a factor of 3."""
    from skdiffusion.metrics import delta_coverage

    target, rng = Sphere(2), np.random.default_rng([seed, n])
    X, truth, centers = (target.sample(m, 100 * seed + k) for k, m in enumerate((n, 50_000, 100)))
    samples = {
        "coarse": coarse_draws(X, n_draws, rng)[0], "training": X, "fresh": target.sample(n_draws, 100 * seed + 3)
    }  # fmt: skip
    return {name: delta_coverage(x, truth, centers, factor=3.0) for name, x in samples.items()}


@source("abstract: coverage at n^(-beta/(4k)), finer than n^(-1/k)", "stated")
def coverage(quick, kept):
    """Coarse samples cover a smooth surface more finely than n training samples can; n^(-1/k) is the scale of these.

    How much more finely, counts of generated samples cannot tell below the scale at which fresh ones are seen to.
    """
    sizes, n_draws, seeds = (250, 700, 2000), 20_000, range(5)
    if quick:
        sizes, n_draws, seeds = (250,), 4000, range(2)
    cells = {n: [kept(coverage_cell, "coverage", n, n_draws, s) for s in seeds] for n in sizes}
    ratios = {n: [c["coarse"] / c["training"] for c in of_n] for n, of_n in cells.items()}
    shown = ", ".join(f"n = {n}: {spread(r, 2)}" for n, r in ratios.items())
    if not quick:
        scale, own = slope(sizes, [[c["training"] for c in of_n] for of_n in cells.values()])
        fresh = np.mean([c["fresh"] for of_n in cells.values() for c in of_n])
        coarse = np.mean([c["coarse"] for c in cells[sizes[-1]]])
        shown += f"; slope of the training samples {own}; at n = {sizes[-1]} {coarse:.3f}, fresh samples {fresh:.3f}"
    claim = "finest scale of coverage of coarse samples / of the training samples, sphere"
    return [entry("manifold", claim, "<= 0.5", shown, max(np.mean(r) for r in ratios.values()) <= 0.5)]


EXPERIMENTS = (set_before_density, coverage)
