r"""Dimension of a support: linear by principal directions, curved by a denoiser's Jacobian.

Near a smooth set the Jacobian of the denoiser, :math:`\alpha\,\partial D/\partial x = \alpha^2\sigma^{-2}
\mathrm{Cov}(x_0\mid x)`, is close to the projection onto the tangent space: eigenvalues near 1 along it and
near 0 across. The score alone knows the set long before it knows the density on it (Shen, Hsieh and He, 2026).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdiffusion._utils.protocols import VelocityField
from skdiffusion.manifold._neighborhoods import are_thin

PLATEAU = np.geomspace(0.3, 0.05, 7)  # noise levels, in whitened standard deviations
TANGENT = 0.5  # eigenvalues above it count as tangent directions
LOCAL_LEVELS, N_LOCAL_NOISES = (0.2, 0.14, 0.1), 8
N_FINEST = 4  # noise levels at which a fit is asked for a support
MIN_SAMPLES, N_PROBES = 500, 100  # of a network that resolves a curved set; samples at which it is asked


def denoiser_jacobian(field: VelocityField, z: np.ndarray, theta: float) -> np.ndarray:
    """Symmetric part of the Jacobian of the denoiser, times the cosine of the angle.

    Parameters
    ----------
    field : VelocityField
        With `jacobian`. Where it has a Gaussian reference, the result is relative to the Jacobian of that Gaussian:
        features that are merely correlated are no curved set.
    z : array of shape (n_samples, n_features)
        Noised samples, in the coordinates of the field.
    theta : float
        Angle of the noise level.

    Returns
    -------
    ndarray of shape (n_samples, n_features, n_features)
        With eigenvalues near 1 along the support and near 0 across.
    """
    cos, sin = np.cos(theta), np.sin(theta)
    jacobian = cos * (cos * np.eye(z.shape[1]) + sin * field.jacobian(z, theta))
    reference = field.reference
    if reference is not None:
        scale = reference.function(np.sqrt((reference.values * cos**2 + sin**2) / (reference.values * cos**2)))
        jacobian = scale @ jacobian @ scale
    return (jacobian + jacobian.transpose(0, 2, 1)) / 2


def dimension_spectrum(
    field: VelocityField, z: np.ndarray, rng: np.random.Generator, levels: np.ndarray = PLATEAU
) -> np.ndarray:
    """Eigenvalues of the denoiser's Jacobian around samples of the data.

    Parameters
    ----------
    field : VelocityField
        With `jacobian`.
    z : array of shape (n_samples, n_features)
        Samples in the coordinates of the field.
    rng : numpy Generator
        Draws the noise that is added to them.
    levels : array of shape (n_levels,)
        Noise-to-signal ratios.

    Returns
    -------
    ndarray of shape (n_levels, n_samples, n_features)
        In descending order.
    """
    out = []
    for level in levels:
        theta = float(np.arctan(level))
        noised = np.cos(theta) * z + np.sin(theta) * rng.standard_normal(z.shape)
        out.append(np.linalg.eigvalsh(denoiser_jacobian(field, noised, theta))[:, ::-1])
    return np.array(out)


def plateau_dimension(spectrum: np.ndarray) -> int:
    """The number of tangent directions on which most noise levels agree; that of the finer levels in a tie.

    Levels at which separated clusters look like points (no tangent direction) have no vote.

    Parameters
    ----------
    spectrum : array of shape (n_levels, n_samples, n_features)
        Of `dimension_spectrum`, from coarse levels to fine ones.

    Returns
    -------
    int
        At least 1.
    """
    counts = np.median((spectrum > TANGENT).sum(2), axis=1).astype(int)
    votes = np.bincount(counts)
    votes[0] = 0
    return int(next((c for c in counts[::-1] if votes[c] and votes[c] == votes.max()), 1))


def local_dimension(
    field: VelocityField, z: np.ndarray, rng: np.random.Generator, levels: Sequence[float] = LOCAL_LEVELS
) -> np.ndarray:
    """Dimension of the support around every sample, by the median of the noise levels.

    The Jacobian is averaged over a few directions of noise, the same around every sample: no sample depends on another.

    Parameters
    ----------
    field : VelocityField
        With `jacobian`.
    z : array of shape (n_samples, n_features)
        Samples in the coordinates of the field.
    rng : numpy Generator
        Draws the directions of noise.
    levels : sequence of float
        Noise-to-signal ratios.

    Returns
    -------
    ndarray of int, shape (n_samples,)
        At least 1.
    """
    noise = rng.standard_normal((N_LOCAL_NOISES, z.shape[1]))
    counts = []
    for level in levels:
        theta = float(np.arctan(level))
        noised = [np.cos(theta) * z + np.sin(theta) * e for e in noise]
        jacobian = np.mean([denoiser_jacobian(field, x, theta) for x in noised], axis=0)
        counts.append((np.linalg.eigvalsh(jacobian) > TANGENT).sum(1))
    return np.maximum(1, np.median(counts, axis=0).astype(int))


def flipd(field: VelocityField, z: np.ndarray, level: float) -> np.ndarray:
    r"""Dimension at samples of the data from the score alone: :math:`d + \sigma^2(\nabla\cdot S + |S|^2)`.

    It is the rate at which the log-density falls with the noise level.

    Parameters
    ----------
    field : VelocityField
    z : array of shape (n_samples, n_features)
        Samples in the coordinates of the field.
    level : float
        Noise-to-signal ratio.

    Returns
    -------
    ndarray of shape (n_samples,)

    References
    ----------
    Kamkari et al. (2024), A geometric view of data complexity: efficient local intrinsic dimension estimation with
    diffusion models.
    """
    theta = float(np.arctan(level))
    cos, sin = np.cos(theta), np.sin(theta)
    velocity, trace = field(cos * z, theta, True)
    noise = sin * cos * z - cos * velocity
    return z.shape[1] - level * cos * (sin * z.shape[1] - cos * trace) + (noise**2).sum(1)


def anisotropic_dimension(spectrum: np.ndarray) -> int | None:
    """The number of tangent directions around most samples, where some of their directions are thin and others are not.

    Eigenvalues are compared with the largest of the same sample at the same noise level: around a narrow cluster, or
    the narrow part of a mixture of scales, all fall alike as the noise grows.

    Parameters
    ----------
    spectrum : array of shape (n_levels, n_samples, n_features)
        Of `dimension_spectrum`, from coarse levels to fine ones.

    Returns
    -------
    int or None
        The smaller median number at two adjacent levels, at which most samples have thin directions; None if there are
        no such levels.
    """
    largest = spectrum[:, :, :1]
    counts = (spectrum > TANGENT * largest).sum(2)
    thin = (counts < spectrum.shape[2]) & (largest[:, :, 0] > TANGENT)
    most = thin.mean(1) > 0.5
    pairs = np.flatnonzero(most[:-1] & most[1:])
    if not len(pairs):
        return None
    at = [int(np.median(counts[level][thin[level]])) for level in (pairs[-1], pairs[-1] + 1)]
    return min(at)


def support_dimension(X: np.ndarray, field: VelocityField, z: np.ndarray, rng: np.random.Generator) -> int | None:
    """Dimension of the set on or near which the samples lie, if it is lower than the number of features.

    Collinear features show in the singular values of the samples, a curved set in the tangent directions that a trained
    network sees at the finest noise levels it resolves: samples that fill the space have as many as features. What a
    network does not resolve, such as narrow clusters, may look like a curve to it, so that the neighborhoods of the
    samples must be thin as well.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Training samples.
    field : VelocityField
        Trained on them, with `jacobian` and `place`.
    z : array of shape (n_probes, n_features)
        Whitened samples, of which the first 100 are looked at.
    rng : numpy Generator
        Draws the noise that is added to them.

    Returns
    -------
    int or None
        None where the samples fill the space, or are too few to tell.
    """
    n, d = X.shape
    if d == 1 or n <= 2 * d:
        return None
    standard = (X - X.mean(0)) / np.maximum(X.std(0), 1e-300)
    k = int((np.linalg.svd(standard, compute_uv=False) > 1e-8 * np.sqrt(n)).sum())
    if k == d and n >= MIN_SAMPLES:
        seen = anisotropic_dimension(dimension_spectrum(field, field.place(z[:N_PROBES]), rng, PLATEAU[-N_FINEST:]))
        k = d if seen is None or not are_thin(X, N_PROBES, rng) else seen
    return k if 0 < k < d else None


def principal_directions(centered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions of largest variance, with signs that do not depend on the linear algebra library.

    Parameters
    ----------
    centered : array of shape (n_samples, n_features)
        Samples of mean zero.

    Returns
    -------
    directions : ndarray of shape (n_directions, n_features)
        Orthonormal; the largest entry of each is positive.
    variances : ndarray of shape (n_directions,)
        In descending order; as many as there are samples or features, whichever is fewer.
    """
    _, values, directions = np.linalg.svd(centered, full_matrices=False)
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    return directions * np.sign(largest)[:, None], values**2 / len(centered)


def linear_dimension(variances: np.ndarray, n_samples: int) -> tuple[int, float]:
    """Number of principal directions above an isotropic floor, and the variance of the floor.

    Directions are dropped if their variances are zero to round-off, or equal to one another as far as n
    samples can tell (the bulk of Marchenko and Pastur) and at least 4 times (25 times if it is a single one)
    below the rest.

    Parameters
    ----------
    variances : array of shape (n_features,)
        Eigenvalues of the covariance, in descending order.
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
