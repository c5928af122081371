"""Attempts that count: others' successes are witnesses, and a message's own is none."""

from __future__ import annotations

from messaging.consuming.attempts import Attempts
from messaging.outcome import Reject, Retry, RetryPolicy
from messaging.testing import FakeClock
from messaging.transport import Delivery


def attempts() -> Attempts:
    return Attempts(RetryPolicy(max_attempts=5), last_receive=100, clock=FakeClock())


def received(times: int) -> Delivery:
    return Delivery(queue="q", message_id="m", receipt=f"r{times}", body="", receive_count=times)


def fail(one: Attempts, times: int) -> Retry | Reject:
    return one.decide(ConnectionError(), received(times))


def test_the_first_failure_after_an_outage_is_not_the_last() -> None:
    one = attempts()
    for times in range(1, 11):  # nobody succeeds: the database may be away
        assert isinstance(fail(one, times), Retry)
    outcomes = []
    for times in range(11, 15):
        one.succeeded("another")
        outcomes.append(type(fail(one, times)))
    assert outcomes == [Retry, Retry, Retry, Reject]


def test_a_message_is_no_witness_against_itself() -> None:
    one = attempts()
    for times in range(1, 5):
        fail(one, times)
        one.succeeded("another")
    fail(one, 4)
    one.succeeded("m")  # its delete got lost, so it comes again
    assert isinstance(fail(one, 5), Retry)
