"""Which failures use up a message's attempts, on a clock of the test's own."""

from __future__ import annotations

import pytest
from tenacity import wait_fixed

from messaging.consuming import attempts
from messaging.consuming.attempts import SPARED_WAIT, Attempts, receives_within
from messaging.outcome import Reject, Retry, RetryPolicy
from messaging.testing import FakeClock
from messaging.transport import Delivery

OUTAGE = 600.0


class Judged:
    """One consumer's failures: three attempts, an outage of ten minutes, SQS moves after 50."""

    def __init__(self, *, max_attempts: int = 3, outage: float = OUTAGE, last: int = 50) -> None:
        self.clock = FakeClock()
        self.clock.advance(5000)  # a clock at 0 would hide a wrong sign
        policy = RetryPolicy(
            max_attempts=max_attempts, outage=outage, wait=wait_fixed(2), never=(ZeroDivisionError,)
        )
        self.attempts = Attempts(policy, last_receive=last, clock=self.clock)

    def fails(self, message: str, receives: int, error: Exception | None = None) -> Retry | Reject:
        delivery = Delivery(
            queue="t", message_id=message, receipt="r", body="{}", receive_count=receives
        )
        return self.attempts.decide(error or KeyError("Maria"), delivery)


def test_a_poison_message_beside_good_ones_is_given_up_after_its_attempts() -> None:
    judged = Judged()
    for receives in (1, 2):
        outcome = judged.fails("bad", receives)
        assert isinstance(outcome, Retry)
        assert outcome.delay == 2
        judged.attempts.succeeded(f"good-{receives}")
    outcome = judged.fails("bad", 3)
    assert isinstance(outcome, Reject)
    assert outcome.error == "KeyError"
    assert judged.attempts.failing == {}, "what was given up is forgotten"


def test_an_outage_uses_up_no_attempts_and_is_looked_at_every_quarter_minute() -> None:
    judged = Judged()
    for receives in range(1, 10):
        outcome = judged.fails("m", receives)
        judged.clock.advance(20)
        assert isinstance(outcome, Retry), receives
        if receives >= 3:
            assert outcome.delay is not None
            assert SPARED_WAIT / 2 <= outcome.delay <= SPARED_WAIT
            assert (outcome.reason, outcome.error) == ("KeyError", "KeyError")
            assert outcome.origin == "error"


def test_attempts_in_an_outage_are_not_held_against_a_message_afterwards() -> None:
    judged = Judged()
    for receives in (1, 2, 3, 4):  # three without a success of another since the one before
        assert isinstance(judged.fails("m", receives), Retry)
    judged.attempts.succeeded("other")
    assert isinstance(judged.fails("m", 5), Retry), "5 receives, of which 3 are excused"
    judged.attempts.succeeded("other")
    assert isinstance(judged.fails("m", 6), Reject), "6 receives, of which 3 are excused"


def test_a_message_that_fails_alone_in_its_queue_is_given_up_after_the_outage() -> None:
    judged = Judged()
    assert isinstance(judged.fails("m", 1), Retry)
    judged.clock.advance(OUTAGE - 1)
    assert isinstance(judged.fails("m", 5), Retry)
    judged.clock.advance(1)
    assert isinstance(judged.fails("m", 6), Reject)
    assert judged.attempts.failing == {}


def test_a_message_is_given_up_with_a_reason_before_sqs_moves_it_without_one() -> None:
    judged = Judged(last=10)
    for receives in (1, 9):
        assert isinstance(judged.fails("m", receives), Retry)
    outcome = judged.fails("m", 10)
    assert isinstance(outcome, Reject)
    assert "m" not in judged.attempts.failing
    assert isinstance(judged.fails("n", 11), Reject)


def test_a_success_forgets_the_message_and_witnesses_for_the_others() -> None:
    judged = Judged()
    judged.fails("m", 1)
    judged.fails("n", 1)
    judged.attempts.succeeded("m")
    assert list(judged.attempts.failing) == ["n"]
    assert isinstance(judged.fails("n", 3), Reject)


def test_one_success_witnesses_for_one_failure_of_each_message() -> None:
    judged = Judged()
    judged.fails("m", 1)
    judged.attempts.succeeded("other")
    assert isinstance(judged.fails("m", 2), Retry)
    assert isinstance(judged.fails("m", 3), Retry), "nothing has succeeded since the last"


def test_two_successes_are_not_taken_back_for_none() -> None:
    judged = Judged()
    judged.attempts.succeeded("before")
    judged.fails("m", 1)
    judged.attempts.succeeded("a")
    judged.attempts.succeeded("b")
    assert isinstance(judged.fails("m", 3), Reject)


@pytest.mark.parametrize("changes", [{"outage": 0.0}, {"max_attempts": 1}])
def test_without_an_outage_or_a_second_attempt_every_failure_counts(
    changes: dict[str, float],
) -> None:
    judged = Judged(**changes)  # type: ignore[arg-type]  # one of the two
    assert isinstance(judged.fails("m", 3), Reject)
    assert judged.attempts.failing == {}, "nothing is remembered"


def test_the_shortest_outage_is_one() -> None:
    judged = Judged(outage=0.5, max_attempts=2)
    assert isinstance(judged.fails("m", 2), Retry)


def test_what_is_never_retried_is_given_up_at_once() -> None:
    judged = Judged()
    assert isinstance(judged.fails("m", 1, ZeroDivisionError()), Reject)
    assert judged.attempts.failing == {}


def test_of_too_many_failing_messages_the_oldest_gets_an_attempt_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "MOST_REMEMBERED", 3)
    judged = Judged()
    for name in "abcd":
        judged.fails(name, 1)
    assert list(judged.attempts.failing) == ["b", "c", "d"]


def test_the_limits_that_the_documentation_gives() -> None:
    assert attempts.MOST_REMEMBERED == 20_000
    assert SPARED_WAIT == 30.0
    assert [receives_within(seconds) for seconds in (0, 1, 15, 16, 600)] == [0, 1, 1, 2, 40]
