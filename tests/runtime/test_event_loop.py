"""The event loop's room: what is handed in ends in `done`, whatever happens to it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from messaging.outcome import Ack, Outcome
from messaging.runtime.event_loop import EventLoop


async def at_once() -> Outcome:
    return Ack()


def running(room: EventLoop) -> threading.Thread:
    thread = threading.Thread(target=room.run)
    thread.start()
    return thread


def test_an_outcome_comes_back():
    room, results = EventLoop(), []
    assert room.submit(at_once(), results.append)
    assert not room.idle
    thread = running(room)
    while not room.idle:
        threading.Event().wait(0.005)
    room.stop()
    room.stop()
    thread.join(5)
    assert [type(one) for one in results] == [Ack]


def test_what_is_cancelled_before_its_first_step_is_told_and_closed():
    room, results = EventLoop(), []
    room.submit(at_once(), results.append)
    room.cancel()
    room.submit(at_once(), results.append)  # and what comes after
    thread = running(room)
    while not room.idle:
        threading.Event().wait(0.005)
    room.stop()
    thread.join(5)
    assert [type(one) for one in results] == [asyncio.CancelledError] * 2
    gc.collect()  # a coroutine that was never awaited warns here, and warnings are errors


def test_after_the_stop_nothing_is_taken():
    room = EventLoop()
    thread = running(room)
    room.stop()
    thread.join(5)
    assert not room.submit(at_once(), lambda result: None)
    gc.collect()


def test_a_defect_in_done_is_raised_by_the_thread():
    room = EventLoop()
    room.submit(at_once(), lambda result: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        room.run()


def test_who_ignores_the_cancel_is_abandoned_and_never_told_of():
    """What runs on when the loop has ended is thrown away some time later: that is no end."""
    began, told = threading.Semaphore(0), threading.Semaphore(0)

    async def stubborn() -> Outcome:
        began.release()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.release()

    room, results = EventLoop(), []
    thread = running(room)
    room.submit(stubborn(), results.append)
    assert began.acquire(timeout=5)
    room.cancel()
    assert told.acquire(timeout=5)
    room.stop()
    thread.join(5)
    del room, thread
    gc.collect()
    assert results == []


def test_nothing_of_a_cancelled_handler_stays_in_memory():
    """Its view is personal data."""
    began = threading.Semaphore(0)

    async def waits() -> Outcome:
        view = View()
        views.add(view)
        began.release()
        await asyncio.Event().wait()
        return Ack()

    views: weakref.WeakSet[View] = weakref.WeakSet()
    room = EventLoop()
    thread = running(room)
    gc.disable()
    try:
        room.submit(waits(), lambda result: None)
        assert began.acquire(timeout=5)
        room.cancel()
        while not room.idle:
            threading.Event().wait(0.005)
        room.stop()
        thread.join(5)
        assert len(views) == 0
    finally:
        gc.enable()


class View:
    """What a handler was given."""
