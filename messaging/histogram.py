"""A histogram with fixed bounds: the number of values up to each bound, and their sum."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["AGES", "DURATIONS", "Histogram", "Read"]

DURATIONS: Sequence[float] = (
    *(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
    math.inf,
)
"""Upper bounds, in seconds, for durations of handlers and requests."""
AGES: Sequence[float] = (
    *(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0),
    *(21_600.0, 86_400.0, math.inf),
)
"""Upper bounds, in seconds, for waiting times of messages and ages of events."""


@dataclass(frozen=True, slots=True)
class Read:
    """A histogram at one moment: for each upper bound, the number of values up to it."""

    buckets: Sequence[tuple[float, int]]
    total: float
    """The sum of all values."""

    @property
    def count(self) -> int:
        """The number of values."""
        return self.buckets[-1][1]

    def __add__(self, other: Read) -> Read:
        """The sum of both; their bounds must be the same."""
        pairs = zip(self.buckets, other.buckets, strict=True)
        buckets = [(bound, one + two) for (bound, one), (_, two) in pairs]
        return Read(buckets, self.total + other.total)


class Histogram:
    """Counts values. If threads share it, hold a lock around `add`."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def read(self) -> Read:
        """The counts so far."""
        total, buckets = 0, []
        for bound, count in zip(self._bounds, tuple(self._counts), strict=True):
            total += count
            buckets.append((bound, total))
        return Read(buckets, self._sum)
