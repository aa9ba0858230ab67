"""skdiffusion beside the field's density estimators: held-out nats, samples and seconds.

    python -m benchmarks.compare run --out benchmarks/results/n2000.jsonl [--data FOLDER] [--n 2000] [--seeds 3]
    python -m benchmarks.compare report benchmarks/results/n2000.jsonl [--brief] [--figure FILE.png]

Each cell (data set, estimator, n, seed) is a process of its own, on one core and thread, with a time limit. All
estimators see the same samples and are scored on the same samples, so their differences are paired. Cells in the
file are skipped: after a change of ours, delete its records (`--forget ours`) and run again. Seconds are
CPU seconds of the process.
"""

import base64
import json
import resource
import time
import warnings
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import cells, targets
from benchmarks.peers import PEERS, REFERENCES

N_SCORED = 2000
OURS = "ours"


def pack(values):
    """Text of an array: log-densities to a thousandth of a nat."""
    rounded = np.round(np.clip(values, -1e5, 1e5) * 1000).astype(np.int32)
    return base64.b64encode(zlib.compress(rounded.tobytes(), 9)).decode()


def unpack(text):
    """The array of `pack`."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.int32) / 1000


# -- one cell ----------------------------------------------------------------------------------------


def sample_quality(draw, X, test, target, seed):
    """W1 over its floor, C2ST accuracy, novelty; on tables, ForestDiffusion's distances as well.

    The ratio is that of the mean W1 (draws, fresh samples) to the mean W1 (fresh, fresh) over pairs of 500 samples.
    """
    from skdiffusion.metrics import classifier_two_sample_test, novelty, wasserstein_1

    scale, rng = X.std(0), np.random.default_rng([seed, 3])
    n_pairs = 50 if X.shape[1] == 1 else 20
    m = min(500, len(test) // 2)
    draws = draw(max(n_pairs * m, 2000)) / scale
    ours, floor = [], []
    for i in range(n_pairs):
        if target is not None:
            a, b = target.sample(m, rng) / scale, target.sample(m, rng) / scale
        else:
            pick = rng.permutation(len(test))
            a, b = test[pick[:m]] / scale, test[pick[m : 2 * m]] / scale
        ours.append(wasserstein_1(draws[i * m : (i + 1) * m], a))
        floor.append(wasserstein_1(a, b))
    ratio = np.mean(ours) / np.mean(floor)
    spread = ratio * np.hypot(np.std(ours) / np.mean(ours), np.std(floor) / np.mean(floor)) / np.sqrt(n_pairs)
    c2st = classifier_two_sample_test(draws[: len(test)][:2000], test[:2000] / scale, random_state=seed)
    out = {"w1_ratio": ratio, "w1_ratio_se": spread, "c2st": float(c2st)}
    out["novelty"] = novelty(draws[:2000], X / scale, test[:2000] / scale)
    if target is None:
        out |= forest_protocol(draws * scale, X, test)
    return out


def forest_protocol(draws, X, test):
    """W1 in the 1-norm on features scaled to [0, 1] against train and test samples, and that of the training samples.

    Jolicoeur-Martineau, Fatras and Kachman (2024); coverage is the share of test samples with a draw in their ball of
    the nearest test neighbors, 5 of them.
    """
    import ot
    from scipy.spatial import cKDTree

    low, high = X.min(0), X.max(0)
    span = np.maximum(high - low, 1e-12)
    fake, train, held = ((A[:2000] - low) / span for A in (draws, X, test))

    def distance(A, B):
        cost = ot.dist(A, B, metric="cityblock")
        return float(ot.emd2(np.full(len(A), 1 / len(A)), np.full(len(B), 1 / len(B)), cost, numItermax=2_000_000))

    radii = cKDTree(held).query(held, 6, p=1)[0][:, -1]
    reached = cKDTree(fake[: len(held)]).query(held, p=1)[0] <= radii
    return {
        "w1_train": distance(fake[: len(train)], train), "w1_test": distance(fake[: len(held)], held),
        "w1_copy": distance(train, held), "coverage": float(reached.mean()),
    }  # fmt: skip


def run_ours(X, scored, seed, out):
    """Fit, score and time our default; returns log-densities and a function that draws."""
    from skdiffusion import DiffusionDensityEstimator

    clock = time.process_time
    start = clock()
    model = DiffusionDensityEstimator(random_state=seed).fit(X)
    out["fit_s"] = clock() - start
    start = clock()
    density = model.score_samples(scored)
    out["score_rows_s"] = len(scored) / (clock() - start)
    start = clock()
    model.sample(10_000)
    out["sample_rows_s"] = 10_000 / (clock() - start)
    diffusion = model.blend_.densities["diffusion"].log_prob(scored)
    out["diffusion"] = float(np.maximum(diffusion, floor_nats(X.shape[1])).mean())
    out["weights"] = {k: round(float(w), 4) for k, w in model.component_weights_.items()}
    out["map"] = str(model.preprocessor_.feature_transform)
    out["log_density_error"] = float(model.log_density_error(scored[:500]).mean())
    student = model.blend_.densities["student"].log_prob(scored) + np.log(model.component_weights_["student"])
    out["below_promise"] = float(np.max(student - density))
    return density, lambda m: model.sample(m, random_state=seed)


def run_peer(who, X, scored, seed, seconds, out):
    """Fit, score and time a peer; returns log-densities, or None, and a function that draws."""
    model, clock = (PEERS | REFERENCES)[who](), time.process_time
    out["versions"] = model.versions()
    start = clock()
    model.fit(X, seed, seconds)
    out["fit_s"] = clock() - start
    start = clock()
    density = model.score_samples(scored[: model.max_scored])
    if density is not None:
        out["score_rows_s"] = len(density) / (clock() - start)
    start = clock()
    model.sample(1000, seed)
    out["sample_rows_s"] = 1000 / (clock() - start)
    return density, lambda m: model.sample(m, seed)


def run_cell(name, who, n, seed, seconds, data):
    """One record."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, test, target = targets.load(name, n, seed, data)
    scored = test[:N_SCORED]
    out = {"dataset": name, "estimator": who, "n": n, "seed": seed, "d": X.shape[1], "n_train": len(X)}
    if who == OURS:
        density, draw = run_ours(X, scored, seed, out)
    else:
        density, draw = run_peer(who, X, scored, seed, seconds, out)
    if density is not None:
        density = np.where(np.isnan(density), -np.inf, density)
        out["nats"] = float(mean_density(density, X.shape[1]))
        out["worst"] = float(np.maximum(density, -1e300).min())
        out["rows"] = pack(density)
    if target is not None:
        out["truth"] = float(target.log_prob(scored).mean())
    out |= sample_quality(draw, X, test, target, seed)
    out["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return out


def run(arguments):
    """Run the missing cells."""
    records = cells.read(arguments.out)
    if arguments.forget:
        records = [r for r in records if r["estimator"] not in arguments.forget.split(",")]
        Path(arguments.out).write_text("".join(json.dumps(r) + "\n" for r in records))
    done = {(r["dataset"], r["estimator"], r["n"], r["seed"]) for r in records}
    names = arguments.datasets.split(",") if arguments.datasets else targets.names(arguments.data)
    who = arguments.estimators.split(",") if arguments.estimators else [OURS, *PEERS, *REFERENCES]
    todo = [
        (name, estimator, arguments.n, seed, arguments.seconds, arguments.data)
        for seed in range(arguments.seeds)
        for estimator in who
        for name in names
        if (name, estimator, arguments.n, seed) not in done
    ]
    cells.run_all("benchmarks.compare", todo, arguments.out, arguments.jobs, arguments.limit)


# -- the table ---------------------------------------------------------------------------------------


def floor_nats(d):
    """What a sample of density zero counts: below the mean of any estimator, and still in favor of its own."""
    return min(-50.0, -2.0 * d)


def floored(samples, d):
    """Log-densities; if a sample has none, no sample counts less than the floor."""
    return np.maximum(samples, floor_nats(d)) if samples.min() <= -99_000 else samples


def mean_density(samples, d):
    """Mean of `floored` log-densities."""
    return floored(np.maximum(samples, -1e5), d).mean()


def holm(p_values, level=0.05):
    """Holm's step-down test: which hypotheses are rejected."""
    p = np.asarray(p_values)
    order, rejected = np.argsort(p), np.zeros(len(p), dtype=bool)
    for rank, i in enumerate(order):
        if p[i] > level / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


def paired(ours, theirs):
    """Mean lead and its standard error over seeds: the larger of that within and that between seeds."""
    leads, errors = [], []
    for a, b in zip(ours, theirs):
        x, y = unpack(a["rows"]), unpack(b["rows"])
        m = min(len(x), len(y))
        gap = floored(x, a["d"])[:m] - floored(y, a["d"])[:m]
        leads.append(gap.mean())
        errors.append(gap.var() / m)
    k = len(leads)
    between = np.var(leads, ddof=1) / k if k > 1 else 0.0
    return float(np.mean(leads)), float(np.sqrt(max(np.mean(errors) / k, between)))


def summary(records):
    """One sample for each data set and n: our means over seeds, the lead over each peer, and each peer's means."""
    groups = defaultdict(lambda: defaultdict(dict))
    for r in records:
        groups[r["dataset"], r["n"]][r["estimator"]][r["seed"]] = r
    samples = []
    for (name, n), by in groups.items():
        if OURS not in by:
            continue
        mine = by[OURS]
        row = {"dataset": name, "n": n, "seeds": len(mine), "leads": {}, "peers": {}, "weights": defaultdict(float)}
        for key, value in next(iter(mine.values())).items():
            if isinstance(value, (int, float)) and key not in row:
                row[key] = float(np.mean([r[key] for r in mine.values()]))
        for r in mine.values():
            for member, share in r["weights"].items():
                row["weights"][member] += share / len(mine)
        row["worst"] = min(r["worst"] for r in mine.values())
        for who in [*PEERS, *REFERENCES]:
            seeds = sorted(set(mine) & set(by.get(who, ())))
            if not seeds:
                continue
            theirs = [by[who][s] for s in seeds]
            keys = [k for k, v in theirs[0].items() if isinstance(v, (int, float))]
            row["peers"][who] = {k: float(np.mean([r[k] for r in theirs])) for k in keys}
            if "rows" in theirs[0]:
                row["leads"][who] = paired([mine[s] for s in seeds], theirs)
        # The peer closest behind us, or furthest ahead.
        row["peer"] = min(row["leads"], key=lambda w, row=row: row["leads"][w][0]) if row["leads"] else None
        row["gap"], row["gap_se"] = row["leads"].get(row["peer"], (np.nan, np.nan))
        samples.append(row)
    return samples


def report(files, brief=False, figure=""):
    """Print the table and the verdicts."""
    records = cells.read(*files)
    if not any(r["estimator"] == OURS for r in records):
        raise SystemExit(f"No record of ours in {', '.join(map(str, files))}: run the cells of {OURS!r} first.")
    samples = summary(records)
    scored = [w for w in PEERS if any(w in r["leads"] for r in samples)]
    if brief:
        head = ["data", "d", "n", "ours", "best peer", "lead (se)", "KL to the truth", "W1 ratio", "C2ST", "fit s"]
    else:
        head = ["data", "d", "n", "ours", "diffusion alone", *scored, "lead on the best (se)", "worst row", "KL"]
        head += ["W1 ratio (se)", "C2ST", "novelty", "fit s", "error, nats", "weights"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for r in samples:
        kl = f"{r['truth'] - r['nats']:.3f}" if "truth" in r else ""
        line = [r["dataset"], f"{r['d']:.0f}", f"{r['n_train']:.0f}", f"{r['nats']:.3f}"]
        lead = f"{r['gap']:+.3f} ({r['gap_se']:.3f})"
        if brief:
            best = f"{r['nats'] - r['gap']:.3f} ({r['peer']})"
            line += [best, lead, kl, f"{r['w1_ratio']:.2f}", f"{r['c2st']:.2f}", f"{r['fit_s']:.0f}"]
        else:
            line.append(f"{r['diffusion']:.3f}")
            line += [f"{r['nats'] - r['leads'][w][0]:.3f}" if w in r["leads"] else "" for w in scored]
            line += [lead, f"{r['worst']:.0f}", kl, f"{r['w1_ratio']:.3f} ({r['w1_ratio_se']:.3f})", f"{r['c2st']:.3f}"]
            line += [f"{r['novelty']:.2f}", f"{r['fit_s']:.1f}", f"{r['log_density_error']:.4f}"]
            line.append(" ".join(f"{k} {v:.2f}" for k, v in r["weights"].items() if v >= 0.005))
        print("| " + " | ".join(line) + " |")
    verdicts(samples, [r for r in records if r["estimator"] == OURS])
    peer_table(samples)
    if figure:
        draw_figure(samples, figure)


def leads(compared):
    """How far ahead of the best peer, and where behind."""
    from scipy.stats import norm

    margin = np.where(np.array([r["n"] for r in compared]) < 1000, 0.05, 0.02)
    gap, se = (np.array([r[key] for r in compared]) for key in ("gap", "gap_se"))
    behind = holm(norm.cdf((gap + margin) / np.maximum(se, 1e-9)))
    tables = np.array(["truth" not in r for r in compared])
    print(
        f"\n{len(compared)} sets. Above every peer on {np.mean(gap > 0):.0%}, above or within 0.01 of the best", end=" "
    )
    print(f"on {np.mean(gap >= -0.01):.0%}; median lead {np.median(gap):.3f} nats", end="")
    print(f", on tables {np.median(gap[tables]):.3f};" if tables.any() else ";")
    names = [compared[i]["dataset"] for i in np.flatnonzero(behind)]
    print(f"behind the best peer beyond the margin (Holm, 5 %): {names or 'none'};")
    print(f"smallest lead {gap.min():+.3f} ({compared[int(gap.argmin())]['dataset']}).")


def verdicts(samples, ours):
    """The claims, each with its figure."""
    compared = [r for r in samples if r["peer"]]
    if compared:
        leads(compared)
    else:
        print("\nNo peer has densities of these sets.")
    ratios, c2st = np.array([r["w1_ratio"] for r in samples]), np.array([r["c2st"] for r in samples])
    print(f"W1 ratio: geometric mean {mean_ratio(samples):.3f}", end="")
    if few := [r for r in samples if r["d"] <= 2]:
        print(f" ({mean_ratio(few):.3f} in one and two columns)", end="")
    print(f", largest {ratios.max():.3f}", end=" ")
    print(
        f"({samples[int(ratios.argmax())]['dataset']}); C2ST mean {c2st.mean():.3f}, largest {c2st.max():.3f}", end=" "
    )
    print(f"({samples[int(c2st.argmax())]['dataset']}); smallest novelty {min(r['novelty'] for r in samples):.2f}.")
    tabular = [r for r in samples if "w1_copy" in r]
    if tabular:
        print(f"ForestDiffusion's protocol on {len(tabular)} tables: W1_test over the training copy's, mean", end=" ")
        print("{:.3f}; coverage {:.3f}.".format(*forest_means(tabular)))
    pairs = [(r, r["peers"]["ForestDiffusion"]) for r in tabular if "ForestDiffusion" in r["peers"]]
    if pairs:
        mine, theirs = ((mean_ratio(side), *forest_means(side)) for side in zip(*pairs))
        print("On the {} of ForestDiffusion: W1 ratio {:.3f}, {:.3f} and {:.3f};".format(len(pairs), *mine), end=" ")
        print("its own {:.3f}, {:.3f} and {:.3f}.".format(*theirs))
    fit = np.array([r["fit_s"] for r in ours])
    print(f"Fit: median {np.median(fit):.1f} s, longest {fit.max():.1f} s.")
    print(f"Largest mean numerical error {max(r['log_density_error'] for r in samples):.4f} nats.")
    print(f"Furthest below the defensive promise: {max(r['below_promise'] for r in ours):.2g} nats.")


def mean_ratio(samples):
    """Geometric mean of the W1 ratio."""
    return np.exp(np.mean([np.log(r["w1_ratio"]) for r in samples]))


def forest_means(tables):
    """Means of W1_test over the training copy's, and of the coverage."""
    return np.mean([(r["w1_test"] / r["w1_copy"], r["coverage"]) for r in tables], axis=0)


def peer_table(samples):
    """Each estimator over all sets it finished."""
    head = "estimator, sets, nats below the best of all (median), W1 ratio, C2ST, W1_test / copy, coverage, fit s, "
    head += "samples scored / s, samples drawn / s"
    print("\n| " + " | ".join(head.split(", ")) + " |\n" + "|---" * 10 + "|")
    for who in [OURS, *PEERS, *REFERENCES]:
        mine = [(r, r if who == OURS else r["peers"].get(who)) for r in samples]
        mine = [(r, m) for r, m in mine if m]
        if not mine:
            continue
        behind = []
        for r, _ in mine:
            leads = {w: lead for w, (lead, _) in r["leads"].items()} | {OURS: 0.0}
            if who in leads:
                behind.append(leads[who] - min(leads.values()))
        below = f"{np.median(behind):.3f}" if behind else ""
        ratio = mean_ratio([m for _, m in mine])
        c2st = np.mean([m["c2st"] for _, m in mine])
        copies = [m["w1_test"] / m["w1_copy"] for _, m in mine if "w1_copy" in m]
        cover = [m["coverage"] for _, m in mine if "coverage" in m]
        speed = []
        for key in ("fit_s", "score_rows_s", "sample_rows_s"):
            values = [m[key] for _, m in mine if np.isfinite(m.get(key, np.nan)) and who not in REFERENCES]
            speed.append(f"{np.median(values):.3g}" if values else "")
        protocol = [f"{np.mean(v):.3f}" if v else "" for v in (copies, cover)]
        name = "training samples" if who in REFERENCES else who
        print("| " + " | ".join([name, str(len(mine)), below, f"{ratio:.3f}", f"{c2st:.3f}", *protocol, *speed]) + " |")


def draw_figure(samples, path):
    """Nats below the best of all, W1 ratio and samples scored per second, against fit seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(10, 3.9), layout="constrained")
    titles = ("held-out nats below the best", "W1 ratio of samples", "samples scored a second")
    for index, who in enumerate([OURS, *PEERS]):
        points = defaultdict(list)
        for r in samples:
            mine = r if who == OURS else r["peers"].get(who)
            if mine is None:
                continue
            leads = {w: lead for w, (lead, _) in r["leads"].items()} | {OURS: 0.0}
            values = (
                leads[who] - min(leads.values()) if who in leads else None, mine["w1_ratio"], mine.get("score_rows_s")
            )  # fmt: skip
            for panel, value in enumerate(values):
                if value is not None:
                    points[panel].append((mine["fit_s"], value))
        style = (
            {"color": "black", "marker": "*"}
            if who == OURS
            else {"color": f"C{index}", "marker": "os^vDPXd"[index - 1]}
        )
        for panel, axis in enumerate(axes):
            if not points[panel]:
                continue
            xy = np.array(points[panel])
            axis.scatter(*xy.T, s=10, alpha=0.25, linewidths=0, **style)
            center = np.median(xy, axis=0)
            size, order = (140, 4) if who == OURS else (60, 3)
            axis.scatter(*center, s=size, label=who, edgecolors="white", zorder=order, **style)
    for axis, title in zip(axes, titles):
        axis.set(xscale="log", xlabel="fit (CPU seconds)", title=title)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("symlog", linthresh=0.03)
    axes[0].set_ylim(60, -0.005)
    axes[0].set_yticks([0, 0.01, 0.1, 1, 10], ["0", "0.01", "0.1", "1", "10"])
    axes[1].set_yscale("log")
    axes[1].set_ylim(0.9, 3.2)  # a few runs that failed lie above
    axes[1].set_yticks([1, 1.2, 1.5, 2, 3], ["1", "1.2", "1.5", "2", "3"])
    axes[1].minorticks_off()
    axes[2].set_yscale("log")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=120)


def main():
    parser, p, of_report = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--data", default=None)
    p.add_argument("--datasets", default="")
    p.add_argument("--estimators", default="", help="all by default: ours and the peers, by name")
    p.add_argument("--forget", default="", help="estimators whose records are dropped first")
    p.add_argument("--n", type=int, default=2000)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=20, help="CPU seconds of training for the neural peers")
    p.add_argument("--limit", type=float, default=900, help="seconds for a whole cell")
    of_report.add_argument("--brief", action="store_true")
    of_report.add_argument("--figure", default="")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
