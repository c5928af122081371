"""taskiq on SQS: tasks sent in batches, received on asyncio, deleted one by one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from taskiq.receiver import Receiver
from taskiq_aio_sqs import SQSBroker

from benchmarks.job import Handled, Job, main, measure_async
from benchmarks.payload import REGION, TOPIC, WAIT, student
from benchmarks.plain import Plain

QUEUE = f"{TOPIC}-a"
CHUNK = 1000


def broker(job: Job) -> Any:
    return SQSBroker(
        QUEUE,
        endpoint_url=job.url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        max_number_of_messages=10,
        wait_time_seconds=20,
        enable_batching=True,
        batch_timeout=0.1,
    )


async def _publish(job: Job) -> dict[str, Any]:
    given = broker(job)
    task = given.task(task_name="student")(_handler(0))
    events = itertools.cycle([Plain(**student(number)) for number in range(1000)])
    await given.startup()
    sent = 0

    async def run(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            await task.kiq(next(events))
        sent += count
        await asyncio.to_thread(job.canned.wait, "SendMessage", sent)

    try:
        return await measure_async(job, run)
    finally:
        await given.shutdown()


def _handler(wait: float) -> Callable[[Plain], Any]:
    async def handle(student: Plain) -> None:
        if wait:
            await asyncio.sleep(wait)

    return handle


async def _consume(job: Job, wait: float) -> dict[str, Any]:
    given = broker(job)
    given.is_worker_process = True
    task = given.task(task_name="student")(_handler(wait))
    await given.startup()
    await task.kiq(Plain(**student(1)))
    await asyncio.to_thread(job.canned.wait, "SendMessage", 1)
    wire = await asyncio.to_thread(job.canned.last)
    receiver = Receiver(given, max_async_tasks=job.concurrency, run_startup=False)
    finished = asyncio.Event()
    listening = asyncio.create_task(receiver.listen(finished))
    try:
        return await measure_async(job, Handled(job, QUEUE, wire).later)
    finally:
        listening.cancel()


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "publish": lambda job: asyncio.run(_publish(job)),
    "consume-async": lambda job: asyncio.run(_consume(job, 0)),
    "wait-async": lambda job: asyncio.run(_consume(job, WAIT)),
}

if __name__ == "__main__":
    main(WORKS)
