"""What each default is worth: the default against variants of one choice, in held-out nats and seconds.

    python -m benchmarks.ablation run --out benchmarks/results/ablation.jsonl [--data FOLDER] [--seeds 3] [--n 10000]
    python -m benchmarks.ablation run --out benchmarks/results/ablation_plane.jsonl --plane [--n 10000 --seeds 1]
    python -m benchmarks.ablation report benchmarks/results/ablation.jsonl

Each cell (data set, seed, variant) is a process of its own with one thread; cells in the file are skipped.
"""

import importlib
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np

from benchmarks import cells, targets


def _falling_from_the_start(**fields):
    """A training plan whose learning rate falls from the start."""
    from skdiffusion.diffusion.training import TrainingPlan

    return TrainingPlan(**fields, decay_fraction=1.0)


# Variant -> (constructor parameters, fields of Settings as functions of the default's, attributes of modules).
VARIANTS = {
    "default": ({}, {}, {}),
    "no kernel companion": ({"stacking": "mixture"}, {}, {}),
    "kernels of one width": ({}, {}, {"densities._components.spacing_of": lambda samples, weights: None}),
    "companions judged alone": (
        {},
        {},
        {f"densities.{module}.best_blend": lambda density, others, weights: density for module in ("_em", "_kernel")},
    ),
    "no weak priors of mixtures": ({}, {}, {"densities._em.WEAK": 0.5, "densities._em.WEAKEST": 0.5}),
    "at most 64 components": ({}, {}, {"densities._em.STEP_COST": 0.0}),
    "no regression companion": ({}, {}, {"densities._components._fit_regressions": lambda *args: []}),
    "one order of the regressions": ({}, {}, {"densities._components.N_ORDERS": 1}),
    "one end of EM": ({}, {}, {"densities._components.MAX_ENDS": 1}),
    "more ends and orders always": (
        {},
        {},
        {"densities._components.MIN_BETTER": 0.0, "densities._components.MAX_STEP": np.inf},
    ),
    "kernel and regressions always": ({}, {}, {"densities._components.MIN_TOTAL_GAIN": 0.0}),
    "no marginal map": ({"feature_transform": None}, {}, {}),
    "noise in whitened rows": ({}, {}, {"preprocessing._whitening.CORRELATED": np.inf}),
    "one member": ({"n_estimators": 1}, {}, {}),
    "hardly any weight decay": ({"weight_decay": 1e-4}, {}, {}),
    "half the width": ({}, {"hidden_layer_sizes": lambda s: tuple(w // 2 for w in s.hidden_layer_sizes)}, {}),
    "a third wider": ({}, {"hidden_layer_sizes": lambda s: tuple(w * 4 // 3 for w in s.hidden_layer_sizes)}, {}),
    "plain targets": ({}, {"n_references": lambda s: 0}, {}),
    "512 references": ({}, {"n_references": lambda s: min(s.n_references, 512)}, {}),
    "two hidden layers": ({}, {"hidden_layer_sizes": lambda s: (96, 96)}, {}),
    "two members": ({}, {"n_members": lambda s: 2}, {}),
    "half the steps": ({}, {"n_steps": lambda s: s.n_steps // 2}, {}),
    "rate falls from the start": ({}, {}, {"diffusion.settings.TrainingPlan": _falling_from_the_start}),
    "no fine-tuning": ({"fine_tune": False}, {}, {}),
}
# Fine-tuning starts at 5000 samples of three features.
OF_MANY_SAMPLES = ("default", "one end of EM", "no fine-tuning", "half the steps", "a third wider")
DATASETS = ("checkerboard", "moons", "funnel5", "warped8", "gmm_mix_d32", "breast_cancer", "diabetes")
TABLES = ("kin8nm", "miniboone1500", "power_plant", "concrete", "wine_red")
PLANE = ("ring8", "grid25", "checkerboard", "moons", "pinwheel", "rings", "banana")
# Elsewhere these are the default, or would be another choice.
OF_THE_PLANE = ("default", "512 references", "two hidden layers", "two members")
LARGE_DATASETS = ("funnel5", "tcopula5", "warped8", "gmm_sep_d8", "warped16", "gmm_mix_d32")
LARGE_TABLES = ("kin8nm", "magic", "power_plant")


def run_cell(name, seed, variant, n, data):
    """Held-out nats and seconds of one variant."""
    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion.diffusion import settings as _settings

    X, test, _ = targets.load(name, n, seed, data)
    given, fields, attributes = VARIANTS[variant]
    original = _settings.default_settings

    def changed(n, d):
        settings = original(n, d)
        return replace(settings, **{field: value(settings) for field, value in fields.items()})

    _settings.default_settings = changed
    for path, value in attributes.items():
        module, _, attribute = path.rpartition(".")
        module = importlib.import_module(f"skdiffusion.{module}")
        getattr(module, attribute)  # one that is gone would change nothing
        setattr(module, attribute, value)
    start = time.process_time()
    model = DiffusionDensityEstimator(random_state=seed, **given).fit(X)
    seconds = time.process_time() - start
    diffusion = model.blend_.densities["diffusion"].log_prob(test[:2000])
    nats = float(np.maximum(model.score_samples(test[:2000]), -1e4).mean())
    reference = model.score_model().field.reference
    return {
        "dataset": name, "seed": seed, "variant": variant, "n": n, "nats": nats, "fit_s": seconds,
        "diffusion": float(np.maximum(diffusion, -1e4).mean()),
        "noise": "whitened rows" if reference is None else "columns, departure" if reference.relative else "columns",
    }  # fmt: skip


def report(files):
    """Mean change against the default over the data sets, each the mean of its seeds."""
    records = cells.read(*files)
    print("Change of held-out nats against the default (positive is better); in brackets the diffusion member alone.")
    for n in sorted({r["n"] for r in records}):
        print(f"\nn = {n}, or 70 % of a smaller table:\n")
        report_of([r for r in records if r["n"] == n])


def report_of(records):
    """The table of one number of samples."""
    table = defaultdict(list)
    for r in records:
        table[r["variant"], r["dataset"]].append(r)
    names = sorted({name for _, name in table})
    print("| variant | " + " | ".join(names) + " | median | seconds, ratio |\n" + "|---" * (len(names) + 3) + "|")
    for variant in VARIANTS:
        gaps, ratios, line = [], [], []
        for name in names:
            ours, base = table.get((variant, name), []), table["default", name]
            pairs = [(a, b) for a in ours for b in base if a["seed"] == b["seed"]]
            if not pairs:
                line.append("")
                continue
            gaps.append(np.mean([a["nats"] - b["nats"] for a, b in pairs]))
            alone = np.mean([a["diffusion"] - b["diffusion"] for a, b in pairs])
            ratios.append(np.mean([a["fit_s"] / b["fit_s"] for a, b in pairs]))
            line.append(f"{gaps[-1]:+.3f} ({alone:+.3f})")
        if gaps:
            print(f"| {variant} | " + " | ".join(line) + f" | {np.median(gaps):+.3f} | {np.median(ratios):.2f} |")


def run(arguments):
    """Run the missing cells."""
    n, many = arguments.n, arguments.n >= 5000
    done = {(r["dataset"], r["seed"], r["variant"], r["n"]) for r in cells.read(arguments.out)}
    names = PLANE if arguments.plane else LARGE_DATASETS if many else DATASETS
    if arguments.data and not arguments.plane:
        names += LARGE_TABLES if many else TABLES
    elsewhere = [v for v in VARIANTS if v not in ("no fine-tuning", *OF_THE_PLANE[1:])]
    variants = OF_THE_PLANE if arguments.plane else OF_MANY_SAMPLES if many else elsewhere
    if arguments.variants:
        variants = ["default", *arguments.variants.split(",")]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    todo = [(name, seed, variant, n, arguments.data) for seed in seeds for name in names for variant in variants]
    cells.run_all("benchmarks.ablation", [c for c in todo if c[:4] not in done], arguments.out, arguments.jobs)


def main():
    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--data", default=None)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--first-seed", type=int, default=0)
    p.add_argument("--n", type=int, default=2000)
    p.add_argument("--plane", action="store_true", help="sets of two columns, and what is chosen for these")
    p.add_argument("--variants", default="", help="all by default; the default itself is always among them")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
