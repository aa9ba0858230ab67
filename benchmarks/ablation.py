"""What each default is worth: the default against variants of one choice, in held-out nats and seconds.

    python -m benchmarks.ablation --out benchmarks/results/ablation.jsonl [--data FOLDER] [--seeds 2]
    python -m benchmarks.ablation --out benchmarks/results/ablation.jsonl --report

Each cell (data set, seed, variant) is a process of its own with one thread; cells in the file are skipped.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import targets

# Variant -> (constructor parameters, replaced fields of Settings).
VARIANTS = {
    "default": ({}, {}),
    "no companions": ({"stacking": False}, {}),
    "no kernel companion": ({"stacking": "mixture"}, {}),
    "no marginal map": ({"marginals": None}, {}),
    "one member": ({"n_estimators": 1}, {}),
    "eight members": ({"n_estimators": 8}, {}),
    "half the width": ({"hidden_layer_sizes": (64, 64)}, {}),
    "twice the width": ({"hidden_layer_sizes": (256, 256)}, {}),
    "three layers": ({"hidden_layer_sizes": (128, 128, 128)}, {}),
    "plain targets": ({}, {"n_references": 0}),
    "batch 256, rate 5e-3": ({"batch_size": 256, "learning_rate": 5e-3}, {}),
    "tanh": ({"activation": "tanh"}, {}),
    "input gain 1": ({}, {"input_gain": 1.0}),
    "no early stopping": ({"early_stopping": False}, {}),
    "weight decay 0.1": ({"weight_decay": 0.1}, {}),
}
DATASETS = ("checkerboard", "moons", "rings", "funnel5", "warped8", "gmm_mix_d32", "breast_cancer", "diabetes")
TABLES = ("kin8nm", "magic", "power_plant", "concrete")


def run_cell(name, seed, variant, data):
    """Held-out nats and seconds of one variant."""
    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion.estimators import _settings

    X, test, _ = targets.load(name, 2000, seed, data)
    given, fields = VARIANTS[variant]
    if fields:
        original = _settings.default_settings
        _settings.default_settings = lambda n, d: replace(original(n, d), **fields)
    start = time.process_time()
    model = DiffusionDensityEstimator(random_state=seed, **given).fit(X)
    seconds = time.process_time() - start
    diffusion = model.members_["diffusion"].log_density(test[:2000])
    nats = float(np.maximum(model.score_samples(test[:2000]), -1e4).mean())
    return {
        "dataset": name, "seed": seed, "variant": variant, "nats": nats, "fit_s": seconds,
        "diffusion": float(np.maximum(diffusion, -1e4).mean()),
    }  # fmt: skip


def run(arguments):
    """Run the missing cells one after the other."""
    path = Path(arguments.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(r["dataset"], r["seed"], r["variant"]) for r in map(json.loads, lines)}
    names = [*DATASETS, *(TABLES if arguments.data else ())]
    for seed in range(arguments.seeds):
        for name in names:
            for variant in VARIANTS:
                if (name, seed, variant) in done:
                    continue
                spec = json.dumps([name, seed, variant, arguments.data])
                command = [sys.executable, "-m", "benchmarks.ablation", "--cell", spec]
                out = subprocess.run(command, capture_output=True, text=True, check=False)
                records = [line[5:] for line in out.stdout.splitlines() if line.startswith("CELL ")]
                if not records:
                    print(name, seed, variant, "FAILED", out.stderr.strip().splitlines()[-1:], flush=True)
                    continue
                with path.open("a") as file:
                    file.write(records[-1] + "\n")
                print(records[-1], flush=True)


def report(arguments):
    """Mean change against the default over the data sets, each the mean of its seeds."""
    table = defaultdict(list)
    for r in map(json.loads, Path(arguments.out).read_text().splitlines()):
        table[r["variant"], r["dataset"]].append(r)
    names = sorted({name for _, name in table})
    print("Change of held-out nats against the default (positive is better); in brackets the diffusion member alone.\n")
    print("| variant | " + " | ".join(names) + " | median | seconds, ratio |\n" + "|---" * (len(names) + 3) + "|")
    for variant in VARIANTS:
        gaps, ratios, cells = [], [], []
        for name in names:
            ours, base = table.get((variant, name), []), table["default", name]
            pairs = [(a, b) for a in ours for b in base if a["seed"] == b["seed"]]
            if not pairs:
                cells.append("")
                continue
            gaps.append(np.mean([a["nats"] - b["nats"] for a, b in pairs]))
            alone = np.mean([a["diffusion"] - b["diffusion"] for a, b in pairs])
            ratios.append(np.mean([a["fit_s"] / b["fit_s"] for a, b in pairs]))
            cells.append(f"{gaps[-1]:+.3f} ({alone:+.3f})")
        if gaps:
            print(f"| {variant} | " + " | ".join(cells) + f" | {np.median(gaps):+.3f} | {np.median(ratios):.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="")
    parser.add_argument("--data", default=None)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--cell", default="")
    arguments = parser.parse_args()
    if arguments.cell:
        print("CELL " + json.dumps(run_cell(*json.loads(arguments.cell))), flush=True)
    elif arguments.report:
        report(arguments)
    else:
        run(arguments)


if __name__ == "__main__":
    main()
