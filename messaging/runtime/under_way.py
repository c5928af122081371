"""Sent requests to a queue, whose answers are awaited together."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import TransportError
from messaging.readiness import readable

__all__ = ["PATIENCE", "UnderWay", "answered", "take"]

PATIENCE = 30.0
"""Seconds to wait for an answer, in addition to the requested wait of the queue."""

_Said = TypeVar("_Said")


class UnderWay(Generic[_Said]):
    """One request in flight; `file` is the number of the socket for its answer.

    A request that a botocore hook answered in place of the queue has a negative file: it can be
    read at once, but not selected on.

    asked  when it was sent, by the system's clock.
    """

    __slots__ = ("_said", "_steps", "_until", "asked", "file")

    def __init__(self, steps: Generator[int, None, _Said], wait: float = 0.0) -> None:
        """Send the request, which the queue may answer after `wait` seconds.

        Raises the transport's errors.
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
        """Read the answer, when `file` is readable; None: the request was sent again, with a new
        `file`.

        Raises the transport's errors.
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
        """True if this is no longer waited for. Its connection is closed, and `hear` raises."""
        if now < self._until:
            return False
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        return True


def answered(requests: Mapping[int, UnderWay[Any]], seconds: float) -> list[UnderWay[Any]]:
    """The readable requests among `requests`; waits for the first for at most `seconds`.

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
    """Remove `request` from `held`, by its file; None: another thread has done so.

    A connection is reused at once, so its number may belong to a newer request by now.
    """
    one = held.get(request.file)
    if one is None or one.request is not request:
        return None
    taken = held.pop(request.file, None)
    if taken is not None and taken is not one:
        held[request.file] = taken
        return None
    return taken
