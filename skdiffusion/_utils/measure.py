"""Whether a density may take columns of numbers for categories, which have probabilities in place of a density."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_numbers_alone: ContextVar[bool] = ContextVar("_numbers_alone", default=False)


def takes_numbers_alone() -> bool:
    """Whether columns of numbers are to be nothing else in the present computation."""
    return _numbers_alone.get()


@contextmanager
def numbers_alone() -> Iterator[None]:
    """Run the body, in which columns of numbers are nothing else: a transformer changes the density of numbers by its
    Jacobian, and probabilities not at all."""
    token = _numbers_alone.set(True)
    try:
        yield
    finally:
        _numbers_alone.reset(token)
