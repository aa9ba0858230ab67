"""The range of a feature, and a map for features that end where their values are dense."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdiffusion.preprocessing._feature_map import BoxMap, FeatureMap

N_OUTERMOST = 10  # values of a feature, whose spacing says how far its range goes on
BEYOND = 3.0  # of these spacings, from the outermost value to the end: a heavy tail may well reach two of them
LINEAR = 0.1  # of the way from an end to the outermost value, where the map becomes linear


def ranges_beyond(x: np.ndarray) -> np.ndarray:
    """Ends of the range of every feature: a few times as far beyond its outermost sample as this is from the tenth.

    So far a feature may go: where tails are light that is little, where they are heavy it is much. The shape is
    (2, n_features).
    """
    x, k = np.sort(x, axis=0), min(N_OUTERMOST, len(x)) - 1
    return np.array([x[0] - BEYOND * (x[k] - x[0]), x[-1] + BEYOND * (x[-1] - x[-1 - k])])


class RangeMap(FeatureMap):
    """A uniform distribution on the range of a feature becomes a standard normal one.

    Near the ends the map becomes linear, with a slope that goes with the spacing of the outermost values: what is drawn
    beyond the end of a dense feature stays near it. The map is onto the real line, so that no value has density zero.

    Parameters
    ----------
    box : BoxMap
        Of the range.
    inner : (float, float)
        Places between which it holds.
    """

    _saved = ("box", "inner")

    def __init__(self, box: BoxMap, inner: tuple[float, float]):
        self.box, self.inner = box, inner

    @property
    def _slopes(self) -> np.ndarray:
        """Beyond the inner places."""
        return np.exp(self.box.log_slope(np.array(self.inner)))

    @classmethod
    def fit(cls, x: np.ndarray) -> RangeMap | None:
        """The map of values; None where the outermost ones of an end are equal."""
        ends, outermost = ranges_beyond(x[:, None])[:, 0], np.array([x.min(), x.max()])
        if not (ends[0] < outermost[0] and outermost[1] < ends[1]):
            return None
        first, last = (ends + LINEAR * (outermost - ends)).tolist()
        return cls(BoxMap(*ends.tolist()), (first, last))

    def forward(self, x: np.ndarray) -> np.ndarray:
        inside = np.clip(x, *self.inner)
        beyond = np.asarray(x, dtype=float) - inside
        return self.box.forward(inside) + np.where(beyond < 0, *self._slopes) * beyond

    def inverse(self, z: np.ndarray) -> np.ndarray:
        inside = np.clip(z, *self.box.forward(np.array(self.inner)))
        beyond = np.asarray(z, dtype=float) - inside
        return self.box.inverse(inside) + beyond / np.where(beyond < 0, *self._slopes)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        return self.box.log_slope(np.clip(x, *self.inner))

    def curvature(self, x: np.ndarray) -> np.ndarray:
        inside = np.clip(x, *self.inner)
        return np.where(x == inside, self.box.curvature(inside), 0.0)

    def left_out(
        self, x: np.ndarray, share: np.ndarray, members: Sequence[np.ndarray] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """An outermost sample is mapped as one beyond the range of the others; the few next to it are not corrected."""
        z, log_slope = self.forward(x), self.log_slope(x)
        for sample in {int(np.argmin(x)), int(np.argmax(x))}:
            together = next((group for group in members if sample in group), np.array([sample]))
            others = self.fit(np.delete(x, together)) if len(together) < len(x) else None
            if others is not None:
                z[together], log_slope[together] = others.forward_and_log_slope(x[together])
        return z, log_slope
