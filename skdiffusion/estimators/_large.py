"""Samples that need not fit into memory: what a fit takes of them, and their chunks for the other methods."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion._utils.frames import frame_library, note_frame, to_frame
from skdiffusion._utils.progress import PILOT_SHARE, affordable_in_memory, counted, training_deadline
from skdiffusion._utils.shards import Shards, ShardSource, joined, n_samples
from skdiffusion._utils.sources import ArraySource, ChunkReader, FrameSource, Source, source_of
from skdiffusion._utils.validation import (
    check_bounds,
    check_finite,
    check_inside,
    check_magnitude,
    without_overshoot,
)
from skdiffusion._utils.warnings import warn_user
from skdiffusion.estimators._options import Options
from skdiffusion.estimators._table_kinds import kinds_of
from skdiffusion.exceptions import InterruptedFitWarning
from skdiffusion.preprocessing import Kept, OwnPart, Reservoir, ReservoirSampling


def chunks_of(estimator: Any, X: Any, stage: str, *, together: bool = False) -> Iterator[Any]:
    """The chunks of a source, which a progress bar counts, or all `together`; anything else as the chunk that it is."""
    source = source_of(X)
    if source is None or together:
        return iter([X if source is None else source.whole()])
    filled = (chunk for chunk in source.chunks() if len(chunk))
    return counted(filled, estimator, stage, source.n_samples)


class Taken(NamedTuple):
    """What a fit takes of the samples: all of them, or a reservoir where they are more than that holds."""

    X: Any
    sample_weight: Any
    groups: Any
    reservoir: Reservoir | None


def within_memory(estimator: Any, given: Given, started: float, rng: np.random.Generator) -> Taken:
    """What a fit takes of the samples of all processes.

    Samples in memory, or mapped to it, of which the networks need more than their numbers are taken as they are.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator
    given : Given
        The samples of this process.
    started : float
        Moment of `Collective.clock` at which the fit began.
    rng : numpy Generator
        The reservoir draws from a stream of its own.

    Raises
    ------
    ValueError
        If more samples than the reservoir holds have weights, groups, categories, atoms or unknown values, and are not
        in memory.
    """
    options = Options() if estimator.options is None else estimator.options
    options._validate_params()
    limits = _Limits(options.reservoir_size, affordable_in_memory(estimator.max_fit_seconds))
    processes = collective()
    processes.enters("the count of the samples")
    sizes = processes.each(given.open)
    known = [n for n in sizes if n is not None]
    if len(known) == len(sizes) and sum(known) <= limits.drawn:
        return given.whole()
    if given.source is None and given.is_plain:
        given.source = _numbers_source(estimator, given.X)
    if processes.any(given.source is None):
        return given.whole()
    processes.enters("the first reading of the samples")
    survey = _Survey(estimator, given, limits)
    deadline = training_deadline(started, estimator.max_fit_seconds, PILOT_SHARE)
    own_rng, own_deadline = processes.generator(rng.spawn(1)[0]), processes.own_moment(deadline)
    found = processes.each(lambda: survey.read(own_deadline, own_rng))
    if _fit_into_memory(found, limits):
        return given.whole()
    survey.warn_of_time()
    reservoir = _reservoir(survey, found)
    if frame_library(survey.like) is None:
        return Taken(reservoir.X, None, None, reservoir)
    note_frame(estimator, survey.like)
    return Taken(to_frame(reservoir.X, estimator), None, None, reservoir)


class _Limits(NamedTuple):
    """How many samples a fit may have in memory, and to how many of them there is the time to fit everything."""

    in_memory: int
    affordable: float = np.inf

    @property
    def drawn(self) -> int:
        """Samples of a reservoir."""
        return int(min(self.in_memory, self.affordable))


@dataclass
class Given:
    """What `fit` is given by this process, and the source that it is, if it is one."""

    X: Any
    sample_weight: Any = None
    groups: Any = None
    source: Source | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the samples have neither weights nor groups."""
        parts = self.X.parts if isinstance(self.X, Shards) else [self]
        return all(part.sample_weight is None and part.groups is None for part in parts)

    def open(self) -> int | None:
        """The number of samples, if it is known before they are read."""
        if isinstance(self.X, Shards):
            return sum(n_samples(shard.X) for shard in self.X.parts)
        self.source = source_of(self.X)
        if self.source is not None:
            return self.source.n_samples
        return n_samples(self.X) if getattr(self.X, "shape", hasattr(self.X, "__len__")) else 0  # refused later

    def whole(self) -> Taken:
        """All samples of all processes."""
        X, sample_weight, groups = joined(self.X, self.sample_weight, self.groups)
        if X is self.X and self.source is not None:
            X = self.source.whole()
        return Taken(X, sample_weight, groups, None)


def _numbers_source(estimator: Any, X: Any) -> Source | None:
    """The source that is made of the numbers of an array, a frame or shards in memory."""
    if isinstance(X, Shards):
        return ShardSource(X)
    if isinstance(X, np.ndarray):
        return ArraySource(X) if X.ndim == 2 and X.dtype.kind in "biuf" else None
    if frame_library(X) is None or not kinds_of(X, estimator.categorical_features).are_plain:
        return None
    return FrameSource(X)


class _Found(NamedTuple):
    """What a process found in the first reading of its samples."""

    n_samples: int
    is_complete: bool  # whether it read all of them
    in_memory: bool  # whether they are, or are mapped to it
    obstacle: str | None  # why all samples must be in memory
    like: Any  # two samples; None where there is none
    kept: Kept | None


