"""What every queue does: hide what is received, settle by receipt, keep what is not settled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from messaging.dead_letters.reason import read
from messaging.errors import NotFound, TransportError
from messaging.transport import Attribute, DeadLetter, Delivery, QueueTransport
from tests.contracts.conftest import Site, message, not_on, receive_all


def one(queue: QueueTransport) -> Delivery:
    [delivery] = receive_all(queue, 1)
    return delivery


def letter(delivery: Delivery, **more: str) -> DeadLetter:
    return DeadLetter(
        delivery=delivery,
        reason=more.get("reason", "nome: required"),
        error=more.get("error"),
        attempts=delivery.receive_count,
        time=1_764_000_000.25,
        queue=delivery.queue,
    )


def test_empty_queue_gives_nothing(site: Site) -> None:
    assert len(site.queue("depot").receive(10, 0)) == 0


def test_limit_is_kept(site: Site) -> None:
    site.send("1", "2", "3", "4", "5")
    queue = site.queue("depot")

    first = queue.receive(2, 1)

    assert 1 <= len(first) <= 2
    assert len(receive_all(queue, 5 - len(first))) == 5 - len(first)


def test_delivery_says_where_it_comes_from(site: Site) -> None:
    before = time.time()
    site.send("1")
    queue = site.queue("depot")

    delivery = one(queue)

    assert delivery.queue == queue.name
    assert queue.name.endswith("parcels-depot")
    assert delivery.message_id
    assert delivery.receipt
    assert delivery.receive_count == 1
    # A server cuts its times to whole seconds or milliseconds.
    assert before - 1 <= delivery.sent_at <= delivery.received_at + 1
    assert delivery.received_at >= before


def test_deliveries_say_which_request_returned_them(site: Site) -> None:
    for name in "123":
        site.send(name)
    queue, before = site.queue("depot"), time.time()

    first = queue.receive(2, 1)
    others = receive_all(queue, 3 - len(first))

    request = first[0].receive
    assert request is not None
    assert all(one.receive is request for one in first)
    assert not any(one.receive is request for one in others)
    assert request.count == len(first)
    assert before <= request.started <= request.ended <= time.time()
    assert first[0].received_at <= request.ended


def test_received_message_is_hidden_from_others(site: Site) -> None:
    site.send("1")
    mine, theirs = site.queue("depot"), site.queue("depot")

    one(mine)

    assert len(theirs.receive(10, 0)) == 0


def test_lease_ends_and_the_message_comes_again(site: Site) -> None:
    site.send("1", type="parcel.lost")
    queue = site.queue("claims")
    assert queue.visibility_timeout == 1
    first = one(queue)

    second = one(queue)

    assert second.message_id == first.message_id
    assert second.receipt != first.receipt
    assert second.receive_count == 2
    assert second.body == "1"


def test_deleted_message_is_gone(site: Site) -> None:
    site.send("1", "2", type="parcel.lost")
    queue = site.queue("claims")
    both = receive_all(queue, 2)

    assert len(queue.delete(both)) == 0

    assert len(queue.receive(10, 2)) == 0  # longer than the lease
    assert queue.depth()[:3] == (0, 0, 0)


def test_hide_0_releases_at_once(site: Site) -> None:
    site.send("1")
    queue = site.queue("depot")
    first = one(queue)

    assert len(queue.change_visibility([first], [0])) == 0

    assert one(queue).receive_count == 2


def test_hide_extends_the_lease(site: Site) -> None:
    site.send("short", "long", type="parcel.lost")
    queue = site.queue("claims")
    both = receive_all(queue, 2)

    times = [60 if delivery.body == "long" else 1 for delivery in both]
    assert len(queue.change_visibility(both, times)) == 0

    assert [again.body for again in queue.receive(10, 3)] == ["short"]


def test_receipt_of_nothing_is_a_failure_with_its_place(site: Site) -> None:
    site.send("1", "2")
    queue = site.queue("depot")
    first, second = receive_all(queue, 2)
    nonsense = Delivery(queue=queue.name, message_id="x", receipt="nonsense", body="")

    failures = queue.change_visibility([first, nonsense, second], [0, 0, 0])

    assert [(failure.index, failure.retryable) for failure in failures] == [(1, False)]
    assert all(failure.code and failure.message for failure in failures)
    assert len(receive_all(queue, 2)) == 2


@not_on("moto", because="moto takes any receipt that a message ever had for its last one")
def test_old_receipt_does_not_delete_what_was_received_again(site: Site) -> None:
    site.send("1")
    queue = site.queue("depot")
    first = one(queue)
    queue.change_visibility([first], [0])
    second = one(queue)

    queue.delete([first])  # accepted or refused, according to the server

    assert queue.depth().in_flight == 1
    assert len(queue.change_visibility([second], [30])) == 0
    assert len(queue.delete([second])) == 0
    assert queue.depth().in_flight == 0


@not_on("moto", because="moto takes any receipt that a message ever had for its last one")
def test_old_receipt_does_not_release_what_was_received_again(site: Site) -> None:
    site.send("1")
    queue = site.queue("depot")
    first = one(queue)
    queue.change_visibility([first], [0])
    one(queue)

    [failure] = queue.change_visibility([first], [0])

    assert not failure.retryable
    assert len(queue.receive(10, 0)) == 0


def test_a_receipt_settles_by_another_object_of_the_queue(site: Site) -> None:
    site.send("1")
    mine, theirs = site.queue("depot"), site.queue("depot")
    delivery = one(mine)
    mine.close()

    assert not theirs.delete([delivery])

    assert theirs.depth()[:3] == (0, 0, 0)


def test_long_poll_ends_when_a_message_comes(site: Site) -> None:
    queue = site.queue("depot")
    publisher = threading.Timer(0.3, lambda: site.send("1"))
    publisher.start()
    started = time.monotonic()

    received = queue.receive(10, 20)

    publisher.join()
    assert [delivery.body for delivery in received] == ["1"]
    assert time.monotonic() - started < 15


def test_two_consumers_share_a_queue(site: Site) -> None:
    site.send(*(str(number) for number in range(10)))
    queues = [site.queue("depot"), site.queue("depot")]
    taken: list[list[str]] = [[], []]

    def take(place: int) -> None:
        while some := queues[place].receive(1, 1):
            taken[place] += [delivery.body for delivery in some]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(take, range(2)))

    assert sorted(taken[0] + taken[1]) == [str(number) for number in range(10)]


def test_dead_letter_is_a_copy_with_its_reason(site: Site) -> None:
    word = Attribute.string("ação")
    body = '{"nome": "João"}'
    sent = message(body, "parcel.sent", "depot", word=word)
    site.broker.topic().publish([sent])
    queue = site.queue("depot")
    delivery = one(queue)

    assert len(queue.dead_letter([letter(delivery, reason="nome: é curto", error="KeyError")])) == 0

    [(found, attributes)] = site.letters("depot")
    original, note = read(attributes)
    assert found == body
    assert original == sent.attributes
    assert note is not None
    assert (note.reason, note.error, note.attempts) == ("nome: é curto", "KeyError", 1)
    assert note.queue == queue.name
    assert note.time == 1_764_000_000.25


def test_dead_letter_leaves_the_message_until_it_is_deleted(site: Site) -> None:
    site.send("1")
    queue = site.queue("depot")
    delivery = one(queue)

    queue.dead_letter([letter(delivery)])

    depth = queue.depth()
    assert (depth.in_flight, depth.dead_letters) == (1, 1)
    assert len(queue.delete([delivery])) == 0
    depth = queue.depth()
    assert (depth.visible, depth.in_flight, depth.dead_letters) == (0, 0, 1)


def test_dead_letter_with_all_attributes_taken(site: Site) -> None:
    more = {f"a{number}": Attribute.string(f"value {number}") for number in range(8)}
    sent = message("full", "parcel.sent", "depot", **more)
    assert len(sent.attributes) == 10
    site.broker.topic().publish([sent])
    queue = site.queue("depot")

    assert len(queue.dead_letter([letter(one(queue))])) == 0

    [(_, attributes)] = site.letters("depot")
    original, note = read(attributes)
    assert len(attributes) <= 10
    assert original == sent.attributes
    assert note is not None
    assert note.reason == "nome: required"


def test_message_received_too_often_is_dead_lettered_by_the_queue(site: Site) -> None:
    site.send("poison")
    queue = site.queue("depot")
    for count in (1, 2):
        delivery = one(queue)
        assert delivery.receive_count == count
        queue.change_visibility([delivery], [0])

    assert len(queue.receive(10, 1)) == 0

    assert queue.depth().dead_letters == 1
    [(body, attributes)] = site.letters("depot")
    original, note = read(attributes)
    assert body == "poison"
    assert original["type"] == Attribute.string("parcel.sent")
    assert note is None


def test_depth_counts(site: Site) -> None:
    site.send("1", "2", "3")
    queue = site.queue("depot")
    one(queue)

    depth = queue.depth()

    assert depth[:3] == (2, 1, 0)
    assert depth[4:] == (0, 0)


def test_empty_batches_are_nothing(site: Site) -> None:
    queue = site.queue("depot")

    assert len(queue.delete([])) == 0
    assert len(queue.change_visibility([], [])) == 0
    assert len(queue.dead_letter([])) == 0


def test_eleven_deliveries_are_refused_whole(site: Site) -> None:
    site.send("1")
    queue = site.queue("depot")
    delivery = one(queue)

    requests: list[Callable[[], object]] = [
        lambda: queue.delete([delivery] * 11),
        lambda: queue.change_visibility([delivery] * 11, [0] * 11),
        lambda: queue.dead_letter([letter(delivery)] * 11),
    ]
    for request in requests:
        with pytest.raises(TransportError) as refused:
            request()
        assert not refused.value.retryable
    depth = queue.depth()
    assert (depth.in_flight, depth.dead_letters) == (1, 0)


def test_missing_queue_is_told(site: Site) -> None:
    requests: list[Callable[[], object]] = [
        lambda: site.bare.queue("depot").receive(1, 0),
        lambda: site.bare.queue("depot").visibility_timeout,
        lambda: site.bare.queue("depot").depth(),
        lambda: site.broker.queue("nobody").receive(1, 0),
    ]
    for request in requests:
        with pytest.raises(NotFound, match="queue") as missing:
            request()
        assert not missing.value.retryable
        assert missing.value.code


def test_closed_queue_refuses_and_others_go_on(site: Site) -> None:
    site.send("1")
    closed, other = site.queue("depot"), site.queue("depot")
    closed.close()
    closed.close()

    with pytest.raises(TransportError) as refused:
        closed.receive(1, 0)
    assert not refused.value.retryable
    assert one(other).body == "1"
