"""Injects faults between a caller and the in-process broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

from messaging.errors import TransportError
from messaging.transport import Failure

__all__ = [
    "FaultScript",
    "Faults",
    "Operation",
    "OperationName",
    "Planned",
    "asked",
    "guarded",
]

OperationName = Literal[
    "publish", "deliver", "receive", "delete", "change_visibility", "dead_letter", "depth"
]
"""The methods of the transports; "deliver" is SNS handing one message to one queue."""

_Entry = TypeVar("_Entry")
_Answer = TypeVar("_Answer")


class Operation(NamedTuple):
    """One request: its name, its topic or queue, and its number of entries.

    Args:
        name: the kind of request.
        target: the name of the topic or queue.
        entries: the number of entries.
        stage: "before" it is carried out, or "after", when the response is on its way.

    Example:
        ```python
        from messaging.memory import Operation

        asked: list[Operation] = []
        broker = MemoryBroker(topology, faults=asked.append)  # append returns None: no fault
        with Publisher(broker.topic(), source="/cadastro") as publisher:
            publisher.publish(ana)
        assert (asked[0].name, asked[0].entries, asked[0].stage) == ("publish", 1, "before")
        ```
    """

    name: OperationName
    target: str
    entries: int
    stage: Literal["before", "after"]


Faults = Callable[[Operation], Sequence[Failure] | None]
"""Called before and after each request, without holding locks and from any thread.

If it raises `TransportError` before, nothing is done; if it returns failures, these entries are
refused. If it raises `TransportError` after, the response is lost although everything was done; if
it returns failures, these entries are reported as failed although they were done. It may sleep,
which simulates latency.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A fault for the next `times` requests."""

    name: OperationName
    target: str | None
    stage: Literal["before", "after"]
    error: TransportError | None
    failures: tuple[Failure, ...]
    times: int


class FaultScript:
    """Faults in the order in which they were added, then those of `otherwise`."""

    def __init__(self, otherwise: Faults | None = None) -> None:
        self._otherwise = otherwise
        self._planned: list[Planned] = []
        self._lock = threading.Lock()

    @property
    def idle(self) -> bool:
        """True if there can be no faults, so it need not be called."""
        return self._otherwise is None and not self._planned

    def add(self, planned: Planned) -> None:
        with self._lock:
            self._planned.append(planned)

    def __call__(self, operation: Operation) -> Sequence[Failure] | None:
        planned = self._next(operation)
        if planned is None:
            return None if self._otherwise is None else self._otherwise(operation)
        if planned.error is not None:
            # A new one each time: an exception that is raised twice accumulates tracebacks.
            error = planned.error
            raise type(error)(str(error), code=error.code, retryable=error.retryable)
        return planned.failures

    def _next(self, operation: Operation) -> Planned | None:
        with self._lock:
            for place, planned in enumerate(self._planned):
                if planned.name == operation.name and planned.target in (None, operation.target):
                    if planned.stage != operation.stage:
                        return None  # the first match is for the other stage of this request
                    if planned.times > 1:
                        self._planned[place] = replace(planned, times=planned.times - 1)
                    else:
                        del self._planned[place]
                    return planned
        return None


def guarded(
    faults: FaultScript,
    name: OperationName,
    target: str,
    entries: Sequence[_Entry],
    act: Callable[[Sequence[_Entry]], Sequence[Failure]],
) -> Sequence[Failure]:
    """`act(entries)` with faults before and after it; failures by their index in `entries`.

    Without entries there is no request, and so no faults.
    """
    if not entries:
        return ()
    if faults.idle:
        return act(entries)
    refused = _within(faults(Operation(name, target, len(entries), "before")), len(entries))
    places = [place for place in range(len(entries)) if place not in refused]
    failures = act([entries[place] for place in places]) if places else ()
    answer = dict(refused)
    answer.update((places[one.index], one._replace(index=places[one.index])) for one in failures)
    lost = _within(faults(Operation(name, target, len(entries), "after")), len(entries))
    return [*{**lost, **answer}.values()]


def asked(
    faults: FaultScript, name: OperationName, target: str, entries: int, act: Callable[[], _Answer]
) -> _Answer:
    """`act()` with faults before and after it, for a request without a batch of entries."""
    if faults.idle:
        return act()
    faults(Operation(name, target, entries, "before"))
    answer = act()
    faults(Operation(name, target, entries, "after"))
    return answer


def _within(failures: Sequence[Failure] | None, entries: int) -> dict[int, Failure]:
    return {one.index: one for one in failures or () if 0 <= one.index < entries}
