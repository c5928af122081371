"""What a user saw: every handler hung, and the worker stood there and said nothing."""

from __future__ import annotations

import asyncio
import threading

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.errors import WorkerWedged
from messaging.event import Event
from messaging.runtime import State, wedge


class Happened(Event, type="happened", version=1):
    n: int


class HappenedAsync(Event, type="happened.async", version=1):
    n: int


class Hanging(Consumer):
    service = "service"
    handler_timeout = 0.05

    def __init__(self, release: threading.Event) -> None:
        self.release = release

    @handles
    def hangs(self, event: Happened) -> None:
        if event.n < 2:
            wait_for_the_price_list(self.release)


def wait_for_the_price_list(release: threading.Event) -> None:
    release.wait(20)


def test_it_says_so_with_the_place_and_gives_back_what_waits(
    work, queue, until, release, caplog
) -> None:
    queue.put(*range(6))
    worker = work(Hanging(release), concurrency=2, prefetch=4)
    until(lambda: "service is wedged" in caplog.text)
    assert worker.state == {"service": State.WEDGED}
    until(lambda: worker.stats.released == 4)
    (said,) = [one for one in caplog.messages if "is wedged" in one]
    assert said.startswith("service is wedged: all 2 handlers have run for more than 0 s, ")
    assert "test_wedge.py:" in said
    assert " in wait_for_the_price_list" in said
    received = worker.stats.received
    queue.put(*range(10, 20))
    threading.Event().wait(0.1)
    assert worker.stats.received == received, "it received what nobody can handle"


def test_it_goes_on_when_a_hung_handler_ends_after_all(work, queue, until, release, caplog) -> None:
    queue.put(0, 1)
    worker = work(Hanging(release), concurrency=2)
    until(lambda: worker.state == {"service": State.WEDGED})
    release.set()
    until(lambda: worker.state == {"service": State.RECEIVING})
    queue.put(*range(10, 20))
    until(lambda: worker.stats.acknowledged >= 10)
    assert "service is not wedged any more" in caplog.text


class Patient(Hanging):
    service = "service"
    handler_timeout = None


def both_hang(work, queue, release):
    """A worker whose two handlers hang, without a time limit of their own."""
    queue.visibility_timeout = 1
    queue.put(0, 1)
    return work(Patient(release), concurrency=2)


def test_without_a_time_limit_of_its_own_it_is_told_after_five_minutes(
    work, queue, until, release, monkeypatch
) -> None:
    assert wedge.LONG == 300
    monkeypatch.setattr(wedge, "LONG", 0.05)

    worker = both_hang(work, queue, release)
    until(lambda: worker.state == {"service": State.WEDGED})


def test_that_all_handlers_are_busy_is_told_once_before_they_count_as_hung(
    work, queue, until, release, monkeypatch, caplog
) -> None:
    assert wedge.BUSY == 60
    monkeypatch.setattr(wedge, "BUSY", 0.05)

    worker = both_hang(work, queue, release)
    until(lambda: "no other message is handled" in caplog.text)
    (said,) = [one for one in caplog.messages if "no other message is handled" in one]
    assert said.startswith("service: all 2 handlers have run for more than 0 s, ")
    assert " in wait_for_the_price_list; " in said
    assert said.endswith("; after 300 s they count as hung (no handler_timeout)")
    assert worker.state == {"service": State.RECEIVING}
    release.set()
    until(lambda: worker.stats.acknowledged == 2)
    assert caplog.text.count("no other message is handled") == 1


def test_one_handler_that_hangs_wedges_nobody(work, queue, until, release) -> None:
    queue.put(0, 10, 11)
    worker = work(Hanging(release), concurrency=2)
    until(lambda: worker.stats.expired == 1 and worker.stats.acknowledged == 2)
    assert worker.state == {"service": State.RECEIVING}


def test_async_handlers_that_block_the_event_loop_are_told_too(
    work, queue, until, release, caplog
) -> None:
    class Blocking(Consumer):
        service = "service"
        handler_timeout = 0.05

        @handles
        async def blocks(self, event: HappenedAsync) -> None:
            wait_for_the_price_list(release)
            await asyncio.sleep(0)

    queue.put(0, kind="happened.async")
    worker = work(Blocking(), concurrency=1)
    until(lambda: worker.state == {"service": State.WEDGED})
    assert " in wait_for_the_price_list" in caplog.text


def test_a_worker_that_was_told_to_ends_so_that_another_can_be_started(
    work, queue, release
) -> None:
    queue.put(0, 1)
    worker = work(Hanging(release), concurrency=2, wedged_limit=0.1, drain=60, start=False)
    with pytest.raises(WorkerWedged, match="all handlers of service hang"):
        worker.run()
    assert worker.stats.balanced
