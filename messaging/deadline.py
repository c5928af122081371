"""Time limits for a whole publish, including its look-ups and uploads.

The publisher sets `CURRENT` around each call of a codec or a transport. A codec, store or transport
that may wait checks it for the remaining time. One that does not check is not limited.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, ParamSpec, TypeVar

from messaging.clock import Clock

__all__ = ["CURRENT", "Deadline", "within"]

_Asked = ParamSpec("_Asked")
_Said = TypeVar("_Said")


class Deadline:
    """A deadline: `seconds` from now by `clock`."""

    __slots__ = ("_clock", "_until", "seconds")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._until = clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        left = self._until - self._clock.monotonic()
        return left if left > 0.0 else 0.0


CURRENT: Final[ContextVar[Deadline | None]] = ContextVar("messaging_deadline", default=None)
"""The deadline of the current call in this thread or task; None if there is no limit."""


def within(
    deadline: Deadline,
    call: Callable[_Asked, _Said],
    *arguments: _Asked.args,
    **keywords: _Asked.kwargs,
) -> _Said:
    """Call `call` with `deadline` as `CURRENT`, and return its result."""
    before = CURRENT.set(deadline)
    try:
        return call(*arguments, **keywords)
    finally:
        CURRENT.reset(before)
