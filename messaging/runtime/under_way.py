"""Requests to a queue that have been sent, and whose answers are looked for together."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import TransportError
from messaging.readiness import readable

__all__ = ["PATIENCE", "UnderWay", "answered", "take"]

PATIENCE = 30.0
"""Seconds for which an answer is waited for, beside those that the queue was told to wait."""

_Said = TypeVar("_Said")


class UnderWay(Generic[_Said]):
    """One request under way; `file` is the number of the socket on which its answer comes.

    A request that was answered at once, by a hook of botocore's in place of the queue, has a file
    below 0: it can be heard, and not looked at.

    asked  when it was sent, by the machine's clock.
    """

    __slots__ = ("_said", "_steps", "_until", "asked", "file")

    def __init__(self, steps: Generator[int, None, _Said], wait: float = 0.0) -> None:
        """Sends the request, which the queue may answer after `wait` seconds.

        Raises what the transport raises.
        """
        self._steps: Generator[int, None, _Said] | None = steps
        self._said: list[_Said] = []
        self.file = -1
        try:
            self.file = next(steps)
        except StopIteration as end:
            self._said.append(end.value)
        self.asked = SYSTEM_CLOCK.monotonic()
        self._until = self.asked + wait + PATIENCE

    def hear(self) -> _Said | None:
        """What was said, when `file` can be read; None: it was sent again, see the new `file`.

        Raises what the transport raises.
        """
        if self._said:
            return self._said[0]
        if self._steps is None:
            raise TransportError(f"no answer in {PATIENCE:.0f} s", code="Timeout")
        try:
            self.file = next(self._steps)
        except StopIteration as end:
            said: _Said = end.value
            return said
        return None

    def overdue(self, now: float) -> bool:
        """True: nobody waits for this any more. Its connection is closed, and `hear` raises."""
        if now < self._until:
            return False
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        return True


def answered(requests: Mapping[int, UnderWay[Any]], seconds: float) -> list[UnderWay[Any]]:
    """Those of `requests` that can be heard; waits for the first for at most `seconds`.

    requests  by their files.
    """
    found = readable(tuple(requests), seconds)
    if found:
        return [requests[file] for file in found]
    now = SYSTEM_CLOCK.monotonic()
    return [one for one in requests.values() if one.overdue(now)]


class _Holds(Protocol):
    @property
    def request(self) -> UnderWay[Any]: ...


_Held = TypeVar("_Held", bound=_Holds)


def take(held: dict[int, _Held], request: UnderWay[Any]) -> _Held | None:
    """Take `request` out of `held`, by its file; None: another thread has done so.

    A connection is used again at once, so that its number may stand for a newer request by now.
    """
    one = held.get(request.file)
    if one is None or one.request is not request:
        return None
    taken = held.pop(request.file, None)
    if taken is not None and taken is not one:
        held[request.file] = taken
        return None
    return taken
