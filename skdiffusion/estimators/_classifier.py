"""DiffusionClassifier: the class as one more column of a table, and its probabilities given the other columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, clone
from sklearn.utils import Tags, assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.parallel import workers
from skdiffusion._utils.progress import CallbackSupportMixin, FitParts, with_callbacks
from skdiffusion._utils.validation import (
    HasMethods,
    RandomState,
    check_bounds,
    check_magnitude,
    check_weights,
    fit_context,
    generator_seed,
    validate_data,
)
from skdiffusion.estimators._base import DATA_TYPES, SavableEstimator
from skdiffusion.estimators._density import MIN_WEIGHT, DiffusionDensityEstimator
from skdiffusion.estimators._distributed import by_itself
from skdiffusion.estimators._table_kinds import MAX_CATEGORIES, coded, kinds_of
from skdiffusion.estimators._tables import UnknownValues


class DiffusionClassifier(CallbackSupportMixin, ClassifierMixin, SavableEstimator):
    """Classify samples by the joint density of features and class.

    The class is one more column of categories, and its probabilities are those of the joint density given the features.
    So NaN means unknown, in `fit` as in `predict_proba`: an incomplete sample is classified by what is known of it,
    the rest summed and integrated over. Components have the weights of the fit: none takes over because it finds the
    features likely, which says little of how well it knows the class.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator or None, default=None
        The density to fit, whose parameters name features of X. None stands for one with default parameters.
    random_state : int, RandomState instance or None, default=None
        Seed of the default density.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, in the order of the columns of `predict_proba`.
    estimator_ : DiffusionDensityEstimator
        The fitted density of the features, by number, and of the place of the class, which is its last column.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionClassifier, DiffusionDensityEstimator
    >>> rng = np.random.default_rng(0)
    >>> y = rng.choice(["near", "far"], 200)
    >>> X = rng.normal(size=(200, 2)) + 3 * (y == "far")[:, None]
    >>> model = DiffusionClassifier(DiffusionDensityEstimator(max_iter=5, random_state=0)).fit(X, y)
    >>> model.predict([[0.0, 0.0], [3.0, np.nan]]).tolist()
    ['near', 'far']
    >>> model.predict_proba(X).shape, model.predict_log_proba(X).shape
    ((200, 2), (200, 2))
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    _saved = ("n_features_in_", "feature_names_in_", "classes_", "estimator_", "_table")

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "conditional"]), None],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator: Any = None, *, random_state: RandomState = None) -> None:
        self.estimator = estimator
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> DiffusionClassifier:
        """Fit the joint density of features and class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN means unknown. Columns of labels of a frame are categories unless `categorical_features` of the
            estimator says otherwise.
        y : array-like of shape (n_samples,)
            The class of every sample: numbers or text.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is one class only, or more than 256, and for what the density refuses. An earlier fit is then left
            as it was.
        """
        with by_itself(self):
            self._fit(X, y, sample_weight)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        seed = None if self.random_state is None else generator_seed(self.random_state)
        density = DiffusionDensityEstimator(random_state=seed) if self.estimator is None else clone(self.estimator)
        kinds = kinds_of(X, getattr(density, "categorical_features", None))
        samples = validate_data(self, kinds.coded(X), dtype=DATA_TYPES, ensure_min_samples=2, allow_nan=True)
        check_magnitude(X=samples)
        weight = check_weights(sample_weight, samples)
        self.classes_, places = self._places(y, samples, weight)
        known = weight > MIN_WEIGHT
        self._table = kinds.table(samples[known], getattr(density, "atoms", None))
        self._set_kinds(density, samples.shape[1])
        table = np.column_stack([samples, places])[known]
        with FitParts(self, 1) as parts:
            parts.fit("density", density, table, sample_weight=weight[known])
        self.estimator_ = density

    def _places(self, y: Any, samples: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The classes, and the place of that of every sample among them."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        if y.dtype == object and any(label is None for label in y):
            raise ValueError("y has missing labels: drop the samples without one.")
        assert_all_finite(y, input_name="y")
        check_consistent_length(samples, y)
        check_classification_targets(y)
        classes = np.unique(y[weight > MIN_WEIGHT])
        if len(classes) < 2:
            raise ValueError(
                f"y holds the one class {classes.tolist()[0]!r} among samples of positive weight: a classifier takes "
                "at least two classes. Add samples of another class."
            )
        if len(classes) > MAX_CATEGORIES:
            raise ValueError(
                f"y holds {len(classes)} classes, more than {MAX_CATEGORIES}: join the rare ones. If y is a number, "
                "it takes a regressor."
            )
        # The place of a class of no weight does not matter: its samples are left out.
        return classes, np.minimum(np.searchsorted(classes, y), len(classes) - 1)

    def _set_kinds(self, density: Any, n_features: int) -> None:
        """Tell the density, which sees numbers, the kinds of the features and of the class, and the bounds."""
        columns = None if self._table is None else self._table.columns
        categories = [] if columns is None else list(columns.categories)
        density.set_params(categorical_features=[*categories, n_features])
        if columns is not None and columns.atoms:
            density.set_params(atoms={j: values.tolist() for j, values in columns.atoms.items()})
        else:
            density.set_params(atoms=None)
        if (bounds := check_bounds(density.bounds, n_features)) is not None:
            low, high = bounds
            density.set_params(bounds=(np.append(low, -np.inf), np.append(high, np.inf)))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of the classes given what is known of every sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN means unknown.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`, of sum one, and exact where no number is unknown. A sample of which nothing is
            known, or that lies where there is no density, as outside `bounds`, has the shares of the classes in `fit`.

        Warns
        -----
        InaccurateDensityWarning
            Where the features that are unknown could be integrated over by few draws only.
        """
        check_is_fitted(self)
        samples = validate_data(self, coded(self, X), dtype=DATA_TYPES, reset=False, allow_nan=True)
        table = np.column_stack([samples.astype(np.float64), np.full(len(samples), np.nan)])
        table[~self.estimator_.preprocessor_.inside(table)] = np.nan
        values = UnknownValues(self.estimator_.blend_, table.shape[1])
        category = values.columns.category_of(table.shape[1] - 1)
        with workers(self.estimator_.n_jobs), np.errstate(over="ignore", invalid="ignore"):
            return values.category_shares(table, category, fixed=True)

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms of the probabilities of `predict_proba`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The likeliest class of every sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        place = self.predict_proba(X).argmax(1)
        return self.classes_[place]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the samples whose likeliest class is their own.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
            The accuracy, between 0 and 1.
        """
        return super().score(X, y, sample_weight)
