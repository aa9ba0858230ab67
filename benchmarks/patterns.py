"""Time that samples with unknown features take, by how many patterns of these there are.

    python -m benchmarks.patterns run --out benchmarks/results/patterns.jsonl [--seeds 3]
    python -m benchmarks.patterns report benchmarks/results/patterns.jsonl

A default with fit_conditionals=True is fitted to 2000 samples of ten features, one of which bends with another. CPU
seconds on one thread, the median of three alternating runs, for 1000 samples each: log-densities of complete samples,
of samples of one pattern, of those with 30 % of the values unknown at random, and of one sample of each of 1000
patterns; completed samples of one pattern and at random; and log-densities by the components in closed form alone.
Two more fits, by default, are timed once: to all values, and to samples with 30 % of the values deleted at random.
"""

import time
import warnings

import numpy as np

from benchmarks import cells

D, N_FIT, N, N_RUNS = 10, 2000, 1000, 3
LABELS = {
    "complete": "complete",
    "one": "one pattern",
    "random": "30 % unknown",
    "all": "1000 patterns",
    "impute_one": "imputed, one pattern",
    "impute_random": "imputed, 30 % unknown",
    "closed_one": "closed forms, one pattern",
    "closed_all": "closed forms, 1000 patterns",
}


def incomplete_samples(X, rng):
    """Samples with unknown features: of one pattern, at random, and each of a pattern of its own."""
    patterns = 1 + rng.permutation(2**D - 2)[:N]  # neither complete nor empty
    masks = {
        "one": np.isin(np.arange(D), rng.permutation(D)[:3]),
        "random": rng.random(X.shape) < 0.3,
        "all": (patterns[:, None] >> np.arange(D)) & 1 == 1,
    }
    return {name: np.where(mask, np.nan, X) for name, mask in masks.items()}


def run_cell(seed):
    """One record."""
    import torch

    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion.estimators._unknown import UnknownFeatures

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N_FIT + N, D)) @ rng.standard_normal((D, D)) / np.sqrt(D)
    X[:, 1] += 0.5 * X[:, 0] ** 2
    start = time.process_time()
    model = DiffusionDensityEstimator(random_state=seed, fit_conditionals=True).fit(X[:N_FIT])
    fit_s = time.process_time() - start
    fits = {}
    for name, Z in ("complete", X[:N_FIT]), ("gaps", np.where(rng.random((N_FIT, D)) < 0.3, np.nan, X[:N_FIT])):
        start = time.process_time()
        DiffusionDensityEstimator(random_state=seed).fit(Z)
        fits[name] = time.process_time() - start
    test = X[N_FIT:]
    given = incomplete_samples(test, rng)
    blend = model.conditional_blend_
    closed = UnknownFeatures(blend.restricted([name for name in blend.weights if name != "diffusion"])[0], D)
    calls = {
        "complete": lambda: model.score_samples(test),
        **{name: lambda Z=Z: model.score_samples(Z) for name, Z in given.items()},
        "impute_one": lambda: model.impute(given["one"], random_state=0),
        "impute_random": lambda: model.impute(given["random"], random_state=0),
        "closed_one": lambda: closed.log_prob(given["one"]),
        "closed_all": lambda: closed.log_prob(given["all"]),
    }
    seconds = {name: [] for name in calls}
    for _ in range(N_RUNS):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    n_patterns = len(np.unique(np.isnan(given["random"]), axis=0))
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    record = {"seed": seed, "n_patterns": n_patterns, "weights": blend.weights}
    return record | {"fit_s": fit_s, "fits": fits, "seconds": medians}


def run(arguments):
    """Run the missing seeds."""
    done = {r["seed"] for r in cells.read(arguments.out)}
    todo = [(seed,) for seed in range(arguments.seeds) if seed not in done]
    cells.run_all("benchmarks.patterns", todo, arguments.out, arguments.jobs)


def report(files):
    """A line for each question: seconds, and how many times those of complete samples, each a median of the seeds."""
    records = cells.read(*files)
    print("| 1000 samples of ten features | CPU s | times complete ones |")
    print("|---|---|---|")
    for name, label in LABELS.items():
        seconds = np.median([r["seconds"][name] for r in records])
        ratio = np.median([r["seconds"][name] / r["seconds"]["complete"] for r in records])
        print(f"| {label} | {seconds:.2f} | {ratio:.1f} |")
    complete, gaps = (np.array([r["fits"][name] for r in records]) for name in ("complete", "gaps"))
    ratios = ", ".join(f"{ratio:.2f}" for ratio in gaps / complete)
    print(f"\nFits to samples with gaps, in times those to complete ones: {ratios}.")


def main():
    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
