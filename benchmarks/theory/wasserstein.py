"""Kremling, Iafrate, Taheri, Lederer (2025): the Wasserstein bound, the start and the steps, as experiments."""

import numpy as np

from benchmarks.theory.records import entry, median_interval, source, spread


@source("W2 bound under weak log-concavity, with our constants", "derived")
def bound_is_never_violated(quick, kept):
    """E3a over random distributions, grids, steps, integrators and injected score errors."""
    from skdiffusion.theory import wasserstein as w2
    from tests.theory.oracles import LineMixture, gaussian_distance, grid, line_distance

    rng, ratios = np.random.default_rng(0), {"Gaussian": [], "mixture": [], "mixture, score error": []}
    for i in range(150 if quick else 1500):
        kind = ("Gaussian", "mixture", "mixture, score error")[i % 3]
        integrator = w2.INTEGRATORS[rng.integers(4)]
        spacing = ("angle", "log", "power")[rng.integers(3)]
        levels = grid(spacing, int(rng.integers(6, 129)), last=rng.uniform(0.005, 0.2))
        if kind == "Gaussian":
            variances = rng.uniform(0.05, 9.0, rng.integers(1, 9))
            measured = gaussian_distance(variances, levels, integrator)
            bound = w2.sampling_bound(w2.gaussian_regularity(np.diag(variances)), levels, integrator)
        else:
            k = int(rng.integers(2, 5))
            density = LineMixture(rng.dirichlet(np.full(k, 2.0)), rng.normal(0, 1.0, k), rng.uniform(0.3, 2.0))
            error = rng.uniform(0.02, 0.4) if kind != "mixture" else 0.0
            size = error / np.sqrt(1 + levels[:-1] ** 2)
            constants = w2.mixture_regularity(density.weights, density.means[:, None], [[density.variance]])

            def score(y, tau, density=density, error=error):
                return density.score(y, tau) + error / np.sqrt(1 + tau**2) * np.sin(y)

            measured = line_distance(density, levels, integrator, score)
            errors = w2.SamplerErrors(score=size, score_lipschitz=size)
            bound = w2.sampling_bound(constants, levels, integrator, errors)
        # An exact step leaves round-off only.
        ratios[kind].append(bound.total / max(measured, 1e-6) if measured > 1e-6 else np.inf)
    out = []
    for kind, values in ratios.items():
        finite = np.array([v for v in values if np.isfinite(v)])
        measured = f"smallest {finite.min():.4f}, median {np.median(finite):.3g}"
        out.append(
            entry(
                "wasserstein",
                f"bound / distance, {kind}, {len(values)} runs",
                ">= 1",
                measured,
                finite.min() >= 1 - 1e-6,
            )
        )
    return out


@source("W2 bound, equality for Gaussians and DDIM", "derived")
def bound_is_sharp_for_gaussians(quick, kept):
    """E3b."""
    from skdiffusion.theory import wasserstein as w2
    from tests.theory.oracles import gaussian_distance, grid

    ratios = [
        w2.sampling_bound(w2.gaussian_regularity([[c]]), levels).total / gaussian_distance([c], levels, "ddim")
        for c in (0.25, 1.0, 4.0)
        for levels in (grid(kind, n) for n in (8, 16, 32, 64, 128) for kind in ("angle", "log", "power"))
    ]
    passed = min(ratios) >= 1 - 1e-6 and max(ratios) <= 1.01
    measured = f"{min(ratios):.4f} ... {max(ratios):.4f}"
    return [entry("wasserstein", "bound / distance, DDIM, N(0, c)", "[1, 1.01]", measured, passed)]


@source("step doubling, E = RMS(x_N - x_2N) / (1 - 2^-p)", "derived")
def effectivity_of_the_sample_error(quick, kept):
    """E3d: the a-posteriori error of samples of a trained network, against a fine solution."""
    from dataclasses import replace

    from benchmarks import targets
    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion.diffusion.ode import angle_grid

    ratios = []
    for name in ("moons", "banana", "warped8")[: 1 if quick else 3]:
        for seed in range(1 if quick else 3):
            X, _, _ = targets.load(name, 2000, seed)
            est = DiffusionDensityEstimator(
                components=None, feature_transform=None, max_iter=60, n_estimators=1, random_state=seed
            ).fit(X)
            flow = replace(est.blend_.densities["diffusion"].density, sample_stepper="euler", grid=angle_grid)
            noise = np.random.default_rng(seed).standard_normal((1000, X.shape[1]))
            fine = replace(flow, sample_stepper="rk4").draw(noise, n_steps=512)
            for n in (16, 32, 64):
                true = np.sqrt(((flow.draw(noise, n_steps=n) - fine) ** 2).sum(1).mean())
                ratios.append(replace(flow, sample_steps=n).sample_error(noise) / true)
    return [
        entry(
            "wasserstein", f"stated / true error of samples, N >= 16, {len(ratios)} cases", "[0.85, 1.15]",
            f"{min(ratios):.3f} ... {max(ratios):.3f}", min(ratios) >= 0.85 and max(ratios) <= 1.15,
        )
    ]  # fmt: skip


