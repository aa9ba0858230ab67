"""The distribution of y given X: DiffusionRegressor beside peers, on published splits and on known distributions.

    python -m benchmarks.regression run --out benchmarks/results/regression.jsonl [--data FOLDER] [--sets yacht,energy]
        [--who ours,NGBoost] [--splits 20] [--seeds 3] [--n 2000]
    python -m benchmarks.regression report benchmarks/results/regression.jsonl

FOLDER holds one NAME.npz for each set, with X, y, the row numbers `train` and `test` of the splits, padded with -1, and
`mc_dropout_ll_1`, the log-likelihood that Monte Carlo dropout reached on every split (Gal and Ghahramani 2016). Without
it, the known distributions run. Peers that are not installed are left out: NGBoost, xgboost-distribution,
quantile-forest and treeffuser (some ask for old versions of scikit-learn, and run with this one if installed by
``pip install --no-deps``). Those that have no density are given one by a kernel (`benchmarks.regressors`).

- nats: mean log-density of the test samples, in the units of y. "of cells": the log-probability of the cell to which a
  value is rounded, less the logarithm of its width. The two differ where a density is narrower than the resolution of
  y, and only the second cannot be raised by it. "of new samples": the same, of the test samples that do not stand in
  training with all of their numbers, where a regressor could remember them. Ours is compared with a peer by both, on
  the same splits.
- CRPS of the percentiles; coverage and mean width of central 90 % intervals, the width over the standard deviation of
  y in training; CPU seconds to fit, and to predict percentiles. "of cells": the coverage of values spread evenly over
  the cells to which they are rounded. An interval that ends within a cell holds a part of it, but the middle of the
  cell, the value itself, wholly or not at all.
- known distributions: nats below the truth, an estimate of the divergence.
"""

import time
import warnings
from collections import defaultdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import cells
from benchmarks.regressors import REGRESSORS

N_TEST = 4000
NORMAL = stats.norm()
PERCENTS = np.arange(1, 100) / 100
NATS = ("nats", "cell_nats", "fresh_nats")
MIN_RESOLUTION = 1e-4  # of the standard deviation of y; finer values are taken as continuous
MIN_MASS = 1e-10  # of a cell, by a difference of the distribution function


class Known:
    """y = mean(x) + scale(x) e, with e of one of SciPy's distributions; four features, the last of no effect."""

    def __init__(self, mean, scale, noise=NORMAL):
        self.mean, self.scale, self.noise = mean, scale, noise

    def draw(self, n, rng):
        X = rng.uniform(-2, 2, (n, 4))
        return X, self.mean(X) + self.scale(X) * self.noise.rvs(n, random_state=rng)

    def log_prob(self, X, y):
        return self.noise.logpdf((y - self.mean(X)) / self.scale(X)) - np.log(self.scale(X))


class TwoModes:
    """Two branches of weights that change with x."""

    def _parts(self, X):
        share, gap = 1 / (1 + np.exp(-X[:, 1])), 1 + X[:, 0] ** 2 / 2
        return share, gap, np.sin(X[:, 2]), 0.3

    def draw(self, n, rng):
        X = rng.uniform(-2, 2, (n, 4))
        share, gap, shift, scale = self._parts(X)
        sign = np.where(rng.random(n) < share, 1.0, -1.0)
        return X, sign * gap + shift + scale * rng.standard_normal(n)

    def log_prob(self, X, y):
        share, gap, shift, scale = self._parts(X)
        upper, lower = (stats.norm.logpdf(y, shift + sign * gap, scale) for sign in (1, -1))
        return np.logaddexp(np.log(share) + upper, np.log1p(-share) + lower)


class TwoColumns:
    """The second column depends on the first, by a slope that changes with x."""

    def draw(self, n, rng):
        X = rng.uniform(-2, 2, (n, 4))
        first = np.sin(X[:, 0]) + 0.5 * rng.standard_normal(n)
        return X, np.column_stack([first, X[:, 1] * first + 0.3 * rng.standard_normal(n)])

    def log_prob(self, X, y):
        first = stats.norm.logpdf(y[:, 0], np.sin(X[:, 0]), 0.5)
        return first + stats.norm.logpdf(y[:, 1], X[:, 1] * y[:, 0], 0.3)


def wave(X):
    return np.sin(2 * X[:, 0]) + X[:, 1] / 2


