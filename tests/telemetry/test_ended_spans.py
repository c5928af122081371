"""Spans that are over are given to the SDK's processors without being started: nobody may see a
difference, and who looks at a span while it lasts gets one that was started."""

from __future__ import annotations

import contextvars
import copy
import gc
import json
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pickle import dumps, loads
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import (
    RandomIdGenerator,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    AlwaysRecordSampler,
    ParentBased,
    TraceIdRatioBased,
)
from opentelemetry.trace import Span, SpanKind, StatusCode
from pydantic import field_serializer

from messaging import (
    Consumer,
    Event,
    MemoryBroker,
    Publisher,
    PublishError,
    Topology,
    Worker,
    handles,
)
from messaging.consuming.dispatch import Call, Dispatcher
from messaging.errors import EventError
from messaging.log_context import LogContext
from messaging.outcome import Ack, Discard, Outcome, Reject
from messaging.tracing import Tracing
from messaging.tracing.contexts import remote
from messaging.tracing.ended import DirectSpans
from messaging.tracing.provided import Provided
from messaging.tracing.requests import Handled
from messaging.transport import Delivery
from tests.programs import eventually
from tests.telemetry.recorded import Recorded

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Enrolled(Event, type="aluno.cadastrado", version=1):
    nome: str


class Bi(Consumer):
    service = "bi"

    def __init__(self, does: Callable[[], object] = lambda: None) -> None:
        self.does = does

    @handles
    def enrolled(self, event: Enrolled) -> None:
        self.does()


