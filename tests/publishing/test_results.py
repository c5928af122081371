"""Publishing's accounts: every event consumed is accepted, declined, failed or under way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.errors import EventTooLarge, PublishError, TransportError
from messaging.event import Event
from messaging.publishing.results import NotPublished, Owner, Published, PublishResult, Tally
from messaging.transport import Failure, Outgoing


class Noted(Event, type="noted", version=1):
    text: str = "Ana"


def batch(*owners: Owner) -> list[tuple[Outgoing, Owner]]:
    return [(Outgoing(id=one.id, body="", attributes={}, size=1), one) for one in owners]


def test_an_event_is_accepted_when_its_last_copy_is() -> None:
    tally = Tally()
    owner = tally.take(Noted(), "a", 2)
    tally.settle((), batch=batch(owner))
    assert (tally.accepted, len(tally.failed), tally.copies) == (0, 0, 1)
    tally.settle((), batch=batch(owner))
    assert tally.close() == PublishResult(consumed=1, accepted=1, declined=0, copies=2)


def test_who_was_accepted_beside_a_refused_one_is_counted_once() -> None:
    tally = Tally()
    owners = [tally.take(Noted(), id, 1) for id in "abc"]
    tally.settle([Failure(1, "Refused", "no", False)], batch=batch(*owners))
    assert (tally.progress().accepted, tally.progress().failed) == (2, 1)
    assert (tally.result().accepted, tally.result().copies) == (2, 2)


def test_an_event_of_which_one_copy_was_refused_is_listed_once_with_the_first_reason() -> None:
    tally = Tally()
    owner = tally.take(Noted(), "a", 3)
    refusals = [Failure(1, "First", "one", True), Failure(2, "Second", "two", True)]
    tally.settle(refusals, batch=batch(owner, owner, owner))
    [failed] = tally.result().failed
    assert (failed.index, failed.id, failed.code, failed.reason) == (0, "a", "First", "one")
    assert tally.result().copies == 1


def test_an_event_of_which_one_copy_may_have_been_accepted_may_have_been() -> None:
    tally = Tally()
    owner, other = tally.take(Noted(), "a", 3), tally.take(Noted(), "b", 1)
    tally.settle([Failure(0, "Refused", "no", False)], batch=batch(owner))
    tally.settle([Failure(0, "NoAnswer", "?", True, unknown=True)], batch=batch(owner))
    tally.settle([Failure(n, "Refused", "no", False) for n in (0, 1)], batch=batch(owner, other))
    assert [(one.id, one.unknown) for one in tally.result().failed] == [("a", True), ("b", False)]
    with pytest.raises(
        PublishError, match=r"2 of 2 .* \(1 of them may have been\); the first is number 0 "
    ):
        tally.close()


def test_an_event_whose_last_copy_is_accepted_is_still_not_accepted() -> None:
    tally = Tally()
    owner = tally.take(Noted(), "a", 2)
    tally.settle([Failure(0, "Refused", "no", False)], batch=batch(owner))
    tally.settle((), batch=batch(owner))
    assert [one.id for one in tally.result().failed] == ["a"]
    assert (tally.accepted, len(tally.failed), tally.copies) == (0, 1, 1)


def test_results_compare_by_what_they_say() -> None:
    assert Published("a", 2) == Published("a", 2) != Published("a", 1)
    assert not NotPublished(index=0, id="a", code="C", reason="r", event=Noted()).unknown


def test_an_event_that_nobody_wants_is_declined() -> None:
    tally = Tally()
    tally.take(Noted(), "", 0)
    assert tally.close() == PublishResult(consumed=1, accepted=0, declined=1, copies=0)


def test_failures_are_in_the_order_of_the_events() -> None:
    tally = Tally()
    owners = [tally.take(Noted(), str(number), 1) for number in range(4)]
    tally.settle([Failure(0, "C", "r", True)], batch=batch(owners[3]))
    tally.settle([Failure(1, "C", "r", True)], batch=batch(owners[2], owners[0]))
    tally.refuse(Noted(), "", EventTooLarge("large"))
    assert [one.index for one in tally.result().failed] == [0, 3, 4]
    assert tally.result().failed[2].code == "EventTooLarge"
    assert tally.progress().failed == 3


def test_what_was_not_sent_any_more_has_the_reason_that_ended_the_run() -> None:
    tally = Tally()
    owners = [tally.take(Noted(), str(number), 1) for number in range(2)]
    tally.unanswered(batch(owners[0]), TransportError("no route", code="ConnectTimeout"))
    tally.unanswered(batch(owners[1]), TransportError("no route"))
    assert [one.code for one in tally.result().failed] == ["ConnectTimeout", "NoAnswer"]
    with pytest.raises(PublishError) as caught:
        tally.close()
    assert str(caught.value.__cause__) == "no route"


def test_closing_says_how_many_and_what_was_first_and_why() -> None:
    tally = Tally()
    owners = [tally.take(Noted(), "id-0", 1), tally.take(Noted(), "id-1", 1)]
    tally.settle([Failure(1, "Throttled", "slow down", True)], batch=batch(*owners))
    with pytest.raises(PublishError) as caught:
        tally.close()
    assert str(caught.value) == (
        "1 of 2 events were not accepted; the first is number 1 (Noted, id id-1): "
        "Throttled: slow down"
    )
    assert caught.value.result == tally.result()


def test_a_failure_shows_no_personal_data() -> None:
    failed = NotPublished(index=0, id="a", code="C", reason="r", event=Noted())
    assert "Ana" not in repr(failed)
    assert failed.event == Noted()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_the_sum_holds_at_every_moment(plan: list[tuple[int, bool]]) -> None:
    tally = Tally()
    waiting: list[Owner] = []
    for copies, refused in plan:
        owner = tally.take(Noted(), "a", copies)
        waiting += [owner] * copies
        while len(waiting) > 4 or (waiting and refused):
            failure = [Failure(0, "C", "r", True)] if refused else []
            tally.settle(failure, batch=batch(waiting.pop(0)))
            assert tally.accepted >= 0
        result, under_way = tally.result(), len({one.index for one in waiting})
        assert result.consumed == (
            result.accepted + result.declined + len(result.failed) + under_way
        )
