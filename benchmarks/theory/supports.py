"""Shen, Hsieh, He (2026) and Chen, Huang, Zhao, Wang (2023): supports and their dimension, as experiments."""

from pathlib import Path

import numpy as np

from benchmarks import cells
from benchmarks.theory.records import entry


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
        slope = np.polyfit(np.log(reach), np.log(errors), 1)[0]
        out.append(
            entry(
                "manifold",
                f"slope of the distance, degree {degree}",
                f"{order} +- 0.4",
                f"{slope:.2f}",
                abs(slope - order) < 0.4,
            )
        )
    return out


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
            spread = np.linalg.eigvalsh(np.cov((samples @ target.frame).T)) - eta**2
            predicted.append(subspace.subspace_error(n, 64, eta, spread))
        ratio = np.mean(measured) / np.mean(predicted)
        error = np.std(measured) / np.mean(predicted) / np.sqrt(len(measured))
        claim = f"squared error of the plane / formula, n = {n}, noise {eta}"
        out.append(entry("subspace", claim, "[0.67, 1.5]", f"{ratio:.3f} ({error:.3f})", 1 / 1.5 < ratio < 1.5))
    return out


def irregular_density(quick, kept):
    """E2c: a kink in the density does not change the rate at which the set is found."""
    from skdiffusion.datasets import Sphere
    from skdiffusion.manifold import LocalPolynomials, sample_spacing
    from skdiffusion.metrics import fidelity

    slopes = {}
    for density in ("uniform", "kinked"):
        target, spacing, errors = Sphere(1, density=density), [], []
        for n in (250, 1000, 4000):
            X = [target.sample(n, seed) for seed in range(4 if quick else 12)]
            spacing.append(np.mean([sample_spacing(samples) for samples in X]))
            fits = [LocalPolynomials(samples, 1, spacing[-1], 2, 12.0) for samples in X]
            errors.append(np.median([fidelity(f.project(target.sample(300, 50)), target.distance) for f in fits]))
        slopes[density] = np.polyfit(np.log(spacing), np.log(errors), 1)[0]
    ratio = slopes["kinked"] / slopes["uniform"]
    shown = f"{ratio:.2f} ({slopes['uniform']:.2f} uniform, {slopes['kinked']:.2f} kinked)"
    return [
        entry("manifold", "slope of the distance, kinked density / uniform", "1 +- 0.2", shown, abs(ratio - 1) <= 0.2)
    ]


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


def support_before_memory(quick, kept):
    """E2b: along training, samples are closest to the set before they are copies of samples.

    With 16 points memory must come within the steps of the experiment, or nothing was put to the test; not so with 64.
    """
    samples = []
    for n, must_come in ((16, True),) if quick else ((16, True), (64, False)):
        first = []
        for seed in range(1 if quick else 5):
            steps, distance, memory = np.array(kept(memory_cell, "memory", n, seed)).T
            onset = steps[np.argmax(memory > 0.1)] if (memory > 0.1).any() else np.inf
            first.append((steps[np.argmin(distance)], onset))
        shown = "; ".join(f"{best:.0f} < {onset:.0f}" for best, onset in first)
        passed = all(best < onset and (onset < np.inf or not must_come) for best, onset in first)
        claim = f"step of the least distance < step of memory, {n} points" + ("" if must_come else " (inf: none)")
        samples.append(entry("manifold", claim, "in every run", shown, passed))
    return samples


def features_cell(n_features, seed):
    """Held-out log-density on an unknown plane in R^D."""
    from skdiffusion import ManifoldDiffusionEstimator
    from skdiffusion.datasets import Subspace

    target = Subspace(2, n_features)
    est = ManifoldDiffusionEstimator(2, "linear", random_state=seed).fit(target.sample(2000, seed))
    return float(est.intrinsic_log_density(target.sample(2000, 1000 + seed)).mean())


def features_do_not_matter(quick, kept):
    """E5a."""
    ambient, seeds = (4, 64) if quick else (4, 16, 64, 256), range(1 if quick else 3)
    nats = {d: [kept(features_cell, "columns", d, seed) for seed in seeds] for d in ambient}
    means = np.array([np.mean(v) for v in nats.values()])
    change = np.ptp(means) / abs(means.mean())
    shown = f"{change:.1%}: " + ", ".join(f"D = {d}: {np.mean(v):.3f}" for d, v in nats.items())
    return [
        entry(
            "subspace",
            "log-density on an unknown plane over the number of columns: range",
            "< 10 %",
            shown,
            change < 0.1,
        )
    ]


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
    measured = f"{min(ratios):.4f} ... {max(ratios):.4f}"
    passed = all(abs(r - 1) <= 0.01 for r in ratios)
    return [
        entry(
            "subspace", "spread of samples across / stated, untrained network", "1 +- 0.01 (sampling)", measured, passed
        )
    ]


def dimension_is_found(quick, kept):
    """E5d, from the record of ``python -m benchmarks.dimensions``."""
    records = cells.read(Path(__file__).parents[1] / "results" / "dimensions.jsonl")
    hits = [r["found"]["ours"] == r["true"] for r in records]
    return [
        entry(
            "subspace",
            f"dimension found, {len(hits)} runs (record)",
            ">= 90 %",
            f"{np.mean(hits):.0%}",
            np.mean(hits) >= 0.9,
        )
    ]


EXPERIMENTS = {
    "manifold": (order_of_the_projection, irregular_density, support_before_memory),
    "subspace": (error_of_the_subspace, features_do_not_matter, across_the_subspace, dimension_is_found),
}
