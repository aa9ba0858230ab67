"""The intrinsic dimension found: ours beside nearest-neighbor estimators.

    python -m benchmarks.dimensions --out benchmarks/results/dimensions.jsonl [--seeds 10] [--report]

The peers are scikit-dimension's (pip install scikit-dimension), where it is installed.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np


def densities(seed):
    """Name -> (distribution, samples)."""
    from skdiffusion.datasets import Sphere, Subspace, SwissRoll, Torus

    out = {
        "circle": (Sphere(1), 2000), "sphere": (Sphere(2), 2000), "torus": (Torus(), 2000),
        "swiss roll": (SwissRoll(), 2000), "4-sphere in R^16": (Sphere(4, 16, rotation_seed=seed), 2000),
    }  # fmt: skip
    for k, d, noise in ((1, 8, 0.0), (2, 32, 0.05), (3, 16, 0.0), (4, 32, 0.1), (5, 32, 0.05), (5, 12, 0.0)):
        out[f"subspace {k} in R^{d}, noise {noise}"] = (Subspace(k, d, noise=noise, rotation_seed=seed), 1000)
    return out


def peers():
    """Name -> estimator of scikit-dimension."""
    try:
        import skdim
    except ImportError:
        return {}
    return {"MLE": skdim.id.MLE(), "TwoNN": skdim.id.TwoNN(), "lPCA": skdim.id.lPCA(), "DANCo": skdim.id.DANCo()}


def run_cell(name, seed):
    """One record."""
    import warnings

    from skdiffusion import ManifoldDiffusionEstimator

    warnings.simplefilter("ignore")
    density, n = densities(seed)[name]
    X = density.sample(n, seed)
    model = ManifoldDiffusionEstimator(random_state=seed).fit(X)
    found = {"ours": model.intrinsic_dimension_, "FLIPD": model.flipd_dimension_}
    for label, peer in peers().items():
        found[label] = float(peer.fit(X[:1000]).dimension_)
    return {"density": name, "seed": seed, "true": density.dimension, "found": found}


def report(path):
    """Shares of seeds in which the rounded estimate is right."""
    table = defaultdict(list)
    for r in map(json.loads, Path(path).read_text().splitlines()):
        table[r["density"]].append(r)
    labels = list(next(iter(table.values()))[0]["found"])
    print("Seeds in which the dimension, rounded, is right.\n")
    print("| density | k | " + " | ".join(labels) + " |\n" + "|---" * (len(labels) + 2) + "|")
    for name, records in table.items():
        cells = []
        for label in labels:
            values = np.array([r["found"].get(label) for r in records], dtype=float)  # nan: gave no answer
            right = int((np.round(values) == [r["true"] for r in records]).sum())
            cells.append(f"{right}/{len(records)}" if np.isfinite(values).any() else "")
        print(f"| {name} | {records[0]['true']} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="benchmarks/results/dimensions.jsonl")
    parser.add_argument("--seeds", type=int, default=10)
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
        for name in densities(seed):
            if (name, seed) not in done:
                record = run_cell(name, seed)
                with path.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(name, seed, record["true"], record["found"], flush=True)


if __name__ == "__main__":
    main()
