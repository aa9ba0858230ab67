"""Options: the settings of a diffusion fit that hardly anybody changes."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

from sklearn.base import BaseEstimator

from skdiffusion._utils.validation import Interval, StrOptions
from skdiffusion.diffusion.networks import ACTIVATIONS
from skdiffusion.diffusion.ode import STEPPERS
from skdiffusion.diffusion.options import (
    SIGMA_MAX,
)
from skdiffusion.preprocessing import RESERVOIR_SAMPLES


class Options(BaseEstimator):
    r"""Settings of a diffusion fit beyond the parameters of the estimator.

    The defaults are chosen from the shape of the table and need no change. They can be set and searched under
    ``options__`` names of the estimator.

    Parameters
    ----------
    activation : str, default="silu"
        Activation of the hidden layers, a key of `skdiffusion.diffusion.networks.ACTIVATIONS`.
    learning_rate : "auto" or float, default="auto"
        Peak learning rate of AdamW. "auto" falls as one over the root of the steps where `max_iter` asks for more than
        the default makes.
    weight_decay : "auto" or float, default="auto"
        Decoupled weight decay. "auto" is ``n_features * (200 / n_samples)**2``, at most 0.3, for more than two
        features, and 1e-4 for one or two; later calls of `partial_fit` then have none.
    batch_size : "auto" or int, default="auto"
        Samples a step and network.
    n_training_steps : "auto" or int, default="auto"
        Optimizer steps of training, in place of the epochs of `max_iter`.
    patience : "auto" or int, default="auto"
        Optimizer steps without a lower validation loss after which training stops early.
    decay_fraction : float, default=0.3
        Share of the steps over which the learning rate falls to zero.
    n_target_samples : "auto" or int, default="auto"
        Samples among which the posterior mean is taken for training targets of less variance; 0 takes each sample
        alone. "auto" takes at most 512 of them until the learning rate falls.
    n_pilot_steps : "auto" or int, default="auto"
        Optimizer steps of the short runs that choose the coordinates of the noise.
    min_correlation_gain : float, default=0.05
        Nats a feature that a Gaussian must gain by correlations for features of unit variance to be tried beside
        whitened coordinates, for the noise of the diffusion and for the kernel; infinity never tries them.
    min_trial_weight : "auto" or float, default="auto"
        Weight in the blend that the networks must have after a quarter of their training, unless they raise it by
        `min_trial_gain`. With less, the learning rate falls at once and there is no fine-tuning: the other components
        say what the networks would. "auto" is 0.1, and below 1000 samples 0, which trains to the end, as do
        `components` of None, `max_iter`, `n_training_steps` and ``fine_tune=True``. Of the networks of
        `fit_conditionals`, which are tried only where those of complete samples failed, half of it is asked.
    min_trial_gain : float, default=0.01
        Nats a sample by which networks of less weight must raise the blend then, for their training to go on; half
        of it for those of `fit_conditionals`.
    n_folds : "auto" or int, default="auto"
        Folds of the samples. Every network leaves out another, for early stopping and for the weights of the blend:
        there are at most as many networks. "auto" is 8, or the number of networks if that is larger.
    fine_tune : "auto" or bool, default="auto"
        Whether to raise the exact likelihood of the trained networks, by gradients through the flow, as long as
        validation samples gain. "auto" does from 5000 samples of three features on, unless `max_iter` is given or
        `early_stopping` is off. It takes two or three hidden layers, and no intervals, clipping or constraints: "auto"
        leaves it out with these, True is then an error.
    sigma_min : "auto" or float, default="auto"
        Noise level at which the flow stops before the data, in standard deviations: the density is smoothed at it.
        "auto" is 0.01, or less where a mixture finds narrow components.
    sigma_max : float, default=20.0
        Noise level of the horizon, where samples start from the normal distribution.
    noise_intervals : int or array-like of float, default=1
        Intervals of noise levels, each with networks of its own: a number of them, which share the log noise level
        equally, or the noise levels between them. Smaller networks at larger noise are what the minimax rate in W1
        takes (Oko, Akiyama and Suzuki, 2023); `skdiffusion.theory.besov.design` proposes both.
    score_clip : "auto", float or None, default=None
        Bound C of the score: predicted noise beyond ``C * sqrt(log(n_samples))`` is set to it. "auto" is C = 2.
    n_nonzero_weights : int or None, default=None
        Parameters of a network that may differ from zero: the others are pruned during training.
    weight_bound : float or None, default=None
        Largest absolute value of a parameter. With ``activation="relu"`` both give the sparse networks of bounded
        weights of the minimax theory.
    solver : "auto" or str, default="auto"
        Stepper of the flow, a key of `skdiffusion.diffusion.ode.STEPPERS`. "auto" takes predictors and correctors of
        Adams, with one evaluation of the networks a step: "abm4" in the log signal-to-noise ratio for log-densities and
        codes, and for samples of 24 steps or more; "abm3" in the angle for samples of fewer steps.
    min_total_gain : float, default=2.0
        Nats that a kernel or a regression must add to the blend, over all samples left out together.
    min_improved_weight : float, default=0.05
        Weight of all mixtures, or of all regressions, in the blend from which more work on them pays.
    min_run_gain : float, default=0.002
        Nats a sample that the further runs of expectation maximization, or orders of a regression, must promise.
    score_beside_others : bool, default=True
        Whether mixtures and bandwidths are chosen by what they add to other components, or else alone.
    em_restarts : int, default=3
        Runs of expectation maximization from different starts, at most, whose mean is an improved mixture.
    max_restart_cost, max_search_cost : float, default=2.5e8 and 6e9
        Multiplications in a step of expectation maximization, up to which it is run again from other starts, and up to
        which mixtures of more than 64 components are tried.
    weak_prior, weakest_prior : float, default=2e-3 and 1e-5
        Prior samples of each component of a mixture that are tried beside a strong prior.
    max_regression_orders : int, default=4
        Orders of the features, at most, in an improved regression.
    adaptive_kernels : bool, default=True
        Whether kernels that are as wide as samples lie apart are tried beside kernels of one width.
    reservoir_size : int, default=100_000
        Samples that are kept in memory where there are more: everything but the networks learns from these, a random
        part of all. All folds that are left out, of 2500 samples at most, are then a fifth of them.
    checkpoint : str or None, default=None
        File to which `fit` writes the state of its training at every validation, and removes once it is whole. A `fit`
        of the same samples with the same parameters that finds the file goes on from there, in as many processes as it
        has itself, and with the seed of the file. Of more samples than `reservoir_size` it does with an integer
        `random_state` alone, which draws them anew. `partial_fit` after the first call, and the estimators that fit
        several densities, take none.

    Examples
    --------
    >>> from skdiffusion import DiffusionDensityEstimator, Options
    >>> est = DiffusionDensityEstimator(options=Options(learning_rate=5e-3))
    >>> est.set_params(options__batch_size=128).options
    Options(batch_size=128, learning_rate=0.005)
    """

    _saved = ()  # parameters only

    _parameter_constraints: dict = {
        "activation": [StrOptions(ACTIVATIONS.keys())],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "weight_decay": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_training_steps": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "patience": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "decay_fraction": [Interval(Real, 0, 1, closed="right")],
        "n_target_samples": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "n_pilot_steps": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "min_correlation_gain": [Interval(Real, 0, None, closed="both")],
        "min_trial_weight": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "min_trial_gain": [Interval(Real, 0, None, closed="both")],
        "n_folds": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "fine_tune": [StrOptions({"auto"}), "boolean"],
        "sigma_min": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "sigma_max": [Interval(Real, 0, None, closed="neither")],
        "noise_intervals": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "score_clip": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither"), None],
        "n_nonzero_weights": [Interval(Integral, 1, None, closed="left"), None],
        "weight_bound": [Interval(Real, 0, None, closed="neither"), None],
        "solver": [StrOptions({"auto"}), StrOptions(STEPPERS.keys())],
        "min_total_gain": [Interval(Real, 0, None, closed="both")],
        "min_improved_weight": [Interval(Real, 0, 1, closed="both")],
        "min_run_gain": [Interval(Real, 0, None, closed="both")],
        "score_beside_others": ["boolean"],
        "em_restarts": [Interval(Integral, 1, None, closed="left")],
        "max_restart_cost": [Interval(Real, 0, None, closed="both")],
        "max_search_cost": [Interval(Real, 0, None, closed="both")],
        "weak_prior": [Interval(Real, 0, None, closed="neither")],
        "weakest_prior": [Interval(Real, 0, None, closed="neither")],
        "max_regression_orders": [Interval(Integral, 1, None, closed="left")],
        "adaptive_kernels": ["boolean"],
        "reservoir_size": [Interval(Integral, 2, None, closed="left")],
        "checkpoint": [str, None],
    }

    def __init__(
        self,
        *,
        activation: str = "silu",
        learning_rate: Any = "auto",
        weight_decay: Any = "auto",
        batch_size: Any = "auto",
        n_training_steps: Any = "auto",
        patience: Any = "auto",
        decay_fraction: float = 0.3,
        n_target_samples: Any = "auto",
        n_pilot_steps: Any = "auto",
        min_correlation_gain: float = 0.05,
        min_trial_weight: float | str = "auto",
        min_trial_gain: float = 0.01,
        n_folds: Any = "auto",
        fine_tune: Any = "auto",
        sigma_min: Any = "auto",
        sigma_max: float = SIGMA_MAX,
        noise_intervals: Any = 1,
        score_clip: Any = None,
        n_nonzero_weights: Any = None,
        weight_bound: Any = None,
        solver: Any = "auto",
        min_total_gain: float = 2.0,
        min_improved_weight: float = 0.05,
        min_run_gain: float = 0.002,
        score_beside_others: bool = True,
        em_restarts: int = 3,
        max_restart_cost: float = 2.5e8,
        max_search_cost: float = 6e9,
        weak_prior: float = 2e-3,
        weakest_prior: float = 1e-5,
        max_regression_orders: int = 4,
        adaptive_kernels: bool = True,
        reservoir_size: int = RESERVOIR_SAMPLES,
        checkpoint: str | None = None,
    ):
        self.activation = activation
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.n_training_steps = n_training_steps
        self.patience = patience
        self.decay_fraction = decay_fraction
        self.n_target_samples = n_target_samples
        self.n_pilot_steps = n_pilot_steps
        self.min_correlation_gain = min_correlation_gain
        self.min_trial_weight = min_trial_weight
        self.min_trial_gain = min_trial_gain
        self.n_folds = n_folds
        self.fine_tune = fine_tune
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self.noise_intervals = noise_intervals
        self.score_clip = score_clip
        self.n_nonzero_weights = n_nonzero_weights
        self.weight_bound = weight_bound
        self.solver = solver
        self.min_total_gain = min_total_gain
        self.min_improved_weight = min_improved_weight
        self.min_run_gain = min_run_gain
        self.score_beside_others = score_beside_others
        self.em_restarts = em_restarts
        self.max_restart_cost = max_restart_cost
        self.max_search_cost = max_search_cost
        self.weak_prior, self.weakest_prior = weak_prior, weakest_prior
        self.max_regression_orders = max_regression_orders
        self.adaptive_kernels = adaptive_kernels
        self.reservoir_size = reservoir_size
        self.checkpoint = checkpoint


class OptionsMixin(BaseEstimator):
    """Estimators with the parameter `options`, whose settings can be searched where it is None too."""

    options: Options | None

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``options__`` names set those of `options`, which are made where there are none.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self

        Examples
        --------
        >>> from skdiffusion import DiffusionDensityEstimator
        >>> est = DiffusionDensityEstimator().set_params(max_iter=5, options__batch_size=128)
        >>> est.options
        Options(batch_size=128)
        """
        if self.options is None and any(name.startswith("options__") for name in params):
            self.options = Options()
        return super().set_params(**params)
