"""Single events share a request; every one is sent once, whatever ends the process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from messaging.claimcheck import ClaimCheck, MemoryBlobStore
from messaging.clock import SYSTEM_CLOCK
from messaging.errors import (
    AccessDenied,
    BufferFull,
    ConfigurationError,
    InvalidCharacters,
    PublishError,
    TransportError,
)
from messaging.event import Event
from messaging.projection import Projection
from messaging.publishing.buffered import BufferedPublisher
from messaging.publishing.pending import Item, Pending, in_event_loop
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import NotPublished, Published
from messaging.testing import FakeClock
from messaging.transport import Failure, Outgoing
from tests.scripted import Noted, ScriptedTopic, wrong

ROOT = Path(__file__).parent.parent
LONG = 10.0
"""Seconds of linger that no test waits for."""


class Ordered(Event, type="ordered", version=1, group="who"):
    who: str
    number: int


class Asked(Event, type="asked", version=1):
    number: int
    consent: bool


class AskedForMail(Projection, of=Asked, audience="mail"):
    number: int

    @classmethod
    def wanted(cls, event: Asked) -> bool:
        return event.consent


def buffered(
    topic: Any, *, sleepless: bool = False, senders: int = 2, **keywords: Any
) -> BufferedPublisher:
    clock = FakeClock() if sleepless else SYSTEM_CLOCK
    publisher = Publisher(topic, source="/tests", max_attempts=2, in_flight=senders, clock=clock)
    return publisher.buffered(**keywords)


class Gate(ScriptedTopic):
    """Answers only when the gate is open."""

    def __init__(self, *script: Any) -> None:
        super().__init__(*script)
        self.open = threading.Event()
        self.reached = threading.Event()

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        self.reached.set()
        assert self.open.wait(10)
        return super().publish(batch)


def test_ten_events_fill_a_request_and_do_not_wait() -> None:
    topic = ScriptedTopic()
    with buffered(topic, linger=LONG) as one_by_one:
        futures = [one_by_one.publish(Noted(number=n)) for n in range(10)]
        assert len({future.result(5).id for future in futures}) == 10
    assert topic.sizes == [10]


def test_fewer_events_share_a_request_when_the_first_has_lingered() -> None:
    topic = ScriptedTopic()
    with buffered(topic, linger=0.05) as one_by_one:
        futures = [one_by_one.publish(Noted(number=n)) for n in range(4)]
        assert [future.result(5).copies for future in futures] == [1] * 4
        assert topic.sizes == [4]


def test_without_linger_an_event_goes_at_once() -> None:
    with buffered(ScriptedTopic(), linger=0) as one_by_one:
        assert one_by_one.publish(Noted(number=1), id="mine").result(5) == Published("mine", 1)


def test_an_event_that_nobody_wants_is_done_at_once() -> None:
    topic = ScriptedTopic()
    with buffered(topic) as one_by_one:
        future = one_by_one.publish(Asked(number=1, consent=False))
        assert future.result(0).copies == 0
    assert topic.requests == []


def test_an_event_that_cannot_be_sent_raises_where_it_is_published() -> None:
    with buffered(ScriptedTopic()) as one_by_one, pytest.raises(InvalidCharacters):
        one_by_one.publish(Noted(number=1, text="\x00"))


def test_flush_sends_what_is_waiting_and_its_futures_are_done_then() -> None:
    topic = ScriptedTopic()
    with buffered(topic, linger=LONG) as one_by_one:
        for number in range(20):
            future = one_by_one.publish(Noted(number=number))
            assert one_by_one.flush(5)
            assert future.done()
        assert len(topic.accepted) == 20


def test_flush_says_when_it_took_too_long() -> None:
    gate = Gate()
    with buffered(gate, linger=0) as one_by_one:
        one_by_one.publish(Noted(number=1))
        assert not one_by_one.flush(0.01)
        gate.open.set()
        assert one_by_one.flush(5)


def test_close_sends_what_is_waiting_and_may_be_done_twice() -> None:
    topic = ScriptedTopic()
    one_by_one = buffered(topic, linger=LONG)
    futures = [one_by_one.publish(Noted(number=n)) for n in range(25)]
    one_by_one.close()
    one_by_one.close()
    assert all(future.done() for future in futures)
    assert sorted(one["number"] for one in topic.data) == list(range(25))
    assert not [one for one in threading.enumerate() if one.name.startswith("messaging-linger")]
    with pytest.raises(PublishError, match="closed; nothing was sent"):
        one_by_one.publish(Noted(number=1))


def test_many_threads_lose_nothing_and_repeat_nothing() -> None:
    topic = ScriptedTopic()
    with buffered(topic, linger=0.001, max_pending=20) as one_by_one:

        def work(start: int) -> None:
            for number in range(start, start + 100):
                one_by_one.publish(Noted(number=number))

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(one["number"] for one in topic.data) == list(range(300))
    assert max(topic.sizes) <= 10


def test_a_group_keeps_its_order() -> None:
    busy = threading.Lock()

    class OneAtATime(ScriptedTopic):
        fifo = True

        def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
            assert busy.acquire(blocking=False), "a second request is under way"
            try:
                threading.Event().wait(0.001)
                return super().publish(batch)
            finally:
                busy.release()

    topic = OneAtATime()
    with buffered(topic, linger=0) as one_by_one:
        futures = [one_by_one.publish(Ordered(who="a", number=n)) for n in range(60)]
        assert all(future.result(5).copies == 1 for future in futures)
    assert [one["number"] for one in topic.data] == list(range(60))


# a full buffer


def test_a_full_buffer_says_so_after_the_timeout_and_nothing_was_sent() -> None:
    gate = Gate()
    with buffered(gate, linger=0, max_pending=2) as one_by_one:
        for number in range(2):
            one_by_one.publish(Noted(number=number))
        with pytest.raises(PublishError, match="2 events are waiting and the topic takes none"):
            one_by_one.publish(Noted(number=2), timeout=0.01)
        gate.open.set()
    assert sorted(one["number"] for one in gate.data) == [0, 1]


def test_a_full_buffer_blocks_until_there_is_room() -> None:
    gate = Gate()
    with buffered(gate, linger=0, max_pending=1) as one_by_one:
        one_by_one.publish(Noted(number=0))
        later: list[Future[Published]] = []
        blocked = threading.Thread(target=lambda: later.append(one_by_one.publish(Noted(number=1))))
        blocked.start()
        blocked.join(0.02)
        assert blocked.is_alive()
        gate.open.set()
        blocked.join(5)
        assert later[0].result(5).copies == 1


def test_closing_wakes_those_who_wait_for_room() -> None:
    gate = Gate()
    one_by_one = buffered(gate, linger=0, max_pending=1)
    one_by_one.publish(Noted(number=0))
    told: list[str] = []

    def blocked() -> None:
        try:
            one_by_one.publish(Noted(number=1))
        except PublishError as error:
            told.append(str(error))

    waiting = threading.Thread(target=blocked)
    waiting.start()
    closing = threading.Thread(target=one_by_one.close)
    assert gate.reached.wait(5)
    closing.start()
    waiting.join(5)
    gate.open.set()
    closing.join(5)
    assert told == ["this publisher is closed; nothing was sent"]


# in an event loop


def test_in_an_event_loop_an_event_is_awaited_and_the_loop_goes_on() -> None:
    gate = Gate()

    async def enrol() -> list[Published]:
        async with buffered(gate, linger=0.001) as one_by_one:
            pending = [one_by_one.publish(Noted(number=n)) for n in range(25)]
            ticks = 0
            while not gate.reached.is_set() or ticks < 10:
                await asyncio.sleep(0.001)
                ticks += 1
            gate.open.set()
            return list(await asyncio.gather(*pending))

    assert [one.copies for one in asyncio.run(enrol())] == [1] * 25
    assert sorted(one["number"] for one in gate.data) == list(range(25))


def test_a_full_buffer_says_so_in_an_event_loop_instead_of_blocking_it() -> None:
    gate = Gate()

    async def enrol() -> None:
        async with buffered(gate, linger=0, max_pending=2) as one_by_one:
            for number in range(2):
                one_by_one.publish(Noted(number=number))
            with pytest.raises(BufferFull, match=r"block the event loop.*await buffered.room\(\)"):
                one_by_one.publish(Noted(number=2))
            waiting = asyncio.create_task(one_by_one.room())
            await asyncio.sleep(0.01)
            assert not waiting.done()
            gate.open.set()
            await waiting
            assert (await one_by_one.publish(Noted(number=3))).copies == 1

    asyncio.run(enrol())
    assert sorted(one["number"] for one in gate.data) == [0, 1, 3]


def test_tasks_that_wait_for_room_all_come_to_their_turn() -> None:
    topic = ScriptedTopic()

    async def enrol(one_by_one: BufferedPublisher, number: int) -> None:
        await one_by_one.room()
        one_by_one.publish(Noted(number=number))

    async def everybody() -> None:
        async with buffered(topic, linger=0, max_pending=3) as one_by_one:
            tasks = [asyncio.create_task(enrol(one_by_one, n)) for n in range(200)]
            tasks[150].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(everybody())
    assert sorted(one["number"] for one in topic.data) == [n for n in range(200) if n != 150]


def test_who_waits_for_the_room_of_a_buffer_that_is_closed_is_told() -> None:
    gate = Gate()

    async def enrol() -> None:
        one_by_one = buffered(gate, linger=0, max_pending=1)
        one_by_one.publish(Noted(number=0))
        waiting = asyncio.create_task(one_by_one.room())
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(one_by_one.close))
        with pytest.raises(PublishError, match="closed; nothing was sent"):
            await waiting
        gate.open.set()
        await closing

    asyncio.run(enrol())


@pytest.mark.parametrize("what", ["flush", "close"])
def test_flush_and_close_refuse_to_block_an_event_loop_and_nothing_is_lost(what: str) -> None:
    topic = ScriptedTopic()

    async def enrol() -> None:
        async with buffered(topic, linger=LONG) as one_by_one:
            one_by_one.publish(Noted(number=1))
            with pytest.raises(ConfigurationError, match=rf"asyncio.to_thread\(buffered.{what}\)"):
                getattr(one_by_one, what)()
            await asyncio.to_thread(getattr(one_by_one, what))
            assert len(topic.accepted) == 1

    asyncio.run(enrol())


def test_a_plain_with_in_an_event_loop_says_that_it_would_block() -> None:
    async def enrol() -> None:
        with pytest.raises(ConfigurationError, match="async with"), buffered(ScriptedTopic()):
            pass

    asyncio.run(enrol())


def test_in_an_event_loop_what_is_big_is_stored_by_the_thread_that_sends() -> None:
    loops: list[bool] = []

    class Store(MemoryBlobStore):
        def put(self, key: str, data: bytes) -> None:
            loops.append(in_event_loop())
            if b"lost" in data:
                raise TransportError("the store is away")
            super().put(key, data)

    topic, told = ScriptedTopic(), list[NotPublished]()
    publisher = Publisher(topic, source="/t", codec=ClaimCheck(Store(), threshold=0))

    async def enrol() -> None:
        async with publisher.buffered(linger=0, on_failure=told.append) as one_by_one:
            good = one_by_one.publish(Noted(number=1), id="good")
            bad = one_by_one.publish(Noted(number=2, text="lost"), id="bad")
            assert await good == Published("good", 1)
            with pytest.raises(TransportError, match="the store is away"):
                await bad

    asyncio.run(enrol())
    assert loops == [False, False]
    assert [(one.id, one.unknown) for one in told] == [("bad", False)]
    assert len(topic.accepted) == 1


def test_an_event_in_the_buffer_that_is_printed_shows_no_data() -> None:
    message = Outgoing(id="e1", body="Ana", attributes={}, size=3)
    item = Item(Noted(number=1, text="Ana"), "Ana", list, [message], Pending(), 0.0)
    assert "Ana" not in repr(item)


# callbacks that raise what is no Exception


def test_system_exit_in_a_callback_ends_no_thread_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    topic = ScriptedTopic(wrong(0), wrong(0))
    with buffered(topic, linger=0, senders=1, on_failure=leave) as one_by_one:
        for number in range(3):
            one_by_one.publish(Noted(number=number)).add_done_callback(leave)
            assert one_by_one.flush(5)
        assert one_by_one.publish(Noted(number=3)).result(5).copies == 1
    assert [one["number"] for one in topic.data] == [2, 3]
    assert caplog.messages.count("on_failure raised SystemExit") == 2
    assert sum("a callback of a future raised SystemExit" in one for one in caplog.messages) == 3


def test_whatever_ends_a_request_is_told_of_its_events_and_the_buffer_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[NotPublished] = []
    topic = ScriptedTopic(SystemExit("Maria"))
    with buffered(topic, linger=LONG, on_failure=told.append) as one_by_one:
        lost = [one_by_one.publish(Noted(number=n), id=f"n{n}") for n in range(10)]
        for future in lost:
            with pytest.raises(
                PublishError, match=r"not accepted \(it may have been\): SystemExit"
            ):
                future.result(5)
        one_by_one.publish(Noted(number=10))
    assert sorted(one.id for one in told) == [f"n{n}" for n in range(10)]
    assert all(one.unknown for one in told)
    assert [one["number"] for one in topic.data] == [10]
    assert "Maria" not in caplog.text


@pytest.mark.parametrize("what", ["publish", "flush", "close"])
def test_a_callback_that_waits_for_its_own_thread_is_refused_instead_of_hanging(what: str) -> None:
    gate, raised = Gate(), list[Exception]()

    with buffered(gate, linger=0, senders=1, max_pending=1) as one_by_one:

        def wait_for_itself(_: object) -> None:
            try:
                if what == "publish":
                    one_by_one.publish(Noted(number=1))
                else:
                    getattr(one_by_one, what)()
            except (BufferFull, ConfigurationError) as error:
                raised.append(error)

        one_by_one.publish(Noted(number=0)).add_done_callback(wait_for_itself)
        gate.open.set()
        assert one_by_one.flush(5)
    assert len(raised) == 1
    assert "the thread that sends" in str(raised[0])


@pytest.mark.parametrize("keywords", [{"linger": -1}, {"linger": 11}, {"max_pending": 0}], ids=str)
def test_numbers_that_cannot_be_are_refused(keywords: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="linger is 0 to 10 seconds"):
        buffered(ScriptedTopic(), **keywords)


# failures


def test_a_failure_reaches_its_own_future_and_on_failure() -> None:
    failures: list[NotPublished] = []
    topic = ScriptedTopic(wrong(1))
    with buffered(topic, linger=LONG, on_failure=failures.append) as one_by_one:
        futures = [one_by_one.publish(Noted(number=n), id=f"n{n}") for n in range(10)]
        wait(futures, 5)
    assert [bool(future.exception()) for future in futures] == [n == 1 for n in range(10)]
    with pytest.raises(PublishError, match=r"Noted \(id n1\) was not accepted: InvalidParameter"):
        futures[1].result()
    assert [(one.id, one.event) for one in failures] == [("n1", Noted(number=1))]


def test_the_error_of_a_buffered_event_tells_of_it_as_of_the_only_one() -> None:
    failures: list[NotPublished] = []
    topic = ScriptedTopic(wrong(1, 7))
    with buffered(topic, linger=LONG, on_failure=failures.append) as one_by_one:
        futures = [one_by_one.publish(Noted(number=n), id=f"n{n}") for n in range(10)]
    for place in (1, 7):
        error = futures[place].exception()
        assert isinstance(error, PublishError)
        result: Any = error.result
        assert (result.consumed, [one.index for one in result.failed]) == (1, [0])
        assert result.failed[0].id == f"n{place}"
    assert [(one.index, one.id) for one in failures] == [(0, "n1"), (0, "n7")]


def test_by_default_a_failure_is_logged_without_data(caplog: pytest.LogCaptureFixture) -> None:
    with buffered(ScriptedTopic(wrong(0)), linger=0) as one_by_one:
        one_by_one.publish(Noted(number=1, text="Ana"), id="n1")
    assert caplog.record_tuples == [
        (
            "messaging.publishing.publisher",
            logging.ERROR,
            "Noted (id n1) was not accepted: InvalidParameter: no",
        ),
    ]


@pytest.mark.parametrize(
    "error", [TransportError("no route", code="Timeout"), ValueError("Ana")], ids=["silence", "bug"]
)
def test_a_topic_that_fails_fails_the_futures_and_the_next_event_is_sent(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[NotPublished] = []
    topic = ScriptedTopic(error, error)
    with buffered(topic, sleepless=True, linger=0, on_failure=failures.append) as one_by_one:
        failed = one_by_one.publish(Noted(number=0)).exception(5)
        topic.script.clear()
        assert one_by_one.publish(Noted(number=1)).result(5).copies == 1
    assert isinstance(failed, PublishError)
    assert isinstance(failed.__cause__, TransportError)
    assert len(failures) == 1
    assert "Ana" not in f"{failed} {caplog.text}"


def test_on_failure_that_raises_costs_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    def spoil(failed: NotPublished) -> None:
        raise RuntimeError("no pager for " + failed.event.text)  # type: ignore[attr-defined]

    with buffered(ScriptedTopic(wrong(0, 1)), linger=LONG, on_failure=spoil) as one_by_one:
        futures = [one_by_one.publish(Noted(number=n, text="Ana")) for n in range(10)]
        wait(futures, 5)
        assert [bool(future.exception()) for future in futures] == [True, True, *[False] * 8]
        again = one_by_one.publish(Noted(number=11))
        one_by_one.flush(5)
        assert again.done()
    assert caplog.messages == ["on_failure raised RuntimeError"] * 2


def test_who_stops_waiting_does_not_stop_the_others() -> None:
    gate = Gate()

    async def impatient(one_by_one: BufferedPublisher) -> None:
        future = asyncio.wrap_future(one_by_one.publish(Noted(number=0)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)

    with buffered(gate, linger=0) as one_by_one:
        asyncio.run(impatient(one_by_one))
        future = one_by_one.publish(Noted(number=1))
        assert not future.cancel()
        gate.open.set()
        assert future.result(5).copies == 1
    assert sorted(one["number"] for one in gate.data) == [0, 1]


def test_closing_waits_for_a_dead_topic_once_and_not_for_every_request() -> None:
    gate = Gate((), (), *[AccessDenied("no", code="AccessDenied")] * 99)
    failures: list[NotPublished] = []
    one_by_one = buffered(gate, linger=LONG, on_failure=failures.append)
    futures = [one_by_one.publish(Noted(number=n)) for n in range(100)]
    closing = threading.Thread(target=one_by_one.close)
    closing.start()
    while not one_by_one._closed:
        closing.join(0.001)
    gate.open.set()
    closing.join(10)
    assert not closing.is_alive()
    assert all(future.done() for future in futures)
    assert len(failures) == 80
    assert len(gate.requests) <= 4, "at most one more for each sender"


def test_closing_tries_again_though_the_topic_did_not_answer_before() -> None:
    topic = ScriptedTopic(AccessDenied("no", code="AccessDenied"))
    with buffered(topic, linger=LONG, on_failure=lambda failed: None) as one_by_one:
        for number in range(10):
            one_by_one.publish(Noted(number=number))
        one_by_one.flush(5)
        last = one_by_one.publish(Noted(number=11))
    assert last.result(0).copies == 1


# the ends of a process


def _run(code: str) -> tuple[str, str, int]:
    head = (
        "import multiprocessing, os, sys\n"
        "from messaging import Publisher\n"
        "from tests.scripted import Noted, ScriptedTopic\n"
        "class Printing(ScriptedTopic):\n"
        "    def publish(self, batch):\n"
        "        os.write(1, ''.join(f'{name} {one.id}\\n' for one in batch).encode())\n"
        "        return ()\n"
        "name = 'parent'\n"
        "buffered = Publisher(Printing(), source='/s').buffered(linger=10)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", head + code],
        cwd=ROOT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, complaint = process.communicate(timeout=20)
    finally:
        process.kill()
    return out, complaint, process.returncode


@pytest.mark.parametrize(
    ("end", "returns"), [("", 0), ("sys.exit(3)", 3), ("raise ValueError('x')", 1)]
)
def test_the_interpreters_exit_sends_what_is_waiting(end: str, returns: int) -> None:
    out, complaint, returned = _run(
        f"for n in range(13): buffered.publish(Noted(number=n), id=f'n{{n}}')\n{end}\n"
    )
    assert sorted(out.split("\n")[:-1]) == sorted(f"parent n{n}" for n in range(13)), complaint
    assert returned == returns


FORK = """
buffered.publish(Noted(number=1), id="before")
child = os.fork()
name = name if child else "child"
buffered.publish(Noted(number=2), id="after")
{end}
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("end", ["", "buffered.close()", "buffered.flush(5)"])
def test_a_fork_sends_what_was_waiting_once_from_the_parent(end: str) -> None:
    out, complaint, returned = _run(FORK.format(end=end))
    assert returned == 0, complaint
    assert sorted(out.split("\n")[:-1]) == ["child after", "parent after", "parent before"]


