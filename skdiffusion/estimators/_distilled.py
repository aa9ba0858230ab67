"""DistilledDensityEstimator: the density of a diffusion estimator at one evaluation a sample."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.blocks import in_blocks
from skdiffusion._utils.parallel import workers
from skdiffusion._utils.progress import FitProgress
from skdiffusion._utils.validation import Interval, finite_values, fit_context, generator_seed, validate_data
from skdiffusion.densities import Blend, TransformedDensity
from skdiffusion.diffusion.autoregressive import AutoregressiveDensity
from skdiffusion.diffusion.networks import MaskedNetwork
from skdiffusion.diffusion.training import DistillationPlan, distill
from skdiffusion.estimators._base import DATA_TYPES, BlendedDensityEstimator, FlowDensityEstimator
from skdiffusion.estimators._distributed import by_itself

N_COMPONENTS = 24  # of the mixture of a feature given those before it
N_VALIDATION = 4096  # fresh samples of the teacher that measure the divergence
# Least weight of a component that stays as it is; a lighter one is learned with the flow. Mixtures are cheap, and their
# narrow parts hard to learn; a network's tails are no heavier than a Gaussian's.
MIN_KEPT_WEIGHT = {"student": 0.0, "kernel": 0.1}
MIN_KEPT_WEIGHT |= dict.fromkeys(("mixture", "mapped_mixture", "bic_mixture", "steps"), 0.02)
MIN_KEPT_WEIGHT |= dict.fromkeys(("regression", "plain_regression", "power_regression", "mapped_regression"), 0.1)


class DistilledDensityEstimator(BlendedDensityEstimator):
    r"""The density of a diffusion estimator, learned again by a network that gives it in one evaluation.

    Scoring a sample by a diffusion model solves a differential equation. Here an autoregressive network learns the
    distribution of the teacher's flow from draws of it and their exact log-densities, :math:`\min_q E_p[r + r^2/2]`
    with
    :math:`r = \log p - \log q`, and takes its place in the blend. Components of weight keep theirs.
    The result is a normalized density, ten times as fast to score or more, and slower to draw from where features are
    many; `divergence_` says what it has lost.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator
        The teacher, which `fit` clones and fits; ``teacher.distill()`` takes one that is fitted.
    hidden_layer_sizes : tuple of int, default=(128, 128, 128)
        Layers of the network.
    n_draws : int, default=131072
        Samples drawn from the teacher.
    n_training_steps : int, default=2000
        Optimizer steps of training, each on 1000 of the drawn samples.
    random_state : int, RandomState or None, default=None
    verbose : int, default=0
        Positive: a progress bar of the training.

    Attributes
    ----------
    divergence_ : float
        Kullback-Leibler divergence of this density from its teacher's, in nats: the mean of the difference of their
        log-densities over fresh samples of the teacher.
    divergence_error_ : float
        Its standard error.
    loss_curve_ : ndarray of shape (n_training_steps,)
        The same of the network and what it learns, on the samples of every step.
    blend_ : Blend
        The density: "autoregressive", and the components that were kept.
    component_weights_ : dict
        Weight of every component, by name.
    preprocessor_ : object
        The teacher's map to whitened samples.
    feature_scale_ : ndarray of shape (n_features,)
    n_features_in_ : int

    References
    ----------
    Germain et al. (2015), MADE: masked autoencoder for distribution estimation.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> teacher = DiffusionDensityEstimator(max_iter=20, random_state=0).fit(X)
    >>> fast = teacher.distill(n_draws=5000, n_training_steps=100)
    >>> fast.score_samples(X).shape
    (200,)
    >>> fast.sample(5, random_state=0).shape
    (5, 2)
    """

    _saved = (
        "n_features_in_", "feature_names_in_", "feature_scale_", "preprocessor_", "blend_", "component_weights_",
        "divergence_", "divergence_error_", "loss_curve_", "_resolution", "_sample_seed", "_frame",
    )  # fmt: skip

    _latent_component = "autoregressive"
    _parameter_constraints: dict = {
        "estimator": [object],
        "hidden_layer_sizes": [tuple, list],
        "n_draws": [Interval(Integral, 2, None, closed="left")],
        "n_training_steps": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        hidden_layer_sizes: Any = (128, 128, 128),
        n_draws: int = 131_072,
        n_training_steps: int = 2000,
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.estimator = estimator
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_draws = n_draws
        self.n_training_steps = n_training_steps
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DistilledDensityEstimator:
        """Fit a clone of the teacher to the samples of X, and distill it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        self._check()
        with by_itself(self):
            validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2)  # the teacher would take NaN
            self._learn(clone(self.estimator).fit(X, sample_weight=sample_weight))
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def _fit_to(self, teacher: Any) -> DistilledDensityEstimator:
        """Distil a fitted teacher."""
        check_is_fitted(teacher)
        self._check()
        with by_itself(self):
            self._learn(teacher)
        return self

    def _check(self) -> None:
        """Refuse a teacher that cannot be distilled, and sizes that are none."""
        if not isinstance(self.estimator, FlowDensityEstimator):
            raise ValueError(f"The 'estimator' parameter must be a DiffusionDensityEstimator. Got {self.estimator!r}.")
        sizes = self.hidden_layer_sizes
        if not len(sizes) or any(not isinstance(s, (int, np.integer)) or s < 1 for s in sizes):
            raise ValueError(
                f"The 'hidden_layer_sizes' parameter must hold one or more positive integers. Got {sizes!r}."
            )

    def _learn(self, teacher: Any) -> None:
        seeds = [int(s) for s in np.random.SeedSequence(generator_seed(self.random_state)).generate_state(4)]
        blend, d = teacher.blend_, teacher.n_features_in_
        kept = [name for name, weight in blend.weights.items() if weight >= MIN_KEPT_WEIGHT.get(name, np.inf)]
        rest, share = _learned_part(blend, kept)
        preprocessor, device = teacher.preprocessor_, teacher.score_model().field.network.device
        rng, sizes = np.random.default_rng(seeds[0]), tuple(map(int, self.hidden_layer_sizes))
        network = MaskedNetwork(d, sizes, N_COMPONENTS, rng, device)
        with workers(1), np.errstate(over="ignore", invalid="ignore"):
            samples = rest.draw(self.n_draws, d, generator_seed(seeds[1]))
            log_prob = finite_values(in_blocks(rest.log_prob, samples), "the teacher")
            z, log_det = preprocessor.transform(samples)
            plan = DistillationPlan(n_steps=self.n_training_steps)
            with FitProgress(self, plan.n_checks) as progress:
                curve = distill(network, z, log_prob - log_det, replace(plan, monitor=progress), rng)
            density = TransformedDensity(preprocessor, AutoregressiveDensity(network))
            self.blend_ = Blend(
                {"autoregressive": density} | {name: blend.densities[name] for name in kept},
                {"autoregressive": share} | {name: blend.weights[name] for name in kept},
            )
            fresh = blend.restricted(blend.densities)[0].draw(N_VALIDATION, d, generator_seed(seeds[3]))
            gap = in_blocks(blend.log_prob, fresh) - in_blocks(self.blend_.log_prob, fresh)
        self.component_weights_, self.preprocessor_ = self.blend_.weights, preprocessor
        self._resolution = teacher._resolution
        self.feature_scale_, self.n_features_in_, self._frame = teacher.feature_scale_, d, teacher._frame
        self.loss_curve_, self._sample_seed = np.array(curve), seeds[2]
        self.divergence_, self.divergence_error_ = float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(teacher, "feature_names_in_"):
            self.feature_names_in_ = teacher.feature_names_in_


def _learned_part(blend: Blend, kept: Collection[str]) -> tuple[Blend, float]:
    """The blend of the components that the network learns, and their share of the whole.

    Where nothing of weight is left the network learns the flow, for its latent map.
    """
    names = [name for name in blend.densities if name not in kept]
    if sum(blend.weights[name] for name in names) > 0:
        return blend.restricted(names)
    return Blend({"diffusion": blend.densities["diffusion"]}, {"diffusion": 1.0}), 0.0
