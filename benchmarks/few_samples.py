"""Network sizes for few samples: held-out nats of the diffusion alone and of the blend, and seconds.

    python -m benchmarks.few_samples run --out benchmarks/results/few_samples.jsonl --data FOLDER [--splits 3]
        [--widths 32,64] [--samples 80,150]
    python -m benchmarks.few_samples report benchmarks/results/few_samples.jsonl

A cell fits one table of 80 to 800 samples with two hidden layers of several widths. All widths of a split see the same
samples and are scored on the same ones, so that their differences are paired. Widths that are in the file are skipped.
In two features the default has three layers from 151 samples on, and these sets have fewer. Seconds are CPU seconds.
"""

import time
import warnings
from collections import defaultdict

import numpy as np

from benchmarks import cells, targets
from benchmarks.compare import floor_nats

# Training samples; a table that has fewer gives up to 70 % of its samples.
SETS = {
    "iris": (80, 104), "wine": (80, 124), "diabetes": (140, 300), "breast_cancer": (140, 250, 390),
    "power_plant": (80, 800), "concrete": (140, 250, 600), "kin8nm": (140, 300), "wine_red": (80, 250, 700),
    "magic": (140, 250, 500), "miniboone1500": (140, 700), "tcopula5": (80, 300), "warped8": (140, 250, 600),
    "funnel5": (80, 300), "moons": (80,), "banana": (140,),
}  # fmt: skip
GROUPS = ((80, 150), (151, 349), (350, 800))  # fewest and most samples of the sets of a mean
N_SCORED = 2000
MEASURES = ("diffusion", "blend", "fit_s")


def measured(width, X, test, split):
    """What a fit with two hidden layers of a width gives."""
    from skdiffusion import DiffusionDensityEstimator

    start = time.process_time()
    model = DiffusionDensityEstimator((width, width), random_state=split).fit(X)
    seconds = time.process_time() - start
    diffusion = model.blend_.densities["diffusion"].log_prob(test)
    return {
        "diffusion": float(np.maximum(diffusion, floor_nats(X.shape[1])).mean()),
        "blend": float(model.score(test)),
        "weight": round(float(model.component_weights_["diffusion"]), 4),
        "network_gain": model.network_gain_,
        "fit_s": seconds,
    }


def run_cell(name, n, split, widths, data):
    """One record."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, test, _ = targets.load(name, n, split, data)
    by_width = {w: measured(w, X, test[:N_SCORED], split) for w in widths}
    return {"dataset": name, "n": n, "n_train": len(X), "d": X.shape[1], "split": split, "by_width": by_width}


def merged(records):
    """Records by (data set, n, split), with all widths of any."""
    merged = {}
    for r in records:
        one = merged.setdefault((r["dataset"], r["n"], r["split"]), r | {"by_width": {}})
        one["by_width"] |= {int(w): m for w, m in r["by_width"].items()}
    return merged


def run(arguments):
    """Run the missing cells."""
    done = merged(cells.read(arguments.out))
    widths, (fewest, most) = (list(map(int, text.split(","))) for text in (arguments.widths, arguments.samples))
    sets = [(name, n) for name, sizes in SETS.items() for n in sizes if fewest <= n <= most]
    todo = []
    for key in ((*one, split) for split in range(arguments.splits) for one in sets):
        missing = [w for w in widths if w not in done.get(key, {"by_width": {}})["by_width"]]
        if missing:
            todo.append((*key, missing, arguments.data))
    cells.run_all("benchmarks.few_samples", todo, arguments.out, arguments.jobs)


def gains(splits, width, base):
    """What a width gains over another in the measures, shape (n_splits, 3)."""
    return np.array([[m[width][k] - m[base][k] for k in MEASURES] for m in splits if width in m and base in m])


def mean_and_error(rows):
    """Means of rows and their standard errors, NaN for a single one."""
    return np.mean(rows, 0), np.std(rows, axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.full(3, np.nan)


def report(files):
    """Print what a width gains over the narrowest of a set, for every set and in the mean over sets."""
    sets, groups = defaultdict(list), defaultdict(list)
    for r in merged(cells.read(*files)).values():
        sets[r["n_train"], r["dataset"], r["d"]].append(r["by_width"])
    head = "data, n, features, splits, width, in place of, diffusion alone (se), blend (se), fit s".split(", ")
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for (n, name, d), splits in sorted(sets.items()):
        group = next(i for i, (low, high) in enumerate(GROUPS) if low <= n <= high)
        widths = sorted({w for m in splits for w in m})
        for base, width in zip(widths, widths[1:]):
            if len(found := gains(splits, width, base)) == 0:
                continue
            mean, error = mean_and_error(found)
            groups[group, base, width].append(mean)
            numbers = [f"{mean[i]:+.3f} ({error[i]:.3f})" for i in (0, 1)]
            line = [name, n, d, len(found), width, base, *numbers, f"{mean[2]:+.1f}"]
            print("| " + " | ".join(map(str, line)) + " |")
    for (group, base, width), rows in sorted(groups.items()):
        mean, error = mean_and_error(rows)
        print("\n{} to {} samples,".format(*GROUPS[group]), f"{width} in place of {base}: {len(rows)} sets,", end=" ")
        print(f"diffusion alone {mean[0]:+.3f} ({error[0]:.3f}), blend {mean[1]:+.3f} ({error[1]:.3f}) nats,", end=" ")
        print(f"better on {np.mean(np.array(rows)[:, 1] > 0):.0%}, fit {mean[2]:+.1f} s.")


def main():
    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--data", default=None)
    p.add_argument("--widths", default="32,64")
    p.add_argument("--samples", default="80,800", help="fewest and most training samples")
    p.add_argument("--splits", type=int, default=3)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