def test_a_fork_while_the_lock_is_held_does_not_hang_the_child() -> None:
    out, complaint, returned = _run(
        "with buffered._changed:\n"
        "    child = os.fork()\n"
        "if not child:\n"
        "    name = 'child'\n"
        "    buffered.publish(Noted(number=1), id='after').add_done_callback(lambda f: None)\n"
        "    buffered.close()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    assert (out, returned) == ("child after\n", 0), complaint


def test_a_publisher_that_was_closed_before_a_fork_is_closed_after_it() -> None:
    out, complaint, returned = _run(
        "buffered.close()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try: buffered.publish(Noted(number=1))\n"
        "    except Exception as error: os.write(1, str(error).encode())\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    assert (out, returned) == ("this publisher is closed; nothing was sent", 0), complaint


def test_a_child_of_multiprocessing_closes_it_itself() -> None:
    out, complaint, returned = _run(
        "def work():\n"
        "    global name; name = 'child'\n"
        "    with buffered: buffered.publish(Noted(number=1), id='n1')\n"
        "process = multiprocessing.get_context('fork').Process(target=work)\n"
        "process.start(); process.join(); assert process.exitcode == 0\n"
    )
    assert (out, returned) == ("child n1\n", 0), complaint


def test_a_publisher_that_was_never_used_is_forgotten() -> None:
    forgotten = weakref.ref(buffered(ScriptedTopic()))
    gc.collect()
    assert forgotten() is None


def test_a_publisher_that_is_let_go_of_still_sends() -> None:
    let_go = buffered(ScriptedTopic(), linger=0.01)
    future, held = let_go.publish(Noted(number=1)), weakref.ref(let_go)
    del let_go
    gc.collect()
    assert future.result(5).copies == 1
    if (still := held()) is not None:  # by its own threads
        still.close()


class FarTopic(ScriptedTopic):
    """Answers each request `way` seconds late, and counts those under way."""

    def __init__(self, way: float) -> None:
        super().__init__()
        self._way = way
        self._counting = threading.Lock()
        self.out = self.most = 0

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        with self._counting:
            self.out += 1
            self.most = max(self.most, self.out)
        time.sleep(self._way)
        with self._counting:
            self.out -= 1
        return super().publish(batch)


def test_a_topic_that_is_far_away_gets_more_requests_at_once() -> None:
    topic = FarTopic(0.03)
    with Publisher(topic, source="/tests").buffered() as one_by_one:
        futures = [one_by_one.publish(Noted(number=n)) for n in range(1000)]
        assert len({future.result(10).id for future in futures}) == 1000
    assert topic.most > 4
    assert sum(topic.sizes) == 1000


def test_the_publishers_in_flight_bounds_its_buffers() -> None:
    topic = FarTopic(0.01)
    with buffered(topic, senders=3) as one_by_one:
        for future in [one_by_one.publish(Noted(number=n)) for n in range(500)]:
            future.result(10)
    assert topic.most == 3


def test_threads_that_are_needed_no_more_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("messaging.publishing.senders.LEAVES", 0.05)
    topic = FarTopic(0.02)
    with Publisher(topic, source="/tests").buffered() as one_by_one:
        for future in [one_by_one.publish(Noted(number=n)) for n in range(500)]:
            future.result(10)
        assert topic.most > 2
        end = time.monotonic() + 10
        while len(one_by_one._threads.threads) > 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert one_by_one.publish(Noted(number=1)).result(5)


class Looked:
    """The system's clock, and which threads of the buffer looked at it."""

    def __init__(self) -> None:
        self.looks: list[str] = []
        self.now, self.sleep = SYSTEM_CLOCK.now, SYSTEM_CLOCK.sleep

    def monotonic(self) -> float:
        name = threading.current_thread().name
        if name.startswith("messaging-linger"):
            self.looks.append(name)
        return SYSTEM_CLOCK.monotonic()


def test_an_event_wakes_one_thread_that_sends_however_many_there_are(monkeypatch) -> None:
    monkeypatch.setattr("messaging.publishing.senders.FIRST", 16)
    clock, topic = Looked(), ScriptedTopic()
    publisher = Publisher(topic, source="/tests", in_flight=16, clock=clock)
    with publisher.buffered(linger=LONG) as buffer:
        buffer.publish(Noted(number=0))
        buffer.flush()
        # Notified threads are idle until they have the lock, and would look at the clock later.
        # Whoever is notified is no longer among the condition's waiters.
        waiters = buffer._work._waiters
        _until(lambda: len(waiters) == 16)
        clock.looks.clear()
        for number in range(9):
            buffer.publish(Noted(number=number))
            time.sleep(0.01)
        _until(lambda: clock.looks)
        assert len(clock.looks) == 1, "it sleeps until the first is due"
        last = buffer.publish(Noted(number=9))
        last.result(5)
        _until(lambda: buffer._threads.idle == 16)
    # One took them, and looked twice at the clock to see how long the topic took; nobody else.
    assert len(set(clock.looks)) <= 2


def _until(reached) -> None:
    end = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.001)
