"""Whole tables by the protocol of published generators of tables: what sdmetrics and XGBoost say of generated rows.

The protocol is that of TabSyn, TabDiff and TabPC, as is the split into training and test rows. Detection is sdmetrics'
score, 1 - (2 max(AUC, 1/2) - 1), the mean of three folds, where a classifier distinguishes as many generated rows as
there are training rows from these. Shape and trend are those of sdmetrics' quality report. "mle", the efficacy of
machine learning, is the AUC of XGBoost that was fitted to generated rows, on the test rows; for a regression the RMSE
of the logarithm of the target. There the published code chooses settings by the error of the logarithm as a prediction
of the target itself, and so does this.

sdmetrics and XGBoost are optional: without them these measurements are left out.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

SEED = 1234  # of the published split
TRAIN_SHARE = 0.9
TARGET_ENDS = 1.0, 20_000.0  # of the target of a regression, before its logarithm
MISSING = "nan"  # a category of its own there
FEW_VALUES = 10  # of a count, that the quality report takes for categories
GRID = {"min_child_weight": [1, 10], "max_depth": [5, 10, 20], "gamma": [0.0, 1.0]}
N_TREES = (10, 50, 100)


def available():
    """Whether the libraries of the protocol are installed."""
    return all(find_spec(name) is not None for name in ("sdmetrics", "xgboost"))


def roles_of(name, folder):
    """Task, and columns of numbers, of categories and the target of a table."""
    return json.loads((Path(folder) / "roles.json").read_text())[name]


def split(name, folder):
    """Training and test rows as published, with the columns that they have there."""
    import pandas as pd

    roles = roles_of(name, folder)
    frame = pd.read_csv(Path(folder) / f"{name}.csv.gz")
    text = [column for column in roles["category"] if pd.api.types.is_string_dtype(frame[column])]
    frame[text] = frame[text].astype(object).fillna(MISSING)
    if "part" in frame:
        parts = frame.pop("part")
        return frame[parts == "train"].reset_index(drop=True), frame[parts == "test"].reset_index(drop=True)
    frame = frame.dropna().reset_index(drop=True)
    rows, n_train, seed = np.arange(len(frame)), int(TRAIN_SHARE * len(frame)), SEED
    while True:
        np.random.RandomState(seed).shuffle(rows)
        train, test = frame.loc[rows[:n_train]], frame.loc[rows[n_train:]]
        if all(train[c].nunique() == frame[c].nunique() for c in roles["category"]):
            return train.reset_index(drop=True), test.reset_index(drop=True)
        seed += 1


def kinds(roles, columns):
    """Names of the columns of numbers and of categories, the target among them."""
    numbers = roles["numeric"] + (roles["target"] if roles["task"] == "regression" else [])
    return [c for c in columns if c in numbers], [c for c in columns if c not in numbers]


def to_fit(frame, roles):
    """The rows as a density estimator takes them: categories by their dtype."""
    _, categories = kinds(roles, list(frame))
    return frame.astype(dict.fromkeys(categories, str)).astype(dict.fromkeys(categories, "category"))


def categorical_features(X):
    """The columns of categories of rows to fit: those by their dtype, and numbers that one of these decides."""
    categories = list(X.select_dtypes("category"))

    def decided(column):
        of_each = (X.groupby(c, observed=True)[column].nunique() for c in categories)
        return X[column].nunique() > 1 and any((counts <= 1).all() for counts in of_each)

    return categories + [column for column in X if column not in categories and decided(column)]


def as_published(generated, like):
    """Generated rows with the dtypes of the training rows."""
    import pandas as pd

    out = {}
    for column in like:
        values = generated[column]
        if like[column].dtype == bool:
            out[column] = values.astype(str) == "True"
        else:
            out[column] = values.astype(object if like[column].dtype.kind == "O" else like[column].dtype)
    return pd.DataFrame(out)


def factorized(train, seed):
    """Rows whose values are drawn column by column: the fully factorized model, with the training values themselves."""
    rng = np.random.default_rng(seed)
    return train.apply(lambda column: column.iloc[rng.integers(0, len(column), len(column))].to_numpy())


def detections(real, generated):
    """sdmetrics' scores of logistic regression and of XGBoost."""
    from sdmetrics.single_table import LogisticDetection
    from sdmetrics.single_table.detection.sklearn import ScikitLearnClassifierDetectionMetric
    from xgboost import XGBClassifier

    class XGBoostDetection(ScikitLearnClassifierDetectionMetric):
        """XGBoost with its defaults, as published."""

        @staticmethod
        def _get_classifier():
            return XGBClassifier(eval_metric="logloss", enable_categorical=True, random_state=0, n_jobs=1)

    real, generated = _as_objects(real), _as_objects(generated)
    return {
        "lr_detection": float(LogisticDetection.compute(real, generated)),
        "xgb_detection": float(XGBoostDetection.compute(real, generated)),
    }


