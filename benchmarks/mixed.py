"""Tables with categories and atoms: exact held-out log-densities, generated rows, and columns with atoms.

    python -m benchmarks.mixed run --out benchmarks/results/mixed.jsonl [--data FOLDER] [--n 4000] [--seeds 1]
        [--kinds columns,tables,classes,wholes]
    python -m benchmarks.mixed report benchmarks/results/mixed.jsonl [--published FOLDER/published.csv]

Tables of FOLDER (`roles.json` says which columns are categories): n training samples, and at most 4000 others that are
held out. Mean log-densities in nats, with respect to the same measure for both, as the atoms are the same:

- ours: the default with atoms="auto";
- mixture: the mixture of products of the same fit alone, a latent-class model that knows numbers too;
- apart: every column by itself, as if they were independent.

"detection" is 1 - (2 AUC - 1) of XGBoost (enable_categorical) that distinguishes n generated rows from the n training
rows, the mean of three folds: 1 where it cannot. The figures published for it are of fits to whole tables. XGBoost is
optional.

Classes: the tables with a class, n training samples, and at most 4000 others. Mean log-loss in nats of
DiffusionClassifier with atoms="auto", and of HistGradientBoostingClassifier with its defaults, and with the learning
rate, iterations and leaves that three folds of the training samples choose from a grid.

Wholes: the whole tables by the published protocol (`benchmarks.whole_tables`), which a folder of sdmetrics and XGBoost
on the path takes: as many generated rows as there are training rows, of ours, and of the fully factorized model, whose
published figures show whether this is the protocol. `--seconds` bounds the time of a fit.

Columns: single features whose density is known, n samples. The divergence of ours from it, and that of the pieces
apart: the share of each atom, and a fit to the values at none. And by how many standard errors the share of generated
values at the atoms is off that of the samples.
"""

import csv
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import cells, whole_tables

N_HELD_OUT = 4000
BOOSTING_GRID = {"learning_rate": [0.03, 0.1], "max_iter": [50, 100, 200], "max_leaf_nodes": [6, 15, 31]}
PUBLISHED = ("FullyFactorizedPreprocessed", "ShallowMixture", "TabSyn", "TabDiff", "TabPC")
FACTORIZED = PUBLISHED[0]
NORMAL, GAMMA, LOG_NORMAL = stats.norm(40, 12), stats.gamma(2.0), stats.lognorm(1.0)
PLURAL = {"column": "columns", "table": "tables", "class": "classes", "whole": "wholes"}
MEASURES = ("xgb_detection", "lr_detection", "mle", "shape", "trend")
# Atoms with their shares, and the distribution of the rest.
COLUMNS = {
    "zeros 60 %": ({0.0: 0.6}, GAMMA),
    "zeros 92 %": ({0.0: 0.92}, LOG_NORMAL),
    "code 999": ({999.0: 0.05}, NORMAL),
    "zeros and -1": ({-1.0: 0.1, 0.0: 0.3}, GAMMA),
    "censored": ({50.0: float(NORMAL.sf(50))}, stats.truncnorm(-np.inf, (50 - 40) / 12, 40, 12)),
}


def table(name, folder):
    """A table, with its columns of categories as text, and the names of these."""
    import pandas as pd

    roles = json.loads((Path(folder) / "roles.json").read_text())[name]
    frame = pd.read_csv(Path(folder) / f"{name}.csv.gz")
    regression = roles["task"] == "regression"
    numbers = roles["numeric"] + (roles["target"] if regression else [])
    categories = roles["category"] + ([] if regression else roles["target"])
    return frame[numbers + categories].dropna().astype(dict.fromkeys(categories, str)), categories


