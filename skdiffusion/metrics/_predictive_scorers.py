"""Scorers of regressors that predict distributions: ``scorer(estimator, X, y) -> float``, greater is better."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.metrics import mean_pinball_loss
from sklearn.utils.metadata_routing import MetadataRequest

from skdiffusion._utils.validation import validated
from skdiffusion.compose import at_last_step, mean_log_density
from skdiffusion.metrics._proper_scores import SHARE, check_levels, crps_of_quantiles, interval_score

PERCENTS = np.arange(1, 100) / 100
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class PredictiveScorer:
    """Scores a regressor by the distributions that it predicts: base of the scorers, which give `_value`."""

    weight_request: bool | str | None = field(default=None, repr=False, kw_only=True)
    method: ClassVar[str]  # of the regressor

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """A scorer of the same settings that asks cross-validation for the weights of the scored samples.

        Parameters
        ----------
        sample_weight : bool, str or None
            True asks for `sample_weight`, a string for the metadata of that name, False ignores it, None refuses it:
            scikit-learn's metadata routing, which must be enabled.

        Returns
        -------
        scorer
        """
        return replace(self, weight_request=sample_weight)

    def get_metadata_routing(self) -> MetadataRequest:
        """What scikit-learn's metadata routing is to pass on."""
        request = MetadataRequest(owner=repr(self))
        request.score.add_request(param="sample_weight", alias=self.weight_request)
        return request

    def __call__(
        self, estimator: BaseEstimator, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """The score of a fitted regressor, of a Pipeline that ends in one or of a search, on samples left out."""
        regressor, inputs = at_last_step(estimator, X)
        if not hasattr(regressor, self.method):
            raise TypeError(
                f"{type(regressor).__name__} has no {self.method!r} method: score a regressor that predicts "
                "distributions, such as DiffusionRegressor."
            )
        return self._value(regressor, inputs, y, sample_weight)

    def _value(self, regressor: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class LogLikelihoodScorer(PredictiveScorer):
    """The mean of ``log_prob(X, y)``."""

    method = "log_prob"

    def _value(self, regressor: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> float:
        return mean_log_density(regressor.log_prob(X, y), sample_weight)


@dataclass(frozen=True)
class CRPSScorer(PredictiveScorer):
    """The continuous ranked probability score of the percentiles, negated."""

    method = "predict_quantiles"

    def _value(self, regressor: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> float:
        quantiles = regressor.predict_quantiles(X, PERCENTS)
        return -float(crps_of_quantiles(y, quantiles, PERCENTS, sample_weight=sample_weight))


@dataclass(frozen=True)
class PinballScorer(PredictiveScorer):
    """The mean pinball loss of several quantiles, negated."""

    quantiles: tuple[float, ...]
    method = "predict_quantiles"

    def _value(self, regressor: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> float:
        predicted = regressor.predict_quantiles(X, self.quantiles)
        losses = [
            mean_pinball_loss(y, predicted[:, k], alpha=level, sample_weight=sample_weight)
            for k, level in enumerate(self.quantiles)
        ]
        return -float(np.mean(losses))


@dataclass(frozen=True)
class IntervalScorer(PredictiveScorer):
    """The interval score of central intervals, negated."""

    coverage: float
    method = "predict_interval"

    def _value(self, regressor: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> float:
        intervals = regressor.predict_interval(X, coverage=self.coverage)
        return -float(interval_score(y, intervals, self.coverage, sample_weight=sample_weight))


@validated(quantiles=["array-like"])
def make_pinball_scorer(quantiles: Sequence[float] = QUANTILES) -> PinballScorer:
    """A scorer of predicted quantiles, for `cross_val_score`, `cross_validate` and scikit-learn's search classes.

    Parameters
    ----------
    quantiles : sequence of float, default=(0.05, 0.25, 0.5, 0.75, 0.95)
        Levels, strictly between 0 and 1, ascending. The score is the negated mean of their pinball losses.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)`` of a regressor with `predict_quantiles`, of a Pipeline that ends
        in one, or of a fitted search. Picklable; it takes part in metadata routing (`set_score_request`).

    Raises
    ------
    ValueError
        For levels out of range or order.

    Examples
    --------
    >>> from skdiffusion.metrics import make_pinball_scorer
    >>> make_pinball_scorer([0.9, 0.99])
    PinballScorer(quantiles=(0.9, 0.99))
    """
    return PinballScorer(tuple(check_levels(quantiles, "quantiles").tolist()))


@validated(coverage=SHARE)
def make_interval_scorer(coverage: float = 0.9) -> IntervalScorer:
    """A scorer of predicted central intervals, for scikit-learn's cross-validation and search classes.

    Parameters
    ----------
    coverage : float, default=0.9
        Probability of the intervals. The score is the negated mean of `interval_score`.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)`` of a regressor with `predict_interval`, of a Pipeline that ends
        in one, or of a fitted search. Picklable; it takes part in metadata routing (`set_score_request`).

    Raises
    ------
    ValueError
        If the coverage does not lie strictly between 0 and 1.

    Examples
    --------
    >>> from skdiffusion.metrics import make_interval_scorer
    >>> make_interval_scorer(0.5)
    IntervalScorer(coverage=0.5)
    """
    return IntervalScorer(float(coverage))


conditional_log_likelihood = LogLikelihoodScorer()
neg_crps = CRPSScorer()
neg_pinball_loss = make_pinball_scorer()
neg_interval_score = make_interval_scorer()
