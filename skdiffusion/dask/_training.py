"""A fit by the workers of a cluster: one task on each, which meet in a process group of their own."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import torch.distributed
from distributed import Client, Future, Lock, wait

from skdiffusion._utils.shards import Shard, Shards
from skdiffusion.estimators import DiffusionDensityEstimator
from skdiffusion.exceptions import LostProcessError

TIMEOUT = 600.0  # seconds that a worker waits for the others, which may be slower; of one that dies it knows at once
POLL, LAST_WORDS = 0.5, 5.0  # seconds between two looks at the workers, and for the errors of the others after one
LOCK = "skdiffusion-fit"

_stores: dict[str, torch.distributed.TCPStore] = {}  # of this process, by the fit whose workers meet there
_one_fit = threading.Lock()  # of this process at a time: it is in one process group


def fit_on_workers(client: Client, estimator: DiffusionDensityEstimator, delayed_shards: Sequence[Any]) -> Any:
    """An estimator fitted by all workers that hold some of the shards, which are computed first."""
    with client.as_current():
        lock = Lock(LOCK)
        # Otherwise tasks of two fits, each waiting for the rest of its own, could share the workers and stand still.
        with lock:
            shards = client.compute(list(delayed_shards))
            wait(shards)
            for shard in shards:
                if shard.status == "error":
                    shard.result()  # raises what the computation of a partition did
            return _fit(client, estimator, _holders(client, shards))


def _holders(client: Client, shards: Sequence[Future]) -> dict[str, list[Future]]:
    """The shards of every worker that holds some, in the order of the first of them."""
    who_has, holders = client.who_has(shards), {}  # type: ignore[var-annotated]
    for shard in shards:
        workers = sorted(who_has[shard.key])
        if not workers:
            raise LostProcessError("A worker died while the partitions of X were computed: call fit again.")
        # Workers within one process would need several process groups in it: one of them fits for all.
        worker = next(iter(holders), workers[0]) if workers[0].startswith("inproc") else workers[0]
        holders.setdefault(worker, []).append(shard)
    return holders


def _fit(client: Client, estimator: DiffusionDensityEstimator, holders: dict[str, list[Future]]) -> Any:
    fit_id, workers, size = uuid.uuid4().hex, list(holders), len(holders)
    pinned: dict[str, Any] = {"pure": False, "retries": 0, "allow_other_workers": False}
    opened = client.submit(_open_store, fit_id, size, workers=[workers[0]], **pinned)
    tasks = [
        client.submit(_take_part, estimator, holders[worker], fit_id, opened, (rank, size), workers=[worker], **pinned)
        for rank, worker in enumerate(workers)
    ]
    try:
        _watch(client, [opened, *tasks], workers)
        return tasks[0].result()
    finally:
        client.cancel([opened, *tasks])


def _watch(client: Client, tasks: list[Future], workers: Sequence[str]) -> None:
    """Wait until all tasks are done; raise the error of one that fails, or for a worker that is gone."""
    failed_at = None
    while pending := [task for task in tasks if not task.done()]:
        failures = [task.exception() for task in tasks if task.status == "error"]
        own = [error for error in failures if not isinstance(error, LostProcessError)]
        if own:
            raise own[0]
        if gone := [worker for worker in workers if worker not in client.nthreads()]:
            raise LostProcessError(
                f"The worker {gone[0]} died during the fit. The others have ended theirs: call fit again. With "
                "Options(checkpoint=...) it goes on where it was."
            )
        if failures and failed_at is None:
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > LAST_WORDS:
            raise failures[0]
        with suppress(TimeoutError):
            wait(pending, timeout=POLL, return_when="FIRST_COMPLETED")
    for task in tasks:
        task.result()  # raises its error


def _open_store(fit_id: str, size: int) -> tuple[str, int]:
    """Open the place where the workers of a fit meet, in the process of the first; its address."""
    from distributed import get_worker

    host = urlsplit(get_worker().address).hostname or "127.0.0.1"
    store = torch.distributed.TCPStore(
        host, 0, size, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=TIMEOUT)
    )
    _stores[fit_id] = store
    return host, store.port


def _take_part(
    estimator: DiffusionDensityEstimator,
    shards: list[Shard],
    fit_id: str,
    address: tuple[str, int],
    place: tuple[int, int],
) -> DiffusionDensityEstimator | None:
    """Fit an estimator together with the other workers; the first gives it back."""
    (rank, size), time_out = place, timedelta(seconds=TIMEOUT)
    if not _one_fit.acquire(timeout=TIMEOUT):
        raise RuntimeError("Another fit is still running in the process of this worker: restart it.")
    try:
        if rank == 0:
            store = _stores.pop(fit_id)
        else:
            store = torch.distributed.TCPStore(*address, size, is_master=False, timeout=time_out)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=time_out)
        try:
            estimator.fit(Shards(shards))
        finally:
            torch.distributed.destroy_process_group()
    finally:
        _one_fit.release()
    return estimator if rank == 0 else None
