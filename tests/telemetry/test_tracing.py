"""Traces with the SDK of OpenTelemetry: who is whose parent, and what no span may hold."""

from __future__ import annotations

import contextvars
import gc
import logging
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from messaging import (
    Consumer,
    Envelope,
    Event,
    MemoryBroker,
    Publisher,
    Topology,
    Worker,
    handles,
)
from messaging.aws import apply, connect
from messaging.claimcheck import ClaimCheck, DirectoryBlobStore
from messaging.consuming.batch import Batch
from messaging.consuming.dispatch import Dispatcher
from messaging.dead_letters import Workbench
from messaging.envelope import TraceContext
from messaging.errors import ConfigurationError, EventError
from messaging.lambda_handler import lambda_handler
from messaging.local import LocalServer
from messaging.log_context import LogContext, with_ids
from messaging.outbox import Relay, SqlOutbox, ddl
from messaging.outcome import Outcome, Reject, Retry
from messaging.testing import lambda_event
from messaging.tracing import Tracing
from messaging.tracing.contexts import extracted, from_xray
from messaging.transport import Attribute, Broker, Delivery
from tests.programs import eventually

CANARY = "Zuleica-497.501.283-97"
FOREIGN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Enrolled(Event, type="aluno.cadastrado", version=1):
    nome: str
    broken: bool = False


class Bi(Consumer):
    service = "bi"

    def __init__(self) -> None:
        self.seen: list[Envelope] = []

    @handles
    def enrolled(self, event: Enrolled, envelope: Envelope) -> None:
        self.seen.append(envelope)
        logging.getLogger("school").warning("handled")
        if event.broken:
            raise ValueError(f"cannot handle {event.nome}")


TOPOLOGY = Topology.of(Bi, topic="alunos", owns_topic=True)


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with closing(MemoryBroker(TOPOLOGY)) as broker:
        yield broker


