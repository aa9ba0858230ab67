"""Shen, Hsieh, He (2026) and Chen, Huang, Zhao, Wang (2023): supports and their dimension, as experiments."""

from pathlib import Path

import numpy as np

from benchmarks import cells
from benchmarks.theory import coarse
from benchmarks.theory.records import (
    bootstrapped,
    divergence,
    entry,
    jackknifed,
    share,
    slope,
    source,
    spread,
    with_error,
)
from skdiffusion.densities import GaussianMixtureDensity


@source("distance of order tau^beta after projection by degree beta - 1", "derived")
def order_of_the_projection(quick, kept):
    """E2a."""
    from skdiffusion.datasets import Sphere
    from skdiffusion.manifold import LocalPolynomials
    from skdiffusion.metrics import fidelity

    angle, circle, out = 2 * np.pi * np.arange(4096) / 4096, Sphere(1), []
    X, y, reach = np.column_stack([np.cos(angle), np.sin(angle)]), Sphere(1).sample(200, 1), np.array([160, 240, 320])
    for degree, order in ((1, 2), (2, 4), (4, 6)):
        surfaces = [LocalPolynomials(X, 1, 1e-9, degree, samples_per_term=m / (degree + 1)) for m in reach]
        errors = [fidelity(surface.project(y), circle.distance) for surface in surfaces]
        found = np.polyfit(np.log(reach), np.log(errors), 1)[0]
        out.append(
            entry(
                "manifold",
                f"slope of the distance, degree {degree}",
                f"{order} +- 0.4",
                f"{found:.2f}",
                abs(found - order) < 0.4,
            )
        )
    return out


@source("2 (D-k)/n sum(eta^2/l + eta^4/l^2), principal subspace under noise", "derived")
def error_of_the_subspace(quick, kept):
    """E5c."""
    from skdiffusion import ManifoldDiffusionEstimator
    from skdiffusion.datasets import Subspace
    from skdiffusion.metrics import subspace_error
    from skdiffusion.theory import subspace

    out = []
    for n, eta in ((2000, 0.1), (500, 0.2)):
        measured, predicted = [], []
        for seed in range(4 if quick else 10):
            target = Subspace(2, 64, noise=eta, rotation_seed=seed)
            samples = target.sample(n, seed)
            est = ManifoldDiffusionEstimator(2, "linear", hidden_layer_sizes=(8,), n_estimators=1, max_iter=1).fit(
                samples
            )
            measured.append(subspace_error(est.components_.T, target.frame))
            variances = np.linalg.eigvalsh(np.cov((samples @ target.frame).T)) - eta**2
            predicted.append(subspace.subspace_error(n, 64, eta, variances))
        ratio = np.mean(measured) / np.mean(predicted)
        error = np.std(measured) / np.mean(predicted) / np.sqrt(len(measured))
        claim = f"squared error of the plane / formula, n = {n}, noise {eta}"
        out.append(entry("subspace", claim, "[0.67, 1.5]", f"{ratio:.3f} ({error:.3f})", 1 / 1.5 < ratio < 1.5))
    return out


@source("abstract: the guarantee depends on the smoothness of the support alone", "stated")
def irregular_density(quick, kept):
    """E2c: a kink in the density does not change the rate at which the set is found."""
    from skdiffusion.datasets import Sphere
    from skdiffusion.manifold import LocalPolynomials, sample_spacing
    from skdiffusion.metrics import fidelity

    errors, spacing = {}, {}
    for density in ("uniform", "kinked"):
        target, errors[density], spacing[density] = Sphere(1, density=density), [], []
        for n in (250, 1000, 4000):
            X = [target.sample(n, seed) for seed in range(4 if quick else 12)]
            scale = np.mean([sample_spacing(samples) for samples in X])
            fits = [LocalPolynomials(samples, 1, scale, 2, 12.0) for samples in X]
            errors[density].append([fidelity(f.project(target.sample(300, 50)), target.distance) for f in fits])
            spacing[density].append(scale)

    def slope_of_medians(density, table):
        return np.polyfit(np.log(spacing[density]), np.log(np.median(table, axis=-1)), 1)[0]

    def ratio_of_slopes(kinked, uniform):
        return slope_of_medians("kinked", kinked) / slope_of_medians("uniform", uniform)

    tables = errors["kinked"], errors["uniform"]
    ratio, (low, high) = ratio_of_slopes(*tables), bootstrapped(ratio_of_slopes, *tables)
    uniform, kinked = (slope_of_medians(density, errors[density]) for density in ("uniform", "kinked"))
    shown = f"{ratio:.2f} [{low:.2f}, {high:.2f}] ({uniform:.2f} uniform, {kinked:.2f} kinked)"
    return [
        entry("manifold", "slope of the distance, kinked density / uniform", "1 +- 0.2", shown, abs(ratio - 1) <= 0.2)
    ]


