"""The processes that fit one model together: those of the process group of `torch.distributed`, if there is one.

A computation enters `all_processes` once. What it calls asks `collective` for what has to be agreed on or added up,
and needs no argument for that; `Collective` itself, a process alone, does nothing. All processes run the same code on
the same samples, and share out the batches of the networks and the reading of samples that do not fit into memory.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

T = TypeVar("T")


class LostProcessError(RuntimeError):
    """A process that takes part in a fit has died, has left it by an error of its own, or was silent for too long."""


class Collective:
    """A process alone: every share is the whole, and there is nothing to add up."""

    may_end_alone = True  # whether a process may leave a computation at a moment of its own

    def enters(self, stage: str) -> None:
        """Note what the process does from now on, for the errors of those who wait for it in vain."""

    def share(self, n: int) -> slice:
        """The part of n things that is this process's own."""
        return slice(0, n)

    def own(self, values: Sequence[T]) -> T:
        """This process's own of values of which each process has one, in their order."""
        return values[0]

    def generator(self, rng: np.random.Generator) -> np.random.Generator:
        """A generator for what this process does by itself; `rng` stays alike in all processes."""
        return rng

    def own_moment(self, moment: float) -> float:
        """A moment of `clock` as one of `time.perf_counter` in this process."""
        return moment

    def add_up(self, *parts: torch.Tensor) -> None:
        """Replace tensors by their sums over the processes, in place."""

    def any(self, flag: bool) -> bool:
        """Whether the flag of any process is true."""
        return flag

    def first(self, value: T) -> T:
        """The value of the first process, on which all then agree."""
        return value

    def every(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        return [value]

    def once(self, task: Callable[[], T]) -> T:
        """The result of a task that the first process does alone; its error is raised in all of them."""
        return task()

    def each(self, task: Callable[[], T]) -> list[T]:
        """The results of a task that every process does by itself; the error of one is raised in all of them."""
        return [task()]

    def check_alike(self, described: Callable[[], dict[str, str]], what: str) -> None:
        """Raise ValueError, in all processes, if what they describe differs."""

    def clock(self) -> float:
        """Moment of `time.perf_counter` in the first process: all decide alike what there is time for."""
        return time.perf_counter()


class ProcessGroup(Collective):
    """The processes of the default group of `torch.distributed`: the one class that knows which of them this is.

    Every exchange has the time-out of the group. It ends in an error where a process is dead, silent for so long, or
    has left the fit by an error of its own.
    """

    may_end_alone = False

    def __init__(self) -> None:
        import torch.distributed as dist

        self._dist, self._rank, self._size = dist, dist.get_rank(), dist.get_world_size()
        self._stage = "the start"

    def _lost(self, error: Exception) -> NoReturn:
        raise LostProcessError(
            f"Process {self._rank} of {self._size} lost the others at {self._stage}: one of them has died, has left "
            "the fit by an error of its own, or was silent for longer than the time-out of "
            f"torch.distributed.init_process_group. Start all processes anew; a fit with Options(checkpoint=...) goes "
            f"on where it was. ({error})"
        ) from error

    def _exchange(self, operation: Callable[..., object], *given: Any) -> None:
        try:
            operation(*given)
        except (RuntimeError, ValueError) as error:  # those of torch, of a group that was destroyed too
            self._lost(error)

    def enters(self, stage: str) -> None:
        self._stage = stage

    def share(self, n: int) -> slice:
        return slice(n * self._rank // self._size, n * (self._rank + 1) // self._size)

    def own(self, values: Sequence[T]) -> T:
        return values[self._rank]

    def generator(self, rng: np.random.Generator) -> np.random.Generator:
        return self.own(rng.spawn(self._size))

    def own_moment(self, moment: float) -> float:
        return time.perf_counter() + moment - self.clock()

    def add_up(self, *parts: torch.Tensor) -> None:
        for part in parts:
            self._exchange(self._dist.all_reduce, part)

    def any(self, flag: bool) -> bool:
        return any(self.every(flag))

    def first(self, value: T) -> T:
        shared = [value if self._rank == 0 else None]
        self._exchange(self._dist.broadcast_object_list, shared, 0)
        return value if self._rank == 0 else shared[0]  # type: ignore[return-value]

    def every(self, value: T) -> list[T]:
        values: list[Any] = [None] * self._size
        self._exchange(self._dist.all_gather_object, values, value)
        return values

    def once(self, task: Callable[[], T]) -> T:
        result, failure = self.first(_outcome(task) if self._rank == 0 else (None, None))
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]

    def each(self, task: Callable[[], T]) -> list[T]:
        outcomes = self.every(_outcome(task))
        for _, failure in outcomes:
            if failure is not None:
                raise failure
        return [result for result, _ in outcomes]  # type: ignore[misc]

    def check_alike(self, described: Callable[[], dict[str, str]], what: str) -> None:
        every = self.every(described())
        if names := [name for name in every[0] if len({own.get(name) for own in every}) > 1]:
            raise ValueError(f"The {what} {names} differ between the processes: pass the same to all of them.")

    def clock(self) -> float:
        return self.first(super().clock())


def _outcome(task: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return task(), None
    except Exception as error:
        return None, error


ALONE = Collective()
_collective: ContextVar[Collective | None] = ContextVar("_collective", default=None)
_busy = threading.Lock()


def collective() -> Collective:
    """The processes that share the present computation."""
    return _collective.get() or ALONE


@contextmanager
def all_processes() -> Iterator[Collective]:
    """Run the body as a part of the computation of all processes of the initialized process group, if there is one.

    A body within that of another, as the fit of a part of a model, is done by each process by itself.
    """
    processes = ALONE if _collective.get() is not None or not _in_group() else ProcessGroup()
    if processes is not ALONE and not _busy.acquire(blocking=False):
        raise RuntimeError(
            "Another fit of this process takes part in its process group, whose processes would exchange parts of "
            "both: fit one after the other."
        )
    token = _collective.set(processes)
    try:
        yield processes
    finally:
        _collective.reset(token)
        if processes is not ALONE:
            _busy.release()


@contextmanager
def alone() -> Iterator[None]:
    """Run the body, which computes something of its own, in this process by itself, whatever group it is in."""
    token = _collective.set(ALONE)
    try:
        yield
    finally:
        _collective.reset(token)


def _in_group() -> bool:
    torch: Any = sys.modules.get("torch")  # where nobody has imported it, there is no group
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    return torch.distributed.get_world_size() > 1
