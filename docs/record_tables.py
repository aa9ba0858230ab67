"""The benchmark tables of the site, made from the records in benchmarks/results when it is built."""

import contextlib
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

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


def draw_excess(path):
    """Excess nats of a ridge target by dimension, from the record of benchmarks.theory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from benchmarks import cells

    (measured,) = [r["measured"] for r in cells.read(RESULTS / "theory.jsonl") if r["claim"].startswith("excess nats")]
    d, mean, error = zip(*[map(float, m) for m in re.findall(r"d=(\d+): ([\d.]+) \(([\d.]+)\)", measured)])
    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    axis.errorbar(d, mean, error, fmt="o-", color="#1f4e79", capsize=3)
    axis.set(xscale="log", xlabel="columns", ylabel="excess nats over the truth", ylim=(0, None))
    axis.set_xticks(d, [f"{k:.0f}" for k in d])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write(folder):
    """Write one include file for each record."""
    sys.path.insert(0, str(ROOT))
    from benchmarks import compare, evaluations, theory

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "theory.rst").write_text(to_rst(printed(theory.report, RESULTS / "theory.jsonl")))
    (folder / "evaluations.rst").write_text(to_rst(printed(evaluations.report, [RESULTS / "evaluations.jsonl"])))
    (folder / "floors.rst").write_text(to_rst((RESULTS / "floors.txt").read_text()))
    draw_excess(folder / "excess.png")
    for n in (2000, 10000):
        path = RESULTS / f"n{n}.jsonl"
        options = SimpleNamespace(files=[path], brief=True, figure=str(folder / f"n{n}.png"))
        (folder / f"n{n}.rst").write_text(to_rst(printed(compare.report, options)))


def setup(app):
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "records"))
    return {"parallel_read_safe": True}
