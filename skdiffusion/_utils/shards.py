"""The samples of several processes as one table: each process has some of them, perhaps none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skdiffusion._utils.collective import ALONE, collective
from skdiffusion._utils.frames import frame_library, joined_frames
from skdiffusion._utils.sources import PartedSource, source_of


class Shard(NamedTuple):
    """Some samples, with their weights and groups, and their place among all shards."""

    X: Any
    sample_weight: Any = None
    groups: Any = None
    place: int = 0


@dataclass(frozen=True)
class Shards:
    """Shards of one process, in the place of samples: they are put in the order of their places, not of processes."""

    parts: Sequence[Shard]


class ShardSource(PartedSource):
    """Shards of one process, read one after the other."""

    def __init__(self, shards: Shards) -> None:
        super().__init__([n_samples(shard.X) for shard in shards.parts])
        self.shards = shards

    def part(self, k: int) -> Any:
        return self.shards.parts[k].X

    def whole(self) -> Shards:
        return self.shards


def joined(X: Any, sample_weight: Any = None, groups: Any = None) -> tuple[Any, Any, Any]:
    """All samples of all processes, in the order of the processes, with their weights and groups.

    Raises
    ------
    ValueError
        In every process, if what some of them pass does not fit together.
    """
    collective().enters("the exchange of samples")
    own = collective().each(lambda: list(_own_parts(X, sample_weight, groups)))
    shards = sorted((shard for parts in own for shard in parts), key=lambda shard: shard.place)
    if len(shards) == 1:
        return shards[0][:3]
    filled = [shard for shard in shards if n_samples(shard.X)] or shards[:1]
    return (
        _joined_tables([shard.X for shard in filled]),
        _joined_vectors([shard.sample_weight for shard in filled], [n_samples(s.X) for s in filled], "sample_weight"),
        _joined_vectors([shard.groups for shard in filled], [n_samples(s.X) for s in filled], "groups"),
    )


def _own_parts(X: Any, sample_weight: Any, groups: Any) -> Sequence[Shard]:
    """The shards of this process, to exchange: a source is read whole, where there are others to exchange it with."""
    if isinstance(X, Shards):
        return X.parts
    source = None if collective() is ALONE else source_of(X)
    return [Shard(X if source is None else source.whole(), sample_weight, groups)]


def n_samples(X: Any) -> int:
    """The number of samples of an array or a frame, or of what can be made one."""
    return int(X.shape[0]) if getattr(X, "shape", None) else len(X)


def _joined_tables(tables: Sequence[Any]) -> Any:
    libraries = {frame_library(table) for table in tables}
    if len(libraries) > 1:
        raise ValueError(
            f"X is of different kinds in different shards, {sorted(str(name or 'array') for name in libraries)}: pass "
            "frames of one library, or arrays, everywhere."
        )
    if libraries != {None}:
        return joined_frames(tables)
    arrays = [np.asarray(table) for table in tables]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or arrays[0].ndim != 2:
        raise ValueError(
            "Every shard of X must be an array of shape (n_samples, n_features) with the same features. Got the "
            f"shapes {[array.shape for array in arrays]}."
        )
    return np.concatenate(arrays)


def _joined_vectors(vectors: Sequence[Any], lengths: Sequence[int], name: str) -> np.ndarray | None:
    if all(vector is None for vector in vectors):
        return None
    if any(vector is None for vector in vectors):
        raise ValueError(f"'{name}' is given with some shards of X and not with others: pass it with all, or none.")
    arrays = [np.asarray(vector) for vector in vectors]
    if any(array.shape != (length,) for array, length in zip(arrays, lengths)):
        raise ValueError(
            f"'{name}' must have a value for every sample of its shard. Got the shapes "
            f"{[array.shape for array in arrays]} for shards of {list(lengths)} samples."
        )
    return np.concatenate(arrays)
