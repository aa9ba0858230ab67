"""How few evaluations of the network suffice: samples and log-densities beside those of a converged solution.

    python -m benchmarks.evaluations run --out benchmarks/results/evaluations.jsonl [--data FOLDER] [--seeds 1]
    python -m benchmarks.evaluations report benchmarks/results/evaluations.jsonl

One network a set, fitted by our default; its diffusion member alone is solved in many ways, from the same noise.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import replace

import numpy as np

from benchmarks import cells, targets

STEPS = {"rk4": (2, 3, 4, 6)}
MULTISTEPS = (8, 12, 16, 24)
SAMPLERS = [(stepper, grid) for stepper in ("ab2", "ab3", "2m", "3m", "rk4") for grid in ("power", "angle", "log-snr")]
DEFAULT_AT_14 = "ab2/power/14"
N_PAIRS = 10
CONVERGED = 256  # RK4 steps


def evaluations_of(stepper, n_steps):
    """Evaluations of the network in a solution; a multistep method is started by others."""
    from skdiffusion.ode import angle_grid, solve

    return solve(
        lambda z, theta, divergence: (0 * z, None), np.zeros((1, 1)), angle_grid(n_steps, 0.1, 1.0), stepper
    ).n_evaluations


def run_cell(name, n, seed, data):
    """One record: ratios of W1 to that of the converged samples, and mean errors of log-densities in nats."""
    from skdiffusion import DiffusionDensityEstimator
    from skdiffusion.metrics import wasserstein_1
    from skdiffusion.ode import GRIDS

    X, test, target = targets.load(name, n, seed, data)
    model = DiffusionDensityEstimator(random_state=seed).fit(X)
    member = model.members_["diffusion"]
    scale, rng = X.std(0), np.random.default_rng([seed, 5])
    m = min(500, len(test))
    fresh = [target.sample(m, rng) if target else test[rng.permutation(len(test))[:m]] for _ in range(N_PAIRS)]
    noise = rng.standard_normal((N_PAIRS * m, X.shape[1]))

    def distance(stepper, grid, n_steps):
        flow = replace(member.law, sample_stepper=stepper, grid=GRIDS[grid])
        rows = member.preprocessor.inverse_transform(flow.sample_from_noise(noise, n_steps=n_steps)) / scale
        return np.mean([wasserstein_1(a, b / scale) for a, b in zip(np.split(rows, N_PAIRS), fresh)])

    best = distance("rk4", "power", CONVERGED)
    default = distance(member.law.sample_stepper, "power", member.law.sample_steps)
    out = {"dataset": name, "n": n, "seed": seed, "d": X.shape[1], "default_steps": member.law.sample_steps}
    out |= {"default_ratio": default / best, "ratios": {}, "errors": {}}
    for stepper, grid in SAMPLERS:
        for n_steps in STEPS.get(stepper, MULTISTEPS):
            evaluations = evaluations_of(stepper, n_steps)
            out["ratios"][f"{stepper}/{grid}/{evaluations}"] = distance(stepper, grid, n_steps) / best
    rows = member.preprocessor.transform(test[:500])[0]
    plain = replace(member.law, density_stepper="rk4", tolerance=0.0)
    exact = replace(plain, density_steps=CONVERGED).log_density(rows)
    for steps in (2, 3, 4, 8, 16):
        error = np.abs(replace(plain, density_steps=steps).log_density(rows) - exact)
        out["errors"][f"rk4/{4 * steps}"] = float(error.mean())
    log_p, taken = member.law._refined_log_density(rows)
    out["default_error"] = float(np.abs(log_p - exact).mean())
    out["default_density_evaluations"] = float(4 * taken.mean())
    return out


def report(paths):
    """The samplers, then the sets with the default and its sampler at 14."""
    records = cells.read(*paths)
    by_sampler = defaultdict(list)
    for r in records:
        for key, ratio in r["ratios"].items():
            by_sampler[tuple(key.rsplit("/", 1))].append(ratio)
    print(f"W1 of samples over that of converged ones, {len(records)} fits. After the number of evaluations: median,")
    print("largest, share at most 1.01.\n")
    print("| stepper / grid |" + " |" * len(MULTISTEPS) + "\n|---" + "|---" * len(MULTISTEPS) + "|")
    found = defaultdict(dict)
    for (sampler, evaluations), ratios in by_sampler.items():
        within = np.mean(np.array(ratios) <= 1.01)
        found[sampler][int(evaluations)] = f"{evaluations}: {np.median(ratios):.3f}, {max(ratios):.3f}, {within:.0%}"
    for sampler, line in sorted(found.items()):
        print(f"| {sampler} | " + " | ".join(text for _, text in sorted(line.items())) + " |")
    print("\nMean error of log-densities in nats at 12, 32 and 64 evaluations, and by default (evaluations).\n")
    print("| set | samples by default: steps, ratio | at 14 evaluations | log-densities |\n|---|---|---|---|")
    for r in sorted(records, key=lambda r: (r["dataset"], r["seed"])):
        errors = ", ".join(f"{r['errors'][f'rk4/{k}']:.3f}" for k in (12, 32, 64))
        line = [r["dataset"], f"{r['default_steps']}, {r['default_ratio']:.3f}", f"{r['ratios'][DEFAULT_AT_14]:.3f}"]
        line.append(f"{errors}, {r['default_error']:.4f} ({r['default_density_evaluations']:.0f})")
        print("| " + " | ".join(line) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    p = commands.add_parser("run")
    p.add_argument("--out", required=True)
    p.add_argument("--data", default=None)
    p.add_argument("--datasets", default="")
    p.add_argument("--n", type=int, default=2000)
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--jobs", type=int, default=1)
    p = commands.add_parser("report")
    p.add_argument("files", nargs="+")
    p = commands.add_parser("cell")
    p.add_argument("spec")
    arguments = parser.parse_args()
    if arguments.command == "cell":
        cells.answer(run_cell(*json.loads(arguments.spec)))
    elif arguments.command == "report":
        report(arguments.files)
    else:
        done = {(r["dataset"], r["n"], r["seed"]) for r in cells.read(arguments.out)}
        names = arguments.datasets.split(",") if arguments.datasets else targets.names(arguments.data)
        todo = [(k, arguments.n, s, arguments.data) for s in range(arguments.seeds) for k in names]
        todo = [c for c in todo if c[:3] not in done]
        cells.run_all("benchmarks.evaluations", todo, arguments.out, arguments.jobs)


if __name__ == "__main__":
    main()
