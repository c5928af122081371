"""What tracing adds to the CPU of an event: none, with no SDK, and with an SDK and 1 % recorded.

    nice -n 5 python -m benchmarks.tracing             # or --events 500, to see that it runs

The library's own part alone, without requests: what a publisher does until a request is packed, and
what a worker does between a received body and the outcome. The least of nine runs, interleaved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from benchmarks.contract import Student
from benchmarks.payload import student
from messaging import Consumer, Publisher, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.tracing import Tracing
from messaging.transport import Delivery, Failure, Outgoing

__all__ = ["bare", "main", "measure"]

RUNS = 9
ROWS = ("no tracing", "no SDK", "1 % recorded", "1 % recorded, each publish a trace of its own")


class _Listener(Consumer):
    service = "a"

    @handles
    def listen(self, event: Student) -> None: ...


class _Sink:
    """A topic that takes everything, and keeps the bodies if it is told to."""

    name = "alunos"
    max_bytes = 262_144

    def __init__(self, kept: list[str] | None = None) -> None:
        self._kept = kept

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        if self._kept is not None:
            self._kept += [one.body for one in batch]
        return ()

    def close(self) -> None: ...


@contextmanager
def _import(provider: TracerProvider) -> Iterator[None]:
    with provider.get_tracer("benchmark").start_as_current_span("import"):
        yield


def measure(events: int) -> Mapping[str, tuple[float, float]]:
    """By row: CPU microseconds of an event, published and handled."""
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.01)), shutdown_on_exit=False)
    recorded = Tracing(tracer_provider=provider)
    inside: Callable[[], AbstractContextManager[Any]] = lambda: _import(provider)  # noqa: E731 - as short as its twin
    ways: list[tuple[Tracing | None, Callable[[], AbstractContextManager[Any]]]] = [
        (None, nullcontext),
        (Tracing(), nullcontext),
        (recorded, inside),
        (recorded, nullcontext),
    ]
    students = [Student.model_validate(student(number)) for number in range(events)]
    best = [[1.0, 1.0] for _ in ROWS]
    for _ in range(RUNS):
        for row, (tracing, around) in enumerate(ways):
            bodies: list[str] = []
            with Publisher(_Sink(), source="/b", tracing=tracing) as publisher, around():
                best[row][0] = min(best[row][0], _spent(publisher.publish_many, students))
            with Publisher(_Sink(bodies), source="/b", tracing=tracing) as publisher, around():
                publisher.publish_many(students)
            received = [
                Delivery(queue="a", message_id=str(number), receipt="r", body=body)
                for number, body in enumerate(bodies)
            ]
            dispatch = Dispatcher(_Listener(), middleware=() if tracing is None else (tracing,))
            best[row][1] = min(best[row][1], _spent(_each(dispatch), received))
    provider.shutdown()
    return {
        name: (published * 1e6 / events, handled * 1e6 / events)
        for name, (published, handled) in zip(ROWS, best, strict=True)
    }


def bare(calls: int) -> Mapping[str, float]:
    """CPU microseconds of a call of the SDK itself: what asking it about each event would cost."""
    some = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.0)), shutdown_on_exit=False)
    all_ = TracerProvider(shutdown_on_exit=False)
    none_recorded, recorded = some.get_tracer("benchmark"), all_.get_tracer("benchmark")
    attributes = {f"messaging.attribute{number}": "value" for number in range(5)}
    parent = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=True)))

    def both() -> None:
        recorded.start_span("create alunos", attributes=attributes).end()

    measured = {
        "start_span, a trace of its own, not recorded": lambda: none_recorded.start_span("create"),
        "start_span, the parent not recorded": lambda: none_recorded.start_span("create", parent),
        "start_span with five attributes and end, recorded": both,
    }
    found = {
        name: min(_spent(_repeated(call), calls) for _ in range(RUNS)) * 1e6 / calls
        for name, call in measured.items()
    }
    some.shutdown()
    all_.shutdown()
    return found


def _repeated(call: Callable[[], object]) -> Callable[[int], None]:
    def run(times: int) -> None:
        for _ in range(times):
            call()

    return run


def _each(dispatch: Dispatcher) -> Callable[[Sequence[Delivery]], None]:
    def run(received: Sequence[Delivery]) -> None:
        for one in received:
            dispatch(one)

    return run


def _spent(call: Callable[[Any], object], given: Any) -> float:
    began = time.process_time()
    call(given)
    return time.process_time() - began


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing")
    parser.add_argument("--events", type=int, default=10_000)

    events = parser.parse_args().events
    measured = measure(events)
    print("| | published | handled |\n|---|---:|---:|")
    for name, (published, handled) in measured.items():
        print(f"| {name} | {published:.1f} us | {handled:.1f} us |")
    print("\n| The SDK alone | |\n|---|---:|")
    for name, spent in bare(events).items():
        print(f"| {name} | {spent:.1f} us |")


if __name__ == "__main__":
    main()
