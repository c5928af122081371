"""The in-process broker where it goes beyond the suite of all transports (tests/contracts/).

Its clock, the limits that no local server keeps, faults on demand, and threads.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.errors import NotFound, Throttled, TopologyError, TransportError
from messaging.event import Event
from messaging.memory import MemoryBroker, MemoryQueue, Operation
from messaging.memory.filters import policy
from messaging.outcome import RetryPolicy
from messaging.testing import FakeClock
from messaging.topology import Topology
from messaging.transport import (
    Attribute,
    Broker,
    DeadLetter,
    Delivery,
    Failure,
    Outgoing,
    QueueTransport,
    TopicTransport,
)


class ParcelSent(Event, type="parcel.sent", version=1):
    number: int


class Depot(Consumer):
    retry = RetryPolicy(max_attempts=2)
    visibility_timeout = 30
    max_receives = 3

    @handles
    def sent(self, parcel: ParcelSent) -> None: ...


class Customs(Consumer):
    @handles
    def sent(self, parcel: ParcelSent) -> None: ...


TOPOLOGY = Topology.of(Depot, Customs, topic="parcels")
FIFO = Topology.of(Depot, topic="parcels.fifo")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(clock: FakeClock) -> MemoryBroker:
    return MemoryBroker(TOPOLOGY, clock=clock)


@pytest.fixture
def queue(broker: MemoryBroker) -> MemoryQueue:
    return broker.queue("depot")


def message(body: str = "1", **more: Any) -> Outgoing:
    attributes = {"type": Attribute.string("parcel.sent"), "audience": Attribute.array(["*"])}
    attributes |= more.pop("attributes", {})
    return Outgoing(id="1", body=body, attributes=attributes, size=0, **more)


def publish(broker: MemoryBroker, *bodies: str) -> Sequence[Failure]:
    return broker.topic().publish([message(body) for body in bodies])


def one(queue: MemoryQueue) -> Delivery:
    [delivery] = queue.receive(1, 0)
    return delivery


def bodies(messages: Sequence[Any]) -> list[str]:
    return [found.body for found in messages]


def test_it_is_what_the_library_asks_for(broker: MemoryBroker) -> None:
    whole: Broker = broker
    topic: TopicTransport = broker.topic()
    queue: QueueTransport = broker.queue("depot")

    assert isinstance(whole, Broker)
    assert (topic.max_bytes, queue.visibility_timeout) == (262_144, 30)


# -- time -----------------------------------------------------------------------------------------


def test_lease_ends_by_the_clock(
    broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock
) -> None:
    publish(broker, "1")
    one(queue)

    clock.advance(29.9)
    assert queue.receive(1, 0) == []

    clock.advance(0.1)
    assert one(queue).receive_count == 2


def test_hide_counts_from_now(broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock) -> None:
    publish(broker, "1")
    delivery = one(queue)
    clock.advance(20)

    assert not queue.change_visibility([delivery], [30])

    clock.advance(29)
    assert queue.receive(1, 0) == []
    clock.advance(1)
    assert one(queue).receive_count == 2


def test_hide_may_shorten(broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock) -> None:
    publish(broker, "1")

    queue.change_visibility([one(queue)], [5])

    clock.advance(5)
    assert one(queue).receive_count == 2


def test_hide_after_the_lease_is_refused(
    broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock
) -> None:
    publish(broker, "1")
    delivery = one(queue)
    clock.advance(30)

    [failure] = queue.change_visibility([delivery], [30])

    assert (failure.code, failure.retryable) == ("MessageNotInflight", False)


def test_hide_of_a_deleted_message_is_refused(broker: MemoryBroker, queue: MemoryQueue) -> None:
    publish(broker, "1")
    delivery = one(queue)
    queue.delete([delivery])

    [failure] = queue.change_visibility([delivery], [30])

    assert (failure.code, failure.retryable) == ("InvalidParameterValue", False)


def test_twelve_hours_count_from_the_receive(
    broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock
) -> None:
    publish(broker, "1")
    delivery = one(queue)
    assert not queue.change_visibility([delivery], [43_200])
    clock.advance(200)

    [failure] = queue.change_visibility([delivery], [43_001])

    assert failure.code == "InvalidParameterValue"
    assert not queue.change_visibility([delivery], [43_000])
    clock.advance(43_000)
    assert not queue.change_visibility(
        [one(queue)], [43_200]
    )  # another receive, another twelve hours


@pytest.mark.parametrize("seconds", [-1, 43_201])
def test_hide_takes_0_to_12_hours(broker: MemoryBroker, queue: MemoryQueue, seconds: int) -> None:
    publish(broker, "1")

    [failure] = queue.change_visibility([one(queue)], [seconds])

    assert (failure.index, failure.code) == (0, "InvalidParameterValue")


def test_hide_wants_a_time_for_each_delivery(broker: MemoryBroker, queue: MemoryQueue) -> None:
    publish(broker, "1")

    with pytest.raises(ValueError, match="1 deliveries, but 2 times"):
        queue.change_visibility([one(queue)], [1, 2])


def test_late_delete_still_deletes_while_nobody_else_has_it(
    broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock
) -> None:
    publish(broker, "1")
    delivery = one(queue)
    clock.advance(30)

    assert not queue.delete([delivery])
    assert not queue.delete([delivery])  # deleting what is gone is no failure

    assert broker.messages("depot") == ()
    assert queue.receive(1, 0) == []


def test_renewals_leave_nothing_behind(
    broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock
) -> None:
    publish(broker, "1", "2")
    first, second = queue.receive(2, 0)
    for _ in range(500):
        clock.advance(1)
        queue.change_visibility([first, second], [30, 60])

    assert queue.depth()[:3] == (0, 2, 0)
    clock.advance(30)
    assert bodies(queue.receive(10, 0)) == ["1"]
    clock.advance(30)
    assert sorted(bodies(queue.receive(10, 0))) == ["1", "2"]


def test_every_one_of_many_leases_ends(
    broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock
) -> None:
    sent = sorted(str(number) for number in range(200))
    for body in sent:
        publish(broker, body)
    hidden = [delivery for _ in range(20) for delivery in queue.receive(10, 0)]
    assert sorted(bodies(hidden)) == sent

    clock.advance(30)

    again = [delivery for _ in range(20) for delivery in queue.receive(10, 0)]
    assert sorted(bodies(again)) == sent


def test_times_are_those_of_the_clock(
    broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock
) -> None:
    publish(broker, "1")
    sent = clock.now()
    clock.advance(7)

    delivery = one(queue)

    assert (delivery.sent_at, delivery.received_at) == (sent, sent + 7)
    assert queue.depth().oldest == 7


def test_delayed_message_waits(broker: MemoryBroker, queue: MemoryQueue, clock: FakeClock) -> None:
    broker.send("depot", "later", delay=5)

    assert queue.receive(1, 0) == []
    assert queue.depth()[:3] == (0, 0, 1)
    clock.advance(5)
    assert one(queue).body == "later"
    assert queue.depth()[:3] == (0, 1, 0)


def test_poll_notices_that_a_clock_is_advanced(clock: FakeClock) -> None:
    begun = threading.Event()
    broker = MemoryBroker(TOPOLOGY, clock=clock, faults=lambda operation: begun.set())
    queue = broker.queue("depot")
    publish(broker, "1")
    one(queue)
    begun.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.receive, 1, 20)
        assert begun.wait(10)
        clock.advance(10)
        clock.advance(20)

        [again] = waiting.result(timeout=10)

    assert again.receive_count == 2


def test_poll_on_a_clock_that_stands_still_ends_in_real_time(queue: MemoryQueue) -> None:
    assert queue.receive(1, 0.05) == []


def test_poll_wakes_when_a_lease_ends_on_the_system_clock() -> None:
    class Hasty(Customs):
        service = "hasty"
        visibility_timeout = 1

    broker = MemoryBroker(Topology.of(Hasty, topic="parcels"))
    queue = broker.queue("hasty")
    publish(broker, "1")
    one(queue)
    started = time.monotonic()

    [again] = queue.receive(1, 20)

    assert again.receive_count == 2
    assert time.monotonic() - started < 15


# -- dead letters ---------------------------------------------------------------------------------


def test_redrive_comes_with_the_receive_that_is_one_too_many(
    broker: MemoryBroker, queue: MemoryQueue
) -> None:
    publish(broker, "poison", "good")
    for _ in range(3):
        for delivery in queue.receive(10, 0):
            queue.change_visibility([delivery], [0]) if delivery.body == "poison" else queue.delete(
                [delivery]
            )
    assert bodies(broker.dead_letters("depot")) == []

    assert queue.receive(10, 0) == []

    [letter] = broker.dead_letters("depot")
    assert (letter.body, letter.state, letter.receive_count) == ("poison", "visible", 3)
    assert broker.messages("depot") == ()


def test_redriven_message_does_not_stand_in_the_way(
    broker: MemoryBroker, queue: MemoryQueue
) -> None:
    publish(broker, "poison")
    for _ in range(3):
        queue.change_visibility([one(queue)], [0])
    publish(broker, "next")

    assert one(queue).body == "next"


def test_a_dead_letter_at_the_size_limit_goes_without_its_reason(
    broker: MemoryBroker, queue: MemoryQueue
) -> None:
    broker.send("depot", "x" * 1_048_576)
    broker.send("depot", "y" * 1_048_577)  # more than any queue takes
    broker.send("depot", "small")
    letters = [
        DeadLetter(delivery=each, reason="r", error=None, attempts=1, time=0.0, queue="q")
        for each in queue.receive(3, 0)
    ]

    [failure] = queue.dead_letter(letters)

    assert (failure.index, failure.retryable) == (1, False)
    there = broker.dead_letters("depot")
    assert [(one.body[0], bool(one.attributes)) for one in there] == [("x", False), ("s", True)]


# -- limits of SNS that no local server keeps -----------------------------------------------------


@pytest.mark.parametrize("wrong", ["\x00", "\x0b", "\x1f", "\ufffe", "\ud800"])
def test_characters_outside_xml_are_refused_by_entry(broker: MemoryBroker, wrong: str) -> None:
    topic = broker.topic()
    in_attribute = {"note": Attribute.string("\x08")}

    failures = topic.publish(
        [message(f"a{wrong}"), message("good"), message("b", attributes=in_attribute)]
    )

    assert [(each.index, each.retryable) for each in failures] == [(0, False), (2, False)]
    assert wrong not in "".join(each.message for each in failures)
    assert bodies(broker.messages("depot")) == ["good"]


def test_empty_body_is_refused(broker: MemoryBroker) -> None:
    [failure] = publish(broker, "")

    assert failure.code == "InvalidParameter"


def test_request_that_is_too_large_is_refused_whole(broker: MemoryBroker) -> None:
    attributes = sum(each.size(name) for name, each in message().attributes.items())
    half = "é" * ((131_072 - attributes) // 2)
    half += "x" * (131_072 - attributes - len(half.encode()))
    assert not publish(broker, half, half)  # to the byte

    with pytest.raises(TransportError, match="takes 262,144") as refused:
        publish(broker, half, half + "x")

    assert not refused.value.retryable
    assert len(broker.messages("depot")) == 2


def test_more_than_ten_attributes_are_dropped_without_a_word(broker: MemoryBroker) -> None:
    many = {f"a{number}": Attribute.string("x") for number in range(9)}

    assert not broker.topic().publish([message("dropped", attributes=many), message("kept")])

    assert bodies(broker.messages("depot")) == ["kept"]


@pytest.mark.parametrize(("limit", "wait"), [(0, 0), (11, 0), (1, -1), (1, 21)])
def test_receive_takes_what_sqs_takes(queue: MemoryQueue, limit: int, wait: float) -> None:
    with pytest.raises(TransportError, match="SQS") as refused:
        queue.receive(limit, wait)

    assert not refused.value.retryable


# -- FIFO -----------------------------------------------------------------------------------------


def test_deduplication_ends_after_five_minutes(clock: FakeClock) -> None:
    broker = MemoryBroker(FIFO, clock=clock)
    topic = broker.topic()
    for _ in range(2):
        assert not topic.publish([message("1", group="g", deduplication="d")])
    clock.advance(299)
    assert not topic.publish([message("2", group="g", deduplication="d")])
    clock.advance(1)
    assert not topic.publish([message("3", group="g", deduplication="d")])

    assert bodies(broker.messages("depot")) == ["1", "3"]


def test_expired_fifo_receipt_cannot_delete(clock: FakeClock) -> None:
    broker = MemoryBroker(FIFO, clock=clock)
    queue = broker.queue("depot")
    broker.topic().publish([message("1", group="g", deduplication="1")])
    delivery = one(queue)
    clock.advance(30)

    [failure] = queue.delete([delivery])

    assert failure.code == "InvalidParameterValue"
    assert one(queue).receive_count == 2


def test_fifo_messages_of_one_group_come_together_in_order(clock: FakeClock) -> None:
    broker = MemoryBroker(FIFO, clock=clock)
    queue = broker.queue("depot")
    broker.topic().publish(
        [
            message(f"{group}{n}", group=group, deduplication=f"{group}{n}")
            for n in range(3)
            for group in "ab"
        ]
    )

    first, second = queue.receive(2, 0)
    others = queue.receive(10, 0)

    assert bodies([first, second]) == ["a0", "a1"]
    assert bodies(others) == ["b0", "b1", "b2"]
    queue.delete([second])
    assert queue.receive(10, 0) == []  # a0 is still in flight
    queue.change_visibility([first], [0])
    assert bodies(queue.receive(10, 0)) == ["a0", "a2"]


# -- faults on demand -----------------------------------------------------------------------------


def test_request_fails_on_demand_as_often_as_asked(broker: MemoryBroker) -> None:
    broker.fail_next("publish", times=2)

    for _ in range(2):
        with pytest.raises(TransportError) as failed:
            publish(broker, "lost")
        assert failed.value.retryable
    assert not publish(broker, "1")
    assert bodies(broker.messages("depot")) == ["1"]


def test_error_of_ones_own(broker: MemoryBroker, queue: MemoryQueue) -> None:
    broker.fail_next("receive", service="depot", error=Throttled("slowly", code="Slow"))

    assert broker.queue("customs").receive(1, 0) == []
    with pytest.raises(Throttled, match="slowly"):
        queue.receive(1, 0)


def test_entries_fail_on_demand_and_the_others_are_done(
    broker: MemoryBroker, queue: MemoryQueue
) -> None:
    publish(broker, "0", "1", "2")
    deliveries = queue.receive(10, 0)
    nonsense = Delivery(queue="q", message_id="x", receipt="nonsense", body="")
    broker.fail_next("delete", entries=[0, 2, 9], code="Busy")

    failures = queue.delete([*deliveries, nonsense])

    assert [(each.index, each.code, each.retryable) for each in failures] == [
        (0, "Busy", True),
        (2, "Busy", True),
        (3, "ReceiptHandleIsInvalid", False),
    ]
    assert bodies(broker.messages("depot")) == ["0", "2"]


def test_lost_answer_leaves_the_work_done(broker: MemoryBroker, queue: MemoryQueue) -> None:
    broker.fail_next("publish", lost=True)
    with pytest.raises(TransportError):
        publish(broker, "1")
    assert bodies(broker.messages("depot")) == ["1"]

    broker.fail_next("receive", lost=True)
    with pytest.raises(TransportError):
        queue.receive(1, 0)
    assert [each.state for each in broker.messages("depot")] == ["in flight"]


def test_answer_that_lies(broker: MemoryBroker) -> None:
    broker.fail_next("publish", entries=[1], lost=True)

    failures = publish(broker, "0", "1")

    assert [each.index for each in failures] == [1]
    assert bodies(broker.messages("depot")) == ["0", "1"]


def test_undelivered_messages_end_beside_the_queue(broker: MemoryBroker) -> None:
    broker.fail_next("deliver", service="depot")

    assert not publish(broker, "0", "1")

    assert bodies(broker.messages("depot")) == ["1"]
    assert bodies(broker.undelivered("depot")) == ["0"]
    assert bodies(broker.messages("customs")) == ["0", "1"]
    assert broker.queue("depot").depth().undelivered == 1


def test_faults_of_ones_own_see_every_request(clock: FakeClock) -> None:
    seen: list[Operation] = []
    broker = MemoryBroker(TOPOLOGY, clock=clock, faults=seen.append)
    queue = broker.queue("depot")

    publish(broker, "1", "2")
    queue.delete(queue.receive(10, 0))
    queue.delete([])  # no request

    assert [(each.name, each.entries, each.stage) for each in seen] == [
        ("publish", 2, "before"),
        ("deliver", 1, "before"),
        ("deliver", 1, "before"),
        ("deliver", 1, "before"),
        ("deliver", 1, "before"),
        ("publish", 2, "after"),
        ("receive", 10, "before"),
        ("receive", 10, "after"),
        ("delete", 2, "before"),
        ("delete", 2, "after"),
    ]
    assert {each.target for each in seen} == {"parcels", "parcels-depot", "parcels-customs"}


# -- a queue or a topic that is gone --------------------------------------------------------------


def test_unknown_service_is_told_with_a_remedy(broker: MemoryBroker) -> None:
    with pytest.raises(NotFound, match=r"'sales': this topology has depot, customs.*Topology\.of"):
        broker.queue("sales")


def test_what_is_published_for_a_removed_queue_is_kept(broker: MemoryBroker) -> None:
    broker.remove("parcels-depot")

    assert not publish(broker, "1")

    assert bodies(broker.undelivered("depot")) == ["1"]
    assert bodies(broker.messages("customs")) == ["1"]
    with pytest.raises(NotFound, match="parcels-depot"):
        broker.queue("depot").receive(1, 0)


def test_removed_queue_wakes_who_waits(broker: MemoryBroker, queue: MemoryQueue) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.receive, 1, 20)
        broker.remove("parcels-depot")

        with pytest.raises(NotFound):
            waiting.result(timeout=10)


def test_only_what_is_there_can_be_removed(broker: MemoryBroker) -> None:
    with pytest.raises(NotFound, match="'sales'"):
        broker.remove("sales")


# -- closing, threads, looking in -----------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_close_wakes_who_waits(whole: bool) -> None:
    begun = threading.Event()
    broker = MemoryBroker(TOPOLOGY, faults=lambda operation: begun.set())
    queue = broker.queue("depot")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.receive, 1, 20)
        assert begun.wait(10)

        (broker if whole else queue).close()

        assert waiting.result(timeout=10) == []


def test_no_message_is_lost_or_given_twice_among_threads() -> None:
    broker = MemoryBroker(TOPOLOGY)
    taken: Counter[str] = Counter()
    counted = threading.Lock()

    def produce(part: int) -> None:
        topic = broker.topic()
        for number in range(0, 200, 10):
            topic.publish([message(f"{part}-{each}") for each in range(number, number + 10)])

    def consume(_: int) -> None:
        queue = broker.queue("depot")
        for turn in itertools.count():
            with counted:
                if len(taken) == 400:
                    return
            deliveries = queue.receive(10, 0.05)
            if turn % 3 == 0 and all(each.receive_count == 1 for each in deliveries):
                assert not queue.change_visibility(deliveries, [0] * len(deliveries))
                continue
            assert not queue.delete(deliveries)
            with counted:
                taken.update(bodies(deliveries))

    with ThreadPoolExecutor(5) as pool:
        work = [
            *(pool.submit(produce, part) for part in range(2)),
            *(pool.submit(consume, number) for number in range(3)),
        ]
        for each in work:
            each.result(timeout=30)

    assert set(taken.values()) == {1}
    dead = len(broker.dead_letters("depot"))
    assert (len(taken), dead, broker.messages("depot")) == (400, 0, ())


def test_looking_in_changes_nothing(broker: MemoryBroker, queue: MemoryQueue) -> None:
    publish(broker, "secret", "other")
    one(queue)

    [first, second] = broker.messages("depot")

    assert (first.body, first.state, first.receive_count) == ("secret", "in flight", 1)
    assert (second.body, second.state, second.receive_count) == ("other", "visible", 0)
    assert first.attributes["type"] == Attribute.string("parcel.sent")
    assert "secret" not in repr(first)
    assert queue.depth()[:3] == (1, 1, 0)


def test_messages_put_straight_into_a_queue_pass_no_filter(broker: MemoryBroker) -> None:
    sent = broker.send("depot", "no JSON")

    assert [each.message_id for each in broker.messages("depot")] == [sent]
    assert broker.messages("customs") == ()


# -- filter policies ------------------------------------------------------------------------------

TEXT = {"word": Attribute.string("tennis")}
ARRAY = {"word": Attribute.array(["rugby", "tennis"])}


@pytest.mark.parametrize(
    ("document", "attributes", "wanted"),
    [
        (None, {}, True),
        ({}, {}, True),
        ({"word": ["tennis"]}, TEXT, True),
        ({"word": ["football", "tennis"]}, TEXT, True),
        ({"word": ["tennis"]}, ARRAY, True),
        ({"word": ["tenni"]}, TEXT, False),
        ({"word": ["Tennis"]}, TEXT, False),
        ({"word": ["tennis"]}, {}, False),
        ({"word": ["tennis"], "other": ["x"]}, TEXT, False),
        ({"word": ["tennis"]}, {"word": Attribute.array([])}, False),
        ({"word": ["tennis"]}, {"word": Attribute("String.Array", "broken [")}, False),
        ({"word": ["1"]}, {"word": Attribute("String.Array", "[1, true, null]")}, False),
        ({"word": ["tennis"]}, {"word": Attribute("Binary", b"tennis")}, False),
        ({"word": [{"prefix": "ten"}]}, TEXT, True),
        ({"word": [{"prefix": "ten"}]}, ARRAY, True),
        ({"word": [{"prefix": "nis"}]}, TEXT, False),
        ({"word": [{"prefix": "ten"}]}, {}, False),
        ({"word": [{"anything-but": "tennis"}]}, TEXT, False),
        ({"word": [{"anything-but": "tennis"}]}, ARRAY, True),
        ({"word": [{"anything-but": ["tennis", "rugby"]}]}, ARRAY, False),
        ({"word": [{"anything-but": "rugby"}]}, {}, False),
        ({"word": [{"anything-but": {"prefix": "ten"}}]}, TEXT, False),
        ({"word": [{"anything-but": {"prefix": "rug"}}]}, TEXT, True),
        ({"word": [{"exists": True}]}, TEXT, True),
        ({"word": [{"exists": True}]}, {}, False),
        ({"word": [{"exists": False}]}, TEXT, False),
        ({"word": [{"exists": False}]}, {}, True),
        ({"word": ["football", {"prefix": "ten"}]}, TEXT, True),
    ],
)
def test_filter_policy(document: Any, attributes: dict[str, Attribute], wanted: bool) -> None:
    assert policy(document)(attributes) is wanted


@pytest.mark.parametrize("rule", [{"numeric": ["=", 1]}, {"cidr": "10.0.0.0/8"}, 1, ["x"]])
def test_filter_rule_that_is_not_played_is_told(rule: Any) -> None:
    with pytest.raises(TopologyError, match=r"'word'.*exact strings, prefix"):
        policy({"word": [rule]})
