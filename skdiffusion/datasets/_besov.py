"""Densities on [-1, 1]^d of known smoothness, no more and no less, with their diffused densities and scores."""

from math import comb, factorial
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.validation import Number, RandomState, at_least, generator_seed, validated

ORDER = 4  # of the cardinal B-spline, which allows a smoothness below 3
PEAK = 2 / 3  # the largest value of the B-spline
NODES_PER_CELL = 4
BLOCK_FLOATS = 4_000_000  # pairs of a sample and a node held at once


def _bspline(x: np.ndarray) -> np.ndarray:
    """Cardinal B-spline of order 4: support [0, 4], two continuous derivatives."""
    return sum(
        (-1) ** k * comb(ORDER, k) * np.maximum(x - k, 0.0) ** (ORDER - 1) for k in range(ORDER + 1)
    ) / factorial(ORDER - 1)


def _wave(u: np.ndarray) -> np.ndarray:
    """Difference of two B-splines: support [0, 1], mean 0."""
    return _bspline(2 * ORDER * u) - _bspline(2 * ORDER * u - ORDER)


class BesovDensity:
    r"""A random density on :math:`[-1,1]^d` that lies in :math:`B^s_{\infty,\infty}` and in nothing smoother.

    .. math:: p(x) = 2^{-d}\Big[1 + A\sum_{j<J} 2^{-js}\sum_k e_{jk}\prod_i \psi(2^j u_i - k_i)\Big],\quad u = (x+1)/2,

    with random signs and a wave :math:`\psi` of mean 0 made of two cardinal B-splines. It integrates to one exactly
    and is nowhere below :math:`0.1\cdot2^{-d}`.

    Parameters
    ----------
    smoothness : float
        s, in (0, 3).
    n_features : {1, 2}, default=1
    n_levels : int, default=None
        J; None is 10 for one feature and 6 for two. The density is smooth below the finest scale :math:`2^{-J}`.
    sign_seed : int, default=0
        Seed of the random signs.

    References
    ----------
    Oko, Akiyama and Suzuki (2023), Diffusion models are minimax optimal distribution estimators: the setting.

    Examples
    --------
    >>> from skdiffusion.datasets import BesovDensity
    >>> distribution = BesovDensity(1.5)
    >>> distribution.sample(100, random_state=0).shape
    (100, 1)
    >>> import numpy as np
    >>> X = distribution.sample(5, random_state=0)
    >>> bool(np.allclose(np.exp(distribution.log_prob(X)), distribution.density(X)))
    True
    >>> log_density, score = distribution.diffused(X, 0.5)
    >>> log_density.shape, score.shape
    ((5,), (5, 1))
    """

    @validated(
        smoothness=[Number(Real, 0, ORDER - 1, closed="neither")],
        n_features=[Number(Integral, 1, 2, closed="both")],
        n_levels=[Number(Integral, 1, 20, closed="both"), None],
        sign_seed=at_least(0, Integral),
    )
    def __init__(
        self, smoothness: float, n_features: int = 1, n_levels: int | None = None, *, sign_seed: int = 0
    ) -> None:
        self.smoothness, self.n_features, self.sign_seed = smoothness, n_features, sign_seed
        self.n_levels = n_levels or (10 if n_features == 1 else 6)
        rng = np.random.default_rng(sign_seed)
        self._signs = [rng.choice([-1.0, 1.0], (2**j,) * n_features) for j in range(self.n_levels)]
        decay = 2.0 ** (-smoothness * np.arange(self.n_levels))
        self._amplitudes = 0.9 * decay / (PEAK**n_features * decay.sum())

    def density(self, X: ArrayLike) -> np.ndarray:
        """Density of samples; 0 outside the cube.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        u = (np.asarray(X, dtype=float) + 1) / 2
        inside = ((u >= 0) & (u <= 1)).all(1)
        u = np.clip(u, 0.0, 1.0)
        total = np.ones(len(u))
        for j, (signs, amplitude) in enumerate(zip(self._signs, self._amplitudes)):
            cell = np.minimum((2**j * u).astype(int), 2**j - 1)
            total += amplitude * signs[tuple(cell.T)] * _wave(2**j * u - cell).prod(1)
        return np.where(inside, total / 2**self.n_features, 0.0)

    def log_prob(self, X: ArrayLike) -> np.ndarray:
        """Log-density of samples in nats, with the shapes of `density`; -inf outside the cube.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.density(X))

    def sample(self, n_samples: int, random_state: RandomState = None) -> np.ndarray:
        """Draw exact samples, by rejection from the uniform distribution.

        Parameters
        ----------
        n_samples : int
        random_state : int, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        rng = np.random.default_rng(generator_seed(random_state))
        kept, missing = [], n_samples
        while missing > 0:
            samples = rng.uniform(-1, 1, (2 * missing + 16, self.n_features))
            accepted = samples[rng.random(len(samples)) * 1.9 < self.density(samples) * 2**self.n_features][:missing]
            kept.append(accepted)
            missing -= len(accepted)
        return np.concatenate(kept) if kept else np.empty((0, self.n_features))

    def _quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Legendre nodes on the pieces of the polynomial, and the logarithms of their masses."""
        cells = 2 * ORDER * 2 ** (self.n_levels - 1)
        nodes, weights = np.polynomial.legendre.leggauss(NODES_PER_CELL)
        edges = np.linspace(-1, 1, cells + 1)
        width = edges[1] - edges[0]
        x = (edges[:-1, None] + width * (nodes + 1) / 2).ravel()
        w = np.tile(weights * width / 2, cells)
        if self.n_features == 2:
            x = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
            w = np.outer(w, w).ravel()
        else:
            x = x[:, None]
        return x, np.log(w) + self.log_prob(x)

    def diffused(self, Z: ArrayLike, theta: float) -> tuple[np.ndarray, np.ndarray]:
        r"""Log-density and score of :math:`x\cos\theta + e\sin\theta` with standard normal e, at samples Z.

        By quadrature on the pieces of the polynomial, exact where the noise is wider than a piece.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features)
        theta : float

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
        score : ndarray of shape (n_samples, n_features)
        """
        z = np.asarray(Z, dtype=float)
        x, log_mass = self._quadrature()
        cos, sin = np.cos(theta), np.sin(theta)
        out, score = np.empty(len(z)), np.empty(z.shape)
        for block in slices(len(z), BLOCK_FLOATS // len(x)):
            logits = log_mass - 0.5 * ((z[block, None] - cos * x) ** 2).sum(2) / sin**2
            total = logsumexp(logits, axis=1)
            mean = np.exp(logits - total[:, None]) @ x
            out[block] = total - 0.5 * self.n_features * np.log(2 * np.pi * sin**2)
            score[block] = (cos * mean - z[block]) / sin**2
        return out, score
