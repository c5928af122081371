"""The attributes of a handler call that a middleware can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from messaging.envelope import Envelope
from messaging.outcome import Outcome
from messaging.transport import Delivery

__all__ = ["BatchState", "HandlerInfo", "HandlingState"]


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


class BatchState(Protocol):
    """One call of a handler with a batch: a `consuming.batch_dispatch.BatchCall` is one."""

    @property
    def service(self) -> str: ...
    @property
    def handler(self) -> HandlerInfo: ...
    @property
    def calls(self) -> Sequence[HandlingState]: ...
    @property
    def each(self) -> bool: ...
    def leave_out(self, call: HandlingState, outcome: Outcome, /) -> None: ...
    def outcome(self, call: HandlingState, /) -> BaseException | None: ...