def standard_mixture(rng, narrowest=0.03):
    """A mixture of two to five Gaussians on the line, some of them narrow, of mean 0 and variance 1."""
    from skdiffusion.densities import GaussianMixtureDensity

    k = int(rng.integers(2, 6))
    weights, means = rng.dirichlet(np.full(k, 2.0)), rng.normal(0, 1, k)
    spreads = np.exp(rng.uniform(np.log(narrowest), 0, k))
    mean = weights @ means
    scale = np.sqrt(weights @ (spreads**2 + (means - mean) ** 2))
    return GaussianMixtureDensity(weights, ((means - mean) / scale)[:, None], (spreads / scale)[:, None, None] ** 2)


def quantiles(density, theta, levels):
    """Quantiles of a mixture distribution noised to an angle, by bisection."""
    from scipy.stats import norm

    means = np.cos(theta) * density.means[:, 0]
    scales = np.sqrt(np.cos(theta) ** 2 * density.covariances[:, 0, 0] + np.sin(theta) ** 2)
    low, high = np.full(len(levels), (means - 9 * scales).min()), np.full(len(levels), (means + 9 * scales).max())
    for _ in range(80):
        middle = (low + high) / 2
        below = norm.cdf((middle[:, None] - means) / scales) @ density.weights < levels
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def median_text(values):
    """Median of positive values, with its 95 % interval."""
    return "{:.5f} [{:.5f}, {:.5f}]".format(np.median(values), *median_interval(values))


@source("error of the discretization of exponential integrators", "derived")
def default_solvers_on_mixtures(quick, kept):
    """E3e: exact scores, 50 evaluations, the start of the estimator (standard normal at a noise level of 20)."""
    from scipy.stats import norm

    from skdiffusion.diffusion.flow import ProbabilityFlow

    rng, levels = np.random.default_rng(3), (np.arange(2000) + 0.5) / 2000
    errors = {None: [], "ab2": [], "3m": []}
    first, last = np.arctan(0.005), np.arctan(20.0)
    for _ in range(10 if quick else 60):
        density = standard_mixture(rng)
        exact = quantiles(density, first, levels)
        for stepper, found in errors.items():
            flow = ProbabilityFlow(density, first, last, sample_stepper=stepper)
            samples = flow.draw(norm.ppf(levels)[:, None], n_steps=50)[:, 0]
            found.append(np.sqrt(((np.sort(samples) - exact) ** 2).mean()))
    return [
        entry("wasserstein",
            f"W2 of {f'{name} (not the default)' if name else 'the default'} at 50 evaluations, {len(found)} mixtures: "
            "median, largest",
            "<= 0.002, <= 0.015", f"{median_text(found)}, {max(found):.5f}",
            np.median(found) <= 0.002 and max(found) <= 0.015)
        for name, found in errors.items()
    ]  # fmt: skip


@source("error of the start, by the moments that it matches", "derived")
def start_at_the_horizon(quick, kept):
    """Distance of the start to the noised distribution, in units of the data, by what of the distribution the start
    matches."""
    rng, ratios = np.random.default_rng(4), np.array([5.0, 10.0, 20.0, 40.0])
    from scipy.stats import norm

    levels = (np.arange(20_000) + 0.5) / 20_000
    slopes = {"mean and variance": [], "mean": []}
    at_horizon = []
    for _ in range(5 if quick else 20):
        density = standard_mixture(rng)
        distance = {name: [] for name in slopes}
        for tau in ratios:
            theta = np.arctan(tau)
            # In units of the data, y = z / cos(theta); a start that knows no variance has that of the noise alone.
            exact = quantiles(density, theta, levels) / np.cos(theta)
            for name, scale in (("mean and variance", np.sqrt(1 + tau**2)), ("mean", tau)):
                distance[name].append(np.sqrt(((exact - scale * norm.ppf(levels)) ** 2).mean()))
        for name, found in distance.items():
            slopes[name].append(np.polyfit(np.log(ratios), np.log(found), 1)[0])
        at_horizon.append(distance["mean and variance"][2] / 20.0)
    mean = {name: np.mean(found) for name, found in slopes.items()}
    return [
        entry("wasserstein", "slope of the start's error in the horizon, mean and variance matched (whitened rows)",
            "-2 +- 0.15", spread(slopes["mean and variance"]), abs(mean["mean and variance"] + 2) <= 0.15),
        entry("wasserstein", "the same, mean matched only", "-1 +- 0.15", spread(slopes["mean"]),
            abs(mean["mean"] + 1) <= 0.15),
        entry("wasserstein", "error of the start at the default horizon, share of its spread: largest", "<= 0.001",
            f"{max(at_horizon):.1e}", max(at_horizon) <= 1e-3),
    ]  # fmt: skip


EXPERIMENTS = (
    bound_is_never_violated,
    bound_is_sharp_for_gaussians,
    default_solvers_on_mixtures,
    start_at_the_horizon,
    effectivity_of_the_sample_error,
)
