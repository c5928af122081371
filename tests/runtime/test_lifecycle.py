"""The end of a worker, stage by stage: what is waited for, what is given back, what is counted."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.runtime import Stage, Stats
from messaging.topology import Topology
from messaging.transport import Failure


class Happened(Event, type="happened", version=1):
    n: int


class HappenedAsync(Event, type="happened.async", version=1):
    n: int


class Service(Consumer):
    def __init__(self, act=lambda n: None) -> None:
        self.act = act
        self.started: list[int] = []

    @handles
    def happened(self, event: Happened) -> None:
        self.started.append(event.n)
        self.act(event.n)


def in_background(call):
    done = []
    thread = threading.Thread(target=lambda: done.append(call()))
    thread.start()
    return thread, done


def test_the_buffer_is_given_back_before_handlers_have_finished(work, queue, until, release):
    queue.put(*range(6))
    service = Service(lambda n: release.wait(5))
    worker = work(service, concurrency=2, prefetch=4)
    until(lambda: worker.stats.in_flight == 6 and len(service.started) == 2)
    stopping, reports = in_background(worker.stop)
    until(lambda: worker.stats.released == 4)
    assert worker.stage is Stage.FINISHING_HANDLERS
    assert worker.stats.in_flight == 2
    assert set(queue.asked("change_visibility")[0].seconds) == {0}
    release.set()
    stopping.join(5)
    assert reports[0].stats == Stats(received=6, acknowledged=2, released=4)
    assert reports[0].unfinished == ()


def test_what_a_late_poll_brings_is_given_back(work, queue, until):
    queue.late, queue.late_brings = threading.Event(), 3
    worker = work(Service())
    until(lambda: queue.receives)
    stopping, reports = in_background(worker.stop)
    until(lambda: worker.stage is Stage.RELEASING)
    queue.late.set()
    stopping.join(5)
    assert reports[0].stats == Stats(received=3, released=3)
    assert queue.messages("change_visibility") == ["m1000", "m1001", "m1002"]
    assert queue.asked("change_visibility")[0].seconds == (0, 0, 0)
    assert len(queue.receives) == 1


def test_the_stages_come_in_order_and_each_is_one_line(work, queue, until, caplog):
    caplog.set_level(logging.INFO, "messaging.runtime")
    queue.put(1)
    worker = work(Service())
    until(lambda: worker.stats.acknowledged)
    report = worker.stop()
    assert list(report.stages) == [
        Stage.RUNNING,
        Stage.STOPPING_POLLS,
        Stage.FINISHING_HANDLERS,
        Stage.FLUSHING,
        Stage.RELEASING,
    ]
    said = [one.getMessage() for one in caplog.records if one.getMessage().startswith("worker ")]
    assert [ready_queue.partition(" (")[0].removeprefix("worker ") for ready_queue in said] == [
        *(stage.value for stage in report.stages),
        "stopped",
    ]
    assert said[-1].endswith(
        "received 1, acknowledged 1, released 0, dead-lettered 0, expired 0, in flight 0"
    )


def test_a_sync_handler_beyond_the_deadline_is_left_to_its_lease(work, queue, until, release):
    queue.put(1, 2)
    worker = work(Service(lambda n: release.wait(5) if n == 1 else None), drain=0.1)
    until(lambda: worker.stats.acknowledged == 1)
    report = worker.stop()
    assert report.unfinished == ("m1",)
    assert report.stats == Stats(received=2, acknowledged=1, expired=1)
    release.set()
    threads = [one for one in threading.enumerate() if one.name.startswith("messaging-service")]
    for thread in threads:
        thread.join(5)
    assert queue.messages("delete") == ["m2"], "a late result was acknowledged"
    assert worker.stats == report.stats


def test_an_async_handler_beyond_the_deadline_is_cancelled_and_given_back(work, queue, until):
    class Slow(Consumer):
        service = "service"
        started = cancelled = 0

        @handles
        async def slow(self, event: HappenedAsync) -> None:
            self.started += 1
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled += 1
                if event.n == 2:
                    return  # it had done its work
                raise

    consumer = Slow()
    queue.put(1, 2, kind="happened.async")
    worker = work(consumer, drain=0.05)
    until(lambda: consumer.started == 2)
    report = worker.stop()
    assert consumer.cancelled == 2
    assert report.stats == Stats(received=2, released=1, acknowledged=1)
    assert (queue.messages("change_visibility"), queue.asked("change_visibility")[0].seconds) == (
        ["m1"],
        (0,),
    )
    assert report.unfinished == ()


def test_a_coroutine_that_ignores_its_cancelling_is_abandoned(work, queue, until, monkeypatch):
    monkeypatch.setattr("messaging.runtime.lifecycle.GRACE_AFTER_CANCEL", 0.1)
    stopped = threading.Event()

    class Deaf(Consumer):
        service = "service"
        started = heard = 0

        @handles
        async def deaf(self, event: HappenedAsync) -> None:
            self.started += 1
            future = asyncio.get_running_loop().create_future()
            try:
                await future
            except asyncio.CancelledError:
                self.heard += 1
                while not stopped.is_set():  # however late a busy machine looks
                    # A stop may ask twice: by the token of the delivery and by the loop.
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(0.01)

    consumer = Deaf()
    queue.put(1, kind="happened.async")
    worker = work(consumer, drain=0.05)
    until(lambda: consumer.started)
    report = worker.stop()
    stopped.set()
    assert consumer.heard == 1
    assert report.unfinished == ("m1",)
    assert report.stats == Stats(received=1, expired=1)


def test_handlers_that_finish_within_the_deadline_are_acknowledged(work, queue, until):
    queue.put(1)
    started = threading.Event()

    def act(n: int) -> None:
        started.set()
        time.sleep(0.1)

    worker = work(Service(act))
    assert started.wait(5)
    assert worker.stop().stats == Stats(received=1, acknowledged=1)


def test_stop_from_several_threads_is_one_stop(work, queue, until, release):
    queue.put(1)
    service = Service(lambda n: release.wait(5))
    worker = work(service)
    until(lambda: service.started)
    both = [in_background(worker.stop) for _ in range(3)]
    until(lambda: worker.stage is Stage.FINISHING_HANDLERS)
    threading.Event().wait(0.05)
    assert worker.stats.in_flight == 1, "a second stop() did not wait for the handler"
    release.set()
    for thread, reports in both:
        thread.join(5)
        assert reports[0].stats == Stats(received=1, acknowledged=1)


def test_settlements_that_are_refused_to_the_end_are_left_to_their_leases(work, queue, until):
    queue.refuse = lambda request: [Failure(0, "Throttled", "later", True)]
    queue.put(1)
    worker = work(Service())
    until(lambda: queue.requests)
    report = worker.stop()
    assert report.stats == Stats(received=1, expired=1)
    assert 2 <= len(queue.asked("delete")) <= 4


def test_what_is_refused_twice_at_the_stop_is_still_settled(work, queue, until):
    queue.refuse = lambda request: (
        [Failure(0, "Throttled", "later", True)] if len(queue.asked("delete")) < 2 else ()
    )
    queue.put(1)
    worker = work(Service())
    until(lambda: queue.requests)
    report = worker.stop()
    assert report.stats == Stats(received=1, acknowledged=1)
    assert len(queue.asked("delete")) == 3


def test_a_long_poll_in_this_process_is_woken_at_the_stop():
    broker = MemoryBroker(Topology.of(Service, topic="t"))
    from messaging.runtime import Worker

    worker = Worker(Service(), broker=broker, wait=20)
    worker.start()
    time.sleep(0.05)
    began = time.monotonic()
    worker.stop()
    assert time.monotonic() - began < 10


def test_no_hurry_without_a_second_signal_even_if_a_thread_dies_meanwhile(
    work, queue, until, release
):
    """What ends the worker is heard once; what comes later does not cut handlers short."""
    queue.put(1)
    service = Service(lambda n: release.wait(5))
    worker = work(service)
    until(lambda: service.started)
    queue.fail_receive.append(ZeroDivisionError("a defect"))
    until(lambda: worker.stage is Stage.FINISHING_HANDLERS)
    stopping, reports = in_background(worker.stop)
    threading.Event().wait(0.05)
    release.set()
    stopping.join(5)
    assert reports[0].stats == Stats(received=1, acknowledged=1)
    assert isinstance(reports[0].error, ZeroDivisionError)


def test_leaving_the_block_raises_what_a_thread_died_of(work, queue, until):
    queue.fail_receive.append(ZeroDivisionError("a defect"))
    worker = work(Service(), start=False)
    with pytest.raises(ZeroDivisionError), worker:
        until(lambda: worker.stage is Stage.STOPPED)
