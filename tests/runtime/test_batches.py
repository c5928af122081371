"""A worker whose handlers take batches: gathered, leased, settled and stopped like all others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from messaging.consuming.batch import Batch
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.memory.broker import MemoryBroker
from messaging.outcome import Outcome, Reject, Retry, RetryPolicy
from messaging.publishing.publisher import Publisher
from messaging.runtime import Stats, Worker
from messaging.topology import Topology

PATIENCE = 30.0


class Row(Event, type="row", version=1):
    number: int


class Note(Event, type="note", version=1):
    number: int


class Step(Event, type="step", version=1, group="lane"):
    lane: str
    number: int


class Load(Consumer):
    visibility_timeout = 2
    retry = RetryPolicy(max_attempts=2, wait=lambda state: 0.0, outage=0)

    def __init__(self, answer: Callable[[list[int]], Any] = lambda numbers: None) -> None:
        self.calls: list[list[int]] = []
        self.notes: list[int] = []
        self.answer = answer
        self.changed = threading.Condition()

    def called(self, batch: Batch[Any]) -> Any:
        numbers = [one.number for one in batch]
        with self.changed:
            self.calls.append(numbers)
            self.changed.notify_all()
        return self.answer(numbers)

    @handles(batch=50, wait=0.2)
    def rows(self, rows: Batch[Row]) -> Outcome | Mapping[int, Outcome] | None:
        answer: Outcome | Mapping[int, Outcome] | None = self.called(rows)
        return answer

    @handles
    def note(self, note: Note) -> None:
        self.notes.append(note.number)

    def wait_for(self, enough: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(enough, PATIENCE)


class Patient(Load):
    """Its batches wait for so long that only a full one, or a stop, ends that in a test."""

    service = "load"

    @handles(batch=50, wait=300)
    def rows(self, rows: Batch[Row]) -> Outcome | Mapping[int, Outcome] | None:
        answer: Outcome | Mapping[int, Outcome] | None = self.called(rows)
        return answer


@contextmanager
def broker_of(consumer: type[Consumer], topic: str, *events: Event) -> Iterator[MemoryBroker]:
    broker = MemoryBroker(Topology.of(consumer, topic=topic))
    try:
        with Publisher(broker.topic(), source="/tests") as publisher:
            publisher.publish_many(events)
        yield broker
    finally:
        broker.close()


def rows(count: int) -> list[Event]:
    return [Row(number=number) for number in range(count)]


def settled(worker: Worker, count: int) -> Stats:
    """The accounts, as soon as so many have been acknowledged or dead-lettered."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        stats = worker.stats
        if stats.acknowledged + stats.dead_lettered >= count:
            return stats
        pause.wait(0.01)
    raise AssertionError(worker.stats)


def test_messages_of_one_type_are_gathered_and_others_go_their_own_way() -> None:
    load = Load()
    notes = [Note(number=number) for number in range(20)]
    with (
        broker_of(Load, "school", *rows(120), *notes) as broker,
        Worker(load, broker=broker, concurrency=2, wait=0.1) as worker,
    ):
        stats = settled(worker, 140)
    assert stats.acknowledged == 140
    assert sorted(load.notes) == list(range(20))
    assert sorted(number for call in load.calls for number in call) == list(range(120))
    assert max(map(len, load.calls)) == 50
    assert len(load.calls) < 30


def test_a_full_batch_does_not_wait() -> None:
    load = Patient()
    with (
        broker_of(Patient, "school", *rows(100)) as broker,
        Worker(load, broker=broker, concurrency=1, prefetch=0, wait=0.1) as worker,
    ):
        settled(worker, 100)
    assert list(map(len, load.calls)) == [50, 50]


def test_a_batch_counts_once_in_concurrency() -> None:
    together = threading.Barrier(2, timeout=PATIENCE)
    load = Patient(lambda numbers: (together.wait(), None)[1])
    with (
        broker_of(Patient, "school", *rows(100)) as broker,
        Worker(load, broker=broker, concurrency=2, prefetch=0, wait=0.1) as worker,
    ):
        settled(worker, 100)
    assert len(load.calls) == 2


def test_a_stop_hands_over_what_is_gathered() -> None:
    load = Patient()
    with broker_of(Patient, "school", *rows(7)) as broker:
        worker = Worker(load, broker=broker, wait=0.1)
        worker.start()
        pause = threading.Event()
        while worker.stats.in_flight < 7:
            pause.wait(0.01)
        report = worker.stop()
    assert load.calls
    assert sorted(load.calls[0]) == list(range(7))
    assert (report.stats.acknowledged, report.stats.released) == (7, 0)


def test_leases_are_kept_while_a_batch_is_gathered_and_handled() -> None:
    class Slow(Load):
        service = "load"
        visibility_timeout = 1

        @handles(batch=50, wait=1.5)
        def rows(self, rows: Batch[Row]) -> None:
            threading.Event().wait(1.5)
            self.called(rows)

    load = Slow()
    with (
        broker_of(Slow, "school", *rows(12)) as broker,
        Worker(load, broker=broker, wait=0.1) as worker,
    ):
        stats = settled(worker, 12)
    assert (stats.received, stats.acknowledged, stats.expired) == (12, 12, 0)
    assert len(load.calls) == 1


