r"""Dimension of a support from a denoiser's Jacobian, and projection onto it by local polynomials.

Near a smooth set the Jacobian of the denoiser, :math:`\alpha\,\partial D/\partial x = \alpha^2\sigma^{-2}
\mathrm{Cov}(x_0\mid x)`, is close to the projection onto the tangent space: eigenvalues near 1 along it and
near 0 across. The score alone knows the set long before it knows the density on it (Shen, Hsieh and He,
2026).
"""

from itertools import combinations_with_replacement, product

import numpy as np
from scipy.spatial import cKDTree

from skdiffusion.theory.subspace import coarse_rows

PLATEAU = np.geomspace(0.3, 0.05, 7)  # noise levels, in whitened standard deviations
TANGENT = 0.5  # eigenvalue that tells tangent from normal
CHUNK_FLOATS = 2_000_000


def denoiser_jacobian(field, z, theta):
    """Symmetric part of cos(theta) dD/dz at rows z: (n, d, d), eigenvalues near 1 tangent, near 0 normal.

    Where the field has a reference, relative to the Jacobian of that Gaussian: columns that are merely correlated
    are no curved set.
    """
    cos, sin = np.cos(theta), np.sin(theta)
    jacobian = cos * (cos * np.eye(z.shape[1]) + sin * field.jacobian(z, theta))
    reference = getattr(field, "reference", None)
    if reference is not None:
        scale = reference.function(np.sqrt((reference.values * cos**2 + sin**2) / (reference.values * cos**2)))
        jacobian = scale @ jacobian @ scale
    return (jacobian + jacobian.transpose(0, 2, 1)) / 2


def dimension_spectrum(field, z, rng, levels=PLATEAU):
    """Eigenvalues of the denoiser's Jacobian around rows of the data.

    Parameters
    ----------
    field : velocity field with `jacobian`
    z : array of shape (n, d)
        Rows in the coordinates of the field.
    rng : numpy Generator
        Of the noise added to them.
    levels : array of shape (n_levels,)
        Noise-to-signal ratios.

    Returns
    -------
    ndarray of shape (n_levels, n, d)
        In descending order.
    """
    out = []
    for level in levels:
        theta = float(np.arctan(level))
        noised = np.cos(theta) * z + np.sin(theta) * rng.standard_normal(z.shape)
        out.append(np.linalg.eigvalsh(denoiser_jacobian(field, noised, theta))[:, ::-1])
    return np.array(out)


def plateau_dimension(spectrum):
    """The number of tangent directions on which most noise levels agree; the finer ones in a tie.

    Levels at which separated clusters look like points (no tangent direction) have no vote.
    """
    counts = np.median((spectrum > TANGENT).sum(2), axis=1).astype(int)
    votes = np.bincount(counts)
    votes[0] = 0
    return int(next((c for c in counts[::-1] if votes[c] and votes[c] == votes.max()), 1))


def flipd(field, z, level):
    r"""Dimension at rows of the data from the score alone: :math:`d + \sigma^2(\nabla\cdot S + |S|^2)`, shape (n,).

    Kamkari et al. (2024), A geometric view of data complexity: the rate at which log-density falls with noise.
    """
    theta = float(np.arctan(level))
    cos, sin = np.cos(theta), np.sin(theta)
    velocity, trace = field(cos * z, theta, True)
    noise = sin * cos * z - cos * velocity
    return z.shape[1] - level * cos * (sin * z.shape[1] - cos * trace) + (noise**2).sum(1)


def linear_dimension(variances, n_samples):
    """Number of principal directions above an isotropic floor, and the variance of the floor.

    Directions are dropped if their variances are zero to round-off, or equal to one another as far as n
    rows can tell (the bulk of Marchenko and Pastur) and at least 4 times (25 times if it is a single one)
    below the rest.

    Parameters
    ----------
    variances : array of shape (d,)
        Eigenvalues of the covariance, descending.
    n_samples : int

    Returns
    -------
    n_directions : int
    noise_variance : float
    """
    d = len(variances)
    rank = max(1, int((variances > 1e-12 * variances[0]).sum()))
    if rank < d:
        return rank, 0.0
    for k in range(1, d):
        rest = variances[k:]
        ratio = min(np.sqrt((d - k) / n_samples), 0.9)
        bulk = 1.2 * ((1 + ratio) / (1 - ratio)) ** 2
        if rest[0] / rest[-1] < bulk and variances[k - 1] > (25 if d - k == 1 else 4) * rest[0]:
            return k, float(rest.mean())
    return d, 0.0


