r"""Minimax estimation over Besov classes: rates, sizes, noise levels (Oko, Akiyama and Suzuki, 2023).

For a density of smoothness s on :math:`[-1,1]^d`, n samples and a sparse network of about :math:`N = n^{d/(2s+d)}`
weights the expected total variation falls as :math:`n^{-s/(2s+d)}` and the expected W1 as :math:`n^{-(s+1)/(2s+d)}`,
up to logarithms and an arbitrarily small exponent; on a subspace d is its dimension. The rates are those of the
paper; sizes leave out its powers of log n.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdiffusion._utils.validation import POSITIVE, StrOptions, at_least, validated

SAMPLES, DIMENSION = at_least(2), at_least(1)
LOSS = [StrOptions({"tv", "w1"})]
WEIGHTS_PER_FUNCTION = 32.0  # of a network, for each basis function
MIN_WIDTH = 8
MIN_WEIGHT_BOUND = 8.0


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION)
def rate_tv(n: float, smoothness: float, n_features: int) -> float:
    """Order of the total variation, n**(-s / (2 s + d)).

    Parameters
    ----------
    n : int
        Number of samples.
    smoothness : float
    n_features : int
        Intrinsic dimension, where the samples lie on a subspace.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.besov import rate_tv
    >>> round(float(rate_tv(10_000, smoothness=1.0, n_features=2)), 4)
    0.1
    """
    return float(n ** (-smoothness / (2 * smoothness + n_features)))


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION)
def rate_w1(n: float, smoothness: float, n_features: int) -> float:
    """Order of the Wasserstein-1 distance: the larger of n**(-(s + 1) / (2 s + d)) and n**(-1 / 2).

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.besov import rate_w1
    >>> round(float(rate_w1(10_000, smoothness=1.0, n_features=2)), 4)
    0.01
    """
    return float(max(n ** (-(smoothness + 1) / (2 * smoothness + n_features)), n**-0.5))


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION)
def effective_size(n: float, smoothness: float, n_features: int) -> float:
    """Number of basis functions that balances bias and variance, n**(d / (2 s + d)).

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.besov import effective_size
    >>> round(float(effective_size(10_000, smoothness=1.0, n_features=2)), 4)
    100.0
    """
    return float(n ** (n_features / (2 * smoothness + n_features)))


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION, loss=LOSS)
def stopping_level(n: float, smoothness: float, n_features: int, loss: str = "tv") -> float:
    """Noise level, in standard deviations of a feature, at which the flow may stop without losing the rate.

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`
    loss : {"tv", "w1"}, default="tv"

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.besov import stopping_level
    >>> round(float(stopping_level(10_000, smoothness=1.0, n_features=2)), 4)
    0.1
    """
    power = max(1.0, smoothness) if loss == "tv" else smoothness + 1
    return float(n ** (-power / (2 * smoothness + n_features)))


@validated(n=SAMPLES, constant=POSITIVE)
def clipping_level(n: float, constant: float = 2.0) -> float:
    """Bound of the predicted noise in every feature, C sqrt(log n); no true score reaches it for C = 2.

    Parameters
    ----------
    n : int
    constant : float, default=2.0
        C; Gaussian tails alone reach sqrt 2.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.besov import clipping_level
    >>> round(float(clipping_level(10_000)), 4)
    6.0697
    """
    return float(constant * np.sqrt(np.log(n)))


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION, first=[*POSITIVE, None], last=POSITIVE)
def time_partition(
    n: float, smoothness: float, n_features: int, *, first: float | None = None, last: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Dyadic intervals of diffusion time t, and the network size each needs.

    One network of size N up to :math:`t_* = n^{-2/(2s+d)}`; then, since the distribution noised to t is smooth at scale
    :math:`\sqrt t`, sizes :math:`t^{-d/2}` that fall with t. The rate in W1 is attained by switching between networks.

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`
    first : float, optional
        Start of the first interval; half the square of the stopping level for W1 by default.
    last : float, default=1.0
        End of the last interval.

    Returns
    -------
    edges : ndarray of shape (n_intervals + 1,)
    sizes : ndarray of shape (n_intervals,)
        Numbers of basis functions, at least 1.

    Examples
    --------
    >>> from skdiffusion.theory.besov import time_partition
    >>> edges, sizes = time_partition(10_000, smoothness=1.0, n_features=2)
    >>> len(edges) - len(sizes), bool((sizes[:-1] >= sizes[1:]).all())
    (1, True)
    """
    if first is None:
        first = stopping_level(n, smoothness, n_features, "w1") ** 2 / 2
    turn = n ** (-2 / (2 * smoothness + n_features))
    dyadic = turn * 2.0 ** np.arange(0, max(1, int(np.ceil(np.log2(last / turn)))))
    edges = np.array([e for e in (first, *dyadic) if first <= e < last] + [last])
    sizes = np.maximum(edges[:-1], turn) ** (-n_features / 2)
    return edges, np.clip(sizes, 1.0, effective_size(n, smoothness, n_features))


@dataclass(frozen=True)
class Design:
    """Sizes and noise levels for a density of known smoothness.

    Noise levels are noise-to-signal ratios, in standard deviations of a feature.

    Parameters
    ----------
    effective_size, stopping_level, clipping_level : float
        Of the functions of these names.
    edges, sizes : ndarray
        Of `time_partition`.
    widths : list of int
        Width of the two hidden layers of every network, from small to large noise.
    switching_levels : list of float or None
        Noise levels between these networks; None for a single network.
    n_nonzero_weights : int or None
        Of every network; None if all its weights may differ from zero.
    weight_bound : float or None

    Examples
    --------
    >>> from skdiffusion.theory.besov import design
    >>> plan = design(10_000, smoothness=1.0, n_features=2)
    >>> type(plan).__name__, len(plan.widths)
    ('Design', 1)
    """

    effective_size: float
    stopping_level: float
    clipping_level: float
    edges: np.ndarray
    sizes: np.ndarray
    widths: list[int]
    switching_levels: list[float] | None = None
    n_nonzero_weights: int | None = None
    weight_bound: float | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Arguments of the constructor of `DiffusionDensityEstimator`."""
        from skdiffusion.estimators import Options  # which loads torch

        layers = [(width, width) for width in self.widths]
        options: dict[str, Any] = {"sigma_min": self.stopping_level}
        if self.switching_levels is not None:
            options["noise_intervals"] = self.switching_levels
        if self.n_nonzero_weights is not None:
            options |= {"activation": "relu", "weight_bound": self.weight_bound}
            options["n_nonzero_weights"] = self.n_nonzero_weights
        sizes = layers[0] if self.switching_levels is None else layers
        return {"hidden_layer_sizes": sizes, "components": None, "options": Options(**options)}


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION, loss=LOSS, switching=["boolean"], sparse=["boolean"])
def design(
    n: float, smoothness: float, n_features: int, *, loss: str = "tv", switching: bool = False, sparse: bool = False
) -> Design:
    """Sizes and noise levels for n samples of a density of known smoothness.

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`
    loss : {"tv", "w1"}, default="tv"
    switching : bool, default=False
        Networks of their own for the intervals of `time_partition`, smaller as the noise grows.
    sparse : bool, default=False
        ReLU networks of twice the width, of which no more weights differ from zero than the dense networks have, each
        bounded by the effective size (or by 8, if that is larger).

    Returns
    -------
    Design
        `parameters` are arguments of `DiffusionDensityEstimator`.

    Examples
    --------
    >>> from skdiffusion.theory.besov import design
    >>> design(10_000, smoothness=1.0, n_features=2).parameters["hidden_layer_sizes"]
    (57, 57)
    """
    size = effective_size(n, smoothness, n_features)
    level = stopping_level(n, smoothness, n_features, loss)
    edges, sizes = time_partition(n, smoothness, n_features)
    functions, switching_levels = [size], None
    if switching:
        # The paper's time is that of dX = -X dt + sqrt(2) dW.
        ratio = np.sqrt(np.expm1(2 * edges[1:-1]))
        switching_levels = ratio[ratio > level].tolist()
        functions = sizes[len(sizes) - len(switching_levels) - 1 :].tolist()
    factor = 2 if sparse else 1
    widths = [factor * max(MIN_WIDTH, int(np.ceil(np.sqrt(WEIGHTS_PER_FUNCTION * m)))) for m in functions]
    limits = (int(np.ceil(WEIGHTS_PER_FUNCTION * size)), max(MIN_WEIGHT_BOUND, size)) if sparse else (None, None)
    return Design(size, level, clipping_level(n), edges, sizes, widths, switching_levels, *limits)
