"""What each default is worth: the default against variants of one choice, in held-out nats and seconds.

    python -m benchmarks.ablation run --out benchmarks/results/ablation.jsonl [--data FOLDER] [--seeds 3] [--n 10000]
    python -m benchmarks.ablation run --out benchmarks/results/ablation_plane.jsonl --plane [--n 10000 --seeds 1]
    python -m benchmarks.ablation run --out benchmarks/results/libraries.jsonl --libraries --data FOLDER --n 1000
    python -m benchmarks.ablation report benchmarks/results/ablation.jsonl

Each cell (data set, seed, variant) is a process of its own with one thread; cells in the file are skipped.
"""

import time
from collections import defaultdict

import numpy as np

from benchmarks import cells, targets


def of_network(change):
    """An option for a table of n samples and d features, from its default ensemble."""
    from skdiffusion.diffusion.options import default_network

    return lambda n, d: change(default_network(n, d))


def of_training(change):
    """An option for a table of n samples and d features, from its default plan of training."""
    from skdiffusion.diffusion.options import default_training

    return lambda n, d: change(default_training(n, d)[0])


def twice_the_pilot_steps(n, d):
    """Steps of the short runs before training for a table of this shape."""
    from skdiffusion.diffusion.options import default_training

    return 2 * default_training(n, d)[1]


