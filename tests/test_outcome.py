"""What becomes of a delivery, and how long it waits before it comes again."""

from __future__ import annotations

import pytest
from tenacity import wait_chain, wait_fixed, wait_none, wait_random

from messaging.errors import ConfigurationError, MessagingError
from messaging.outcome import MAX_DELAY, Ack, Discard, Outcome, Reject, Retry, RetryPolicy


@pytest.mark.parametrize("outcome", [Ack(), Retry(), Reject("r"), Discard("d")])
def test_an_outcome_can_be_raised_and_is_no_error_of_the_library(outcome: Outcome) -> None:
    with pytest.raises(type(outcome)):
        raise outcome
    assert not isinstance(outcome, MessagingError)


@pytest.mark.parametrize("delay", [0, 0.5, MAX_DELAY, None])
def test_a_retry_takes_what_sqs_can_hide(delay: float | None) -> None:
    assert Retry(delay).delay == delay


@pytest.mark.parametrize("delay", [-1, MAX_DELAY + 1, float("nan"), float("inf")])
def test_a_retry_beyond_what_sqs_can_hide_says_the_remedy(delay: float) -> None:
    with pytest.raises(ConfigurationError, match="0 to 43200 seconds; for a longer wait, publish"):
        Retry(delay)


def test_the_reason_is_what_str_shows() -> None:
    assert str(Reject("curso: unknown")) == Reject("curso: unknown").reason == "curso: unknown"
    assert str(Discard("not ours")) == "not ours"
    assert str(Retry(reason="busy")) == "busy"


def test_an_unexpected_error_is_retried_until_the_last_attempt() -> None:
    policy = RetryPolicy(max_attempts=3)
    decisions = [policy.decide(ValueError("secret"), attempt) for attempt in (1, 2, 3, 4)]
    assert [type(one) for one in decisions] == [Retry, Retry, Reject, Reject]
    assert decisions[0].error == "ValueError"
    assert decisions[2].error == "ValueError"
    assert decisions[2].reason == "ValueError after 3 attempts"


def test_the_text_of_an_error_is_told_nowhere() -> None:
    policy = RetryPolicy(max_attempts=2, never=(KeyError,))
    for decided in (
        policy.decide(ValueError("Ana"), 1),
        policy.decide(ValueError("Ana"), 2),
        policy.decide(KeyError("Ana"), 1),
    ):
        assert "Ana" not in f"{decided!r} {decided.reason} {decided.error}"


def test_an_error_that_no_retry_will_mend_is_rejected_at_once() -> None:
    class Never(ValueError):
        pass

    decided = RetryPolicy(never=(ValueError,)).decide(Never(), 1)
    assert isinstance(decided, Reject)
    assert decided.reason.endswith("Never is never retried")


def test_by_default_a_wait_is_full_jitter_below_a_growing_bound() -> None:
    policy = RetryPolicy()
    for attempt, bound in [(1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (100, 300)]:
        waits = [policy.delay(attempt) for _ in range(200)]
        assert all(0 <= wait <= bound for wait in waits)
        assert max(waits) - min(waits) > bound / 2, "200 draws spread over more than half"


def test_any_wait_strategy_of_tenacity_will_do() -> None:
    assert RetryPolicy(wait=wait_fixed(7)).delay(1) == 7
    chain = RetryPolicy(wait=wait_chain(wait_fixed(1), wait_fixed(5)))
    assert [chain.delay(attempt) for attempt in (1, 2, 3)] == [1, 5, 5]
    both = RetryPolicy(wait=wait_fixed(3) + wait_random(0, 1))
    assert 3 <= both.delay(1) <= 4
    assert RetryPolicy(wait=wait_none()).delay(1) == 0


def test_a_wait_longer_than_sqs_can_hide_is_cut() -> None:
    assert RetryPolicy(wait=wait_fixed(10**6)).delay(1) == MAX_DELAY


def test_the_first_attempt_counts_so_there_is_at_least_one() -> None:
    with pytest.raises(ConfigurationError, match="at least 1, the first attempt"):
        RetryPolicy(max_attempts=0)
