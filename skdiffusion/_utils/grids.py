"""Grids for integrals over boxes."""

import numpy as np


def midpoint_grid(low: np.ndarray, high: np.ndarray, n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mid-points of the cells of a box, and the widths of a cell.

    Parameters
    ----------
    low, high : ndarray of shape (n_features,)
        Corners of the box.
    n_nodes : int
        Cells along each feature.

    Returns
    -------
    nodes : ndarray of shape (n_nodes**n_features, n_features)
    widths : ndarray of shape (n_features,)
    """
    axes = [a + (b - a) * (np.arange(n_nodes) + 0.5) / n_nodes for a, b in zip(low, high)]
    nodes = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    return nodes, (high - low) / n_nodes
