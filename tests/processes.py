"""Functions run by several processes at once, in one process group of `torch.distributed`, and small fits for them."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from skdiffusion import DiffusionDensityEstimator, Options

TIMEOUT = 60  # seconds of an exchange


def _member(rank: int, size: int, store: str, timeout: float, connection: Any) -> None:
    import torch.distributed as dist

    meeting = dist.FileStore(store, size)
    meeting.set(f"started {rank}", "")
    meeting.wait([f"started {other}" for other in range(size)], timedelta(seconds=300))  # imports take their time
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=size, timeout=timedelta(seconds=timeout))
    while (task := connection.recv()) is not None:
        function, given = task
        try:
            connection.send((True, function(rank, *given)))
        except Exception:
            connection.send((False, traceback.format_exc()))
    dist.destroy_process_group()


class Processes:
    """A process group that stays for several calls. A context manager that ends it."""

    def __init__(self, size: int = 2, timeout: float = TIMEOUT):
        self.folder = tempfile.TemporaryDirectory()
        context = multiprocessing.get_context("spawn")
        self.connections, self.members = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            given = (rank, size, str(Path(self.folder.name) / "store"), timeout, theirs)
            member = context.Process(target=_member, args=given, daemon=True)
            member.start()
            theirs.close()
            self.connections.append(ours)
            self.members.append(member)

    def outcomes(self, function: Callable, *given: Any) -> list[tuple[bool | None, Any]]:
        """For every rank whether ``function(rank, *given)`` went well, and its result or traceback; None if it died."""
        for connection in self.connections:
            connection.send((function, given))
        found: list[tuple[bool | None, Any]] = []
        for connection in self.connections:
            try:
                found.append(connection.recv())
            except EOFError:
                found.append((None, None))
        return found

    def __call__(self, function: Callable, *given: Any) -> list[Any]:
        """The results of ``function(rank, *given)`` of all ranks."""
        found = self.outcomes(function, *given)
        for well, result in found:
            assert well, result
        return [result for _, result in found]

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        for connection in self.connections:
            try:
                connection.send(None)
            except OSError:
                pass
        for member in self.members:
            member.join(10)
            if member.is_alive():
                member.kill()
        self.folder.cleanup()


def samples(n=300, d=3, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, d))
    X[:, 1:] += 0.5 * X[:, :-1] ** 2
    return X


def small(n_training_steps=60, **given):
    options = Options(n_training_steps=n_training_steps, n_pilot_steps=5, **given.pop("options", {}))
    chosen = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "random_state": 0, "components": None, "n_steps": 8}
    return DiffusionDensityEstimator(**(chosen | {"feature_transform": None, "options": options} | given))


def cut(X, rank, cuts):
    return None if X is None else X[slice(*cuts[rank])]
