"""What a user saw: a message was acknowledged although its handler had not run."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from messaging import Consumer, Event, MemoryBroker, Publisher, RetryPolicy, Topology, handles
from messaging.errors import ConsumerError
from messaging.idempotency import Idempotency, MemoryStore
from messaging.lambda_handler import lambda_handler
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry
from messaging.testing import FakeClock, deliver, drain


class Enrolled(Event, type="student.enrolled", version=1):
    name: str = "Ana"


class Left(Event, type="student.left", version=1):
    name: str = "Ana"


def generator(self: Any, event: Enrolled) -> Iterator[None]:
    yield


async def async_generator(self: Any, event: Enrolled) -> AsyncIterator[None]:
    yield


class AsyncObject:
    async def __call__(self, event: Enrolled) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (generator, "is a generator, so calling it runs nothing"),
        (async_generator, "is a generator, so calling it runs nothing"),
        (contextmanager(generator), "is a context manager, so calling it runs nothing"),
        (asynccontextmanager(async_generator), "is a context manager"),
        (functools.partial(generator, None), "is a partial, which is not bound to the consumer"),
        (AsyncObject(), "is a AsyncObject, which is not bound to the consumer"),
    ],
    ids=["generator", "async generator", "contextmanager", "asynccontextmanager", "partial", "obj"],
)
def test_what_runs_nothing_when_it_is_called_is_refused_at_import(function: Any, says: str) -> None:
    with pytest.raises(ConsumerError, match=rf"Service\.handle {says}"):
        type("Service", (Consumer,), {"handle": handles(function)})


@contextmanager
def transaction() -> Iterator[None]:
    steps.append("begin")
    yield
    steps.append("commit")


steps: list[str] = []


def test_a_context_manager_as_a_decorator_is_around_the_handler_and_not_refused() -> None:
    class Decorated(Consumer):
        @handles
        @transaction()
        def handle(self, event: Enrolled) -> None:
            steps.append("handled")

    steps.clear()
    assert deliver(Decorated(), Enrolled()).acknowledged
    assert steps == ["begin", "handled", "commit"]


def test_a_context_manager_that_would_end_before_its_async_handler_begins_is_refused() -> None:
    async def handle(self: Any, event: Enrolled) -> None: ...

    with pytest.raises(ConsumerError, match="is async below a context manager that is not"):
        type("Service", (Consumer,), {"handle": handles(transaction()(handle))})
    with pytest.raises(ConsumerError, match="is a generator"):
        type("Service", (Consumer,), {"handle": handles(transaction()(generator))})


async def yields(self: Any) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("name", ["open", "close"])
@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (handles(lambda self, event: None), "is a handler, but .* give the handler another name"),
        (yields, "is a generator, so calling it runs nothing"),
        (asynccontextmanager(yields), "is a context manager"),
        (lambda self, pool: None, "wants arguments, but the worker has none for it"),
        (property(lambda self: True), "is a property, but"),
        (AsyncObject(), "is a AsyncObject, which is not bound"),
    ],
)
def test_a_hook_that_would_not_run_is_refused_at_import(name: str, hook: Any, says: str) -> None:
    with pytest.raises(ConsumerError, match=rf"Service\.{name} {says}"):
        type("Service", (Consumer,), {name: hook})


def test_hooks_of_every_other_kind_are_taken() -> None:
    for hook in (staticmethod(lambda: None), classmethod(lambda cls: None), lambda self, x=1: None):
        type("Service", (Consumer,), {"open": hook, "close": hook})


async def work() -> None: ...


def later() -> Iterator[int]:
    yield 1


class Promised:
    def __await__(self) -> Iterator[None]:
        yield


RETURNED: dict[str, tuple[Callable[[], Any], str]] = {
    "the class Retry": (lambda: Retry, "the class Retry.*write raise, or return an instance"),
    "the class Reject": (lambda: Reject, "the class Reject.*write raise"),
    "an exception": (lambda: ValueError("Ana"), "type ValueError.*write raise"),
    "a coroutine": (work, "type coroutine.*its work was never done"),
    "a generator": (later, "type generator.*its body never ran"),
    "an awaitable": (Promised, "type Promised.*its work was never done"),
    "True": (lambda: True, "type bool.*return nothing to acknowledge"),
    "False": (lambda: False, "type bool"),
    "a response": (lambda: {"statusCode": 200, "name": "Ana"}, "type dict"),
}


class Service(Consumer):
    retry = RetryPolicy(max_attempts=2)

    def __init__(self, returns: Callable[[], Any]) -> None:
        self.returns = returns

    @handles
    def enrolled(self, event: Enrolled) -> Any:
        return self.returns()

    @handles
    async def left(self, event: Left) -> Any:
        return self.returns()


@pytest.mark.parametrize("event", [Enrolled(), Left()], ids=["sync", "async"])
@pytest.mark.parametrize("returned", RETURNED)
def test_what_is_no_outcome_follows_the_retry_policy_and_is_told_once(
    returned: str, event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    returns, says = RETURNED[returned]
    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Service, topic="t"), clock=clock)
    publisher = Publisher(broker.topic(), source="/t")
    publisher.publish(event)
    publisher.publish(event)
    drained = drain(broker, Service(returns), clock=clock)
    assert (drained.acknowledged, drained.retried, drained.dead_lettered) == (0, 2, 2)
    assert drained.reasons == ("InvalidReturn after 2 attempts",) * 2
    (error,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert re.search(says, error.getMessage())
    assert "Ana" not in caplog.text


@pytest.mark.parametrize("event", [Enrolled(), Left()], ids=["sync", "async"])
def test_a_store_of_marks_does_not_take_it_for_handled(event: Event) -> None:
    store = MemoryStore()
    returned: list[Any] = [Retry, None]
    service = Service(lambda: returned.pop(0))
    middleware = [Idempotency(store)]
    assert deliver(service, event, id="1", middleware=middleware).retried
    assert deliver(service, event, id="1", middleware=middleware).acknowledged
    assert returned == []


@contextmanager
def keeps_it_to_itself(call: Any) -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - the mistake that is looked at
        logging.getLogger("service").info("counted")


@contextmanager
def passes_it_on(call: Any) -> Iterator[None]:
    yield


@pytest.mark.parametrize("event", [Enrolled(), Left()], ids=["sync", "async"])
@pytest.mark.parametrize("raised", [ValueError("Ana"), Reject("no")], ids=["error", "outcome"])
@pytest.mark.parametrize("inner", [[], [passes_it_on]], ids=["inner", "outer"])
def test_a_middleware_that_swallows_an_exception_does_not_acknowledge(
    event: Event, raised: Exception, inner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    service = Service(raising(raised))
    middleware = [Idempotency(store), keeps_it_to_itself, *inner]
    for _ in range(2):
        assert deliver(service, event, id="1", middleware=middleware).retried
    assert "kept the exception to itself" in caplog.text
    assert "Ana" not in caplog.text
    service.returns = lambda: None
    assert deliver(service, event, id="1", middleware=middleware).acknowledged
    assert deliver(service, event, id="1", middleware=middleware).why == "already handled"


@pytest.mark.parametrize("event", [Enrolled(), Left()], ids=["sync", "async"])
def test_a_middleware_may_acknowledge_what_failed_by_saying_so(event: Event) -> None:
    @contextmanager
    def harmless(call: Any) -> Iterator[None]:
        try:
            yield
        except LookupError:
            raise Ack("nothing to do") from None

    result = deliver(Service(raising(LookupError())), event, middleware=[harmless])
    assert (result.acknowledged, result.why) == (True, "nothing to do")


def test_in_lambda_it_is_a_failure_of_its_record() -> None:
    body = '{"specversion":"1.0","id":"1","source":"/t","type":"student.enrolled","data":{}}'
    record = {"eventSource": "aws:sqs", "messageId": "m1", "receiptHandle": "r", "body": body}
    answer = lambda_handler(Service(lambda: Reject))({"Records": [record]}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}


def raising(what: Any) -> Callable[[], Any]:
    def does() -> Any:
        raise what

    return does


@pytest.mark.parametrize("event", [Enrolled(), Left()], ids=["sync", "async"])
def test_an_outcome_that_says_nothing_cannot_be_raised(event: Event) -> None:
    result = deliver(Service(raising(Outcome)), event)
    assert result.retried
    assert isinstance(result.error, TypeError)


@pytest.mark.parametrize("event", [Enrolled(), Left()], ids=["sync", "async"])
def test_an_outcome_of_a_kind_that_nobody_knows_is_a_failure(event: Event) -> None:
    class Maybe(Outcome):
        pass

    assert deliver(Service(raising(Maybe())), event).retried
    assert deliver(Service(lambda: Maybe()), event).retried


@pytest.mark.parametrize("event", [Enrolled(), Left()], ids=["sync", "async"])
def test_outcomes_may_be_returned_as_well_as_raised(event: Event) -> None:
    assert deliver(Service(lambda: Retry(3)), event).delay == 3
    assert deliver(Service(lambda: Reject("no")), event).rejected
    assert deliver(Service(lambda: Discard("no")), event).discarded
    assert deliver(Service(lambda: None), event).acknowledged