def test_one_poison_row_is_dead_lettered_and_the_others_are_acknowledged() -> None:
    def insert(numbers: list[int]) -> None:
        if 13 in numbers:
            raise ValueError

    load = Load(insert)
    with (
        broker_of(Load, "school", *rows(60)) as broker,
        Worker(load, broker=broker, wait=0.1) as worker,
    ):
        stats = settled(worker, 60)
        letters = broker.dead_letters("load")
    assert (stats.acknowledged, stats.dead_lettered) == (59, 1)
    assert len(letters) == 1


def test_each_message_has_the_outcome_that_was_said_of_it() -> None:
    again: set[int] = set()

    def answer(numbers: list[int]) -> dict[int, Outcome]:
        said: dict[int, Outcome] = {}
        for at, number in enumerate(numbers):
            if number == 3:
                said[at] = Reject("bad")
            elif number == 5 and number not in again:
                again.add(number)
                said[at] = Retry(0)
        return said

    load = Load(answer)
    with (
        broker_of(Load, "school", *rows(20)) as broker,
        Worker(load, broker=broker, wait=0.1) as worker,
    ):
        stats = settled(worker, 20)
    assert (stats.acknowledged, stats.dead_lettered, stats.released) == (19, 1, 1)


def test_a_hung_batch_is_one_hung_handler_and_its_messages_come_again() -> None:
    release = threading.Event()
    first = iter([True])

    class Hangs(Load):
        service = "load"
        visibility_timeout = 1
        handler_timeout = 0.3

        @handles(batch=50, wait=0.2)
        def rows(self, rows: Batch[Row]) -> None:
            if next(first, False):
                release.wait(PATIENCE)
                assert rows.cancelled
            self.called(rows)

    load = Hangs()
    with (
        broker_of(Hangs, "school", *rows(10)) as broker,
        Worker(load, broker=broker, concurrency=3, wait=0.1) as worker,
    ):
        stats = settled(worker, 10)
        pipeline = worker.pipelines["load"]
        assert pipeline.in_flight.stuck == 1
        assert not pipeline.wedge.wedged
        release.set()
    assert stats.expired == 10


def test_an_async_batch_that_takes_too_long_is_cancelled_and_comes_again() -> None:
    first = iter([True])

    class Waits(Load):
        service = "load"
        visibility_timeout = 1
        handler_timeout = 0.3
        retry = RetryPolicy(wait=lambda state: 0.0)

        @handles(batch=50, wait=0.2)
        async def rows(self, rows: Batch[Row]) -> None:
            if next(first, False):
                await asyncio.sleep(PATIENCE)
            self.called(rows)

    load = Waits()
    with (
        broker_of(Waits, "school", *rows(10)) as broker,
        Worker(load, broker=broker, wait=0.1) as worker,
    ):
        stats = settled(worker, 10)
    assert stats.acknowledged == 10
    assert stats.released >= 1


class Lanes(Consumer):
    retry = RetryPolicy(wait=lambda state: 0.0)

    def __init__(self, answer: Callable[[list[tuple[str, int]]], Any]) -> None:
        self.calls: list[list[tuple[str, int]]] = []
        self.answer = answer

    @handles(batch=20, wait=0.2)
    def steps(self, steps: Batch[Step]) -> Outcome | Mapping[int, Outcome] | None:
        seen = [(one.lane, one.number) for one in steps]
        self.calls.append(seen)
        answer: Outcome | Mapping[int, Outcome] | None = self.answer(seen)
        return answer


@pytest.mark.parametrize("batch_fails", [False, True])
def test_a_group_stays_in_order_through_failures(batch_fails: bool) -> None:
    failures = {("a", 4), ("b", 9), ("a", 17)}
    done: list[tuple[str, int]] = []

    def answer(seen: list[tuple[str, int]]) -> dict[int, Outcome] | None:
        bad = [at for at, one in enumerate(seen) if one in failures]
        if bad and batch_fails:
            if len(seen) == 1:
                failures.discard(seen[0])
            raise ValueError
        said: dict[int, Outcome] = {}
        stopped: set[str] = set()
        for at, one in enumerate(seen):
            if at in bad:
                failures.discard(one)
                stopped.add(one[0])
                said[at] = Retry(0)
            elif one[0] not in stopped:
                done.append(one)
        return said

    lanes = Lanes(answer)
    events = [Step(lane=lane, number=number) for number in range(30) for lane in "ab"]
    with (
        broker_of(Lanes, "school.fifo", *events) as broker,
        Worker(lanes, broker=broker, wait=0.1) as worker,
    ):
        stats = settled(worker, 60)
    for lane in "ab":
        assert [number for name, number in done if name == lane] == list(range(30))
    assert stats.acknowledged == 60
    assert any(len([one for one in call if one[0] == "a"]) > 1 for call in lanes.calls)
    assert not failures


def test_a_message_that_may_have_killed_a_process_is_handed_over_alone() -> None:
    class Cautious(Load):
        service = "load"
        visibility_timeout = 60

        @handles(batch=50, wait=300)
        def rows(self, rows: Batch[Row]) -> None:
            self.called(rows)

    load = Cautious()
    with broker_of(Cautious, "school", *rows(3)) as broker:
        queue = broker.queue("load")
        for _ in range(4):  # as processes that died with them in hand have left them
            taken = queue.receive(10, 0)
            queue.change_visibility(taken, [0] * len(taken))
        queue.close()
        with Worker(load, broker=broker, wait=0.1) as worker:
            stats = settled(worker, 3)
    assert stats.acknowledged == 3
    assert [len(call) for call in load.calls] == [1, 1, 1]
