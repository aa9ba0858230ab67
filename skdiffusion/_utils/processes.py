"""Tasks of a fit that another process may do, with the results that this one would give.

A fit takes thousands of small steps, which threads of one interpreter hinder each other at; processes do not. A
computation enters `helpers` once. What it calls begins a task wherever its result is not needed at once: a helper that
is free does it, and what none has begun when it is asked for is done here. Results are the same whoever does a task:
it reads what it is given, and draws from a stream of its own.

Helpers are kept for later fits, for some time: they import everything anew when they start, and take tasks after that.
"""

from __future__ import annotations

import importlib
import io
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
from joblib import effective_n_jobs
from joblib.externals.loky import ProcessPoolExecutor
from joblib.parallel import LokyBackend, get_active_backend
from sklearn import config_context, get_config

from skdiffusion._utils.collective import ALONE, collective
from skdiffusion._utils.parallel import workers
from skdiffusion._utils.warnings import warn_user

T = TypeVar("T")

IDLE_SECONDS = 300  # after which a helper ends
MAX_HELPERS = 7  # a fit has hardly more tasks at a time, and every helper holds PyTorch
MAX_ENDING_SECONDS = 5.0  # in which tasks that are on their way reach a helper
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Task(Generic[T]):
    """A function of some values, which a helper may call.

    Parameters
    ----------
    function : callable
    args : tuple
        Neither they nor anything else that this process reads later may change by the call.
    shared : sequence
        Objects of this process, among what is in `args`, that take the place of their copies in the result.
    """

    def __init__(self, function: Callable[..., T], args: tuple, shared: Sequence[Any]) -> None:
        self._call, self.shared = (function, args), shared
        self.future: Future | None = None  # of the helper that does it
        self._results: list[T] = []

    @property
    def name(self) -> str:
        """That of the function."""
        function = self._call[0]
        return getattr(function, "__qualname__", type(function).__qualname__)

    def message(self) -> bytes:
        """What a helper needs to know."""
        return _dumped((*self._call, self.shared, _settings()))

    def do(self) -> None:
        """Do the task here, unless it is begun."""
        pool = _pool.get()
        if not self._results and (pool is None or pool.takes_back(self)):
            self._results.append(self._done_here())

    def result(self) -> T:
        """The result, as soon as it is there; while a helper is at it, other tasks that are left are done here."""
        self.do()
        pool = _pool.get()
        while not self._results:
            other = None if pool is None or self.is_over() else pool.next_left()
            if other is None:
                self._results.append(self._received())
            else:
                other.do()
        return self._results[0]

    def is_over(self) -> bool:
        """Whether the helper that does it has ended."""
        return self.future is not None and self.future.done()

    def _done_here(self) -> T:
        function, args = self._call
        return function(*args)

    def _received(self) -> T:
        """The result that a helper sends. Where it fails or is lost, the error, if it comes again, belongs here."""
        assert self.future is not None
        received, pool = None, _pool.get()
        with suppress(Exception):
            received = _loaded(self.future.result(), self.shared)
        if received is None:
            if pool is not None:
                pool.keep_here(self)
            return self._done_here()
        result, messages = received
        for message, category in messages:
            warn_user(message, category)
        return result


