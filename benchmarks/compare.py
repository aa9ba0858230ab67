"""skdiffusion beside scikit-learn's density estimators: held-out nats, samples and seconds.

    python -m benchmarks.compare run --out benchmarks/results/n2000.jsonl [--data FOLDER] [--n 2000] [--seeds 3]
    python -m benchmarks.compare report benchmarks/results/n2000.jsonl

Each cell (data set, n, seed) is a process of its own with one thread. All estimators of a cell see the
same rows, so their differences are paired. Cells already in the file are skipped. Seconds are CPU
seconds of the process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("POT_BACKEND_DISABLE_PYTORCH", "1")

import numpy as np  # noqa: E402

from benchmarks import targets  # noqa: E402

N_PAIRS, PAIR_ROWS = 20, 500
FLOOR_NATS = -50.0  # below the worst peer's mean: what a row of density zero counts


def kernel_density(X, seed):
    """KernelDensity on standardised columns, bandwidth by cross-validation."""
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.neighbors import KernelDensity

    grid = np.geomspace(0.02, 1.0, 12) if X.shape[1] > 1 else np.geomspace(0.003, 0.5, 14)
    cv = KFold(5 if len(X) <= 5000 else 3, shuffle=True, random_state=seed)
    search = GridSearchCV(KernelDensity(rtol=1e-4 if len(X) > 5000 else 0), {"bandwidth": grid}, cv=cv).fit(X)
    return search.best_estimator_


def gaussian_mixture(X, seed):
    """GaussianMixture with full covariances, up to 64 components, chosen by BIC."""
    from sklearn.mixture import GaussianMixture

    best, best_bic, worse = None, np.inf, 0
    for k in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 64):
        if worse >= 5 or k * 3 > len(X):
            break
        model = GaussianMixture(k, reg_covar=1e-6, max_iter=300, random_state=seed).fit(X)
        bic = model.bic(X)
        worse = 0 if bic < best_bic else worse + 1
        if bic < best_bic:
            best, best_bic = model, bic
    return best


PEERS = {"kde": kernel_density, "gmm": gaussian_mixture}


def sample_quality(model, X, test, target, seed):
    """Ratio of mean W1 (sample, fresh) to mean W1 (fresh, fresh) over pairs, and the novelty of the draws."""
    from skdiffusion.metrics import novelty, wasserstein_1

    scale, rng = X.std(0), np.random.default_rng([seed, 3])
    m = min(PAIR_ROWS, len(test) // 2)
    draws = model.sample(N_PAIRS * m, random_state=seed) / scale
    ours, floor = [], []
    for i in range(N_PAIRS):
        if target is not None:
            a, b = target.sample(m, rng) / scale, target.sample(m, rng) / scale
        else:
            pick = rng.permutation(len(test))
            a, b = test[pick[:m]] / scale, test[pick[m : 2 * m]] / scale
        ours.append(wasserstein_1(draws[i * m : (i + 1) * m], a))
        floor.append(wasserstein_1(a, b))
    ratio = np.mean(ours) / np.mean(floor)
    spread = ratio * np.hypot(np.std(ours) / np.mean(ours), np.std(floor) / np.mean(floor)) / np.sqrt(N_PAIRS)
    new = novelty(draws[:2000], X / scale, test[:2000] / scale)
    return {"w1_ratio": ratio, "w1_ratio_se": spread, "novelty": new}


def run_cell(name, n, seed, data):
    """One JSON-ready record of a cell."""
    from skdiffusion import DiffusionDensityEstimator

    X, test, target = targets.load(name, n, seed, data)
    scored = test[:3000]
    out = {"dataset": name, "n": n, "seed": seed, "d": X.shape[1], "n_train": len(X), "n_test": len(scored)}
    clock = time.process_time
    mean, scale = X.mean(0), X.std(0) + 1e-12
    densities = {}
    for peer, fit in PEERS.items():
        start = clock()
        model = fit((X - mean) / scale, seed)
        out[f"{peer}_fit_s"] = clock() - start
        densities[peer] = model.score_samples((scored - mean) / scale) - np.log(scale).sum()
    start = clock()
    model = DiffusionDensityEstimator(random_state=seed).fit(X)
    out["fit_s"] = clock() - start
    start = clock()
    densities["ours"] = model.score_samples(scored)
    out["score_rows_s"] = len(scored) / (clock() - start)
    densities["diffusion"] = model.members_["diffusion"].log_density(scored)
    start = clock()
    model.sample(10_000)
    out["sample_rows_s"] = 10_000 / (clock() - start)
    out["weights"] = model.stacking_weights_
    out["map"] = str(model.preprocessor_.marginals)
    out["log_density_error"] = float(model.log_density_error(scored[:500]).mean())
    student = model.members_["student"].log_density(scored) + np.log(model.stacking_weights_["student"])
    out["below_promise"] = float(np.max(student - densities["ours"]))
    for who, density in densities.items():
        finite = np.maximum(density, FLOOR_NATS) if np.isneginf(density).any() else density
        out[who] = float(finite.mean())
        out[f"{who}_se"] = float(finite.std() / np.sqrt(len(finite)))
        out[f"{who}_worst"] = float(density.min())
        densities[who] = finite
    for peer in PEERS:
        gap = densities["ours"] - densities[peer]
        out[f"over_{peer}"], out[f"over_{peer}_se"] = float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))
    if target is not None:
        out["entropy"] = float(target.log_density(scored).mean())
    out |= sample_quality(model, X, test, target, seed)
    out["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return out


def run(arguments):
    """Run the missing cells, `--jobs` at a time."""
    path = Path(arguments.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(r["dataset"], r["n"], r["seed"]) for r in map(json.loads, lines)}
    chosen = arguments.datasets.split(",") if arguments.datasets else targets.names(arguments.data)
    cells = [(d, arguments.n, s) for s in range(arguments.seeds) for d in chosen if (d, arguments.n, s) not in done]
    running = []
    while cells or running:
        while cells and len(running) < arguments.jobs:
            cell = cells.pop(0)
            command = [sys.executable, "-m", "benchmarks.compare", "cell", json.dumps([*cell, arguments.data])]
            running.append((cell, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)))
        time.sleep(0.2)
        for item in [r for r in running if r[1].poll() is not None]:
            running.remove(item)
            text, errors = item[1].communicate()
            records = [line[5:] for line in text.splitlines() if line.startswith("CELL ")]
            if records:
                with path.open("a") as file:
                    file.write(records[-1] + "\n")
                r = json.loads(records[-1])
                print(item[0], {k: round(r[k], 3) for k in ("ours", "kde", "gmm", "w1_ratio", "fit_s")}, flush=True)
            else:
                print(item[0], "FAILED", errors.strip().splitlines()[-1:], flush=True)


def holm(p_values, level=0.05):
    """Holm's step-down test: which hypotheses are rejected."""
    p = np.asarray(p_values)
    order, rejected = np.argsort(p), np.zeros(len(p), dtype=bool)
    for rank, i in enumerate(order):
        if p[i] > level / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


