"""Chooses how many requests are under way at once, from how long answers take."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import NamedTuple

__all__ = ["FAR", "FIRST", "MOST", "RequestWindow"]

FIRST = 4
"""Publish requests under way at the start, and where answers come quickly."""
MOST = 128
"""Publish requests, never more. Each has a connection of its own, and up to 256 KiB in memory: at
30 ms an answer they are 40,000 events a second, about what one process can encode."""
FAR = 0.002
"""Seconds of an answer from which on it is the way that takes so long. Less, and it is the
processor: requests more would only take turns on it."""
SAMPLES = 12
"""Answers by whose median it is judged that the last growth brought nothing. One in ten may take
many times as long as the others."""
WORTH = 0.125
"""The part of what was added that has to come of it: with twice the requests under way, an eighth
more answers a second. From a server that does one thing after the other nothing comes; where the
way varies, the samples may say less than is true."""
UNSEEN = 0.001
"""Seconds for which an answer may have been there without being looked for. If it may have been
longer, it is one of the samples only if it was quick even so."""
HOLD = 16
"""Answers for each request under way, until it is tried again whether more would bring more."""


class _Level(NamedTuple):
    """What was seen at a limit: requests under way, and seconds of an answer."""

    limit: int
    out: float
    took: float

    def less_than(self, out: float, took: float) -> bool:
        """Whether those bring enough more answers a second."""
        return out / took >= self.out / self.took * (1 + (out / self.out - 1) * WORTH)


class RequestWindow:
    """The limit of requests under way. It keeps no clock: whoever asks tells it what took how long.

    It grows by as many requests as could have been made while an answer was waited for, until there
    are twice as many as before. Then it waits for answers to the new ones. A far server answers
    them as soon as the others, and the limit may double again. A busy one only lets them queue: if
    they did not bring `WORTH` more answers a second, the limit is a quarter less than it was before
    it grew, and stays there for a while (`HOLD`). It is a quarter less because the samples mislead
    now and then, and otherwise the limit would only ever rise. A few answers are enough to go on,
    so that no time is lost with far queues; to turn back takes `SAMPLES`.

    It shrinks by one when so many answers as are under way were there before anybody waited for
    them. A request that the topic did not take for now halves it: to ask a topic for more that
    turns requests away makes it worse.

    most, first  the limit is never higher, and never lower.
    """

    __slots__ = ("_before", "_first", "_hold", "_seen", "_unwaited", "_wanted", "limit", "most")

    def __init__(self, most: int = MOST, first: int = FIRST) -> None:
        self.most = most
        self._first = min(first, most)
        self.limit = self._first
        self._unwaited = 0
        self._before: _Level | None = None
        """What it grew from. None: it is not growing."""
        self._seen: deque[tuple[int, float]] = deque(maxlen=SAMPLES)
        """Of late: requests under way, and seconds until one of them was answered."""
        self._hold = 0
        self._wanted = 0
        """Requests that could have been made while it was last waited for an answer."""

    def answered(self, *, took: float, unseen: float, waited: float, made: float, out: int) -> None:
        """One request was answered; all but `out` in seconds.

        took    from when it was sent until the answer was found.
        unseen  for which nobody had looked for it before.
        waited  for its answer, with as many requests under way as the limit allows.
        made    to make the last request.
        out     requests that were under way when it was sent, itself included.
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
        """A request was not taken for now."""
        self.fall(max(self._first, self.limit // 2))

    def fall(self, limit: int) -> None:
        """Things are not as they were: go on from `limit`."""
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
        """Judges the growth, as soon as enough is known."""
        before = self._before
        if before is not None and self.limit < before.limit:
            before = self._before = None  # it has shrunk since
        if before is None:
            if exact:
                self._seen.append((out, took))
                self._hold = max(0, self._hold - 1)
        elif 2 * out > 3 * before.limit:  # of fewer the answers are too much alike
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
