"""How cost grows with the samples and the features, beside KernelDensity and GaussianMixture.

    python -m benchmarks.scaling run --out benchmarks/results/scaling.jsonl [--quick]
    python -m benchmarks.scaling report benchmarks/results/scaling.jsonl [--figure FILE.png]

One family of distributions, each feature bent by those before it; samples from 10^3 to 10^5 in 8 features, and features
from 2 to 128 at 3000 samples. Every estimator is fitted with several budgets (ours: `max_fit_seconds` and none; the
mixture: its number of components; the kernel: Scott's bandwidth) in a process of its own on one thread, and scores 2000
and draws 10000 samples. The time to a fixed excess is that of the cheapest budget whose held-out nats are at most that
far below the best.
"""

import resource
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import cells, targets

SAMPLES, FEATURES = (1000, 3000, 10_000, 30_000, 100_000), (2, 8, 32, 128)
SAMPLES_D, FEATURES_N = 8, 3000
BUDGETS = {"ours": (2.0, 5.0, 15.0, 60.0, None), "Gaussian mixture": (1, 4, 16, 64), "kernel density": ("scott",)}
EXCESS = 0.1  # nats a feature


def fitted(who, budget, X):
    """A fitted estimator on standardized samples."""
    if who == "ours":
        from skdiffusion import DiffusionDensityEstimator

        return DiffusionDensityEstimator(max_fit_seconds=budget, random_state=0).fit(X)
    if who == "kernel density":
        from sklearn.neighbors import KernelDensity

        return KernelDensity(bandwidth=budget, leaf_size=len(X)).fit(X)  # see benchmarks.peers.Kernel
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(budget, reg_covar=1e-5, max_iter=200, random_state=0).fit(X)


def file_size(model):
    """Size of a saved estimator, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skd"
        model.save(path)
        return path.stat().st_size / 2**20


def run_cell(who, budget, n, d):
    """Held-out excess, seconds and memory of one fit."""
    warnings.simplefilter("ignore")
    density, rng = targets.bent_features(d, 3), np.random.default_rng([n, d])
    X, test = density.sample(n, rng), density.sample(2000, rng)
    mean, scale, clock = X.mean(0), X.std(0), time.process_time
    X = (X - mean) / scale
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = clock()
    model = fitted(who, budget, X)
    fit_s, fit_mb = clock() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    start = clock()
    log_p = model.score_samples((test - mean) / scale) - np.log(scale).sum()
    score_s = clock() - start
    start = clock()
    model.sample(10_000)
    sample_s = clock() - start
    return {
        "who": who, "budget": budget, "n": n, "d": d, "excess": float((density.log_prob(test) - log_p).mean()),
        "fit_s": fit_s, "fit_mb": fit_mb, "score_ms": score_s / 2, "sample_ms": sample_s / 10,
        "all_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "file_mb": file_size(model) if who == "ours" else None,
    }  # fmt: skip


def points(records):
    """(n, d) -> estimator -> its numbers: the default (or best) budget, and the seconds to the fixed excess."""
    table = defaultdict(lambda: defaultdict(list))
    for r in records:
        table[r["n"], r["d"]][r["who"]].append(r)
    out = {}
    for (n, d), by in table.items():
        best = min(r["excess"] for rs in by.values() for r in rs)
        out[n, d] = {}
        for who, rs in by.items():
            near = [r["fit_s"] for r in rs if r["excess"] <= best + EXCESS * d]
            kept = min(rs, key=lambda r: r["excess"])
            out[n, d][who] = kept | {"to_excess": min(near) if near else np.nan}
    return out


def exponent(x, y):
    """Slope of log y on log x; nan where fewer than three values are known."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    known = np.isfinite(y) & (y > 0)
    return np.polyfit(np.log(x[known]), np.log(y[known]), 1)[0] if known.sum() > 2 else np.nan


def formula(records, key):
    """c, a, b of c (n / 1000)^a (d / 8)^b, by least squares of the logarithms of fits without a budget, and the
    largest factor by which it is off."""
    kept = [r for r in records if r["who"] == "ours" and r["budget"] is None and r.get(key)]
    if len(kept) < 4:
        return None
    A = np.array([[1.0, np.log(r["n"] / 1000), np.log(r["d"] / SAMPLES_D)] for r in kept])
    y = np.log([r[key] for r in kept])
    coefficients = np.linalg.lstsq(A, y, rcond=None)[0]
    return np.exp(coefficients[0]), *coefficients[1:], np.exp(np.abs(A @ coefficients - y).max())