KNOWN = {
    "heteroscedastic": Known(wave, lambda X: np.exp(X[:, 2] / 2 - 1)),
    "bimodal": TwoModes(),
    "heavy-tailed": Known(wave, lambda X: 0.2 + 0.2 * np.abs(X[:, 2]), stats.t(3)),
    "discontinuous": Known(
        lambda X: np.where(X[:, 0] > 0, 2.0, 0.0) + np.where(X[:, 1] > 1, X[:, 2], 0.0),
        lambda X: np.where(X[:, 2] > 0, 0.2, 0.5),
    ),
    "edge": Known(wave, lambda X: 0.2 + 0.2 * np.abs(X[:, 2]), stats.expon()),
    "two columns": TwoColumns(),
}


def resolution(y):
    """The least distance of two values of y; 0 where it is so small that y counts as continuous."""
    step = float(np.diff(np.unique(y)).min())
    return step if step > MIN_RESOLUTION * y.std() else 0.0


def cell_log_prob(model, X, y, step):
    """Log-probabilities of the cells to which y is rounded, less the logarithm of their width.

    Far in a tail, where a difference of the distribution function has no digits left, the density stands for them.
    """
    mass = model.cdf(X, y + step / 2) - model.cdf(X, y - step / 2)
    return np.where(mass > MIN_MASS, np.log(np.maximum(mass, MIN_MASS) / step), model.log_prob(X, y))


def is_repeated(test, train):
    """Which test samples stand among those of training, to the last bit."""
    known = {row.tobytes() for row in np.ascontiguousarray(train)}
    return np.array([row.tobytes() in known for row in np.ascontiguousarray(test)])


def scores(model, X, y, spread, step=0.0, fresh=slice(None)):
    """What a fitted regressor says of test samples; `fresh` are those that it has not seen."""
    from skdiffusion.metrics import crps_of_quantiles

    log_prob = model.log_prob(X, y)
    of_cells = cell_log_prob(model, X, y, step) if step else log_prob
    out = {"nats": log_prob.mean(), "cell_nats": of_cells.mean(), "fresh_nats": of_cells[fresh].mean()}
    out = {name: float(value) for name, value in out.items()}
    start = time.process_time()
    quantiles = model.quantiles(X, PERCENTS)
    out["predict_s"] = time.process_time() - start
    out["crps"] = crps_of_quantiles(y, quantiles, PERCENTS)
    low, high = quantiles[:, 4], quantiles[:, 94]
    out["covered"], out["width"] = float(((low <= y) & (y <= high)).mean()), float((high - low).mean() / spread)
    within = y + step * (np.random.default_rng(0).random(len(y)) - 0.5)
    out["cell_covered"] = float(((low <= within) & (within <= high)).mean())
    return out


def fitted(who, X, y, seed):
    """A fitted regressor, and CPU seconds."""
    regressor = REGRESSORS[who]()
    for module in regressor.modules:
        import_module(module)
    start = time.process_time()
    model = regressor.fit(X, y, seed)
    return model, time.process_time() - start


def split_cell(name, who, number, folder):
    """One record of a published split."""
    data = np.load(Path(folder) / f"{name}.npz")
    train, test = (data[k][number][data[k][number] >= 0] for k in ("train", "test"))
    X, y = data["X"], data["y"]
    model, seconds = fitted(who, X[train], y[train], number)
    out = {"set": name, "who": who, "seed": number, "n": len(train), "d": X.shape[1], "fit_s": seconds}
    repeated = is_repeated(np.column_stack([X, y])[test], np.column_stack([X, y])[train])
    out |= {"record": float(data["mc_dropout_ll_1"][number]), "repeated": float(repeated.mean())}
    return out | scores(model, X[test], y[test], y[train].std(), resolution(y), ~repeated)


def known_cell(name, who, seed, n):
    """One record of a known distribution."""
    target, rng = KNOWN[name], np.random.default_rng([seed, n])
    (X, y), (X_test, y_test) = target.draw(n, rng), target.draw(N_TEST, rng)
    model, seconds = fitted(who, X, y, seed)
    out = {"known": name, "who": who, "seed": seed, "n": n, "fit_s": seconds}
    if y.ndim == 1:
        out |= scores(model, X_test, y_test, y.std())
    losses = target.log_prob(X_test, y_test) - model.log_prob(X_test, y_test)
    return out | {"divergence": float(losses.mean()), "error": float(losses.std() / np.sqrt(N_TEST))}


def run_cell(kind, name, who, seed, given):
    """One record; `given` is the folder of the data, or the number of samples."""
    warnings.simplefilter("ignore")
    return (split_cell if kind == "set" else known_cell)(name, who, seed, given)


