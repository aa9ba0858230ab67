"""The density on a smooth set, with respect to its own volume, by local likelihood."""

import numpy as np

from skdiffusion.manifold._local_polynomials import CHUNK_FLOATS, sample_spacing


class IntrinsicDensity:
    r"""Log-density with respect to the k-volume of the set, at points of the set.

    Samples are seen in tangent coordinates u around a point; with weights :math:`w_i = N(u_i; 0, h^2 I)`, mean
    mass m, mean :math:`\mu` and covariance S of the weighted samples, the local log-quadratic density is

    .. math:: q(x) = m\, h^k |S|^{-1/2} \exp(-\tfrac12 \mu^T S^{-1} \mu),

    of bias h**4 where a kernel has h**2 (Loader, 1996; Hjort and Jones, 1996). It is the density of the
    diffused samples at the coarse level h, taken back to zero noise by their score and its Jacobian.

    Parameters
    ----------
    surface : LocalPolynomials
    rng : numpy Generator
        Of the samples on which the bandwidth is chosen.
    """

    def __init__(self, surface, rng, n_judges=300):
        self.surface = surface
        samples = surface.samples
        spacing = sample_spacing(samples, surface.dimension)
        judges = samples[rng.permutation(len(samples))[: min(n_judges, len(samples))]]
        halves = np.array_split(rng.permutation(len(samples)), 2)
        kept, estimates, noises = None, [], []
        # Lepski: the widest bandwidth that contradicts no narrower one beyond that one's noise.
        for h in spacing * 2.0 ** (0.5 * np.arange(0, 10)):
            estimate = self._log_density(samples, judges, h)
            one, two = (self._log_density(samples[half], judges, h) for half in halves)
            if any(np.median(np.abs(estimate - e)) > 1.2 * noise for e, noise in zip(estimates, noises)):
                break
            kept = h
            estimates.append(estimate)
            noises.append(np.median(np.abs(one - two)) / 2)
        self.bandwidth = float(kept)

    def _log_density(self, samples, x, h):
        k = self.surface.dimension
        tangent = self.surface.tangent(x)
        step = max(1, CHUNK_FLOATS // len(samples))
        out = np.empty(len(x))
        for start in range(0, len(x), step):
            block, basis = x[start : start + step], tangent[start : start + step]
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
            out[start : start + step] = mass - 0.5 * (np.linalg.slogdet(spread)[1] + shift)
        return out

    def log_prob(self, x):
        """Log-density at points x of the set, in nats, shape (n,)."""
        return self._log_density(self.surface.samples, np.asarray(x, dtype=float), self.bandwidth)
