"""What FIFO topics and queues do: order within a group, one group at a time, no repetition."""

from __future__ import annotations

from dataclasses import replace

from messaging.transport import Delivery, Outgoing, QueueTransport
from tests.contracts.conftest import Site, message, receive_all


def grouped(body: str, group: str, **more: str) -> Outgoing:
    return replace(message(body), group=group, deduplication=more.get("deduplication", body))


def receive_one(queue: QueueTransport) -> Delivery:
    [delivery] = queue.receive(1, 2)
    return delivery


def deduplicates(fifo: Site) -> bool:
    return bool(getattr(fifo.broker.topic(), "deduplicates", True))


def test_group_travels_with_the_message(fifo: Site) -> None:
    assert not fifo.broker.topic().publish([grouped("1", "ana")])

    delivery = receive_one(fifo.queue("depot"))

    assert (delivery.body, delivery.group) == ("1", "ana")


def test_order_in_a_group_outlives_a_release(fifo: Site) -> None:
    fifo.broker.topic().publish([grouped(str(number), "ana") for number in range(4)])
    queue = fifo.queue("depot")
    first = receive_one(queue)

    queue.change_visibility([first], [0])

    order = []
    for _ in range(4):
        delivery = receive_one(queue)
        order.append(delivery.body)
        assert not queue.delete([delivery])
    assert order == ["0", "1", "2", "3"]


def test_group_waits_while_one_of_its_messages_is_in_flight(fifo: Site) -> None:
    fifo.broker.topic().publish([grouped("a1", "ana"), grouped("a2", "ana"), grouped("b1", "bia")])
    queue = fifo.queue("depot")
    first = receive_one(queue)

    others = queue.receive(10, 1)

    assert first.body == "a1"
    assert [delivery.body for delivery in others] == ["b1"]
    assert not queue.delete([first])
    assert [delivery.body for delivery in receive_all(queue, 1)] == ["a2"]


def test_repeated_message_arrives_once(fifo: Site) -> None:
    topic = fifo.broker.topic()

    assert not topic.publish([grouped("first", "ana", deduplication="same")])
    assert not topic.publish([grouped("again", "ana", deduplication="same")])

    queue = fifo.queue("depot")
    expected = ["first"] if deduplicates(fifo) else ["first", "again"]
    assert [delivery.body for delivery in receive_all(queue, len(expected))] == expected
    assert queue.depth().visible == 0


def test_message_without_deduplication_is_refused_and_the_others_arrive(fifo: Site) -> None:
    nameless = replace(grouped("2", "ana"), deduplication=None)

    failures = fifo.broker.topic().publish([grouped("1", "ana"), nameless, grouped("3", "ana")])

    expected = ["1", "3"] if deduplicates(fifo) else ["1", "2", "3"]
    assert [(one.index, one.retryable) for one in failures] == [(1, False)] * deduplicates(fifo)
    assert [one.body for one in receive_all(fifo.queue("depot"), len(expected))] == expected


def test_poison_message_lets_its_group_go_on(fifo: Site) -> None:
    fifo.broker.topic().publish([grouped("poison", "ana"), grouped("next", "ana")])
    queue = fifo.queue("depot")
    for _ in range(2):
        queue.change_visibility([receive_one(queue)], [0])

    assert receive_one(queue).body == "next"

    assert [body for body, _ in fifo.letters("depot")] == ["poison"]
