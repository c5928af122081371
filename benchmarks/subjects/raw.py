"""The loop that one writes with boto3 alone: no validation, no retries, no leases."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.job import Handled, Job, latencies, main, measure
from benchmarks.machine import Gauge
from benchmarks.payload import (
    ATTRIBUTES,
    CREDENTIALS,
    REGION,
    SERVICES,
    TOPIC,
    TOPIC_ARN,
    WAIT,
    body,
)

QUEUE = "bench-a"
WIRE = {
    name: {"DataType": kind, "StringValue": value} for name, (kind, value) in ATTRIBUTES.items()
}
MESSAGES = [{"body": body(number), "attributes": ATTRIBUTES} for number in range(10)]


def client(job: Job, service: str, connections: int = 10) -> Any:
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=job.endpoint,
        region_name=REGION,
        config=Config(max_pool_connections=connections),
        **CREDENTIALS,
    )


def entries(texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"Id": str(at), "Message": text, "MessageAttributes": WIRE} for at, text in enumerate(texts)
    ]


def publish(job: Job) -> dict[str, Any]:
    sns, texts = client(job, "sns"), itertools.cycle([body(number) for number in range(1000)])

    def run(count: int) -> None:
        for _ in range(count // 10):
            batch = entries(list(itertools.islice(texts, 10)))
            sns.publish_batch(TopicArn=TOPIC_ARN, PublishBatchRequestEntries=batch)

    return measure(job, run)


def publish_pool(job: Job) -> dict[str, Any]:
    """The same from `concurrency` threads at once."""
    sns, texts = client(job, "sns", job.concurrency), [body(number) for number in range(1000)]

    def send(at: int) -> None:
        batch = entries([texts[number % 1000] for number in range(at, at + 10)])
        sns.publish_batch(TopicArn=TOPIC_ARN, PublishBatchRequestEntries=batch)

    with ThreadPoolExecutor(job.concurrency) as pool:
        return measure(job, lambda count: list(pool.map(send, range(0, count, 10))))


def loop(
    sqs: Any, queue: str, stopped: threading.Event, handle: Callable[[Any], object], wait: int = 20
) -> None:
    """Receive ten, handle them, delete them together."""
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    while not stopped.is_set():
        answer = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        messages = answer.get("Messages", ())
        if messages:
            handle(messages)
            sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]}
                    for at, one in enumerate(messages)
                ],
            )


def in_background(job: Job, handle: Callable[[Any], object], queue: str = QUEUE) -> threading.Event:
    stopped = threading.Event()
    body_of_thread = partial(loop, client(job, "sqs"), queue, stopped, handle)
    threading.Thread(target=body_of_thread, daemon=True).start()
    return stopped


def nothing(messages: Any) -> None:
    """A handler that does nothing is not even called."""


def consume(job: Job) -> dict[str, Any]:
    in_background(job, nothing)
    return measure(job, Handled(job, QUEUE, MESSAGES))


def consume_pool(job: Job) -> dict[str, Any]:
    """The same loop in `concurrency` threads at once, with one client."""
    sqs, stopped = client(job, "sqs", job.concurrency), threading.Event()
    for _ in range(job.concurrency):
        receive = partial(loop, sqs, QUEUE, stopped, nothing)
        threading.Thread(target=receive, daemon=True).start()
    return measure(job, Handled(job, QUEUE, MESSAGES))


def wait(job: Job) -> dict[str, Any]:
    with ThreadPoolExecutor(job.concurrency) as pool:
        in_background(job, lambda messages: list(pool.map(lambda _: time.sleep(WAIT), messages)))
        return measure(job, Handled(job, QUEUE, MESSAGES))


def latency(job: Job) -> dict[str, Any]:
    """Published one at a time, 100 a second; the send time travels in the message."""
    sns = client(job, "sns")
    times: list[float] = []

    def handle(messages: Any) -> None:
        now = time.perf_counter()
        times.extend(now - float(one["Body"]) for one in messages)

    job.canned.relay(QUEUE)
    in_background(job, handle)
    time.sleep(0.5)
    for _ in range(job.warmup + job.events):
        text = repr(time.perf_counter())
        sns.publish_batch(TopicArn=TOPIC_ARN, PublishBatchRequestEntries=entries([text]))
        time.sleep(0.01)
    job.canned.wait("DeleteMessage", job.warmup + job.events)
    return latencies(times[job.warmup :])


def end_to_end(job: Job) -> dict[str, Any]:
    """Through a real server, with a thread for each of the four queues."""
    sns, left = client(job, "sns"), [threading.Event() for _ in SERVICES]

    def service(queue: str, done: threading.Event) -> None:
        seen = itertools.count(1)

        def handle(messages: Any) -> None:
            for _ in messages:
                if next(seen) == job.events:
                    done.set()  # that request deletes the last ones

        loop(client(job, "sqs"), queue, done, handle)

    gauge = Gauge()
    threads = [
        threading.Thread(target=service, args=(f"{TOPIC}-{one}", done))
        for one, done in zip(SERVICES, left, strict=True)
    ]
    for thread in threads:
        thread.start()
    with gauge:
        texts = iter([body(number) for number in range(job.events)])
        while batch := list(itertools.islice(texts, 10)):
            sns.publish_batch(TopicArn=TOPIC_ARN, PublishBatchRequestEntries=entries(batch))
        for thread in threads:
            thread.join()
    return gauge.result(job.events)


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "publish": publish,
    "consume": consume,
    "far-publish": publish_pool,
    "far-consume": consume_pool,
    "wait": wait,
    "latency": latency,
    "end-to-end": end_to_end,
}

if __name__ == "__main__":
    main(WORKS)
