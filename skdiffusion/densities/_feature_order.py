"""An informative order of the features for an autoregressive regression."""

from __future__ import annotations

import numpy as np

REACH = 4.0  # standard deviations of a feature within which its powers move


def informative_order(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Features in an order in which each is informative about those after it.

    For every pair of features the gain of predicting the second from the first is measured: what a quadratic mean and
    log-variance add to a linear mean and a constant log-variance.

    Parameters
    ----------
    x : array of shape (n_samples, n_features)
        In features of unit variance.
    weights : array of shape (n_samples,)
        Non-negative.

    Returns
    -------
    ndarray of shape (n_features,)
    """
    x, w = x[weights > 0], weights[weights > 0] / weights.sum()
    gain = np.stack([_gain(x, w, k) for k in range(x.shape[1])])
    np.fill_diagonal(gain, 0.0)
    gain = np.maximum(gain, 0.0)
    left, order = list(range(x.shape[1])), []
    while left:
        lead = [gain[k, left].sum() - gain[left, k].sum() for k in left]
        order.append(left.pop(int(np.argmax(lead))))
    return np.array(order)


def _gain(x: np.ndarray, w: np.ndarray, k: int) -> np.ndarray:
    """Nats that feature k adds to the prediction of each feature, shape (n_features,)."""
    root = np.sqrt(w)[:, None]
    powers = np.clip(x, -REACH, REACH)[:, k : k + 1] ** np.arange(3)
    quadratic = np.linalg.qr(powers * root)[0]
    y = x * root
    variance = ((y - quadratic[:, :2] @ (quadratic[:, :2].T @ y)) ** 2).sum(0)
    residual = (y - quadratic @ (quadratic.T @ y)) / root
    log_square = np.log(residual**2 + 1e-4 * (w @ residual**2) + 1e-300)
    v = quadratic @ (quadratic.T @ (log_square * root)) / root
    spread = np.log(w @ (residual**2 * np.exp(-v)) + 1e-300) + w @ v
    return 0.5 * (np.log(variance + 1e-300) - spread)