def run(arguments):
    """Run the missing cells."""
    done = {(r.get("set", r.get("known")), r["who"], r["seed"]) for r in cells.read(arguments.out)}
    missing = [who for who, kind in REGRESSORS.items() if not all(find_spec(module) for module in kind.modules)]
    asked = arguments.who.split(",") if arguments.who else [*REGRESSORS]
    folder = arguments.data
    sets = [("set", p.stem, folder, arguments.splits) for p in sorted(Path(folder).glob("*.npz"))] if folder else []
    kinds = sets + [("known", name, arguments.n, arguments.seeds) for name in KNOWN]
    names = arguments.sets.split(",") if arguments.sets else [kind[1] for kind in kinds]
    todo = [
        (kind, name, who, seed, given)
        for kind, name, given, count in kinds
        for who in asked
        for seed in range(count)
        if name in names and who not in missing and (name, who, seed) not in done
        if name != "two columns" or who == "ours"  # the peers have one output
    ]
    cells.run_all("benchmarks.regression", todo, arguments.out, arguments.jobs)


def mean_and_error(values):
    """A mean, and its standard error if there are several values."""
    values = np.asarray(values, dtype=float)
    error = f" ({values.std(ddof=1) / np.sqrt(len(values)):.3f})" if len(values) > 1 else ""
    return f"{values.mean():.3f}{error}"


def median_of(records, key):
    """The median of a number over the records that have it, in words; nothing if none has."""
    values = [r[key] for r in records if key in r]
    return f"{np.median(values):.1f}" if values else ""


def grouped(records, key):
    """Records by the name of their set or distribution, then by regressor, then by seed."""
    out = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if key in record:
            out[record[key]][record["who"]][record["seed"]] = record
    return out


def table_of_sets(by_set):
    """One row for every set and regressor; differences are of the same splits."""
    heads = ["set", "regressor", "splits", "nats", "of cells", "of new samples", "ours less this", "of new samples"]
    heads += ["ours less the record", "CRPS", "coverage", "of cells", "width", "fit, s", "percentiles, s"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name, by_who in by_set.items():
        ours = by_who.get("ours", {})
        for who in (w for w in REGRESSORS if w in by_who):
            mine = by_who[who]
            means = {k: np.mean([r[k] for r in mine.values()]) for k in (*NATS, "covered", "cell_covered", "width")}
            both = [s for s in mine if s in ours and who != "ours"]
            leads = [mean_and_error([ours[s][k] - mine[s][k] for s in both]) if both else "" for k in NATS[1:]]
            record = mean_and_error([r["nats"] - r["record"] for r in mine.values()]) if who == "ours" else ""
            row = [name, who, str(len(mine)), *(f"{means[k]:.3f}" for k in NATS), *leads, record]
            row += [mean_and_error([r["crps"] for r in mine.values()])]
            row += [f"{means[k]:.3f}" for k in ("covered", "cell_covered")]
            row += [f"{means['width']:.2f}", *(median_of(mine.values(), k) for k in ("fit_s", "predict_s"))]
            print("| " + " | ".join(row) + " |")


def table_of_known(by_known):
    """One row for every distribution and regressor."""
    print("\n| distribution | regressor | n | seeds | nats below the truth | CRPS | coverage | width | fit, s |")
    print("|---" * 9 + "|")
    for name, by_who in by_known.items():
        for who in (w for w in REGRESSORS if w in by_who):
            records = [*by_who[who].values()]
            line = f"| {name} | {who} | {records[0]['n']} | {len(records)} |"
            line += f" {mean_and_error([r['divergence'] for r in records])} |"
            if "crps" in records[0]:
                crps, covered, width = (np.mean([r[k] for r in records]) for k in ("crps", "covered", "width"))
                line += f" {crps:.3f} | {covered:.3f} | {width:.2f} |"
            else:
                line += " | | |"
            print(line + f" {median_of(records, 'fit_s')} |")


def report(files):
    """Print the tables."""
    records = cells.read(*files)
    table_of_sets(grouped(records, "set"))
    table_of_known(grouped(records, "known"))


def main():
    parser, p, _ = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--data")
    p.add_argument("--sets", default="", help="names of sets and known distributions; all by default")
    p.add_argument("--who", default="", help="regressors; all that are installed by default")
    p.add_argument("--splits", type=int, default=20)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--n", type=int, default=2000)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