class LocalPolynomials:
    r"""A set seen through rows on it: locally the graph of a polynomial over the tangent space.

    At y, rows are weighted by :math:`\exp(-|y-X_i|^2/2\tau^2)`; the top k directions of their covariance span the
    tangent space, and the rest is a polynomial of the tangent coordinates, by weighted least squares. The error
    for a set of smoothness beta is of order tau**beta, where the weighted mean stays at tau**2.

    Parameters
    ----------
    rows : array of shape (n, d)
    dimension : int
        k.
    scale : float
        tau; wider where the last neighbour is further away than 2.5 tau.
    degree : int
        Of the polynomial; 1 is the tangent plane.
    rows_per_term : float, default=3
        Neighbours for every coefficient: few follow a set without noise more closely, many average noise out.
    """

    def __init__(self, rows, dimension, scale, degree, rows_per_term=3.0):
        self.rows, self.dimension, self.scale, self.degree = rows, dimension, scale, degree
        self.powers = [c for p in range(2, degree + 1) for c in combinations_with_replacement(range(dimension), p)]
        self.n_terms = 1 + dimension + len(self.powers)
        self.n_neighbours = min(len(rows), max(int(rows_per_term * self.n_terms), 2 * dimension + 4))
        self._tree = cKDTree(rows)
        self._centre, self._reach = rows.mean(0), 1e6 * np.abs(rows - rows.mean(0)).max()

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_tree"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._tree = cKDTree(self.rows)

    def _within(self, y):
        """Rows, those absurdly far away drawn in: squares of their distances would overflow."""
        away = np.asarray(y, dtype=float) - self._centre
        size = np.abs(away).max(1, keepdims=True)
        return self._centre + np.where(size > self._reach, away / np.maximum(size, 1.0) * self._reach, away)

    def _terms(self, u):
        """Monomials (..., n_terms) of tangent coordinates u (..., k), in units of the scale."""
        ones = np.ones((*u.shape[:-1], 1))
        return np.concatenate([ones, u, *(u[..., list(c)].prod(-1, keepdims=True) for c in self.powers)], axis=-1)

    def _frames(self, y):
        """Local centre (n, d), tangent basis (n, d, k), neighbours (n, m, d) and their weights (n, m)."""
        distance, index = self._tree.query(y, k=self.n_neighbours)
        near = self.rows[index]
        # Where rows are sparse the kernel widens, so that a polynomial always has rows to stand on.
        scale = np.maximum(self.scale, distance[:, -1] / 2.5)[:, None]
        weight = np.exp(-0.5 * (distance / scale) ** 2) + 1e-12
        weight /= weight.sum(1, keepdims=True)
        centre = np.einsum("nm,nmd->nd", weight, near)
        away = (near - centre[:, None]) * np.sqrt(weight)[:, :, None]
        # The singular vectors of the rows: d may be large, the rows are few.
        tangent = np.linalg.svd(away, full_matrices=False)[2][:, : self.dimension].transpose(0, 2, 1)
        return centre, tangent, near, weight, scale

    def _surface(self, y, seen=None):
        """Points of the local surfaces around y, above the tangent coordinates of `seen` (y by default)."""
        centre, tangent, near, weight, scale = self._frames(y)
        away = near - centre[:, None]
        u = away @ tangent
        normal = away - u @ tangent.transpose(0, 2, 1)
        terms = self._terms(u / scale[:, :, None])
        weighted = terms * weight[:, :, None]
        gram = terms.transpose(0, 2, 1) @ weighted
        size = np.trace(gram, axis1=1, axis2=2)[:, None, None]
        gram = gram + 1e-9 * size * np.eye(gram.shape[1])
        coefficients = np.linalg.solve(gram, weighted.transpose(0, 2, 1) @ normal)
        at = np.einsum("nd,ndk->nk", (y if seen is None else seen) - centre, tangent)
        # Beyond the neighbours a polynomial is a guess.
        reach = np.abs(u).max(1)
        at = np.clip(at, -reach, reach)
        bend = np.einsum("nt,ntd->nd", self._terms(at / scale), coefficients)
        return centre + np.einsum("nk,ndk->nd", at, tangent) + bend

    def _chunked(self, function, *arrays):
        step = max(1, CHUNK_FLOATS // (self.n_neighbours * (arrays[0].shape[1] + 4)))
        parts = [function(*(a[i : i + step] for a in arrays)) for i in range(0, len(arrays[0]), step)]
        return np.concatenate(parts) if parts else np.empty_like(arrays[0])

    def project(self, y, n_iterations=2):
        """Nearest points of the set, to the order of the polynomial: (n, d)."""
        y = self._within(y)
        for _ in range(n_iterations):
            y = self._chunked(self._surface, y)
        return y

    def residual(self, x, y):
        """Distance of rows x, on the set, to the local surfaces built around nearby rows y: (n,)."""
        return np.linalg.norm(self._chunked(self._surface, y, x) - x, axis=1)

    def tangent(self, y):
        """Orthonormal basis of the tangent space at rows: (n, d, k)."""
        return self._chunked(lambda block: self._frames(block)[1], self._within(y))


def sample_spacing(rows, dimension):
    """Median distance to the neighbour of `coarse_rows`: of order (log n / n)**(1/k)."""
    m = min(len(rows) - 1, coarse_rows(len(rows)))
    return float(np.median(cKDTree(rows).query(rows[:2000], k=[m + 1])[0]))


def fit_local_polynomials(rows, dimension, rng, scale=None, n_held_out=300):
    """Local polynomials of least held-out residual: 0.4 to 1 times the spacing, degree 1, 2 or 4, few or many rows.

    Parameters
    ----------
    rows : array of shape (n, d)
    dimension : int
    rng : numpy Generator
    scale : float, optional
        A given scale; only the rest is then chosen.
    n_held_out : int, default=300

    Returns
    -------
    LocalPolynomials
        Of all rows.
    """
    n = len(rows)
    held = rng.permutation(n)[: min(n_held_out, n // 5)]
    seen = np.delete(rows, held, axis=0)
    noise = rng.standard_normal((len(held), rows.shape[1]))
    spacing = sample_spacing(rows, dimension)
    scales = [scale] if scale is not None else [f * spacing for f in (1.0, 0.8, 0.6, 0.4)]
    best = None
    for s in scales:
        for degree, rows_per_term in product((1, 2, 4), (1.5, 3.0, 6.0)):
            model = LocalPolynomials(seen, dimension, s, degree, rows_per_term)
            if model.n_neighbours < rows_per_term * model.n_terms:
                continue
            # Built around a noised row, the surface must still pass through the row itself.
            residual = np.median(model.residual(rows[held], rows[held] + s * noise))
            if best is None or residual < best[0]:
                best = (residual, s, degree, rows_per_term)
    return LocalPolynomials(rows, dimension, *(best[1:] if best else (scales[0], 1)))


class IntrinsicDensity:
    r"""Log-density with respect to the k-volume of the set, at points of the set.

    Rows are seen in tangent coordinates u around a point; with weights :math:`w_i = N(u_i; 0, h^2 I)`, mean
    mass m, mean :math:`\mu` and covariance S of the weighted rows, the local log-quadratic density is

    .. math:: q(x) = m\, h^k |S|^{-1/2} \exp(-\tfrac12 \mu^T S^{-1} \mu),

    of bias h**4 where a kernel has h**2 (Loader, 1996; Hjort and Jones, 1996). It is the density of the
    diffused rows at the coarse level h, taken back to zero noise by their score and its Jacobian.

    Parameters
    ----------
    surface : LocalPolynomials
    rng : numpy Generator
        Of the rows on which the bandwidth is chosen.
    """

    def __init__(self, surface, rng, n_judges=300):
        self.surface = surface
        rows = surface.rows
        spacing = sample_spacing(rows, surface.dimension)
        judges = rows[rng.permutation(len(rows))[: min(n_judges, len(rows))]]
        halves = np.array_split(rng.permutation(len(rows)), 2)
        kept, estimates, noises = None, [], []
        # Lepski: the widest bandwidth that contradicts no narrower one beyond that one's noise.
        for h in spacing * 2.0 ** (0.5 * np.arange(0, 10)):
            estimate = self._log_density(rows, judges, h)
            one, two = (self._log_density(rows[half], judges, h) for half in halves)
            if any(np.median(np.abs(estimate - e)) > 1.2 * noise for e, noise in zip(estimates, noises)):
                break
            kept = h
            estimates.append(estimate)
            noises.append(np.median(np.abs(one - two)) / 2)
        self.bandwidth = float(kept)

    def _log_density(self, rows, x, h):
        k = self.surface.dimension
        tangent = self.surface.tangent(x)
        step = max(1, CHUNK_FLOATS // len(rows))
        out = np.empty(len(x))
        for start in range(0, len(x), step):
            block, basis = x[start : start + step], tangent[start : start + step]
            u = np.einsum("nd,bdk->bnk", rows, basis) - np.einsum("bd,bdk->bk", block, basis)[:, None]
            along = (u**2).sum(2)
            whole = (rows**2).sum(1) - 2 * block @ rows.T + (block**2).sum(1)[:, None]
            # A row that lies more across than along belongs to another part of the set.
            weight = np.where(4 * (whole - along) <= whole + 1e-12, np.exp(-0.5 * along / h**2), 0.0)
            total = np.maximum(weight.sum(1), 1e-300)
            mean = np.einsum("bn,bnk->bk", weight, u) / total[:, None]
            second = np.einsum("bn,bnk,bnl->bkl", weight, u, u) / total[:, None, None]
            spread = second - mean[:, :, None] * mean[:, None] + 1e-3 * h**2 * np.eye(k)
            shift = (mean * np.linalg.solve(spread, mean[:, :, None])[:, :, 0]).sum(1)
            mass = np.log(total / len(rows)) - 0.5 * k * np.log(2 * np.pi)
            out[start : start + step] = mass - 0.5 * (np.linalg.slogdet(spread)[1] + shift)
        return out

    def log_density(self, x):
        """Log-density at points x of the set, in nats, shape (n,)."""
        return self._log_density(self.surface.rows, np.asarray(x, dtype=float), self.bandwidth)