class Recorded:
    """A provider of the SDK, and the spans that it has exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(tracer_provider=self.provider)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    recorded = Recorded()
    yield recorded
    recorded.provider.shutdown()


def receive(broker: Broker, count: int = 1) -> list[Delivery]:
    found: list[Delivery] = []
    with closing(broker.queue("bi")) as queue:
        for _ in range(20):
            found += queue.receive(10, 1)
            if len(found) >= count:
                break
    assert len(found) == count
    return found


def handle(broker: Broker, recorded: Recorded, count: int = 1) -> Bi:
    consumer = Bi()
    dispatch = Dispatcher(consumer, middleware=[recorded.tracing])
    for delivery in receive(broker, count):
        assert isinstance(dispatch(delivery), Outcome)
    return consumer


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    context = parent.get_span_context()
    assert context is not None
    return (
        child.parent is not None
        and child.parent.span_id == context.span_id
        and child.parent.trace_id == context.trace_id
    )


def test_one_trace_leads_from_publish_through_sns_and_the_queue_to_the_handler(
    recorded: Recorded,
) -> None:
    with LocalServer() as server:
        settings = server.settings(topic="alunos")
        session = boto3.Session(**server.credentials)  # type: ignore[arg-type]
        apply(TOPOLOGY, settings, session=session)
        with (
            closing(connect(settings, session=session)) as broker,
            Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher,
            recorded.provider.get_tracer("test").start_as_current_span("request"),
        ):
            published = publisher.publish(Enrolled(nome=CANARY))
            handle(broker, recorded)
    (request,), (publish,) = recorded.named("request"), recorded.named("publish alunos")
    (process,), (received,) = (
        recorded.named(f"{name} alunos-bi") for name in ("process", "receive")
    )
    assert is_child(publish, request)
    assert is_child(process, publish)
    assert is_child(received, publish)
    assert (publish.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert publish.attributes is not None
    assert process.attributes is not None
    assert publish.attributes["messaging.system"] == "aws.sns"
    assert process.attributes["messaging.system"] == "aws_sqs"
    assert publish.attributes["cloudevents.event_id"] == published.id
    assert process.attributes["cloudevents.event_id"] == published.id
    linked = [link.context for link in process.links]
    assert linked == [request.get_span_context(), received.get_span_context()]


def test_each_event_of_many_has_a_span_of_its_own(broker: MemoryBroker, recorded: Recorded) -> None:
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish_many([Enrolled(nome="a"), Enrolled(nome="b")])
        with publisher.buffered() as buffered:
            buffered.publish(Enrolled(nome="c"))
    handle(broker, recorded, 3)
    created, processed = recorded.named("create alunos"), recorded.named("process alunos-bi")
    assert len(created) == len(processed) == 3
    for process in processed:
        assert sum(is_child(process, create) for create in created) == 1


def test_a_trace_goes_on_through_the_outbox_and_its_relay(
    tmp_path: Path, broker: MemoryBroker, recorded: Recorded
) -> None:
    def connection() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "school.db")

    with closing(connection()) as database:
        database.executescript(ddl("sqlite"))
        with database:
            database.execute("BEGIN")
            publisher = Publisher(SqlOutbox(database), source="/x", tracing=recorded.tracing)
            publisher.publish(Enrolled(nome="a"))
    with Relay(connection, broker.topic()) as relay:
        relay.drain()
    handle(broker, recorded)
    (publish,) = (span for span in recorded.spans if span.kind is SpanKind.PRODUCER)
    assert is_child(recorded.named("process alunos-bi")[0], publish)


def test_tracestate_goes_along(broker: MemoryBroker, recorded: Recorded) -> None:
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=TraceContext(FOREIGN, "vendor=1,x=y"))
        publisher.publish(Enrolled(nome="a"), traceparent=FOREIGN)
    consumer = handle(broker, recorded, 2)
    assert [one.extensions for one in consumer.seen] == [{"tracestate": "vendor=1,x=y"}, {}]
    process = recorded.named("process alunos-bi")[0].get_span_context()
    assert process is not None
    assert process.trace_state.to_header() == "vendor=1,x=y"
    assert trace.format_trace_id(process.trace_id) == FOREIGN[3:35]


def test_a_tracestate_that_no_header_may_hold_is_refused(broker: MemoryBroker) -> None:
    with (
        Publisher(broker.topic(), source="/x") as publisher,
        pytest.raises(EventError, match="tracestate: at most 512"),
    ):
        publisher.publish(Enrolled(nome="a"), traceparent=TraceContext(FOREIGN, "a=\n"))


def test_the_message_attribute_of_another_instrumentation_is_read(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Enrolled(nome="a"))
    (plain,) = receive(broker)
    delivery = Delivery(
        queue=plain.queue,
        message_id=plain.message_id,
        receipt=plain.receipt,
        body=plain.body,
        attributes={**plain.attributes, "traceparent": Attribute.string(FOREIGN)},
    )
    Dispatcher(Bi(), middleware=[recorded.tracing])(delivery)
    (process,) = recorded.spans
    assert process.parent is not None
    assert trace.format_span_id(process.parent.span_id) == FOREIGN[36:52]


def test_no_span_holds_a_field_or_the_text_of_an_exception(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome=CANARY, broken=True))
        with pytest.raises(EventError):
            publisher.publish(Enrolled(nome=CANARY), id="")
    handle(broker, recorded)
    (process,) = recorded.named("process alunos-bi")
    assert process.status.status_code is StatusCode.ERROR
    assert process.attributes is not None
    assert process.attributes["error.type"] == "ValueError"
    assert any(
        span.status.status_code is StatusCode.ERROR for span in recorded.named("publish alunos")
    )
    for span in recorded.spans:
        assert CANARY not in span.to_json()


def test_without_an_sdk_nothing_is_traced_and_nothing_is_written(broker: MemoryBroker) -> None:
    with Publisher(broker.topic(), source="/x", tracing=Tracing()) as publisher:
        publisher.publish(Enrolled(nome="a"))
        publisher.publish(Enrolled(nome="a"), traceparent=FOREIGN)
    consumer = Bi()
    dispatch = Dispatcher(consumer, middleware=[Tracing()])
    for delivery in receive(broker, 2):
        dispatch(delivery)
    assert [one.traceparent for one in consumer.seen] == [None, FOREIGN]


def test_the_log_of_a_handler_says_which_message_and_which_trace(
    broker: MemoryBroker, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(LogContext())
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        published = publisher.publish(Enrolled(nome="a"))
    (delivery,) = receive(broker)
    Dispatcher(Bi(), middleware=[with_ids, recorded.tracing])(delivery)
    logging.getLogger("school").warning("beside it")
    inside, outside = (vars(one) for one in caplog.records if one.name == "school")
    context = recorded.named("process alunos-bi")[0].get_span_context()
    assert context is not None
    assert inside["trace_id"] == trace.format_trace_id(context.trace_id)
    assert inside["span_id"] == trace.format_span_id(context.span_id)
    assert (inside["service"], inside["event_id"]) == ("bi", published.id)
    assert inside["message_id"] == delivery.message_id
    assert outside["trace_id"] == outside["event_id"] == ""


def test_a_batch_has_one_span_with_a_link_to_each_publish(
    broker: MemoryBroker, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    class Load(Consumer):
        service = "bi"

        @handles(batch=10)
        def load(self, students: Batch[Enrolled]) -> dict[int, Retry]:
            logging.getLogger("school").warning("inside")
            return {1: Retry(5)}

    caplog.handler.addFilter(LogContext())
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        for nome in (CANARY, "b", "c"):
            publisher.publish(Enrolled(nome=nome))
    run = Dispatcher(Load(), middleware=[with_ids, recorded.tracing]).batch(receive(broker, 3))
    assert run.start() is None
    (process,) = recorded.named("process alunos-bi")
    published = {span.get_span_context().span_id for span in recorded.named("publish alunos")}
    assert {link.context.span_id for link in process.links} == published
    assert process.attributes is not None
    assert process.attributes["messaging.batch.message_count"] == 3
    assert [event.name for event in process.events] == ["retry"]
    assert CANARY not in process.to_json()
    (inside,) = (vars(one) for one in caplog.records if one.name == "school")
    assert (inside["service"], inside["event_id"]) == ("bi", "")
    assert inside["trace_id"] == trace.format_trace_id(process.get_span_context().trace_id)


def test_a_lambda_function_goes_on_with_the_trace(broker: MemoryBroker, recorded: Recorded) -> None:
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"))
    (delivery,) = receive(broker)
    record = {
        "messageId": delivery.message_id,
        "receiptHandle": delivery.receipt,
        "body": delivery.body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1764000000000"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:sa-east-1:000000000000:alunos-bi",
    }
    function = lambda_handler(Bi(), middleware=[recorded.tracing])
    assert function({"Records": [record]}, None) == {"batchItemFailures": []}
    assert is_child(recorded.named("process alunos-bi")[0], recorded.named("publish alunos")[0])


def run_worker(broker: MemoryBroker, *middleware: Any, consumer: Consumer | None = None) -> None:
    with Worker(
        consumer or Bi(), broker=broker, middleware=middleware, wait=0.2, concurrency=1
    ) as worker:
        eventually(lambda: worker.stats.received and not worker.stats.in_flight)


def test_what_settles_a_message_is_a_client_span_in_its_trace(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"))
    run_worker(broker, recorded.tracing)
    (publish,), (receive,) = recorded.named("publish alunos"), recorded.named("receive alunos-bi")
    (process,), (delete,) = recorded.named("process alunos-bi"), recorded.named("delete alunos-bi")
    assert is_child(receive, publish)
    assert is_child(process, publish)
    assert is_child(delete, process)
    assert [link.context for link in process.links] == [receive.get_span_context()]
    assert (receive.kind, delete.kind) == (SpanKind.CLIENT, SpanKind.CLIENT)
    assert delete.attributes is not None
    assert receive.attributes is not None
    assert delete.attributes["messaging.operation.type"] == "settle"
    assert receive.attributes["messaging.operation.type"] == "receive"
    assert receive.start_time is not None
    assert process.start_time is not None
    assert receive.start_time <= process.start_time


def test_a_delete_of_several_links_to_those_that_it_is_no_child_of(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish_many([Enrolled(nome=nome) for nome in "abc"])
    with closing(broker.queue("bi")) as plain:
        queue = recorded.tracing.around_queue(plain)
        deliveries = queue.receive(10, 1)
        dispatch = Dispatcher(Bi(), middleware=[recorded.tracing])
        for delivery in deliveries:
            dispatch(delivery)
        queue.delete(deliveries)
    (delete,) = recorded.named("delete alunos-bi")
    processed = [one.get_span_context() for one in recorded.named("process alunos-bi")]
    parent = delete.parent
    assert parent is not None
    others = [one.span_id for one in processed if one.span_id != parent.span_id]
    assert len(others) == 2
    assert [link.context.span_id for link in delete.links] == others
    assert len(recorded.named("receive alunos-bi")) == 1


def test_a_dead_letter_and_a_release_are_told_by_their_names(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    class Picky(Consumer):
        service = "bi"

        @handles
        def enrolled(self, event: Enrolled) -> None:
            raise Reject("broken") if event.broken else Retry(delay=300)

    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"))
        publisher.publish(Enrolled(nome="b", broken=True))
    run_worker(broker, recorded.tracing, consumer=Picky())
    names = {span.name for span in recorded.spans if span.kind is SpanKind.CLIENT}
    assert {
        "receive alunos-bi",
        "change_visibility alunos-bi",
        "dead_letter alunos-bi",
        "delete alunos-bi",
    } == names


def test_a_refused_delete_is_an_error_and_its_repetition_is_not(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"))
    broker.fail_next("delete", service="bi", code="Busy", retryable=True)
    run_worker(broker, recorded.tracing)
    deletes = recorded.named("delete alunos-bi")
    assert [one.status.status_code for one in deletes] == [StatusCode.ERROR, StatusCode.UNSET]


def test_a_batch_handlers_messages_are_settled_in_its_trace(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    class Load(Consumer):
        service = "bi"

        @handles(batch=10)
        def load(self, students: Batch[Enrolled]) -> None: ...

    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        for nome in "abc":
            publisher.publish(Enrolled(nome=nome))
    run_worker(broker, recorded.tracing, consumer=Load())
    processes = recorded.named("process alunos-bi")
    for delete in recorded.named("delete alunos-bi"):
        assert any(is_child(delete, one) for one in processes)


def test_a_redriven_message_goes_on_with_its_trace(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    class Once(Consumer):
        service = "bi"
        refused = False

        @handles
        def enrolled(self, event: Enrolled) -> None:
            if not Once.refused:
                Once.refused = True
                raise Reject("not yet")

    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"))
    run_worker(broker, recorded.tracing, consumer=Once())
    Workbench(broker.letters("bi")).redrive(dry_run=False)
    run_worker(broker, recorded.tracing, consumer=Once())
    (publish,) = recorded.named("publish alunos")
    refused, again = recorded.named("process alunos-bi")
    assert is_child(refused, publish)
    assert is_child(again, publish)


def test_a_trace_goes_on_through_the_claim_check(
    tmp_path: Path, broker: MemoryBroker, recorded: Recorded
) -> None:
    codec = ClaimCheck(DirectoryBlobStore(tmp_path), threshold=10)
    with Publisher(broker.topic(), source="/x", codec=codec, tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a" * 100))
    Dispatcher(Bi(), codec=codec, middleware=[recorded.tracing])(receive(broker)[0])
    (publish,), (process,) = recorded.named("publish alunos"), recorded.named("process alunos-bi")
    assert is_child(process, publish)


def test_an_async_handler_runs_in_the_trace(broker: MemoryBroker, recorded: Recorded) -> None:
    seen: list[int] = []

    class Later(Consumer):
        service = "bi"

        @handles
        async def enrolled(self, event: Enrolled) -> None:
            seen.append(trace.get_current_span().get_span_context().span_id)

    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"))
    run_worker(broker, recorded.tracing, consumer=Later())
    assert seen == [recorded.named("process alunos-bi")[0].get_span_context().span_id]


@pytest.mark.parametrize("middleware", [(), (with_ids,)], ids=["alone", "beside another"])
def test_a_trace_that_is_not_recorded_goes_on_without_spans(
    middleware: tuple[Any, ...], broker: MemoryBroker
) -> None:
    """What the handler starts or publishes belongs to it, and is not recorded either."""
    seen: list[trace.SpanContext] = []

    class Listens(Consumer):
        service = "bi"

        @handles
        def enrolled(self, event: Enrolled) -> None:
            with provider.get_tracer("own").start_as_current_span("own") as own:
                seen.append(own.get_span_context())

    provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(tracer_provider=provider)
    off = FOREIGN[:-2] + "00"
    with Publisher(broker.topic(), source="/x", tracing=tracing) as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=TraceContext(off, "vendor=1"))
        publisher.publish(Enrolled(nome="b"), traceparent=off)
    dispatch = Dispatcher(Listens(), middleware=[*middleware, tracing])
    for delivery in receive(broker, 2):
        dispatch(delivery)
    assert exporter.get_finished_spans() == ()
    assert {trace.format_trace_id(one.trace_id) for one in seen} == {FOREIGN[3:35]}
    assert [one.trace_state.to_header() for one in seen] == ["vendor=1", ""]
    assert not trace.get_current_span().get_span_context().is_valid
    provider.shutdown()


def test_a_sampler_that_heeds_no_parent_is_asked_all_the_same(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=FOREIGN[:-2] + "00")
    Dispatcher(Bi(), middleware=[Tracing(tracer_provider=provider)])(receive(broker)[0])
    names = {one.name for one in exporter.get_finished_spans()}
    assert names == {"receive alunos-bi", "process alunos-bi"}
    provider.shutdown()


def test_one_event_in_many_is_recorded_as_the_sampler_says(broker: MemoryBroker) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.2)), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(tracer_provider=provider)
    with Publisher(broker.topic(), source="/x", tracing=tracing) as publisher:
        publisher.publish_many(Enrolled(nome="a") for _ in range(500))
    dispatch = Dispatcher(Bi(), middleware=[tracing])
    for _ in range(5):
        for delivery in receive(broker, 100):
            dispatch(delivery)
    spans = [one for one in exporter.get_finished_spans() if not one.name.startswith("receive")]
    created = {one.get_span_context().span_id for one in spans if one.name == "create alunos"}
    processed = [one.parent.span_id for one in spans if one.name != "create alunos" and one.parent]
    assert 50 <= len(created) <= 150  # more than five standard deviations
    assert sorted(processed) == sorted(created)
    for one in spans:
        assert one.attributes is not None
        assert one.attributes["cloudevents.event_type"] == "aluno.cadastrado"
    provider.shutdown()


def test_baggage_that_is_named_travels_and_the_rest_does_not(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    seen: list[dict[str, object]] = []

    class Listens(Consumer):
        service = "bi"

        @handles
        def enrolled(self, event: Enrolled) -> None:
            seen.append(dict(baggage.get_all()))

    tracing = Tracing(tracer_provider=recorded.provider, baggage=["escola", "turma"])
    context = baggage.set_baggage("escola", "a b,c", baggage.set_baggage("cpf", CANARY))
    token = attach(context)
    try:
        with Publisher(broker.topic(), source="/x", tracing=tracing) as publisher:
            publisher.publish(Enrolled(nome="a"))
    finally:
        detach(token)
    (delivery,) = receive(broker)
    assert CANARY not in delivery.body
    Dispatcher(Listens(), middleware=[tracing])(delivery)
    Dispatcher(Listens(), middleware=[recorded.tracing])(delivery)  # which named none
    assert seen == [{"escola": "a b,c"}, {}]
    with pytest.raises(ConfigurationError, match="escola"):
        Tracing(baggage="escola")


def test_baggage_that_no_header_may_hold_is_refused(broker: MemoryBroker) -> None:
    with (
        Publisher(broker.topic(), source="/x") as publisher,
        pytest.raises(EventError, match="baggage: at most 8192"),
    ):
        publisher.publish(Enrolled(nome="a"), traceparent=TraceContext(FOREIGN, "", "a=\n"))


XRAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def test_the_header_of_xray_beside_a_message_is_the_parent_where_nothing_else_is(
    recorded: Recorded,
) -> None:
    """As SNS with active tracing gives it, and Lambda hands it on."""
    event = lambda_event(Bi, Enrolled(nome="a"))
    event["Records"][0]["attributes"]["AWSTraceHeader"] = XRAY
    lambda_handler(Bi(), middleware=[recorded.tracing])(event, None)
    (process,) = recorded.spans
    assert process.parent is not None
    assert trace.format_trace_id(process.parent.trace_id) == "5759e988bd862e3fe1be46a994272793"
    assert trace.format_span_id(process.parent.span_id) == "53995c3f42cd8ad8"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (XRAY, "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"),
        (
            XRAY.replace("Sampled=1", "Sampled=0") + ";Lineage=a:1",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00",
        ),
        ("Root=1-5759e988-bd862e3fe1be46a994272793", None),
        ("Self=1;Root=2-5759e988-x;Parent=53995c3f42cd8ad8", None),
        ("", None),
        (None, None),
    ],
)
def test_a_header_of_xray_is_read_or_left(header: str | None, said: str | None) -> None:
    assert from_xray(header) == said


# -- traces that are not recorded


class Sampled(Recorded):
    """A provider with this sampler."""

    def __init__(self, sampler: Sampler, **keywords: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False, **keywords)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(tracer_provider=self.provider)


def publish_many(broker: MemoryBroker, tracing: Tracing, count: int) -> list[str]:
    """The traceparents of so many events, in a batch."""
    with Publisher(broker.topic(), source="/x", tracing=tracing) as publisher:
        publisher.publish_many([Enrolled(nome="a") for _ in range(count)])
    consumer = Bi()
    dispatch = Dispatcher(consumer)
    for delivery in receive(broker, count):
        dispatch(delivery)
    return [str(one.traceparent) for one in consumer.seen]


class DatedIds(RandomIdGenerator):
    """As X-Ray wants ids: they begin with the time."""

    def generate_trace_id(self) -> int:
        return 0x6A1B2C3D << 96 | random.getrandbits(96)

    def is_trace_id_random(self) -> bool:
        return False


@pytest.mark.parametrize("ids", [RandomIdGenerator(), DatedIds()], ids=["random", "dated"])
def test_a_trace_that_begins_here_is_recorded_by_its_id_as_the_sampler_says(
    broker: MemoryBroker, ids: RandomIdGenerator
) -> None:
    sampled = Sampled(ParentBased(TraceIdRatioBased(0.4)), id_generator=ids)
    said = publish_many(broker, sampled.tracing, 100)
    sampled.provider.shutdown()
    by_id = TraceIdRatioBased(0.4)
    for one in said:
        decision = by_id.should_sample(None, int(one[3:35], 16), "x").decision
        assert decision.is_sampled() is bool(int(one[53:], 16) & 1), one
    recorded = {one.get_span_context().trace_id for one in sampled.spans}  # type: ignore[union-attr]
    assert recorded == {int(one[3:35], 16) for one in said if int(one[53:], 16) & 1}
    assert 10 < len(recorded) < 80
    assert len({one[3:35] for one in said}) == len({one[36:52] for one in said}) == 100
    if isinstance(ids, DatedIds):
        assert {one[:11] for one in said} == {"00-6a1b2c3d"}


class Lying(Sampler):
    """It has the description of another one."""

    def should_sample(self, *given: Any, **named: Any) -> Any:
        return ALWAYS_ON.should_sample(*given, **named)

    def get_description(self) -> str:
        return ParentBased(TraceIdRatioBased(0.0)).get_description()


def test_a_sampler_is_not_taken_at_its_word(broker: MemoryBroker) -> None:
    lying = Sampled(Lying())
    publish_many(broker, lying.tracing, 5)
    assert len(lying.named("create alunos")) == 5
    lying.provider.shutdown()


def test_a_message_without_a_trace_begins_one_where_it_is_handled(broker: MemoryBroker) -> None:
    contexts: list[trace.SpanContext] = []

    class Watching(Consumer):
        service = "bi"

        @handles
        def enrolled(self, event: Enrolled) -> None:
            contexts.append(trace.get_current_span().get_span_context())

    sampled = Sampled(ParentBased(TraceIdRatioBased(0.4)))
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish_many([Enrolled(nome="a") for _ in range(100)])
    dispatch = Dispatcher(Watching(), middleware=[sampled.tracing])
    for delivery in receive(broker, 100):
        dispatch(delivery)
    sampled.provider.shutdown()
    recorded = {one.get_span_context().trace_id for one in sampled.named("process alunos-bi")}  # type: ignore[union-attr]
    assert recorded == {one.trace_id for one in contexts if one.trace_flags.sampled}
    assert 10 < len(recorded) < 80
    assert len({one.trace_id for one in contexts}) == 100


def sdk_calls(run: Any) -> list[str]:
    """Which functions of OpenTelemetry's SDK `run` calls in this thread."""
    found: list[str] = []

    def called(frame: Any, event: str, _: Any) -> None:
        if event == "call" and "/opentelemetry/sdk/" in frame.f_code.co_filename:
            found.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        run()
    finally:
        sys.setprofile(before)
    return found


