"""Axes, names and colours that the displays share."""

import numpy as np

DATA, MODEL, QUIET = "#1f4e79", "#b5441f", "0.6"


def pyplot():
    """matplotlib.pyplot, or an error that says how to get it."""
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError("The displays need matplotlib: pip install 'skdiffusion[plot]'.") from error
    return plt


def tidy(ax):
    """Without the box."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def new_axes(ax, **figure):
    """The axes given, or those of a new figure."""
    if ax is not None:
        return tidy(ax)
    return tidy(pyplot().subplots(layout="constrained", **figure)[1])


def column_names(estimator, n_features):
    """Names of the columns, or x0, x1, ..."""
    names = getattr(estimator, "feature_names_in_", None)
    return [f"x{j}" for j in range(n_features)] if names is None else [str(name) for name in names]


def check_features(features, names, count=None):
    """Positions of columns given by position or name.

    Raises
    ------
    ValueError
        If one is unknown, or if there are not `count` of them.
    """
    out = []
    for feature in features:
        known = feature in names if isinstance(feature, str) else 0 <= feature < len(names)
        if not known:
            raise ValueError(f"The 'features' argument names {feature!r}, which is none of the {len(names)} columns.")
        out.append(names.index(feature) if isinstance(feature, str) else int(feature))
    if count is not None and len(out) != count:
        raise ValueError(f"The 'features' argument must name {count} columns. Got {features!r} instead.")
    return out


def span(values, margin=0.08):
    """Range of values with a margin."""
    low, high = np.min(values), np.max(values)
    room = margin * (high - low) or 1.0
    return low - room, high + room
