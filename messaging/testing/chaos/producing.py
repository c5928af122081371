"""How a scenario's events are published: directly, through a buffer, or through an outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from messaging.clock import Clock
from messaging.errors import PublishError
from messaging.event import Event
from messaging.outbox import Relay, SqlOutbox, create
from messaging.outbox.claims import Claims
from messaging.publishing.publisher import Publisher
from messaging.sql.database import Database
from messaging.sql.opening import memory_sqlite
from messaging.testing.chaos.wire import Killed
from messaging.transport import Failure, Outgoing, TopicTransport

__all__ = ["Buffered", "Direct", "Events", "Outboxed"]

Events = Sequence[tuple[str, Event]]
"""Each with its id."""
SOURCE = "/chaos"
AT_ONCE = 9
"""Events put into a buffer before it is flushed: ten would already be sent by another thread."""


class Direct:
    """A `Publisher` that sends requests directly."""

    def __init__(self, topic: TopicTransport, clock: Clock) -> None:
        self._publisher = Publisher(topic, source=SOURCE, clock=clock, in_flight=1)

    def publish(self, events: Events) -> dict[str, str]:
        """The ids of events that were not accepted, each with a code."""
        return _published(self._publisher, events)

    def relay(self) -> bool:
        """Send waiting events, if any."""
        return False

    @property
    def waits(self) -> bool:
        """True while accepted events are still to be sent."""
        return False

    def close(self) -> None:
        self._publisher.close()


class Buffered(Direct):
    """A buffered publisher, flushed before the scenario continues, because it has its own
    thread."""

    def __init__(self, topic: TopicTransport, clock: Clock) -> None:
        super().__init__(_Elsewhere(topic), clock)
        # Failures are in the events' own futures.
        self._buffer = self._publisher.buffered(linger=10, on_failure=lambda told: None)

    def publish(self, events: Events) -> dict[str, str]:
        refused: dict[str, str] = {}
        for start in range(0, len(events), AT_ONCE):
            part = events[start : start + AT_ONCE]
            waiting = [(name, self._buffer.publish(event, id=name)) for name, event in part]
            self._buffer.flush()
            for name, pending in waiting:
                if pending.exception() is not None:
                    refused[name] = "refused"
        return refused

    def close(self) -> None:
        self._buffer.close()
        super().close()


class _Elsewhere:
    """The topic, for a publisher that calls it in another thread."""

    def __init__(self, topic: TopicTransport) -> None:
        self._topic = topic

    @property
    def max_bytes(self) -> int:
        return self._topic.max_bytes

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        return self._topic.publish(batch)

    def close(self) -> None:
        self._topic.close()


class Outboxed:
    """A table in an SQLite database in memory, and a relay that may be killed."""

    def __init__(self, topic: TopicTransport, clock: Clock, tell: Callable[[str], None]) -> None:
        self._topic = topic
        self._clock = clock
        self._tell = tell
        self._connect = partial(memory_sqlite, f"chaos-outbox-{uuid4().hex}")
        self._writer = self._connect()
        self._claims = Claims(Database(self._connect, clock=clock))
        create(self._writer)
        self._relay: Relay | None = None

    @property
    def waits(self) -> bool:
        return self._claims.status().pending > 0

    def publish(self, events: Events) -> dict[str, str]:
        """In one transaction: committed events are accepted."""
        self._writer.execute("BEGIN IMMEDIATE")
        publisher = Publisher(SqlOutbox(self._writer), source=SOURCE, clock=self._clock)
        refused = _published(publisher, events)
        self._writer.execute("COMMIT")
        return refused

    def relay(self) -> bool:
        if self._relay is None:
            self._relay = Relay(self._connect, self._topic, clock=self._clock, batch=25)
        try:
            return self._relay.step() > 0
        except Killed:
            self._relay.close()
            self._relay = None
            self._tell("the relay is killed")
            return True

    def close(self) -> None:
        if self._relay is not None:
            self._relay.close()
        self._writer.close()


def _published(publisher: Publisher, events: Events) -> dict[str, str]:
    ids = iter([name for name, _ in events])
    try:
        publisher.publish_many([event for _, event in events], id=lambda _event: next(ids))
    except PublishError as error:
        result: Any = error.result
        left = {name: "not reached" for name, _ in events[result.consumed :]}
        return {one.id: one.code for one in result.failed} | left
    return {}
