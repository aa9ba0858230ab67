"""Grids for integrals over boxes."""

import numpy as np


def midpoint_grid(low: np.ndarray, high: np.ndarray, n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mid-points (n_nodes**n_features, n_features) of the cells of a box, and the widths (n_features,) of a cell."""
    axes = [a + (b - a) * (np.arange(n_nodes) + 0.5) / n_nodes for a, b in zip(low, high)]
    nodes = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    return nodes, (high - low) / n_nodes
