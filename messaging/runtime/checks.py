"""Checks a worker's arguments, before it makes any request."""

from __future__ import annotations

from collections.abc import Sequence

from messaging.consuming.consumer import Consumer
from messaging.errors import ConfigurationError
from messaging.runtime.shared_rate import must_be_kept
from messaging.stores import RateStore

__all__ = ["check_worker"]


def check_worker(
    consumers: Sequence[Consumer],
    concurrency: int,
    prefetch: int | None,
    wait: float,
    drain: float,
    rates: RateStore | None,
) -> None:
    """Raise `ConfigurationError` if the arguments are invalid."""
    if not consumers:
        raise ConfigurationError("Worker(...) needs at least one consumer")
    seen: set[str] = set()
    for consumer in consumers:
        if isinstance(consumer, type):
            name = consumer.__name__
            raise ConfigurationError(f"Worker({name}) takes a consumer, not its class: {name}()")
        if not consumer.handlers:
            raise ConfigurationError(
                f"{type(consumer).__qualname__} handles nothing: mark a method with @handles"
            )
        if consumer.service in seen:
            raise ConfigurationError(
                f"two consumers are service {consumer.service!r}: they would take each other's "
                "messages from one queue; raise concurrency instead"
            )
        seen.add(consumer.service)
        must_be_kept(consumer, rates)
    if concurrency < 1:
        raise ConfigurationError(f"Worker(concurrency={concurrency}): at least 1")
    if prefetch is not None and prefetch < 0:
        raise ConfigurationError(f"Worker(prefetch={prefetch}): 0 or more")
    if not 0 <= wait <= 20:
        raise ConfigurationError(f"Worker(wait={wait}): 0 to 20 seconds, as SQS long-polls")
    if drain < 0:
        raise ConfigurationError(f"Worker(drain={drain}): 0 or more seconds")
