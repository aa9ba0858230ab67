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

Limited = list[tuple[Any, int]]  # libraries whose numbers of threads were changed, with the former ones

LIBRARIES = ("torch", "scipy.linalg", "sklearn.ensemble", "sklearn.cluster", "sklearn.neighbors")
_lock = threading.Lock()
_inside = 0
_blas: Limited = []  # while a context is active


@cache
def _controller(loaded: tuple[bool, ...]) -> ThreadpoolController:
    """A controller of the libraries that are loaded, made anew once more of them are."""
    return ThreadpoolController()


def _known_controller() -> ThreadpoolController:
    return _controller(tuple(name in sys.modules for name in LIBRARIES))


def _limit(controller: ThreadpoolController, kind: str) -> Limited:
    """Keep the libraries of one kind, BLAS or OpenMP, to one thread: those that have more.

    A call that sets the number that is there takes longer than a sample does.
    """
    libraries = [library for library in controller.lib_controllers if library.user_api == kind]
    changed = [(library, n) for library in libraries if (n := library.num_threads or 1) != 1]
    for library, _ in changed:
        library.set_num_threads(1)
    return changed


def _restore(changed: Limited) -> None:
    """The former numbers of threads."""
    for library, n_threads in changed:
        library.set_num_threads(n_threads)


def keep_to_one_thread() -> None:
    """Keep the calling thread to itself for good; BLAS is left to the `one_thread` within which it was started."""
    _limit(_known_controller(), "openmp")
    torch: Any = sys.modules.get("torch")
    if torch and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body with one thread of torch, OpenMP and BLAS, then restore the former numbers."""
    global _inside, _blas
    controller = _known_controller()
    # Where nobody has imported torch, there is nothing to limit.
    torch: Any = sys.modules.get("torch")
    saved = torch.get_num_threads() if torch else 1
    with _lock:
        if _inside == 0:
            _blas = _limit(controller, "blas")
        _inside += 1
    openmp = _limit(controller, "openmp")
    if saved > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        _restore(openmp)
        if torch and torch.get_num_threads() != saved:
            torch.set_num_threads(saved)
        with _lock:
            _inside -= 1
            if _inside == 0:
                _restore(_blas)