def detection(real, generated, categories):
    """How hard XGBoost finds it to tell rows apart, from 0 to 1; None where it is not installed."""
    try:
        from xgboost import XGBClassifier
    except ImportError:
        return None
    import pandas as pd
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    both = pd.concat([real, generated], ignore_index=True).astype(dict.fromkeys(categories, "category"))
    label = np.repeat([1, 0], [len(real), len(generated)])
    scores = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(both, label):
        model = XGBClassifier(enable_categorical=True, tree_method="hist", n_jobs=1)
        chance = model.fit(both.iloc[train], label[train]).predict_proba(both.iloc[test])[:, 1]
        scores.append(2 * max(0.5, roc_auc_score(label[test], chance)) - 1)
    return 1 - float(np.mean(scores))


def table_cell(name, n, seed, folder):
    """One record of a table."""
    from skdiffusion import DiffusionDensityEstimator, find_atoms

    frame, categories = table(name, folder)
    order = np.random.default_rng(seed).permutation(len(frame))
    train, test = frame.iloc[order[:n]], frame.iloc[order[n : n + N_HELD_OUT]]
    atoms, start = find_atoms(train), time.process_time()
    est = DiffusionDensityEstimator(random_state=seed, atoms=atoms).fit(train)
    out = {"table": name, "n": len(train), "seed": seed, "d": frame.shape[1], "fit_s": time.process_time() - start}
    coded = est._checked(test).astype(np.float64)
    out |= {"ours": est.score(test), "mixture": float(est.blend_.densities["mixture"].log_prob(coded).mean())}
    out["weights"] = est.component_weights_
    start = time.process_time()
    generated = est.sample(len(train), random_state=seed)
    out |= {"sample_s": time.process_time() - start, "detection": detection(train, generated, categories)}
    rng = np.random.default_rng(seed)
    shuffled = train.apply(lambda column: column.iloc[rng.permutation(len(column))].to_numpy())
    out["detection_apart"] = detection(train, shuffled, categories)
    out["apart"] = 0.0
    for column in frame:
        own = {column: atoms[column]} if column in atoms else None
        single = DiffusionDensityEstimator(random_state=seed, atoms=own).fit(train[[column]])
        out["apart"] += single.score(test[[column]])
    return out


