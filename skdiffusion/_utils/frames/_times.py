"""Points in time, durations and times of day as numbers, and back.

Points in time are days since the start of 1970, in coordinated universal time where they have a zone; durations, and
times of day since midnight, are seconds. A frame holds whole ticks, of which microseconds come back exactly. Times that
were whole days, hours, minutes or seconds come back as such.
"""

import datetime
from typing import Any, NamedTuple

import numpy as np

from skdiffusion._utils.frames._columns import rounded

TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # a second
DAY = 86_400  # seconds
EPOCH = datetime.datetime(1970, 1, 1)


class Clock(NamedTuple):
    """The ticks of a column of times: how many are the unit of its numbers and a second, the least and the last."""

    per_unit: int
    second: int = 0  # for dates and periods, whose ticks are longer
    low: int = -(2**63) + 1  # the integer before marks a missing value
    high: int = 2**63 - 1

    @classmethod
    def of_points(cls, unit: str) -> "Clock":
        """Of points in time."""
        return cls(DAY * TICKS[unit], TICKS[unit])

    @classmethod
    def of_durations(cls, unit: str) -> "Clock":
        """Of durations."""
        return cls(TICKS[unit], TICKS[unit])

    @classmethod
    def of_day(cls, unit: str) -> "Clock":
        """Of times of day."""
        return cls(TICKS[unit], TICKS[unit], 0, DAY * TICKS[unit] - 1)

    @classmethod
    def of_dates(cls) -> "Clock":
        """Of dates, whose tick is a day in 32 bits."""
        return cls(1, 0, -(2**31), 2**31 - 1)

    def numbers(self, ticks: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Integers of ticks as numbers, NaN where they are missing."""
        return np.where(missing, np.nan, ticks / self.per_unit)

    def step(self, ticks: np.ndarray, missing: np.ndarray) -> int:
        """Ticks of the longest of a day, an hour, a minute, a second and so on that all times are multiples of."""
        known = ticks[~missing]
        lengths = [self.second * n for n in (DAY, 3600, 60, 1)] + [self.second // 10**k for k in (3, 6)]
        return next((n for n in lengths if n > 1 and len(known) and not (known % n).any()), 1)

    def ticks(self, numbers: np.ndarray, step: int) -> np.ndarray:
        """The nearest integers of ticks that are multiples of a step."""
        low, high = -(-self.low // step), self.high // step
        return rounded(numbers * (self.per_unit / step), low, high).astype(np.int64) * step


def time_number(value: Any) -> float | None:
    """A single point in time, duration or time of day as a number; None for anything else."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        moment = isinstance(value, np.datetime64)
        ticks = value.astype("datetime64[us]" if moment else "timedelta64[us]")
        clock = Clock.of_points("us") if moment else Clock.of_durations("us")
        return float(clock.numbers(ticks.astype(np.int64), np.isnat(value)))
    if not isinstance(value, (datetime.date, datetime.timedelta, datetime.time)):
        return None
    if isinstance(value, datetime.time):
        since = datetime.timedelta(hours=value.hour, minutes=value.minute, seconds=value.second)
        return since.total_seconds() + value.microsecond / 1e6
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, datetime.datetime):
        aware = value.tzinfo is not None
        plain = value.astimezone(datetime.UTC).replace(tzinfo=None) if aware else value
        return (plain - EPOCH) / datetime.timedelta(days=1)
    return float(value.toordinal() - EPOCH.toordinal())
