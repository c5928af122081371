"""What each outcome asks of the queue, decided without a queue: the table of `settlement`."""

from __future__ import annotations

from typing import Any

import pytest

from messaging.outcome import MAX_DELAY, Ack, Discard, Outcome, Reject, Retry
from messaging.settlement import (
    Action,
    Groups,
    action_of,
    behind,
    dead_letter,
    give_back,
    group_of,
    is_ordered,
    reason_of,
    refused,
    seconds_of,
)
from messaging.transport import Delivery


def delivery(message: str, group: str | None = None, receives: int = 1) -> Delivery:
    return Delivery(
        queue="t", message_id=message, receipt="r", body="{}", group=group, receive_count=receives
    )


class OfTheService(Outcome):
    """An outcome that a service made itself."""


class MyAck(Ack):
    """One that means what its base means."""


@pytest.mark.parametrize(
    ("outcome", "action"),
    [
        (Ack(), Action.DELETE),
        (MyAck(), Action.DELETE),
        (Discard("not ours"), Action.DELETE),
        (Retry(3), Action.HIDE),
        (Reject("bad"), Action.DEAD_LETTER),
        (OfTheService(), Action.LEAVE),
        (None, Action.LEAVE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_outcome_asks_for_its_own_request(outcome: Outcome | None, action: Action) -> None:
    assert action_of(outcome) is action


def test_a_message_is_deleted_once_its_dead_letter_stands_and_not_before() -> None:
    assert action_of(Reject("bad")) is Action.DEAD_LETTER
    assert action_of(Reject("bad"), copied=True) is Action.DELETE


def test_an_action_is_a_key_and_has_the_name_of_the_request() -> None:
    assert {Action.DELETE: 1}[Action("delete")] == 1
    assert [one.value for one in Action] == ["delete", "change_visibility", "dead-letter", "leave"]
    # Enum's own hash is a call of a Python function, on each settlement.
    assert Action.__hash__ is object.__hash__


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (None, 0),
        (0, 0),
        (-1, 0),
        (0.1, 1),
        (1, 1),
        (1.5, 2),
        (MAX_DELAY, 43_200),
        (MAX_DELAY + 1, 43_200),
        ("5", 5),
        ("soon", 0),
        (object(), 0),
        (10**400, 0),
        (float("nan"), 0),
    ],
)
def test_a_hide_lasts_whole_seconds_that_sqs_takes(delay: Any, seconds: int) -> None:
    outcome = Retry(1)
    outcome.delay = delay
    assert seconds_of(outcome) == seconds
    assert type(seconds_of(outcome)) is int


def test_an_outcome_without_a_delay_hides_for_no_time() -> None:
    assert seconds_of(None) == seconds_of(Ack()) == 0


def test_a_reason_that_is_no_text_is_named_by_its_type_and_not_shown() -> None:
    assert reason_of(Reject("no email")) == "no email"
    assert reason_of(None) == ""
    told: Any = ValueError("Maria, 111.222.333-44")
    assert reason_of(Reject(told)) == "a ValueError, not a text"


def test_a_dead_letter_says_why_when_where_and_after_how_many_receives() -> None:
    outcome = Reject("no email", error="KeyError")
    gone = delivery("m1", receives=4)
    letter = dead_letter(gone, outcome, now=12.5, queue="of-the-service")
    assert letter.delivery is gone
    assert (letter.reason, letter.error, letter.attempts) == ("no email", "KeyError", 4)
    assert (letter.time, letter.queue) == (12.5, "of-the-service")


def test_a_dead_letter_names_no_error_that_is_no_text() -> None:
    outcome: Any = Reject("no email")
    outcome.error = ValueError("Maria")
    assert dead_letter(delivery("m1"), outcome, now=0, queue="q").error is None
    assert dead_letter(delivery("m1"), None, now=0, queue="q").error is None


@pytest.mark.parametrize(("asked", "delay"), [(-1, 0), (0, 0), (7.5, 7.5), (1e9, MAX_DELAY)])
def test_a_message_whose_dead_letter_was_refused_comes_again(asked: float, delay: float) -> None:
    outcome = refused(asked)
    assert type(outcome) is Retry
    assert (outcome.delay, outcome.origin, outcome.reason) == (
        delay, "worker", "dead letter refused",
    )  # fmt: skip


def test_what_nobody_handled_comes_again_at_once_and_is_no_failure() -> None:
    outcome = give_back()
    assert type(outcome) is Retry
    assert (outcome.delay, outcome.origin) == (0, "worker")


def test_those_behind_a_message_that_is_left_are_left_too() -> None:
    assert behind(None) is None
    for outcome in (Retry(60), Reject("bad"), Ack()):
        back = behind(outcome)
        assert isinstance(back, Retry)
        assert (back.delay, back.origin) == (0, "worker")


def test_only_a_fifo_queue_orders_its_groups() -> None:
    assert is_ordered("alunos.fifo")
    assert not is_ordered("alunos")
    assert not is_ordered("fifo")


def test_a_message_without_a_group_waits_for_nobody() -> None:
    assert group_of(delivery("m1", "g")) == "g"
    assert group_of(delivery("m1")) == "m1"
    groups = Groups()
    groups.ended(delivery("m1"), Retry(1))
    assert not groups.stopped(delivery("m2"))


def test_a_group_goes_on_only_after_a_delete() -> None:
    groups = Groups()
    first, second, other = delivery("m1", "a"), delivery("m2", "a"), delivery("m3", "b")
    groups.ended(first, Ack())
    assert not groups.stopped(second)
    groups.ended(first, Retry(60))
    assert groups.stopped(second)
    assert not groups.stopped(other)
    back = groups.back(second)
    assert isinstance(back, Retry)
    assert back.delay == 0
    groups.ended(other, None)
    assert groups.back(delivery("m4", "b")) is None
