"""What a middleware can read about the handler call that it wraps."""

from __future__ import annotations

from typing import Protocol

from messaging.envelope import Envelope
from messaging.transport import Delivery

__all__ = ["HandlerInfo", "HandlingState"]


class HandlerInfo(Protocol):
    """One method of a consumer: its name, and whether it is `async def`."""

    @property
    def name(self) -> str: ...
    @property
    def is_async(self) -> bool: ...


class HandlingState(Protocol):
    """One call of a handler; a `messaging.consuming.dispatch.Call` is one."""

    @property
    def service(self) -> str: ...
    @property
    def consumer(self) -> object: ...
    @property
    def handler(self) -> HandlerInfo: ...
    @property
    def envelope(self) -> Envelope: ...
    @property
    def delivery(self) -> Delivery: ...