def summary(records):
    """Rows of the table: one per data set and n, means over seeds with paired standard errors."""
    groups = defaultdict(list)
    for r in records:
        groups[r["dataset"], r["n"]].append(r)
    rows = []
    for (name, n), rs in groups.items():
        average = lambda key, rs=rs: float(np.mean([r[key] for r in rs]))  # noqa: E731
        peer = max(PEERS, key=average)
        gaps = np.array([r[f"over_{peer}"] for r in rs])
        within = np.mean([r[f"over_{peer}_se"] ** 2 for r in rs]) / len(rs)
        between = gaps.var(ddof=1) / len(rs) if len(rs) > 1 else 0.0
        row = {k: average(k) for k in rs[0] if isinstance(rs[0][k], (int, float))}
        worst = {f"{who}_worst": min(r[f"{who}_worst"] for r in rs) for who in ("ours", "diffusion", *PEERS)}
        weights = defaultdict(float)
        for r in rs:
            for member, share in r["weights"].items():
                weights[member] += share / len(rs)
        rows.append(
            row
            | worst
            | {
                "dataset": name,
                "n": n,
                "peer": peer,
                "gap": gaps.mean(),
                "gap_se": float(np.sqrt(max(within, between))),
                "seeds": len(rs),
                "weights": dict(weights),
            }
        )
    return rows


