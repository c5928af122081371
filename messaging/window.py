"""Chooses the number of concurrent requests from how long answers take."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import NamedTuple

__all__ = ["FAR", "FIRST", "MOST", "RequestWindow"]

FIRST = 4
"""Number of publish requests under way at the start, and while answers are quick."""
MOST = 128
"""Maximum number of publish requests. Each has its own connection, and up to 256 KiB in memory:
with a latency of 30 ms this allows 40,000 events a second, about what one process can encode."""
FAR = 0.002
"""Seconds from which an answer's time counts as latency. Below that it is CPU time, and more
requests would only take turns."""
SAMPLES = 12
"""Number of answers whose median decides that the last growth gained nothing. One in ten may take
many times as long as the others."""
WORTH = 0.125
"""The share of the growth that must show up as throughput: with twice the requests, an eighth more
answers a second. A server that works sequentially gains nothing; if the latency varies, the samples
may show less than the truth."""
UNSEEN = 0.001
"""Seconds for which an answer may have been available unnoticed. If it may have been longer, it
only counts as a sample if it was quick anyway."""
HOLD = 16
"""Answers per request under way until growing is tried again."""


class _Level(NamedTuple):
    """Observations at one limit: requests under way, and seconds per answer."""

    limit: int
    out: float
    took: float

    def less_than(self, out: float, took: float) -> bool:
        """Whether those give enough more answers a second."""
        return out / took >= self.out / self.took * (1 + (out / self.out - 1) * WORTH)


class RequestWindow:
    """The limit of requests under way. It has no clock: the caller reports the durations.

    It grows by as many requests as could have been made while waiting for an answer, until it has
    doubled. Then it waits for answers to the new ones. A distant server answers them as fast as the
    others, and the limit may double again. A busy one only queues them: if they did not bring
    `WORTH` more answers a second, the limit becomes a quarter less than it was before it grew, and
    stays there for a while (`HOLD`). It is a quarter less because samples are sometimes misleading,
    and otherwise the limit would only ever rise. A few answers are enough to continue, so that no
    time is lost with distant queues; turning back takes `SAMPLES`.

    It shrinks by one after as many answers as are under way have arrived before they were waited
    for. A temporary refusal halves it: sending more to a topic that refuses requests makes things
    worse.

    most, first  the upper and the lower bound of the limit.
    """

    __slots__ = ("_before", "_first", "_hold", "_seen", "_unwaited", "_wanted", "limit", "most")

    def __init__(self, most: int = MOST, first: int = FIRST) -> None:
        self.most = most
        self._first = min(first, most)
        self.limit = self._first
        self._unwaited = 0
        self._before: _Level | None = None
        """The limit it grew from. None: it is not growing."""
        self._seen: deque[tuple[int, float]] = deque(maxlen=SAMPLES)
        """Recent observations: requests under way, and seconds until one of them was answered."""
        self._hold = 0
        self._wanted = 0
        """Requests that could have been made while last waiting for an answer."""

    def answered(self, *, took: float, unseen: float, waited: float, made: float, out: int) -> None:
        """Record that one request was answered; everything but `out` is in seconds.

        took    from sending it until its answer was noticed.
        unseen  before that, during which nothing checked for it.
        waited  for its answer, with as many requests under way as the limit allows.
        made    to prepare the last request.
        out     requests under way when it was sent, including itself.
        """
        far = took >= FAR
        if far:
            self._see(took, out, exact=unseen <= UNSEEN)
        if far and waited > made:
            self._unwaited = 0
            self._wanted = self.limit if waited >= made * self.limit else int(waited / made)
        elif waited:
            self._unwaited = 0
        else:
            self._unwaited += 1
            if self._unwaited >= self.limit:
                self._unwaited = self._wanted = 0
                self.limit = max(self._first, self.limit - 1)
        if self._wanted and not self._hold:
            self._grow()

    def refused(self) -> None:
        """Record that a request was temporarily refused."""
        self.fall(max(self._first, self.limit // 2))

    def fall(self, limit: int) -> None:
        """Conditions have changed: continue from `limit`."""
        self.limit = limit
        self._hold = self._wanted = 0
        self._before = None
        self._seen.clear()

    def _grow(self) -> None:
        if self._before is None:
            if not self._seen:
                return
            self._before = self._level()
            self._seen.clear()
        twice = 2 * self._before.limit
        most = min(self.most, twice)
        if self.limit < most:
            self.limit, self._wanted = min(most, self.limit + self._wanted), 0

    def _see(self, took: float, out: int, *, exact: bool) -> None:
        """Judge the growth, as soon as enough is known."""
        before = self._before
        if before is not None and self.limit < before.limit:
            before = self._before = None  # it has shrunk since
        if before is None:
            if exact:
                self._seen.append((out, took))
                self._hold = max(0, self._hold - 1)
        elif 2 * out > 3 * before.limit:  # with fewer, the answers are too similar
            if not exact and not before.less_than(out, took):
                return
            self._seen.append((out, took))
            now = self._level()
            if not before.less_than(now.out, now.took):
                if len(self._seen) == SAMPLES:
                    self.fall(max(self._first, before.limit * 3 // 4))
                    self._hold = HOLD * self.limit
            elif self.limit >= 2 * before.limit and len(self._seen) >= min(SAMPLES, before.limit):
                self._before = now
                self._seen.clear()

    def _level(self) -> _Level:
        outs, tooks = zip(*self._seen, strict=True)
        return _Level(self.limit, median(outs), median(tooks))
