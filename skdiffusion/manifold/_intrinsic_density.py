"""The density on a smooth set, with respect to its own volume, by local likelihood."""

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion.manifold._local_polynomials import BLOCK_FLOATS, LocalPolynomials, sample_spacing

BANDWIDTHS = 2.0 ** (0.5 * np.arange(0, 10))  # candidates, in units of the spacing of the samples
NOISE_FACTOR = 1.2  # two bandwidths contradict each other if they differ by more than this times the noise of one


class IntrinsicDensity:
    r"""Log-density with respect to the k-volume of a set, at points of the set.

    Samples are seen in tangent coordinates u around a point; with weights :math:`w_i = N(u_i; 0, h^2 I)`, mean
    mass m, mean :math:`\mu` and covariance S of the weighted samples, the local log-quadratic density is

    .. math:: q(x) = m\, h^k |S|^{-1/2} \exp(-\tfrac12 \mu^T S^{-1} \mu),

    of bias h**4 where a kernel has h**2 (Loader, 1996; Hjort and Jones, 1996). It is the density of the
    diffused samples at the coarse level h, taken back to zero noise by their score and its Jacobian.

    Parameters
    ----------
    surface : LocalPolynomials
    rng : numpy Generator
        Draws the samples at which bandwidths are compared.
    n_compared : int, default=300
        Number of these samples.
    """

    _saved = ("surface", "bandwidth")

    def __init__(self, surface: LocalPolynomials, rng: np.random.Generator, n_compared: int = 300):
        self.surface = surface
        self.bandwidth = self._choose_bandwidth(rng, n_compared)

    def _choose_bandwidth(self, rng: np.random.Generator, n_compared: int) -> float:
        """The widest bandwidth that contradicts no narrower one beyond the noise of that one (Lepski).

        That noise is half the difference of the estimates from two halves of the samples.
        """
        samples = self.surface.samples
        compared = samples[rng.permutation(len(samples))[: min(n_compared, len(samples))]]
        halves = np.array_split(rng.permutation(len(samples)), 2)
        chosen = 0.0
        narrower: list[tuple[np.ndarray, float]] = []
        for h in sample_spacing(samples) * BANDWIDTHS:
            estimate = self._log_density(samples, compared, h)
            one, two = (self._log_density(samples[half], compared, h) for half in halves)
            if any(np.median(np.abs(estimate - e)) > NOISE_FACTOR * noise for e, noise in narrower):
                break
            chosen = float(h)
            narrower.append((estimate, float(np.median(np.abs(one - two)) / 2)))
        return chosen

    def _log_density(self, samples: np.ndarray, x: np.ndarray, h: float) -> np.ndarray:
        k = self.surface.dimension
        tangent = self.surface.tangent(x)
        out = np.empty(len(x))
        for part in slices(len(x), BLOCK_FLOATS // len(samples)):
            block, basis = x[part], tangent[part]
            u = np.einsum("nd,bdk->bnk", samples, basis) - np.einsum("bd,bdk->bk", block, basis)[:, None]
            along = (u**2).sum(2)
            whole = (samples**2).sum(1) - 2 * block @ samples.T + (block**2).sum(1)[:, None]
            # A sample that lies more across than along belongs to another part of the set.
            weight = np.where(4 * (whole - along) <= whole + 1e-12, np.exp(-0.5 * along / h**2), 0.0)
            total = np.maximum(weight.sum(1), 1e-300)
            mean = np.einsum("bn,bnk->bk", weight, u) / total[:, None]
            second = np.einsum("bn,bnk,bnl->bkl", weight, u, u) / total[:, None, None]
            spread = second - mean[:, :, None] * mean[:, None] + 1e-3 * h**2 * np.eye(k)
            shift = (mean * np.linalg.solve(spread, mean[:, :, None])[:, :, 0]).sum(1)
            mass = np.log(total / len(samples)) - 0.5 * k * np.log(2 * np.pi)
            out[part] = mass - 0.5 * (np.linalg.slogdet(spread)[1] + shift)
        return out

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-density in nats, shape (n_points,), at points x of the set (n_points, n_features)."""
        return self._log_density(self.surface.samples, np.asarray(x, dtype=float), self.bandwidth)