def class_cell(name, n, seed, folder):
    """One record of the classes of a table."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import log_loss
    from sklearn.model_selection import GridSearchCV

    from skdiffusion import DiffusionClassifier, DiffusionDensityEstimator

    frame, categories = table(name, folder)
    target = json.loads((Path(folder) / "roles.json").read_text())[name]["target"][0]
    y = frame.pop(target).to_numpy(dtype=str)
    frame = frame.astype({c: "category" for c in categories if c != target})
    order = np.random.default_rng(seed).permutation(len(frame))
    train, test = order[:n], order[n : n + N_HELD_OUT]
    out = {"class": name, "n": len(train), "seed": seed}

    def lost(model):
        """Log-loss of a model on the other samples, and the seconds that its fit took."""
        start = time.process_time()
        model.fit(frame.iloc[train], y[train])
        return log_loss(y[test], model.predict_proba(frame.iloc[test])), time.process_time() - start

    model = DiffusionClassifier(DiffusionDensityEstimator(atoms="auto", random_state=seed))
    out["ours"], out["fit_s"] = lost(model)
    boosting = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)
    out["boosting"], _ = lost(boosting)
    search = GridSearchCV(boosting, BOOSTING_GRID, scoring="neg_log_loss", cv=3)
    out["boosting_tuned"], _ = lost(search)
    _, counts = np.unique(y[train], return_counts=True)
    out["shares"] = log_loss(y[test], np.tile(counts / counts.sum(), (len(test), 1)))
    return out


def whole_cell(name, seconds, seed, folder):
    """One record of a whole table by the published protocol."""
    from skdiffusion import DiffusionDensityEstimator, find_atoms

    if not whole_tables.available():
        raise RuntimeError("sdmetrics or XGBoost is not installed: whole tables are left out")
    roles, (train, test) = whole_tables.roles_of(name, folder), whole_tables.split(name, folder)
    X, start = whole_tables.to_fit(train, roles), time.process_time()
    categories = whole_tables.categorical_features(X)
    atoms = {column: values for column, values in find_atoms(X).items() if column not in categories}
    est = DiffusionDensityEstimator(
        random_state=seed, categorical_features=categories, atoms=atoms, max_fit_seconds=seconds or None
    ).fit(X)
    out = {"whole": name, "n": seconds, "seed": seed, "n_train": len(X), "fit_s": time.process_time() - start}
    out |= {"ours": est.score(whole_tables.to_fit(test, roles)), "weights": est.component_weights_}
    start = time.process_time()
    generated = whole_tables.as_published(est.sample(len(X), random_state=seed), train)
    out["sample_s"] = time.process_time() - start
    out |= whole_tables.measured(train, test, generated, roles, seed)
    factorized = whole_tables.measured(train, test, whole_tables.factorized(train, seed), roles, seed)
    return out | {f"factorized_{name}": value for name, value in factorized.items()}


def column_cell(name, n, seed):
    """One record of a column."""
    from skdiffusion import DiffusionDensityEstimator

    shares, rest = COLUMNS[name]
    rng = np.random.default_rng([seed, n])

    def draw(size):
        values = rest.rvs(size, random_state=rng)
        chosen = rng.random(size)
        for atom, end in zip(shares, np.cumsum(list(shares.values()))):
            values = np.where((chosen < end) & (chosen >= end - shares[atom]), atom, values)
        return values[:, None]

    X, test = draw(n), draw(20_000)
    at = {atom: test[:, 0] == atom for atom in shares}
    other = ~np.any([*at.values()], axis=0)
    truth = np.log(1 - sum(shares.values())) + rest.logpdf(test[:, 0])
    for atom, mine in at.items():
        truth[mine] = np.log(shares[atom])
    start = time.process_time()
    est = DiffusionDensityEstimator(random_state=seed, atoms="auto").fit(X)
    out = {"column": name, "n": n, "seed": seed, "fit_s": time.process_time() - start}
    out["found"] = est.atoms_[0].tolist() if 0 in est.atoms_ else []
    out["divergence"] = float((truth - est.score_samples(test)).mean())
    values = X[~np.isin(X[:, 0], list(shares))]
    apart = np.empty(len(test))
    piece = DiffusionDensityEstimator(random_state=seed).fit(values)
    apart[other] = np.log(len(values) / n) + piece.score_samples(test[other])
    for atom, mine in at.items():
        apart[mine] = np.log((X == atom).mean())
    out["divergence_apart"] = float((truth - apart).mean())
    generated, m = est.sample(20_000, random_state=seed), 20_000
    errors = [np.sqrt(s * (1 - s) * (1 / n + 1 / m)) for s in shares.values()]
    gaps = [abs((generated == a).mean() - (X == a).mean()) / e for a, e in zip(shares, errors)]
    out["standard_errors"] = float(max(gaps))
    return out


def run_cell(kind, name, n, seed, folder):
    """One record."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if kind == "column":
        return column_cell(name, n, seed)
    return {"table": table_cell, "class": class_cell, "whole": whole_cell}[kind](name, n, seed, folder)


def run(arguments):
    """Run the missing cells."""
    done = {(kind, r[kind], r["n"], r["seed"]) for r in cells.read(arguments.out) for kind in PLURAL if kind in r}
    asked = arguments.kinds.split(",")
    todo = []
    if "columns" in asked:
        todo += [("column", k, n, s, None) for s in range(arguments.seeds) for n in (500, 2000) for k in COLUMNS]
    roles = json.loads((Path(arguments.data) / "roles.json").read_text()) if arguments.data else {}
    names = [k for k in roles if not arguments.tables or k in arguments.tables.split(",")]
    with_class = [k for k in names if roles[k]["task"] != "regression"]
    for kind, of_kind in (("table", names), ("class", with_class)):
        if PLURAL[kind] in asked:
            todo += [(kind, k, arguments.n, s, arguments.data) for s in range(arguments.seeds) for k in of_kind]
    if "wholes" in asked:
        todo += [("whole", k, arguments.seconds, s, arguments.data) for s in range(arguments.seeds) for k in names]
    todo = [c for c in todo if c[:4] not in done]
    cells.run_all("benchmarks.mixed", todo, arguments.out, arguments.jobs, limit_s=3600.0)