def report(arguments):
    """Print the table and the verdicts."""
    records = [json.loads(line) for path in arguments.files for line in Path(path).read_text().splitlines()]
    rows = summary(records)
    if arguments.brief:
        brief(rows)
        verdicts(rows, records)
        return
    columns = (
        "data", "d", "n", "ours", "diffusion alone", "KDE", "GMM", "ours - best (se)", "worst row: ours / best peer",
        "KL", "W1 ratio (se)", "novelty", "fit s", "error, nats", "weights",
    )  # fmt: skip
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for r in rows:
        nats = [f"{r[who]:.3f}" for who in ("ours", "diffusion", "kde", "gmm")]
        cells = [r["dataset"], f"{r['d']:.0f}", f"{r['n_train']:.0f}", *nats]
        cells.append(f"{r['gap']:+.3f} ({r['gap_se']:.3f})")
        cells.append(f"{r['ours_worst']:.0f} / {r[r['peer'] + '_worst']:.0f}")
        cells.append(f"{r['entropy'] - r['ours']:.3f}" if "entropy" in r else "")
        cells.append(f"{r['w1_ratio']:.3f} ({r['w1_ratio_se']:.3f})")
        cells += [f"{r['novelty']:.2f}", f"{r['fit_s']:.1f}", f"{r['log_density_error']:.4f}"]
        cells.append(" ".join(f"{k} {v:.2f}" for k, v in r["weights"].items() if v >= 0.005))
        print("| " + " | ".join(cells) + " |")
    verdicts(rows, records)


def brief(rows):
    """The README's table."""
    print("| data | d | n | ours | KernelDensity | GaussianMixture | lead (se) | KL to the truth | W1 ratio | fit s |")
    print("|---" * 10 + "|")
    for r in rows:
        kl = f"{r['entropy'] - r['ours']:.3f}" if "entropy" in r else ""
        nats = " | ".join(f"{r[who]:.2f}" for who in ("ours", "kde", "gmm"))
        lead = f"{r['gap']:+.3f} ({r['gap_se']:.3f})"
        print(
            f"| {r['dataset']} | {r['d']:.0f} | {r['n_train']:.0f} | {nats} | {lead} | {kl} | "
            f"{r['w1_ratio']:.2f} | {r['fit_s']:.0f} |"
        )


def verdicts(rows, records):
    """The claims, each with its figure."""
    from scipy.stats import norm

    margin = np.where(np.array([r["n"] for r in rows]) < 1000, 0.05, 0.02)
    gap, se = np.array([r["gap"] for r in rows]), np.array([r["gap_se"] for r in rows])
    behind = holm(norm.cdf((gap + margin) / np.maximum(se, 1e-9)))
    ratios = np.array([r["w1_ratio"] for r in rows])
    names = [rows[i]["dataset"] for i in np.flatnonzero(behind)]
    print(f"\n{len(rows)} sets. Above both peers on {np.mean(gap > 0):.0%}; median lead {np.median(gap):.3f} nats;")
    print(f"behind the better peer beyond the margin (Holm, 5 %): {names or 'none'};")
    print(f"smallest gap {gap.min():+.3f} ({rows[int(gap.argmin())]['dataset']}).")
    print(f"W1 ratio: geometric mean {np.exp(np.log(ratios).mean()):.3f}, largest {ratios.max():.3f}", end=" ")
    print(f"({rows[int(ratios.argmax())]['dataset']}); smallest novelty {min(r['novelty'] for r in rows):.2f}.")
    fit = np.array([r["fit_s"] for r in records])
    print(f"Fit: median {np.median(fit):.1f} s, longest {fit.max():.1f} s.")
    print(f"Largest mean numerical error {max(r['log_density_error'] for r in rows):.4f} nats.")
    print(f"Furthest below the defensive promise: {max(r['below_promise'] for r in records):.2g} nats.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("run")
    p.add_argument("--out", required=True)
    p.add_argument("--data", default=None)
    p.add_argument("--datasets", default="")
    p.add_argument("--n", type=int, default=2000)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--jobs", type=int, default=1)
    p.set_defaults(function=run)
    p = commands.add_parser("report")
    p.add_argument("files", nargs="+")
    p.add_argument("--brief", action="store_true")
    p.set_defaults(function=report)
    p = commands.add_parser("cell")
    p.add_argument("spec")
    p.set_defaults(function=lambda a: print("CELL " + json.dumps(run_cell(*json.loads(a.spec))), flush=True))
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
