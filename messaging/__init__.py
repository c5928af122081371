"""The public names of the library, each loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from messaging.connecting import connect as connect
    from messaging.consuming.batch import Batch as Batch
    from messaging.consuming.consumer import Consumer as Consumer
    from messaging.consuming.consumer import handles as handles
    from messaging.envelope import Envelope as Envelope
    from messaging.errors import MessagingError as MessagingError
    from messaging.errors import PublishError as PublishError
    from messaging.event import Event as Event
    from messaging.event import EventData as EventData
    from messaging.event import downcast as downcast
    from messaging.event import upcast as upcast
    from messaging.memory import MemoryBroker as MemoryBroker
    from messaging.outcome import Circuit as Circuit
    from messaging.outcome import Discard as Discard
    from messaging.outcome import RateLimit as RateLimit
    from messaging.outcome import Reject as Reject
    from messaging.outcome import Retry as Retry
    from messaging.outcome import RetryPolicy as RetryPolicy
    from messaging.personal import Personal as Personal
    from messaging.projection import Projection as Projection
    from messaging.publishing.publisher import Publisher as Publisher
    from messaging.publishing.results import Published as Published
    from messaging.publishing.results import PublishResult as PublishResult
    from messaging.runtime import Worker as Worker
    from messaging.settings import Settings as Settings
    from messaging.topology import Topology as Topology
    from messaging.transport import Delivery as Delivery

_HOME: Mapping[str, str] = {
    # what happened, and who may see what of it
    "Event": "messaging.event",
    "Projection": "messaging.projection",
    "EventData": "messaging.event",
    "upcast": "messaging.event",
    "downcast": "messaging.event",
    "Personal": "messaging.personal",
    # a service
    "Consumer": "messaging.consuming.consumer",
    "handles": "messaging.consuming.consumer",
    "Batch": "messaging.consuming.batch",
    "Envelope": "messaging.envelope",
    "Delivery": "messaging.transport",
    # what becomes of a message
    "Retry": "messaging.outcome",
    "Reject": "messaging.outcome",
    "Discard": "messaging.outcome",
    "RetryPolicy": "messaging.outcome",
    "Circuit": "messaging.outcome",
    "RateLimit": "messaging.outcome",
    # publishing
    "Publisher": "messaging.publishing.publisher",
    "Published": "messaging.publishing.results",
    "PublishResult": "messaging.publishing.results",
    # running
    "Worker": "messaging.runtime",
    "Topology": "messaging.topology",
    "MemoryBroker": "messaging.memory",
    "connect": "messaging.connecting",
    "Settings": "messaging.settings",
    # errors
    "MessagingError": "messaging.errors",
    "PublishError": "messaging.errors",
}

__all__ = [
    "Batch",
    "Circuit",
    "Consumer",
    "Delivery",
    "Discard",
    "Envelope",
    "Event",
    "EventData",
    "MemoryBroker",
    "MessagingError",
    "Personal",
    "Projection",
    "PublishError",
    "PublishResult",
    "Published",
    "Publisher",
    "RateLimit",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Settings",
    "Topology",
    "Worker",
    "connect",
    "handles",
    "downcast",
    "upcast",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that a producer does not load the worker, and nobody loads boto3
    # unless it is used.
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'messaging' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