def mean_of(records):
    """Mean of every number of some records."""
    return {k: np.mean([r[k] for r in records]) for k in records[0] if isinstance(records[0][k], (int, float))}


def grouped(records, key):
    """Records by the value of a key and by their numbers of samples, in this order."""
    out = defaultdict(list)
    for record in records:
        if key in record:
            out[record[key], record["n"]].append(record)
    return sorted(out.items())


def published_figures(path):
    """Figures by table, method and measure."""
    out = defaultdict(dict)
    if path:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if row["method"] in PUBLISHED and row["xgb_detection"]:
                    out[row["dataset"]][row["method"]] = {m: float(row[m]) for m in (*MEASURES, "training_time")}
    return out


def report_wholes(records, others):
    """Figures of whole tables by the published protocol, those of other methods beside ours."""
    ours = {name: mean_of(some) for (name, _), some in grouped(records, "whole")}
    print(f"\n| whole table | method | {' | '.join(MEASURES)} | fit, s |")
    print("|---" * (3 + len(MEASURES)) + "|")
    for name in {**ours, **others}:
        rows = {method: (figures, figures["training_time"]) for method, figures in others.get(name, {}).items()}
        if name in ours:
            m = ours[name]
            rows[f"{FACTORIZED}, here"] = ({k: m[f"factorized_{k}"] for k in MEASURES}, 0.0)
            rows["ours"] = (m, m["fit_s"])
        for method, (figures, seconds) in rows.items():
            print(f"| {name} | {method} | {' | '.join(f'{figures[k]:.3f}' for k in MEASURES)} | {seconds:.0f} |")


def report(files, published=None):
    """Means over the seeds, and published figures beside them."""
    records = cells.read(*files)
    others = published_figures(published)
    print("| table | n | seeds | ours | mixture | apart | detection | of shuffled columns | fit, s |")
    print("|---" * 9 + "|")
    for (name, n), some in grouped(records, "table"):
        m = mean_of(some)
        nats = " | ".join(f"{m[k]:.3f}" for k in ("ours", "mixture", "apart"))
        found = " | ".join(f"{m[k]:.3f}" if k in m else "" for k in ("detection", "detection_apart"))
        print(f"| {name} | {n} | {len(some)} | {nats} | {found} | {m['fit_s']:.0f} |")
    report_wholes(records, others)
    print("\n| class of | n | seeds | ours | boosting | boosting, tuned | shares alone | fit, s |")
    print("|---" * 8 + "|")
    for (name, n), some in grouped(records, "class"):
        m = mean_of(some)
        losses = " | ".join(f"{m[k]:.3f}" for k in ("ours", "boosting", "boosting_tuned", "shares"))
        print(f"| {name} | {n} | {len(some)} | {losses} | {m['fit_s']:.0f} |")
    print("\n| column | n | seeds | divergence | pieces apart | mass off, standard errors | fit, s |")
    print("|---" * 7 + "|")
    for (name, n), some in grouped(records, "column"):
        m = mean_of(some)
        values = f"{m['divergence']:.4f} | {m['divergence_apart']:.4f} | {m['standard_errors']:.1f}"
        print(f"| {name} | {n} | {len(some)} | {values} | {m['fit_s']:.1f} |")


def main():
    parser, p, q = cells.command_line(__doc__, run_cell, run, report)
    p.add_argument("--data")
    p.add_argument("--tables", default="")
    p.add_argument("--kinds", default=",".join(PLURAL.values()))
    p.add_argument("--n", type=int, default=4000)
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--seconds", type=int, default=600)
    q.add_argument("--published")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
