"""Chooses how many receives of one queue are under way at once, from what they bring."""

from __future__ import annotations

from messaging.window import RequestWindow

__all__ = ["MOST_RECEIVES", "ReceiveWindow"]

MOST_RECEIVES = 64
"""Never more. Each has a connection of its own; at 30 ms an answer they bring 21,000 messages a
second."""


class ReceiveWindow:
    """The limit of receives under way. It keeps no clock, and knows no queue.

    Full answers move it as `RequestWindow` says: it grows while they are waited for and more
    receives bring more of them, and shrinks where handling is the bound. It is never higher than
    the number of full answers since the last empty one, so that a burst costs no more empty
    receives than full ones. An answer that is not full takes one off, an empty one halves it, and
    an error ends it: 0 says that one receive after the other is enough.
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
        """One full receive took long: there may be more."""
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
        """A receive for `asked` messages brought `count`.

        out        receives that were under way when it was sent, itself included.
        under_way  the same, when its answer came.
        took       seconds from when it was sent until the answer was found.
        unseen     seconds for which nobody had looked for it before.
        waited     seconds for which there was nothing else to do before it came.
        made       seconds that it took to handle what the last one brought.
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
        if not waited or under_way >= window.limit:  # else it is the room in hand that is the bound
            window.answered(took=took, unseen=unseen, waited=waited, made=made, out=out)
            window.limit = min(window.limit, self._full)

    def stop(self) -> None:
        """An error, or answers that come quickly: one after the other."""
        self._ended = True
        self._full = 0
        self._window.fall(1)
