"""This library: a Publisher and a Worker, used as its documentation says."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import boto3

from benchmarks import contract
from benchmarks.contract import Split, Student
from benchmarks.job import Handled, Job, latencies, main, measure
from benchmarks.machine import Gauge
from benchmarks.payload import CREDENTIALS, REGION, TOPIC, TOPIC_ARN, student
from messaging import Consumer, Event, Publisher, Settings, Worker, connect, handles
from messaging.publishing.encoder import Encoder
from messaging.transport import Broker, Outgoing

QUEUE = f"{TOPIC}-a"


def broker(job: Job) -> Broker:
    chosen: dict[str, Any] = {"transport": job.transport} if job.transport else {}
    settings = Settings(topic=TOPIC_ARN, endpoint_url=job.endpoint, region=REGION, **chosen)
    session: Any = boto3.Session
    return connect(settings, session=session(**CREDENTIALS))


def students(kind: type[Event]) -> Iterator[Event]:
    """Events without end, a thousand different ones: making them is their producer's work."""
    return itertools.cycle([kind(**student(number)) for number in range(1000)])


def messages(
    kind: type[Event], audience: str, *, encode: Encoder | None = None, events: int = 10
) -> list[dict[str, Any]]:
    """Messages of ten events of `kind`, or so many, as the queue of a service gets them."""
    encode = encode or Encoder(source="/bench", max_bytes=262_144)
    copies: list[Outgoing] = []
    for number in range(events):
        copies += encode(kind(**student(number)))
    return [
        {"body": one.body, "attributes": {name: list(a) for name, a in one.attributes.items()}}
        for one in copies
        if {"*", audience} & set(one.attributes["audience"].strings)
    ]


def publish(job: Job) -> dict[str, Any]:
    events = students(Student)
    with Publisher(broker(job).topic(), source="/bench") as publisher:

        def run(count: int) -> None:
            publisher.publish_many(itertools.islice(events, count))

        return measure(job, run)


def consuming(consumer: type[Consumer]) -> Callable[[Job], dict[str, Any]]:
    """A work: one service, its queue filled, until every message of it has been deleted."""

    def work(job: Job) -> dict[str, Any]:
        # Its threads are daemons, and this process ends when the figures are told.
        Worker(consumer(), broker=broker(job), concurrency=job.concurrency).start()
        time.sleep(0.2)
        return measure(job, Handled(job, QUEUE, messages(Student, "a")))

    return work


def latency(job: Job) -> dict[str, Any]:
    """Published one at a time, 100 a second; the send time travels in the event."""
    times: list[float] = []

    class Clocked(Consumer):
        """Looks at the clock."""

        service = "a"

        @handles
        def arrived(self, student: Student) -> None:
            times.append(time.perf_counter() - float(student.nome))

    job.canned.relay(QUEUE)
    given, fields = broker(job), student(1)
    Worker(Clocked(), broker=given, concurrency=job.concurrency).start()
    with Publisher(given.topic(), source="/bench") as publisher:
        time.sleep(0.5)
        for _ in range(job.warmup + job.events):
            publisher.publish(Student(**{**fields, "nome": repr(time.perf_counter())}))
            time.sleep(0.01)
    job.canned.wait("DeleteMessage", job.warmup + job.events)
    return latencies(times[job.warmup :])


def billing(kind: type[Event], services: Sequence[type[Consumer]]) -> Callable[[Job], Any]:
    """A work: API requests for each event that is published and delivered to four services."""

    def work(job: Job) -> dict[str, float]:
        given = broker(job)
        with Publisher(given.topic(), source="/bench") as publisher:
            publisher.publish_many(itertools.islice(students(kind), job.events))
        for one in services:
            queue = f"{TOPIC}-{one.service}"
            job.canned.load(queue, job.events, messages(kind, one.service))
        consumers = [one() for one in services]
        Worker(*consumers, broker=given, concurrency=job.concurrency).start()
        job.canned.wait("DeleteMessage", len(services) * job.events)
        made = job.canned.counts()["requests"]
        return {name: made.get(name, 0) / job.events for name in (*_DELIVERING, *_LEASING)}

    return work


_DELIVERING = ("PublishBatch", "ReceiveMessage", "DeleteMessageBatch")
_LEASING = ("ChangeMessageVisibilityBatch",)


def drain(job: Job) -> dict[str, Any]:
    """Stopped in the middle of its work: handlers end, what waited goes back."""
    worker = Worker(contract.Waiting(), broker=broker(job), concurrency=job.concurrency)
    worker.start()
    job.canned.load(QUEUE, 100_000, messages(Student, "a"))
    time.sleep(1)
    began = time.perf_counter()
    stats = worker.stop().stats
    return {
        "seconds": time.perf_counter() - began,
        "acknowledged": stats.acknowledged,
        "released": stats.released,
        "lost": stats.received - stats.acknowledged - stats.released,
    }


def end_to_end(job: Job) -> dict[str, Any]:
    """Through a real server: published, fanned out, handled by four services, acknowledged."""
    given, events = broker(job), itertools.islice(students(Student), job.events)
    worker = Worker(
        *(one() for one in contract.STUDENTS), broker=given, concurrency=job.concurrency
    )
    gauge = Gauge()
    worker.start()
    with Publisher(given.topic(), source="/bench") as publisher, gauge:
        publisher.publish_many(events)
        while worker.stats.acknowledged < job.events * len(contract.STUDENTS):
            time.sleep(0.01)
    return gauge.result(job.events)


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "publish": publish,
    "consume": consuming(contract.Sync),
    "consume-async": consuming(contract.Async),
    "far-publish": publish,
    "far-consume": consuming(contract.Sync),
    "far-consume-async": consuming(contract.Async),
    "far-wait": consuming(contract.Waiting),
    "wait": consuming(contract.Waiting),
    "wait-async": consuming(contract.AsyncWaiting),
    "latency": latency,
    "bill": billing(Student, contract.STUDENTS),
    "bill-views": billing(Split, contract.SPLIT),
    "drain": drain,
    "end-to-end": end_to_end,
}

if __name__ == "__main__":
    main(WORKS)
