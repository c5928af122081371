"""What is told of an event of a buffer that was not accepted."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence

import pytest

from messaging.claimcheck import ClaimCheck, MemoryBlobStore
from messaging.deadline import CURRENT
from messaging.errors import PublishError
from messaging.publishing.pending import in_event_loop
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import Published
from messaging.testing import FakeClock
from messaging.transport import Failure, Outgoing
from tests.publishing.test_buffered import Asked
from tests.scripted import Noted, ScriptedTopic, wrong


def test_the_error_of_one_event_tells_of_that_one_only() -> None:
    topic = ScriptedTopic(wrong(1))
    with Publisher(topic, source="/tests").buffered(linger=10) as buffered:
        futures = [buffered.publish(Noted(number=n), id=f"n{n}") for n in range(10)]
        with pytest.raises(PublishError) as caught:
            futures[1].result(10)
    result = caught.value.result
    assert result is not None
    counts = (result.consumed, result.accepted, result.declined, result.copies)
    assert counts == (1, 0, 0, 0)
    [failed] = result.failed
    assert (failed.id, failed.unknown) == ("n1", False)


def test_an_event_whose_request_was_broken_off_may_have_been_accepted() -> None:
    with Publisher(ScriptedTopic(SystemExit(1)), source="/tests").buffered(linger=0) as buffered:
        future = buffered.publish(Noted(number=1), id="n1")
        with pytest.raises(PublishError, match="may have been") as caught:
            future.result(10)
    result = caught.value.result
    assert result is not None
    [failed] = result.failed
    assert (failed.index, failed.id, failed.unknown) == (0, "n1", True)


def test_a_program_that_never_loaded_asyncio_runs_no_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "asyncio")
    assert in_event_loop() is False


def test_an_event_that_nobody_wants_keeps_its_id_when_the_sending_thread_encodes_it() -> None:
    publisher = Publisher(ScriptedTopic(), source="/tests", codec=ClaimCheck(MemoryBlobStore()))

    async def publish() -> Published:
        async with publisher.buffered(linger=0) as buffered:
            return await buffered.publish(Asked(number=1, consent=False), id="mine")

    assert asyncio.run(publish()) == Published("mine", 0)


def test_the_thread_that_stores_a_big_event_is_told_how_long_it_may_take() -> None:
    told: list[float | None] = []

    class Store(MemoryBlobStore):
        def put(self, key: str, data: bytes) -> None:
            deadline = CURRENT.get()
            told.append(None if deadline is None else deadline.left())
            super().put(key, data)

    codec = ClaimCheck(Store(), threshold=1000)
    publisher = Publisher(
        ScriptedTopic(), source="/tests", codec=codec, clock=FakeClock(), timeout=9
    )
    with publisher.buffered(linger=0) as buffered:
        assert buffered.publish(Noted(number=1, text="é" * 1000)).result(10).copies == 1
    assert told == [9]


def test_a_task_that_is_cancelled_while_it_waits_for_room_leaves_nothing_behind() -> None:
    answered = threading.Event()

    def slow(batch: Sequence[Outgoing]) -> Sequence[Failure]:
        assert answered.wait(10)
        return ()

    async def impatient() -> None:
        async with Publisher(ScriptedTopic(slow), source="/tests").buffered(
            linger=0, max_pending=1
        ) as buffered:
            first = buffered.publish(Noted(number=1))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(buffered.room(), 0.01)
            assert buffered._awaiting == []
            answered.set()
            await buffered.room()
            assert (await first).copies == 1

    asyncio.run(impatient())
