"""What `InFlight` says about single receipts: renewed, given up, settled, received once more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from messaging.outcome import Ack, Discard, Outcome, Reject, Retry
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage, Stats
from messaging.transport import Delivery


def delivery(name: str, receipt: str = "1") -> Delivery:
    return Delivery(queue="q", message_id=name, receipt=receipt, body="")


class Left:
    """Who left, and how."""

    def __init__(self) -> None:
        self.told: list[tuple[list[str], Disposition]] = []

    def __call__(self, left: Sequence[InFlightMessage], how: Disposition) -> None:
        self.told.append(([one.delivery.message_id for one in left], how))


@pytest.fixture
def left() -> Left:
    return Left()


@pytest.fixture
def in_flight(left: Left) -> InFlight:
    return InFlight(left)


def take(in_flight: InFlight, *names: str, receipt: str = "1") -> list[InFlightMessage]:
    taken: list[InFlightMessage] = []
    assert not in_flight.receive([delivery(n, receipt) for n in names], 5.0, 30, taken.append)
    return taken


def test_a_new_receipt_begins_a_lease_and_nothing_else() -> None:
    one = InFlightMessage("m", delivery("m"), 5.0, 30)
    assert (one.received, one.first, one.lease_until, one.tries) == (5.0, 5.0, 35.0, 0)
    assert one.delivery is one.given
    flags = (one.copied, one.remembered, one.sealed, one.gone, one.lost, one.capped, one.handled)
    assert flags == (False,) * 7
    assert (one.told, one.ending) == ("", "")
    assert one.outcome is one.started is one.cancel is None


def test_a_second_receipt_takes_the_place_of_the_first(in_flight: InFlight) -> None:
    (one,) = take(in_flight, "m")
    one.lost, one.capped, one.told, one.ending = True, True, "lost", "limit"
    assert in_flight.receive([delivery("m", "2")], 50.0, 30, pytest.fail) == []
    assert (one.delivery.receipt, one.given.receipt) == ("2", "2")
    assert (one.first, one.received, one.lease_until) == (50.0, 50.0, 80.0)
    assert (one.lost, one.capped, one.told, one.ending) == (False, False, "", "")
    assert in_flight.stats() == Stats(received=2, expired=1, in_flight=1)


def test_a_handler_that_runs_keeps_the_receipt_it_was_given(in_flight: InFlight) -> None:
    (one,) = take(in_flight, "m")
    one.started, one.ending, one.told = 6.0, "max_lease", "max_lease"
    in_flight.receive([delivery("m", "2")], 50.0, 30, pytest.fail)
    assert (one.delivery.receipt, one.given.receipt) == ("2", "1")
    assert (one.first, one.received) == (5.0, 50.0)
    assert one.capped
    assert one.told == one.ending == "max_lease"


@pytest.mark.parametrize(
    ("outcome", "copied", "handled"),
    [(Ack(), False, True), (Discard("no"), False, True), (Reject("no"), True, True),
     (Reject("no"), False, False), (Retry(1), False, False), (None, False, False)],
)  # fmt: skip
def test_a_message_received_while_it_is_settled_shares_its_end_if_it_was_handled(
    in_flight: InFlight, outcome: Outcome | None, copied: bool, handled: bool
) -> None:
    (one,) = take(in_flight, "m")
    one.outcome, one.copied = outcome, copied
    in_flight.seal([one])
    started: list[InFlightMessage] = []
    back = in_flight.receive([delivery("m", "2")], 50.0, 30, started.append)
    (again,) = back if handled else started
    assert len(back) + len(started) == 1
    assert again is not one
    assert (one.beside, again.beside) == (False, True)
    assert again.remembered is handled
    assert (again.outcome, again.copied) == ((outcome, copied) if handled else (None, False))
    assert in_flight.count == 2
    assert in_flight.settle([one, again], Disposition.ACKNOWLEDGED) == 2
    assert in_flight.stats().balanced


def test_what_comes_after_the_end_or_unwanted_goes_back(in_flight: InFlight) -> None:
    for why in ("paused", "alone", "closed"):
        in_flight.paused, in_flight.alone = why == "paused", why == "alone"
        if why == "closed":
            in_flight.close()
        (back,) = in_flight.receive([delivery(why)], 0.0, 30, pytest.fail)
        assert isinstance(back.outcome, Retry)
        assert (back.outcome.delay, back.outcome.origin) == (0, "worker")
    assert in_flight.count == 3


def test_the_first_reason_to_end_is_the_one_a_handler_is_told(in_flight: InFlight) -> None:
    (one,) = take(in_flight, "m")
    assert not one.watched
    assert not one.given.cancel_token.is_set()
    assert one.watched
    one.tell("stopping")
    one.tell("max_lease")
    assert one.told == "stopping"
    assert one.given.cancel_token.reason == "stopping"


def test_only_what_is_in_hand_is_sealed(in_flight: InFlight, left: Left) -> None:
    one, two = take(in_flight, "a", "b")
    in_flight.settle([two], Disposition.RELEASED)
    left.told.clear()
    assert in_flight.seal([one]) == ([one], [])
    assert left.told == []
    assert one.sealed
    assert in_flight.seal([two]) == ([], [two])
    assert not two.sealed
    assert left.told == [([], Disposition.EXPIRED)]
    in_flight.unseal([one])
    assert not one.sealed


def test_a_hung_handler_is_given_up_and_counts_as_stuck_until_it_ends(
    in_flight: InFlight, left: Left
) -> None:
    one, two = take(in_flight, "a", "b")
    assert in_flight.give_up(one) is True
    assert left.told == [(["a"], Disposition.EXPIRED)]
    assert one.gone
    assert one.lost
    assert in_flight.stuck == 1
    assert in_flight.given_up == [one]
    assert in_flight.count == 1
    assert in_flight.give_up(one) is False
    assert in_flight.stats() == Stats(received=2, expired=1, in_flight=1)
    assert in_flight.seal([one, two]) == ([two], [one])
    assert in_flight.stuck == 0
    assert not one.gone


@pytest.mark.parametrize("why", ["sealed", "ended"])
def test_a_handler_that_has_just_ended_is_not_given_up(in_flight: InFlight, why: str) -> None:
    (one,) = take(in_flight, "a")
    if why == "sealed":
        in_flight.seal([one])
    else:
        one.outcome = Ack()
    assert in_flight.give_up(one) is False
    assert in_flight.count == 1
    assert in_flight.stuck == 0


def test_leases_are_renewed_of_what_is_held_and_not_being_settled(in_flight: InFlight) -> None:
    held, sealed, lost, settled = take(in_flight, *"abcd")
    in_flight.seal([sealed])
    lost.lost = True
    in_flight.settle([settled], Disposition.RELEASED)
    assert in_flight.leased([held, sealed, lost, settled]) == [(held, held.delivery)]


def test_a_lease_goes_on_or_is_lost(in_flight: InFlight) -> None:
    (one,) = take(in_flight, "a")
    assert in_flight.renew(one, one.delivery, 99.0) is True
    assert one.lease_until == 99.0
    assert not one.lost
    assert in_flight.renew(one, delivery("a", "2"), 120.0) is False
    assert one.lease_until == 99.0
    assert in_flight.renew(one, one.delivery, None) is True
    assert one.lost
    assert one.lease_until == 99.0
    in_flight.settle([one], Disposition.EXPIRED)
    assert in_flight.renew(one, one.delivery, 120.0) is False


def test_each_end_is_counted_once_and_told_to_whoever_asked(
    in_flight: InFlight, left: Left
) -> None:
    one, two, three = take(in_flight, *"abc")
    one.outcome, two.outcome = Ack(), Discard("not ours")
    assert in_flight.finished() == [one, two]
    assert in_flight.unfinished() == [three]
    assert in_flight.every() == [one, two, three]
    assert in_flight.settle([one, two], Disposition.ACKNOWLEDGED) == 2
    assert left.told == [(["a", "b"], Disposition.ACKNOWLEDGED)]
    assert in_flight.settle([one], Disposition.ACKNOWLEDGED) == 0
    assert len(left.told) == 1, "nobody left"
    three.outcome = Discard("not ours")
    in_flight.settle([three], Disposition.EXPIRED)
    assert in_flight.stats() == Stats(received=3, acknowledged=2, expired=1, discarded=1)


@pytest.mark.parametrize("how", list(Disposition))
def test_a_message_that_came_again_after_it_was_handled_counts_as_such_if_it_left_for_good(
    in_flight: InFlight, how: Disposition
) -> None:
    (one,) = take(in_flight, "a")
    one.outcome, one.remembered = Ack(), True
    in_flight.settle([one], how)
    for_good = how in (Disposition.ACKNOWLEDGED, Disposition.DEAD_LETTERED)
    assert in_flight.stats().deduplicated == for_good
    assert in_flight.stats().discarded == 0


def test_the_accounts_of_several_services_add_up() -> None:
    one = Stats(received=10, acknowledged=1, released=2, dead_lettered=3, expired=4)
    two = Stats(received=5, in_flight=5, discarded=1, deduplicated=2)
    assert Stats.total([one, two]) == Stats(
        received=15, acknowledged=1, released=2, dead_lettered=3, expired=4, in_flight=5,
        discarded=1, deduplicated=2,
    )  # fmt: skip
    assert Stats.total([]) == Stats()
    assert one.balanced
    assert two.balanced
    for name in ("received", "acknowledged", "released", "dead_lettered", "expired", "in_flight"):
        assert not Stats(**{name: 1}).balanced, name


def test_what_one_handler_runs_in_a_batch_counts_once(in_flight: InFlight) -> None:
    first, second, third = take(in_flight, "a", "b", "c")
    in_flight.companions.update({second, third})
    assert (in_flight.count, in_flight.load) == (3, 1)
    assert in_flight.give_up(second)
    assert (in_flight.count, in_flight.load, in_flight.stuck) == (2, 1, 0)
    assert in_flight.given_up == []
    assert in_flight.give_up(first)
    assert in_flight.stuck == 1
    assert in_flight.given_up == [first]


def test_who_works_who_has_ended_and_who_is_in_hand(in_flight: InFlight) -> None:
    works, done = take(in_flight, "a", "b")
    done.outcome = Ack()
    assert in_flight.unfinished() == [works]
    assert in_flight.finished() == [done]
    assert in_flight.every() == [works, done]


def test_a_handler_is_watched_once_it_has_asked(in_flight: InFlight) -> None:
    (one,) = take(in_flight, "a")
    assert not one.watched
    assert not one.given.cancelled
    assert one.watched


def test_what_cannot_be_started_goes_back(in_flight: InFlight) -> None:
    refused, started = delivery("a"), delivery("b")
    back = in_flight.receive([refused, started], 5.0, 30, lambda one: one.delivery is started)
    assert [one.delivery for one in back] == [refused]


def test_a_message_that_came_beside_itself_goes_back_later_than_others(in_flight: InFlight) -> None:
    (one,) = take(in_flight, "m")
    in_flight.seal([one])
    (beside,) = take(in_flight, "m", receipt="2")
    assert one.sent_back().delay == 0
    assert beside.sent_back().delay > 0, (
        "at once it would come again before the other one is settled"
    )


def test_whoever_measures_is_told_of_what_left(in_flight: InFlight) -> None:
    told: list[tuple[list[InFlightMessage], Disposition]] = []
    in_flight.measure = lambda left, how: told.append((list(left), how))
    taken = take(in_flight, "m")
    in_flight.settle(taken, Disposition.ACKNOWLEDGED)
    in_flight.settle(taken, Disposition.ACKNOWLEDGED)
    assert told == [(taken, Disposition.ACKNOWLEDGED)]
