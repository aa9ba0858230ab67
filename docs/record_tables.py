"""The benchmark tables and figures of the site, made from the records in benchmarks/results when it is built."""

import contextlib
import io
import sys
from pathlib import Path

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


def write(folder):
    """Write one include file for each record."""
    sys.path.insert(0, str(ROOT))
    import matplotlib

    matplotlib.use("Agg")
    import record_figures

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
        versions,
    )
    from benchmarks.theory import __main__ as theory

    folder.mkdir(parents=True, exist_ok=True)
    record_figures.use_style()
    (folder / "theory.rst").write_text(to_rst(printed(theory.report, RESULTS / "theory.jsonl")))
    (folder / "evaluations.rst").write_text(to_rst(printed(evaluations.report, [RESULTS / "evaluations.jsonl"])))
    (folder / "distillation.rst").write_text(to_rst(printed(distillation.report, [RESULTS / "distillation.jsonl"])))
    lists = {
        "samples": samples, "gaps": gaps, "imputation": imputation, "conditional": conditional, "mixed": mixed,
        "regression": regression, "versions": versions,
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
    for name in ("floors", "care_bounds", "care_streams", "care_latency", "out_of_core"):
        (folder / f"{name}.rst").write_text(to_rst((RESULTS / f"{name}.txt").read_text()))
    growth = printed(scaling.report, [RESULTS / "scaling.jsonl"], str(folder / "scaling.png"))
    (folder / "scaling.rst").write_text(to_rst(growth))
    (folder / "cost.rst").write_text(to_rst(printed(scaling.report_formulas, [RESULTS / "scaling.jsonl"])))
    record_figures.draw_all(folder)
    for n in (200, 500, 2000, 10000):
        path = RESULTS / f"n{n}.jsonl"
        table = printed(compare.report, [path], True, str(folder / f"n{n}.png"))
        (folder / f"n{n}.rst").write_text(to_rst(table))


def setup(app):
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "records"))
    return {"parallel_read_safe": True}
