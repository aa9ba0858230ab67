"""One context around torch's thread count.

OpenMP keeps the count per calling thread, so each context saves and restores that of its own thread:
fits that overlap in joblib's threading backend leave nothing changed.
"""

from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(n_threads):
    """Run the body with at most `n_threads` torch threads, then restore the former count."""
    saved = torch.get_num_threads()
    if saved > n_threads:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != saved:
            torch.set_num_threads(saved)
