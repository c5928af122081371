"""Time limits that hold for a whole publish, its look-ups and uploads included.

The publisher sets `CURRENT` around each call of a codec or a transport. A codec, a store or a
transport that can wait looks there for the time that is left. One that does not look is not limited
by it.
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
    """The moment at which somebody stops waiting: `seconds` from now by `clock`."""

    __slots__ = ("_clock", "_until", "seconds")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._until = clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; 0 when it has passed."""
        left = self._until - self._clock.monotonic()
        return left if left > 0.0 else 0.0


CURRENT: Final[ContextVar[Deadline | None]] = ContextVar("messaging_deadline", default=None)
"""Of the call under way in this thread or task; None where nobody set a limit."""


def within(
    deadline: Deadline,
    call: Callable[_Asked, _Said],
    *arguments: _Asked.args,
    **keywords: _Asked.kwargs,
) -> _Said:
    """What `call` returns, which is told of `deadline`."""
    before = CURRENT.set(deadline)
    try:
        return call(*arguments, **keywords)
    finally:
        CURRENT.reset(before)
