"""What a queue does on RabbitMQ beyond what every queue does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from messaging.errors import TransportError
from messaging.rabbitmq import RabbitBroker, apply, connect, remove
from messaging.rabbitmq.names import rounded_delay
from messaging.settings import Settings
from messaging.transport import Attribute, Outgoing
from tests.contracts.conftest import TOPOLOGY, message, receive_all


@pytest.fixture
def broker(settings: Settings) -> Iterator[RabbitBroker]:
    apply(TOPOLOGY, settings, create_topic=True)
    broker = connect(settings)
    yield broker
    broker.close()


def send(broker: RabbitBroker, *bodies: str) -> None:
    assert not broker.topic().publish([message(one) for one in bodies])


def test_a_delayed_retry_waits_on_the_broker_and_keeps_its_count(broker: RabbitBroker) -> None:
    word = Attribute.string("ação")
    sent = message("1", "parcel.sent", "*", word=word, number=Attribute("Number", "7"))
    assert not broker.topic().publish([sent])
    queue = broker.queue("depot")
    [first] = receive_all(queue, 1)

    assert not queue.release([first], [1])

    depth = queue.depth()
    assert (depth.visible, depth.in_flight, depth.delayed) == (0, 0, 1)
    [failure] = queue.delete([first])
    assert not failure.retryable
    [second] = receive_all(queue, 1)
    assert second.receive_count == 2
    assert second.message_id == first.message_id
    assert second.attributes == sent.attributes
    assert second.sent_at == first.sent_at
    assert second.received_at - first.received_at >= 1


def test_a_delayed_retry_survives_the_worker_that_asked_for_it(
    broker: RabbitBroker, settings: Settings
) -> None:
    send(broker, "1")
    queue = broker.queue("depot")
    queue.release(receive_all(queue, 1), [2])
    broker.close()

    other = connect(settings)
    try:
        [again] = other.queue("depot").receive(10, 10)
        assert again.receive_count == 2
    finally:
        other.close()


def test_some_now_some_later_some_never(broker: RabbitBroker) -> None:
    send(broker, "now", "later", "void")
    queue = broker.queue("depot")
    found = {one.body: one for one in receive_all(queue, 3)}
    queue.delete([found["void"]])

    failures = queue.release([found["void"], found["now"], found["later"]], [5, 0, 5])

    assert [(one.index, one.code) for one in failures] == [(0, "ReceiptHandleIsInvalid")]
    assert [one.body for one in receive_all(queue, 1)] == ["now"]
    assert queue.depth().delayed == 1


def test_delays_are_rounded_up_to_few() -> None:
    rounded = [rounded_delay(seconds) for seconds in range(1, 43_201)]

    assert all(asked <= got <= asked * 4 / 3 for asked, got in enumerate(rounded, start=1))
    assert len(set(rounded)) < 60
    assert rounded_delay(0.2) == 1


def test_messages_in_hand_come_again_when_their_connection_is_gone(
    broker: RabbitBroker, settings: Settings
) -> None:
    send(broker, "1", "2")
    other = connect(settings)
    assert len(receive_all(other.queue("depot"), 2)) == 2

    other.close()

    assert {one.receive_count for one in receive_all(broker.queue("depot"), 2)} == {2}


def test_a_message_that_is_put_back_is_there_for_others_at_once(
    broker: RabbitBroker, settings: Settings
) -> None:
    # It came back to the one that had put it back, and stayed there for a whole lease.
    other = connect(settings)
    mine, theirs = broker.queue("depot"), other.queue("depot")
    send(broker, "1")
    found = mine.receive(10, 10)

    assert not mine.change_visibility(found, [0])

    [again] = theirs.receive(10, 5)
    assert again.receive_count == 2
    other.close()


def test_a_waiting_receive_is_woken_by_close(broker: RabbitBroker) -> None:
    queue = broker.queue("depot")
    ended = threading.Event()

    def wait() -> None:
        assert queue.receive(10, 20) == []
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    queue.close()
    assert ended.wait(10)
    waiting.join()


def test_nobody_is_given_more_than_was_asked_for(broker: RabbitBroker, settings: Settings) -> None:
    send(broker, *(str(number) for number in range(10)))
    other = connect(settings)
    mine, theirs = broker.queue("depot"), other.queue("depot")

    some = receive_all(mine, 3)

    others = receive_all(theirs, 7)
    assert len(some) == 3
    assert len(others) == 7
    assert {one.receive_count for one in (*some, *others)} == {1}
    assert not mine.receipts_travel
    assert [one.code for one in mine.delete(others[:1])] == ["ReceiptHandleIsInvalid"]
    other.close()


def test_messages_that_arrive_while_a_poll_ends_are_received_once(broker: RabbitBroker) -> None:
    queue = broker.queue("depot")
    stop = threading.Event()
    sent = 0

    def publish() -> None:
        nonlocal sent
        topic = broker.topic()
        while not stop.is_set():
            assert not topic.publish([message(str(sent))])
            sent += 1

    publisher = threading.Thread(target=publish)
    publisher.start()
    found = []
    for _ in range(60):
        some = queue.receive(10, 0.01)
        found += some
        assert not queue.delete(some)
    stop.set()
    publisher.join()
    while some := queue.receive(10, 0.2):
        found += some
        assert not queue.delete(some)

    assert {one.receive_count for one in found} == {1}
    assert sorted(int(one.body) for one in found) == list(range(sent))


def test_a_queue_that_is_deleted_is_told_to_who_waits(
    broker: RabbitBroker, settings: Settings
) -> None:
    queue = broker.queue("depot")
    told: list[BaseException] = []

    def wait() -> None:
        try:
            queue.receive(10, 20)
        except TransportError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    remove(TOPOLOGY, "depot", settings, take_over=True)
    waiting.join(15)

    assert [type(one) for one in told] == [TransportError]


def test_what_was_not_sent_by_this_library_is_a_delivery_all_the_same(
    broker: RabbitBroker,
) -> None:
    import pika

    def foreign(channel, answer) -> None:  # type: ignore[no-untyped-def]
        headers = {"attributes": ["no table"], "sent": "never", "group": 7, "receives": "x"}
        channel.basic_publish("", queue.name, b"\xff\xfe", pika.BasicProperties(headers=headers))
        channel.basic_publish("", queue.name, b"bare")
        answer.set_result(None)

    queue = broker.queue("depot")
    queue._asking.call(foreign)

    found = receive_all(queue, 2)
    assert [one.receive_count for one in found] == [1, 1]
    assert [dict(one.attributes) for one in found] == [{}, {}]
    assert not queue.delete(found)


def test_a_message_that_no_queue_takes_is_a_failure_without_an_alternate(
    broker: RabbitBroker, settings: Settings
) -> None:
    # The exchange stands, and its alternate is gone: nothing may vanish in silence.
    from messaging.rabbitmq.link import Link
    from messaging.rabbitmq.names import unrouted_name
    from messaging.rabbitmq.session import Session

    link = Link(settings)
    name = unrouted_name(settings.prefix + "parcels")
    Session(link, "test").call(
        lambda channel, answer: channel.exchange_delete(name, callback=answer.set_result)
    )
    link.close()

    failures = broker.topic().publish([message("heard"), message("unheard", "parcel.found")])

    assert [(one.index, one.code, one.retryable) for one in failures] == [(1, "Unroutable", False)]


def test_a_message_that_nobody_hears_is_kept(broker: RabbitBroker, settings: Settings) -> None:
    one = Outgoing("1", "b", {"type": Attribute.string("parcel.found")}, 20)

    assert not broker.topic().publish([one])

    kept = receive_all(broker.queue("nobody-hears"), 0)
    assert kept == []
    from messaging.rabbitmq.names import unrouted_name
    from messaging.rabbitmq.queue import RabbitQueue

    name = unrouted_name(settings.prefix + "parcels")
    unrouted = RabbitQueue(broker._held(name, lease=30), broker._sending, name, name)
    assert [found.body for found in receive_all(unrouted, 1)] == ["b"]
    unrouted.close()


def test_what_is_put_back_is_there_for_others_at_once(
    broker: RabbitBroker, settings: Settings
) -> None:
    send(broker, "1")
    here = broker.queue("depot")
    held = here.receive(10, 5)  # more than there is: the consumer is still open afterwards
    assert not here.change_visibility(held, [0])

    other = connect(settings)
    assert [one.body for one in other.queue("depot").receive(10, 10)] == ["1"]
    other.close()


def test_an_acknowledgement_of_a_lost_connection_settles_nothing_on_the_next(
    broker: RabbitBroker, settings: Settings
) -> None:
    # The delivery tags begin anew there: that of a message handled before was another's by then.
    send(broker, "1")
    queue = broker.queue("depot")
    holding = broker._held(queue.name)
    before = receive_all(queue, 1)
    settled, failures = holding.in_hand.settle(before)
    assert not failures
    holding.say(lambda channel: channel.close())
    [again] = receive_all(queue, 1)
    assert again.receive_count == 2

    holding.acknowledge(settled)
    broker.close()  # it is received for the third time, which is once too often

    other = connect(settings)
    letters = other.letters("depot").receive(10, 5, 30)
    other.close()
    assert [one.body for one in letters] == ["1"]


def test_what_was_sent_ahead_to_a_busy_worker_does_not_go_back(broker: RabbitBroker) -> None:
    sent = 1_500
    queue = broker.queue("depot")
    broker._held(queue.name)._lease = 2
    topic = broker.topic()
    for start in range(0, sent, 10):
        assert not topic.publish([message(str(start + one)) for one in range(10)])
    found: list[int] = []
    began = time.monotonic()
    while len(found) < sent:
        some = queue.receive(10, 5)
        assert some
        found += [one.receive_count for one in some]
        time.sleep(0.015)  # longer than a lease altogether
        assert not queue.delete(some)
    assert time.monotonic() - began > 2
    assert set(found) == {1}


def test_what_the_client_refuses_to_send_leaves_the_other_answers_in_their_places(
    broker: RabbitBroker,
) -> None:
    from messaging.rabbitmq.topic import Confirming
    from messaging.rabbitmq.wire import properties

    link = broker._sending
    confirming = Confirming(link, "test")
    name = broker.queue("depot").name

    def entry(queue: str, **given: str) -> tuple[str, str, bytes, object]:
        return "", queue, b"{}", properties({}, **given)  # type: ignore[arg-type]

    wrong = [(0, entry(name)), (1, entry(name, message_id="x" * 300))]
    with pytest.raises(TransportError):
        confirming.wait(confirming.send(wrong))
    for _ in range(2):
        right = [(0, entry("nowhere")), (1, entry(name))]
        failures = confirming.wait(confirming.send(right))
        assert [(one.index, one.code) for one in failures] == [(0, "Unroutable")]
    confirming.close()


def test_a_worker_receives_while_the_record_of_its_queue_is_away(broker: RabbitBroker) -> None:
    # It is a classic queue, so it is gone for as long as its node of the cluster is.
    send(broker, "1")
    queue = broker.queue("depot")
    queue._asking.call(
        lambda channel, answer: channel.queue_delete(
            f"{queue.name}-record", callback=answer.set_result
        )
    )
    assert [one.body for one in receive_all(queue, 1)] == ["1"]
    assert queue.visibility_timeout == 30
