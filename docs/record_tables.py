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
    """Excess nats over the truth by dimension, with and without the Gaussian reference."""
    from matplotlib import pyplot as plt

    groups = defaultdict(list)
    for (target, kind, d, _, decay, _), value in kept_runs("excess"):
        groups[target, (kind, decay), d].append(value)
    figure, axis = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
    for kind, color, text in (
        (("noise", 1e-4), "#b5441f", "noise, no reference"),
        (("v", 1e-4), "#1f4e79", "relative to the Gaussian"),
        (("v", 1.0), "#3d8f6b", "the same, weight decay 1"),
    ):
        for target, style in (("ridge", "o-"), ("mixture", "s--")):
            points = sorted((d, v) for (t, k, d), v in groups.items() if (t, k) == (target, kind))
            means, errors = [np.mean(v) for _, v in points], [np.std(v, ddof=1) / np.sqrt(len(v)) for _, v in points]
            dimensions = [d for d, _ in points]
            axis.errorbar(dimensions, means, errors, fmt=style, color=color, capsize=3, label=f"{target}, {text}")
    axis.set(xscale="log", yscale="log", xlabel="features", ylabel="excess nats over the truth")
    axis.set_xticks([2, 8, 32, 64], [2, 8, 32, 64])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=8)
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
        samples,
        scaling,
        stages,
    )
    from benchmarks.theory import __main__ as theory

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "theory.rst").write_text(to_rst(printed(theory.report, RESULTS / "theory.jsonl")))
    (folder / "evaluations.rst").write_text(to_rst(printed(evaluations.report, [RESULTS / "evaluations.jsonl"])))
    (folder / "distillation.rst").write_text(to_rst(printed(distillation.report, [RESULTS / "distillation.jsonl"])))
    by_record = {"samples": samples, "gaps": gaps, "imputation": imputation, "conditional": conditional, "mixed": mixed}
    for name, module in by_record.items():
        (folder / f"{name}.rst").write_text(to_rst(printed(module.report, [RESULTS / f"{name}.jsonl"])))
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
    draw_excess(folder / "excess.png")
    draw_rates(folder / "rates.png")
    for n in (200, 500, 2000, 10000):
        path = RESULTS / f"n{n}.jsonl"
        table = printed(compare.report, [path], True, str(folder / f"n{n}.png"))
        (folder / f"n{n}.rst").write_text(to_rst(table))


def setup(app):
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "records"))
    return {"parallel_read_safe": True}