class Watching(SpanProcessor):
    """A processor that looks at spans when they start: so each must be started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        self.started.append(span.name)


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with closing(MemoryBroker(Topology.of(Bi, topic="alunos", owns_topic=True))) as broker:
        yield broker


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    recorded = Recorded()
    yield recorded
    recorded.provider.shutdown()


def through(broker: MemoryBroker, recorded: Recorded, does: Callable[[], object]) -> None:
    """One of many events, from its publisher to the request that deletes it."""
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish_many([Enrolled(nome="a")])
    with Worker(Bi(does), broker=broker, middleware=[recorded.tracing]):
        eventually(lambda: any(one.startswith(("delete", "dead")) for one in recorded.spans))


def told(span: ReadableSpan, known: dict[str, ReadableSpan]) -> dict[str, Any]:
    """All that a span says, with names in place of ids and times."""

    def name_of(context: Any) -> str:
        for name, one in known.items():
            own = one.get_span_context()
            assert own is not None
            if own.span_id == context.span_id:
                return f"{name}, {own.trace_id == context.trace_id}, {context.is_remote}"
        return "unknown"

    said = json.loads(span.to_json())
    own = span.get_span_context()
    assert own is not None
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.instrumentation_scope is not None
    names = {"messaging.message.id", "cloudevents.event_id"}
    return {
        **{name: said[name] for name in ("name", "kind", "status", "resource")},
        "attributes": {
            name: value if name not in names else "an id"
            for name, value in said["attributes"].items()
        },
        "events": [one["name"] for one in said["events"]],
        "flags": own.trace_flags,
        "state": own.trace_state.to_header(),
        "remote": own.is_remote,
        "parent": None if span.parent is None else name_of(span.parent),
        "links": [(name_of(one.context), dict(one.attributes or {})) for one in span.links],
        "order": span.start_time <= span.end_time,
        "scope": (span.instrumentation_scope.name, span.instrumentation_scope.schema_url),
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
    }


def well() -> None: ...


def fails() -> None:
    raise ValueError("nome")


def rejects() -> None:
    raise Reject("broken")


def discards() -> None:
    raise Discard("too old")


@pytest.mark.parametrize("does", [well, rejects, discards])
def test_a_span_that_was_not_started_says_the_same_as_one_that_was(
    broker: MemoryBroker, does: Callable[[], object]
) -> None:
    found: list[dict[str, Any]] = []
    for processors in ((), (Watching(),)):
        recorded = Recorded(None, *processors)
        through(broker, recorded, does)
        spans = recorded.spans
        found.append({name: told(span, spans) for name, span in spans.items()})
        encoded = encode_spans(list(spans.values()))  # what OTLP sends
        assert sum(len(one.scope_spans[0].spans) for one in encoded.resource_spans) == len(spans)
        recorded.provider.shutdown()
        for processor in processors:
            assert set(processor.started) == set(spans)
    assert found[0] == found[1]
    assert len(found[0]) >= 4


def test_whoever_looks_at_a_span_while_it_lasts_gets_it(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    def look() -> None:
        span = trace.get_current_span()
        assert span.is_recording()
        span.set_attribute("turma", 7)
        with recorded.provider.get_tracer("x").start_as_current_span("within"):
            pass

    through(broker, recorded, look)
    process, within = recorded.spans["process alunos-bi"], recorded.spans["within"]
    assert (process.attributes or {})["turma"] == 7
    assert within.parent == process.get_span_context()
    assert recorded.spans["delete alunos-bi"].parent == process.get_span_context()
    assert [one.context for one in process.links] == [
        recorded.spans["receive alunos-bi"].get_span_context()
    ]


def test_it_began_when_the_handler_did_and_not_when_it_was_looked_at(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    found: list[int] = []

    def look() -> None:
        with recorded.provider.get_tracer("x").start_as_current_span("first"):
            pass
        found.append(1)

    through(broker, recorded, look)
    process, first = recorded.spans["process alunos-bi"], recorded.spans["first"]
    assert found
    assert process.start_time is not None
    assert first.start_time is not None
    assert process.start_time <= first.start_time


def test_a_log_line_of_the_handler_names_the_span(
    broker: MemoryBroker, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(LogContext())
    through(broker, recorded, lambda: logging.getLogger("school").warning("handled"))
    [line] = [one for one in caplog.records if one.name == "school"]
    own = recorded.spans["process alunos-bi"].get_span_context()
    assert own is not None
    assert line.__dict__["trace_id"] == f"{own.trace_id:032x}"
    assert line.__dict__["span_id"] == f"{own.span_id:016x}"


def test_who_looks_only_after_the_handler_finds_the_same_span(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    """A thread that a handler starts and does not wait for."""
    left: list[contextvars.Context] = []
    through(broker, recorded, lambda: left.append(contextvars.copy_context()))
    span: Span = left[0].run(trace.get_current_span)
    assert span.get_span_context() == recorded.spans["process alunos-bi"].get_span_context()
    assert not span.is_recording()
    span.set_attribute("late", 1)  # which no span takes that is over


def test_threads_that_look_at_once_get_one_span(broker: MemoryBroker, recorded: Recorded) -> None:
    found: set[int] = set()

    def look() -> None:
        threads = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=[lambda: found.add(trace.get_current_span().get_span_context().span_id)],
            )
            for _ in range(8)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    through(broker, recorded, look)
    own = recorded.spans["process alunos-bi"].get_span_context()
    assert own is not None
    assert found == {own.span_id}


def test_a_handler_that_fails_unseen_is_an_error(broker: MemoryBroker, recorded: Recorded) -> None:
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Enrolled(nome="Zuleica"), traceparent=SAMPLED)
    with closing(broker.queue("bi")) as queue:
        [delivery] = queue.receive(1, 1)
    Dispatcher(Bi(fails), middleware=[recorded.tracing])(delivery)
    span = recorded.spans["process alunos-bi"]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert "Zuleica" not in span.to_json()


def test_a_processor_that_is_added_later_sees_each_span_start(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    through(broker, recorded, lambda: None)
    recorded.exporter.clear()
    watching = Watching()
    recorded.provider.add_span_processor(watching)
    through(broker, recorded, lambda: None)
    assert sorted(watching.started) == sorted(recorded.spans)
    assert len(watching.started) == 4


def test_a_batch_of_spans_is_exported_too(broker: MemoryBroker) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    recorded = Recorded()
    recorded.provider, recorded.exporter = provider, exporter
    recorded.tracing = Tracing(tracer_provider=provider)
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish_many([Enrolled(nome="a")])
    provider.force_flush()
    assert list(recorded.spans) == ["create alunos"]
    provider.shutdown()


class Adding(ParentBased):
    """A sampler that may add attributes."""


LIMITED = SpanLimits(max_span_attribute_length=3)


@pytest.mark.parametrize(
    ("sampler", "limits"),
    [
        (ParentBased(ALWAYS_ON), LIMITED),
        (ParentBased(ALWAYS_ON), SpanLimits(max_attributes=2)),
        (ParentBased(ALWAYS_ON), SpanLimits(max_links=0)),
        (ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF), None),
        (ParentBased(ALWAYS_ON, remote_parent_sampled=ALWAYS_OFF), None),
        (ALWAYS_ON, None),
        (TraceIdRatioBased(0.5), None),
        (ParentBased(ParentBased(ALWAYS_ON), remote_parent_sampled=ALWAYS_OFF), None),
        (Adding(ALWAYS_ON), None),
        (AlwaysRecordSampler(ParentBased(ALWAYS_OFF)), None),
    ],
    ids=[
        *("short", "few", "alone", "local", "remote", "always", "by chance"),
        *("nested", "a subclass", "record only"),
    ],
)
def test_where_the_sdk_has_more_to_say_it_is_asked(sampler: Any, limits: SpanLimits | None) -> None:
    provider = TracerProvider(sampler=sampler, span_limits=limits, shutdown_on_exit=False)
    assert Provided.of(provider).known is None


def test_the_sdks_own_count_of_spans_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    assert Provided.of(TracerProvider(shutdown_on_exit=False)).known is None
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "false")
    assert Provided.of(TracerProvider(shutdown_on_exit=False)).known is not None


@pytest.mark.parametrize("lacking", ["_instrumentation_scope", "resource", "_span_limits"])
def test_another_version_of_the_sdk_is_asked(lacking: str) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("messaging")
    assert DirectSpans.of(provider, tracer) is not None
    delattr(tracer, lacking)
    assert DirectSpans.of(provider, tracer) is None


def test_a_limit_on_the_length_of_attributes_is_kept(broker: MemoryBroker) -> None:
    recorded = Recorded()
    recorded.provider = TracerProvider(span_limits=LIMITED, shutdown_on_exit=False)
    recorded.provider.add_span_processor(SimpleSpanProcessor(recorded.exporter))
    recorded.tracing = Tracing(tracer_provider=recorded.provider)
    through(broker, recorded, lambda: None)
    for span in recorded.spans.values():
        assert all(
            len(one) <= 3 for one in (span.attributes or {}).values() if isinstance(one, str)
        )
    recorded.provider.shutdown()


def test_a_message_is_released_with_its_delivery_and_not_by_the_garbage_collector(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    """A body is personal data; and until then, each delete would be looked at."""
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=SAMPLED)
    with closing(broker.queue("bi")) as queue:
        deliveries: list[Delivery] = list(queue.receive(1, 1))
    dispatch = Dispatcher(Bi(), middleware=[recorded.tracing])
    noted: weakref.ReferenceType[Any]
    gc.disable()
    try:
        assert isinstance(dispatch(deliveries[0]), Outcome)
        noted = weakref.ref(vars(deliveries[0])["_handled_in"])
        assert recorded.tracing._handled.any() == 1
        with closing(broker.queue("bi")) as queue:
            queue.delete(deliveries)
        deliveries.clear()
        assert noted() is None
        assert recorded.tracing._handled.any() == 0
    finally:
        gc.enable()


def test_what_is_made_for_one_of_many_events_is_made_in_its_trace(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    seen: list[Any] = []

    class Seen(Event, type="aluno.cadastrado", version=1):
        nome: str

        @field_serializer("nome")
        def write(self, nome: str) -> str:
            seen.append(trace.get_current_span().get_span_context())
            return nome

    tracer = recorded.provider.get_tracer("x")
    with (
        Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher,
        tracer.start_as_current_span("import") as around,
    ):
        publisher.publish_many([Seen(nome="a")])
    create = recorded.spans["create alunos"]
    assert create.kind is SpanKind.PRODUCER
    assert create.parent == around.get_span_context()
    assert create.get_span_context() in seen
    [message] = broker.messages("bi")
    own = create.get_span_context()
    assert own is not None
    assert f"00-{own.trace_id:032x}-{own.span_id:016x}-03" in message.body
    assert (create.attributes or {})["cloudevents.event_id"] in message.body


def test_an_event_that_cannot_be_written_is_an_error_of_its_span(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    with (
        Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher,
        pytest.raises(PublishError),
    ):
        publisher.publish_many([Enrolled(nome="x" * 300_000)])
    create = recorded.spans["create alunos"]
    assert create.status.status_code is StatusCode.ERROR
    assert (create.attributes or {})["error.type"] == "EventTooLarge"


@pytest.mark.parametrize("many", [False, True])
def test_a_traceparent_of_somebody_elses_tracing_is_checked(
    broker: MemoryBroker, many: bool
) -> None:
    class Odd:
        def producing(self, *said: object, **more: object) -> str:
            return '"odd'

    with Publisher(broker.topic(), source="/x", tracing=Odd()) as publisher:
        publish: Callable[[], object] = lambda: publisher.publish(Enrolled(nome="a"))  # noqa: E731
        if many:
            publish = lambda: publisher.publish_many([Enrolled(nome="a")])  # noqa: E731
        with pytest.raises((EventError, PublishError), match="traceparent"):
            publish()
    assert not broker.messages("bi")


def test_a_sampler_is_not_known_by_what_is_nested_in_it() -> None:
    sampler = ParentBased(ParentBased(ALWAYS_OFF), remote_parent_not_sampled=ALWAYS_ON)
    assert not Provided.of(TracerProvider(sampler=sampler, shutdown_on_exit=False)).heeds
    sampler = ParentBased(ParentBased(ALWAYS_OFF))
    assert Provided.of(TracerProvider(sampler=sampler, shutdown_on_exit=False)).heeds


def test_a_programs_own_way_to_call_its_processors_is_heeded() -> None:
    class Own(SynchronousMultiSpanProcessor):
        pass

    provider = TracerProvider(active_span_processor=Own(), shutdown_on_exit=False)
    assert Provided.of(provider).known is None


@pytest.mark.parametrize("zeros", [slice(3, 35), slice(36, 52)], ids=["trace", "span"])
def test_ids_of_zeros_name_no_trace(broker: MemoryBroker, recorded: Recorded, zeros: slice) -> None:
    """Anyone may send them; a collector refuses such spans."""
    length = len(SAMPLED[zeros])
    zero = SAMPLED[: zeros.start] + "0" * length + SAMPLED[zeros.stop :]
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=zero)
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=zero)
    with Worker(Bi(), broker=broker, middleware=[recorded.tracing]):
        eventually(lambda: "delete alunos-bi" in recorded.spans)
        eventually(lambda: broker.messages("bi") == ())
    for span in recorded.exporter.get_finished_spans():
        own = span.get_span_context()
        assert own is not None
        assert own.is_valid
        assert span.parent is None or span.parent.is_valid


def test_a_handler_that_logs_has_its_trace_afterwards(
    broker: MemoryBroker, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(LogContext())
    found: list[Any] = []

    def log_and_look() -> None:
        logging.getLogger("school").warning("handled")
        found.append(trace.get_current_span().get_span_context())

    through(broker, recorded, log_and_look)
    assert found == [recorded.spans["process alunos-bi"].get_span_context()]


def test_a_slow_export_does_not_hold_up_other_handlers(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    """Nor lock it up for good, if it logs and the log handler asks for the trace."""
    handled, waited = threading.Event(), []

    class Slow(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            if spans[0].name.startswith("receive") and not waited:
                waited.append(1)
                assert handled.wait(10)
            return super().export(spans)

    recorded.provider.add_span_processor(SimpleSpanProcessor(Slow()))
    with Publisher(broker.topic(), source="/x") as publisher:
        for _ in range(2):
            publisher.publish(Enrolled(nome="a"), traceparent=SAMPLED)
    dispatch = Dispatcher(Bi(lambda: trace.get_current_span()), middleware=[recorded.tracing])
    with closing(broker.queue("bi")) as plain:
        queue = recorded.tracing.around_queue(plain)
        deliveries = [queue.receive(1, 1)[0] for _ in range(2)]
        slow = threading.Thread(target=dispatch, args=[deliveries[0]])
        slow.start()
        eventually(lambda: waited)
        other = threading.Thread(target=dispatch, args=[deliveries[1]])
        other.start()
        other.join(5)
        stuck = other.is_alive()
        handled.set()
        slow.join()
    assert not stuck


class Together(RandomIdGenerator):
    """Gives two threads their span ids at the same time."""

    barrier: threading.Barrier | None = None

    def generate_span_id(self) -> int:
        if self.barrier is not None:
            self.barrier.wait()
        return super().generate_span_id()


def test_a_receive_whose_messages_are_handled_at_the_same_time_is_one_span(
    broker: MemoryBroker,
) -> None:
    exporter, found = InMemorySpanExporter(), []
    ids = Together()
    provider = TracerProvider(id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish_many([Enrolled(nome="a"), Enrolled(nome="b")])
    with closing(broker.queue("bi")) as queue:
        deliveries = queue.receive(10, 1)
    provided, parent, handled = Provided.of(provider), remote(SAMPLED, ""), Handled()
    ids.barrier = threading.Barrier(2, timeout=10)

    def ask(delivery: Delivery) -> None:
        found.append(handled.received(provided, delivery, parent))

    threads = [threading.Thread(target=ask, args=[one]) for one in deliveries]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    [span] = exporter.get_finished_spans()
    assert found == [span.get_span_context()] * 2
    assert (span.attributes or {})["messaging.batch.message_count"] == 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: loads(dumps(one))])
def test_a_message_is_copied_whether_or_not_its_trace_is_recorded(
    broker: MemoryBroker, recorded: Recorded, copied: Callable[[Delivery], Delivery]
) -> None:
    """By a program that hands it to another process, for one."""
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish_many([Enrolled(nome="a"), Enrolled(nome="b")])
    with closing(broker.queue("bi")) as queue:
        first, other = queue.receive(10, 1)
    Dispatcher(Bi(), middleware=[recorded.tracing])(first)
    assert "receive alunos-bi" in recorded.spans
    for one in first, other:
        assert copied(one) == one
        assert copied(one).receive is not None


def test_a_provider_may_be_unhashable(broker: MemoryBroker, recorded: Recorded) -> None:
    @dataclass
    class Own(trace.TracerProvider):
        inner: TracerProvider

        def get_tracer(self, *said: Any, **more: Any) -> trace.Tracer:
            return self.inner.get_tracer(*said, **more)

    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=SAMPLED)
    with closing(broker.queue("bi")) as queue:
        [delivery] = queue.receive(10, 1)
    tracing = Tracing(tracer_provider=Own(recorded.provider))
    assert isinstance(Dispatcher(Bi(), middleware=[tracing])(delivery), Ack)
    assert [*recorded.spans] == ["receive alunos-bi", "process alunos-bi"]


def test_a_middleware_that_let_pass_leaves_nothing_if_another_does_not(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    class Refusing:
        def lets_pass(self, traceparent: str, context: contextvars.Context) -> bool:
            return False

        def __call__(self, call: Call) -> AbstractContextManager[None]:
            return nullcontext()

    class Outer(Refusing):
        def lets_pass(self, traceparent: str, context: contextvars.Context) -> bool:
            return True

        def __call__(self, call: Call) -> AbstractContextManager[Any]:
            found.append(trace.get_current_span().get_span_context().is_valid)
            return nullcontext()

    found: list[bool] = []
    with Publisher(broker.topic(), source="/x") as publisher:
        for _ in range(2):  # with the first, the provider is looked at
            publisher.publish(Enrolled(nome="a"), traceparent=SAMPLED[:-1] + "0")
    with closing(broker.queue("bi")) as queue:
        deliveries = queue.receive(10, 1)
    dispatch = Dispatcher(Bi(), middleware=[Outer(), recorded.tracing, Refusing()])
    assert all(isinstance(dispatch(one), Ack) for one in deliveries)
    assert found == [False, False]


def test_a_transport_that_does_not_say_what_returned_a_message_costs_that_span_only(
    broker: MemoryBroker, recorded: Recorded
) -> None:
    with Publisher(broker.topic(), source="/x", tracing=recorded.tracing) as publisher:
        publisher.publish_many([Enrolled(nome="a")])
    with closing(broker.queue("bi")) as plain:
        queue = recorded.tracing.around_queue(plain)
        deliveries = [replace(one, receive=None) for one in queue.receive(10, 1)]
        for one in deliveries:
            assert isinstance(Dispatcher(Bi(), middleware=[recorded.tracing])(one), Outcome)
        queue.delete(deliveries)
    assert [*recorded.spans] == ["create alunos", "process alunos-bi", "delete alunos-bi"]
    assert recorded.spans["process alunos-bi"].links == ()


@pytest.mark.parametrize("looks", [False, True])
def test_who_keeps_the_context_of_a_handler_does_not_keep_its_message(
    broker: MemoryBroker, recorded: Recorded, looks: bool
) -> None:
    """A body is personal data."""
    kept: list[contextvars.Context] = []
    views: list[weakref.ReferenceType[Enrolled]] = []

    class Keeping(Consumer):
        service = "bi"

        @handles
        def enrolled(self, event: Enrolled) -> None:
            views.append(weakref.ref(event))
            kept.append(contextvars.copy_context())
            if looks:
                trace.get_current_span()

    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Enrolled(nome="a"), traceparent=SAMPLED)
    with closing(broker.queue("bi")) as queue:
        [delivery] = queue.receive(1, 1)
        gc.disable()
        try:
            Dispatcher(Keeping(), middleware=[recorded.tracing])(delivery)
            assert views[0]() is None
        finally:
            gc.enable()
    assert kept[0].run(trace.get_current_span).get_span_context().is_valid


def test_a_span_that_is_recorded_and_not_sampled_has_no_orphans(broker: MemoryBroker) -> None:
    recorded = Recorded(AlwaysRecordSampler(ParentBased(ALWAYS_OFF)))
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish_many([Enrolled(nome="a")])
    with Worker(Bi(), broker=broker, middleware=[recorded.tracing]):
        eventually(lambda: broker.messages("bi") == ())
    assert recorded.spans == {}
    recorded.provider.shutdown()


def test_what_a_subclass_of_tracing_returns_is_checked(broker: MemoryBroker) -> None:
    class Odd(Tracing):
        def producing(self, *said: object, **more: object) -> str:  # type: ignore[override]
            return '"odd'

    with (
        Publisher(broker.topic(), source="/x", tracing=Odd()) as publisher,
        pytest.raises(PublishError, match="traceparent"),
    ):
        publisher.publish_many([Enrolled(nome="a")])
