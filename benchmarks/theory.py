"""Claims of the papers as experiments that can fail: one table, one command.

    python -m benchmarks.theory [--paper wasserstein|gaussian|manifold|subspace] [--quick] [--out FILE]
    python -m benchmarks.theory --report

Every row is a claim, what is predicted, what was measured with its spread, and pass or fail. Rows in the file are
skipped. All fits are of the pure diffusion (``stacking=False``), without column maps unless a row says otherwise.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks import cells


def _row(paper, claim, predicted, measured, passed, **more):
    return {"paper": paper, "claim": claim, "predicted": predicted, "measured": measured, "passed": bool(passed)} | more


# -- Kremling et al.: the Wasserstein bound ----------------------------------------------------------


def bound_is_never_violated(quick):
    """E3a over random laws, grids, steps, integrators and injected score errors."""
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
            law = LineMixture(rng.dirichlet(np.full(k, 2.0)), rng.normal(0, 1.0, k), rng.uniform(0.3, 2.0))
            error = rng.uniform(0.02, 0.4) if kind != "mixture" else 0.0
            size = error / np.sqrt(1 + levels[:-1] ** 2)
            constants = w2.mixture_regularity(law.weights, law.means[:, None], [[law.variance]])

            def score(y, tau, law=law, error=error):
                return law.score(y, tau) + error / np.sqrt(1 + tau**2) * np.sin(y)

            measured = line_distance(law, levels, integrator, score)
            bound = w2.sampling_bound(constants, levels, integrator, score_error=size, score_lipschitz=size)
        # An exact step leaves round-off only.
        ratios[kind].append(bound.total / max(measured, 1e-6) if measured > 1e-6 else np.inf)
    out = []
    for kind, values in ratios.items():
        finite = np.array([v for v in values if np.isfinite(v)])
        measured = f"smallest {finite.min():.4f}, median {np.median(finite):.3g}"
        out.append(
            _row(
                "wasserstein",
                f"bound / distance, {kind}, {len(values)} runs",
                ">= 1",
                measured,
                finite.min() >= 1 - 1e-6,
            )
        )
    return out


def bound_is_sharp_for_gaussians(quick):
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
    return [_row("wasserstein", "bound / distance, DDIM, N(0, c)", "[1, 1.01]", measured, passed)]


def effectivity_of_the_sample_error(quick):
    """E3d: the a-posteriori error of samples of a trained network, against a fine solution."""
    from dataclasses import replace

    from benchmarks import targets
    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion.ode import angle_grid

    ratios = []
    for name in ("moons", "banana", "warped8")[: 1 if quick else 3]:
        for seed in range(1 if quick else 3):
            X, _, _ = targets.load(name, 2000, seed)
            est = DiffusionDensityEstimator(
                stacking=False, marginals=None, max_iter=60, n_estimators=1, random_state=seed
            ).fit(X)
            flow = replace(est.members_["diffusion"].law, sample_stepper="euler", grid=angle_grid)
            noise = np.random.default_rng(seed).standard_normal((1000, X.shape[1]))
            fine = replace(flow, sample_stepper="rk4").sample_from_noise(noise, n_steps=512)
            for n in (16, 32, 64):
                true = np.sqrt(((flow.sample_from_noise(noise, n_steps=n) - fine) ** 2).sum(1).mean())
                ratios.append(replace(flow, sample_steps=n).sample_error(noise) / true)
    return [
        _row(
            "wasserstein", f"stated / true error of samples, N >= 16, {len(ratios)} cases", "[0.85, 1.15]",
            f"{min(ratios):.3f} ... {max(ratios):.3f}", min(ratios) >= 0.85 and max(ratios) <= 1.15,
        )
    ]  # fmt: skip


# -- Cole and Lu: relative to a Gaussian -------------------------------------------------------------


def zero_network_is_the_gaussian(quick):
    """E4b."""
    import torch

    from skdiffusion.likelihood import ProbabilityFlow
    from skdiffusion.networks import FilmEnsemble, NetworkField

    worst = 0.0
    for d in (1, 8, 64):
        network = FilmEnsemble(d, (32, 32), "silu", 2, torch.float32, torch.device("cpu"))
        z = np.random.default_rng(0).standard_normal((200, d))
        flow = ProbabilityFlow(NetworkField(network), 0.01, 1.55)
        worst = max(worst, np.abs(flow.log_density(z) + 0.5 * (z**2).sum(1) + 0.5 * d * np.log(2 * np.pi)).max())
    return [_row("gaussian", "zero network: largest error of a log-density", "<= 1e-6", f"{worst:.1e}", worst <= 1e-6)]


def ridge_rows(n, d, rng):
    """Rows whose first direction is a two-humped law of mean 0 and variance 1; the others standard normal."""
    X = rng.standard_normal((n, d))
    X[:, 0] = 0.8 * rng.choice([-1.0, 1.0], n) + 0.6 * X[:, 0]
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((d, d)))[0]
    return X @ turn.T, turn


def excess_by_dimension(quick):
    """E4a: held-out excess of a relative network, known reference, by the number of columns."""
    import torch

    from skdiffusion.closed_form import GaussianMixtureLaw
    from skdiffusion.likelihood import ProbabilityFlow
    from skdiffusion.networks import FilmEnsemble, NetworkField
    from skdiffusion.training import TrainingPlan, train

    n, seeds = 4000, range(1 if quick else 5)
    excess = {}
    for d in (2, 8) if quick else (2, 8, 32, 64):
        runs = []
        for seed in seeds:
            rng = np.random.default_rng([seed, d])
            X, turn = ridge_rows(n, d, rng)
            test, _ = ridge_rows(2000, d, rng)
            one = GaussianMixtureLaw(np.array([0.5, 0.5]), np.array([[-0.8], [0.8]]), np.full((2, 1, 1), 0.36))
            along = (test @ turn)[:, :1]
            truth = one.log_density(along) - 0.5 * ((test**2).sum(1) - along[:, 0] ** 2)
            truth -= 0.5 * (d - 1) * np.log(2 * np.pi)
            network = FilmEnsemble(d, (64, 64), "silu", 1, torch.float32, torch.device("cpu"))
            network.initialise(rng, 1.0, 1.2)
            order = rng.permutation(n)
            plan = TrainingPlan(n_steps=1000 if quick else 2000, batch_size=256, learning_rate=3e-3)
            result = train(
                network, torch.as_tensor(X, dtype=torch.float32), np.ones(n), [order[500:]], [order[:500]], plan, rng
            )
            flow = ProbabilityFlow(NetworkField(result.network), 0.01, 1.55)
            runs.append(float((truth - flow.log_density(test)).mean()))
        excess[d] = runs
    means = {d: float(np.mean(v)) for d, v in excess.items()}
    shown = ", ".join(f"d={d}: {np.mean(v):.4f} ({np.std(v) / np.sqrt(len(v)):.4f})" for d, v in excess.items())
    ratio = max(means.values()) / min(means.values())
    return [
        _row(
            "gaussian",
            f"excess nats of a ridge target, n = {n}",
            "varies by < 2x",
            f"{shown}; ratio {ratio:.2f}",
            ratio < 2,
        )
    ]


# -- Shen et al., Chen et al.: supports ----------------------------------------------------------------


def order_of_the_projection(quick):
    """E2a."""
    from skdiffusion.datasets import Sphere
    from skdiffusion.geometry import LocalPolynomials
    from skdiffusion.metrics import fidelity

    angle, circle, out = 2 * np.pi * np.arange(4096) / 4096, Sphere(1), []
    X, y, reach = np.column_stack([np.cos(angle), np.sin(angle)]), Sphere(1).sample(200, 1), np.array([160, 240, 320])
    for degree, order in ((1, 2), (2, 4), (4, 6)):
        surfaces = [LocalPolynomials(X, 1, 1e-9, degree, rows_per_term=m / (degree + 1)) for m in reach]
        errors = [fidelity(surface.project(y), circle.distance) for surface in surfaces]
        slope = np.polyfit(np.log(reach), np.log(errors), 1)[0]
        out.append(
            _row(
                "manifold",
                f"slope of the distance, degree {degree}",
                f"{order} +- 0.4",
                f"{slope:.2f}",
                abs(slope - order) < 0.4,
            )
        )
    return out


def error_of_the_subspace(quick):
    """E5c."""
    from skdiffusion import ManifoldDiffusionEstimator
    from skdiffusion.datasets import Subspace
    from skdiffusion.metrics import subspace_error
    from skdiffusion.theory import subspace

    out = []
    for n, eta in ((2000, 0.1), (500, 0.2)):
        measured, predicted = [], []
        for seed in range(4 if quick else 10):
            law = Subspace(2, 64, noise=eta, rotation_seed=seed)
            rows = law.sample(n, seed)
            est = ManifoldDiffusionEstimator(2, "linear", hidden_layer_sizes=(8,), n_estimators=1, max_iter=1).fit(rows)
            measured.append(subspace_error(est.components_.T, law.frame))
            spread = np.linalg.eigvalsh(np.cov((rows @ law.frame).T)) - eta**2
            predicted.append(subspace.subspace_error(n, 64, eta, spread))
        ratio = np.mean(measured) / np.mean(predicted)
        error = np.std(measured) / np.mean(predicted) / np.sqrt(len(measured))
        claim = f"squared error of the plane / formula, n = {n}, noise {eta}"
        out.append(_row("subspace", claim, "[0.67, 1.5]", f"{ratio:.3f} ({error:.3f})", 1 / 1.5 < ratio < 1.5))
    return out


EXPERIMENTS = {
    "wasserstein": (bound_is_never_violated, bound_is_sharp_for_gaussians, effectivity_of_the_sample_error),
    "gaussian": (zero_network_is_the_gaussian, excess_by_dimension),
    "manifold": (order_of_the_projection,),
    "subspace": (error_of_the_subspace,),
}


def report(path):
    """The table."""
    print("| paper | claim | predicted | measured | |\n|---|---|---|---|---|")
    for r in cells.read(path):
        verdict = "pass" if r["passed"] else "FAIL"
        print(f"| {r['paper']} | {r['claim']} | {r['predicted']} | {r['measured']} | {verdict} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", choices=EXPERIMENTS, default=None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    path = Path(arguments.out or f"benchmarks/results/theory{'_quick' if arguments.quick else ''}.jsonl")
    if not arguments.report:
        done = {r["experiment"] for r in cells.read(path)}
        for paper in [arguments.paper] if arguments.paper else EXPERIMENTS:
            for experiment in EXPERIMENTS[paper]:
                if experiment.__name__ in done:
                    continue
                start = time.process_time()
                rows = experiment(arguments.quick)
                with path.open("a") as file:
                    for row in rows:
                        row |= {"experiment": experiment.__name__, "seconds": round(time.process_time() - start, 1)}
                        file.write(json.dumps(row) + "\n")
                print(experiment.__name__, f"{time.process_time() - start:.0f} s", flush=True)
    report(path)


if __name__ == "__main__":
    main()
