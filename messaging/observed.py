"""Reports each request to a topic or a queue: a hook for tracing tools.

    worker = Worker(BI(), broker=observed(connect(), tell))

`tell` is called with a `Request` when it has been answered. Agents that patch botocore do not see
the fast transport; this has what they need, for both transports and for every broker.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from messaging.clock import SYSTEM_CLOCK
from messaging.logs import logger
from messaging.transport import (
    Broker,
    DeadLetter,
    Delivery,
    Failure,
    Outgoing,
    QueueDepth,
    QueueTransport,
    TopicTransport,
    name_of,
)

__all__ = ["ObservedQueue", "ObservedTopic", "Request", "observed", "told"]

log = logger("messaging.observed")

Name = Literal["publish", "receive", "delete", "change_visibility", "dead_letter"]


@dataclass(slots=True, kw_only=True)
class Request:
    """One request that was answered, or failed.

    name        the operation.
    to          the topic's or the queue's name.
    count       messages in it; for a receive, those that were returned.
    started     seconds since the epoch; `ended` the same.
    failed      how many of them were refused.
    error       the class of the exception, if there was no answer; otherwise None.
    deliveries  the received or settled messages. They contain bodies, which are personal data.
    """

    name: Name
    to: str
    count: int
    started: float
    ended: float
    failed: int = 0
    error: str | None = None
    deliveries: Sequence[Delivery] = ()

    def __repr__(self) -> str:
        return f"Request({self.name} {self.to}, {self.count})"


Tell = Callable[[Request], object]


def observed(broker: Broker, tell: Tell) -> Broker:
    """`broker`, which reports each request of its topic and its queues to `tell`.

    `tell` runs in the thread that made the request, and blocks it; its exceptions are logged and go
    no further. It sees requests as they are made: a publish that is retried is reported twice.
    """
    return _ObservedBroker(broker, tell)


def told(queue: QueueTransport, middleware: Iterable[object]) -> QueueTransport:
    """`queue`, which reports to those of `middleware` that have a method `after_request`, inside
    what those with a method `around_queue` make of it."""
    for one in middleware:
        around = getattr(one, "around_queue", None)
        if around is not None:
            queue = around(queue)
        elif (tell := getattr(one, "after_request", None)) is not None:
            queue = ObservedQueue(queue, tell)
    return queue


class _ObservedBroker:
    """All other attributes are the broker's."""

    def __init__(self, broker: Broker, tell: Tell) -> None:
        self._broker = broker
        self._tell = tell

    def topic(self) -> TopicTransport:
        return ObservedTopic(self._broker.topic(), self._tell)

    def queue(self, service: str) -> QueueTransport:
        return ObservedQueue(self._broker.queue(service), self._tell)

    def close(self) -> None:
        self._broker.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


class _Telling:
    """Makes a request, and reports it."""

    def __init__(self, tell: Tell, to: str) -> None:
        self._tell = tell
        self._to = to
        self._silent = False

    def made(
        self, name: Name, call: Callable[[], Any], count: int, deliveries: Sequence[Delivery] = ()
    ) -> Any:
        """Return or raise the result of `call`."""
        started = SYSTEM_CLOCK.now()
        try:
            answer = call()
        except BaseException as raised:
            self._tell_of(name, started, count, deliveries, type(raised).__name__)
            raise
        return self._answered(name, started, count, deliveries, answer)

    def made_in_steps(
        self,
        name: Name,
        steps: Generator[Any, None, Any],
        count: int,
        deliveries: Sequence[Delivery] = (),
    ) -> Generator[Any, None, Any]:
        """The same steps."""
        started = SYSTEM_CLOCK.now()
        try:
            answer = yield from steps
        except BaseException as raised:  # also if it is given up
            self._tell_of(name, started, count, deliveries, type(raised).__name__)
            raise
        return self._answered(name, started, count, deliveries, answer)

    def _answered(
        self, name: Name, started: float, count: int, deliveries: Sequence[Delivery], answer: Any
    ) -> Any:
        """Report `answer`: the messages of a receive, or the refused entries of another request."""
        if name == "receive":
            self._tell_of(name, started, len(answer), answer)
        else:
            self._tell_of(name, started, count, deliveries, None, len(answer))
        return answer

    def _tell_of(
        self,
        name: Name,
        started: float,
        count: int,
        deliveries: Sequence[Delivery],
        error: str | None = None,
        failed: int = 0,
    ) -> None:
        request = Request(
            name=name,
            to=self._to,
            count=count,
            started=started,
            ended=SYSTEM_CLOCK.now(),
            failed=failed,
            error=error,
            deliveries=deliveries,
        )
        try:
            self._tell(request)
        except Exception as raised:  # noqa: BLE001 - who looks on must not break what it looks at
            if not self._silent:
                self._silent = True
                log.error("a hook raised %s about %s", type(raised).__qualname__, request)


