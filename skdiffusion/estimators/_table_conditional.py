"""Conditional densities of tables with categories or atoms."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from skdiffusion._utils.blocks import in_parts
from skdiffusion._utils.parallel import workers
from skdiffusion.estimators._conditional import ConditionalDensity, ConditionalError, check_probabilities
from skdiffusion.estimators._known_values import KnownValues
from skdiffusion.estimators._table_summaries import NumberCurve, moments_of_draws, number_curves
from skdiffusion.estimators._tables import UnknownValues
from skdiffusion.preprocessing import contradicts, settled

if TYPE_CHECKING:
    from skdiffusion.estimators._joint import JointDensityEstimator


class TableConditionalDensity(ConditionalDensity):
    """The density of unknown features of a table given known ones, as `conditional` of a fitted estimator returns it.

    With respect to counting measure for categories, and to Lebesgue measure and point masses for numbers with atoms.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator
        Fitted to a table with categories or atoms.
    given : array of shape (n_given, n_features)
        Samples with NaN in the unknown features, the same of every sample; columns of labels hold their places.
    weights : {"joint", "fixed"}
        As of `ConditionalDensity`.

    Attributes
    ----------
    unknown_features_ : ndarray of shape (n_unknown,)
        Numbers of the unknown features, in the order of the columns of all results; without those that follow from what
        is known of their one-hot group, where they do in every given sample.
    categories_ : list
        Of the one unknown category: its labels or values, in the order of `predict_proba`.
    error_ : ConditionalError
        Numerical error: zero where categories alone are unknown and have at most 1024 combinations.
    """

    def __init__(self, estimator: JointDensityEstimator, given: np.ndarray, weights: str = "joint"):
        assert estimator._table is not None
        columns = estimator._table.columns
        following = settled(columns, given)
        same = (np.isnan(following) == np.isnan(following[0])).all()
        super().__init__(estimator, following if same and np.isnan(following).any() else given, weights)
        self._values = UnknownValues(estimator.blend_, given.shape[1])

    @cached_property
    def _known(self) -> KnownValues:
        with workers(self.estimator.n_jobs), np.errstate(over="ignore", invalid="ignore"):
            return self._values.known(self.given_)

    @property
    def error_(self) -> ConditionalError:
        return ConditionalError(self._known.standard_error(self.fixed), self._known.effective_number)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of the unknown features given the known ones, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_unknown)
            Values of the unknown features, in their order: any number of them where one sample is given, else one for
            each given sample. Of a single unknown feature also of shape (n_samples,). Labels, or their places.

        Returns
        -------
        ndarray of shape (n_samples,)
            -inf outside `bounds`. Over the values of a category, that which stands for all that `fit` never saw among
            them, the probabilities have the sum one.
        """
        complete, owner = self._complete(X)
        out, known = np.full(len(complete), -np.inf), self._known
        possible = ~contradicts(self._values.columns, complete, self.given_[owner])
        inside = np.flatnonzero(self.estimator.preprocessor_.inside(complete) & possible)

        def evaluate(part: slice) -> None:
            rows = inside[part]
            with np.errstate(over="ignore", invalid="ignore"):
                out[rows] = known.conditional(self._values.at(complete[rows]), owner[rows], self.fixed)

        with workers(self.estimator.n_jobs):
            in_parts(evaluate, len(inside))
        return out

    def _category(self, feature: Any) -> int:
        """Number of an unknown feature that is a category; None stands for the only unknown one."""
        unknown, categories = self.unknown_features_.tolist(), self._values.columns.discrete
        if feature is None and len(unknown) != 1:
            raise ValueError(
                f"Probabilities are of one category, but the features {unknown} are unknown: name it by 'feature'."
            )
        j = unknown[0] if feature is None else self.estimator._feature_number(feature, "feature")
        if j not in unknown or j not in categories:
            named = [k for k in unknown if k in categories]
            raise ValueError(
                f"Probabilities are of an unknown category, which feature {j} is not. Unknown categories are "
                f"{named}: name one of these by 'feature', or use 'score_samples' and 'sample'."
            )
        return j

    @property
    def categories_(self) -> list:
        return self.categories_of()

    def categories_of(self, feature: Any = None) -> list:
        """Labels or values of an unknown category, in the order of `predict_proba`.

        Parameters
        ----------
        feature : name or number, optional
            Of the category; needed where several features are unknown.

        Returns
        -------
        list
        """
        table, j = self.estimator._table, self._category(feature)
        assert table is not None
        return list(table.labels(j)) if j in table.label_codes else table.columns.discrete[j].tolist()

    def predict_proba(self, feature: Any = None) -> np.ndarray:
        """Probabilities of an unknown category given the known features.

        Parameters
        ----------
        feature : name or number, optional
            Of the category; needed where several features are unknown. The others are summed and integrated over.

        Returns
        -------
        ndarray of shape (n_given, n_categories)
            In the order of `categories_of`, of sum one: the mass of categories that `fit` never saw is left out. Exact
            where no number is unknown and the unknown categories have at most 1024 combinations. Where no component has
            a density, the shares of the categories whatever the other features are.

        Warns
        -----
        InaccurateDensityWarning
            Where unknown numbers could be integrated over by few draws only.
        """
        j = self._category(feature)
        k = self._values.columns.category_of(j)
        with workers(self.estimator.n_jobs), np.errstate(over="ignore", invalid="ignore"):
            shares = self._values.category_shares(self.given_, k, self.fixed)
        category = self._values.columns.all_categories[k]
        if len(category.features) == 1:
            return shares
        # A column of a one-hot group is one at one level.
        ones = shares @ category.values[:, category.features == j]
        return np.hstack([1 - ones, ones])

    def _numbers(self, what: str, alone: bool = False) -> None:
        """Refuse a summary of categories, and one of several features that is of one."""
        unknown = self.unknown_features_.tolist()
        if named := [j for j in unknown if j in self._values.columns.discrete]:
            raise ValueError(
                f"{what} is of unknown numbers, but the features {named} are categories: use 'predict_proba', or take "
                "that of draws by 'sample'."
            )
        if alone and len(unknown) > 1:
            raise ValueError(
                f"{what} is of one unknown number, but the features {unknown} are unknown: give more features, or use "
                "'sample'."
            )

    @cached_property
    def _number_curves(self) -> list[NumberCurve]:
        j, table = int(self.unknown_features_[0]), self.estimator._table
        assert table is not None
        atoms = table.columns.atoms.get(j, np.empty(0))
        with workers(self.estimator.n_jobs), np.errstate(over="ignore", invalid="ignore"):
            return number_curves(self._values, self.given_, j, atoms, self.fixed)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        if len(self.unknown_features_) == 1:
            moments = np.array([curve.moments for curve in self._number_curves])
            return moments[:, :1], moments[:, 1:, None]
        with workers(self.estimator.n_jobs), np.errstate(over="ignore", invalid="ignore"):
            return moments_of_draws(self._values, self.given_, self.fixed)

    @property
    def mean(self) -> np.ndarray:
        """Conditional mean of unknown numbers, shape (n_given, n_unknown): by draws where they are several."""
        self._numbers("The mean")
        return self._moments[0]

    @property
    def cov(self) -> np.ndarray:
        """Conditional covariance of unknown numbers, shape (n_given, n_unknown, n_unknown)."""
        self._numbers("The covariance")
        return self._moments[1]

    def quantile(self, q: Any) -> np.ndarray:
        """Quantiles of the one unknown number; those within the jump at an atom are the atom.

        Parameters
        ----------
        q : float or array-like of shape (n_quantiles,)
            Probabilities in (0, 1).

        Returns
        -------
        ndarray of shape (n_given, n_quantiles)
            Of a feature whose values were rounded in `fit`, rounded as they were.
        """
        self._numbers("A quantile", alone=True)
        probabilities, j = check_probabilities(q), self.unknown_features_[0]
        out = np.stack([curve.quantile(probabilities) for curve in self._number_curves])
        complete = np.repeat(self.given_, len(probabilities), axis=0)
        complete[:, j] = out.ravel()
        return self.estimator._resolution.requantized(complete)[:, j].reshape(out.shape)

    def cdf(self, X: Any) -> np.ndarray:
        """Distribution function of the one unknown number, which jumps at its atoms.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            As of `score_samples`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        self._numbers("A distribution function", alone=True)
        complete, owner = self._complete(X)
        x, out = complete[:, self.unknown_features_[0]], np.empty(len(complete))
        for i in np.unique(owner):
            out[owner == i] = self._number_curves[i].cdf(x[owner == i])
        return out
