"""The stages of a stop: what is waited for in each, for how long, and what is said of it."""

from __future__ import annotations

import logging
import queue as queues
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from messaging.clock import SYSTEM_CLOCK
from messaging.runtime import lifecycle as module
from messaging.runtime.in_flight import Stats
from messaging.runtime.lifecycle import (
    Lifecycle,
    Stage,
    StopRequest,
    StopSequence,
    WorkerReport,
)

LONG = 10.0
"""Seconds that no test waits."""


class Lane:
    """What a stop asks of one service, and in which order."""

    def __init__(self, told: list[str]) -> None:
        self.consumer = SimpleNamespace(service="mail")
        self.told = told
        self.handlers = self.watched = self.unsettled = self.polls = self.expired = 0
        self.ends_when_cancelled = False
        self.left: list[str] = []

    def close_intake(self) -> int:
        self.told.append("intake closed")
        return 3

    def running(self) -> int:
        return self.handlers

    def watching(self) -> int:
        return self.watched

    def to_settle(self) -> int:
        self.unsettled = max(0, self.unsettled - 1)
        return self.unsettled

    def cancelling(self) -> None:
        self.told.append("handlers told")
        if self.ends_when_cancelled:
            self.handlers = 0

    def abandon_unfinished(self) -> list[Any]:
        return [SimpleNamespace(delivery=SimpleNamespace(message_id=id)) for id in self.left]

    def end_settling(self) -> None:
        self.told.append("settling ended")

    def settle_rest(self) -> int:
        self.told.append("rest settled")
        return self.expired


class Bench:
    """A stop with one service, and what becomes of it."""

    def __init__(self, **limits: float) -> None:
        self.told: list[str] = []
        self.lane = Lane(self.told)
        self.requests: queues.SimpleQueue[StopRequest] = queues.SimpleQueue()
        self.stages: list[tuple[Stage, str]] = []
        self.closes = True
        self.join: list[float] = []
        self.still: list[str] = []
        self.loop = SimpleNamespace(
            idle=True,
            cancel=lambda: self.told.append("loop cancelled"),
            stop=lambda: self.told.append("loop stopped"),
        )
        threads: Any = SimpleNamespace(join=self._joined)
        lanes: Any = [self.lane]
        self.sequence = StopSequence(
            lanes,
            cast("Any", self.loop),
            threads,
            self.requests,
            **{"drain": LONG, "poll_grace": LONG} | limits,
            entered=lambda stage, note: self.stages.append((stage, note)),
            close=self._closed,
        )

    def _joined(self, seconds: float) -> list[str]:
        self.join.append(seconds)
        return self.still

    def _closed(self) -> bool:
        self.told.append("consumers closed")
        return self.closes

    def run(self, first: StopRequest = StopRequest.SIGNAL) -> float:
        """Seconds that it took."""
        began = SYSTEM_CLOCK.monotonic()
        self.sequence.run(first)
        return SYSTEM_CLOCK.monotonic() - began


def test_the_stages_come_in_order_and_say_what_there_is_to_wait_for() -> None:
    bench = Bench()
    bench.lane.unsettled = 3
    bench.run()
    assert bench.stages == [
        (Stage.STOPPING_POLLS, "SIGTERM or SIGINT"),
        (Stage.FINISHING_HANDLERS, "3 not started were given back"),
        (Stage.FLUSHING, "0 handlers did not finish"),
        (Stage.RELEASING, "no poll is out"),
    ]
    assert bench.told == [
        "intake closed",
        "settling ended",
        "consumers closed",
        "loop stopped",
        "rest settled",
    ]
    assert bench.lane.unsettled == 0
    assert bench.join == [module.GRACE_FOR_FLUSH]


def ends(bench: Bench, attribute: str) -> Callable[[], int]:
    """A count that falls by one each time that somebody asks."""

    def asked() -> int:
        left: int = getattr(bench.lane, attribute)
        setattr(bench.lane, attribute, max(0, left - 1))
        return left

    return asked


def test_handlers_that_end_in_time_are_not_cancelled() -> None:
    bench = Bench()
    bench.lane.handlers = 3
    bench.lane.running = ends(bench, "handlers")  # type: ignore[method-assign]
    bench.run()
    assert "handlers told" not in bench.told
    assert bench.sequence.unfinished == []


def test_handlers_beyond_the_deadline_are_cancelled_and_those_that_end_then_are_done() -> None:
    bench = Bench(drain=0.0)
    bench.lane.handlers, bench.lane.ends_when_cancelled = 1, True
    bench.loop.idle = False
    bench.run()
    assert bench.told[:3] == ["intake closed", "handlers told", "loop cancelled"]


