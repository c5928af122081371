"""A handler of any kind sees its trace: sync or async, with a delivery, an envelope or a batch."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import attach
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanContext, StatusCode

from messaging import (
    Batch,
    Consumer,
    Delivery,
    Envelope,
    Event,
    MemoryBroker,
    Publisher,
    Topology,
    Worker,
    handles,
)
from messaging.consuming.dispatch import Call, Dispatcher
from messaging.outcome import Ack, Outcome, Retry
from tests.programs import eventually
from tests.telemetry.recorded import Recorded

ON = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OFF = ON[:-2] + "00"


class Enrolled(Event, type="aluno.cadastrado", version=1):
    nome: str


def here() -> SpanContext:
    return trace.get_current_span().get_span_context()


class Service(Consumer):
    """Notes what its handler sees."""

    def __init__(self, does: Callable[[], object] = here) -> None:
        self.does = does
        self.seen: list[Any] = []
        self.given: list[object] = []


class Plain(Service):
    service = "bi"

    @handles
    def enrolled(self, event: Enrolled) -> None:
        self.seen.append(self.does())


class Delivered(Service):
    service = "bi"

    @handles
    def enrolled(self, event: Enrolled, delivery: Delivery) -> None:
        self.given.append(delivery.message_id)
        self.seen.append(self.does())


class Enveloped(Service):
    service = "bi"

    @handles
    def enrolled(self, event: Enrolled, envelope: Envelope) -> None:
        self.given.append(envelope.id)
        self.seen.append(self.does())


class Async(Service):
    service = "bi"

    @handles
    async def enrolled(self, event: Enrolled) -> None:
        await asyncio.sleep(0)
        self.seen.append(self.does())


class AsyncDelivered(Service):
    service = "bi"

    @handles
    async def enrolled(self, event: Enrolled, delivery: Delivery) -> None:
        self.given.append(delivery.message_id)
        await asyncio.sleep(0)
        self.seen.append(self.does())


class AsyncEnveloped(Service):
    service = "bi"

    @handles
    async def enrolled(self, event: Enrolled, envelope: Envelope) -> None:
        self.given.append(envelope.id)
        await asyncio.sleep(0)
        self.seen.append(self.does())


KINDS = [Plain, Delivered, Enveloped, Async, AsyncDelivered, AsyncEnveloped]


def sampler(rate: float) -> Any:
    return ParentBased(TraceIdRatioBased(rate))


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with closing(MemoryBroker(Topology.of(Plain, topic="alunos", owns_topic=True))) as broker:
        yield broker


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    recorded = Recorded(sampler(1.0))
    yield recorded
    recorded.provider.shutdown()


def deliveries(broker: MemoryBroker, traceparent: str, count: int = 3) -> list[Delivery]:
    """Several, because the first of a type is read thoroughly."""
    with Publisher(broker.topic(), source="/x") as publisher:
        for _ in range(count):
            publisher.publish(Enrolled(nome="a"), traceparent=traceparent)
    with closing(broker.queue("bi")) as queue:
        return list(queue.receive(10, 1))


async def awaited(outcome: Outcome | Coroutine[Any, Any, Outcome]) -> Outcome:
    """In the caller's own task, which must find its variables as they were."""
    if not isinstance(outcome, Outcome):
        outcome = await outcome
    assert not here().is_valid
    return outcome


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("traceparent", [ON, OFF])
def test_a_handler_sees_the_trace_of_its_message(
    broker: MemoryBroker, recorded: Recorded, kind: type[Service], traceparent: str
) -> None:
    consumer = kind()
    dispatch = Dispatcher(consumer, middleware=[recorded.tracing])
    found = deliveries(broker, traceparent)
    for one in found:
        assert isinstance(asyncio.run(awaited(dispatch(one))), Ack)
    assert [f"{one.trace_id:032x}" for one in consumer.seen] == [ON[3:35]] * 3
    assert [one.trace_flags.sampled for one in consumer.seen] == [traceparent == ON] * 3
    assert len(set(consumer.given)) == (0 if kind in (Plain, Async) else 3)
    processed = [
        one.get_span_context()
        for one in recorded.exporter.get_finished_spans()
        if one.name == "process alunos-bi"
    ]
    assert processed == (consumer.seen if traceparent == ON else [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_span_that_nobody_looks_at_says_the_same(
    broker: MemoryBroker, recorded: Recorded, kind: type[Service]
) -> None:
    said = []
    for does in (here, lambda: None):
        recorded.exporter.clear()
        with Publisher(broker.topic(), source="/x") as publisher:
            publisher.publish(Enrolled(nome="a"), id="1", traceparent=ON)
        with Worker(kind(does), broker=broker, middleware=[recorded.tracing]):
            eventually(lambda: "delete alunos-bi" in recorded.spans)
        process, delete = recorded.spans["process alunos-bi"], recorded.spans["delete alunos-bi"]
        [link] = process.links
        assert link.context == recorded.spans["receive alunos-bi"].get_span_context()
        assert delete.parent == process.get_span_context()
        attributes = dict(process.attributes or {})
        del attributes["messaging.message.id"]
        said.append((attributes, process.parent, process.kind, process.status.status_code))
    assert said[0] == said[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_fails_is_an_error_of_its_span(
    broker: MemoryBroker, recorded: Recorded, kind: type[Service]
) -> None:
    def fail() -> None:
        raise LookupError("Ana")

    dispatch = Dispatcher(kind(fail), middleware=[recorded.tracing])
    for traceparent in (OFF, ON):
        for one in deliveries(broker, traceparent):
            assert not isinstance(asyncio.run(awaited(dispatch(one))), Ack)
    process = recorded.spans["process alunos-bi"]
    assert process.status.status_code is StatusCode.ERROR
    assert (process.attributes or {})["error.type"] == "LookupError"


@pytest.mark.parametrize("kind", [Async, AsyncDelivered, AsyncEnveloped])
def test_async_handlers_at_the_same_time_see_their_own_traces(
    broker: MemoryBroker, recorded: Recorded, kind: type[Service]
) -> None:
    consumer = kind()
    dispatch = Dispatcher(consumer, middleware=[recorded.tracing])
    found: list[Delivery] = []
    for number in range(1, 9):
        parent = f"00-{number:032x}-b7ad6b7169203331-0{number % 2}"
        found += deliveries(broker, parent, 1)

    async def all_of_them() -> None:
        runs: list[Any] = [dispatch(one) for one in found]
        await asyncio.gather(*runs)
        assert not here().is_valid

    asyncio.run(all_of_them())
    assert sorted(one.trace_id for one in consumer.seen) == [*range(1, 9)]
    assert all(one.trace_flags.sampled == (one.trace_id % 2 == 1) for one in consumer.seen)


def test_a_task_that_outlives_its_handler_keeps_the_trace(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    later: list[Any] = []

    async def look() -> None:
        await asyncio.sleep(0.01)
        later.append(here())

    tasks: list[Any] = []
    consumer = Async(lambda: tasks.append(asyncio.create_task(look())))
    dispatch = Dispatcher(consumer, middleware=[recorded.tracing])

    async def run() -> None:
        for one in (*deliveries(broker, OFF), *deliveries(broker, ON)):
            await awaited(dispatch(one))
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert [f"{one.trace_id:032x}" for one in later] == [ON[3:35]] * 6
    own = [
        one.get_span_context()
        for one in recorded.exporter.get_finished_spans()
        if one.name == "process alunos-bi"
    ]
    assert later[3:] == own


@pytest.mark.parametrize("traceparent", [ON, OFF])
def test_an_async_handler_that_is_given_up_elsewhere_ends_quietly(
    broker: MemoryBroker, recorded: Recorded, traceparent: str
) -> None:
    class Endless(Consumer):
        service = "bi"

        @handles
        async def enrolled(self, event: Enrolled) -> None:
            await asyncio.Event().wait()

    dispatch = Dispatcher(Endless(), middleware=[recorded.tracing])
    raised: list[BaseException] = []
    for one in deliveries(broker, traceparent):
        run: Any = dispatch(one)

        async def begin(run: Any = run) -> None:
            run.send(None)

        asyncio.run(begin())

        def close(run: Any = run) -> None:
            try:
                run.close()
            except BaseException as error:  # noqa: BLE001 - the test says which
                raised.append(error)

        thread = threading.Thread(target=close)
        thread.start()
        thread.join()
    assert raised == []
    assert not here().is_valid
    ended = [span.name for span in recorded.exporter.get_finished_spans()]
    assert ended.count("process alunos-bi") == (3 if traceparent == ON else 0)


class Lets:
    """A middleware of a program, which has nothing to do but to set variables."""

    def __init__(self, does: Callable[[], object]) -> None:
        self.does = does

    def lets_pass(self, traceparent: str, context: contextvars.Context) -> bool:
        context.run(self.does)
        return True

    def __call__(self, call: Call) -> AbstractContextManager[None]:
        raise AssertionError("it is passed over")


SCHOOL: contextvars.ContextVar[str] = contextvars.ContextVar("school")


@pytest.mark.parametrize("kind", KINDS)
def test_a_middleware_sets_variables_beside_those_of_the_caller(
    broker: MemoryBroker, kind: type[Service]
) -> None:
    consumer = kind(SCHOOL.get)
    dispatch = Dispatcher(consumer, middleware=[Lets(lambda: SCHOOL.set(SCHOOL.get() + "/b"))])

    async def run() -> None:
        SCHOOL.set("a")
        for one in deliveries(broker, OFF):
            assert isinstance(await awaited(dispatch(one)), Ack)
            assert SCHOOL.get() == "a"

    asyncio.run(run())
    assert consumer.seen == ["a/b"] * 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [True, False])
def test_baggage_that_another_middleware_sets_is_kept(
    broker: MemoryBroker, recorded: Recorded, kind: type[Service], first: bool
) -> None:
    class Bag(Lets):
        def __call__(self, call: Call) -> AbstractContextManager[None]:
            self.does()  # another one had something to do
            return nullcontext()

    consumer = kind(lambda: (baggage.get_baggage("escola"), f"{here().trace_id:032x}"))
    around = [Bag(lambda: attach(baggage.set_baggage("escola", "x"))), recorded.tracing]
    dispatch = Dispatcher(consumer, middleware=around if first else around[::-1])

    async def run() -> None:
        for one in deliveries(broker, OFF):
            found = dispatch(one)
            await found if not isinstance(found, Outcome) else None

    contextvars.copy_context().run(asyncio.run, run())
    assert consumer.seen == [("x", ON[3:35])] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_middleware_that_fails_when_it_is_asked_is_a_failure_of_the_message(
    broker: MemoryBroker, kind: type[Service]
) -> None:
    consumer = kind()
    dispatch = Dispatcher(consumer, middleware=[Lets(SCHOOL.get)])
    for one in deliveries(broker, OFF):
        assert isinstance(asyncio.run(awaited(dispatch(one))), Retry)
    assert consumer.seen == []


class Batches(Service):
    service = "bi"

    @handles(batch=5, wait=0.01)
    def enrolled(self, batch: Batch[Enrolled]) -> None:
        self.seen.append(here())


class AsyncBatches(Service):
    service = "bi"

    @handles(batch=5, wait=0.01)
    async def enrolled(self, batch: Batch[Enrolled]) -> None:
        self.seen.append(here())


@pytest.mark.parametrize("kind", [Batches, AsyncBatches])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_batches_are_recorded_as_the_sampler_says(
    broker: MemoryBroker, kind: type[Service], rate: float
) -> None:
    recorded, consumer = Recorded(sampler(rate)), kind()
    dispatch = Dispatcher(consumer, middleware=[recorded.tracing])

    async def ended(run: Any) -> None:
        rest = run.start()
        if rest is not None:
            await rest
        assert not here().is_valid

    for _ in range(120):
        run = dispatch.batch(deliveries(broker, ON, 2))
        asyncio.run(ended(run))
        assert [type(one) for one in run.outcomes] == [Ack, Ack]
    spans = [
        one for one in recorded.exporter.get_finished_spans() if one.name == "process alunos-bi"
    ]
    assert len({one.trace_id for one in consumer.seen}) == 120, "each begins a trace"
    assert [one for one in consumer.seen if one.trace_flags.sampled] == [
        one.get_span_context() for one in spans
    ]
    # Of 0.3, five standard deviations.
    least, most = {0.0: (0, 0), 0.3: (11, 61), 1.0: (120, 120)}[rate]
    assert least <= len(spans) <= most
    for one in spans:
        assert [link.context.trace_id for link in one.links] == [int(ON[3:35], 16)] * 2
    recorded.provider.shutdown()
