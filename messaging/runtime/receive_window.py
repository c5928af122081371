"""Chooses how many receives of one queue are in flight at the same time, from their results."""

from __future__ import annotations

from messaging.window import RequestWindow

__all__ = ["MOST_RECEIVES", "ReceiveWindow"]

MOST_RECEIVES = 64
"""The maximum. Each uses a connection; with a latency of 30 ms they bring 21,000 messages a
second."""


class ReceiveWindow:
    """The limit of receives in flight. It has no clock and knows no queue.

    Full answers move it as in `RequestWindow`: it grows while the worker waits for them and more
    receives bring more of them, and shrinks when handling is the bottleneck. It never exceeds the
    number of full answers since the last empty one, so that a burst costs no more empty receives
    than full ones. An answer that is not full lowers it by one, an empty one halves it, and an
    error resets it: 0 means that one receive at a time is enough.
    """

    __slots__ = ("_ended", "_full", "_window")

    def __init__(self) -> None:
        self._window = RequestWindow(MOST_RECEIVES, first=1)
        self._ended = True
        self._full = 0

    @property
    def limit(self) -> int:
        return 0 if self._ended else self._window.limit

    def start(self) -> None:
        """Start with several: a full receive was slow, and there may be more messages."""
        self._ended = False
        self._full += 1

    def brought(
        self,
        count: int,
        *,
        asked: int,
        out: int,
        under_way: int,
        took: float,
        unseen: float,
        waited: float,
        made: float,
    ) -> None:
        """Record that a receive for `asked` messages returned `count`.

        out        receives in flight when it was sent, including itself.
        under_way  the same, when its answer arrived.
        took       seconds from when it was sent until the answer was noticed.
        unseen     seconds before that during which nothing checked for it.
        waited     seconds for which there was nothing else to do before it arrived.
        made       seconds that it took to handle the messages of the previous one.
        """
        window = self._window
        if not count:
            self._full = 0
            self._ended = window.limit <= 1
            window.fall(max(1, window.limit // 2))
            return
        if count < asked:
            window.limit = max(1, window.limit - 1)
            return
        self._full += 1
        if not waited or under_way >= window.limit:  # otherwise the free room is the limit
            window.answered(took=took, unseen=unseen, waited=waited, made=made, out=out)
            window.limit = min(window.limit, self._full)

    def stop(self) -> None:
        """Reset to one receive at a time: after an error, or if answers are quick."""
        self._ended = True
        self._full = 0
        self._window.fall(1)
