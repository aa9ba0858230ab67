"""The density of one column: skdiffusion beside scikit-learn's KernelDensity and GaussianMixture.

    python -m benchmarks.one_column run --out benchmarks/results/one_column.jsonl [--n 100,200,2000,10000] [--seeds 10]
    python -m benchmarks.one_column report benchmarks/results/one_column.jsonl

Twenty densities: smooth and rough ones, of one mode and of several, with edges and with heavy tails. The bandwidth is
chosen by cross-validation, the number of Gaussians by BIC. A cell is a density and a number of samples; all of its
seeds run in one process, and those that are in the file are skipped. Ours is behind in a cell if the better of the two
peers leads over the seeds (one-sided paired t-test, Holm's method over the cells). Seconds are CPU seconds.
"""

import time
from collections import defaultdict
from functools import partial

import numpy as np
from scipy import stats

from benchmarks import cells
from benchmarks.compare import OURS, holm, mean_density
from benchmarks.peers import PEERS
from benchmarks.targets import MixtureTarget, RoughDensity

N_SCORED = 4000
BESIDE = ("kernel density", "Gaussian mixture")
MARGIN = 0.01  # nats by which the mean may be behind the better peer


class Column:
    """A mixture of SciPy's distributions, as a target of one column."""

    def __init__(self, *distributions, weights=None):
        self.distributions = distributions
        self.weights = np.full(len(distributions), 1 / len(distributions)) if weights is None else np.array(weights)

    def sample(self, n, rng):
        part = rng.choice(len(self.weights), n, p=self.weights)
        draws = np.stack([d.rvs(n, random_state=rng) for d in self.distributions])
        return draws[part, np.arange(n)][:, None]

    def log_prob(self, X):
        table = np.stack([d.logpdf(X[:, 0]) for d in self.distributions])
        with np.errstate(divide="ignore"):
            return np.logaddexp.reduce(table + np.log(self.weights)[:, None], axis=0)


def gaussians(means, deviations, weights=None):
    return MixtureTarget(np.reshape(means, (-1, 1)), np.reshape(np.square(deviations), (-1, 1, 1)), weights)


def claw():
    return gaussians([0.0, *(np.arange(5) / 2 - 1)], [1.0, *[0.1] * 5], [0.5, *[0.1] * 5])


def comb():
    """The asymmetric comb of Marron and Wand (1992): six Gaussians, each half as wide and as heavy as the last."""
    halves = 0.5 ** np.arange(6)
    return gaussians((65 - 96 * halves) / 21, 32 / 63 * halves, halves)


DENSITIES = {
    "normal": partial(gaussians, [0.0], [1.0]),
    "Laplace": partial(Column, stats.laplace()),
    "gamma, shape 2": partial(Column, stats.gamma(2)),
    "log-normal": partial(Column, stats.lognorm(1)),
    "Student-t, 2 degrees": partial(Column, stats.t(2)),
    "Pareto, index 3": partial(Column, stats.pareto(3)),
    "two Gaussians": partial(gaussians, [-2.0, 2.0], [0.5, 0.5]),
    "spike on a Gaussian": partial(gaussians, [0.0, 1.5], [1.0, 0.02], [0.8, 0.2]),
    "claw": claw,
    "comb": comb,
    "uniform": partial(Column, stats.uniform()),
    "exponential": partial(Column, stats.expon()),
    "beta (1, 3)": partial(Column, stats.beta(1, 3)),
    "arcsine": partial(Column, stats.beta(0.5, 0.5)),
    "sawtooth": lambda: Column(*[stats.triang(1, i, 1) for i in range(5)]),
    "three steps": lambda: Column(*[stats.uniform(*e) for e in ((0, 1), (1, 0.5), (2, 1))], weights=[0.2, 0.5, 0.3]),
    "two uniforms": lambda: Column(stats.uniform(0, 1), stats.uniform(3, 2), weights=[0.6, 0.4]),
    "rough, s = 0.5": partial(RoughDensity, 0.5),
    "rough, s = 1": partial(RoughDensity, 1.0),
    "rough, s = 3": partial(RoughDensity, 3.0),
}


def run_seed(name, n, seed):
    """Nats of the truth, of ours and of the peers on fresh samples, seconds of the fits, and our weights."""
    from skdiffusion import DiffusionDensityEstimator

    target, rng = DENSITIES[name](), np.random.default_rng([seed, 4])
    X, scored = target.sample(n, rng), target.sample(N_SCORED, rng)
    out = {"truth": float(target.log_prob(scored).mean())}
    for who in (OURS, *BESIDE):
        start = time.process_time()
        if who == OURS:
            model = DiffusionDensityEstimator(random_state=seed).fit(X)
            out["weights"] = {k: round(float(w), 3) for k, w in model.component_weights_.items() if w > 0}
        else:
            model = PEERS[who]().fit(X, seed, np.inf)
        out[f"{who}, s"] = round(time.process_time() - start, 3)
        out[who] = round(float(mean_density(model.score_samples(scored), 1)), 5)
    return out