MEMORY_RUNS = 20  # of 16 points, each of a minute and a half of CPU time


def memory_cell(n, seed):
    """Distance to the circle and memorized excess along one long training."""
    from skdiffusion import DiffusionDensityEstimator, Options
    from skdiffusion.datasets import Sphere
    from skdiffusion.metrics import fidelity, memorized_excess

    circle = Sphere(1)
    X, fresh, out = circle.sample(n, seed), circle.sample(2000, 1000 + seed), []
    for steps in (30, 55, 100, 180, 300, 550, 1000, 1800, 3000, 5500, 10_000):
        est = DiffusionDensityEstimator(
            (256, 256), components=None, feature_transform=None, early_stopping=False, n_estimators=1, n_steps=32,
            max_iter=int(np.ceil(steps * 64 / n)), random_state=seed,
            options=Options(n_folds=14, batch_size=64, learning_rate=3e-3, weight_decay=0.0, sigma_min=0.0447),
        ).fit(X)  # fmt: skip
        draws = est.sample(2000, random_state=1)
        out.append((steps, fidelity(draws, circle.distance), memorized_excess(draws, X, fresh)))
    return out


@source("title and abstract: generalization before memorization", "stated")
def support_before_memory(quick, kept):
    """E2b: along training, samples are closest to the set before they are copies of samples.

    The steps of the experiment are a factor of 1.8 apart: where both come at the same one, nothing is known of their
    order. With 16 points memory must come within the steps, or nothing was put to the test; not so with 64.
    """
    samples = []
    for n, n_seeds in ((16, 1),) if quick else ((16, MEMORY_RUNS), (64, 5)):
        first = []
        for seed in range(n_seeds):
            steps, distance, memory = np.array(kept(memory_cell, "memory", n, seed)).T
            onset = steps[np.argmax(memory > 0.1)] if (memory > 0.1).any() else np.inf
            first.append((steps[np.argmin(distance)], onset))
        before, after = (sum(f(*pair) for pair in first) for f in (np.less, np.greater))
        with_memory = sum(np.isfinite(onset) for _, onset in first)
        if n == 16:
            low, high = share(before, before + after)
            shown = f"before in {before} of {n_seeds} runs, after in {after}, at the same step in the others"
            shown += f"; {before / max(1, before + after):.2f} [{low:.2f}, {high:.2f}]"
            claim = "share of runs with the least distance before memory, of those that tell, 16 points"
            passed = low > 0.5 and with_memory == n_seeds
            samples.append(entry("manifold", claim, "95 % interval above 1/2", shown, passed))
        else:
            shown = "; ".join(f"{best:.0f} < {onset:.0f}" for best, onset in first)
            claim = f"step of the least distance < step of memory, {n} points (inf: none)"
            samples.append(entry("manifold", claim, "in every run", shown, after == 0 and before == n_seeds))
    return samples


def features_cell(n_features, seed):
    """Held-out log-density on an unknown plane in R^D."""
    from skdiffusion import ManifoldDiffusionEstimator
    from skdiffusion.datasets import Subspace

    target = Subspace(2, n_features)
    est = ManifoldDiffusionEstimator(2, "linear", random_state=seed).fit(target.sample(2000, seed))
    return float(est.intrinsic_log_density(target.sample(2000, 1000 + seed)).mean())


def relative_range(table):
    """Range of the means of rows, relative to their own mean."""
    means = np.mean(table, axis=-1)
    return float(np.ptp(means) / abs(means.mean()))


@source("Theorem 3: errors on the subspace do not depend on D", "recalled")
def features_do_not_matter(quick, kept):
    """E5a."""
    ambient, seeds = (4, 64) if quick else (4, 16, 64, 256), range(1 if quick else 3)
    nats = {d: [kept(features_cell, "columns", d, seed) for seed in seeds] for d in ambient}
    change, error = jackknifed(relative_range, list(nats.values()))
    shown = f"{with_error(change, error, '.2%')}: " + ", ".join(f"D = {d}: {spread(v)}" for d, v in nats.items())
    return [
        entry(
            "subspace",
            "log-density on an unknown plane over the number of columns: range",
            "< 10 %",
            shown,
            change < 0.1,
        )
    ]


def plain_diffusion(X, seed):
    """Two networks, without likelihood fine-tuning, fitted to samples of X."""
    from skdiffusion import DiffusionDensityEstimator, Options

    est = DiffusionDensityEstimator(
        components=None, feature_transform=None, n_estimators=2, random_state=seed, options=Options(fine_tune=False)
    )
    return est.fit(X)


