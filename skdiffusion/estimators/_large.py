"""Samples that need not fit into memory: what a fit takes of them, and their chunks for the other methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion._utils.frames import frame_library, note_frame, to_frame
from skdiffusion._utils.progress import PILOT_SHARE, counted, training_deadline
from skdiffusion._utils.sources import ArraySource, ChunkReader, FrameSource, Source, source_of
from skdiffusion._utils.validation import check_bounds, check_finite, check_inside, check_magnitude
from skdiffusion._utils.warnings import warn_user
from skdiffusion.estimators._options import Options
from skdiffusion.estimators._table_kinds import kinds_of
from skdiffusion.exceptions import InterruptedFitWarning
from skdiffusion.preprocessing import Reservoir, ReservoirSampling


def chunks_of(estimator: Any, X: Any, stage: str, *, together: bool = False) -> Iterator[Any]:
    """The chunks of a source, which a progress bar counts, or all `together`; anything else as the chunk that it is."""
    source = source_of(X)
    if source is None or together:
        return iter([X if source is None else source.whole()])
    filled = (chunk for chunk in source.chunks() if len(chunk))
    return counted(filled, estimator, stage, source.n_samples)


def within_memory(
    estimator: Any, X: Any, is_plain: bool, started: float, rng: np.random.Generator
) -> tuple[Any, Reservoir | None]:
    """What a fit takes of X: all of it, or a reservoir where it has more samples than that holds.

    Samples in memory, or mapped to it, of which the networks need more than their numbers are taken as they are.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator
    X : array, frame or source
    is_plain : bool
        Whether the samples have neither weights nor groups.
    started : float
        Moment of `time.perf_counter` at which the fit began.
    rng : numpy Generator
        The reservoir draws from a stream of its own.

    Returns
    -------
    X : array or frame
    reservoir : Reservoir or None

    Raises
    ------
    ValueError
        If more samples than the reservoir holds have weights, groups, categories, atoms or unknown values, and are not
        in memory.
    """
    options = Options() if estimator.options is None else estimator.options
    options._validate_params()
    size = options.reservoir_size
    source = source_of(X)
    if source is None and is_plain:
        source = _large_source(estimator, X, size)
    if source is None:
        return X, None
    if source.n_samples is not None and source.n_samples <= size:
        return source.whole(), None
    survey = _Survey(estimator, source, size, None if is_plain else "has weights or groups")
    reservoir = survey.reservoir(started, rng.spawn(1)[0])
    if reservoir is None:
        return source.whole(), None
    if frame_library(survey.like) is None:
        return reservoir.X, reservoir
    note_frame(estimator, survey.like)
    return to_frame(reservoir.X, estimator), reservoir


def _large_source(estimator: Any, X: Any, size: int) -> Source | None:
    """The source that is made of the numbers in an array or a frame, if they are of more samples than this."""
    if isinstance(X, np.ndarray):
        return ArraySource(X) if X.ndim == 2 and X.dtype.kind in "biuf" and len(X) > size else None
    if frame_library(X) is None or len(X) <= size or not kinds_of(X, estimator.categorical_features).are_plain:
        return None
    return FrameSource(X)


@dataclass
class _Survey:
    """The first pass over a source, which checks all samples and draws the reservoir."""

    estimator: Any
    source: Source
    size: int
    obstacle: str | None  # why the samples must be in memory
    like: Any = None  # an array or frame with the columns of the samples
    reader: ChunkReader = field(init=False)
    n_samples: int = 0

    def reservoir(self, started: float, rng: np.random.Generator) -> Reservoir | None:
        """The reservoir; None where all samples must be in memory, and can be."""
        deadline = training_deadline(started, self.estimator.max_fit_seconds, PILOT_SHARE)
        sampling, is_complete = ReservoirSampling(self.size, rng), True
        for start, chunk in self._parts(deadline, rng):
            if self.like is None:
                self._begin(chunk)
            self.reader.check(chunk, start)
            self.n_samples += len(chunk)
            if self.obstacle is None:
                self._offer(chunk, start, sampling)
            if self.obstacle is not None and self._is_in_memory():
                return None
            if self.obstacle is None and collective().clock() > deadline:
                is_complete = self.n_samples == self.source.n_samples
                break
        if self.n_samples <= self.size and is_complete:
            return None
        if not is_complete:
            self._warn_of_time()
        X, numbers = sampling.drawn()
        return Reservoir(X, numbers, self.n_samples, self.source, self.reader, is_complete)

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
        check_inside(X, check_bounds(self.estimator.bounds, X.shape[1]), start)
        if (unknown := np.isnan(X).any(1)).any():
            self.obstacle = f"has unknown values (NaN), the first in sample {start + np.flatnonzero(unknown)[0]}"
        else:
            sampling.add(X, start)

    def _is_in_memory(self) -> bool:
        """Whether the samples can be taken as they are; ValueError where they cannot, and are too many."""
        if isinstance(self.source, ArraySource):
            return True
        if self.n_samples > self.size:
            raise ValueError(
                f"X has more than {self.size} samples and {self.obstacle}, which takes all in memory: give an array or "
                "a frame, or a part of X. DiffusionImputer fills in unknown values."
            )
        return False

    def _warn_of_time(self) -> None:
        known = f" of {self.source.n_samples}" if self.source.n_samples is not None else ""
        warn_user(
            f"'max_fit_seconds' ended the first reading of X after {self.n_samples}{known} samples: the fit knows "
            "nothing of the others but what its networks see. Raise 'max_fit_seconds'.",
            InterruptedFitWarning,
        )
