"""Generated samples where features nearly follow from others or heap: a density and its sampler must both be good.

    python -m benchmarks.samples run --out benchmarks/results/samples.jsonl [--seeds 1] [--n 2000] [--pictures FOLDER]
    python -m benchmarks.samples report benchmarks/results/samples.jsonl

The tables of `benchmarks.dependent_tables` and `benchmarks.heaped_tables`; with `--datasets`, those of
`benchmarks.targets` too. A picture shows the pairs of features whose generated samples are distinguished best from
fresh ones.
"""

import itertools
import warnings
from pathlib import Path

import numpy as np

from benchmarks import cells, compare, dependent_tables, heaped_tables, targets

TABLES = dependent_tables.TABLES | heaped_tables.TABLES
N_DRAWN = 10_000
MAX_W1, MAX_IQR, MAX_RANGE, MIN_NOVELTY = 1.15, 0.10, 0.15, 0.95
IQR, RANGE = (0.25, 0.75), (0.01, 0.99)
N_RESAMPLED = 40  # times, for the standard error of a width


def load(name, n, seed, data=None):
    """Training samples, test samples and the target (None for a table), as `targets.load`."""
    if name not in TABLES:
        return targets.load(name, n, seed, data)
    rng = np.random.default_rng([seed, 1])
    return TABLES[name].sample(n, rng), TABLES[name].sample(N_DRAWN, rng), TABLES[name]


def spread_ratios(generated, real, levels):
    """Widths between two quantiles of generated features over those of real ones, shape (n_features,)."""
    (a, b), (c, d) = (np.quantile(X, levels, axis=0) for X in (generated, real))
    return (b - a) / (d - c)


def standard_errors(X, levels, rng):
    """Of the logarithm of the width between two quantiles of every feature, by resampling, shape (n_features,)."""
    draws = (X[rng.integers(0, len(X), len(X))] for _ in range(N_RESAMPLED))
    return np.log([np.diff(np.quantile(draw, levels, axis=0), axis=0)[0] for draw in draws]).std(0)


def compared(generated, real, levels, rng):
    """Of the feature whose width is furthest off beyond twice its standard error, or least within: its number, the
    ratio of widths and the standard error of the logarithm."""
    errors = np.hypot(standard_errors(generated, levels, rng), standard_errors(real, levels, rng))
    ratios = spread_ratios(generated, real, levels)
    j = int(np.argmax(np.abs(np.log(ratios)) - 2 * errors))
    return j, float(ratios[j]), float(errors[j])


def furthest(ratios):
    """The ratio that is furthest from 1."""
    return float(ratios[np.argmax(np.abs(np.log(ratios)))])


