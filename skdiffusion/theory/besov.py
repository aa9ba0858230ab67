r"""Minimax estimation over Besov classes: rates, sizes, noise levels (Oko, Akiyama and Suzuki, 2023).

For a density of smoothness s on :math:`[-1,1]^d`, n samples and a sparse network of about :math:`N = n^{d/(2s+d)}`
weights the expected total variation falls as :math:`n^{-s/(2s+d)}` and the expected W1 as :math:`n^{-(s+1)/(2s+d)}`,
up to logarithms and an arbitrarily small exponent; on a subspace d is its dimension. The rates are those of the
paper; sizes are read practically, without its powers of log n.
"""

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.validation import POSITIVE, StrOptions, at_least, validated

SAMPLES, DIMENSION = at_least(2), at_least(1)
LOSS = [StrOptions({"tv", "w1"})]


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION)
def rate_tv(n, smoothness, n_features):
    """Order of the total variation, n**(-s / (2 s + d)).

    Parameters
    ----------
    n : int
        Samples.
    smoothness : float
    n_features : int
        Intrinsic dimension, where the samples lie on a subspace.

    Returns
    -------
    float
    """
    return float(n ** (-smoothness / (2 * smoothness + n_features)))


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION)
def rate_w1(n, smoothness, n_features):
    """Order of the Wasserstein-1 distance: the larger of n**(-(s + 1) / (2 s + d)) and n**(-1 / 2).

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`

    Returns
    -------
    float
    """
    return float(max(n ** (-(smoothness + 1) / (2 * smoothness + n_features)), n**-0.5))


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION)
def effective_size(n, smoothness, n_features):
    """Number of basis functions that balances bias and variance, n**(d / (2 s + d)).

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`

    Returns
    -------
    float
    """
    return float(n ** (n_features / (2 * smoothness + n_features)))


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION, loss=LOSS)
def stopping_level(n, smoothness, n_features, loss="tv"):
    """Noise level, in standard deviations of a feature, at which the flow may stop without losing the rate.

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`
    loss : {"tv", "w1"}, default="tv"

    Returns
    -------
    float
    """
    power = max(1.0, smoothness) if loss == "tv" else smoothness + 1
    return float(n ** (-power / (2 * smoothness + n_features)))


@validated(n=SAMPLES, constant=POSITIVE)
def clipping_level(n, constant=2.0):
    """Bound of the predicted noise in every feature, C sqrt(log n); C = 2 never bites on true scores.

    Parameters
    ----------
    n : int
    constant : float, default=2.0
        C; Gaussian tails alone reach sqrt 2.

    Returns
    -------
    float
    """
    return float(constant * np.sqrt(np.log(n)))


@validated(n=SAMPLES, smoothness=POSITIVE, n_features=DIMENSION, first=[*POSITIVE, None], last=POSITIVE)
def time_partition(n, smoothness, n_features, *, first=None, last=1.0, slack=0.0, floor=1.0):
    r"""Dyadic intervals of diffusion time t, and the network size each needs.

    One network of size N up to :math:`t_* = n^{-2/(2s+d)}`; then, since the distribution noised to t is smooth at scale
    :math:`\sqrt t`, sizes :math:`t^{-d/2}` that fall with t. Switching is what buys the rate in W1.

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`
    first : float, optional
        Start of the first interval; half the square of the stopping level for W1 by default.
    last : float, default=1.0
        End of the last interval.
    slack : float, default=0.0
        The paper's small delta: sizes grow by n**(delta d / (2 (2 s + d))).
    floor : float, default=1.0
        Least size.

    Returns
    -------
    edges : ndarray of shape (n_intervals + 1,)
    sizes : ndarray of shape (n_intervals,)
    """
    if first is None:
        first = stopping_level(n, smoothness, n_features, "w1") ** 2 / 2
    turn = n ** (-2 / (2 * smoothness + n_features))
    edges = [first, *(turn * 2.0 ** np.arange(0, max(1, int(np.ceil(np.log2(last / turn))))))]
    edges = np.array([e for e in edges if first <= e < last] + [last])
    size = effective_size(n, smoothness, n_features)
    growth = n ** (slack * n_features / (2 * (2 * smoothness + n_features)))
    sizes = np.minimum(np.maximum(edges[:-1], turn) ** (-n_features / 2) * growth, size)
    return edges, np.maximum(sizes, floor)


@dataclass(frozen=True)
class Design:
    """What a smoothness asks for.

    Parameters
    ----------
    parameters : dict
        For the constructor of `DiffusionDensityEstimator`.
    effective_size, stopping_level, clipping_level : float
    edges, sizes : ndarray
        Of `time_partition`.
    """

    parameters: dict
    effective_size: float
    stopping_level: float
    clipping_level: float
    edges: np.ndarray
    sizes: np.ndarray


@validated(
    n=SAMPLES,
    smoothness=POSITIVE,
    n_features=DIMENSION,
    loss=LOSS,
    switching=["boolean"],
    sparse=["boolean"],
    weights_per_function=POSITIVE,
)
def design(n, smoothness, n_features, *, loss="tv", switching=False, sparse=False, weights_per_function=32.0):
    """Constructor parameters for n samples of a density of known smoothness.

    Parameters
    ----------
    n, smoothness, n_features : as for `rate_tv`
    loss : {"tv", "w1"}, default="tv"
    switching : bool, default=False
        Networks of their own for the intervals of `time_partition`, smaller as the noise grows.
    sparse : bool, default=False
        ReLU networks of twice the width, of whose parameters no more differ from zero than the dense ones have, each
        bounded by the effective size (by 8 at least).
    weights_per_function : float, default=32.0
        Weights of a network for each basis function.

    Returns
    -------
    Design

    Examples
    --------
    >>> from skdiffusion.theory.besov import design
    >>> design(10_000, smoothness=1.0, n_features=2).parameters["hidden_layer_sizes"]
    (57, 57)
    """
    size = effective_size(n, smoothness, n_features)
    level = stopping_level(n, smoothness, n_features, loss)
    edges, sizes = time_partition(n, smoothness, n_features)
    wider = 2 if sparse else 1

    def widths(n_functions):
        width = wider * max(8, int(np.ceil(np.sqrt(weights_per_function * n_functions))))
        return width, width

    # On the straight path from data to noise the noise-to-signal ratio is t / (1 - t).
    parameters = {
        "hidden_layer_sizes": widths(size), "process": "flow", "t_min": level / (1 + level), "stacking": False,
    }  # fmt: skip
    if switching:
        # The paper's time is that of dX = -X dt + sqrt(2) dW.
        ratio = np.sqrt(np.expm1(2 * edges[1:-1]))
        kept = ratio > level
        parameters["n_intervals"] = (ratio / (1 + ratio))[kept].tolist()
        parameters["hidden_layer_sizes"] = [widths(m) for m in sizes[len(sizes) - kept.sum() - 1 :]]
    if sparse:
        parameters |= {
            "activation": "relu", "n_nonzero_weights": int(np.ceil(weights_per_function * size)),
            "weight_bound": max(8.0, size),
        }  # fmt: skip
    return Design(parameters, size, level, clipping_level(n), edges, sizes)
