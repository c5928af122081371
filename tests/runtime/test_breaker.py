"""When the circuit opens and closes, and how long failed messages wait meanwhile."""

from __future__ import annotations

import logging

import pytest

from messaging.outcome import Ack, Circuit, Outcome, Reject, Retry
from messaging.runtime import breaker as module
from messaging.runtime import postponed as postponed_module
from messaging.runtime.breaker import Breaker
from messaging.runtime.postponed import Postponed
from messaging.testing import FakeClock
from messaging.transport import Delivery


def delivery(name: str) -> Delivery:
    return Delivery(queue="t", message_id=name, receipt=f"r-{name}", body="{}")


class Bench:
    """A breaker that opens at three failures, and what it is told."""

    def __init__(self, circuit: Circuit | None = Circuit(failures=3)) -> None:  # noqa: B008 - frozen
        self.clock = FakeClock()
        self.clock.advance(5000)  # a clock at 0 would hide a wrong sign
        self.postponed = Postponed(self.clock)
        self.breaker = Breaker(circuit, self.postponed, service="mail", clock=self.clock)

    def fail(self, *names: str, delay: float | None = 2.0) -> list[Retry]:
        told = []
        for name in names:
            outcome = Retry(delay)
            outcome.origin, outcome.error = "error", "KeyError"
            assert self.breaker.judge(delivery(name), outcome) is False
            self.postponed.add(delivery(name), 60)
            told.append(outcome)
        return told

    def succeed(self, outcome: Outcome | None = None, origin: str = "handler") -> bool:
        outcome = outcome or Ack()
        outcome.origin = origin  # type: ignore[assignment]  # one of its names
        return self.breaker.judge(delivery("good"), outcome)


def test_the_circuit_opens_at_so_many_different_failed_messages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    assert not bench.breaker.open
    assert bench.breaker.calm
    bench.fail("a", "a", "a", "b")
    assert not bench.breaker.open, "two messages, not four"
    assert not bench.breaker.calm
    bench.fail("c")
    assert bench.breaker.open
    bench.fail("d", "e")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert (
        "the circuit of mail opens: the last 3 messages all failed, at the end with KeyError"
        in (record.getMessage())
    )


