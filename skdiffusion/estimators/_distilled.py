"""DistilledDensityEstimator: the density of a diffusion estimator at one evaluation a sample."""

import copy
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.frames import note_frame
from skdiffusion._utils.progress import FitProgress
from skdiffusion._utils.threads import one_thread
from skdiffusion._utils.validation import Interval, fit_context, generator_seed, restored_on_failure
from skdiffusion.densities import TransformedDensity
from skdiffusion.diffusion.autoregressive import AutoregressiveDensity
from skdiffusion.diffusion.networks import MaskedNetwork
from skdiffusion.diffusion.training import CHECK_EVERY, distill
from skdiffusion.estimators._base import BlendedDensityEstimator

N_COMPONENTS = 24  # of the mixture of a feature given those before it
N_VALIDATION = 4096  # fresh samples of the teacher that measure the divergence
# Least weight of a component that stays as it is; a lighter one is learnt with the flow. Mixtures are cheap, and narrow
# components hard to learn; a network's tails are no heavier than a Gaussian's.
KEPT_WEIGHTS = {"student": 0.0, "mapped_mixture": 0.02, "mixture": 0.02, "kernel": 0.1}
KEPT_WEIGHTS |= dict.fromkeys(("regression", "power_regression", "mapped_regression"), 0.1)


def _without(teacher, kept):
    """The blend of the members that are not kept, of arrays without names; and their share of the whole blend."""
    rest = copy.copy(teacher)
    vars(rest).pop("feature_names_in_", None)
    rest.members_ = {name: density for name, density in teacher.members_.items() if name not in kept}
    share = sum(teacher.stacking_weights_[name] for name in rest.members_)
    if share > 0:
        rest.stacking_weights_ = {name: teacher.stacking_weights_[name] / share for name in rest.members_}
        return rest, share
    flow, _ = _without(teacher, set(teacher.members_) - {"diffusion"}) if len(rest.members_) > 1 else (rest, 0.0)
    flow.stacking_weights_ = {"diffusion": 1.0}  # for its latent map
    return flow, 0.0


class DistilledDensityEstimator(BlendedDensityEstimator):
    r"""The density of a diffusion estimator, learnt again by a network that gives it in one evaluation.

    Scoring a sample by a diffusion model solves a differential equation. Here an autoregressive network learns the distribution of
    the teacher's flow from draws of it and their exact log-densities, :math:`\min_q E_p[r + r^2/2]` with
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
    max_iter : int, default=2000
        Steps of training, each on 1000 of the drawn samples.
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
    loss_curve_ : ndarray of shape (max_iter,)
        The same of the network and what it learns, on the samples of every step.
    members_, stacking_weights_ : dict
        The distributions of the blend and their weights: "autoregressive", and the components that were kept.
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
    >>> fast = teacher.distill(n_draws=5000, max_iter=100)
    >>> fast.score_samples(X).shape
    (200,)
    """

    _saved = (
        "n_features_in_", "feature_names_in_", "feature_scale_", "preprocessor_", "members_", "stacking_weights_",
        "divergence_", "divergence_error_", "loss_curve_", "_sample_seed", "_frame",
    )  # fmt: skip

    _parameter_constraints: dict = {
        "estimator": [object],
        "hidden_layer_sizes": [tuple, list],
        "n_draws": [Interval(Integral, 2, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator,
        *,
        hidden_layer_sizes=(128, 128, 128),
        n_draws=131_072,
        max_iter=2000,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_draws = n_draws
        self.max_iter = max_iter
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Fit a clone of the teacher to the samples of X, and distil it.

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
        with restored_on_failure(self):
            self._learn(clone(self.estimator).fit(X, sample_weight=sample_weight))
            note_frame(self, X)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def _fit_to(self, teacher):
        """Distil a fitted teacher."""
        check_is_fitted(teacher)
        self._check()
        with restored_on_failure(self):
            self._learn(teacher)
            self._frame = teacher._frame
        return self

    def _check(self):
        if not hasattr(self.estimator, "distill"):
            raise ValueError(f"The 'estimator' parameter must be a DiffusionDensityEstimator. Got {self.estimator!r}.")
        sizes = self.hidden_layer_sizes
        if not len(sizes) or any(not isinstance(s, (int, np.integer)) or s < 1 for s in sizes):
            raise ValueError(
                f"The 'hidden_layer_sizes' parameter must hold one or more positive integers. Got {sizes!r}."
            )

    def _learn(self, teacher):
        seeds = [int(s) for s in np.random.SeedSequence(generator_seed(self.random_state)).generate_state(4)]
        weights = teacher.stacking_weights_
        kept = [k for k in weights if k in KEPT_WEIGHTS and weights[k] >= KEPT_WEIGHTS[k]]
        rest, share = _without(teacher, kept)
        preprocessor, device = teacher.preprocessor_, teacher.members_["diffusion"].density.field.network.device
        rng, sizes = np.random.default_rng(seeds[0]), tuple(map(int, self.hidden_layer_sizes))
        network = MaskedNetwork(teacher.n_features_in_, sizes, N_COMPONENTS, rng, device)
        samples = rest.sample(self.n_draws, seeds[1], as_frame=False)
        log_density = rest.score_samples(samples)
        progress = FitProgress(self, -(-self.max_iter // CHECK_EVERY))
        with one_thread():
            z, log_det = preprocessor.transform(samples)
            curve = distill(network, z, log_density - log_det, self.max_iter, rng, progress)
        progress.close()
        density = TransformedDensity(preprocessor, AutoregressiveDensity(network))
        self.members_ = {"autoregressive": density} | {k: teacher.members_[k] for k in kept}
        self.stacking_weights_ = {"autoregressive": share} | {k: weights[k] for k in kept}
        self.preprocessor_, self.feature_scale_ = preprocessor, teacher.feature_scale_
        self.n_features_in_, self.loss_curve_, self._sample_seed = teacher.n_features_in_, np.array(curve), seeds[2]
        vars(self).pop("feature_names_in_", None)
        whole, _ = _without(teacher, ())
        fresh = whole.sample(N_VALIDATION, seeds[3], as_frame=False)
        gap = whole.score_samples(fresh) - self.score_samples(fresh)
        self.divergence_, self.divergence_error_ = float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))
        if hasattr(teacher, "feature_names_in_"):
            self.feature_names_in_ = teacher.feature_names_in_
