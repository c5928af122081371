"""The accounts balance, whatever comes in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from messaging.outcome import Ack, Discard
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage, Stats
from messaging.transport import Delivery


def delivery(message: int, receipt: int = 1) -> Delivery:
    return Delivery(queue="q", message_id=f"m{message}", receipt=f"r{receipt}", body="")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), st.lists(st.integers(0, 5), min_size=1, max_size=4)),
        st.tuples(st.just("seal"), st.integers(0, 5)),
        st.tuples(st.just("unseal"), st.integers(0, 5)),
        st.tuples(st.just("close"), st.none()),
        st.tuples(st.just("settle"), st.tuples(st.integers(0, 9), st.sampled_from(Disposition))),
    ),
    max_size=40,
)


@given(STEPS)
def test_received_is_always_what_was_settled_and_what_is_in_hand(steps):
    in_flight = InFlight()
    seen: list[InFlightMessage] = []
    for name, what in steps:
        if name == "receive":
            late = in_flight.receive([delivery(one) for one in what], 0.0, 30, seen.append)
            assert all(message.outcome is not None for message in late)
            seen += late
        elif name == "seal":
            in_flight.seal(seen[what : what + 2])
        elif name == "unseal":
            in_flight.unseal(seen[what : what + 2])
        elif name == "close":
            in_flight.close()
        else:
            at, account = what
            in_flight.settle(seen[at : at + 3], account)
        stats = in_flight.stats()
        assert stats.balanced
        assert stats.in_flight == in_flight.count
    left = [*in_flight.unfinished(), *in_flight.finished()]
    assert (
        in_flight.settle(left, Disposition.EXPIRED) == len(left) == stats.in_flight
        if steps
        else True
    )
    assert in_flight.count == 0


def test_a_receipt_is_settled_once():
    in_flight = InFlight()
    message: list[InFlightMessage] = []
    in_flight.receive([delivery(1)], 0.0, 30, message.append)
    assert in_flight.settle(message, Disposition.ACKNOWLEDGED) == 1
    assert in_flight.settle(message, Disposition.EXPIRED) == 0
    assert in_flight.stats() == Stats(received=1, acknowledged=1)


def test_what_comes_again_while_it_is_being_settled_is_another_receipt():
    in_flight = InFlight()
    message: list[InFlightMessage] = []
    in_flight.receive([delivery(1, 1)], 0.0, 30, message.append)
    in_flight.seal(message)
    in_flight.receive([delivery(1, 2)], 0.0, 30, message.append)
    in_flight.receive([delivery(1, 3)], 0.0, 30, message.append)
    assert [one.delivery.receipt for one in message] == ["r1", "r2", "r3"]
    assert in_flight.settle(message, Disposition.RELEASED) == 3
    assert in_flight.stats() == Stats(received=3, released=3)


def test_a_newer_receipt_is_a_new_lease():
    in_flight = InFlight()
    message: list[InFlightMessage] = []
    in_flight.receive([delivery(1, 1)], 0.0, 30, message.append)
    (one,) = message
    old = one.delivery
    assert in_flight.renew(one, old, None)
    assert one.lost
    in_flight.receive([delivery(1, 2)], 40.0, 30, message.append)
    assert (one.lost, one.lease_until, one.delivery.receipt) == (False, 70.0, "r2")
    assert not in_flight.renew(one, old, None), (
        "an answer about the old receipt ended the new lease"
    )
    assert not one.lost


def test_discarded_is_a_part_of_acknowledged():
    in_flight = InFlight()
    message: list[InFlightMessage] = []
    in_flight.receive([delivery(1), delivery(2)], 0.0, 30, message.append)
    message[0].outcome, message[1].outcome = Ack(), Discard("x")
    in_flight.settle(message, Disposition.ACKNOWLEDGED)
    assert in_flight.stats() == Stats(received=2, acknowledged=2, discarded=1)


def test_stats_add_up():
    one = Stats(received=3, acknowledged=1, in_flight=2)
    two = Stats(received=2, expired=1, released=1)
    assert Stats.total([one, two]) == one + two
    assert (one + two) == Stats(received=5, acknowledged=1, released=1, expired=1, in_flight=2)
    assert not Stats(received=1).balanced
    assert Stats.total([]) == Stats()
