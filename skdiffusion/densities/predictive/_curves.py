"""Increasing curves through given points, one for each sample: monotone cubic interpolation by rows.

References
----------
Fritsch and Carlson (1980), Monotone piecewise cubic interpolation.
"""

from __future__ import annotations

import numpy as np

MIN_STEP = 1e-12  # between two places of a curve


class RisingCurves:
    """Curves through points whose heights are the same for all samples, with straight lines beyond the ends.

    Parameters
    ----------
    x : array of shape (n_samples, n_points)
        Rising places of every sample.
    heights : array of shape (n_points,)
        Rising.
    """

    def __init__(self, x: np.ndarray, heights: np.ndarray):
        width = np.maximum(np.diff(x, axis=1), MIN_STEP)
        self.x = x[:, :1] + np.concatenate([np.zeros((len(x), 1)), np.cumsum(width, axis=1)], axis=1)
        self.heights = heights
        secant = np.diff(heights) / width
        # The slope of a point is the weighted harmonic mean of those of the intervals beside it.
        left, right = 2 * width[:, 1:] + width[:, :-1], width[:, 1:] + 2 * width[:, :-1]
        inner = (left + right) / (left / secant[:, :-1] + right / secant[:, 1:])
        self.slopes = np.concatenate([secant[:, :1], inner, secant[:, -1:]], axis=1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Heights at places (n_samples, n_places)."""
        last = self.x.shape[1] - 2
        below = np.zeros(x.shape, dtype=np.int64)
        for knot in self.x.T[1:-1]:
            below += x >= knot[:, None]
        below = np.minimum(below, last)
        start, stop = (np.take_along_axis(self.x, below + k, axis=1) for k in (0, 1))
        rise, run = self.heights[below + 1] - self.heights[below], stop - start
        first, second = (np.take_along_axis(self.slopes, below + k, axis=1) for k in (0, 1))
        t = np.clip((x - start) / run, 0.0, 1.0)
        inside = self.heights[below] + rise * t**2 * (3 - 2 * t) + run * t * (1 - t) * (first * (1 - t) - second * t)
        return (
            inside
            + np.minimum(x - self.x[:, :1], 0.0) * self.slopes[:, :1]
            + np.maximum(x - self.x[:, -1:], 0.0) * self.slopes[:, -1:]
        )