def report_formulas(files):
    """What a fit costs by samples and features: the default, without a budget."""
    records = cells.read(*files)
    names = {
        "seconds of a fit": "fit_s", "ms for each sample scored": "score_ms", "ms for each sample drawn": "sample_ms",
        "MB of memory of a fit": "fit_mb", "MB on disk": "file_mb",
    }  # fmt: skip
    print("| what | formula | largest factor off |\n|---|---|---|")
    for name, key in names.items():
        if (found := formula(records, key)) is not None:
            c, a, b, off = found
            print(f"| {name} | {c:.2g} (n / 1000)^{a:.2f} (d / {SAMPLES_D})^{b:.2f} | {off:.1f} |")


def report(files, figure=""):
    """The points, then the exponents in samples and in features."""
    table = points(cells.read(*files))
    print("| samples | features | estimator | nats below the truth | seconds to fit | to the fixed excess | ", end="")
    print("ms a sample scored | ms a sample drawn | MB |\n" + "|---" * 9 + "|")
    for (n, d), by in sorted(table.items(), key=lambda kv: (kv[0][1] != SAMPLES_D, kv[0])):
        for who, r in by.items():
            reached = f"{r['to_excess']:.2f}" if np.isfinite(r["to_excess"]) else ""
            line = [n, d, who, f"{r['excess']:.3f}", f"{r['fit_s']:.2f}", reached, f"{r['score_ms']:.3f}"]
            print("| " + " | ".join(map(str, [*line, f"{r['sample_ms']:.4f}", f"{r['all_mb']:.0f}"])) + " |")
    print(f"\nExponents: of samples at {SAMPLES_D} features, of features at {FEATURES_N} samples.\n")
    keys = {
        "fit": "fit_s",
        "to the fixed excess": "to_excess",
        "score": "score_ms",
        "draw": "sample_ms",
        "MB": "all_mb",
    }
    print("| estimator | " + " | ".join(keys) + " |\n" + "|---" * (1 + len(keys)) + "|")
    for who in BUDGETS:
        line = []
        for key in keys.values():
            by_samples = [(n, by[who][key]) for (n, d), by in sorted(table.items()) if d == SAMPLES_D and who in by]
            by_features = [(d, by[who][key]) for (n, d), by in sorted(table.items()) if n == FEATURES_N and who in by]
            line.append(", ".join(f"{exponent(*zip(*pairs)):.2f}" for pairs in (by_samples, by_features) if pairs))
        print(f"| {who} | " + " | ".join(line) + " |")
    if figure:
        draw_figure(table, figure)


def draw_figure(table, path):
    """Seconds to fit, to score and to draw over samples and over features."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = {"fit (seconds)": "fit_s", "score (ms a sample)": "score_ms", "draw (ms a sample)": "sample_ms"}
    figure, axes = plt.subplots(2, 3, figsize=(10, 5.6), layout="constrained", sharex="row")
    for who, color in zip(BUDGETS, ("black", "#1f4e79", "#b5441f")):
        for line, (fixed, other, name) in enumerate(((1, SAMPLES_D, "samples"), (0, FEATURES_N, "features"))):
            chosen = sorted((k[1 - fixed], by[who]) for k, by in table.items() if k[fixed] == other and who in by)
            for axis, (title, key) in zip(axes[line], panels.items()):
                axis.loglog([x for x, _ in chosen], [r[key] for _, r in chosen], "o-", color=color, label=who)
                axis.set(xlabel=name, title=title if line == 0 else None)
                axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(arguments):
    """Run the missing cells."""
    sizes = [(n, SAMPLES_D) for n in SAMPLES] + [(FEATURES_N, d) for d in FEATURES if d != SAMPLES_D]
    if arguments.quick:
        sizes = [(n, SAMPLES_D) for n in SAMPLES[:2]] + [(FEATURES_N, FEATURES[0])]
    done = {(r["who"], r["budget"], r["n"], r["d"]) for r in cells.read(arguments.out)}
    todo = [(who, b, n, d) for n, d in sizes for who, budgets in BUDGETS.items() for b in budgets]
    cells.run_all("benchmarks.scaling", [c for c in todo if c not in done], arguments.out, arguments.jobs)


def main():
    parser, p, of_report = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--quick", action="store_true", help="the two smallest of each, to see that it runs")
    of_report.add_argument("--figure", default="")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
