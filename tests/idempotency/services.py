"""Two small services for these tests: one whose handlers are plain, and one with async handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tenacity import wait_fixed

from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.outcome import RetryPolicy


class Enrolled(Event, type="student.enrolled", version=1):
    number: int


class Billing(Consumer):
    """Does what it was given, and remembers what it handled."""

    service = "billing"
    retry = RetryPolicy(max_attempts=5, wait=wait_fixed(0))
    visibility_timeout = 30

    def __init__(self, does: Callable[[Enrolled], Any] = lambda event: None) -> None:
        self.does = does
        self.handled: list[int] = []

    @handles
    def enrolled(self, event: Enrolled) -> Any:
        self.handled.append(event.number)
        return self.does(event)


class Mailing(Consumer):
    """The same, in a coroutine."""

    service = "mailing"
    retry = RetryPolicy(max_attempts=5, wait=wait_fixed(0))

    def __init__(self, does: Callable[[Enrolled], Awaitable[Any]]) -> None:
        self.does = does
        self.handled: list[int] = []

    @handles
    async def enrolled(self, event: Enrolled) -> Any:
        self.handled.append(event.number)
        return await self.does(event)


def raises(error: BaseException) -> Callable[[Enrolled], Any]:
    """A handler's body that raises `error`."""

    def does(event: Enrolled) -> None:
        raise error

    return does