class _Pool:
    """The tasks of a computation that are left, and the helpers that take them, one at a time each."""

    def __init__(self, n_helpers: int) -> None:
        self.size, self._left, self._n_free = n_helpers, deque[tuple[Task, bytes]](), 0
        self._lock, self._running = threading.RLock(), set[Future]()
        self._kept_here = set[str]()  # names of functions whose tasks cannot be sent, or fail elsewhere
        self._executor = _executor(n_helpers)
        try:
            imports = self._imports()
        except RuntimeError:  # a helper was lost since the last fit
            _forget(self._executor)
            self._executor = _executor(n_helpers)
            imports = self._imports()
        for future in imports:
            self._follow(future)

    def _imports(self) -> list[Future]:
        """What every helper begins with."""
        ours = [name for name in sys.modules if name.partition(".")[0] == "skdiffusion"]
        return [self._executor.submit(_import, ours) for _ in range(self.size)]

    def keep_here(self, task: Task) -> None:
        """Send no further task of the same function: trying again costs more than it may gain."""
        with self._lock:
            self._kept_here.add(task.name)

    def offer(self, task: Task) -> None:
        """Let the next helper that is free do a task, if it can be sent."""
        if task.name in self._kept_here:
            return
        try:
            message = task.message()
        except Exception:  # of something that no other process can have
            self.keep_here(task)
            return
        with self._lock:
            self._left.append((task, message))
            if self._n_free:
                self._n_free -= 1
                self._hand_out()

    def next_left(self) -> Task | None:
        """A task that no helper has begun."""
        with self._lock:
            return self._left[0][0] if self._left else None

    def takes_back(self, task: Task) -> bool:
        """Whether no helper has begun a task; none then does."""
        with self._lock:
            self._left = deque(left for left in self._left if left[0] is not task)
            return task.future is None

    def n_free(self) -> int:
        """How many helpers wait for a task."""
        with self._lock:
            return self._n_free

    def _hand_out(self) -> None:
        """Let a free helper begin the next task."""
        if not self._left:
            self._n_free += 1
            return
        task, message = self._left[0]
        try:
            task.future = self._executor.submit(_done_there, message)
        except RuntimeError:  # helpers are lost
            _forget(self._executor)
            return
        self._left.popleft()
        self._follow(task.future)

    def _follow(self, future: Future) -> None:
        self._running.add(future)
        future.add_done_callback(self._go_on)

    def _go_on(self, done: Future) -> None:
        """Hand out the next task to the helper that has done one, unless helpers are lost."""
        with self._lock:
            self._running.discard(done)
            if isinstance(done.exception(), BrokenExecutor):
                _forget(self._executor)
            else:
                self._hand_out()

    def close(self, failed: bool) -> None:
        """Leave what is not begun, and after an error end what is."""
        with self._lock:
            self._left.clear()
            running = [*self._running]
        if not (failed and running):
            return
        _forget(self._executor)
        until = time.monotonic() + MAX_ENDING_SECONDS
        while any(not (future.running() or future.done()) for future in running) and time.monotonic() < until:
            time.sleep(0.001)  # the executor trips over what is just on its way to a process
        self._executor.shutdown(wait=False, kill_workers=True)


_executors: dict[int, tuple[ProcessPoolExecutor, int]] = {}  # one, with its size, by the process that made it
_lock = threading.Lock()
_pool: ContextVar[_Pool | None] = ContextVar("_pool", default=None)


def _executor(n_helpers: int) -> ProcessPoolExecutor:
    """Processes that may be helpers, so many at least."""
    with _lock:
        known, size = _executors.get(os.getpid(), (None, 0))
        if known is None or size < n_helpers:
            if known is not None:
                known.shutdown(wait=False)
            alone = dict.fromkeys(THREADS, "1")
            known = ProcessPoolExecutor(n_helpers, timeout=IDLE_SECONDS, initializer=_ignore_interrupts, env=alone)
            _executors.clear()
            _executors[os.getpid()] = known, n_helpers
        return known


def _forget(executor: ProcessPoolExecutor) -> None:
    """Let later fits start helpers anew."""
    with _lock:
        if _executors.get(os.getpid(), (None, 0))[0] is executor:
            _executors.clear()