@dataclass
class _Survey:
    """The first pass over the samples of a process, which checks all and draws a reservoir."""

    estimator: Any
    given: Given
    limits: _Limits
    like: Any = None  # an array or frame with the columns of the samples
    reader: ChunkReader = field(init=False)
    n_samples: int = 0
    obstacle: str | None = None
    is_complete: bool = True

    def __post_init__(self) -> None:
        if not self.given.is_plain:
            self.obstacle = "has weights or groups"

    @property
    def source(self) -> Source:
        """Where the samples are."""
        assert self.given.source is not None
        return self.given.source

    def read(self, deadline: float, rng: np.random.Generator) -> _Found:
        """Read all samples; or until a moment of `time.perf_counter`, or it is plain that all must be in memory."""
        sampling = ReservoirSampling(self.limits.drawn, rng)
        for start, chunk in self._parts(deadline, rng):
            if self.like is None:
                self._begin(chunk)
            self.reader.check(chunk, start)
            self.n_samples += len(chunk)
            if self.obstacle is None:
                self._offer(chunk, start, sampling)
            if self.obstacle is not None and (self._in_memory or self.n_samples > self.limits.in_memory):
                break
            if self.obstacle is None and time.perf_counter() > deadline:
                self.is_complete = self.n_samples == self.source.n_samples
                break
        like = None if self.like is None else self.like[:2]
        return _Found(self.n_samples, self.is_complete, self._in_memory, self.obstacle, like, sampling.kept())

    @property
    def _in_memory(self) -> bool:
        return isinstance(self.source, (ArraySource, ShardSource))

    def _parts(self, deadline: float, rng: np.random.Generator) -> Iterator[tuple[int, Any]]:
        """All samples in their order; in a random one, where the source has that, if time may end before them."""
        if deadline < np.inf:
            yield from self.source.shuffled(rng)
            return
        start = 0
        for chunk in counted(self.source.chunks(), self.estimator, "reading", self.source.n_samples):
            if len(chunk):
                yield start, chunk
            start += len(chunk)

    def _begin(self, chunk: Any) -> None:
        """Note the columns of the first chunk."""
        self.like = chunk[:2] if self.source.frame is None else self.source.frame
        self.reader = ChunkReader(chunk)
        if self.estimator.atoms is not None:
            self.obstacle = "'atoms' are asked for"
        if not kinds_of(self.like, self.estimator.categorical_features).are_plain:
            self.obstacle = "has columns of categories"

    def _offer(self, chunk: Any, start: int, sampling: ReservoirSampling) -> None:
        """Check the samples of a chunk, and offer them to the reservoir."""
        X = self.reader.numbers(chunk, start)
        check_finite(self.estimator, X, chunk, allow_nan=True)
        check_magnitude(X=X)
        if (bounds := check_bounds(self.estimator.bounds, X.shape[1])) is not None:
            X = without_overshoot(X, *bounds, np.finfo(X.dtype).eps)
        check_inside(X, bounds, start)
        if (unknown := np.isnan(X).any(1)).any():
            self.obstacle = f"has unknown values (NaN), the first in sample {start + np.flatnonzero(unknown)[0]}"
        else:
            sampling.add(X, start)

    def warn_of_time(self) -> None:
        """Warn if there was not the time to read all samples."""
        if self.is_complete:
            return
        known = f" of {self.source.n_samples}" if self.source.n_samples is not None else ""
        warn_user(
            f"'max_fit_seconds' ended the first reading of X after {self.n_samples}{known} samples: the fit knows "
            "nothing of the others but what its networks see. Raise 'max_fit_seconds'.",
            InterruptedFitWarning,
        )


def _fit_into_memory(found: Sequence[_Found], limits: _Limits) -> bool:
    """Whether all samples are taken into memory: because they are few, or must be and can be.

    Raises
    ------
    ValueError
        If they must be, and cannot.
    """
    n, obstacle = sum(part.n_samples for part in found), next((part.obstacle for part in found if part.obstacle), None)
    if obstacle is None:
        return n <= limits.drawn and all(part.is_complete for part in found)
    if n > limits.in_memory and not all(part.in_memory for part in found):
        raise ValueError(
            f"X has more than {limits.in_memory} samples and {obstacle}, which takes all in memory: give an array or a "
            "frame, or a part of X. DiffusionImputer fills in unknown values."
        )
    return True


def _reservoir(survey: _Survey, found: Sequence[_Found]) -> Reservoir:
    """The reservoir of the samples of all processes, as this one has it."""
    sizes = [part.n_samples for part in found]
    firsts = (np.cumsum(sizes) - sizes).tolist()
    likes = [(first, part.like) for first, part in zip(firsts, found) if part.like is not None]
    reader = ChunkReader(likes[0][1])
    for first, like in likes[1:]:
        reader.check(like, first)
    if survey.like is None:
        survey.like, survey.reader = likes[0][1], reader
    kept = [part.kept._replace(numbers=part.kept.numbers + first) for first, part in zip(firsts, found) if part.kept]
    first = collective().own(firsts)
    own = OwnPart(survey.source, survey.reader, survey.n_samples, first, survey.is_complete)
    return Reservoir(*Kept.joined(kept).smallest(survey.limits.drawn).drawn(), sum(sizes), own)