def run_cell(name, n, seeds):
    """One record: what `run_seed` gives, by seed."""
    import warnings

    import skdiffusion  # noqa: F401  before the clock starts

    warnings.simplefilter("ignore")
    return {"density": name, "n": n, "seeds": {seed: run_seed(name, n, seed) for seed in seeds}}


def by_cell(records):
    """Seeds of each cell: (n, density) -> seed -> what `run_seed` gave."""
    out = defaultdict(dict)
    for record in records:
        out[record["n"], record["density"]] |= {int(seed): value for seed, value in record["seeds"].items()}
    return out


def run(arguments):
    known = by_cell(cells.read(arguments.out))
    todo = []
    for n in map(int, arguments.n.split(",")):
        for name in DENSITIES:
            missing = [seed for seed in range(arguments.seeds) if seed not in known[n, name]]
            todo += [(name, n, missing)] if missing else []
    cells.run_all("benchmarks.one_column", todo, arguments.out, arguments.jobs, arguments.limit)


def compared(known):
    """One row for each cell: our lead on the better peer in mean nats, its standard error, and the p-value of a lag."""
    rows = []
    for (n, name), seeds in known.items():
        table = {key: np.array([s[key] for s in seeds.values()]) for key in ("truth", OURS, *BESIDE)}
        better = max(BESIDE, key=lambda who, table=table: table[who].mean())
        lead, k = table[OURS] - table[better], len(seeds)
        error = lead.std(ddof=1) / np.sqrt(k) if k > 1 else np.nan
        row = {"n": n, "density": name, "seeds": k, "better": better, "lead": lead.mean(), "error": error}
        row |= {who: (table["truth"] - table[who]).mean() for who in (OURS, *BESIDE)}
        row["p"] = stats.t.cdf(row["lead"] / error, k - 1) if k > 1 else 1.0
        for who in (OURS, *BESIDE):
            row[f"{who}, s"] = float(np.median([s[f"{who}, s"] for s in seeds.values()]))
        rows.append(row)
    return sorted(rows, key=lambda row: (row["n"], list(DENSITIES).index(row["density"])))


def lead_text(row):
    """The lead of a cell, with its standard error if there is more than one seed."""
    return f"{row['lead']:+.3f}" + (f" ({row['error']:.3f})" if row["seeds"] > 1 else "")


def report(files):
    """Print the leads by cell, and the verdicts."""
    rows = compared(by_cell(cells.read(*files)))
    sizes = sorted({row["n"] for row in rows})
    print("Lead on the better peer in nats (standard error), by the number of samples.\n")
    print("| density | " + " | ".join(map(str, sizes)) + " |\n" + "|---" * (len(sizes) + 1) + "|")
    for name in DENSITIES:
        found = {row["n"]: row for row in rows if row["density"] == name}
        print(f"| {name} | " + " | ".join(lead_text(found[n]) if n in found else "" for n in sizes) + " |")
    print("\nMeans over the densities of the nats below the truth, and median seconds of a fit.\n")
    print("| samples | seeds | " + " | ".join(f"{who} | s" for who in (OURS, *BESIDE)) + " |\n" + "|---" * 8 + "|")
    for n in sizes:
        of_size = [row for row in rows if row["n"] == n]
        line = [f"{np.mean([r[w] for r in of_size]):.3f} | {np.median([r[f'{w}, s'] for r in of_size]):.2f}"
                for w in (OURS, *BESIDE)]  # fmt: skip
        print(f"| {n} | {min(r['seeds'] for r in of_size)} | " + " | ".join(line) + " |")
    behind = [f"{rows[i]['density']} at {rows[i]['n']}" for i in np.flatnonzero(holm([row["p"] for row in rows]))]
    beyond = [f"{row['density']} at {row['n']} ({row['lead']:+.3f})" for row in rows if row["lead"] < -MARGIN]
    print(f"\n{len(rows)} cells. Behind the better peer (Holm, 5 %): {', '.join(behind) or 'none'}. Mean more than")
    print(f"{MARGIN} nats behind: {', '.join(beyond) or 'none'}.")


def main():
    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--n", default="100,200,2000,10000")
    p.add_argument("--seeds", type=int, default=10)
    p.add_argument("--limit", type=float, default=3600, help="seconds for all seeds of a cell")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
