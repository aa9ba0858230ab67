"""A map of one feature that narrows the empty gaps between far groups of values."""

from __future__ import annotations

import numpy as np

from skdiffusion.preprocessing._feature_map import FeatureMap

REACH = 4.0  # scales of a group over which the map beside it bends; a gap is at most twice as wide after the map
MIN_GAP, MIN_RESOLVED = 6.0, 100.0  # scales of the wider and of the narrower group beside a gap that is narrowed
MIN_GROUP_SAMPLES, MIN_GROUP_SHARE = 5, 0.002  # of a group: fewer samples may be the end of a tail
IQR_OF_NORMAL = 1.349  # interquartile range of a normal distribution, in standard deviations


class GapMap(FeatureMap):
    r"""Groups of values in units of their own scale, the empty gaps between them narrowed.

    Two clusters that lie a million standard deviations apart are two points to everything that looks at the feature as
    a whole. Within a group the map is linear, of slope one over the scale of the group. Beside it, at a distance of t
    scales, the slope is :math:`c^2/(c+t)^2` times as large, so that a gap of any width becomes at most 2c wide. The
    slope is continuous: the maps of two groups meet where their slopes are equal. Outside of all groups the map is
    linear.

    Parameters
    ----------
    left, right, scale : arrays of shape (n_groups,)
        Ends and scales of the groups, from left to right. Gaps are wider than `REACH` scales.
    """

    _saved = ("left", "width", "scale", "start", "meets", "meets_z")

    def __init__(self, left: np.ndarray, right: np.ndarray, scale: np.ndarray):
        root = np.sqrt(scale)
        before, after = 1 / root[:-1], 1 / root[1:]
        gap = left[1:] - right[:-1]
        from_right = (REACH * (root[1:] - root[:-1]) + gap * after) / (before + after)
        self.left, self.width, self.scale = left, (right - left) / scale, scale
        self.meets = right[:-1] + from_right  # where the maps of two groups meet, (n_groups - 1,)
        narrowed = _bent(from_right / scale[:-1]), _bent((gap - from_right) / scale[1:])
        ends = np.cumsum(self.width[:-1] + narrowed[0] + narrowed[1])
        self.start = np.concatenate([[0.0], ends])  # z of the left ends, (n_groups,)
        self.meets_z = ends - narrowed[1]

    @classmethod
    def fit(cls, x: np.ndarray) -> GapMap | None:
        """The map of values that fall into far groups; None for others."""
        x = np.sort(x)
        groups = far_groups(x)
        if len(groups) < 2:
            return None
        left, right = (np.array([x[group][i] for group in groups]) for i in (0, -1))
        return cls(left, right, np.array([scale_of_sorted(x[group]) for group in groups]))

    def largest_group(self, x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of the group that most of them are in, and their weights."""
        group = np.searchsorted(self.meets, x)
        inside = group == np.bincount(group).argmax()
        return x[inside], weights[inside]

    def _beside(self, u: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances below and above the groups of numbers k where the map bends, of places u in these groups."""
        below = np.where(k > 0, np.maximum(-u, 0.0), 0.0)
        return below, np.where(k < len(self.meets), np.maximum(u - self.width[k], 0.0), 0.0)

    def _places(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the groups of x, and the places in them in scales from their left ends."""
        k = np.searchsorted(self.meets, x)
        return (x - self.left[k]) / self.scale[k], k

    def forward(self, x: np.ndarray) -> np.ndarray:
        u, k = self._places(np.asarray(x, dtype=float))
        below, above = self._beside(u, k)
        return self.start[k] + (u + below - above) - _bent(below) + _bent(above)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        k = np.searchsorted(self.meets_z, z)
        v = z - self.start[k]
        below, above = self._beside(v, k)
        u = (v + below - above) - _straight(below) + _straight(above)
        return self.left[k] + u * self.scale[k]

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        u, k = self._places(np.asarray(x, dtype=float))
        below, above = self._beside(u, k)
        return -np.log(self.scale[k]) - 2 * np.log1p((below + above) / REACH)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        u, k = self._places(np.asarray(x, dtype=float))
        below, above = self._beside(u, k)
        return 2 * ((below > 0) / (REACH + below) - (above > 0) / (REACH + above)) / self.scale[k]


def _bent(t: np.ndarray) -> np.ndarray:
    """The integral of c^2/(c+t)^2, which stays below c."""
    return REACH * t / (REACH + t)


def _straight(v: np.ndarray) -> np.ndarray:
    """The inverse of `_bent`."""
    return REACH * v / (REACH - np.minimum(v, REACH * (1 - 1e-15)))


def scale_of_sorted(x: np.ndarray) -> float:
    """Standard deviation of sorted values, or that of the normal distribution of their quartiles if it is smaller."""
    robust = (_sorted_quantile(x, 0.75) - _sorted_quantile(x, 0.25)) / IQR_OF_NORMAL
    scale = min(robust, x.std()) if robust > 0 else x.std()
    return max(float(scale), 1e-14 * max(abs(x[0]), abs(x[-1])), 1e-300)


def _sorted_quantile(x: np.ndarray, share: float) -> float:
    """A quantile of sorted values, without the time of a function that must sort them."""
    place, last = share * (len(x) - 1), len(x) - 1
    below = int(place)
    return float(x[below] + (place - below) * (x[min(below + 1, last)] - x[below]))


def far_groups(x: np.ndarray) -> list[slice]:
    """Groups of sorted values, between which the gaps are wide beside their scales.

    A gap is wide from `MIN_GAP` scales of the wider group and `MIN_RESOLVED` of the narrower one on: up to there a fit
    resolves both. It must also be wider than the few values nearest to it spread, on both sides: the last samples of a
    heavy tail are far from each other too. Groups beside the narrowest of all gaps are joined in turn.
    """
    n = len(x)
    few = max(MIN_GROUP_SAMPLES, int(np.ceil(MIN_GROUP_SHARE * n)))
    if n < 2 * few:
        return [slice(0, n)]
    first = np.arange(few, n - few + 1)  # the first value after a gap
    gaps = x[first] - x[first - 1]
    spread = np.maximum(x[first - 1] - x[first - few], x[first + few - 1] - x[first])
    edges = [0, *first[gaps > spread].tolist(), n]
    scales = [scale_of_sorted(x[a:b]) for a, b in zip(edges, edges[1:])]

    def relative_gap(i: int) -> float:
        """Width of the gap after the i-th group, in the least width that is narrowed."""
        narrow, wide = sorted(scales[i : i + 2])
        return float(x[edges[i + 1]] - x[edges[i + 1] - 1]) / max(MIN_GAP * wide, MIN_RESOLVED * narrow)

    relative = [relative_gap(i) for i in range(len(scales) - 1)]
    while relative and min(relative) < 1.0:
        i = relative.index(min(relative))
        del edges[i + 1], scales[i + 1], relative[i]
        scales[i] = scale_of_sorted(x[edges[i] : edges[i + 1]])
        for changed in {max(i - 1, 0), min(i, len(relative) - 1)} if relative else ():
            relative[changed] = relative_gap(changed)
    return [slice(a, b) for a, b in zip(edges, edges[1:])]
