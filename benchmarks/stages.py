"""How the CPU seconds of a default fit divide by stage, for sets of several sizes, on one thread.

    python -m benchmarks.stages run --out stages.jsonl [--data FOLDER] [--n 200,2000,10000] [--datasets NAMES]
    python -m benchmarks.stages report stages.jsonl [--figure FILE.png]

Each cell (data set, n) is a process of its own, which calls the stages of a fit one after another.
"""

import time
import warnings

import numpy as np

from benchmarks import cells, targets

DATASETS = ("checkerboard", "funnel5", "warped8", "gmm_sep_d8", "breast_cancer")
TABLES = ("power_plant", "magic")
STAGES = ("transforms", "mixture", "student", "regression", "steps", "kernel", "training", "fine-tuning", "blend")


class Stopwatch:
    """CPU seconds by stage; as the progress of a diffusion fit it hears when fine-tuning begins."""

    stopped = False

    def __init__(self):
        self.seconds, self.last = dict.fromkeys(STAGES, 0.0), time.process_time()

    def note(self, stage):
        """Count the time since the last note for this stage."""
        now = time.process_time()
        self.seconds[stage] += now - self.last
        self.last = now

    def __call__(self, step, n_steps, loss, validation_loss):
        """Let training go on."""

    def fine_tuning(self, done):
        """Training is over."""
        self.note("training")


class Fitted:
    """Components that are fitted already, in the place of those that go on beside the training."""

    def __init__(self, components):
        self.all = lambda: components


def run_cell(name, n, data):
    """CPU seconds of the stages of one fit."""
    import torch

    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion._utils.parallel import workers
    from skdiffusion.densities.components import COMPONENTS, ComponentFit
    from skdiffusion.estimators import _stages
    from skdiffusion.preprocessing import TrainingData

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, _, _ = targets.load(name, n, 0, data)
    est, watch = DiffusionDensityEstimator(random_state=0), Stopwatch()
    with workers(1):
        samples, bounds = est._check_samples(X, None, reset=True)
        table = TrainingData.of(samples, bounds, np.random.default_rng(0))
        plan = est._plan((table.n_effective, table.n_features), None)
        table = table.split(plan.diffusion.n_folds, plan.diffusion.network.n_members)
        preprocessors = _stages.candidate_preprocessors(table, plan)
        coordinates = _stages.choose_diffusion_coordinates(table, preprocessors, plan)
        watch.note("transforms")
        fit = ComponentFit(table, _stages.spaces_of(table, preprocessors), plan.components, table.rng.spawn(1)[0])
        for family, of_family in COMPONENTS.items():
            for part in of_family().parts(fit):
                fit.components += part(fit.with_own_stream())
            watch.note(family)
        closed_forms = Fitted(fit.components)
        diffusion = _stages.fit_flow(table, coordinates, closed_forms, plan, watch)
        watch.note("training" if diffusion.fine_tuning is None else "fine-tuning")
        _stages.stack(table, diffusion, closed_forms.all(), plan)
        watch.note("blend")
    return {"dataset": name, "n": n, "n_train": len(X), "d": X.shape[1], "seconds": watch.seconds}


def run(arguments):
    """Run the missing cells."""
    done = {(r["dataset"], r["n"]) for r in cells.read(arguments.out)}
    names = arguments.datasets.split(",") if arguments.datasets else DATASETS + TABLES * bool(arguments.data)
    sizes = [int(n) for n in arguments.n.split(",")]
    todo = [(name, n, arguments.data) for n in sizes for name in names if (name, n) not in done]
    cells.run_all("benchmarks.stages", todo, arguments.out, arguments.jobs)


def report(files, figure=""):
    """The table of shares of the whole fit in per cent, and the figure of seconds."""
    records = sorted(cells.read(*files), key=lambda r: (r["n"], r["d"], r["dataset"]))
    print(
        "| data | d | n | seconds | "
        + " | ".join(f"{s}, %" for s in STAGES)
        + " |\n"
        + "|---" * (len(STAGES) + 4)
        + "|"
    )
    for r in records:
        whole = sum(r["seconds"].values())
        shares = " | ".join(f"{100 * r['seconds'][s] / whole:.0f}" for s in STAGES)
        print(f"| {r['dataset']} | {r['d']} | {r['n_train']} | {whole:.1f} | {shares} |")
    if figure:
        draw_figure(records, figure)


def draw_figure(records, path):
    """One panel for each n: a bar of seconds for each set, divided by stage."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = sorted({r["n"] for r in records})
    colors = plt.get_cmap("cividis")(np.linspace(0, 1, len(STAGES)))
    figure, axes = plt.subplots(1, len(sizes), figsize=(3.4 * len(sizes), 3.4), squeeze=False, layout="constrained")
    for ax, n in zip(axes[0], sizes):
        here = [r for r in records if r["n"] == n][::-1]
        left, places = np.zeros(len(here)), np.arange(len(here))
        for k, stage in enumerate(STAGES):
            seconds = np.array([r["seconds"][stage] for r in here])
            ax.barh(places, seconds, left=left, color=colors[k], edgecolor="white", linewidth=0.5, label=stage)
            left += seconds
        ax.set_yticks(places, [r["dataset"] for r in here])
        ax.set(title=f"n = {n}", xlabel="CPU seconds")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=120)


def main():
    parser, of_run, of_report = cells.command_line(__doc__, run_cell, run, report)
    of_run.add_argument("--data", default=None)
    of_run.add_argument("--n", default="200,2000,10000")
    of_run.add_argument("--datasets", default="")
    of_report.add_argument("--figure", default="")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
