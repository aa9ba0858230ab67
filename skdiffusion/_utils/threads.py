"""One context that keeps a computation to one thread, and leaves nothing changed.

A second thread saved 15 % of a fit, and cost many times as much where cores were shared.

torch and OpenMP keep their counts per calling thread, so each context saves and restores those of its own
thread. BLAS keeps one count for the process: the first context to enter saves it, the last to leave
restores it, so that fits that overlap in joblib's threading backend do not undo one another.
"""

import sys
import threading
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_blas_limit = None


@cache
def _controller(loaded):
    return ThreadpoolController()


def _loaded_controller():
    """A controller of the libraries loaded so far; made anew when torch or scikit-learn's trees arrive."""
    libraries = ("torch", "scipy.linalg", "sklearn.ensemble", "sklearn.cluster", "sklearn.neighbors")
    return _controller(tuple(name in sys.modules for name in libraries))


@contextmanager
def one_thread():
    """Run the body with one thread of torch, OpenMP and BLAS, then restore the former counts."""
    global _inside, _blas_limit
    controller = _loaded_controller()
    # A thread limit does not concern a torch that nobody has imported.
    torch = sys.modules.get("torch")
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
