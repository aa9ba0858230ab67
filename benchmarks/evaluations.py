"""How few evaluations of the network suffice: samples and log-densities beside those of a converged solution.

    python -m benchmarks.evaluations run --out benchmarks/results/evaluations.jsonl [--data FOLDER] [--seeds 1]
    python -m benchmarks.evaluations report benchmarks/results/evaluations.jsonl

One network a set, fitted by our default; its diffusion component alone is solved in many ways, from the same noise.
"""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from benchmarks import cells, targets

EVALUATIONS = (8, 12, 16, 24)
COMPARED = ("ab2", "ab4", "abm3", "abm4", "2m", "3m", "rk4")
SAMPLERS = [(stepper, grid) for stepper in COMPARED for grid in ("power", "log-snr")]
DENSITIES = [("rk4", "power"), ("3m", "log-snr"), ("ab4", "log-snr"), ("abm4", "bell")]
DENSITY_EVALUATIONS = (12, 16, 32, 64)
DEFAULT_SAMPLER, DEFAULT_DENSITY = "abm3/power", "abm4"
N_PAIRS = 10
CONVERGED = 256  # RK4 steps


def steps_of(stepper, evaluations):
    """Steps of a stepper that take so many evaluations."""
    from skdiffusion.diffusion import ode

    return (evaluations - ode.STEPPERS[stepper].closing) // ode.STEPPERS[stepper].stages


def run_cell(name, n, seed, data):
    """One record: ratios of W1 to that of the converged samples, and mean errors of log-densities in nats."""
    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion.diffusion.ode import GRIDS
    from skdiffusion.metrics import wasserstein_1

    X, test, target = targets.load(name, n, seed, data)
    model = DiffusionDensityEstimator(random_state=seed).fit(X)
    component = model.blend_.densities["diffusion"]
    scale, rng = X.std(0), np.random.default_rng([seed, 5])
    m = min(500, len(test))
    fresh = [target.sample(m, rng) if target else test[rng.permutation(len(test))[:m]] for _ in range(N_PAIRS)]
    noise = rng.standard_normal((N_PAIRS * m, X.shape[1]))

    def distance(flow, n_steps):
        samples = component.preprocessor.inverse_transform(flow.draw(noise, n_steps=n_steps)) / scale
        return np.mean([wasserstein_1(a, b / scale) for a, b in zip(np.split(samples, N_PAIRS), fresh)])

    best = distance(replace(component.density, sample_stepper="rk4"), CONVERGED)
    default = distance(component.density, component.density.sample_steps)
    out = {"dataset": name, "n": n, "seed": seed, "d": X.shape[1], "default_steps": component.density.sample_steps}
    out |= {"default_ratio": default / best, "ratios": {}, "errors": {}}
    for stepper, grid in SAMPLERS:
        flow = replace(component.density, sample_stepper=stepper, grid=GRIDS[grid])
        for evaluations in EVALUATIONS:
            solved = distance(flow, steps_of(stepper, evaluations))
            out["ratios"][f"{stepper}/{grid}/{evaluations}"] = solved / best
    samples = component.preprocessor.transform(test[:500])[0]
    exact = replace(component.density, stepper="rk4", tolerance=0.0, density_steps=2 * CONVERGED).log_prob(samples)
    for stepper, grid in DENSITIES:
        plain = replace(component.density, stepper=stepper, grid=GRIDS[grid], tolerance=0.0)
        for evaluations in DENSITY_EVALUATIONS:
            solved = replace(plain, density_steps=steps_of(stepper, evaluations)).log_prob(samples)
            out["errors"][f"{stepper}/{evaluations}"] = float(np.abs(solved - exact).mean())
    log_p, taken = component.density.refined_log_density(samples)
    out["default_error"] = float(np.abs(log_p - exact).mean())
    once, twice = (
        replace(component.density, density_steps=k * component.density.density_steps).log_prob(samples) for k in (1, 2)
    )
    out["default_stated_error"] = float(np.abs(once - twice).mean())
    out["default_density_evaluations"] = float((2 * taken - component.density.density_steps).mean())
    return out


def report(files):
    """The samplers, the steppers of densities, then the sets with the default."""
    records = cells.read(*files)
    by_sampler = defaultdict(list)
    for r in records:
        for key, ratio in r["ratios"].items():
            by_sampler[tuple(key.rsplit("/", 1))].append(ratio)
    print(f"W1 of samples over that of converged ones, {len(records)} fits. After the number of evaluations: median,")
    print("largest, share at most 1.01.\n")
    print("| stepper / grid |" + " |" * len(EVALUATIONS) + "\n|---" + "|---" * len(EVALUATIONS) + "|")
    found = defaultdict(dict)
    for (sampler, evaluations), ratios in by_sampler.items():
        within = np.mean(np.array(ratios) <= 1.01)
        found[sampler][int(evaluations)] = f"{evaluations}: {np.median(ratios):.3f}, {max(ratios):.3f}, {within:.0%}"
    for sampler, line in sorted(found.items()):
        print(f"| {sampler} | " + " | ".join(text for _, text in sorted(line.items())) + " |")
    print("\nMean error of log-densities in nats. After the number of evaluations: median, largest.\n")
    print("| stepper |" + " |" * len(DENSITY_EVALUATIONS) + "\n|---" + "|---" * len(DENSITY_EVALUATIONS) + "|")
    for stepper, _ in DENSITIES:
        errors = {k: [r["errors"][f"{stepper}/{k}"] for r in records] for k in DENSITY_EVALUATIONS}
        line = [f"{k}: {np.median(e):.4f}, {max(e):.4f}" for k, e in errors.items()]
        print(f"| {stepper} | " + " | ".join(line) + " |")
    print("\nBy default: steps of samples and their ratio of W1, the ratio at 12; error of log-densities at 12 and 32")
    print("evaluations; their error as fitted, as stated, and the evaluations that it took.\n")
    print("| set | samples | at 12 | log-densities at 12, 32 | as fitted |\n|---|---|---|---|---|")
    for r in sorted(records, key=lambda r: (r["dataset"], r["seed"])):
        line = [r["dataset"], f"{r['default_steps']}, {r['default_ratio']:.3f}"]
        line.append(f"{r['ratios'][DEFAULT_SAMPLER + '/12']:.3f}")
        line.append(", ".join(f"{r['errors'][f'{DEFAULT_DENSITY}/{k}']:.3f}" for k in (12, 32)))
        stated = f"stated {r['default_stated_error']:.4f}, {r['default_density_evaluations']:.0f} evaluations"
        line.append(f"{r['default_error']:.4f}, {stated}")
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    cells.over_sets(__doc__, "benchmarks.evaluations", run_cell, report)
