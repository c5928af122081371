"""Timers in a link's thread that can be forgotten one by one, or all together."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from messaging.rabbitmq.link import Link

__all__ = ["Timers"]


class Timers:
    """Each has a number; 0 is none. In the link's thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._numbers = count(1)
        self._running: dict[int, object] = {}

    def later(self, seconds: float, work: Callable[[], None]) -> int:
        """Run `work` after `seconds`; the timer's number."""
        number = next(self._numbers)

        def run() -> None:
            del self._running[number]
            work()

        self._running[number] = self._link.later(seconds, run)
        return number

    def forget(self, number: int) -> None:
        """This one, if it has not run, does not run."""
        found = self._running.pop(number, None)
        if found is not None:
            self._link.forget(found)

    def forget_all(self) -> None:
        """None of them runs."""
        for number in list(self._running):
            self.forget(number)
