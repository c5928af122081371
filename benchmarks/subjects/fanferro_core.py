"""fanferro: a Rust core for signing, HTTP and batching, with handlers on asyncio."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import fanferro

from benchmarks.job import Handled, Job, latencies, main, measure_async
from benchmarks.payload import ACCOUNT, REGION, TOPIC, TOPIC_ARN, WAIT, student
from benchmarks.plain import Plain

QUEUE = f"{TOPIC}-a"
CHUNK = 1000
"""Events given to one call of publish_batch, which splits them into requests itself."""

message = fanferro.message_type("bench.student")(Plain)


def client(job: Job) -> Any:
    return fanferro.Client(
        source="/bench",
        region=REGION,
        endpoint_url=job.endpoint,
        account_id=ACCOUNT,
        credentials=fanferro.Credentials("local", "local"),
        provisioning=fanferro.Provisioning.assume(),
        # By default the body is the bare data; this is the document that this library writes.
        **({"envelope": fanferro.envelopes.CloudEvents()} if job.transport else {}),
    )


def topic(connected: Any) -> Any:
    return connected.topic(arn=TOPIC_ARN)


async def _publish(job: Job) -> dict[str, Any]:
    events = itertools.cycle([message(**student(number)) for number in range(1000)])
    async with client(job) as connected:
        to = topic(connected)

        async def run(count: int) -> None:
            while count > 0:
                await to.publish_batch(list(itertools.islice(events, min(CHUNK, count))))
                count -= CHUNK

        return await measure_async(job, run)


async def _consume(job: Job, wait: float) -> dict[str, Any]:
    connected = client(job)
    queue = connected.queue(QUEUE)
    consumer = connected.consumer(queue, concurrency=job.concurrency)

    async def handle(student: Plain) -> None:
        if wait:
            await asyncio.sleep(wait)

    consumer.route(message)(handle)
    async with connected:
        to = topic(connected)
        await to.publish_batch([message(**student(number)) for number in range(10)])
        wire = await asyncio.to_thread(job.canned.last)
        running = asyncio.create_task(consumer.run())
        try:
            return await measure_async(job, Handled(job, QUEUE, wire).later)
        finally:
            running.cancel()


async def _latency(job: Job) -> dict[str, Any]:
    times: list[float] = []
    connected = client(job)
    consumer = connected.consumer(connected.queue(QUEUE), concurrency=job.concurrency)

    async def handle(student: Plain) -> None:
        times.append(time.perf_counter() - float(student.nome))

    consumer.route(message)(handle)
    async with connected:
        await asyncio.to_thread(job.canned.relay, QUEUE)
        to, fields = topic(connected), student(1)
        running = asyncio.create_task(consumer.run())
        await asyncio.sleep(0.5)
        for _ in range(job.warmup + job.events):
            await to.publish(message(**{**fields, "nome": repr(time.perf_counter())}))
            await asyncio.sleep(0.01)
        await asyncio.to_thread(job.canned.wait, "DeleteMessage", job.warmup + job.events)
        running.cancel()
    return latencies(times[job.warmup :])


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "publish": lambda job: asyncio.run(_publish(job)),
    "consume-async": lambda job: asyncio.run(_consume(job, 0)),
    "wait-async": lambda job: asyncio.run(_consume(job, WAIT)),
    "latency": lambda job: asyncio.run(_latency(job)),
}

if __name__ == "__main__":
    main(WORKS)
