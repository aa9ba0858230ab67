"""Increasing curves, one for each sample: monotone cubic interpolation by rows, of points that are added as needed.

References
----------
Fritsch and Carlson (1980), Monotone piecewise cubic interpolation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np

MIN_STEP = 1e-12  # between two places of a curve
HALVED = 0.25  # of the error of an interval, that its halves have at most: interpolation is of the second order


class RisingCurves:
    """Curves through points, with straight lines beyond the ends.

    Parameters
    ----------
    x, heights : array of shape (n_samples, n_points)
        Rising in every sample.
    """

    def __init__(self, x: np.ndarray, heights: np.ndarray):
        width = np.maximum(np.diff(x, axis=1), MIN_STEP)
        self.x = x[:, :1] + np.concatenate([np.zeros((len(x), 1)), np.cumsum(width, axis=1)], axis=1)
        self.heights = np.maximum.accumulate(heights, axis=1)
        secant = np.maximum(np.diff(self.heights, axis=1), MIN_STEP) / width
        # The slope of a point is the weighted harmonic mean of those of the intervals beside it.
        left, right = 2 * width[:, 1:] + width[:, :-1], width[:, 1:] + 2 * width[:, :-1]
        inner = (left + right) / (left / secant[:, :-1] + right / secant[:, 1:])
        self.slopes = np.concatenate([secant[:, :1], inner, secant[:, -1:]], axis=1)

    def take(self, samples: np.ndarray) -> RisingCurves:
        """Those of some samples, by their numbers."""
        out = copy(self)
        out.x, out.heights, out.slopes = self.x[samples], self.heights[samples], self.slopes[samples]
        return out

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Heights at places (n_samples, n_places)."""
        last = self.x.shape[1] - 2
        below = np.zeros(x.shape, dtype=np.int64)
        for knot in self.x.T[1:-1]:
            below += x >= knot[:, None]
        below = np.minimum(below, last)
        start, stop = (np.take_along_axis(self.x, below + k, axis=1) for k in (0, 1))
        base, top = (np.take_along_axis(self.heights, below + k, axis=1) for k in (0, 1))
        rise, run = top - base, stop - start
        first, second = (np.take_along_axis(self.slopes, below + k, axis=1) for k in (0, 1))
        t = np.clip((x - start) / run, 0.0, 1.0)
        inside = base + rise * t**2 * (3 - 2 * t) + run * t * (1 - t) * (first * (1 - t) - second * t)
        return (
            inside
            + np.minimum(x - self.x[:, :1], 0.0) * self.slopes[:, :1]
            + np.maximum(x - self.x[:, -1:], 0.0) * self.slopes[:, -1:]
        )


def refined_curves(
    x: np.ndarray,
    heights: np.ndarray,
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    added: Sequence[int],
    tolerance: float,
) -> RisingCurves:
    """Curves through given points and others, in the middle of the intervals where curves so far are least right.

    Parameters
    ----------
    x, heights : array of shape (n_samples, n_points)
        Rising in every sample.
    function : callable
        Heights (n,) at places (n,) of samples of these numbers (n,), ``function(samples, places)``.
    added : sequence of int
        Points that every sample has more after each round, at most as many as it has intervals then.
    tolerance : float
        Difference between curve and function below which an interval is right: its further points are those of its
        curve.
    """
    error = np.full(x.shape, np.inf)  # of the interval that begins at a point
    error[:, -1] = -1.0
    for n_added in added:
        chosen = np.sort(np.argsort(-error, axis=1, kind="stable")[:, :n_added], axis=1)
        start, stop = (np.take_along_axis(x, chosen + k, axis=1) for k in (0, 1))
        middle = (start + stop) / 2
        guess = RisingCurves(x, heights)(middle)
        right = guess.copy()
        wrong = np.take_along_axis(error, chosen, axis=1) > tolerance
        if wrong.any():
            right[wrong] = function(np.nonzero(wrong)[0], middle[wrong])
        own = HALVED * np.abs(right - guess)
        np.put_along_axis(error, chosen, own, axis=1)
        x = np.concatenate([x, middle], axis=1)
        order = np.argsort(x, axis=1, kind="stable")
        heights, error = np.concatenate([heights, right], axis=1), np.concatenate([error, own], axis=1)
        x, heights, error = (np.take_along_axis(a, order, axis=1) for a in (x, heights, error))
    return RisingCurves(x, heights)
