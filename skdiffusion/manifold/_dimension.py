r"""Dimension of a support from a denoiser's Jacobian.

Near a smooth set the Jacobian of the denoiser, :math:`\alpha\,\partial D/\partial x = \alpha^2\sigma^{-2}
\mathrm{Cov}(x_0\mid x)`, is close to the projection onto the tangent space: eigenvalues near 1 along it and
near 0 across. The score alone knows the set long before it knows the density on it (Shen, Hsieh and He,
2026).
"""

import numpy as np

PLATEAU = np.geomspace(0.3, 0.05, 7)  # noise levels, in whitened standard deviations
TANGENT = 0.5  # eigenvalue that tells tangent from normal


def denoiser_jacobian(field, z, theta):
    """Symmetric part of cos(theta) dD/dz at samples z: (n, d, d), eigenvalues near 1 tangent, near 0 normal.

    Where the field has a reference, relative to the Jacobian of that Gaussian: features that are merely correlated
    are no curved set.
    """
    cos, sin = np.cos(theta), np.sin(theta)
    jacobian = cos * (cos * np.eye(z.shape[1]) + sin * field.jacobian(z, theta))
    reference = field.reference
    if reference is not None:
        scale = reference.function(np.sqrt((reference.values * cos**2 + sin**2) / (reference.values * cos**2)))
        jacobian = scale @ jacobian @ scale
    return (jacobian + jacobian.transpose(0, 2, 1)) / 2


def dimension_spectrum(field, z, rng, levels=PLATEAU):
    """Eigenvalues of the denoiser's Jacobian around samples of the data.

    Parameters
    ----------
    field : velocity field with `jacobian`
    z : array of shape (n, d)
        Samples in the coordinates of the field.
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
    r"""Dimension at samples of the data from the score alone: :math:`d + \sigma^2(\nabla\cdot S + |S|^2)`, shape (n,).

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
    samples can tell (the bulk of Marchenko and Pastur) and at least 4 times (25 times if it is a single one)
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