def test_an_event_whose_trace_is_not_recorded_costs_no_call_of_the_sdk(
    broker: MemoryBroker,
) -> None:
    off = Sampled(ParentBased(TraceIdRatioBased(0.0)))
    events = [Enrolled(nome="a") for _ in range(20)]
    with Publisher(broker.topic(), source="/x", tracing=off.tracing) as publisher:
        publisher.publish(events[0])
        said = sdk_calls(lambda: publisher.publish_many(events))
        # But for the number itself: it is the SDK's generator that makes it.
        assert set(said) <= {"generate_trace_id"}
        with off.provider.get_tracer("import").start_as_current_span("import"):
            assert sdk_calls(lambda: publisher.publish_many(events)) == []
    dispatch = Dispatcher(Bi(), middleware=[off.tracing])
    first, *others = receive(broker, 41)
    dispatch(first)
    assert sdk_calls(lambda: [dispatch(one) for one in others]) == []
    off.provider.shutdown()


def test_events_that_are_made_in_different_traces_each_go_on_in_their_own(
    broker: MemoryBroker,
) -> None:
    """The trace is looked at for each event, although `publish_many` is one call."""
    half = Sampled(ParentBased(ALWAYS_ON))
    traces = [FOREIGN[:3] + f"{number:032x}" + FOREIGN[35:-2] for number in range(1, 5)]
    said = [one + flags for one, flags in zip(traces, ("00", "01", "00", "00"), strict=True)]

    def events() -> Iterator[Enrolled]:
        for one in said:
            token = attach(extracted(one, "vendor=1" if one == said[2] else ""))
            yield Enrolled(nome="a")
            detach(token)
            yield Enrolled(nome="b")

    with Publisher(broker.topic(), source="/x", tracing=half.tracing) as publisher:
        publisher.publish_many(events())
    consumer = Bi()
    for delivery in receive(broker, 8):
        Dispatcher(consumer)(delivery)
    came = [str(one.traceparent) for one in consumer.seen]
    assert len(came) == 8
    assert [one for one in said if one in came] == [said[0], said[2], said[3]]
    assert [one.extensions for one in consumer.seen if one.extensions] == [
        {"tracestate": "vendor=1"}
    ]
    ids = [one.get_span_context().trace_id for one in half.named("create alunos")]  # type: ignore[union-attr]
    assert len(ids) == 5
    assert ids.count(2) == 1
    assert not {1, 3, 4} & {*ids}
    half.provider.shutdown()