def test_an_outcome_that_names_no_error_is_told_as_one(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(Circuit(failures=1))
    outcome = Reject("KeyError after 5 attempts")
    outcome.origin = "error"
    assert bench.breaker.judge(delivery("a"), outcome) is False
    assert bench.breaker.open
    assert "at the end with an error;" in caplog.text


def test_without_a_circuit_it_never_opens_and_an_outage_still_calls_back() -> None:
    bench = Bench(None)
    bench.fail(*"abcdef")
    assert not bench.breaker.open
    bench.clock.advance(module.OUTAGE)
    assert bench.succeed()
    assert len(bench.postponed.next_batch()) == 6


def test_while_it_is_closed_a_failed_message_waits_as_its_policy_says() -> None:
    bench = Bench()
    assert [outcome.delay for outcome in bench.fail("a", "b")] == [2.0, 2.0]


def test_while_it_is_open_a_message_waits_the_longer_the_more_are_hidden() -> None:
    bench = Bench()
    bench.fail(*(f"m{number}" for number in range(1000)), delay=None)
    for outcome in bench.fail(*(f"m{number}" for number in range(200)), delay=None):
        assert outcome.delay is not None
        assert 50.0 <= outcome.delay <= 100.0  # 1,000 hidden, 10 a second
    bench.fail(*(f"m{number}" for number in range(3500)), delay=None)
    waits = [outcome.delay for outcome in bench.fail(*(f"m{n}" for n in range(200)), delay=None)]
    assert all(wait is not None and 150.0 <= wait <= 300.0 for wait in waits)
    assert len(set(waits)) > 1, "all at the same moment"
    assert [outcome.delay for outcome in bench.fail("m1", delay=999.0)] == [999.0]
    assert [outcome.delay for outcome in bench.fail("m1", delay=300.0)] == [300.0]


def test_the_first_message_of_an_open_circuit_may_be_tried_at_once() -> None:
    bench = Bench(Circuit(failures=1))
    [outcome] = bench.fail("a", delay=None)
    assert outcome.delay == 0.0, "nothing is hidden yet"


def test_a_failure_that_is_given_up_while_it_is_open_gets_no_delay() -> None:
    bench = Bench(Circuit(failures=1))
    bench.fail("a")
    outcome = Reject("gone")
    outcome.origin = "error"
    bench.breaker.judge(delivery("b"), outcome)
    assert getattr(outcome, "delay", None) is None


def test_the_first_success_closes_it_and_calls_back_what_is_hidden(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.fail("a", "b", "c")
    caplog.clear()
    bench.clock.advance(2)
    assert bench.succeed()
    assert not bench.breaker.open
    assert bench.breaker.calm
    assert len(bench.postponed.next_batch()) == 3
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "mail handles messages again after 2 s in which 3 failed: 3 are called back"
    )
    bench.fail("a", "b")
    assert not bench.breaker.open, "it counts from the start again"


def test_a_handler_that_says_retry_is_well() -> None:
    bench = Bench()
    bench.fail("a", "b", "c")
    assert bench.succeed(Retry(5))
    assert not bench.breaker.open


def test_what_the_worker_itself_gave_back_is_no_success() -> None:
    bench = Bench()
    bench.fail("a", "b", "c")
    assert bench.succeed(Retry(0), origin="worker") is False
    assert bench.breaker.open


def test_a_success_among_successes_calls_nobody_back() -> None:
    bench = Bench()
    bench.postponed.add(delivery("hidden"), 60)
    assert bench.succeed() is False
    assert len(bench.postponed) == 1


def test_after_a_short_stumble_messages_come_by_themselves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.fail("a")
    bench.clock.advance(module.OUTAGE - 0.5)
    bench.fail("b")
    assert bench.succeed() is False
    assert len(bench.postponed) == 0
    assert bench.postponed.next_batch() == []
    assert not caplog.records


def test_a_long_run_of_failures_below_the_circuit_is_an_outage_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "messaging.runtime")
    bench = Bench()
    bench.fail("a")
    bench.clock.advance(module.OUTAGE)
    assert bench.succeed()
    [record] = caplog.records
    assert record.levelno == logging.INFO
    bench.fail("b")
    bench.clock.advance(module.OUTAGE - 1)
    assert bench.succeed() is False, "counted since the last success"


def test_an_outage_that_left_nothing_hidden_has_nobody_to_call() -> None:
    bench = Bench()
    bench.fail("a", "b", "c")
    bench.postponed.forget()
    assert bench.succeed() is False


def test_one_message_that_is_hidden_is_called_back() -> None:
    bench = Bench(Circuit(failures=1))
    bench.fail("a")
    assert bench.succeed()


def test_two_threads_with_a_success_close_it_once() -> None:
    bench = Bench()
    bench.fail("a", "b", "c")
    assert bench.succeed()
    bench.postponed.add(delivery("later"), 60)
    with bench.breaker._lock:
        assert bench.breaker._success() is False
    assert len(bench.postponed) == 1


def test_it_receives_no_more_only_while_open_and_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postponed_module, "MOST", 3)
    bench = Bench(Circuit(failures=4))
    bench.fail("a", "b", "c")
    assert bench.postponed.full
    assert not bench.breaker.crowded
    bench.fail("d")
    assert bench.breaker.crowded
    bench.postponed.forget()
    assert not bench.breaker.crowded


def test_the_limits_that_the_documentation_gives() -> None:
    assert (module.OUTAGE, module.RETRIES_A_SECOND, module.LONGEST_WAIT) == (5.0, 10, 300.0)
