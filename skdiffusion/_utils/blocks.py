"""The one place where samples are cut into blocks, so that temporaries stay small and bits do not depend on the batch.

A matrix product may round a sample differently in a batch of another size. Blocks of a few fixed sizes, padded with
zeros, keep the bits of a sample whatever the other samples of a call are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from skdiffusion._utils.parallel import n_workers, side_by_side
from skdiffusion._utils.processes import Sent, begin, n_helpers, results

if TYPE_CHECKING:
    import torch


BLOCK_SAMPLES = 8192  # of a call, whose densities and random numbers are in memory at a time
PART_SAMPLES = 256  # of which a part of a call is a multiple: fewer are hardly faster
PARTS = 8  # of a call for each worker, so that none waits long for the last
MIN_SENT = 1000  # samples of a call that other processes help with: fewer take less time than the messages
VECTOR = 24  # rows that a product of float64 matrices takes at a time: 4, 8 or 24, by the processor


def slices(n_samples: int, size: int = BLOCK_SAMPLES) -> Iterator[slice]:
    """Slices that cover so many samples, each of at most `size` of them."""
    for start in range(0, n_samples, max(1, size)):
        yield slice(start, min(start + max(1, size), n_samples))


def in_parts(function: Callable[[slice], object], n_samples: int) -> None:
    """Call a function with slices that cover so many samples, side by side.

    A sample has the same bits in every part: the parts may follow the number of workers.
    """
    n_parts = PARTS * n_workers() if n_workers() > 1 else 1
    side_by_side([partial(function, part) for part in _parts(n_samples, n_parts)])


def _parts(n_samples: int, n_parts: int) -> Iterator[slice]:
    """So many slices of samples, or fewer of whole parts, or more where they would be larger than a block."""
    return slices(n_samples, min(BLOCK_SAMPLES, PART_SAMPLES * max(1, -(-n_samples // (PART_SAMPLES * n_parts)))))


def parts_of_processes(n_samples: int, n_helpers: int) -> Iterator[slice]:
    """Slices of samples for as many helpers, which take the first ones, and this process, which takes the last ones.

    The first and the last ones are large, since every message takes some time, and those in the middle small, so that
    none waits long for the last: a round hands out half of what is left.
    """
    sizes, left = [], n_samples
    while size := min(BLOCK_SAMPLES, PART_SAMPLES * (left // (2 * (n_helpers + 1) * PART_SAMPLES))):
        sizes.append(size)
        left -= size * (n_helpers + 1)
    of_helpers = [size for size in sizes for _ in range(n_helpers)]
    middle = [part.stop - part.start for part in slices(left, PART_SAMPLES)]
    ends = np.cumsum([0, *of_helpers, *middle, *reversed(sizes)])
    return map(slice, ends[:-1], ends[1:])


def values_in_parts(
    function: Callable[[Any], np.ndarray], take: Callable[[slice], Any], out: np.ndarray, few_parts: bool = False
) -> None:
    """Write values of samples to `out`, part by part: by helpers and this process if there are any, else by threads.

    Parameters
    ----------
    function : callable
        It makes the values of what `take` gives. A helper has a copy of it.
    take : callable
        It gives what belongs to a slice of the samples.
    out : ndarray of shape (n_samples, ...)
    few_parts : bool, default=False
        Whether processes get two parts each: where every call of the function has a cost of its own.
    """
    if n_helpers() == 0:
        in_parts(lambda part: out.__setitem__(part, function(take(part))), len(out))
        return
    n = len(out)
    parts = [*(_parts(n, 2 * (n_helpers() + 1)) if few_parts else parts_of_processes(n, n_helpers()))]
    sent = Sent(function)
    for part, values in zip(parts, results([begin(sent, take(part)) for part in parts])):
        out[part] = values


def padded_blocks(samples: np.ndarray, sizes: tuple[int, ...]) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of samples (n_samples, n_features) in float64, each with the slice of the samples that it holds.

    A block has the smallest of the rising `sizes` that its samples fit into. Its other rows are zero.
    """
    for where in slices(len(samples), sizes[-1]):
        count = where.stop - where.start
        block = np.zeros((next(size for size in sizes if size >= count), samples.shape[1]))
        block[:count] = samples[where]
        yield where, block


def whole_vectors(samples: np.ndarray) -> np.ndarray:
    """Samples, the last of them repeated until they fill whole vectors of the processor.

    Products of matrices and functions such as exp may round the samples that are left over otherwise.
    """
    return last_repeated(samples, len(samples) + -len(samples) % VECTOR)


def last_repeated(values: np.ndarray, n: int) -> np.ndarray:
    """Values, the last of them repeated until there are n."""
    return np.concatenate([values, np.repeat(values[-1:], n - len(values), axis=0)]) if n > len(values) else values


def without_last_repeats(samples: np.ndarray) -> np.ndarray:
    """The inverse of `whole_vectors`, for what rounds no sample otherwise and costs much."""
    repeats = np.equal(samples[-VECTOR:-1], samples[-1:]).all(1)[::-1]
    return samples[: len(samples) - int(np.append(repeats, False).argmin())]


def in_blocks(function: Callable[[np.ndarray], np.ndarray], X: np.ndarray) -> np.ndarray:
    """Values, one for each sample, of a function of samples, with the temporaries of one block a worker in memory."""
    out = np.empty(len(X))

    def evaluate(part: slice) -> None:
        out[part] = function(X[part])

    in_parts(evaluate, len(X))
    return out


def write(out: np.ndarray, where: slice | np.ndarray, values: np.ndarray | torch.Tensor) -> None:
    """Write what was computed from a block, an array or a tensor, to the samples that the block holds.

    These are a slice, in front of what pads the block, or the number of a sample for every row of the block.
    """
    if isinstance(where, slice):
        values = values[: where.stop - where.start]
    out[where] = values if isinstance(values, np.ndarray) else values.cpu().numpy()
