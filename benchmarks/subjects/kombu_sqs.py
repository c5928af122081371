"""kombu: a fan-out exchange on SNS with its queue on SQS, JSON without validation."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue

from benchmarks.job import Handled, Job, main, measure
from benchmarks.payload import ACCOUNT, REGION, TOPIC, TOPIC_ARN, student

QUEUE = f"{TOPIC}-a"


def connection(job: Job) -> Any:
    host = job.url.removeprefix("http://")
    return Connection(
        f"sqs://local:local@{host}",
        transport_options={
            "is_secure": False,
            "region": REGION,
            "supports_fanout": True,
            "predefined_exchanges": {TOPIC: {"arn": TOPIC_ARN, "region": REGION}},
            "predefined_queues": {QUEUE: {"url": f"{job.url}/{ACCOUNT}/{QUEUE}", "region": REGION}},
            "wait_time_seconds": 20,
        },
    )


def publish(job: Job) -> dict[str, Any]:
    """One request for each event: kombu publishes no batches."""
    events = itertools.cycle([student(number) for number in range(1000)])
    with connection(job) as opened:
        producer = Producer(opened.channel(), exchange=Exchange(TOPIC, type="fanout"))

        def run(count: int) -> None:
            for event in itertools.islice(events, count):
                producer.publish(event, serializer="json", delivery_mode=None)

        return measure(job, run)


def consuming(wait: float) -> Callable[[Job], dict[str, Any]]:
    """A work: what was published is handled and acknowledged, one by one."""

    def work(job: Job) -> dict[str, Any]:
        with connection(job) as opened:
            Producer(opened.channel(), exchange=Exchange("")).publish(
                student(1), serializer="json", routing_key=QUEUE, delivery_mode=None
            )
        wire = job.canned.last()
        threading.Thread(target=_drain, args=(job, wait), daemon=True).start()
        time.sleep(0.5)
        return measure(job, Handled(job, QUEUE, wire))

    return work


def _drain(job: Job, wait: float) -> None:
    def handle(_body: Any, message: Any) -> None:
        if wait:
            time.sleep(wait)
        message.ack()

    with connection(job) as opened, opened.channel() as channel:
        queue = Queue(QUEUE, exchange=Exchange(""), routing_key=QUEUE, channel=channel)
        with Consumer(channel, [queue], callbacks=[handle], prefetch_count=job.concurrency):
            while True:
                opened.drain_events()


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "publish": publish,
    "consume": consuming(0),
}

if __name__ == "__main__":
    main(WORKS)
