"""aiobotocore: the loop of `raw`, on asyncio."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from aiobotocore.session import get_session

from benchmarks.job import Handled, Job, main, measure_async
from benchmarks.payload import ATTRIBUTES, CREDENTIALS, REGION, TOPIC_ARN, WAIT, body

QUEUE = "bench-a"
WIRE = {
    name: {"DataType": kind, "StringValue": value} for name, (kind, value) in ATTRIBUTES.items()
}
MESSAGES = [{"body": body(number), "attributes": ATTRIBUTES} for number in range(10)]
IN_FLIGHT = 4
"""Requests under way at once, as many as this library's publisher has."""


def client(job: Job, service: str) -> Any:
    return get_session().create_client(
        service, endpoint_url=job.url, region_name=REGION, **CREDENTIALS
    )


async def _publish(job: Job) -> dict[str, Any]:
    texts = itertools.cycle([body(number) for number in range(1000)])
    async with client(job, "sns") as sns:

        async def send(requests: int) -> None:
            for _ in range(requests):
                entries = [
                    {"Id": str(at), "Message": text, "MessageAttributes": WIRE}
                    for at, text in enumerate(itertools.islice(texts, 10))
                ]
                await sns.publish_batch(TopicArn=TOPIC_ARN, PublishBatchRequestEntries=entries)

        async def run(count: int) -> None:
            each = max(1, count // 10 // IN_FLIGHT)
            rest = count // 10 - each * (IN_FLIGHT - 1)
            await asyncio.gather(*(send(n) for n in [each] * (IN_FLIGHT - 1) + [max(0, rest)]))

        return await measure_async(job, run)


async def _loop(sqs: Any, wait: float) -> None:
    url = (await sqs.get_queue_url(QueueName=QUEUE))["QueueUrl"]
    while True:
        answer = await sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=20,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        messages = answer.get("Messages", ())
        if not messages:
            continue
        if wait:
            await asyncio.gather(*(asyncio.sleep(wait) for _ in messages))
        await sqs.delete_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]}
                for at, one in enumerate(messages)
            ],
        )


async def _consume(job: Job, wait: float) -> dict[str, Any]:
    async with client(job, "sqs") as sqs:
        polling = asyncio.create_task(_loop(sqs, wait))
        try:
            return await measure_async(job, Handled(job, QUEUE, MESSAGES).later)
        finally:
            polling.cancel()


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "publish": lambda job: asyncio.run(_publish(job)),
    "consume-async": lambda job: asyncio.run(_consume(job, 0)),
    "wait-async": lambda job: asyncio.run(_consume(job, WAIT)),
}

if __name__ == "__main__":
    main(WORKS)