@contextmanager
def helpers(n_jobs: int | None) -> Iterator[None]:
    """Run the body with as many processes beside this one as `n_jobs` leaves, in scikit-learn's meaning, or 7.

    There are none within another such body, in processes and threads that joblib itself runs side by side or that fit
    one model together, and where a context of joblib asks for another kind of workers.
    """
    backend = get_active_backend()[0]
    n_helpers = min(effective_n_jobs(n_jobs) - 1, MAX_HELPERS)
    if n_helpers < 1 or _pool.get() is not None or not isinstance(backend, LokyBackend) or collective() is not ALONE:
        yield
        return
    pool = _Pool(n_helpers)
    token, failed = _pool.set(pool), True
    try:
        yield
        failed = False
    finally:
        _pool.reset(token)
        pool.close(failed)


def n_helpers() -> int:
    """How many processes may do tasks beside this one."""
    pool = _pool.get()
    return 0 if pool is None else pool.size


def n_free_helpers() -> int:
    """How many of them have nothing to do."""
    pool = _pool.get()
    return 0 if pool is None else pool.n_free()


def begin(function: Callable[..., T], *args: Any, shared: Sequence[Any] = ()) -> Task[T]:
    """A task that a helper may do from now on; without helpers it is done where its result is asked for."""
    task = Task(function, args, shared)
    pool = _pool.get()
    if pool is not None:
        pool.offer(task)
    return task


def results(tasks: Sequence[Task[T]]) -> list[T]:
    """The results of tasks. Those that no helper has begun are done here, the last ones first."""
    for task in reversed(tasks):
        task.do()
    return [task.result() for task in tasks]


class Sent(Generic[T]):
    """A function that many tasks call: it is pickled once for all of them, and every helper unpickles it once.

    Parameters
    ----------
    function : callable
        It does not change between the tasks.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        self._function: Callable[..., T] | None = function
        self._message = b""

    def __getstate__(self) -> dict[str, Any]:
        self._message = self._message or _dumped(self._function)
        return {"_function": None, "_message": self._message}

    def __call__(self, *args: Any) -> T:
        function: Callable[..., T] = self._function or _unpickled(self._message)
        return function(*args)


# -- in the other process ------------------------------------------------------------------------


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that fits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@lru_cache(maxsize=1)
def _unpickled(message: bytes) -> Any:
    """What a message holds; the last one is kept."""
    return pickle.loads(message)


def _import(names: Sequence[str]) -> None:
    for name in names:
        importlib.import_module(name)


def _done_there(message: bytes) -> bytes:
    """The result of a task and its warnings, as a message."""
    function, args, shared, (config, errors) = pickle.loads(message)
    with warnings.catch_warnings(record=True) as caught, config_context(**config), np.errstate(**errors), workers(1):
        warnings.simplefilter("always")  # the caller's filter decides
        result = function(*args)
    messages = dict.fromkeys((str(warning.message), warning.category) for warning in caught)
    return _dumped((result, [*messages]), shared)


# -- messages ------------------------------------------------------------------------------------


def _settings() -> tuple[dict[str, Any], Any]:
    """What holds for a computation, whoever does it: scikit-learn's configuration and NumPy's floating-point errors."""
    return get_config(), np.geterr()


class _SharingPickler(pickle.Pickler):
    """A pickler that writes the number of a shared object in its place."""

    def __init__(self, file: io.BytesIO, shared: Sequence[Any]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.numbers = {id(value): number for number, value in enumerate(shared)}

    def persistent_id(self, value: Any) -> int | None:
        return self.numbers.get(id(value))


class _SharingUnpickler(pickle.Unpickler):
    """An unpickler that has the shared objects of this process."""

    def __init__(self, file: io.BytesIO, shared: Sequence[Any]) -> None:
        super().__init__(file)
        self.shared = shared

    def persistent_load(self, number: int) -> Any:
        return self.shared[number]


def _dumped(value: Any, shared: Sequence[Any] = ()) -> bytes:
    file = io.BytesIO()
    _SharingPickler(file, shared).dump(value)
    return file.getvalue()


def _loaded(message: bytes, shared: Sequence[Any]) -> Any:
    return _SharingUnpickler(io.BytesIO(message), shared).load()