def run_cell(name, n, seed, data, pictures):
    """One record, and a picture if there is a folder for it."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, test, target = load(name, n, seed, data)
    out = {"dataset": name, "n": n, "seed": seed, "d": X.shape[1], "n_train": len(X)}
    density, draw = compare.run_ours(X, test[: compare.N_SCORED], seed, out)
    out["nats"] = float(compare.mean_density(density, X.shape[1]))
    out |= compare.sample_quality(draw, X, test, target, seed)
    generated = draw(N_DRAWN)
    for key, levels in (("iqr", IQR), ("range", RANGE)):
        against = compared(generated, np.concatenate([X, test]), levels, np.random.default_rng([seed, 5]))
        out |= dict(zip((f"{key}_feature", key, f"{key}_se"), against))
        out[f"{key}_train"] = furthest(spread_ratios(generated, X, levels))
    if pictures:
        Path(pictures).mkdir(parents=True, exist_ok=True)
        draw_pairs(generated, test, Path(pictures) / f"{name}_{seed}.png")
    return out


def missed(r):
    """What a record misses of the aims; an empty list if nothing."""
    # Where a quantile lies between two modes even ten thousand samples do not tell its place.
    iqr, novelty = abs(np.log(r["iqr"])) - 2 * r["iqr_se"], r["novelty"]
    # In heavy tails 2000 samples do not tell the 99 % better than to some 10 %: what they say counts as well.
    wide = min(abs(np.log(r["range"])) - 2 * r["range_se"], abs(np.log(r["range_train"])))
    misses = {"W1": r["w1_ratio"] > MAX_W1, "novelty": novelty < MIN_NOVELTY}
    misses |= {"IQR": iqr > np.log1p(MAX_IQR), "range": wide > np.log1p(MAX_RANGE)}
    return [name for name, bad in misses.items() if bad]


def report(files):
    """A line for each cell, and how many meet the aims."""
    records = sorted(cells.read(*files), key=lambda r: (r["dataset"], r["seed"]))
    head = ["data", "seed", "d", "n", "nats", "W1 ratio (se)", "IQR (se)", "1-99 % (se)", "to the training samples"]
    head += ["novelty", "C2ST", "fit s", "weights", "misses"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for r in records:
        line = [r["dataset"], str(r["seed"]), str(r["d"]), str(r["n_train"]), f"{r['nats']:.3f}"]
        line.append(f"{r['w1_ratio']:.3f} ({r['w1_ratio_se']:.3f})")
        line += [f"{r[key]:.2f} ({r[f'{key}_se']:.2f}) [{r[f'{key}_feature']}]" for key in ("iqr", "range")]
        line += [f"{r['iqr_train']:.2f}, {r['range_train']:.2f}"]
        line += [f"{r['novelty']:.2f}", f"{r['c2st']:.3f}", f"{r['fit_s']:.0f}"]
        line.append(" ".join(f"{k} {v:.2f}" for k, v in r["weights"].items() if v >= 0.005))
        print("| " + " | ".join([*line, ", ".join(missed(r))]) + " |")
    ratios, c2st = np.array([r["w1_ratio"] for r in records]), np.array([r["c2st"] for r in records])
    print(
        f"\n{len(records)} cells, {sum(not missed(r) for r in records)} meet all aims. W1 ratio: geometric mean",
        end=" ",
    )
    print(
        f"{np.exp(np.log(ratios).mean()):.3f}, largest {ratios.max():.3f}; C2ST mean {c2st.mean():.3f}, largest",
        end=" ",
    )
    print(f"{c2st.max():.3f}; smallest novelty {min(r['novelty'] for r in records):.2f}.")


def draw_pairs(generated, fresh, file, n_pairs=5):
    """Fresh and generated samples of the pairs of features that tell them apart best."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from skdiffusion.metrics import classifier_two_sample_test

    m = min(2000, len(fresh), len(generated))
    fresh, generated = fresh[:m], generated[:m]
    pairs = list(itertools.combinations(range(fresh.shape[1]), 2))
    accuracy = {p: classifier_two_sample_test(generated[:, p], fresh[:, p]) for p in pairs}
    chosen = sorted(pairs, key=accuracy.__getitem__, reverse=True)[:n_pairs]
    figure, axes = plt.subplots(2, len(chosen), figsize=(3 * len(chosen), 6), layout="constrained", squeeze=False)
    for column, pair in zip(axes.T, chosen):
        both = np.concatenate([fresh[:, pair], generated[:, pair]])
        limits = np.stack([both.min(0), both.max(0)], axis=1)
        for axis, points, title in zip(column, (fresh, generated), ("fresh", f"generated, C2ST {accuracy[pair]:.2f}")):
            axis.scatter(*points[:, pair].T, s=3, alpha=0.4, linewidths=0)
            axis.set(
                xlim=limits[0], ylim=limits[1], title=title, xlabel=f"feature {pair[0]}", ylabel=f"feature {pair[1]}"
            )
    figure.savefig(file, dpi=80)


def main():
    def run(arguments):
        done = {(r["dataset"], r["n"], r["seed"]) for r in cells.read(arguments.out)}
        names = arguments.datasets.split(",") if arguments.datasets else list(TABLES)
        options = arguments.data, arguments.pictures
        todo = [(name, arguments.n, seed, *options) for seed in range(arguments.seeds) for name in names]
        cells.run_all("benchmarks.samples", [c for c in todo if c[:3] not in done], arguments.out, arguments.jobs)

    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--data", default=None)
    p.add_argument("--datasets", default="")
    p.add_argument("--n", type=int, default=2000)
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--pictures", default="", help="folder of a picture for each cell; none by default")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
