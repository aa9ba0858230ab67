"""Small numerical helpers shared by the closed-form densities, the feature transforms and the blend."""

import numpy as np
import torch

from skdiffusion._utils.blocks import padded_blocks, write

BLOCK_SAMPLES = 256  # of `samples_times_matrix`
TIE = 1e-6  # nats; densities that add nothing to a blend differ by round-off, which must not choose between them


def exp_in_place(a: np.ndarray) -> np.ndarray:
    """exp of a real array, in its own memory; torch takes a third of numpy's time where AVX-512 is missing."""
    torch.exp(tensor := torch.from_numpy(a), out=tensor)
    return a


def log_sum_exp(a: np.ndarray, axis: int) -> np.ndarray:
    """log of the sum of exp along an axis, in a fraction of the time that scipy takes for large real arrays.

    Where all values are -inf, so is the result.
    """
    top = a.max(axis=axis, keepdims=True)
    finite = np.isfinite(top)
    all_finite = finite.all()
    if not all_finite:
        top = np.where(finite, top, 0.0)
    shifted = a - top
    # A term below exp(-700) does not change the sum, and subnormal numbers are slow.
    np.maximum(shifted, -700.0, out=shifted)
    exp_in_place(shifted)
    if all_finite:
        return np.log(shifted.sum(axis=axis)) + top.squeeze(axis)
    with np.errstate(divide="ignore"):
        return np.log(np.where(np.isneginf(a), 0.0, shifted).sum(axis=axis)) + top.squeeze(axis)


def log_sum_exp_by_owner(terms: np.ndarray, owner: np.ndarray, n_owners: int) -> np.ndarray:
    """Logarithm of the sum of the exponentials of the terms of every owner, -inf where there are none."""
    top = np.full(n_owners, -np.inf)
    np.maximum.at(top, owner, terms)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.bincount(owner, np.exp(terms - shift[owner]), n_owners)) + shift


def best_blend(log_density: np.ndarray, others: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log-density of the best blend of two densities, by the mean log-density of validation samples.

    A component of a blend need not cover every sample. If it were chosen by its own log-density, a few far samples
    would decide, and ask for a density that is too wide everywhere else. Chosen by what it adds to a blend, it may
    leave to the other components what they do better. All arrays have the shape (n_samples,), in nats.
    """
    gain = np.exp(np.clip(log_density - others, -700.0, 700.0))
    # The log-density is concave in the share: bisection of its derivative.
    low, high = 0.0, 1.0
    for _ in range(30):
        share = (low + high) / 2
        rises = weights @ ((gain - 1) / (1 + share * (gain - 1))) > 0
        low, high = (share, high) if rises else (low, share)
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(low) + log_density, np.log1p(-low) + others)


def clearly_better(log_density: np.ndarray, other: np.ndarray, weight: np.ndarray, margin: float) -> bool:
    """Whether the mean gain in log-density, by weights of sum 1, exceeds round-off and `margin` standard errors."""
    gain = log_density - other
    mean = weight @ gain
    return bool(mean > max(TIE, margin * np.sqrt((weight**2) @ (gain - mean) ** 2)))


def effective_number(weight: np.ndarray) -> float:
    """The number of samples of equal weight that tell as much as weighted ones (Kish, 1965)."""
    return float(weight.sum() ** 2 / (weight @ weight))


def samples_times_matrix(samples: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """samples @ matrix, with bits that do not depend on how many samples there are."""
    out = np.empty((len(samples), matrix.shape[1]))
    for where, block in padded_blocks(samples, (BLOCK_SAMPLES,)):
        write(out, where, block @ matrix)
    return out


def samples_times_matrices(samples: np.ndarray, matrices: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Each sample times the matrix of its number, with bits that do not depend on how many samples there are."""
    out = np.zeros((len(samples), matrices.shape[2]))
    for j, column in enumerate(samples.T):
        out += column[:, None] * matrices[which, j]
    return out


def floored(log_prob: np.ndarray, n_features: int) -> np.ndarray:
    """Log-densities of samples (n_samples,), none of which is far below their median: one far sample must not decide.

    The floor is 20 + 2 n_features nats below the median. In a blend the Student-t bounds what a sample can cost in much
    the same way.
    """
    return np.maximum(log_prob, np.median(log_prob, axis=0) - 20.0 - 2.0 * n_features)
