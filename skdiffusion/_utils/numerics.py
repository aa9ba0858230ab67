"""Small numerical helpers shared by the closed forms, the maps and the stack."""

import numpy as np
import torch


def exp_in_place(a):
    """exp of a real array, in its own memory; torch's takes a third of the time of numpy's where AVX-512 is missing."""
    torch.exp(tensor := torch.from_numpy(a), out=tensor)
    return a


def log_sum_exp(a, axis):
    """log of the sum of exp along an axis; a fraction of the time of scipy's for large real arrays.

    Samples of -inf alone give -inf.
    """
    top = np.max(a, axis=axis, keepdims=True)
    shifted = a - np.where(np.isfinite(top), top, 0.0)
    # Below exp(-700) a term cannot be seen, and subnormal results are slow.
    np.maximum(shifted, -700.0, out=shifted)
    exp_in_place(shifted)
    total = (
        np.sum(shifted, axis=axis)
        if np.isfinite(top).all()
        else np.sum(np.where(np.isneginf(a), 0.0, shifted), axis=axis)
    )
    with np.errstate(divide="ignore"):
        return np.log(total) + np.squeeze(np.where(np.isfinite(top), top, 0.0), axis=axis)


def best_blend(log_density, others, weights):
    """Log-density of the best blend of a density with others, shape (n,), from both out-of-fold log-densities.

    A component of a blend need not cover every sample. Scored alone, a few far samples would decide, and ask for a
    density that is too wide everywhere else; scored by what it adds, it may leave to the others what they do better.
    """
    gain = np.exp(np.clip(log_density - others, -700.0, 700.0))
    # The derivative by the share falls as the share grows.
    low, high = 0.0, 1.0
    for _ in range(30):
        share = (low + high) / 2
        rises = weights @ ((gain - 1) / (1 + share * (gain - 1))) > 0
        low, high = (share, high) if rises else (low, share)
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(low) + log_density, np.log1p(-low) + others)


def floored(log_prob, n_features):
    """Log-densities of samples (n_samples,), none of which is far below their median: one far sample must not decide.

    The floor is 20 + 2 n_features nats below the median. In a blend the Student-t bounds what a sample can cost in much
    the same way.
    """
    return np.maximum(log_prob, np.median(log_prob, axis=0) - 20.0 - 2.0 * n_features)


TIE = 1e-6  # nats; distributions that add nothing to a blend differ by round-off, which must not choose


def clearly_better(density, other, weight, margin):
    """Whether a mean gain, by weights of sum 1, exceeds round-off and its paired standard error times `margin`."""
    gain = density - other
    mean = weight @ gain
    return mean > max(TIE, margin * np.sqrt((weight**2) @ (gain - mean) ** 2))


BLOCK_SAMPLES = 256


def samples_times_matrix(samples, matrix):
    """samples @ matrix with bits that do not depend on how many samples there are.

    A matrix product may round a sample differently in a batch of another size; blocks of one size, padded,
    always round alike.
    """
    n, d = samples.shape
    n_blocks = -(-n // BLOCK_SAMPLES)
    padded = np.zeros((n_blocks * BLOCK_SAMPLES, d))
    padded[:n] = samples
    return np.matmul(padded.reshape(n_blocks, BLOCK_SAMPLES, d), matrix).reshape(-1, matrix.shape[1])[:n]
