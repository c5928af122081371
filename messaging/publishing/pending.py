"""The events in a buffer, from `publish` until their result is known."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from messaging.errors import PublishError, TransportError
from messaging.event import Event
from messaging.logs import logger
from messaging.printable import printable
from messaging.publishing.results import NotPublished, Published, PublishResult
from messaging.transport import Outgoing

__all__ = ["Item", "Pending", "failed_item", "in_event_loop", "log_failure", "not_published"]

log = logger("messaging.publishing.publisher")


class Pending(Future[Published]):
    """An event in the buffer: a `concurrent.futures.Future` that asyncio can also await.

        published = buffered.publish(event).result(timeout=5)
        published = await buffered.publish(event)

    Cancelling the wait does not recall the event.

    Example:
        ```python
        with publisher.buffered() as buffer:
            pending = buffer.publish(ana)
        assert pending.result().copies == 1  # in a coroutine: (await pending).copies
        ```
    """

    def __await__(self) -> Generator[Any, None, Published]:
        import asyncio  # already loaded by code that awaits

        return asyncio.wrap_future(self).__await__()


@dataclass(slots=True, repr=False)
class Item:
    """One event in the buffer, and until when it may linger."""

    event: Event
    id: str | None
    encode: Callable[[], list[Outgoing]]
    messages: list[Outgoing] | None
    """None: still to be encoded, by the sending thread."""
    future: Pending
    due: float


def failed_item(item: Item, code: str, reason: str, *, unknown: bool = False) -> NotPublished:
    """`item` as an event that was not accepted."""
    id = item.messages[0].id if item.messages else item.id or ""
    return NotPublished(index=0, id=id, code=code, reason=reason, event=item.event, unknown=unknown)


def not_published(failed: NotPublished, broken: TransportError | None) -> PublishError:
    """The exception of such an event's future; `broken` says why the topic does not answer."""
    error = PublishError(
        f"{type(failed.event).__qualname__} (id {failed.id}) was not accepted"
        f"{' (it may have been)' if failed.unknown else ''}: "
        f"{printable(f'{failed.code}: {failed.reason}')}",
        result=PublishResult(consumed=1, accepted=0, declined=0, copies=0, failed=(failed,)),
    )
    error.__cause__ = broken
    return error


def log_failure(failed: NotPublished) -> None:
    """The default `on_failure`: logs the failure."""
    log.error(
        "%s (id %s) was not accepted%s: %s: %s",
        type(failed.event).__qualname__,
        failed.id,
        " (it may have been)" if failed.unknown else "",
        failed.code,
        failed.reason,
    )


def in_event_loop() -> bool:
    """Whether an asyncio loop runs in the calling thread, which must then not block."""
    # Without asyncio loaded, no loop can run.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
