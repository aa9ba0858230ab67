"""A context that keeps a computation to one thread, and then restores the former numbers of threads.

A second thread of the libraries saved 15 % of a fit, and cost many times as much where cores were shared.

torch and OpenMP keep their numbers of threads per calling thread, so each context saves and restores those of its own
thread. BLAS keeps one number for the process: the first context to enter saves it and the last to leave restores it,
so that fits that overlap in joblib's threading backend do not interfere.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

LIBRARIES = ("torch", "scipy.linalg", "sklearn.ensemble", "sklearn.cluster", "sklearn.neighbors")
_lock = threading.Lock()
_inside = 0
_blas_limit: Any = None  # of threadpoolctl, while a context is active


@cache
def _controller(loaded: tuple[bool, ...]) -> ThreadpoolController:
    """A controller of the libraries that are loaded, made anew once more of them are."""
    return ThreadpoolController()


def _known_controller() -> ThreadpoolController:
    return _controller(tuple(name in sys.modules for name in LIBRARIES))


def keep_to_one_thread() -> None:
    """Keep the calling thread to itself for good; BLAS is left to the `one_thread` within which it was started."""
    _known_controller().limit(limits=1, user_api="openmp")
    torch: Any = sys.modules.get("torch")
    if torch and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body with one thread of torch, OpenMP and BLAS, then restore the former numbers."""
    global _inside, _blas_limit
    controller = _known_controller()
    # Where nobody has imported torch, there is nothing to limit.
    torch: Any = sys.modules.get("torch")
    saved = torch.get_num_threads() if torch else 1
    with _lock:
        if _inside == 0:
            _blas_limit = controller.limit(limits=1, user_api="blas")
        _inside += 1
    openmp = controller.limit(limits=1, user_api="openmp")
    if saved > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        openmp.restore_original_limits()
        if torch and torch.get_num_threads() != saved:
            torch.set_num_threads(saved)
        with _lock:
            _inside -= 1
            if _inside == 0:
                _blas_limit.restore_original_limits()
