"""Axes, names and colors that the displays share."""

import numpy as np
from sklearn.utils import check_array

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


def feature_names(estimator):
    """Names of the features of a fitted estimator, or x0, x1, ..."""
    names = getattr(estimator, "feature_names_in_", None)
    return [f"x{j}" for j in range(estimator.n_features_in_)] if names is None else [str(name) for name in names]


def named_samples(estimator, X):
    """Samples as an array, and the names of their features.

    Raises
    ------
    ValueError
        For samples that are not finite, or of other features than the estimator was fitted on.
    """
    samples = check_array(X, dtype=np.float64, input_name="X")
    if samples.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {samples.shape[1]} features, but the estimator was fitted on {estimator.n_features_in_}."
        )
    return samples, feature_names(estimator)


def check_features(features, names, count=None):
    """Positions of features given by position or name.

    Raises
    ------
    ValueError
        If one is unknown, or if there are not `count` of them.
    """
    out = []
    for feature in features:
        known = feature in names if isinstance(feature, str) else 0 <= feature < len(names)
        if not known:
            raise ValueError(f"The 'features' argument names {feature!r}, which is none of the {len(names)} features.")
        out.append(names.index(feature) if isinstance(feature, str) else int(feature))
    if count is not None and len(out) != count:
        raise ValueError(f"The 'features' argument must name {count} features. Got {features!r} instead.")
    return out


def span(values, margin=0.08):
    """Range of values with a margin."""
    low, high = np.min(values), np.max(values)
    room = margin * (high - low) or 1.0
    return low - room, high + room