# Variant -> (parameters of the estimator, fields of Options); a function gives the value for (n_samples, n_features).
VARIANTS = {
    "default": ({}, {}),
    "no kernel component": ({"components": ["mixture", "student", "regression"]}, {}),
    "kernels of one width": ({}, {"adaptive_kernels": False}),
    "components chosen alone": ({}, {"score_beside_others": False}),
    "no weak priors of mixtures": ({}, {"weak_prior": 0.5, "weakest_prior": 0.5}),
    "at most 64 Gaussians": ({}, {"max_search_cost": 0.0}),
    "no regression component": ({"components": ["mixture", "student", "kernel"]}, {}),
    "one order of the regressions": ({}, {"max_regression_orders": 1}),
    "one run of EM": ({}, {"em_restarts": 1}),
    "all runs and orders that gain": ({}, {"min_run_gain": 0.0}),
    "EM restarts and orders always": ({}, {"min_improved_weight": 0.0, "max_restart_cost": np.inf}),
    "kernel and regressions always": ({}, {"min_total_gain": 0.0}),
    "no feature transform": ({"feature_transform": None}, {}),
    "noise in whitened coordinates": ({}, {"min_correlation_gain": np.inf}),
    "one member": ({"n_estimators": 1}, {}),
    "hardly any weight decay": ({}, {"weight_decay": 1e-4}),
    "half the width": (
        {"hidden_layer_sizes": of_network(lambda network: tuple(w // 2 for w in network.hidden_layer_sizes))},
        {},
    ),
    "a third wider": (
        {"hidden_layer_sizes": of_network(lambda network: tuple(w * 4 // 3 for w in network.hidden_layer_sizes))},
        {},
    ),
    "steps without corrections": ({}, {"solver": "ab4"}),
    "plain targets": ({}, {"n_target_samples": 0}),
    "512 target samples": ({}, {"n_target_samples": of_training(lambda plan: min(plan.n_target_samples, 512))}),
    "all target samples from the start": ({}, {"n_target_samples": of_training(lambda plan: plan.n_target_samples)}),
    "four members": ({"n_estimators": 4}, {}),
    "two hidden layers": ({"hidden_layer_sizes": (96, 96)}, {}),
    "two members": ({"n_estimators": 2}, {}),
    "half the steps": ({}, {"n_training_steps": of_training(lambda plan: plan.n_steps // 2)}),
    "rate falls from the start": ({}, {"decay_fraction": 1.0}),
    "no trial of the networks": ({}, {"min_trial_weight": 0.0}),
    "twice the patience": ({}, {"patience": of_training(lambda plan: 2 * plan.patience)}),
    "short runs of twice the steps": ({}, {"n_pilot_steps": twice_the_pilot_steps}),
    "no fine-tuning": ({}, {"fine_tune": False}),
    # scikit-learn in the place of a component of ours; its regressions are of one order of the features.
    "boosted trees as regression": ({"components": ["mixture", "student", "boosting", "kernel"]}, {}),
    "splines as regression": ({"components": ["mixture", "student", "splines", "kernel"]}, {}),
    "GaussianMixture as mixture": ({"components": ["gaussian_mixture", "student", "regression", "kernel"]}, {}),
}
LIBRARIES = ("boosted trees as regression", "splines as regression", "GaussianMixture as mixture")
# Fine-tuning starts at 5000 samples of three features.
OF_MANY_SAMPLES = (
    "default",
    "one run of EM",
    "no trial of the networks",
    "no fine-tuning",
    "half the steps",
    "a third wider",
)
DATASETS = ("checkerboard", "moons", "funnel5", "warped8", "gmm_mix_d32", "breast_cancer", "diabetes")
TABLES = ("kin8nm", "miniboone1500", "power_plant", "concrete", "wine_red")
PLANE = ("ring8", "grid25", "checkerboard", "moons", "pinwheel", "rings", "banana")
# Elsewhere these are the default, or would be another choice.
OF_THE_PLANE = (
    "default",
    "512 target samples",
    "all target samples from the start",
    "two hidden layers",
    "two members",
    "four members",
)
BESIDE_LIBRARIES = ("default", "one order of the regressions", *LIBRARIES)
LIBRARY_DATASETS = ("moons", "funnel5", "warped8", "breast_cancer", "diabetes")
LIBRARY_TABLES = ("kin8nm", "power_plant", "concrete", "wine_red")
LARGE_DATASETS = ("funnel5", "tcopula5", "warped8", "gmm_sep_d8", "warped16", "gmm_mix_d32")
LARGE_TABLES = ("kin8nm", "magic", "power_plant")


def arguments_of(variant, n, d):
    """Parameters of the estimator, and fields of Options, of a variant for a table of this shape."""
    return tuple({k: v(n, d) if callable(v) else v for k, v in given.items()} for given in VARIANTS[variant])


def run_cell(name, seed, variant, n, data):
    """Held-out nats and seconds of one variant."""
    from skdiffusion import DiffusionDensityEstimator, Options

    if variant in LIBRARIES:
        from benchmarks import library_components

        library_components.register()
    X, test, _ = targets.load(name, n, seed, data)
    parameters, fields = arguments_of(variant, *X.shape)
    start = time.process_time()
    model = DiffusionDensityEstimator(random_state=seed, options=Options(**fields), **parameters).fit(X)
    seconds = time.process_time() - start
    diffusion = model.blend_.densities["diffusion"].log_prob(test[:2000])
    nats = float(np.maximum(model.score_samples(test[:2000]), -1e4).mean())
    reference = model.score_model().field.reference
    noise = "features" if reference is not None else "whitened coordinates"
    return {
        "dataset": name, "seed": seed, "variant": variant, "n": n, "nats": nats, "fit_s": seconds,
        "diffusion": float(np.maximum(diffusion, -1e4).mean()),
        "noise": f"{noise}, departure" if reference is not None and reference.relative else noise,
        "weights": model.component_weights_,
    }  # fmt: skip


def report(files):
    """Mean change against the default over the data sets, each the mean of its seeds."""
    records = cells.read(*files)
    print("Change of held-out nats against the default (positive is better); in brackets the diffusion alone.")
    for n in sorted({r["n"] for r in records}):
        print(f"\nn = {n}, or 70 % of a smaller table:\n")
        report_of([r for r in records if r["n"] == n])


def changes(records):
    """Of one number of samples: variant -> set -> change of nats, of those of the diffusion alone, ratio of seconds;
    and the sets."""
    table = defaultdict(list)
    for r in records:
        table[r["variant"], r["dataset"]].append(r)
    names = sorted({name for _, name in table})
    out = {}
    for variant in VARIANTS:
        for name in names:
            ours, base = table.get((variant, name), []), table["default", name]
            pairs = [(a, b) for a in ours for b in base if a["seed"] == b["seed"]]
            if pairs and variant != "default":
                gap, alone = (np.mean([a[key] - b[key] for a, b in pairs]) for key in ("nats", "diffusion"))
                ratio = np.mean([a["fit_s"] / b["fit_s"] for a, b in pairs])
                out.setdefault(variant, {})[name] = gap, alone, ratio
    return out, names


def report_of(records):
    """The table of one number of samples."""
    by, names = changes(records)
    print("| variant | " + " | ".join(names) + " | median | seconds, ratio |\n" + "|---" * (len(names) + 3) + "|")
    for variant, sets in by.items():
        line = ["{:+.3f} ({:+.3f})".format(*sets[name]) if name in sets else "" for name in names]
        median, _, ratio = np.median(list(sets.values()), axis=0)
        print(f"| {variant} | " + " | ".join(line) + f" | {median:+.3f} | {ratio:.2f} |")


def chosen(arguments):
    """Data sets and variants of a run."""
    many, tables = arguments.n >= 5000, bool(arguments.data)
    if arguments.libraries:
        return LIBRARY_DATASETS + LIBRARY_TABLES * tables, BESIDE_LIBRARIES
    if arguments.plane:
        return PLANE, OF_THE_PLANE
    if many:
        return LARGE_DATASETS + LARGE_TABLES * tables, OF_MANY_SAMPLES
    apart = ("no fine-tuning", *OF_THE_PLANE[1:], *LIBRARIES)
    return DATASETS + TABLES * tables, tuple(v for v in VARIANTS if v not in apart)


def run(arguments):
    """Run the missing cells."""
    n, (names, variants) = arguments.n, chosen(arguments)
    done = {(r["dataset"], r["seed"], r["variant"], r["n"]) for r in cells.read(arguments.out)}
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
    p.add_argument("--libraries", action="store_true", help="what scikit-learn gives in the place of our components")
    p.add_argument("--variants", default="", help="all by default; the default itself is always among them")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
