"""The accounts balance, whatever comes in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from messaging.outcome import Ack, Discard
from messaging.runtime.ledger import Ledger
from messaging.runtime.receipts import Account, Held, Stats
from messaging.transport import Delivery


def delivery(message: int, receipt: int = 1) -> Delivery:
    return Delivery(queue="q", message_id=f"m{message}", receipt=f"r{receipt}", body="")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), st.lists(st.integers(0, 5), min_size=1, max_size=4)),
        st.tuples(st.just("seal"), st.integers(0, 5)),
        st.tuples(st.just("unseal"), st.integers(0, 5)),
        st.tuples(st.just("close"), st.none()),
        st.tuples(st.just("settle"), st.tuples(st.integers(0, 9), st.sampled_from(Account))),
    ),
    max_size=40,
)


@given(STEPS)
def test_received_is_always_what_was_settled_and_what_is_in_hand(steps):
    ledger = Ledger()
    seen: list[Held] = []
    for name, what in steps:
        if name == "receive":
            late = ledger.receive([delivery(one) for one in what], 0.0, 30, seen.append)
            assert all(held.outcome is not None for held in late)
            seen += late
        elif name == "seal":
            ledger.seal(seen[what : what + 2])
        elif name == "unseal":
            ledger.unseal(seen[what : what + 2])
        elif name == "close":
            ledger.close()
        else:
            at, account = what
            ledger.settle(seen[at : at + 3], account)
        stats = ledger.stats()
        assert stats.balanced
        assert stats.in_hand == ledger.in_hand
    left = [*ledger.unfinished(), *ledger.finished()]
    assert ledger.settle(left, Account.EXPIRED) == len(left) == stats.in_hand if steps else True
    assert ledger.in_hand == 0


def test_a_receipt_is_settled_once():
    ledger = Ledger()
    held: list[Held] = []
    ledger.receive([delivery(1)], 0.0, 30, held.append)
    assert ledger.settle(held, Account.ACKNOWLEDGED) == 1
    assert ledger.settle(held, Account.EXPIRED) == 0
    assert ledger.stats() == Stats(received=1, acknowledged=1)


def test_what_comes_again_while_it_is_being_settled_is_another_receipt():
    ledger = Ledger()
    held: list[Held] = []
    ledger.receive([delivery(1, 1)], 0.0, 30, held.append)
    ledger.seal(held)
    ledger.receive([delivery(1, 2)], 0.0, 30, held.append)
    ledger.receive([delivery(1, 3)], 0.0, 30, held.append)
    assert [one.delivery.receipt for one in held] == ["r1", "r2", "r3"]
    assert ledger.settle(held, Account.RELEASED) == 3
    assert ledger.stats() == Stats(received=3, released=3)


def test_a_newer_receipt_is_a_new_lease():
    ledger = Ledger()
    held: list[Held] = []
    ledger.receive([delivery(1, 1)], 0.0, 30, held.append)
    (one,) = held
    old = one.delivery
    assert ledger.renew(one, old, None)
    assert one.lost
    ledger.receive([delivery(1, 2)], 40.0, 30, held.append)
    assert (one.lost, one.lease_until, one.delivery.receipt) == (False, 70.0, "r2")
    assert not ledger.renew(one, old, None), "an answer about the old receipt ended the new lease"
    assert not one.lost


def test_discarded_is_a_part_of_acknowledged():
    ledger = Ledger()
    held: list[Held] = []
    ledger.receive([delivery(1), delivery(2)], 0.0, 30, held.append)
    held[0].outcome, held[1].outcome = Ack(), Discard("x")
    ledger.settle(held, Account.ACKNOWLEDGED)
    assert ledger.stats() == Stats(received=2, acknowledged=2, discarded=1)


def test_stats_add_up():
    one = Stats(received=3, acknowledged=1, in_hand=2)
    two = Stats(received=2, expired=1, released=1)
    assert Stats.total([one, two]) == one + two
    assert (one + two) == Stats(received=5, acknowledged=1, released=1, expired=1, in_hand=2)
    assert not Stats(received=1).balanced
    assert Stats.total([]) == Stats()