class ObservedTopic:
    """A topic's transport that reports each publish."""

    def __init__(self, topic: TopicTransport, tell: Tell) -> None:
        self._topic = topic
        self._telling = _Telling(tell, name_of(topic))
        begin = getattr(topic, "begin", None)
        if begin is not None:
            self.begin = self._begin

    @property
    def max_bytes(self) -> int:
        """The topic's."""
        return self._topic.max_bytes

    def close(self) -> None:
        """Close the topic."""
        self._topic.close()

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """See the topic's."""
        answer: Sequence[Failure] = self._telling.made(
            "publish", lambda: self._topic.publish(batch), len(batch)
        )
        return answer

    def _begin(self, batch: Sequence[Outgoing]) -> Generator[Any, None, Any] | None:
        steps = self._topic.begin(batch)  # type: ignore[attr-defined]  # it has one
        if steps is None:
            return None
        return self._telling.made_in_steps("publish", steps, len(batch))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._topic, name)


class ObservedQueue:
    """A queue's transport that reports receives and settling requests."""

    def __init__(self, queue: QueueTransport, tell: Tell) -> None:
        self._queue = queue
        self._telling = _Telling(tell, queue.name)
        for name in ("begin_receive", "begin_delete", "release"):
            if getattr(queue, name, None) is not None:
                setattr(self, name, getattr(self, f"_{name}"))

    @property
    def name(self) -> str:
        """The queue's."""
        return self._queue.name

    @property
    def visibility_timeout(self) -> int:
        """The queue's."""
        return self._queue.visibility_timeout

    def depth(self) -> QueueDepth:
        """The queue's."""
        return self._queue.depth()

    def close(self) -> None:
        """Close the queue."""
        self._queue.close()

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        """See the queue's."""
        answer: Sequence[Delivery] = self._telling.made(
            "receive", lambda: self._queue.receive(limit, wait), 0
        )
        return answer

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """See the queue's."""
        return self._settle("delete", lambda: self._queue.delete(deliveries), deliveries)

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        """See the queue's."""
        change = self._queue.change_visibility
        return self._settle("change_visibility", lambda: change(deliveries, seconds), deliveries)

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        """See the queue's."""
        of = [one.delivery for one in letters]
        return self._settle("dead_letter", lambda: self._queue.dead_letter(letters), of)

    def _settle(
        self, name: Name, call: Callable[[], Any], deliveries: Sequence[Delivery]
    ) -> Sequence[Failure]:
        answer: Sequence[Failure] = self._telling.made(name, call, len(deliveries), deliveries)
        return answer

    def _release(self, deliveries: Sequence[Delivery], seconds: Sequence[int]) -> Sequence[Failure]:
        release: Any = self._queue.release  # type: ignore[attr-defined]  # it has one
        return self._settle("change_visibility", lambda: release(deliveries, seconds), deliveries)

    def _begin_receive(self, limit: int, wait: float) -> Generator[Any, None, Any] | None:
        steps = self._queue.begin_receive(limit, wait)  # type: ignore[attr-defined]  # it has one
        return None if steps is None else self._telling.made_in_steps("receive", steps, 0)

    def _begin_delete(self, deliveries: Sequence[Delivery]) -> Generator[Any, None, Any] | None:
        steps = self._queue.begin_delete(deliveries)  # type: ignore[attr-defined]  # it has one
        if steps is None:
            return None
        return self._telling.made_in_steps("delete", steps, len(deliveries), deliveries)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)
