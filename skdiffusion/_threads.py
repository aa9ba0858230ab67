"""One reference-counted context around torch's process-global thread count.

``torch.set_num_threads`` is global: changing it in one Python thread changes it for all. The first
context to enter stores the count it found, the last one to leave restores it, so that overlapping
fits in joblib's threading backend leave nothing changed.
"""

import threading
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_depth = 0
_saved = None


@contextmanager
def torch_threads(n_threads):
    """Run the body with at most `n_threads` torch threads, then restore the former count."""
    global _depth, _saved
    with _lock:
        if _depth == 0:
            _saved = torch.get_num_threads()
        _depth += 1
        if torch.get_num_threads() > n_threads:
            torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0 and torch.get_num_threads() != _saved:
                torch.set_num_threads(_saved)
