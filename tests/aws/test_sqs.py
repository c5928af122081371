"""The queue on AWS: what a message becomes, settling in batches, dead letters, depth."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from messaging.aws import apply, connect
from messaging.aws.messages import SAFE_BATCH, deliveries, send_requests
from messaging.aws.sqs import SqsQueue
from messaging.consuming.consumer import Consumer, handles
from messaging.dead_letters import reason as dead_letter_reason
from messaging.dead_letters.reason import attributes
from messaging.errors import NotFound, TransportError
from messaging.event import Event
from messaging.topology import Topology
from messaging.transport import Attribute, CancelToken, DeadLetter, Delivery, Outgoing


class Aconteceu(Event, type="teste.aconteceu", version=1):
    numero: int


class Um(Consumer):
    visibility_timeout = 45

    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


def outgoing(body: str, **more) -> Outgoing:
    attributes = {
        "type": Attribute.array(["teste.aconteceu"]),
        "audience": Attribute.array(["*"]),
    }
    return Outgoing(id=body, body=body, attributes=attributes, size=100, **more)


def letter(delivery: Delivery, reason: str = "preço: negativo") -> DeadLetter:
    return DeadLetter(
        delivery=delivery,
        reason=reason,
        error="ValueError",
        attempts=2,
        time=1_790_000_000.0,
        queue=delivery.queue,
    )


def made_up(index: int, body: str = "{}", **more) -> Delivery:
    return Delivery(
        queue="alunos-um", message_id=f"m{index}", receipt=f"r{index}", body=body, **more
    )


@pytest.fixture(params=["alunos", "alunos.fifo"])
def topic(request) -> str:
    return request.param


@pytest.fixture
def broker(server, session, prefix, topic):
    settings = server.settings(topic=topic, prefix=prefix)
    apply(Topology.of(Um, topic=topic), settings, session=session, create_topic=True)
    broker = connect(settings, session=session)
    yield broker
    broker.close()


@pytest.fixture
def dead_letters_of(server, session):
    """The raw messages of a dead-letter queue."""
    client = session.client("sqs", endpoint_url=server.url)

    def read(queue: SqsQueue) -> list[dict]:
        plain = queue.name.removesuffix(".fifo")
        name = f"{plain}-dlq{queue.name.removeprefix(plain)}"
        return client.receive_message(
            QueueUrl=client.get_queue_url(QueueName=name)["QueueUrl"],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
            WaitTimeSeconds=1,
        ).get("Messages", [])

    yield read
    client.close()


def test_a_way_through_the_queue(broker, topic, dead_letters_of):
    fifo = {"group": "g1", "deduplication": "d1"} if topic.endswith(".fifo") else {}
    broker.topic().publish([outgoing("a", **fifo)])
    queue = broker.queue("um")
    assert queue.visibility_timeout == 45

    (first,) = queue.receive(10, 5)
    assert first.body == "a"
    assert first.queue == queue.name
    assert first.receive_count == 1
    assert first.group == fifo.get("group")
    assert 0 < first.sent_at <= first.received_at
    assert queue.depth()[:3] == (0, 1, 0)

    assert queue.change_visibility([first], [0]) == ()
    (second,) = queue.receive(10, 5)
    assert second.message_id == first.message_id
    assert second.receive_count == 2

    assert queue.dead_letter([letter(second)]) == ()
    assert queue.delete([second]) == ()
    depth = queue.depth()
    assert (depth.visible, depth.in_flight, depth.dead_letters) == (0, 0, 1)
    assert depth.oldest is None
    assert depth.undelivered == 0

    (dead,) = dead_letters_of(queue)
    attributes = {
        name: Attribute(one["DataType"], one["StringValue"])
        for name, one in dead["MessageAttributes"].items()
    }
    original, note = dead_letter_reason.read(attributes)
    assert dead["Body"] == "a"
    assert original == first.attributes
    assert note is not None
    assert (note.reason, note.error, note.attempts) == ("preço: negativo", "ValueError", 2)
    assert note.queue == queue.name
    if fifo:
        assert dead["Attributes"]["MessageGroupId"] == "g1"
        assert dead["Attributes"]["MessageDeduplicationId"] == second.message_id


def test_a_refused_receipt_is_a_value_and_the_others_are_settled(broker, topic):
    fifo = {"group": "g1", "deduplication": "d2"} if topic.endswith(".fifo") else {}
    broker.topic().publish([outgoing("a", **fifo)])
    queue = broker.queue("um")
    (good,) = queue.receive(10, 5)
    wrong = made_up(1)

    failures = queue.change_visibility([wrong, good], [30, 30])
    assert [(one.index, one.retryable) for one in failures] == [(0, False)]
    failures = queue.delete([wrong, good])
    assert [(one.index, one.code) for one in failures] == [(0, "ReceiptHandleIsInvalid")]
    assert queue.depth()[:3] == (0, 0, 0)


def test_undelivered_messages_are_counted(server, session, prefix):
    settings = server.settings(topic="alunos", prefix=prefix)
    apply(Topology.of(Um, topic="alunos"), settings, session=session, create_topic=True)
    client = session.client("sqs", endpoint_url=server.url)
    url = client.get_queue_url(QueueName=f"{prefix}alunos-um-undelivered")["QueueUrl"]
    broker = connect(settings, session=session)
    client.send_message(QueueUrl=url, MessageBody="x")
    assert broker.queue("um").depth().undelivered == 1
    client.delete_queue(QueueUrl=url)
    assert broker.queue("um").depth().undelivered == 0
    client.close()
    broker.close()


def test_a_missing_queue_says_which_where_and_what_to_do(server, session, prefix):
    broker = connect(server.settings(topic="alunos", prefix=prefix), session=session)
    with pytest.raises(NotFound) as caught:
        broker.queue("nenhum").receive(1, 0)
    said = str(caught.value)
    assert f"queue {prefix}alunos-nenhum in sa-east-1 at {server.url}" in said
    assert "messaging topology apply" in said
    broker.close()


def test_a_queue_deleted_under_way_is_missing(ministack, session, prefix):
    settings = ministack.settings(topic="alunos", prefix=prefix)
    apply(Topology.of(Um, topic="alunos"), settings, session=session, create_topic=True)
    broker = connect(settings, session=session)
    queue = broker.queue("um")
    queue.receive(1, 0)
    client = session.client("sqs", endpoint_url=ministack.url)
    client.delete_queue(QueueUrl=client.get_queue_url(QueueName=queue.name)["QueueUrl"])
    client.close()
    with pytest.raises(NotFound, match=queue.name):
        queue.receive(1, 0)
    broker.close()


def test_without_a_dead_letter_queue_the_error_says_so(ministack, session, prefix):
    client = session.client("sqs", endpoint_url=ministack.url)
    client.create_queue(QueueName=f"{prefix}alunos-um")
    client.close()
    broker = connect(ministack.settings(topic="alunos", prefix=prefix), session=session)
    queue = broker.queue("um")
    assert queue.depth().dead_letters == 0
    with pytest.raises(NotFound, match="no dead-letter queue") as caught:
        queue.dead_letter([letter(made_up(0))])
    assert "messaging topology apply" in str(caught.value)
    broker.close()


def test_another_dead_letter_queue_is_found_after_the_first_is_gone(ministack, session, prefix):
    settings = ministack.settings(topic="alunos", prefix=prefix)
    apply(Topology.of(Um, topic="alunos"), settings, session=session, create_topic=True)
    broker = connect(settings, session=session)
    queue = broker.queue("um")
    client = session.client("sqs", endpoint_url=ministack.url)
    assert queue.dead_letter([letter(made_up(0))]) == ()

    client.delete_queue(
        QueueUrl=client.get_queue_url(QueueName=f"{prefix}alunos-um-dlq")["QueueUrl"]
    )
    other = client.create_queue(QueueName=f"{prefix}other")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=other, AttributeNames=["QueueArn"])["Attributes"]
    client.set_queue_attributes(
        QueueUrl=client.get_queue_url(QueueName=queue.name)["QueueUrl"],
        Attributes={
            "RedrivePolicy": json.dumps(
                {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 5}
            )
        },
    )
    client.close()
    with pytest.raises(NotFound):
        queue.dead_letter([letter(made_up(1))])
    assert queue.dead_letter([letter(made_up(1))]) == ()
    assert queue.depth().dead_letters == 1
    broker.close()


@pytest.fixture
def scripted(wire, say, settings_of, session):
    """A queue at a wire that has told its URL and attributes."""
    wire.say("GetQueueUrl", say.json(QueueUrl="http://sqs/000000000000/alunos-um"))
    redrive = {"deadLetterTargetArn": "arn:aws:sqs:sa-east-1:999999999999:letters"}
    attributes = {"VisibilityTimeout": "30", "RedrivePolicy": json.dumps(redrive)}
    wire.say("GetQueueAttributes", say.json(Attributes=attributes))
    broker = connect(settings_of(wire), session=session)
    yield broker.queue("um")
    broker.close()


def test_a_receive_asks_for_what_it_needs(scripted, wire, say):
    blob = base64.b64encode(b"\x00\xff").decode()
    message = {
        "MessageId": "m1",
        "ReceiptHandle": "r1",
        "Body": "{}",
        "Attributes": {
            "ApproximateReceiveCount": "3",
            "SentTimestamp": "1790000000250",
            "MessageGroupId": "g",
            "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793",
        },
        "MessageAttributes": {
            "b": {"DataType": "Binary", "BinaryValue": blob},
            "s": {"DataType": "String", "StringValue": "três"},
        },
    }
    wire.say("ReceiveMessage", say.json(Messages=[message]), say.json())
    (got,) = scripted.receive(7, 0.2)
    assert scripted.receive(7, 20) == ()

    first, second = wire.asked("ReceiveMessage")
    assert first["MaxNumberOfMessages"] == 7
    assert (first["WaitTimeSeconds"], second["WaitTimeSeconds"]) == (1, 20)
    assert first["VisibilityTimeout"] == 30
    assert first["MessageAttributeNames"] == ["All"]
    assert "AWSTraceHeader" in first["MessageSystemAttributeNames"]
    assert got.attributes["b"] == Attribute("Binary", b"\x00\xff")
    assert got.attributes["s"] == Attribute("String", "três")
    assert (got.receive_count, got.sent_at, got.group) == (3, 1_790_000_000.25, "g")
    assert got.trace_header == "Root=1-5759e988-bd862e3fe1be46a994272793"


def test_the_queues_own_words_are_asked_for_once(scripted, wire, say):
    wire.say("ReceiveMessage", say.json())
    for _ in range(3):
        scripted.receive(10, 0)
        assert scripted.visibility_timeout == 30
    assert len(wire.asked("GetQueueAttributes")) == 1
    # The queue's, and its dead-letter queue's in the account of that one.
    ours, letters = wire.asked("GetQueueUrl")
    assert ours == {"QueueName": "alunos-um"}
    assert letters == {"QueueName": "letters", "QueueOwnerAWSAccountId": "999999999999"}


@pytest.mark.parametrize("operation", ["delete", "change_visibility"])
def test_each_answer_is_taken_by_what_it_says(scripted, wire, say, operation):
    action = {"delete": "DeleteMessageBatch", "change_visibility": "ChangeMessageVisibilityBatch"}[
        operation
    ]
    good = say.json(Successful=[{"Id": "0"}, {"Id": "1"}])
    refused = {"Id": "1", "Code": "InternalError", "SenderFault": False}
    partly = say.json(Successful=[{"Id": "0"}], Failed=[refused])
    silent = say.json(Successful=[{"Id": "0"}])
    wire.say(action, good, good, partly, silent, good, good, (500, good[1]), good)

    def refusals(count: int) -> list[int]:
        some = [made_up(index) for index in range(count)]
        found = (
            scripted.delete(some)
            if operation == "delete"
            else scripted.change_visibility(some, [0] * count)
        )
        return [one.index for one in found]

    assert [refusals(2) for _ in range(4)] == [[], [], [1], [1]]
    assert refusals(3) == [2], "the same answer to another question"
    assert refusals(2) == []
    with pytest.raises(TransportError):
        refusals(2)
    assert refusals(2) == []


@pytest.mark.parametrize("operation", ["delete", "change_visibility", "dead_letter"])
def test_nothing_is_no_request_and_eleven_are_an_error(scripted, wire, operation):
    def call(count: int):
        some = [made_up(index) for index in range(count)]
        if operation == "delete":
            return scripted.delete(some)
        if operation == "change_visibility":
            return scripted.change_visibility(some, [0] * count)
        return scripted.dead_letter([letter(one) for one in some])

    assert call(0) == ()
    with pytest.raises(TransportError, match="11 entries") as caught:
        call(11)
    assert not caught.value.retryable
    assert {action for action, _ in wire.requests} <= {"GetQueueUrl", "GetQueueAttributes"}


def test_big_letters_go_in_several_requests_and_keep_their_places(scripted, wire, say):
    big = "x" * 100_000
    wire.say(
        "SendMessageBatch",
        say.json(Successful=[{"Id": "0", "MessageId": "m"}, {"Id": "1", "MessageId": "m"}]),
        say.json(Failed=[{"Id": "2", "Code": "InternalError", "SenderFault": False}]),
    )
    failures = scripted.dead_letter([letter(made_up(index, big)) for index in range(3)])
    assert [(one.index, one.retryable) for one in failures] == [(2, True)]
    first, second = wire.asked("SendMessageBatch")
    assert [entry["Id"] for entry in first["Entries"]] == ["0", "1"]
    assert [entry["Id"] for entry in second["Entries"]] == ["2"]


def test_requests_are_split_by_bytes_of_body_and_attributes():
    def size(entry: dict) -> int:
        return len(entry["MessageBody"].encode()) + sum(
            len(name.encode()) + len(one["DataType"]) + len(one["StringValue"].encode())
            for name, one in entry["MessageAttributes"].items()
        )

    letters = [letter(made_up(i, "ã" * 30_000), "é" * 1000) for i in range(10)]
    copies = [(one.delivery, attributes(one)) for one in letters]
    parts = list(send_requests(copies, fifo=False))
    assert [int(entry["Id"]) for part in parts for entry in part] == list(range(10))
    assert all(sum(map(size, part)) <= SAFE_BATCH for part in parts)
    assert all(
        sum(map(size, part)) + size(after[0]) > SAFE_BATCH for part, after in pairwise(parts)
    )
    alone = list(send_requests([(made_up(0, "x" * 300_000), {})], fifo=False))
    assert [len(part) for part in alone] == [1]


def test_a_binary_attribute_goes_to_the_dead_letters_as_it_is(scripted, wire, say):
    wire.say("SendMessageBatch", say.json(Successful=[{"Id": "0", "MessageId": "m"}]))
    blob = Attribute("Binary", b"\x00\xff")
    assert scripted.dead_letter([letter(made_up(0, attributes={"b": blob}))]) == ()
    (request,) = wire.asked("SendMessageBatch")
    sent = request["Entries"][0]["MessageAttributes"]
    assert base64.b64decode(sent["b"]["BinaryValue"]) == b"\x00\xff"
    assert sent["b"]["DataType"] == "Binary"


def test_a_letter_of_a_standard_queue_keeps_its_tenant(scripted, wire, say):
    wire.say("SendMessageBatch", say.json(Successful=[{"Id": "0", "MessageId": "m"}]))
    assert scripted.dead_letter([letter(made_up(0, group="escola-7"))]) == ()
    ((entry,),) = (one["Entries"] for one in wire.asked("SendMessageBatch"))
    assert entry["MessageGroupId"] == "escola-7"
    assert "MessageDeduplicationId" not in entry


def test_a_closed_queue_is_not_used_again(scripted):
    scripted.close()
    with pytest.raises(TransportError, match="was closed") as caught:
        scripted.receive(1, 0)
    assert not caught.value.retryable


# -- what is seldom asked of a message is read when it is asked

MESSAGE = {
    "MessageId": "m",
    "ReceiptHandle": "r",
    "Body": "Ana",
    "Attributes": {
        "ApproximateReceiveCount": "3",
        "SentTimestamp": "1764000000500",
        "MessageGroupId": "ana",
    },
    "MessageAttributes": {"type": {"DataType": "String", "StringValue": "x"}},
}


def test_a_received_message_is_a_delivery_like_any_other() -> None:
    [one] = deliveries("q", [MESSAGE], started=4.0, ended=5.0)
    made = Delivery(
        queue="q",
        message_id="m",
        receipt="r",
        body="Ana",
        attributes={"type": Attribute.string("x")},
        receive_count=3,
        sent_at=1764000000.5,
        received_at=5.0,
        group="ana",
        receive=one.receive,
    )
    assert one.receive is not None
    assert (one.receive.started, one.receive.ended, one.receive.count) == (4.0, 5.0, 1)
    assert dataclasses.asdict(one) | {"cancel_token": None} == dataclasses.asdict(made) | {
        "cancel_token": None
    }
    assert one == made
    assert made == one
    assert one != dataclasses.replace(made, body="Bia")
    assert one != "m"
    assert repr(one) == repr(made)
    [other] = deliveries("q", [MESSAGE], started=4.0, ended=5.0)
    assert copy.copy(other).cancel_token is other.cancel_token
    assert dataclasses.replace(one, receipt="s").group == "ana"
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.body = "Bia"  # type: ignore[misc]
    [bare] = deliveries("q", [{"MessageId": "m", "ReceiptHandle": "r"}], started=4.0, ended=5.0)
    assert (bare.body, bare.receive_count, bare.sent_at, bare.group) == ("", 1, 0.0, None)
    assert not bare.attributes


def test_two_threads_that_ask_for_the_cancel_token_at_once_have_the_same() -> None:
    with ThreadPoolExecutor(2) as threads:
        for _ in range(200):
            [one] = deliveries("q", [MESSAGE], started=4.0, ended=5.0)
            together = threading.Barrier(2)
            asked = [threads.submit(_token, one, together) for _ in range(2)]
            first, second = (answer.result() for answer in asked)
            assert first is second is one.cancel_token


def _token(one: Delivery, together: threading.Barrier) -> CancelToken:
    together.wait()
    return one.cancel_token
