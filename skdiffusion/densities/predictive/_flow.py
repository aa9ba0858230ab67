r"""The flow of the target, or of the residuals of trees, given the inputs: what is left to learn, of any shape.

With the mean m and the standard deviation s of the trees, both out of fold, and columns g of the inputs, a network
learns :math:`p(u \mid g, m, \log s)` of :math:`u = (z - m) / s`, and :math:`p(z \mid x) = p(u \mid g, m, \log s) / s`.
The noise floor of the flow is relative to s, so that it lies below the narrowest conditional scale. Where the target
changes smoothly with its inputs the steps of trees would only have to be unlearned: there m = 0 and s = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from skdiffusion._utils.progress import FitProgress
from skdiffusion._utils.protocols import Density
from skdiffusion.densities.predictive._boosting import Outputs
from skdiffusion.densities.predictive._curves import RisingCurves, refined_curves
from skdiffusion.densities.predictive._data import LeftOut, RegressionData, even_in_cells
from skdiffusion.densities.predictive._distributions import Distributions, TargetNoise
from skdiffusion.diffusion.networks import Split
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.out_of_fold import averaged_log_prob
from skdiffusion.diffusion.split import SplitFlow
from skdiffusion.diffusion.split_fitting import fit_split_flow, single_split_plan
from skdiffusion.diffusion.training import TrainingResult
from skdiffusion.preprocessing import MappedData

CODES = np.linspace(-3.6, 3.6, 7)  # standard normal codes at which the flow is tabulated first
ADDED = 6, 6, 6  # further places of each round, where interpolation is off
TABLE_TOLERANCE = 0.01  # of a code: 0.004 of a probability at most
TABLE_STEPS = 12  # of the flow
NODES_BETWEEN = 4  # two places of the table, of means
MARGIN = 0.5  # standard deviations beyond the inputs of the fit, to which farther ones are moved


@dataclass(frozen=True)
class TargetFlow:
    """A split flow of a standardized residual, its first feature, given columns of inputs and what the trees say.

    Parameters
    ----------
    flow : SplitFlow
    shift, scale : array of shape (n_features,)
        Of all features; the network takes them standardized.
    low, high : array of shape (n_features,)
        Ends of the standardized features: networks are wild beyond.
    of_residuals : bool
        Whether the target is taken relative to what the trees say.
    """

    flow: SplitFlow
    shift: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    of_residuals: bool

    def given(self, design: np.ndarray, outputs: Outputs, tolerance: float = TABLE_TOLERANCE) -> FlowDistributions:
        """The distributions of the mapped target given columns of inputs and what trees say."""
        features = _features(np.zeros(len(design)), design, outputs)
        standard = np.clip((features - self.shift) / self.scale, self.low, self.high)
        standard[:, 0] = 0.0
        locations, scales = outputs.mean + self.shift[0] * outputs.scale, self.scale[0] * outputs.scale
        return FlowDistributions(self.flow, standard, locations, scales, tolerance)


@dataclass(frozen=True)
class FlowDistributions(Distributions):
    """The distributions of numbers of which (z - location) / scale follows the flow of each sample.

    Parameters
    ----------
    flow : SplitFlow
    features : array of shape (n_samples, n_features)
        Standardized, of which the first is not read.
    locations, scales : array of shape (n_samples,)
    tolerance : float
        Of codes that are interpolated.
    """

    flow: SplitFlow
    features: np.ndarray
    locations: np.ndarray
    scales: np.ndarray
    tolerance: float

    @property
    def _split(self) -> Split:
        return target_split(self.features.shape[1])

    def _with_target(self, z: np.ndarray, samples: np.ndarray) -> np.ndarray:
        out = self.features[samples]
        out[:, 0] = (z - self.locations[samples]) / self.scales[samples]
        return out

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        complete = self._with_target(z, np.arange(len(z)))
        with np.errstate(over="ignore", invalid="ignore"):
            log_prob = self.flow.conditional_log_prob(complete, self._split) - np.log(self.scales)
        return np.where(np.isnan(log_prob), -np.inf, log_prob)

    def cdf(self, z: np.ndarray) -> np.ndarray:
        samples = np.repeat(np.arange(len(z)), z.shape[1])
        complete = self._with_target(z.ravel(), samples)
        with np.errstate(over="ignore", invalid="ignore"):
            codes = self.flow.codes(complete, self._split)[:, 0]
        # Where the flow of a far number overflows, all of the distribution is on one side of it.
        return ndtr(np.where(np.isnan(codes), np.copysign(np.inf, complete[:, 0]), codes)).reshape(z.shape)

    def _at_codes(self, flow: SplitFlow, samples: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Standardized numbers of codes."""
        return flow.draw(self.features[samples], self._split, codes[:, None])[:, 0]

    @cached_property
    def _curves(self) -> RisingCurves:
        """The codes of standardized numbers, tabulated."""
        n, flow = len(self.features), self.flow.with_steps(TABLE_STEPS)
        numbers = self._at_codes(flow, np.repeat(np.arange(n), len(CODES)), np.tile(CODES, n)).reshape(n, -1)

        def codes_of(samples: np.ndarray, numbers: np.ndarray) -> np.ndarray:
            complete = self.features[samples]
            complete[:, 0] = numbers
            return flow.codes(complete, self._split)[:, 0]

        codes = np.repeat(CODES[None], n, axis=0)
        return refined_curves(np.maximum.accumulate(numbers, axis=1), codes, codes_of, ADDED, self.tolerance)

    def fast_cdf(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """The distribution functions by interpolation."""
        locations, scales, curves = self.locations[:, None], self.scales[:, None], self._curves
        return lambda z, samples: ndtr(curves.take(samples)((z - locations[samples]) / scales[samples]))

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        knots = self._curves.x
        parts = (np.arange(NODES_BETWEEN) + 0.5) / NODES_BETWEEN
        ends = knots[:, :-1, None] + np.diff(knots, axis=1)[:, :, None] * np.arange(NODES_BETWEEN) / NODES_BETWEEN
        ends = np.concatenate([ends.reshape(len(knots), -1), knots[:, -1:]], axis=1)
        between = knots[:, :-1, None] + np.diff(knots, axis=1)[:, :, None] * parts
        numbers = np.concatenate([knots[:, :1], between.reshape(len(knots), -1), knots[:, -1:]], axis=1)
        below = ndtr(self._curves(ends))
        sides = np.zeros((len(knots), 1)), np.ones((len(knots), 1))
        shares = np.diff(np.concatenate([sides[0], below, sides[1]], axis=1), axis=1)
        return self.locations[:, None] + self.scales[:, None] * numbers, shares

    def sample(self, noise: TargetNoise) -> np.ndarray:
        drawn = self._at_codes(self.flow, np.arange(len(self.features)), noise.normal)
        return self.locations + self.scales * drawn

    def take(self, samples: np.ndarray) -> FlowDistributions:
        features, locations, scales = (a[samples] for a in (self.features, self.locations, self.scales))
        return FlowDistributions(self.flow, features, locations, scales, self.tolerance)


@dataclass(frozen=True)
class _Member(Density):
    """The conditional density of the standardized target by one network, as one density.

    Parameters
    ----------
    flow : SplitFlow
    split : Split
    shift, scale : array of shape (n_features,)
    edges : array of shape (n_cells + 1,)
        Rising ends of the cells of a coarse grid of the mapped target, within which the density is even; maybe none.
    """

    flow: SplitFlow
    split: Split
    shift: np.ndarray
    scale: np.ndarray
    edges: np.ndarray

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        if not len(self.edges):
            return self.flow.conditional_log_prob(X, self.split)
        _, log_scale = self._outputs(X)
        return self._even(X).log_prob + log_scale + np.log(self.scale[0])

    def cdf(self, X: np.ndarray) -> np.ndarray:
        """Distribution functions at the targets of samples X (n, n_features), shape (n,)."""
        return self._even(X).cdf if len(self.edges) else self._cdf(X)

    def _cdf(self, X: np.ndarray) -> np.ndarray:
        return ndtr(self.flow.codes(X, self.split)[:, 0])

    def _outputs(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What trees say of samples: means and logarithms of standard deviations."""
        _, mean, log_scale = (X * self.scale + self.shift)[:, :3].T
        return mean, log_scale

    def _even(self, X: np.ndarray) -> LeftOut:
        """Log-densities and distribution functions of the mapped target, even within cells."""
        mean, log_scale = self._outputs(X)
        scale = np.exp(log_scale)

        def cdf(ends: np.ndarray) -> np.ndarray:
            standard = ((ends - mean[:, None]) / scale[:, None] - self.shift[0]) / self.scale[0]
            return np.stack([self._cdf(np.column_stack([end, X[:, 1:]])) for end in standard.T], axis=1)

        z = mean + scale * (X[:, 0] * self.scale[0] + self.shift[0])
        return even_in_cells(z, self.edges, cdf)


def target_split(n_features: int) -> Split:
    """The first feature given all others."""
    return Split((0,), tuple(range(1, n_features)))


def _features(u: np.ndarray, design: np.ndarray, outputs: Outputs) -> np.ndarray:
    return np.column_stack([u, outputs.mean, np.log(outputs.scale), design])


def fit_target_flow(
    data: RegressionData,
    design: np.ndarray,
    trees: Outputs | None,
    options: DiffusionOptions,
    progress: FitProgress,
) -> tuple[TargetFlow, LeftOut, TrainingResult]:
    """Train networks, one without each fold, on the out-of-fold residuals of trees, or on the target if there are none.

    Returns
    -------
    flow : TargetFlow
    left_out : LeftOut
        What networks say of the validation folds, each of its own; the log-densities are those expected of their mean.
    result : TrainingResult
    """
    of_residuals, w = trees is not None, data.weight
    trees = Outputs.standard(len(data.z)) if trees is None else trees
    features = _features((data.z - trees.mean) / trees.scale, design, trees)
    shift = np.average(features, axis=0, weights=w)
    scale = np.sqrt(np.average((features - shift) ** 2, axis=0, weights=w))
    scale = np.where(scale > 1e-9, scale, 1.0)
    standard = (features - shift) / scale
    covariance = _shrunk(standard, w, data.n_effective)
    plan = single_split_plan(replace(options.training, monitor=progress))
    rng = data.target.rng.spawn(1)[0]
    flow, result = fit_split_flow(data.target, (standard, covariance), options, plan, rng, n_targets=1)
    log_det = -np.log(scale[0] * trees.scale)
    mapped = MappedData(data.target_map, standard, standard, log_det)
    split = target_split(standard.shape[1])
    members = [_Member(member, split, shift, scale, data.mapped_edges) for member in flow.members()]
    folds = data.target.validation_folds
    log_prob = averaged_log_prob(members, mapped, folds)
    cdf = np.concatenate([member.cdf(standard[fold]) for member, fold in zip(members, folds)])
    low, high = standard.min(0) - MARGIN, standard.max(0) + MARGIN
    return TargetFlow(flow, shift, scale, low, high, of_residuals), LeftOut(log_prob, cdf), result


def _shrunk(standard: np.ndarray, weight: np.ndarray, n_effective: float) -> np.ndarray:
    """The covariance of standardized features, shrunk towards the identity by the share of features to samples."""
    d = standard.shape[1]
    covariance = (standard * (weight / weight.sum())[:, None]).T @ standard
    shrink = 1e-4 + d / (d + n_effective)
    return (1 - shrink) * covariance + shrink * np.eye(d)
