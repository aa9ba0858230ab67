"""Samples on unknown manifolds: ours beside the plain diffusion, kernels, PCA with a mixture, and the empirical score.

    python -m benchmarks.manifolds --out benchmarks/results/manifolds.jsonl [--seeds 3] [--report]

Every model sees the same 2000 samples. Distance to the set (median), novelty, memorized excess, and the
delta-coverage beside that of the training samples themselves.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

N_SAMPLES, N_DRAWS = 2000, 20_000


def densities():
    """Name -> distribution."""
    from skdiffusion.datasets import Sphere, SwissRoll, Torus

    out = {}
    for density in ("uniform", "kinked"):
        out[f"circle {density}"] = Sphere(1, density=density)
        out[f"sphere {density}"] = Sphere(2, density=density)
        out[f"torus {density}"] = Torus(density=density)
        out[f"swiss roll {density}"] = SwissRoll(density=density)
        out[f"4-sphere in R^64 {density}"] = Sphere(4, 64, density=density)
    return out


def ours(X, seed):
    from skdiffusion import ManifoldDiffusionEstimator

    model = ManifoldDiffusionEstimator(random_state=seed).fit(X)
    return model, lambda n: model.sample(n, random_state=seed)


def plain(X, seed):
    from skdiffusion import DiffusionDensityEstimator

    model = DiffusionDensityEstimator(components=None, random_state=seed).fit(X)
    return model, lambda n: model.sample(n, random_state=seed)


def kernel(X, seed):
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.neighbors import KernelDensity

    grid = np.geomspace(0.003, 0.5, 16) * X.std()
    density = KernelDensity(leaf_size=len(X))  # see benchmarks.peers.Kernel
    model = GridSearchCV(density, {"bandwidth": grid}, cv=KFold(5, shuffle=True, random_state=seed)).fit(X)
    return model, lambda n: model.best_estimator_.sample(n, random_state=seed)


def empirical(X, seed):
    """The exact score of the training samples, stopped at their spacing, with the final denoising step."""
    from skdiffusion.densities import GaussianKernelDensity
    from skdiffusion.manifold import sample_spacing

    scale = sample_spacing(X)
    density, rng = GaussianKernelDensity(X, 0.0), np.random.default_rng(seed)

    def draw(n):
        noised = X[rng.integers(len(X), size=n)] + scale * rng.standard_normal((n, X.shape[1]))
        return density.denoised(noised, 1.0, scale)

    return density, draw


def pca_mixture(X, seed):
    from sklearn.decomposition import PCA

    from benchmarks.peers import Mixture

    pca = PCA(0.999999).fit(X)
    model = Mixture().fit(pca.transform(X), seed, np.inf)
    return model, lambda n: pca.inverse_transform(model.sample(n, seed))


MODELS = {
    "ours": ours, "plain diffusion": plain, "kernel density": kernel, "empirical score": empirical,
    "PCA, mixture": pca_mixture,
}  # fmt: skip


def run_cell(name, seed):
    """One record: every model on one distribution."""
    from skdiffusion.metrics import delta_coverage, fidelity, memorized_excess, novelty

    density = densities()[name]
    X, fresh = density.sample(N_SAMPLES, seed), density.sample(N_SAMPLES, 1000 + seed)
    reference = density.sample(100_000, 2000 + seed)
    centers = fresh[:300]
    out = {"density": name, "seed": seed, "train_coverage": delta_coverage(X, reference, centers)}
    for label, fit in MODELS.items():
        start = time.process_time()
        model, draw = fit(X, seed)
        seconds = time.process_time() - start
        draws = draw(N_DRAWS)
        out[label] = {
            "distance": fidelity(draws, density.distance), "novelty": novelty(draws, X, fresh),
            "memorized": memorized_excess(draws, X, fresh), "coverage": delta_coverage(draws, reference, centers),
            "fit_s": seconds,
        }  # fmt: skip
        if label == "ours":
            out["dimension"], out["true_dimension"] = model.intrinsic_dimension_, density.dimension
    return out


def report(path):
    """Medians over seeds."""
    table = defaultdict(list)
    for r in map(json.loads, Path(path).read_text().splitlines()):
        table[r["density"]].append(r)
    print("Distance to the set (median; in brackets novelty, memorized excess), coverage beside that of the data.\n")
    print("| density | k found | " + " | ".join(MODELS), end="")
    print(" | coverage: ours / training samples | distance: best honest rival / ours |")
    print("|---" * (len(MODELS) + 4) + "|")
    for name, records in table.items():
        right = sum(r["dimension"] == r["true_dimension"] for r in records)
        cells, honest = [], []
        for label in MODELS:
            d, v, m = (np.median([r[label][key] for r in records]) for key in ("distance", "novelty", "memorized"))
            cells.append(f"{d:.1e} ({v:.2f}, {m:+.2f})")
            if label != "ours" and v >= 0.8:
                honest.append(d)
        ours_d = np.median([r["ours"]["distance"] for r in records])
        cover = [np.median([r["ours"]["coverage"] for r in records]), np.median([r["train_coverage"] for r in records])]
        ratio = min(honest) / ours_d
        print(
            f"| {name} | {right}/{len(records)} | "
            + " | ".join(cells)
            + f" | {cover[0]:.3f} / {cover[1]:.3f} | {ratio:.3g} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="benchmarks/results/manifolds.jsonl")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--densities", default="")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.report:
        report(arguments.out)
        return
    path = Path(arguments.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(r["density"], r["seed"]) for r in map(json.loads, lines)}
    for seed in range(arguments.seeds):
        for name in arguments.densities.split(",") if arguments.densities else densities():
            if (name, seed) not in done:
                record = run_cell(name, seed)
                with path.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                ours_ = record["ours"]
                print(name, seed, {k: round(v, 6) for k, v in ours_.items()}, flush=True)


if __name__ == "__main__":
    main()
