"""What tests hand to helping processes, which import it by name."""

import os
import time
import warnings

import numpy as np
import torch
from sklearn import get_config
from threadpoolctl import threadpool_info


def where(value=None, seconds=0.02):
    """The process that does the task, and a value."""
    time.sleep(seconds)
    return os.getpid(), value


def span(seconds=0.02):
    """When the task begins and ends, by a clock that all processes share."""
    start = time.perf_counter()
    time.sleep(seconds)
    return start, time.perf_counter()


def settings():
    """Process, threads of every library, a setting of scikit-learn and one of NumPy."""
    threads = {torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())}
    time.sleep(0.05)
    return os.getpid(), threads, get_config()["assume_finite"], np.geterr()["under"]


def warn(seconds=0.05):
    """Warn, and say in which process."""
    time.sleep(seconds)
    warnings.warn("of a task", UserWarning, stacklevel=1)
    return os.getpid()


def fail_beside(pid):
    """Fail in every process but one."""
    time.sleep(0.05)
    if os.getpid() != pid:
        raise ValueError("of another process")
    return pid


def fail():
    """Fail everywhere."""
    raise ValueError("of the task")


def end(pid):
    """End every process but one, as a system does that runs out of memory."""
    if os.getpid() != pid:
        os._exit(1)
    return pid


class Count:
    """How often this object was called, and by which process."""

    def __init__(self):
        self.calls = 0

    def __call__(self, k):
        time.sleep(0.005)
        self.calls += 1
        return os.getpid(), self.calls, k


class Overflow:
    """A function of samples whose arithmetic overflows."""

    def __call__(self, X):
        return np.full(len(X), np.nan)
