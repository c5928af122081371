"""One run of `benchmarks.rabbitmq`: one library publishes or consumes, in a process of its own.

Each is used as its own pages show first; where those publish one message after the other, a hundred
are awaited together. Every publish is confirmed by the broker, every message acknowledged by hand
or by the library once its handler has returned.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from resource import RUSAGE_SELF, getrusage
from typing import Any

from benchmarks.payload import body, student

WARM_UP = 500
TOGETHER = 100
"""Messages that are awaited together, and that a consumer is sent ahead."""


class Meter:
    """Counts events; the first `WARM_UP` are not measured. `done` is set at the last one."""

    def __init__(self, events: int) -> None:
        self._left = events + WARM_UP
        self._events = events
        self._began = self._cpu = 0.0
        self._lock = threading.Lock()
        self.done = threading.Event()
        self.result: dict[str, float] = {}

    def count(self, number: int = 1) -> None:
        with self._lock:
            before, self._left = self._left, self._left - number
            if before > self._events >= self._left:
                self._began, self._cpu = time.perf_counter(), _cpu()
            if before > 0 >= self._left:
                took = time.perf_counter() - self._began
                self.result = {
                    "per_second": self._events / took,
                    "cpu_us": (_cpu() - self._cpu) / self._events * 1e6,
                }
                self.done.set()


def _cpu() -> float:
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _bodies() -> Iterator[bytes]:
    return itertools.cycle([body(number).encode() for number in range(1000)])


def messaging_publish(url: str, queue: str, meter: Meter, events: int) -> None:
    from benchmarks.contract import Student
    from messaging import Publisher, Settings, connect

    broker = connect(Settings(broker_url=url, topic=queue))
    students = itertools.cycle([Student(**student(number)) for number in range(1000)])
    with Publisher(broker.topic(), source="/bench") as publisher:
        for number in (WARM_UP, events):
            publisher.publish_many(itertools.islice(students, number))
            meter.count(number)
    broker.close()


def messaging_consume(url: str, queue: str, meter: Meter, events: int) -> None:
    from benchmarks.rabbitmq import bench_consumer
    from messaging import Settings, Worker, connect

    broker = connect(Settings(broker_url=url, topic=queue))
    with Worker(bench_consumer(meter.count), broker=broker):
        meter.done.wait()
    broker.close()


def pika_publish(url: str, queue: str, meter: Meter, events: int) -> None:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    kept = pika.BasicProperties(delivery_mode=2)
    for one in itertools.islice(_bodies(), events + WARM_UP):
        channel.basic_publish("", queue, one, kept, mandatory=True)
        meter.count()
    connection.close()


def pika_consume(url: str, queue: str, meter: Meter, events: int) -> None:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=TOGETHER)

    def handle(channel: Any, method: Any, _properties: Any, found: bytes) -> None:
        json.loads(found)
        channel.basic_ack(method.delivery_tag)
        meter.count()
        if meter.done.is_set():
            channel.stop_consuming()

    channel.basic_consume(queue, handle)
    channel.start_consuming()
    connection.close()


def kombu_publish(url: str, queue: str, meter: Meter, events: int) -> None:
    from kombu import Connection, Producer

    options = {"confirm_publish": True}
    with Connection(url, transport_options=options) as connection:
        producer = Producer(connection.channel())
        documents = itertools.cycle([json.loads(body(number)) for number in range(1000)])
        for one in itertools.islice(documents, events + WARM_UP):
            producer.publish(one, exchange="", routing_key=queue, delivery_mode=2)
            meter.count()


def kombu_consume(url: str, queue: str, meter: Meter, events: int) -> None:
    from kombu import Connection, Consumer, Queue

    def handle(_body: Any, message: Any) -> None:
        message.ack()
        meter.count()

    with Connection(url) as connection:
        there = Queue(queue, no_declare=True)
        consumer = Consumer(connection, [there], callbacks=[handle], prefetch_count=TOGETHER)
        with consumer:
            while not meter.done.is_set():
                connection.drain_events()


def aio_pika_publish(url: str, queue: str, meter: Meter, events: int) -> None:
    import aio_pika

    async def run() -> None:
        connection = await aio_pika.connect_robust(url)
        channel = await connection.channel(publisher_confirms=True)
        kept = aio_pika.DeliveryMode.PERSISTENT
        bodies, left = _bodies(), events + WARM_UP
        while left:
            some = min(TOGETHER, left)
            await asyncio.gather(
                *(
                    channel.default_exchange.publish(
                        aio_pika.Message(next(bodies), delivery_mode=kept), queue
                    )
                    for _ in range(some)
                )
            )
            left -= some
            meter.count(some)
        await connection.close()

    asyncio.run(run())


def aio_pika_consume(url: str, queue: str, meter: Meter, events: int) -> None:
    import aio_pika

    async def run() -> None:
        connection = await aio_pika.connect_robust(url)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=TOGETHER)
        there = await channel.get_queue(queue, ensure=False)
        async with there.iterator() as messages:
            async for message in messages:
                async with message.process():
                    json.loads(message.body)
                meter.count()
                if meter.done.is_set():
                    break
        await connection.close()

    asyncio.run(run())


def faststream_publish(url: str, queue: str, meter: Meter, events: int) -> None:
    from faststream.rabbit import RabbitBroker

    async def run() -> None:
        documents = itertools.cycle([student(number) for number in range(1000)])
        async with RabbitBroker(url, logger=None) as broker:
            left = events + WARM_UP
            while left:
                some = min(TOGETHER, left)
                await asyncio.gather(
                    *(broker.publish(next(documents), queue, persist=True) for _ in range(some))
                )
                left -= some
                meter.count(some)

    asyncio.run(run())


def faststream_consume(url: str, queue: str, meter: Meter, events: int) -> None:
    from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

    async def run() -> None:
        channel = Channel(prefetch_count=TOGETHER)
        broker = RabbitBroker(url, logger=None, default_channel=channel)

        @broker.subscriber(RabbitQueue(queue, declare=False))
        async def handle(found: dict[str, Any]) -> None:
            meter.count()

        async with broker:
            await broker.start()
            await asyncio.to_thread(meter.done.wait)

    asyncio.run(run())


def _dramatiq(url: str, queue: str, meter: Meter) -> tuple[Any, Any]:
    import dramatiq
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=url, confirm_delivery=True)
    dramatiq.set_broker(broker)

    def handle(found: dict[str, Any]) -> None:
        meter.count()

    return broker, dramatiq.actor(handle, queue_name=queue)


def dramatiq_publish(url: str, queue: str, meter: Meter, events: int) -> None:
    broker, actor = _dramatiq(url, f"{queue}-d", meter)
    documents = itertools.cycle([student(number) for number in range(1000)])
    for one in itertools.islice(documents, events + WARM_UP):
        actor.send(one)
        meter.count()
    broker.close()


def dramatiq_consume(url: str, queue: str, meter: Meter, events: int) -> None:
    import dramatiq

    broker, _ = _dramatiq(url, f"{queue}-d", meter)
    worker = dramatiq.Worker(broker, worker_threads=10)
    worker.start()
    meter.done.wait()


RUNS: Mapping[str, Callable[[str, str, Meter, int], None]] = {
    f"{name} {work}": globals()[f"{name.replace('-', '_')}_{work}"]
    for name in ("messaging", "pika", "kombu", "aio-pika", "faststream", "dramatiq")
    for work in ("publish", "consume")
}

if __name__ == "__main__":
    run, url, queue, events = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    meter = Meter(events)
    RUNS[run](url, queue, meter, events)
    meter.done.wait()
    print("benchmark:" + json.dumps(meter.result), flush=True)
    os._exit(0)  # consumers that run for ever
