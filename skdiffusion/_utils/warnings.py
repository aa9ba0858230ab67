"""Warnings that point to the line of the user, however many wrappers lie between, and those that are not for users."""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.exceptions import ConvergenceWarning

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


_lock = threading.Lock()
_inside = 0
_saved: Any = None  # the filters of before, while a context is active


@contextmanager
def without_convergence_warnings() -> Iterator[None]:
    """Run the body without scikit-learn's ConvergenceWarning.

    Python keeps one list of filters for all threads: the first context to enter saves it, and the last to leave
    restores it.
    """
    global _inside, _saved
    with _lock:
        if _inside == 0:
            _saved = warnings.catch_warnings()
            _saved.__enter__()
            warnings.simplefilter("ignore", ConvergenceWarning)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _saved.__exit__(None, None, None)
