"""Warnings that point to the line of the user, however many wrappers of other libraries lie between."""

import sys
import warnings

# Packages whose frames are passed over: ours, and those that call or wrap our methods.
PASSED_OVER = {"skdiffusion", "sklearn", "torch", "joblib", "pickle"}


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn at the first frame outside skdiffusion and the libraries that call it.

    A fixed `stacklevel` is wrong as soon as scikit-learn wraps a method once more, as its callbacks do.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
