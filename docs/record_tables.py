"""The benchmark tables of the site, made from the records in benchmarks/results when it is built."""

import contextlib
import io
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def printed(function, *arguments):
    """What a report prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function(*arguments)
    return out.getvalue()


def to_rst(markdown):
    """reStructuredText of pipe tables and plain lines between them."""
    out, table = [], []

    def close():
        if table:
            head, _, *rows = table
            out.extend(["", ".. list-table::", "   :header-rows: 1", "   :class: records", ""])
            for row in (head, *rows):
                cells = [c.strip() for c in row.strip().strip("|").split("|")]
                out.extend(f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(cells))
            out.append("")
            table.clear()

    for line in markdown.splitlines():
        if line.startswith("|"):
            table.append(line)
        else:
            close()
            out.append(line)
    close()
    return "\n".join(out) + "\n"


def kept_runs(experiment):
    """Runs of an experiment of benchmarks.theory: (arguments, value) of each."""
    from benchmarks import cells

    return [
        (r["name"][1:], r["value"]) for r in cells.read(RESULTS / "theory_runs.jsonl") if r["name"][0] == experiment
    ]


def draw_excess(path):
    """Excess nats over the truth by the number of samples, in several dimensions, and without the reference."""
    from matplotlib import pyplot as plt

    from skdiffusion.theory.gaussian import detection_size

    groups = defaultdict(list)
    for (target, d, n, _), value in kept_runs("few directions"):
        groups[target, d, n].append(value["excess"])
    targets = sorted({target for target, *_ in groups}, reverse=True)
    figure, axes = plt.subplots(1, len(targets), figsize=(4.6 * len(targets), 3.6), layout="constrained", squeeze=False)
    for axis, target in zip(axes[0], targets):
        for d, color in zip((2, 8, 32, 64), ("#1f4e79", "#3d8f6b", "#c98a1b", "#b5441f")):
            points = sorted((n, v) for (t, k, n), v in groups.items() if (t, k) == (target, d))
            if points:
                means, errors = ([f(v) for _, v in points] for f in (np.mean, lambda v: np.std(v) / np.sqrt(len(v))))
                sizes = [n for n, _ in points]
                axis.errorbar(sizes, means, errors, fmt="o-", color=color, capsize=3, label=f"{d} features")
        if target == "ridge":
            axis.axhline(0.189, color="0.5", linestyle=":", label="the Gaussian")
            axis.axvline(
                detection_size(64, -2 * 0.9**4), color="#b5441f", linestyle=":", label="detection, 64 features"
            )
        axis.set(xscale="log", yscale="log", xlabel="samples", title=target)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    axes[0, 0].set_ylabel("excess nats over the truth")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_set_before_density(path):
    """Distance of coarse samples to the set, and total variation of their density, over the number of samples."""
    from matplotlib import pyplot as plt

    groups = defaultdict(list)
    for (name, n_features, density, n, _), value in kept_runs("coarse"):
        groups[name, n_features, density, n].append((value["far"], value["tv"]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, color in (("sphere", "#1f4e79"), ("capsule", "#b5441f")):
        for n_features, width in ((3, 1.0), (16, 2.2)):
            for density, style in (("uniform", "-"), ("kinked", "--")):
                sizes = sorted(n for *case, n in groups if case == [name, n_features, density])
                far, tv = np.array([np.mean(groups[name, n_features, density, n], axis=0) for n in sizes]).T
                for axis, values in ((left, far), (right, tv)):
                    label = f"{name}, {density}, {n_features} features"
                    axis.plot(sizes, values, style, color=color, linewidth=width, label=label)
    left.set(xscale="log", yscale="log", xlabel="samples", title="distance to the set (99 % of samples)")
    right.set(xscale="log", yscale="log", xlabel="samples", title="total variation of the density", ylim=(0.01, 1))
    left.legend(frameon=False, fontsize=7)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_rates(path):
    """Total variation over the number of samples for four smoothnesses: ours, the oracle kernel, the rate."""
    from matplotlib import pyplot as plt

    from skdiffusion.theory.besov import rate_tv

    groups = defaultdict(list)
    for (s, n, _), value in kept_runs("line"):
        groups[s, n].append((value["tv"], value["kernel"]))
    levels = sorted({s for s, _ in groups})
    figure, axes = plt.subplots(1, len(levels), figsize=(11, 3.4), layout="constrained", sharey=True)
    for axis, s in zip(axes, levels):
        n = np.array(sorted(n for level, n in groups if level == s))
        tv, kernel = np.array([np.mean(groups[s, m], axis=0) for m in n]).T
        spread = np.array([np.std([v for v, _ in groups[s, m]]) / np.sqrt(len(groups[s, m])) for m in n])
        axis.errorbar(n, tv, spread, fmt="o-", color="#1f4e79", capsize=2, label="diffusion")
        axis.plot(n, kernel, "s--", color="#b5441f", markersize=4, label="kernel, best bandwidth")
        rate = np.array([rate_tv(m, s, 1) for m in n])
        axis.plot(n, rate * tv[0] / rate[0], ":", color="0.4", label="rate of the theory")
        axis.set(xscale="log", yscale="log", xlabel="samples", title=f"smoothness {s:g}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("total variation")
    axes[0].set_yticks([0.01, 0.02, 0.04, 0.06], ["0.01", "0.02", "0.04", "0.06"])
    axes[0].yaxis.set_minor_formatter("")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write(folder):
    """Write one include file for each record."""
    sys.path.insert(0, str(ROOT))
    import matplotlib

    matplotlib.use("Agg")
    from benchmarks import (
        ablation,
        compare,
        conditional,
        dimensions,
        distillation,
        evaluations,
        few_samples,
        gaps,
        imputation,
        libraries,
        manifolds,
        mixed,
        one_column,
        regression,
        samples,
        scaling,
        stages,
    )
    from benchmarks.theory import __main__ as theory

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "theory.rst").write_text(to_rst(printed(theory.report, RESULTS / "theory.jsonl")))
    (folder / "evaluations.rst").write_text(to_rst(printed(evaluations.report, [RESULTS / "evaluations.jsonl"])))
    (folder / "distillation.rst").write_text(to_rst(printed(distillation.report, [RESULTS / "distillation.jsonl"])))
    lists = {
        "samples": samples, "gaps": gaps, "imputation": imputation, "conditional": conditional, "mixed": mixed,
        "regression": regression,
    }  # fmt: skip
    for name, report in lists.items():
        (folder / f"{name}.rst").write_text(to_rst(printed(report.report, [RESULTS / f"{name}.jsonl"])))
    by_stage = printed(stages.report, [RESULTS / "stages.jsonl"], str(folder / "stages.png"))
    (folder / "stages.rst").write_text(to_rst(by_stage))
    for name in ("ablation", "ablation_plane", "libraries"):
        (folder / f"{name}.rst").write_text(to_rst(printed(ablation.report, [RESULTS / f"{name}.jsonl"])))
    (folder / "few_samples.rst").write_text(to_rst(printed(few_samples.report, [RESULTS / "few_samples.jsonl"])))
    torch_table = printed(libraries.report, [RESULTS / "libraries_torch.jsonl"])
    (folder / "libraries_torch.rst").write_text(to_rst(torch_table))
    (folder / "manifolds.rst").write_text(to_rst(printed(manifolds.report, RESULTS / "manifolds.jsonl")))
    (folder / "one_column.rst").write_text(to_rst(printed(one_column.report, [RESULTS / "one_column.jsonl"])))
    (folder / "dimensions.rst").write_text(to_rst(printed(dimensions.report, RESULTS / "dimensions.jsonl")))
    (folder / "floors.rst").write_text(to_rst((RESULTS / "floors.txt").read_text()))
    growth = printed(scaling.report, [RESULTS / "scaling.jsonl"], str(folder / "scaling.png"))
    (folder / "scaling.rst").write_text(to_rst(growth))
    (folder / "cost.rst").write_text(to_rst(printed(scaling.report_formulas, [RESULTS / "scaling.jsonl"])))
    draw_excess(folder / "excess.png")
    draw_set_before_density(folder / "coarse.png")
    draw_rates(folder / "rates.png")
    for n in (200, 500, 2000, 10000):
        path = RESULTS / f"n{n}.jsonl"
        table = printed(compare.report, [path], True, str(folder / f"n{n}.png"))
        (folder / f"n{n}.rst").write_text(to_rst(table))


def setup(app):
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "records"))
    return {"parallel_read_safe": True}
