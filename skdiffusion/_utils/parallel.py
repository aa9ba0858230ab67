"""Tasks side by side on the threads that `n_jobs` allows, with the results that one thread would give.

Threads share the samples, and start at once where a process would import torch first. Products of matrices and loops
over many numbers release the lock of the interpreter, so that threads gain wherever arrays are not small.

A computation enters `workers` once. What it calls asks `side_by_side` for its tasks wherever it has several, and needs
no argument for that. A task runs on one thread: what it asks for itself is done one after the other.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

from joblib import effective_n_jobs
from sklearn import config_context, get_config

from skdiffusion._utils.threads import keep_to_one_thread, one_thread


class _Crew:
    """The calling thread and those beside it, which start when tasks first need them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._others = ThreadPoolExecutor(size - 1, initializer=keep_to_one_thread) if size > 1 else None

    def run(self, tasks: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of tasks in their order. After an error no task is begun, and those that run are waited for."""
        if self._others is None or len(tasks) < 2:
            return [task() for task in tasks]
        torch: Any = sys.modules.get("torch")
        settings = get_config(), torch is not None and torch.is_grad_enabled()
        results, left, others = [None] * len(tasks), deque(enumerate(tasks)), []
        work = partial(_work_beside, left, results, *settings)
        token = _crew.set(_ALONE)
        try:
            for _ in range(min(self.size, len(tasks)) - 1):
                others.append(self._others.submit(partial(copy_context().run, work)))
            _work(left, results)
        finally:
            _wait(others, left)
            _crew.reset(token)
        for other in others:
            other.result()  # raises the error of a task
        return results

    def close(self) -> None:
        """End the threads."""
        if self._others is not None:
            self._others.shutdown()


def _work_beside(left: deque, results: list, config: dict[str, Any], gradients: bool) -> None:
    """`_work` beside the calling thread, with its settings of scikit-learn, and its gradients of torch."""
    torch: Any = sys.modules.get("torch")
    with config_context(**config), torch.set_grad_enabled(gradients) if torch else nullcontext():
        _work(left, results)


def _work(left: deque, results: list) -> None:
    """Do the tasks that are left."""
    while left:
        try:
            number, task = left.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            results[number] = task()
        except BaseException:
            left.clear()
            raise


def _wait(others: list[Future], left: deque) -> None:
    """Wait for the tasks that run: what they write to must not be read before, not even after Ctrl-C."""
    interrupt = None
    while True:
        try:
            wait(others)
            break
        except KeyboardInterrupt as error:
            interrupt = error
            left.clear()
    if interrupt is not None:
        raise interrupt


_ALONE = _Crew(1)  # of a task
_crew: ContextVar[_Crew | None] = ContextVar("_crew", default=None)


@contextmanager
def workers(n_jobs: int | None) -> Iterator[None]:
    """Run the body with as many threads as `n_jobs` asks for, in scikit-learn's meaning, and each of them alone.

    A body within that of another, or within a task, has the threads of that.
    """
    if _crew.get() is not None:
        yield
        return
    crew = _Crew(effective_n_jobs(n_jobs))
    token = _crew.set(crew)
    try:
        with one_thread():
            try:
                yield
            finally:
                crew.close()
    finally:
        _crew.reset(token)


def n_workers() -> int:
    """How many tasks `side_by_side` runs at a time."""
    crew = _crew.get()
    return 1 if crew is None else crew.size


def side_by_side(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of tasks, in their order. Tasks read what they share, and write to places of their own.

    Random numbers are drawn before, in the order of the tasks.
    """
    return (_crew.get() or _ALONE).run(tasks)
