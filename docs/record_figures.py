"""The figures of the site that are drawn from the records in benchmarks/results, and the style of all its pictures."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


def use_style(*_):
    """One style for all pictures; sphinx-gallery calls it before each example."""
    plt.style.use(Path(__file__).parent / "style.mplstyle")


def save(figure, path):
    """Write a figure and forget it."""
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_leads(samples, path):
    """Our lead in held-out nats over the best of the other estimators, one line for each set."""
    ordered = sorted(samples, key=lambda r: r["gap"])
    places = np.arange(len(ordered))
    figure, axis = plt.subplots(figsize=(9, 5.6), layout="constrained")
    for known, color, label in ((True, "C0", "made densities"), (False, "C1", "public tables")):
        at = [k for k, r in enumerate(ordered) if ("truth" in r) == known]
        gaps, errors = ([ordered[k][key] for k in at] for key in ("gap", "gap_se"))
        axis.errorbar(gaps, places[at], xerr=errors, fmt="o", color=color, markersize=5, label=label)
    axis.axvline(0, color="0.5", linewidth=0.8)
    axis.set_xscale("symlog", linthresh=0.05, linscale=0.8)
    axis.set_xticks([0, 0.05, 0.2, 1, 5], ["0", "0.05", "0.2", "1", "5"])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.set_yticks(places, [f"{r['dataset']} ({r['d']:.0f})" for r in ordered], fontsize=8)
    axis.set(xlabel="lead in mean log-density over the best of the others (nats)", xlim=(-0.03, 15))
    axis.set_ylim(-0.7, len(ordered) - 0.3)
    for k, r in enumerate(ordered):
        axis.text(1.01, k, r["peer"], transform=axis.get_yaxis_transform(), fontsize=8, va="center", color="0.4")
    axis.legend(loc="lower right")
    save(figure, path)


def draw_two_samples(samples, path):
    """How often a classifier distinguishes generated from held-out samples: a dot for each set, and the mean."""
    from benchmarks.compare import OURS, PEERS

    figure, axis = plt.subplots(figsize=(9, 3.8), layout="constrained")
    for place, who in enumerate([OURS, *PEERS]):
        each = [(r if who == OURS else r["peers"].get(who), r["d"]) for r in samples]
        accuracy = np.array([r["c2st"] for r, _ in each if r])
        jitter = np.linspace(-0.2, 0.2, len(accuracy))
        color = "black" if who == OURS else "C0"
        axis.scatter(accuracy, place + jitter, s=10, color=color, alpha=0.5, linewidths=0)
        axis.plot([accuracy.mean()] * 2, [place - 0.35, place + 0.35], color=color, linewidth=2.5)
    axis.axvline(0.5, color="0.5", linewidth=0.8, linestyle=":")
    axis.set_yticks(range(1 + len(PEERS)), [OURS, *PEERS])
    axis.invert_yaxis()
    axis.set(xlabel="accuracy of boosted trees that tell generated from held-out samples (0.5 is chance)")
    save(figure, path)


def draw_weights(samples, path):
    """Weights of the components of our blend, one bar for each set."""
    families = ("diffusion", "mixture", "regression", "kernel", "student", "steps")
    colors = ("C0", "C2", "C1", "C3", "C4", "black")
    ordered = sorted(samples, key=lambda r: r["d"], reverse=True)
    left, places = np.zeros(len(ordered)), np.arange(len(ordered))
    figure, axis = plt.subplots(figsize=(9, 5.6), layout="constrained")
    for family, color in zip(families, colors):
        share = np.array([sum(w for name, w in r["weights"].items() if name.endswith(family)) for r in ordered])
        axis.barh(places, share, left=left, color=color, label=family, edgecolor="white", linewidth=0.5)
        left += share
    axis.set_yticks(places, [f"{r['dataset']} ({r['d']:.0f})" for r in ordered], fontsize=8)
    axis.set(xlabel="weight in the blend", xlim=(0, 1))
    axis.margins(y=0.01)
    figure.legend(loc="outside upper center", ncols=len(families))
    save(figure, path)


def draw_ablation(path):
    """Change of held-out nats when one default is changed: a line for each choice, a column for each set."""
    from benchmarks import ablation, cells

    every = cells.read(RESULTS / "ablation.jsonl")
    sizes = sorted({r["n"] for r in every})
    changes = [ablation.changes([r for r in every if r["n"] == n]) for n in sizes]
    heights = [len(by) for by, _ in changes]
    figure, axes = plt.subplots(
        len(sizes), 1, figsize=(9, 2.4 + 0.27 * sum(heights)), layout="constrained", height_ratios=heights
    )
    for axis, n, (by, names) in zip(axes, sizes, changes):
        values = np.array([[by[v].get(name, (np.nan,) * 3)[0] for name in names] for v in by])
        shown = np.sign(values) * np.log1p(np.abs(values) / 0.01)  # small changes are seen, large ones fit
        axis.imshow(shown, cmap="PuOr", vmin=-5, vmax=5, aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            text = "" if np.isnan(value) else f"{value:+.2f}" if abs(value) >= 0.005 else "0"
            axis.text(j, i, text, ha="center", va="center", fontsize=7, color="w" if abs(shown[i, j]) > 3.5 else "k")
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
        axis.set_yticks(range(len(by)), by, fontsize=8)
        axis.set_title(f"{n} samples: change of the mean log-density (nats)")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    save(figure, path)


def kept_runs(experiment):
    """Runs of an experiment of benchmarks.theory: (arguments, value) of each."""
    from benchmarks import cells

    return [
        (r["name"][1:], r["value"]) for r in cells.read(RESULTS / "theory_runs.jsonl") if r["name"][0] == experiment
    ]


def draw_excess(path):
    """Excess nats over the truth by the number of samples, in several dimensions, and without the reference."""
    from skdiffusion.theory.gaussian import detection_size

    groups = defaultdict(list)
    for (target, d, n, _), value in kept_runs("few directions"):
        groups[target, d, n].append(value["excess"])
    targets = sorted({target for target, *_ in groups}, reverse=True)
    figure, axes = plt.subplots(1, len(targets), figsize=(9, 3.8), layout="constrained", squeeze=False)
    for axis, target in zip(axes[0], targets):
        for d, color in zip((2, 8, 32, 64), ("C0", "C2", "C3", "C1")):
            points = sorted((n, v) for (t, k, n), v in groups.items() if (t, k) == (target, d))
            if points:
                means, errors = ([f(v) for _, v in points] for f in (np.mean, lambda v: np.std(v) / np.sqrt(len(v))))
                sizes = [n for n, _ in points]
                axis.errorbar(sizes, means, errors, fmt="o-", color=color, capsize=3, label=f"{d} features")
        if target == "ridge":
            axis.axhline(0.189, color="0.5", linestyle=":", label="the Gaussian")
            axis.axvline(
                detection_size(64, -2 * 0.9**4), color="C1", linestyle=":", label="in the spectrum, 64 features"
            )
        axis.set(xscale="log", yscale="log", xlabel="samples", title=target)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    axes[0, 0].set_ylabel("excess nats over the truth")
    save(figure, path)


def draw_set_before_density(path):
    """Distance of coarse samples to the set, and total variation of their density, over the number of samples."""
    groups = defaultdict(list)
    for (name, n_features, density, n, _), value in kept_runs("coarse"):
        groups[name, n_features, density, n].append((value["far"], value["tv"]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for name, color in (("sphere", "C0"), ("capsule", "C1")):
        for n_features, width in ((3, 1.0), (16, 2.2)):
            for density, style in (("uniform", "-"), ("kinked", "--")):
                sizes = sorted(n for *case, n in groups if case == [name, n_features, density])
                far, tv = np.array([np.mean(groups[name, n_features, density, n], axis=0) for n in sizes]).T
                for axis, values in ((left, far), (right, tv)):
                    label = f"{name}, {density}, {n_features} features"
                    axis.plot(sizes, values, style, color=color, linewidth=width, label=label)
    left.set(xscale="log", yscale="log", xlabel="samples", ylabel="distance to the set (99 % of samples)")
    right.set(xscale="log", yscale="log", xlabel="samples", ylabel="total variation of the density", ylim=(0.02, 0.2))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(figure, path)


def draw_rates(path):
    """Total variation over the number of samples for four smoothnesses: ours, the oracle kernel, the rate."""
    from skdiffusion.theory.besov import rate_tv

    groups = defaultdict(list)
    for (s, n, _), value in kept_runs("line"):
        groups[s, n].append((value["tv"], value["kernel"]))
    levels = sorted({s for s, _ in groups})
    figure, axes = plt.subplots(1, len(levels), figsize=(10, 3.4), layout="constrained", sharey=True)
    for axis, s in zip(axes, levels):
        n = np.array(sorted(n for level, n in groups if level == s))
        tv, kernel = np.array([np.mean(groups[s, m], axis=0) for m in n]).T
        spread = np.array([np.std([v for v, _ in groups[s, m]]) / np.sqrt(len(groups[s, m])) for m in n])
        axis.errorbar(n, tv, spread, fmt="o-", color="C0", capsize=2, label="diffusion")
        axis.plot(n, kernel, "s--", color="C1", markersize=4, label="kernel, best bandwidth")
        rate = np.array([rate_tv(m, s, 1) for m in n])
        axis.plot(n, rate * tv[0] / rate[0], ":", color="0.4", label="rate of the theory")
        axis.set(xscale="log", yscale="log", xlabel="samples", title=f"smoothness {s:g}")
    axes[0].set_ylabel("total variation")
    axes[0].set_yticks([0.01, 0.02, 0.04, 0.06], ["0.01", "0.02", "0.04", "0.06"])
    axes[0].yaxis.set_minor_formatter("")
    axes[0].legend()
    save(figure, path)


def draw_few_samples(path):
    """Held-out nats that two layers of 64 units gain over two of 32, a point for each table and number of samples."""
    from benchmarks import cells, few_samples

    gains = defaultdict(list)
    for record in few_samples.merged(cells.read(RESULTS / "few_samples.jsonl")).values():
        if {32, 64} <= set(record["by_width"]):
            wide, narrow = (record["by_width"][width] for width in (64, 32))
            gains[record["n_train"], record["dataset"]].append([wide[k] - narrow[k] for k in ("diffusion", "blend")])
    n_samples = np.array([n for n, _ in gains])
    means = np.array([np.mean(splits, axis=0) for splits in gains.values()])
    figure, axis = plt.subplots(figsize=(9, 3.8), layout="constrained")
    for k, (label, color) in enumerate((("the diffusion alone", "C1"), ("the blend", "C0"))):
        axis.scatter(n_samples * (0.99 + 0.02 * k), means[:, k], color=color, s=28, alpha=0.8, label=label)
    axis.axhline(0, color="0.5", linewidth=0.8)
    axis.axvline(150, color="0.5", linewidth=0.8, linestyle=":")  # where the default changes
    axis.set_xscale("log")
    axis.set_xticks([80, 150, 250, 400, 800], ["80", "150", "250", "400", "800"])
    axis.xaxis.set_minor_locator(plt.NullLocator())
    axis.set_yscale("symlog", linthresh=0.05)
    axis.set_yticks([-0.2, -0.05, 0, 0.05, 0.2, 1], ["-0.2", "-0.05", "0", "0.05", "0.2", "1"])
    axis.yaxis.set_minor_locator(plt.NullLocator())
    axis.set(xlabel="training samples", ylabel="gain of 64 over 32 units (nats)", ylim=(-0.4, 4))
    axis.legend()
    save(figure, path)


def draw_all(folder):
    """Draw every figure of this module."""
    from benchmarks import cells, compare

    samples = compare.summary(cells.read(RESULTS / "n2000.jsonl"))
    draw_leads(samples, folder / "leads.png")
    draw_two_samples(samples, folder / "two_samples.png")
    draw_weights(samples, folder / "weights.png")
    draw_ablation(folder / "ablation.png")
    draw_excess(folder / "excess.png")
    draw_set_before_density(folder / "coarse.png")
    draw_rates(folder / "rates.png")
    draw_few_samples(folder / "few_samples.png")