def _as_objects(frame):
    """Columns of text as Python objects, which sdmetrics takes for categories."""
    return frame.astype({c: object for c in frame if frame[c].dtype.kind not in "iufb"})


def quality(real, generated):
    """Shape and trend of sdmetrics' report, for which counts of few values are categories."""
    from sdmetrics.reports.single_table import QualityReport

    columns = {}
    for name in real:
        x = real[name]
        number = x.dtype.kind in "iuf"
        few = number and bool((x >= 0).all() and (x % 1 == 0).all()) and x.nunique() <= FEW_VALUES
        sdtype = "boolean" if x.dtype == bool else "numerical" if number and not few else "categorical"
        columns[name] = {"sdtype": sdtype}
    report = QualityReport()
    # All pairs count, as they did in the releases that the published figures are of.
    report.real_correlation_threshold = report.real_association_threshold = 0
    metadata = {"columns": columns, "METADATA_SPEC_VERSION": "SINGLE_TABLE_V1"}
    report.generate(_as_objects(real), _as_objects(generated), metadata, verbose=False)
    scores = dict(report.get_properties().to_numpy().tolist())
    return {"shape": float(scores["Column Shapes"]), "trend": float(scores["Column Pair Trends"])}


class Features:
    """Features and target as the protocol gives them to XGBoost, from the generated rows alone."""

    def __init__(self, generated, roles):
        from sklearn.preprocessing import OneHotEncoder

        self.roles, self.regression = roles, roles["task"] == "regression"
        self.ends = None
        for column in generated:
            # The first column of numbers scales all others, there and so here.
            if column in roles["numeric"] and self.ends is None:
                self.ends = float(generated[column].min()), float(generated[column].max())
        categories = generated[roles["category"]].astype(str)
        self.encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(categories)
        self.classes = sorted(generated[roles["target"][0]].astype(str).unique())

    def of(self, frame):
        """Features and target of rows."""
        low, high = self.ends
        x = frame[self.roles["numeric"]].to_numpy(dtype=np.float32)
        scaled = np.log(np.maximum(x, 1e-2)) if low >= 0 and high >= 1e3 else (x - low) / (high - low) * 5
        coded = self.encoder.transform(frame[self.roles["category"]].astype(str))
        y = frame[self.roles["target"][0]]
        target = y.to_numpy(dtype=np.float32) if self.regression else (y.astype(str) == self.classes[-1]).to_numpy(int)
        return np.hstack([scaled, coded]), target


def efficacy(generated, test, roles, seed):
    """AUC, or root mean squared error, on test rows of XGBoost that a ninth of the generated rows chooses."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import ParameterGrid
    from xgboost import XGBClassifier, XGBRegressor

    features = Features(generated, roles)
    X, y = features.of(generated)
    X_test, y_test = features.of(test)
    y_fit = y
    if features.regression:
        y_fit, y_test = (np.log(np.clip(target, *TARGET_ENDS)) for target in (y, y_test))
    order = np.random.default_rng(seed).permutation(len(X))
    chooses, fits = order[: len(X) // 9], order[len(X) // 9 :]
    kind = XGBRegressor if features.regression else XGBClassifier

    def scored(model, rows, target, n_trees):
        if features.regression:
            return -float(np.sqrt(np.mean((model.predict(rows, iteration_range=(0, n_trees)) - target) ** 2)))
        chance = model.predict_proba(rows, iteration_range=(0, n_trees))[:, 1]
        return float(roc_auc_score(target, chance))

    best = (-np.inf, None, 0)
    for setting in ParameterGrid(GRID):
        # Fewer trees are the first of more.
        model = kind(n_estimators=max(N_TREES), tree_method="hist", n_jobs=1, **setting).fit(X[fits], y_fit[fits])
        for n_trees in N_TREES:
            value = scored(model, X[chooses], y[chooses], n_trees)
            if value > best[0]:
                best = (value, model, n_trees)
    return abs(scored(best[1], X_test, y_test, best[2]))


def measured(train, test, generated, roles, seed):
    """All figures of the protocol."""
    out = detections(train, generated) | quality(train, generated)
    return out | {"mle": efficacy(generated, test, roles, seed)}