@pytest.mark.parametrize("flags", ["00", "02"], ids=["not random", "random"])
def test_the_flags_of_a_trace_go_along(broker: MemoryBroker, flags: str) -> None:
    """W3C Trace Context, level 2: 02 says that the id is random, and nothing of recording."""
    said = FOREIGN[:-2] + flags
    off = Sampled(ParentBased(ALWAYS_ON, remote_parent_not_sampled=ALWAYS_OFF))
    onward: list[str] = []

    class Passing(Consumer):
        service = "bi"

        @handles
        def enrolled(self, event: Enrolled) -> None:
            onward.append(str(off.tracing.producing("alunos", Enrolled, None, alone=False)))

    with Publisher(broker.topic(), source="/x", tracing=off.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=said)
    Dispatcher(Passing(), middleware=[off.tracing])(receive(broker)[0])
    assert onward == [said]
    assert off.spans == ()
    off.provider.shutdown()


def test_a_tracestate_that_is_too_long_for_a_header_loses_its_end_and_not_the_event(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    long = ",".join(f"vendor{number}={'x' * 200}" for number in range(4))
    state = trace.TraceState.from_header([long])
    context = trace.SpanContext(
        1, 2, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state
    )
    token = attach(trace.set_span_in_context(trace.NonRecordingSpan(context)))
    try:
        with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
            publisher.publish(Enrolled(nome="a"))
    finally:
        detach(token)
    (envelope,) = handle(broker, recorded).seen
    assert envelope.extensions["tracestate"] == ",".join(long.split(",")[:2])


def test_a_traceparent_that_is_none_does_not_break_the_handler_that_asks_for_its_trace(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    found: list[bool] = []

    class Asking(Consumer):
        service = "bi"

        @handles
        def enrolled(self, event: Enrolled) -> None:
            found.append(trace.get_current_span().get_span_context().is_valid)

    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=FOREIGN[:-2] + "00")
    (delivery,) = receive(broker)
    body = delivery.body.replace("0af7651916cd", "zzzzzzzzzzzz")
    odd = Delivery(queue=delivery.queue, message_id="1", receipt="r", body=body)
    assert isinstance(Dispatcher(Asking(), middleware=[recorded.tracing])(odd), Outcome)
    assert found == [False]


def test_a_forked_process_begins_other_traces_than_its_parent() -> None:
    """Ids are drawn ahead; what is left of them must not be used twice."""
    program = """
import os
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from messaging.tracing import Tracing

sampler = ParentBased(TraceIdRatioBased(0.1))
tracing = Tracing(tracer_provider=TracerProvider(sampler=sampler))

def begun(count):
    for _ in range(count):
        made = tracing.producing("alunos", object, None, alone=True)
        if isinstance(made, str):
            print(made[3:35], flush=True)

begun(5)
child = os.fork()
begun(100)
if child:
    os.waitpid(child, 0)
"""
    run = [sys.executable, "-c", program]
    said = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    assert len(said) > 150
    assert len(set(said)) == len(said)


# -- a handler whose trace is not recorded sees the same context on the short way as on the long one

OFF = FOREIGN[:-2] + "00"


class Plainly:
    """A tracing, as a middleware that is never passed over."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def __call__(self, call: Any) -> Any:
        return self._tracing(call)


def looked_at(broker: MemoryBroker, middleware: Any, look: Callable[[], object]) -> object:
    """What `look` finds in the handler of an event whose trace is not recorded."""
    found: list[object] = []

    class Looking(Consumer):
        service = "bi"

        @handles
        def enrolled(self, event: Enrolled) -> None:
            found.append(look())

    with Publisher(broker.topic(), source="/x") as publisher:
        for _ in range(3):
            publisher.publish(Enrolled(nome="a"), traceparent=OFF)
    dispatch = Dispatcher(Looking(), middleware=[middleware])
    for delivery in receive(broker, 3):
        assert isinstance(dispatch(delivery), Outcome)
    assert found[0] == found[1] == found[2]
    return found[2]


LOOKS: dict[str, Callable[[], object]] = {
    "the current span": lambda: trace.get_current_span().get_span_context(),
    "whether it is recorded": lambda: trace.get_current_span().is_recording(),
    "the names in its context": lambda: sorted(one.split("-")[0] for one in get_current()),
    "how many those are": lambda: (len(get_current()), len(list(get_current().keys()))),
    "a copy of its context": lambda: trace.get_current_span(
        Context(get_current().copy())
    ).get_span_context(),
    "its context in another one": lambda: trace.get_current_span(
        Context({**get_current(), "a": 1})
    ).get_span_context(),
    "its context beside baggage": lambda: trace.get_current_span(
        baggage.set_baggage("a", "b")
    ).get_span_context(),
    "its context in a thread": lambda: in_a_thread(contextvars.copy_context()),
    "what it would tell others": lambda: injected(),
}


def in_a_thread(context: contextvars.Context) -> object:
    found: list[object] = []

    def look() -> None:
        found.append(trace.get_current_span().get_span_context())

    thread = threading.Thread(target=context.run, args=[look])
    thread.start()
    thread.join()
    return found[0]


def injected() -> object:
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier


@pytest.mark.parametrize("look", LOOKS)
def test_a_handler_finds_the_producers_trace_however_it_looks(
    broker: MemoryBroker, look: str
) -> None:
    sampled = Sampled(ParentBased(TraceIdRatioBased(0.5)))
    short = looked_at(broker, sampled.tracing, LOOKS[look])
    assert short == looked_at(broker, Plainly(sampled.tracing), LOOKS[look])
    if look == "what it would tell others":
        assert short == {"traceparent": OFF}
    sampled.provider.shutdown()


@pytest.mark.parametrize("way", ["short", "long"])
def test_what_a_handler_publishes_goes_on_with_a_trace_that_is_not_recorded(
    broker: MemoryBroker, way: str
) -> None:
    sampled = Sampled(ParentBased(ALWAYS_ON))
    onward: list[str] = []

    def look() -> None:
        onward.append(str(sampled.tracing.producing("alunos", Enrolled, None, alone=True)))

    middleware = sampled.tracing if way == "short" else Plainly(sampled.tracing)
    looked_at(broker, middleware, look)
    assert onward == [OFF] * 3
    assert sampled.spans == ()
    sampled.provider.shutdown()


def test_what_the_program_has_put_into_the_context_is_there_in_the_handler(
    broker: MemoryBroker,
) -> None:
    """A worker's thread has none of it; a program that calls the dispatcher itself may."""
    sampled = Sampled(ParentBased(ALWAYS_ON))
    token = attach(baggage.set_baggage("escola", "central"))
    try:
        found = looked_at(
            broker,
            sampled.tracing,
            lambda: (baggage.get_baggage("escola"), trace.get_current_span().get_span_context()),
        )
    finally:
        detach(token)
    assert isinstance(found, tuple)
    assert found[0] == "central"
    assert trace.format_trace_id(found[1].trace_id) == OFF[3:35]
    sampled.provider.shutdown()


def test_a_message_that_is_settled_late_is_settled_in_its_trace(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    """However many others were settled in between; and nothing is left of it."""
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"))
    with Publisher(broker.topic(), source="/x") as publisher:
        for _ in range(3):
            publisher.publish(Enrolled(nome="b"), traceparent=OFF)
    with closing(broker.queue("bi")) as plain:
        queue = recorded.tracing.around_queue(plain)
        dispatch = Dispatcher(Bi(), middleware=[recorded.tracing])
        deliveries = queue.receive(10, 1)
        for delivery in deliveries:
            dispatch(delivery)
        for delivery in reversed(deliveries):
            queue.delete([delivery])
        del delivery, deliveries
        gc.collect()
        assert not recorded.tracing._handled.any(), "else every delete would be looked at"
    (delete,), (process,) = recorded.named("delete alunos-bi"), recorded.named("process alunos-bi")
    assert is_child(delete, process)


def test_the_processs_provider_is_found_that_is_set_after_tracing_was_made() -> None:
    """As an agent or a program's main does it; before, nothing is traced."""
    program = f"""
import contextvars
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from messaging.tracing import Tracing

tracing = Tracing()

def handled_in():
    context = contextvars.copy_context()
    assert tracing.lets_pass("{OFF}", context)
    return context.run(lambda: trace.get_current_span().get_span_context().trace_id)

print(handled_in(), tracing.producing("alunos", object, None, alone=True))
trace.set_tracer_provider(TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.0))))
for _ in range(2):
    begun = tracing.producing("alunos", object, None, alone=True)
    print(f"{{handled_in():032x}}", begun[-3:])
"""
    run = [sys.executable, "-c", program]
    said = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ["0 None", *[f"{OFF[3:35]} -02"] * 2]
