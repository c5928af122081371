"""dramatiq on SQS: actors in threads, one request for each message sent or deleted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import dramatiq
from dramatiq_sqs import SQSBroker

from benchmarks.job import Handled, Job, main, measure
from benchmarks.payload import CREDENTIALS, REGION, TOPIC, WAIT, student

QUEUE = f"{TOPIC}-a"


def actor(job: Job, wait: float) -> tuple[Any, Any]:
    broker = SQSBroker(endpoint_url=job.url, region_name=REGION, middleware=[], **CREDENTIALS)
    dramatiq.set_broker(broker)

    def handle(student: Any) -> None:
        if wait:
            time.sleep(wait)

    return broker, dramatiq.actor(handle, queue_name=QUEUE, broker=broker)


def publish(job: Job) -> dict[str, Any]:
    _, task = actor(job, 0)
    events = itertools.cycle([student(number) for number in range(1000)])

    def run(count: int) -> None:
        for event in itertools.islice(events, count):
            task.send(event)

    return measure(job, run)


def consuming(wait: float) -> Callable[[Job], dict[str, Any]]:
    """A work: `concurrency` threads, as this library has."""

    def work(job: Job) -> dict[str, Any]:
        broker, task = actor(job, wait)
        task.send(student(1))
        wire = job.canned.last()
        dramatiq.Worker(broker, worker_threads=job.concurrency, worker_timeout=20_000).start()
        time.sleep(0.5)
        return measure(job, Handled(job, QUEUE, wire))

    return work


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "publish": publish,
    "consume": consuming(0),
    "wait": consuming(WAIT),
}

if __name__ == "__main__":
    main(WORKS)
