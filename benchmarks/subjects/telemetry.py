"""This library with its metrics, or its tracing at 1 %, on and off by turns, in one process."""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, use_span

from benchmarks import contract
from benchmarks.callgrind import mark
from benchmarks.contract import Student
from benchmarks.job import Handled, Job, main
from benchmarks.payload import TOPIC
from benchmarks.subjects.ours import QUEUE, broker, messages, students
from messaging import Consumer, Publisher, Worker
from messaging.metrics import Metrics
from messaging.publishing.traced import encoder_for
from messaging.runtime import executor, measures, receiver, run_to_completion
from messaging.tracing import Tracing

TURNS, COUNTED = 40, 20
"""Of each: one after the other, so that what else the machine does meets both. Where instructions
are counted fewer do."""


def _allow(slower: int) -> None:
    """Let a worker take for quick what takes `slower` times as long. Otherwise, under valgrind, it
    would hand messages to other threads and receive in another way, as it does for slow handlers
    and distant queues: what is counted would not be what runs without valgrind."""
    for module, name in (
        (executor, "QUICK"),
        (executor, "BRIEF"),
        (receiver, "FAR"),
        (run_to_completion, "LOOK"),
    ):
        setattr(module, name, getattr(module, name) * slower)
    # So many a second are so many more of each thousand, where these take longer.
    measures.LOOKS = measures.LOOKS / slower


def consume(job: Job) -> dict[str, Any]:
    _allow(job.slower)
    worker = Worker(contract.Sync(), broker=broker(job), concurrency=job.concurrency)
    Metrics(worker)
    worker.start()
    time.sleep(0.2)
    [pipeline] = worker.pipelines.values()
    on = pipeline.in_flight.measure
    handled = Handled(job, QUEUE, messages(Student, "a"))

    def turn(metrics: bool) -> None:
        pipeline.in_flight.measure = on if metrics else None

    return _by_turns(job, turn, handled)


def publish(job: Job) -> dict[str, Any]:
    events = students(Student)
    with Publisher(broker(job).topic(), source="/bench") as publisher:
        Metrics(publisher)
        sender: Any = publisher._sender
        on = sender.durations

        def turn(metrics: bool) -> None:
            sender.durations = on if metrics else None

        return _by_turns(
            job, turn, lambda count: publisher.publish_many(itertools.islice(events, count))
        )


def _tracing(rate: float = 0.01) -> Tracing:
    """It records a trace of a hundred, and exports none: that is another thread's work."""
    sampler = ParentBased(TraceIdRatioBased(rate))
    return Tracing(tracer_provider=TracerProvider(sampler=sampler, shutdown_on_exit=False))


class _Traced(contract.Sync):
    """The same on a queue of its own."""

    service = "b"


class _TracedAsync(contract.Async):
    """The same with an async handler."""

    service = "b"


def consume_traced(job: Job) -> dict[str, Any]:
    """Messages whose publisher traces, too: of a hundred just one is recorded, lest chance be
    measured. Of two workers one waits."""
    return _consume_traced(job, contract.Sync(), _Traced())


def consume_async_traced(job: Job) -> dict[str, Any]:
    """The same with async handlers."""
    return _consume_traced(job, contract.Async(), _TracedAsync())


def _consume_traced(job: Job, plain: Consumer, traced: Consumer) -> dict[str, Any]:
    _allow(job.slower)
    tracing, topic = _tracing(), broker(job).topic()
    stock: list[dict[str, Any]] = []
    for rate, events in ((0.0, 99), (1.0, 1)):
        encode = encoder_for(topic, _tracing(rate), source="/bench")
        stock += messages(Student, "a", encode=encode, events=events)
    handled = {False: Handled(job, QUEUE, stock), True: Handled(job, f"{TOPIC}-b", stock)}
    for consumer, middleware in ((plain, ()), (traced, (tracing,))):
        worker = Worker(
            consumer, broker=broker(job), concurrency=job.concurrency, middleware=middleware
        )
        worker.start()
    chosen, done = [False], [0]

    def turn(on: bool) -> None:
        chosen[0] = on

    def run(count: int) -> None:
        handled[chosen[0]](count, after=done[0])
        done[0] += count

    turn(True)
    run(job.warmup)
    return _by_turns(job, turn, run)


def publish_traced(job: Job) -> dict[str, Any]:
    """Within one span, as an import does."""
    return _publish_traced(job, _tracing())


def publish_roots(job: Job) -> dict[str, Any]:
    """Without a span around: each event is a trace of its own."""
    return _publish_traced(job, _tracing(), within=False)


def _publish_traced(job: Job, tracing: Tracing, within: bool = True) -> dict[str, Any]:
    events = students(Student)
    topic = broker(job).topic()
    context = NonRecordingSpan(SpanContext(1, 2, is_remote=False)) if within else INVALID_SPAN
    with (
        Publisher(topic, source="/bench") as plain,
        Publisher(topic, source="/bench", tracing=tracing) as traced,
        use_span(context),
    ):
        using = [plain]

        def turn(on: bool) -> None:
            using[0] = traced if on else plain

        return _by_turns(
            job, turn, lambda count: using[0].publish_many(itertools.islice(events, count))
        )


def _by_turns(
    job: Job, turn: Callable[[bool], None], run: Callable[[int], object]
) -> dict[str, Any]:
    """`order` says of each turn whether it was on. The ratio is the median of those of two turns
    that follow each other, so that what goes on for longer than them meets both."""
    turn(False)
    run(job.warmup)
    taken: dict[bool, list[float]] = {False: [], True: []}
    order: list[bool] = []
    for number in range(TURNS if job.slower == 1 else COUNTED):
        for on in (number % 2 == 0, number % 2 == 1):
            turn(on)
            order.append(on)
            mark()
            before = _cpu()
            run(job.events)
            taken[on].append((_cpu() - before) / job.events * 1e6)
            mark()
    ratio = median(one / other for one, other in zip(taken[True], taken[False], strict=True))
    # What disturbs a turn makes it longer, never shorter.
    return {"off": min(taken[False]), "on": min(taken[True]), "ratio": ratio, "order": order}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "consume": consume,
    "publish": publish,
    "consume-traced": consume_traced,
    "consume-async-traced": consume_async_traced,
    "publish-traced": publish_traced,
    "publish-roots": publish_roots,
}

if __name__ == "__main__":
    main(WORKS)
