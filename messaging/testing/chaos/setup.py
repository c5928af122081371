"""The setup of a scenario: consumers, events, and parts that a test may replace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from messaging.clock import Clock
from messaging.consuming.consumer import Consumer
from messaging.consuming.dispatch import Middleware
from messaging.event import Event
from messaging.testing.stepping import Steps
from messaging.transport import QueueTransport, TopicTransport

__all__ = ["Setup", "Effects", "Hire", "Parts"]

_T = TypeVar("_T")

Effects = Callable[[], Counter[tuple[str, str]]]
"""How often each event took effect, by service and event id."""

Hire = Callable[[Clock, Callable[[], None]], Sequence[Middleware]]
"""Creates the middleware of one process, given the scenario's clock and a check that raises once
the process has been killed: state shared with others must not be changed after that."""


def _same(part: _T) -> _T:
    return part


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Each takes a part of the library and returns its replacement.

    Plant a bug here to prove that the kit finds it.
    """

    topic: Callable[[TopicTransport], TopicTransport] = _same
    queue: Callable[[QueueTransport], QueueTransport] = _same
    steps: Callable[[Steps], Steps] = _same


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The participants of one scenario.

    consumers  create a service's consumer each time that a process starts; in the order of
               `services`.
    services   their classes.
    events     the published events; event number 3 has the id "event-3".
    hire       the middleware of one process.
    effects    the effects, if the consumers' own database knows them; otherwise successful handler
               runs are counted.
    once       whether an event may take effect only once in each service.
    close      called when the scenario has ended.
    """

    consumers: Sequence[Callable[[], Consumer]]
    services: Sequence[type[Consumer]]
    events: Sequence[Event]
    hire: Hire = lambda clock, check_alive: ()
    effects: Effects | None = None
    once: bool = False
    parts: Parts = Parts()
    close: Callable[[], None] = lambda: None
