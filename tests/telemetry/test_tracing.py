"""Traces with the SDK of OpenTelemetry: who is whose parent, and what no span may hold."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from messaging import (
    Consumer,
    Envelope,
    Event,
    MemoryBroker,
    Publisher,
    Topology,
    handles,
)
from messaging.aws import apply, connect
from messaging.consuming.batch import Batch
from messaging.consuming.dispatch import Dispatcher
from messaging.envelope import TraceContext
from messaging.errors import EventError
from messaging.lambda_handler import lambda_handler
from messaging.local import LocalServer
from messaging.log_context import LogContext, with_ids
from messaging.outbox import Relay, SqlOutbox, ddl
from messaging.outcome import Outcome, Retry
from messaging.tracing import Tracing
from messaging.transport import Attribute, Broker, Delivery

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
    (process,) = recorded.named("process alunos-bi")
    assert is_child(publish, request)
    assert is_child(process, publish)
    assert (publish.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert publish.attributes is not None
    assert process.attributes is not None
    assert publish.attributes["messaging.system"] == "aws.sns"
    assert process.attributes["messaging.system"] == "aws_sqs"
    assert publish.attributes["cloudevents.event_id"] == published.id
    assert process.attributes["cloudevents.event_id"] == published.id
    assert [link.context for link in process.links] == [request.get_span_context()]


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