def test_handlers_that_go_on_are_named_and_their_threads_are_hardly_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "GRACE_AFTER_CANCEL", LONG)  # which is for coroutines
    bench = Bench(drain=0.0)
    bench.lane.handlers, bench.lane.left = 1, ["m1", "m2"]
    assert bench.run() < LONG
    assert bench.sequence.unfinished == ["m1", "m2"]
    assert (Stage.FLUSHING, "2 handlers did not finish") in bench.stages
    assert caplog.messages == [
        f"the handler of mail on message {id} did not finish in time: the message is left to its "
        "lease"
        for id in ("m1", "m2")
    ]
    assert bench.join == [0.5]


@pytest.mark.parametrize(("idle", "watched"), [(False, 0), (True, 1)])
def test_a_coroutine_or_a_handler_that_looks_has_a_moment_to_end(
    monkeypatch: pytest.MonkeyPatch, idle: bool, watched: int
) -> None:
    monkeypatch.setattr(module, "GRACE_AFTER_CANCEL", 0.1)
    bench = Bench(drain=0.0)
    bench.lane.handlers, bench.lane.watched = 1, watched
    bench.loop.idle = idle
    assert bench.run() >= 0.1


def test_a_second_signal_ends_the_waiting_for_handlers_and_polls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.lane.handlers = bench.lane.polls = 1
    bench.requests.put(StopRequest.SIGNAL)
    assert bench.run() < LONG
    said = [one for one in caplog.messages if "a second time" in one]
    assert said == ["asked to stop a second time: not waiting any longer"]
    assert bench.told[1] == "handlers told"


def test_a_signal_after_stop_was_called_is_the_first_one() -> None:
    bench = Bench(drain=0.1)
    bench.lane.handlers = 1
    bench.requests.put(StopRequest.SIGNAL)
    assert bench.run(StopRequest.STOP) >= 0.1
    assert bench.stages[0] == (Stage.STOPPING_POLLS, "stop() was called")


def test_nobody_waits_for_handlers_that_hang(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.lane.handlers, bench.lane.unsettled = 1, 3
    assert bench.run(StopRequest.WEDGED) < LONG
    assert bench.lane.unsettled == 0, "what others ended with is settled all the same"
    assert "a second time" not in caplog.text


def test_polls_are_waited_for_and_those_that_stay_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(poll_grace=0.1)
    bench.lane.polls, bench.still = 2, ["messaging-mail-poller"]
    assert bench.run() >= 0.1
    assert bench.stages[-1] == (Stage.RELEASING, "2 long polls are out")
    [said] = caplog.messages
    assert said.startswith("2 long polls are left: ")
    assert bench.join == [0.5]


def test_settlements_are_waited_for_so_long_and_what_is_left_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "GRACE_FOR_FLUSH", 0.1)
    bench = Bench()
    bench.lane.to_settle = lambda: 1  # type: ignore[method-assign]
    bench.lane.expired = 4
    assert bench.run() >= 0.1
    assert caplog.messages == ["4 messages could not be settled and are left to their leases"]


def test_threads_that_do_not_end_are_named(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.still = ["messaging-mail-settler", "messaging-mail-leases"]
    bench.run()
    assert caplog.messages == [
        "threads that did not end: messaging-mail-settler, messaging-mail-leases"
    ]


def test_consumers_that_do_not_close_leave_little_time_for_the_threads() -> None:
    bench = Bench()
    bench.closes = False
    bench.run()
    assert bench.join == [0.5]


def test_a_stage_is_one_line_and_its_seconds_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    life = Lifecycle()
    stages = [life.stage]
    began = SYSTEM_CLOCK.monotonic()
    life.enter(Stage.RUNNING, "1 service", Stats(received=5, acknowledged=1, released=2))
    stages.append(life.stage)
    life.enter(Stage.FLUSHING, "", Stats(expired=3, dead_lettered=4, in_flight=6))
    life.enter(Stage.STOPPED, "", Stats())
    assert stages == [Stage.NEW, Stage.RUNNING]
    spent = life.spent()
    assert list(spent) == [Stage.RUNNING, Stage.FLUSHING]
    assert 0 <= sum(spent.values()) <= SYSTEM_CLOCK.monotonic() - began
    running, flushing, _ = caplog.messages
    assert running == (
        "worker running (1 service): received 5, acknowledged 1, released 2, dead-lettered 0, "
        "expired 0, in flight 0"
    )
    assert flushing == (
        "worker flushing settlements (): received 0, acknowledged 0, released 0, dead-lettered 4, "
        "expired 3, in flight 6"
    )


def test_a_worker_that_did_nothing_has_an_empty_report() -> None:
    report = WorkerReport()
    assert (report.stats, report.services, report.stages) == (Stats(), {}, {})
    assert (report.unfinished, report.error) == ((), None)
