"""Conditional and marginal densities of a fitted joint density, as objects to score, draw from and summarize."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skdiffusion._utils.parallel import workers
from skdiffusion._utils.validation import check_count, draw_seed
from skdiffusion.densities import GivenBlend, Nodes, distribution_curve
from skdiffusion.estimators._unknown import UnknownFeatures

if TYPE_CHECKING:
    from skdiffusion.estimators._joint import JointDensityEstimator

MARGINAL_DRAWS = 10_000  # of the summaries of a marginal density
MANY_NODES = 1024  # of conditional samples, for each given one
SUMMARY_DRAWS = 512  # of the mean and covariance of several unknown features, for each given sample


class ConditionalError(NamedTuple):
    """Numerical error of a conditional density.

    Attributes
    ----------
    standard_error : ndarray of shape (n_given,)
        Of the log-density of the given features, in nats; that of the conditional log-density is the same.
    effective_sample_size : ndarray of shape (n_given,)
        Draws of equal weight that tell as much as those that were taken; infinite where none were needed.
    """

    standard_error: np.ndarray
    effective_sample_size: np.ndarray


class ConditionalDensity:
    """The density of unknown features given known ones, as `DiffusionDensityEstimator.conditional` returns it.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator
        Fitted.
    given : array of shape (n_given, n_features)
        Samples with NaN in the unknown features, the same of every sample.
    weights : {"joint", "fixed"}
        Whether the weights of the components follow from the given features, or stay those of the fit.

    Attributes
    ----------
    unknown_features_ : ndarray of shape (n_unknown,)
        Numbers of the unknown features, in the order of the columns of all results.
    error_ : ConditionalError
        Numerical error, estimated.
    """

    def __init__(self, estimator: JointDensityEstimator, given: np.ndarray, weights: str = "joint"):
        unknown = np.isnan(given)
        if not (unknown == unknown[0]).all():
            raise ValueError(
                "The samples of 'given' differ in which features are unknown (NaN): ask for each pattern of unknown "
                "features by a call of its own."
            )
        if not unknown.any() or unknown[0].all():
            remedy = "use 'score_samples'" if not unknown.any() else "use 'marginal', or 'score_samples' and 'sample'"
            state = "known" if not unknown.any() else "unknown (NaN)"
            raise ValueError(f"Every feature of 'given' is {state}, which leaves nothing to condition: {remedy}.")
        if weights not in ("joint", "fixed"):
            raise ValueError(f"The 'weights' argument must be 'joint' or 'fixed'. Got {weights!r} instead.")
        self.estimator, self.given_, self.fixed = estimator, given, weights == "fixed"
        self.unknown_features_ = np.flatnonzero(unknown[0])
        self.given_features_ = np.flatnonzero(~unknown[0])
        outside = ~estimator.preprocessor_.inside(given)
        if outside.any():
            raise ValueError(
                f"Sample {np.flatnonzero(outside)[0]} of 'given' lies outside 'bounds', where the density is zero: "
                "nothing follows from it."
            )
        self._blend = UnknownFeatures(estimator._answering_blend, given.shape[1])

    @cached_property
    def _given(self) -> list[tuple[GivenBlend, np.ndarray]]:
        """Blocks of given samples, with their numbers."""
        with workers(self.estimator.n_jobs):
            return list(self._blend.given(self.given_, 0))

    @property
    def error_(self) -> ConditionalError:
        out = ConditionalError(np.empty(len(self.given_)), np.empty(len(self.given_)))
        for given, rows in self._given:
            out.standard_error[rows], out.effective_sample_size[rows] = given.standard_error, given.effective_number
        return out

    def _complete(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Given samples with the unknown features of X, and the given sample of each by its number."""
        m, X = len(self.given_), self.estimator._values(X, self.unknown_features_)
        if m > 1 and len(X) != m:
            raise ValueError(f"X has {len(X)} samples for {m} given ones: pass one for each, or give one sample.")
        owner = np.arange(m) if m > 1 else np.zeros(len(X), dtype=int)
        complete = self.given_[owner]
        complete[:, self.unknown_features_] = X
        return complete, owner

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of the unknown features given the known ones, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_unknown)
            Values of the unknown features, in their order: any number of them where one sample is given, else one for
            each given sample. Of a single unknown feature also of shape (n_samples,).

        Returns
        -------
        ndarray of shape (n_samples,)
            -inf outside `bounds`.
        """
        complete, owner = self._complete(X)
        out = np.full(len(complete), -np.inf)
        inside = self.estimator.preprocessor_.inside(complete)
        with workers(self.estimator.n_jobs):
            for given, rows in self._given:
                place = np.full(len(self.given_), -1)
                place[rows] = np.arange(len(rows))
                mine = np.flatnonzero(inside & (place[owner] >= 0))
                if len(mine):
                    out[mine] = given.conditional_log_prob(complete[mine], place[owner[mine]], self.fixed)
        return out

    def consistency_gap(self, X: Any) -> np.ndarray:
        """How far the conditional log-density is from the difference of the joint and the marginal one, in nats.

        After `fit_conditionals` the conditional density is that of networks of its own, normalized, and need not agree
        with the density of complete samples. What remains is a measure of how well both were learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_unknown)
            As of `score_samples`.

        Returns
        -------
        ndarray of shape (n_samples,)
            log p(unknown | given) - (log p(unknown, given) - log p(given)); NaN outside `bounds`.
        """
        complete, owner = self._complete(X)
        joint = self.estimator._known_log_prob(complete)
        marginal = self.estimator._known_log_prob(self.given_)[owner]
        with np.errstate(invalid="ignore"):
            return self.score_samples(X) - (joint - marginal)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw the unknown features.

        Parameters
        ----------
        n_samples : int, default=1
            For each given sample.
        random_state : int, RandomState or None, default=None
            As of `DiffusionDensityEstimator.sample`.

        Returns
        -------
        ndarray of shape (n_given, n_samples, n_unknown)
        """
        check_count(n_samples)
        seed = draw_seed(self.estimator, random_state)
        drawn = self.estimator._completed(self.given_, seed, n_samples, MANY_NODES, self.fixed)
        return drawn.transpose(1, 0, 2)[:, :, self.unknown_features_]

    @cached_property
    def _nodes(self) -> list[tuple[Nodes, np.ndarray, np.ndarray]]:
        """Nodes of blocks of given samples, over which all components are summed, their shares, and the samples."""
        with workers(self.estimator.n_jobs):
            parts = self._blend.given(self.given_, 0, SUMMARY_DRAWS, all_summed=True)
            return [(given.known_nodes, given.node_shares(self.fixed), rows) for given, rows in parts]

    @property
    def mean(self) -> np.ndarray:
        """Conditional mean of the unknown features, shape (n_given, n_unknown)."""
        out = np.empty((len(self.given_), len(self.unknown_features_)))
        for nodes, share, rows in self._nodes:
            out[rows] = nodes.mean(nodes.X[:, self.unknown_features_], share)
        return out

    @property
    def cov(self) -> np.ndarray:
        """Conditional covariance of the unknown features, shape (n_given, n_unknown, n_unknown)."""
        u = len(self.unknown_features_)
        out = np.empty((len(self.given_), u, u))
        for nodes, share, rows in self._nodes:
            values = nodes.X[:, self.unknown_features_]
            centered = values - nodes.mean(values, share)[nodes.owner]
            products = (centered[:, :, None] * centered[:, None]).reshape(len(centered), -1)
            out[rows] = nodes.mean(products, share).reshape(-1, u, u)
        return out

    def _curves(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Values of the one unknown feature and its distribution function there, for every given sample."""
        if len(self.unknown_features_) != 1:
            raise ValueError(
                f"Quantiles and distribution functions are of one unknown feature. Here {len(self.unknown_features_)} "
                "are unknown: give more features, or use 'sample'."
            )
        curves: list[Any] = [None] * len(self.given_)
        for nodes, share, rows in self._nodes:
            values = nodes.X[:, self.unknown_features_[0]]
            for i, row in enumerate(rows):
                first, last = np.searchsorted(nodes.owner, [i, i + 1])
                curves[row] = distribution_curve(values[first:last], share[first:last])
        return curves

    def quantile(self, q: Any) -> np.ndarray:
        """Quantiles of the one unknown feature.

        Parameters
        ----------
        q : float or array-like of shape (n_quantiles,)
            Probabilities in (0, 1).

        Returns
        -------
        ndarray of shape (n_given, n_quantiles)
            Of a feature whose values were rounded in `fit`, rounded as they were.
        """
        probabilities = check_probabilities(q)
        out = np.stack([np.interp(probabilities, levels, values) for values, levels in self._curves()])
        complete = np.repeat(self.given_, len(probabilities), axis=0)
        complete[:, self.unknown_features_[0]] = out.ravel()
        return self.estimator._resolution.requantized(complete)[:, self.unknown_features_[0]].reshape(out.shape)

    def cdf(self, X: Any) -> np.ndarray:
        """Distribution function of the one unknown feature.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            As of `score_samples`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        curves = self._curves()
        complete, owner = self._complete(X)
        x = complete[:, self.unknown_features_[0]]
        out = np.empty(len(x))
        for i in np.unique(owner):
            values, levels = curves[i]
            out[owner == i] = np.interp(x[owner == i], values, levels, left=0.0, right=1.0)
        return out


class MarginalDensity:
    """The density of some features, whatever the others are, as `DiffusionDensityEstimator.marginal` returns it.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator
        Fitted.
    features : array of int
        Numbers of the features.

    Attributes
    ----------
    features_ : ndarray of shape (n_marginal,)
        Numbers of the features, in the order of the columns of all results.
    """

    def __init__(self, estimator: JointDensityEstimator, features: np.ndarray):
        self.estimator, self.features_ = estimator, features

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of the features, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_marginal)
            Values of the features, in their order; of a single feature also of shape (n_samples,).

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        X = self.estimator._values(X, self.features_)
        complete = np.full((len(X), self.estimator.n_features_in_), np.nan)
        complete[:, self.features_] = X
        return self.estimator._known_log_prob(complete)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw the features.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            As of `DiffusionDensityEstimator.sample`.

        Returns
        -------
        ndarray of shape (n_samples, n_marginal)
        """
        return self.estimator.sample(n_samples, random_state, as_frame=False)[:, self.features_]

    @cached_property
    def _draws(self) -> np.ndarray:
        if (table := self.estimator._table) is not None and (
            named := set(table.columns.discrete) & set(self.features_)
        ):
            raise ValueError(
                f"Features {sorted(int(j) for j in named)} are categories, which have no mean, quantiles or "
                "distribution function: use 'score_samples' of their values, or 'sample'."
            )
        return self.sample(MARGINAL_DRAWS, 0)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the features, by 10 000 generated samples, shape (n_marginal,)."""
        return self._draws.mean(0)

    @property
    def cov(self) -> np.ndarray:
        """Covariance of the features, by 10 000 generated samples, shape (n_marginal, n_marginal)."""
        return np.atleast_2d(np.cov(self._draws.T, bias=True))

    def _single(self) -> np.ndarray:
        if len(self.features_) != 1:
            raise ValueError(
                f"Quantiles and distribution functions are of one feature. Here are {len(self.features_)}: ask for the "
                "marginal of one, or use 'sample'."
            )
        return np.sort(self._draws[:, 0])

    def quantile(self, q: Any) -> np.ndarray:
        """Quantiles of a single feature, by 10 000 generated samples.

        Parameters
        ----------
        q : float or array-like of shape (n_quantiles,)
            Probabilities in (0, 1).

        Returns
        -------
        ndarray of shape (n_quantiles,)
        """
        return np.quantile(self._single(), check_probabilities(q))

    def cdf(self, X: Any) -> np.ndarray:
        """Distribution function of a single feature, by 10 000 generated samples.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        draws, x = self._single(), self.estimator._values(X, self.features_)[:, 0]
        if (table := self.estimator._table) is not None and int(self.features_[0]) in table.columns.atoms:
            return np.searchsorted(draws, x, side="right") / len(draws)  # which jumps at its atoms
        return (np.searchsorted(draws, x) + np.searchsorted(draws, x, side="right")) / (2 * len(draws))


def check_probabilities(q: Any, name: str = "q") -> np.ndarray:
    """Probabilities in (0, 1), shape (n_probabilities,); ValueError, by the name of the argument, for anything else."""
    probabilities = np.atleast_1d(np.asarray(q, dtype=np.float64))
    if probabilities.ndim > 1 or not ((probabilities > 0) & (probabilities < 1)).all():
        raise ValueError(f"The {name!r} argument must hold probabilities between 0 and 1. Got {q!r} instead.")
    return probabilities
