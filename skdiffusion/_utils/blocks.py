"""The one place where samples are cut into blocks, so that temporaries stay small and bits do not depend on the batch."""

from collections.abc import Iterator


def slices(n_samples: int, size: int) -> Iterator[slice]:
    """Slices that cover so many samples, each of at most `size` of them."""
    for start in range(0, n_samples, max(1, size)):
        yield slice(start, min(start + max(1, size), n_samples))
