"""What the displays share: axes, colors, names of features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

from skdiffusion._utils.frames import as_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

DATA, MODEL, QUIET = "#1f4e79", "#b5441f", "0.6"


def pyplot() -> Any:
    """matplotlib.pyplot; where matplotlib is missing, the error says how to install it."""
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError("The displays need matplotlib: pip install 'skdiffusion[plot]'.") from error
    return plt


def hide_box(ax: Axes) -> Axes:
    """Axes without their upper and right spines."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


class AxesDisplay:
    """Base of the displays on a single pair of axes."""

    ax_: Axes
    figure_: Figure | SubFigure

    def _open(self, ax: Axes | None, figsize: tuple[float, float] = (5.6, 3.8)) -> Axes:
        """The axes given, or those of a new figure, which become `ax_`."""
        if ax is None:
            ax = pyplot().subplots(layout="constrained", figsize=figsize)[1]
        self.ax_, self.figure_ = hide_box(ax), ax.figure
        return ax


class CurveDisplay(AxesDisplay):
    """Base of the displays that have nothing to choose but the axes; they give `_draw`."""

    def _draw(self, ax: Axes) -> None:
        raise NotImplementedError

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes of a new figure by default.

        Returns
        -------
        self
        """
        self._draw(self._open(ax))
        return self


def feature_names(estimator: BaseEstimator) -> list[str]:
    """Names of the features of a fitted estimator, or x0, x1, ..."""
    # scikit-learn sets the names only where `fit` was given some.
    names = getattr(estimator, "feature_names_in_", None)
    return [f"x{j}" for j in range(estimator.n_features_in_)] if names is None else [str(name) for name in names]


def named_samples(estimator: BaseEstimator, X: ArrayLike) -> tuple[np.ndarray, list[str]]:
    """Finite samples of the features that an estimator was fitted on, as an array, and the names of the features."""
    samples = check_array(as_numbers(X), dtype=np.float64, input_name="X")
    if samples.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {samples.shape[1]} features, but the estimator was fitted on {estimator.n_features_in_}."
        )
    return samples, feature_names(estimator)


def feature_positions(features: Iterable[int | str], names: list[str], count: int | None = None) -> list[int]:
    """Positions of features given by position or name; ValueError if one is unknown or there are not `count`."""
    out = []
    for feature in features:
        known = feature in names if isinstance(feature, str) else 0 <= feature < len(names)
        if not known:
            raise ValueError(f"The 'features' argument names {feature!r}, which is none of the {len(names)} features.")
        out.append(names.index(feature) if isinstance(feature, str) else int(feature))
    if count is not None and len(out) != count:
        raise ValueError(f"The 'features' argument must name {count} features. Got {features!r} instead.")
    return out


def span(values: np.ndarray, margin: float = 0.08) -> tuple[float, float]:
    """Range of values, widened by a margin on both sides."""
    low, high = np.min(values), np.max(values)
    room = margin * (high - low) or 1.0
    return low - room, high + room
