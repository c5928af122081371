"""The public names of the library, each loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from messaging.connecting import connect
    from messaging.consuming.batch import Batch
    from messaging.consuming.consumer import Consumer, handles
    from messaging.envelope import Envelope
    from messaging.errors import MessagingError, PublishError
    from messaging.event import Event, EventData, downcast, upcast
    from messaging.memory import MemoryBroker
    from messaging.outcome import Circuit, Discard, RateLimit, Reject, Retry, RetryPolicy
    from messaging.personal import Personal
    from messaging.projection import Projection
    from messaging.publishing.publisher import Publisher
    from messaging.publishing.results import Published, PublishResult
    from messaging.runtime import Worker
    from messaging.settings import Settings
    from messaging.topology import Topology
    from messaging.transport import Delivery

_NAMES: Mapping[str, tuple[str, ...]] = {
    # what happened, and who may see what of it
    "event": ("Event", "EventData", "upcast", "downcast"),
    "projection": ("Projection",),
    "personal": ("Personal",),
    # a service
    "consuming.consumer": ("Consumer", "handles"),
    "consuming.batch": ("Batch",),
    "envelope": ("Envelope",),
    "transport": ("Delivery",),
    # what becomes of a message
    "outcome": ("Retry", "Reject", "Discard", "RetryPolicy", "Circuit", "RateLimit"),
    # publishing
    "publishing.publisher": ("Publisher",),
    "publishing.results": ("Published", "PublishResult"),
    # running
    "runtime": ("Worker",),
    "topology": ("Topology",),
    "memory": ("MemoryBroker",),
    "connecting": ("connect",),
    "settings": ("Settings",),
    "errors": ("MessagingError", "PublishError"),
}
"""Each public name, by the module that it is in."""

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
    home = next((home for home, names in _NAMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'messaging' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"messaging.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
