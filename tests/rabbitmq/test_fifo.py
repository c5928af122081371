"""Order in groups on RabbitMQ: retries, lost connections, and programs that take over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from messaging.connecting import apply, connect
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.outcome import Retry
from messaging.publishing.publisher import Publisher
from messaging.rabbitmq import RabbitBroker
from messaging.runtime import Worker
from messaging.settings import Settings
from messaging.topology import Topology
from messaging.transport import Delivery, Outgoing
from tests.contracts.conftest import message
from tests.rabbitmq.parcels import until
from tests.rabbitmq.proxy import Cutter
from tests.rabbitmq_server import RabbitNode


class GradeChanged(Event, type="grade.changed", version=1, group="student"):
    student: str
    number: int


class Report(Consumer):
    """Keeps the order in which it handled; the first try of each seventh number fails."""

    max_receives = 20

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []

    @handles
    def changed(self, grade: GradeChanged, delivery: Delivery) -> None:
        if grade.number % 7 == 3 and delivery.receive_count == 1:
            raise Retry(delay=1)
        self.done.append((grade.student, grade.number))

    def of(self, student: str) -> list[int]:
        return list(dict.fromkeys(number for who, number in list(self.done) if who == student))


TOPOLOGY = Topology.of(Report, topic="grades.fifo", owns_topic=True)


def grouped(body: str, group: str | None) -> Outgoing:
    return replace(message(body, "grade.changed"), group=group)


@pytest.fixture
def fifo(settings: Settings) -> Settings:
    found = settings.model_copy(update={"topic": "grades.fifo"})
    apply(TOPOLOGY, found)
    return found


@pytest.fixture
def brokers(fifo: Settings) -> Iterator[list[RabbitBroker]]:
    with ExitStack() as stack:
        found = []
        for _ in range(2):
            broker = connect(fifo)
            assert isinstance(broker, RabbitBroker)
            stack.callback(broker.close)
            found.append(broker)
        yield found


def test_order_in_groups_outlives_retries_and_lost_connections(
    fifo: Settings, rabbitmq_server: RabbitNode
) -> None:
    proxy = Cutter(rabbitmq_server.port)
    through = fifo.model_copy(update={"broker_url": f"amqp://127.0.0.1:{proxy.port}"})
    report = Report()
    students = ("ana", "bia", "caio")
    with ExitStack() as stack:
        stack.callback(proxy.close)
        publishing = connect(fifo)
        stack.callback(publishing.close)
        publisher = stack.enter_context(Publisher(publishing.topic(), source="/school"))
        for _ in range(2):  # two programs, of which one is given messages at a time
            broker = connect(through)
            stack.callback(broker.close)
            stack.enter_context(Worker(report, broker=broker, wait=1))
        for part in range(3):
            publisher.publish_many(
                GradeChanged(student=student, number=number)
                for number in range(part * 10, part * 10 + 10)
                for student in students
            )
            until(lambda part=part: len(report.done) > part * 20)  # type: ignore[misc]
            proxy.cut()
        until(lambda: all(len(report.of(one)) == 30 for one in students))
        until(lambda: publishing.queue("report").depth().visible == 0)
    for student in students:
        assert report.of(student) == list(range(30))


def test_a_delayed_retry_holds_up_its_group_and_no_other(brokers: list[RabbitBroker]) -> None:
    queue = brokers[0].queue("report")
    topic = brokers[0].topic()
    assert not topic.publish([grouped("a1", "ana"), grouped("b1", "bia"), grouped("a2", "ana")])
    [first] = queue.receive(1, 2)

    assert not queue.release([first], [1])

    [other] = queue.receive(10, 2)
    assert (first.body, other.body) == ("a1", "b1")
    found = queue.receive(10, 5)
    assert [one.body for one in found] == ["a1", "a2"]
    assert [one.receive_count for one in found] == [2, 1]
    assert found[0].received_at - first.received_at >= 1


def test_another_program_takes_over_in_order_when_a_queue_is_closed(
    brokers: list[RabbitBroker],
) -> None:
    mine, theirs = (one.queue("report") for one in brokers)
    topic = brokers[0].topic()
    assert not topic.publish([grouped(str(number), "ana") for number in range(10)])
    assert mine.receive(1, 2)[0].body == "0"
    assert not theirs.receive(10, 0.3), "two programs were given messages of one group"

    mine.close()
    assert not theirs.receive(10, 0.3), "the first message is still in hand"
    brokers[0].close()

    taken = theirs.receive(10, 5)
    assert [one.body for one in taken] == [str(number) for number in range(len(taken))]
    assert len(taken) == 10


def test_a_message_without_a_group_is_refused(brokers: list[RabbitBroker]) -> None:
    failures = brokers[0].topic().publish([grouped("1", "ana"), grouped("2", None)])

    assert [(one.index, one.retryable) for one in failures] == [(1, False)]
    assert "message group" in failures[0].message


def test_what_a_stopped_worker_held_goes_on_elsewhere(brokers: list[RabbitBroker]) -> None:
    first, second = Report(), Report()
    with Publisher(brokers[1].topic(), source="/school") as publisher:
        publisher.publish_many(GradeChanged(student="ana", number=one) for one in (0, 1, 2))
        with Worker(first, broker=brokers[0], wait=1):
            until(lambda: first.of("ana") == [0, 1, 2])
        publisher.publish_many(GradeChanged(student="ana", number=one) for one in (4, 5))
    with Worker(second, broker=brokers[1], wait=1):
        until(lambda: second.of("ana") == [4, 5])
