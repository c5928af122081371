"""A topic that records published events and sends nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from messaging.codec import Codec, JsonCodec
from messaging.consuming.consumer import Consumer
from messaging.envelope import Envelope
from messaging.event import Event
from messaging.projection import EVERYONE
from messaging.transport import Failure, Outgoing

__all__ = ["Recorded", "RecordingTopic"]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One copy, or one event reassembled from its copies.

    Args:
        audience: the services it is for; ("*",) is every service that handles it.
        envelope: id, type, version, time and so on.
        data: the sent fields, as JSON data.

    Example:
        ```python
        from messaging.testing import RecordingTopic

        topic = RecordingTopic()
        with Publisher(topic, source="/cadastro") as publisher:
            publisher.publish(ana)
        (copy,) = topic.copies_for("marketing")
        assert (copy.type, copy.data["nome"]) == ("aluno.cadastrado", "Ana")
        ```
    """

    audience: tuple[str, ...]
    envelope: Envelope
    data: dict[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        return self.envelope.id

    @property
    def type(self) -> str:
        return self.envelope.type


class RecordingTopic:
    """A `TopicTransport` for tests of a producer.

    It only shows what is sent: for an event with projections, the fields of its views; for an event
    that every view declined, nothing.

    Args:
        max_bytes: maximum size of a request.
        codec: reads message bodies; `JsonCodec()` by default. Use the producer's codec.

    Example:
        ```python
        from messaging.testing import RecordingTopic

        topic = RecordingTopic()
        Publisher(topic, source="/cadastro").publish(ana)
        assert [aluno.data["nome"] for aluno in topic.published(AlunoCadastrado)] == ["Ana"]
        assert not topic.copies_for("financeiro")
        ```
    """

    def __init__(self, *, max_bytes: int = 262_144, codec: Codec | None = None) -> None:
        self._max_bytes = max_bytes
        self._codec = codec or JsonCodec()
        self._copies: list[Recorded] = []
        self._lock = threading.Lock()

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Record `batch`; everything is accepted.

        See `TopicTransport.publish`.
        """
        read = [self._read(message) for message in batch]
        with self._lock:
            self._copies += read
        return ()

    def close(self) -> None:
        """Do nothing; recorded messages are kept."""

    @property
    def copies(self) -> tuple[Recorded, ...]:
        """All messages, in the order in which they were sent."""
        with self._lock:
            return tuple(self._copies)

    @property
    def events(self) -> tuple[Recorded, ...]:
        """Every event once, with the data of all its copies."""
        events: dict[str, Recorded] = {}
        for copy in self.copies:
            known = events.get(copy.id)
            events[copy.id] = (
                copy
                if known is None
                else Recorded(
                    audience=tuple(dict.fromkeys(known.audience + copy.audience)),
                    envelope=known.envelope,
                    data=known.data | copy.data,
                )
            )
        return tuple(events.values())

    def published(self, event: type[Event]) -> tuple[Recorded, ...]:
        """The events of one class.

        Args:
            event: the event class.
        """
        return tuple(one for one in self.events if one.type == event.event_type)

    def copies_for(self, service: str | type[Consumer]) -> tuple[Recorded, ...]:
        """The copies that a service would receive.

        For a consumer class, only events that it handles; for a name, all that are addressed to it.

        Args:
            service: the name of a service.
        """
        handled = None if isinstance(service, str) else service.handlers
        name = service if isinstance(service, str) else service.service
        return tuple(
            copy
            for copy in self.copies
            if {EVERYONE, name} & set(copy.audience) and (handled is None or copy.type in handled)
        )

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._copies.clear()

    def _read(self, message: Outgoing) -> Recorded:
        envelope = self._codec.decode(message.body)
        data = envelope.data if isinstance(envelope.data, dict) else {}
        audience = message.attributes.get("audience")
        return Recorded(
            audience=audience.strings if audience else (), envelope=envelope, data=dict(data)
        )
