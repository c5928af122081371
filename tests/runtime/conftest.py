"""A queue whose every request is written down and may be refused, and workers that are audited."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from messaging.consuming.consumer import Consumer
from messaging.errors import TransportError
from messaging.runtime import Worker
from messaging.transport import DeadLetter, Delivery, Failure, QueueDepth


class Request(NamedTuple):
    """One request: what was asked, of which messages, and the seconds of a hide."""

    name: str
    messages: tuple[str, ...]
    seconds: tuple[int, ...] = ()
    letters: tuple[DeadLetter, ...] = ()


class ScriptedQueue:
    """A `QueueTransport` with nothing behind it but a list.

    `refuse` is asked before each delete, hide and dead_letter; it returns failures or raises.
    `fail_receive` are errors for the next receives. While `late` is set, a receive comes back only
    when the event is set, then with what `late_bodies` says.
    """

    def __init__(self, name: str = "t-service", visibility_timeout: int = 30) -> None:
        self.name = name
        self._visibility_timeout: int | TransportError = visibility_timeout
        self.requests: list[Request] = []
        self.receives: list[int] = []
        self.fail_receive: deque[BaseException] = deque()
        self.refuse: Callable[[Request], Sequence[Failure]] = lambda request: ()
        self.closed = 0
        self.late: threading.Event | None = None
        self.late_brings = 0
        self._waiting: deque[Delivery] = deque()
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()

    @property
    def visibility_timeout(self) -> int:
        if isinstance(self._visibility_timeout, TransportError):
            raise self._visibility_timeout
        return self._visibility_timeout

    @visibility_timeout.setter
    def visibility_timeout(self, value: int | TransportError) -> None:
        self._visibility_timeout = value

    def put(self, *numbers: int, kind: str = "happened", receive_count: int = 1) -> None:
        """Events of number n; the message's id is "m<n>"."""
        made = [self.delivery(number, kind, receive_count) for number in numbers]
        with self._changed:
            self._waiting.extend(made)
            self._changed.notify_all()

    def delivery(self, number: int, kind: str = "happened", receive_count: int = 1) -> Delivery:
        document = {"specversion": "1.0", "id": str(number), "source": "/t", "type": kind}
        return Delivery(
            queue=self.name,
            message_id=f"m{number}",
            receipt=f"r{next(self._numbers)}",
            body=json.dumps({**document, "data": {"n": number}}),
            receive_count=receive_count,
        )

    def asked(self, name: str) -> list[Request]:
        return [request for request in tuple(self.requests) if request.name == name]

    def messages(self, name: str) -> list[str]:
        return sorted(one for request in self.asked(name) for one in request.messages)

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        self.receives.append(limit)
        with self._changed:  # several may look at once
            if self.fail_receive:
                raise self.fail_receive.popleft()
        if self.late is not None:
            assert self.late.wait(10)
            return [self.delivery(1000 + number) for number in range(self.late_brings)]
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout=wait)
            return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        return self._ask(Request("delete", _ids(deliveries)))

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        assert len(deliveries) == len(seconds)
        return self._ask(Request("change_visibility", _ids(deliveries), tuple(seconds)))

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        ids = _ids([letter.delivery for letter in letters])
        return self._ask(Request("dead_letter", ids, letters=tuple(letters)))

    def depth(self) -> QueueDepth:
        return QueueDepth(len(self._waiting), 0, 0, None, 0, 0)

    def close(self) -> None:
        self.closed += 1

    def _ask(self, request: Request) -> Sequence[Failure]:
        assert 1 <= len(request.messages) <= 10
        failures = self.refuse(request)
        self.requests.append(request)
        return failures


class ScriptedBroker:
    """A `Broker` of scripted queues: one for each service, made at the first asking."""

    def __init__(self) -> None:
        self.queues: dict[str, ScriptedQueue] = {}

    def queue(self, service: str) -> ScriptedQueue:
        return self.queues.setdefault(service, ScriptedQueue(f"t-{service}"))

    def topic(self) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


def _ids(deliveries: Sequence[Delivery]) -> tuple[str, ...]:
    return tuple(one.message_id for one in deliveries)


def library_threads() -> list[str]:
    # "messaging-bounded" is a call of boto3's that outlived the deadline of a publish, in another
    # test of this process: no worker makes such calls, and boto3's own time limit ends it.
    return sorted(
        one.name
        for one in threading.enumerate()
        if one.name.startswith("messaging-") and one.name != "messaging-bounded"
    )


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait until something is true; twenty seconds are for ever."""

    def wait(reached: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not reached():
            assert time.monotonic() < end, "it never came to be"
            time.sleep(0.005)

    return wait


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


@pytest.fixture
def queue(broker: ScriptedBroker) -> ScriptedQueue:
    """The queue of the service "service"."""
    return broker.queue("service")


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """For handlers that hang: set at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def work(broker: ScriptedBroker, release: threading.Event) -> Iterator[Callable[..., Worker]]:
    """Makes and starts a worker. At the end it is stopped and audited: every receipt accounted
    for, nothing in hand, no thread left."""
    made: list[Worker] = []

    def make(*consumers: Consumer, start: bool = True, **keywords: Any) -> Worker:
        keywords = {"broker": broker, "wait": 0.05, "drain": 5, **keywords}
        worker = Worker(*consumers, **keywords)
        made.append(worker)
        if start:
            worker.start()
        return worker

    yield make
    release.set()
    for worker in made:
        report = worker.stop()
        assert report.stats.balanced, report.stats
        assert report.stats.in_flight == 0, report.stats
        assert all(stats.balanced for stats in report.services.values())
    end = time.monotonic() + 5
    while left := library_threads():
        assert time.monotonic() < end, f"threads left: {left}"
        time.sleep(0.005)
