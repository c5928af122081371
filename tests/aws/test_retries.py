"""Who retries: the publisher as often as it was told, botocore never; look-ups, botocore's own."""

from __future__ import annotations

import pytest

from messaging.aws import connect
from messaging.errors import PublishError, TransportError
from messaging.event import Event
from messaging.publishing.publisher import Publisher
from messaging.transport import Attribute, Delivery, Outgoing


class Aconteceu(Event, type="teste.aconteceu", version=1):
    numero: int


class NoWaiting:
    """A clock whose sleeps take no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return 1_790_000_000.0

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


MESSAGE = Outgoing(
    id="e1", body="{}", attributes={"type": Attribute.array(["teste.aconteceu"])}, size=50
)
DELIVERY = Delivery(queue="alunos-um", message_id="m1", receipt="r1", body="{}")


@pytest.mark.parametrize("status", [500, 503])
def test_one_publish_is_one_request_whatever_comes_back(wire, say, settings_of, session, status):
    wire.say("PublishBatch", say.sns_error("InternalError", status=status))
    broker = connect(settings_of(wire), session=session)

    with pytest.raises(TransportError) as caught:
        broker.topic().publish([MESSAGE])

    broker.close()
    assert caught.value.retryable
    assert len(wire.asked("PublishBatch")) == 1


@pytest.mark.parametrize("attempts", [1, 3, 5])
def test_the_publishers_attempts_are_the_requests(wire, say, settings_of, session, attempts):
    wire.say("PublishBatch", say.sns_error("ServiceUnavailable", status=503))
    clock = NoWaiting()
    broker = connect(settings_of(wire), session=session)
    publisher = Publisher(broker.topic(), source="/teste", max_attempts=attempts, clock=clock)

    with publisher, pytest.raises(PublishError):
        publisher.publish(Aconteceu(numero=1))

    broker.close()
    assert len(wire.asked("PublishBatch")) == attempts
    assert len(clock.slept) == attempts - 1


def test_only_what_was_refused_for_now_is_sent_again(wire, say, settings_of, session):
    refused = [(1, "InternalError", False), (2, "InvalidParameter", True)]
    wire.say("PublishBatch", say.batch([0], refused), say.batch([0]))
    broker = connect(settings_of(wire), session=session)
    publisher = Publisher(broker.topic(), source="/teste", clock=NoWaiting())

    with publisher, pytest.raises(PublishError) as caught:
        publisher.publish_many([Aconteceu(numero=n) for n in range(3)])

    broker.close()
    assert [failed.index for failed in caught.value.result.failed] == [2]
    assert caught.value.result.accepted == 2
    first, second = wire.asked("PublishBatch")
    entry = "PublishBatchRequestEntries.member."
    assert second[f"{entry}1.Message"] == first[f"{entry}2.Message"]
    assert f"{entry}2.Message" not in second


@pytest.mark.parametrize("action", ["ReceiveMessage", "DeleteMessageBatch"])
def test_the_hot_calls_of_a_queue_are_one_request_each(wire, say, settings_of, session, action):
    wire.say("GetQueueUrl", say.json(QueueUrl=f"{wire.url}/000000000000/alunos-um"))
    wire.say("GetQueueAttributes", say.json(Attributes={"VisibilityTimeout": "30"}))
    wire.say(action, say.sqs_error("InternalError", status=500))
    broker = connect(settings_of(wire), session=session)
    queue = broker.queue("um")

    with pytest.raises(TransportError) as caught:
        queue.receive(10, 0) if action == "ReceiveMessage" else queue.delete([DELIVERY])

    broker.close()
    assert caught.value.retryable
    assert len(wire.asked(action)) == 1


def test_a_look_up_is_tried_again_by_botocore(wire, say, settings_of, session):
    wire.say("GetQueueUrl", say.json(QueueUrl=f"{wire.url}/000000000000/alunos-um"))
    wire.say(
        "GetQueueAttributes",
        say.sqs_error("InternalError", status=500),
        say.json(Attributes={"VisibilityTimeout": "45"}),
    )
    broker = connect(settings_of(wire), session=session)

    assert broker.queue("um").visibility_timeout == 45

    broker.close()
    assert len(wire.asked("GetQueueAttributes")) == 2