def subspace_cell(dimension, n, seed):
    """Divergence of the density on an unknown plane in R^32 from the truth, in nats.

    The plane is that of the principal directions, as `ManifoldDiffusionEstimator` has it; the density on it is that of
    the diffusion alone.
    """
    from skdiffusion.datasets import Subspace
    from skdiffusion.manifold import principal_directions

    target = Subspace(dimension, 32)
    X, test = target.sample(n, seed), target.sample(2000, 1000 + seed)
    axes = principal_directions(X - X.mean(0))[0][:dimension].T
    log_q = plain_diffusion((X - X.mean(0)) @ axes, seed).score_samples((test - X.mean(0)) @ axes)
    return divergence(target.log_prob(test), log_q)


def ambient_cell(dimension, n, seed):
    """Divergence from the truth of a diffusion in R^32, of samples near a plane (noise of 0.1)."""
    from skdiffusion.datasets import Subspace

    target = Subspace(dimension, 32, noise=0.1)
    covariances = target.frame @ target.latent.covariances @ target.frame.T + 0.01 * np.eye(32)
    truth = GaussianMixtureDensity(target.latent.weights, target.latent.means @ target.frame.T, covariances)
    X, test = target.sample(n, seed), target.sample(2000, 1000 + seed)
    return divergence(truth.log_prob(test), plain_diffusion(X, seed).score_samples(test))


@source("Theorem 2: error of the score n^(-2/(k+5)), of the ambient space n^(-2/(D+5))", "recalled")
def rate_on_the_subspace(quick, kept):
    """Slopes of the divergence, the integrated error of the score, in the number of samples; beside a plain diffusion.

    The plain one cannot be fitted to samples without noise, so that its figures are of samples near the plane.
    """
    sizes, seeds = ((200, 800), range(1)) if quick else ((200, 2000), range(5))
    out = []
    for k in (1, 2) if quick else (1, 2, 4):
        values = [[kept(subspace_cell, "subspace rate", k, n, s) for s in seeds] for n in sizes]
        found, shown = slope(sizes, values)
        shown += f"; {', '.join(f'{np.mean(v):.4f}' for v in values)}"
        if k == 2 and not quick:
            ambient = [[kept(ambient_cell, "ambient rate", k, n, s) for s in seeds] for n in sizes]
            shown += f"; plain diffusion {slope(sizes, ambient)[1]}; {', '.join(f'{np.mean(v):.2f}' for v in ambient)}"
        claim = f"slope of the divergence on an unknown subspace of R^32, k = {k}, n = {sizes[0]} ... {sizes[-1]}"
        predicted = f"<= {-2 / (k + 5):.3f} (k = {k}; D = 32 would be {-2 / 37:.3f})"
        out.append(entry("subspace", claim, predicted, shown, found <= -2 / (k + 5)))
    return out


@source("Theorem 3: the part across the subspace vanishes with the noise", "recalled")
def across_the_subspace(quick, kept):
    """E5b: the spread of samples across the subspace is the stated one, whatever the network."""
    from skdiffusion import ManifoldDiffusionEstimator
    from skdiffusion.datasets import Subspace

    target, ratios = Subspace(2, 16, noise=0.05), []
    for seed in range(2 if quick else 5):
        est = ManifoldDiffusionEstimator(
            2, "linear", hidden_layer_sizes=(8,), n_estimators=1, max_iter=1, random_state=seed
        )
        est.fit(target.sample(1000, seed))
        samples = est.sample(20_000, denoise=False)
        left = samples - est.inverse_transform(est.transform(samples))
        stated = np.sqrt(est.noise_variance_ + est.noise_floor_**2)
        ratios.append(np.sqrt((left**2).sum(1).mean() / 14) / stated)
    measured = f"{spread(ratios, 4)}; {min(ratios):.4f} ... {max(ratios):.4f}"
    passed = all(abs(r - 1) <= 0.01 for r in ratios)
    return [
        entry(
            "subspace", "spread of samples across / stated, untrained network", "1 +- 0.01 (sampling)", measured, passed
        )
    ]


@source("eigenvalues of the denoiser's Jacobian, 1 along and 0 across", "derived")
def dimension_is_found(quick, kept):
    """E5d, from the record of ``python -m benchmarks.dimensions``."""
    records = cells.read(Path(__file__).parents[1] / "results" / "dimensions.jsonl")
    hits = [r["found"]["ours"] == r["true"] for r in records]
    return [
        entry(
            "subspace",
            f"dimension found, {len(hits)} runs (record)",
            ">= 90 %",
            "{:.0%} [{:.0%}, {:.0%}]".format(np.mean(hits), *share(sum(hits), len(hits))),
            np.mean(hits) >= 0.9,
        )
    ]


EXPERIMENTS = {
    "manifold": (*coarse.EXPERIMENTS, order_of_the_projection, irregular_density, support_before_memory),
    "subspace": (
        rate_on_the_subspace, error_of_the_subspace, features_do_not_matter, across_the_subspace, dimension_is_found,
    ),
}  # fmt: skip
