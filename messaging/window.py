"""Chooses how many requests are under way at once, from how long answers take."""

from __future__ import annotations

__all__ = ["FAR", "FIRST", "MOST", "RequestWindow"]

FIRST = 4
"""Publish requests under way at the start, and where answers come quickly."""
MOST = 128
"""Publish requests, never more. Each has a connection of its own, and up to 256 KiB in memory: at
30 ms an answer they are 40,000 events a second, about what one process can encode."""
FAR = 0.002
"""Seconds of an answer from which on it is the way that takes so long. Less, and it is the
processor: requests more would only take turns on it."""


class RequestWindow:
    """The limit of requests under way. It keeps no clock: whoever asks tells it what took how long.

    It grows by as many requests as could have been made while an answer was waited for, and at most
    doubles with one answer. It shrinks by one when so many answers as are under way were there
    before anybody waited for them. A request that the topic did not take for now halves
    it: to ask a topic for more that turns requests away makes it worse.

    most, first  the limit is never higher, and never lower.
    """

    __slots__ = ("_first", "_unwaited", "limit", "most")

    def __init__(self, most: int = MOST, first: int = FIRST) -> None:
        self.most = most
        self._first = min(first, most)
        self.limit = self._first
        self._unwaited = 0

    def answered(self, *, took: float, waited: float, made: float) -> None:
        """One request was answered; all in seconds.

        took    from when it was sent.
        waited  for its answer, with as many requests under way as the limit allows.
        made    to make the last request.
        """
        if waited > made and took >= FAR:
            more = self.limit if waited >= made * self.limit else int(waited / made)
            self.limit = min(self.most, self.limit + more)
            self._unwaited = 0
        elif waited:
            self._unwaited = 0
        else:
            self._unwaited += 1
            if self._unwaited >= self.limit:
                self._unwaited = 0
                self.limit = max(self._first, self.limit - 1)

    def refused(self) -> None:
        """A request was not taken for now."""
        self.limit = max(self._first, self.limit // 2)
