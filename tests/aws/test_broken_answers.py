"""Whatever SNS and SQS answer: no thread ends, no bare exception, everything is accounted for."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
import pytest

from messaging.aws import connect, messages
from messaging.aws.broker import AwsBroker
from messaging.aws.sqs import SqsQueue
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import PublishError, TransportError
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import PublishResult
from messaging.runtime.worker import Worker
from messaging.settings import Settings
from messaging.testing import FakeClock
from messaging.transport import DeadLetter, Delivery
from tests.aws.broken import (
    ENTRIES,
    JSON_ENTRIES,
    MESSAGES,
    SENT_ENTRIES,
    WHOLE,
    Answer,
    Answers,
    Kind,
    good,
    http,
    message,
)
from tests.scripted import Noted, ScriptedTopic

ARN = "arn:aws:sns:us-east-1:000000000000:alunos"
PUBLISHED = [*WHOLE, *ENTRIES, *SENT_ENTRIES]
SETTLED = [*WHOLE, *ENTRIES, *JSON_ENTRIES]
DEAD = [*SETTLED, *SENT_ENTRIES]
(NOTHING,) = (kind for kind in ENTRIES if kind.name == "nothing of any")


@pytest.fixture(scope="module")
def server() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


@pytest.fixture(scope="module", params=["fast", "boto3"])
def broker(request: pytest.FixtureRequest, server: Answers) -> Iterator[AwsBroker]:
    session: Any = boto3.Session("a", "b", region_name="us-east-1")
    settings = Settings(
        topic=ARN, endpoint_url=server.url, region="us-east-1", transport=request.param
    )
    made = connect(settings, session=session)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def afresh(server: Answers) -> None:
    server.reset()


@pytest.fixture
def queue(broker: AwsBroker) -> SqsQueue:
    made = broker.queue("um")
    assert made.visibility_timeout == 30
    return made


def publisher(broker: AwsBroker) -> Publisher:
    return Publisher(broker.topic(), source="/t", max_attempts=2, timeout=3600, clock=FakeClock())


def notes(many: int) -> list[Noted]:
    return [Noted(number=number) for number in range(many)]


def said(call: Callable[[], Any]) -> tuple[Any, str]:
    """What `call` returns, and the text of the error of ours that it raises instead."""
    try:
        return call(), ""
    except TransportError as error:
        return None, str(error)


def named(*kinds: Sequence[Kind]) -> Any:
    every = [kind for some in kinds for kind in some]
    return pytest.mark.parametrize("kind", every, ids=str)


def test_there_are_enough_kinds_and_each_has_a_name_of_its_own() -> None:
    names = [kind.name for kind in DEAD] + [name for name, _, _ in MESSAGES]
    assert len(WHOLE) + len(ENTRIES) >= 55
    assert len({kind.name for kind in DEAD}) == len(DEAD)
    assert len(names) > 100


# -- publishing


def forever(kind: Kind) -> list[Answer]:
    """The answer, and no better one to any further attempt."""
    return [kind.answer] if kind in WHOLE else [kind.answer, NOTHING.answer]


@named(PUBLISHED)
def test_publish_raises_its_own_error_and_goes_on(
    server: Answers, broker: AwsBroker, kind: Kind
) -> None:
    server.say["PublishBatch"] = forever(kind)
    made = publisher(broker)
    if 0 in kind.accepted:  # one event is entry 0
        made.publish(Noted(number=1))
    else:
        with pytest.raises(PublishError) as caught:
            made.publish(Noted(number=1), id="n1")
        ((failed,), text) = caught.value.result.failed, str(caught.value)
        assert failed.id == "n1"
        assert failed.code
        assert "\n" not in text
    server.reset()
    assert made.publish(Noted(number=1)).copies == 1


@named(PUBLISHED)
def test_publish_many_accounts_for_every_event(
    server: Answers, broker: AwsBroker, kind: Kind
) -> None:
    server.say["PublishBatch"] = forever(kind)
    with publisher(broker) as made, pytest.raises(PublishError) as caught:
        made.publish_many(notes(3))
    result = caught.value.result
    assert isinstance(result, PublishResult)
    assert (result.consumed, result.accepted) == (3, len(kind.accepted))
    assert {failed.index for failed in result.failed} == {0, 1, 2} - kind.accepted
    assert all(failed.code and failed.reason for failed in result.failed)
    if kind not in WHOLE:
        assert all(failed.unknown for failed in result.failed)


@named(ENTRIES, SENT_ENTRIES)
def test_what_an_answer_does_not_say_is_sent_again_and_nothing_else(
    server: Answers, broker: AwsBroker, kind: Kind
) -> None:
    server.say["PublishBatch"] = [kind.answer, good]
    with publisher(broker) as made:
        assert made.publish_many(notes(3)).accepted == 3
    first, second = server.asked("PublishBatch")
    assert len(first) == 3
    assert len(second) == 3 - len(kind.accepted)


@named(PUBLISHED)
def test_a_buffer_settles_every_future_and_goes_on(
    server: Answers, broker: AwsBroker, kind: Kind
) -> None:
    server.say["PublishBatch"] = forever(kind)
    told: list[str] = []
    with publisher(broker).buffered(linger=10, on_failure=lambda one: told.append(one.id)) as made:
        pending = [made.publish(note, id=f"n{note.number}") for note in notes(3)]
        assert made.flush(10)
        failed = {n for n, one in enumerate(pending) if one.exception(0) is not None}
        assert failed == {0, 1, 2} - kind.accepted
        assert all(isinstance(pending[n].exception(0), PublishError) for n in failed)
        assert told == [f"n{n}" for n in sorted(failed)]
        server.reset()
        later = made.publish(Noted(number=9))
        assert made.flush(10)
        assert later.result(0).copies == 1


# -- settling


def deliveries() -> list[Delivery]:
    return [
        Delivery(queue="alunos-um", message_id=f"m{n}", receipt=f"r{n}", body="{}")
        for n in range(3)
    ]


def dead_letter(queue: SqsQueue) -> Any:
    return queue.dead_letter(
        [
            DeadLetter(delivery=one, reason="r", error=None, attempts=1, time=0.0, queue="q")
            for one in deliveries()
        ]
    )


def settled(call: Callable[[], Any], kind: Kind) -> None:
    """What was not plainly accepted is a failure of its place, or nobody answered at all."""
    failures, error = said(call)
    if error:
        # boto3's own parser gives up a whole answer where an entry is no object.
        assert not kind.accepted or kind in JSON_ENTRIES
        assert "\n" not in error
        return
    assert sorted(one.index for one in failures) == sorted({0, 1, 2} - kind.accepted)
    assert all(one.retryable and one.code and "\n" not in one.code for one in failures)


@named(SETTLED)
def test_delete_says_what_is_still_there(server: Answers, queue: SqsQueue, kind: Kind) -> None:
    server.say["DeleteMessageBatch"] = [kind.answer]
    settled(lambda: queue.delete(deliveries()), kind)
    server.reset()
    assert queue.delete(deliveries()) == ()


@named(SETTLED)
def test_hide_says_what_keeps_its_lease(server: Answers, queue: SqsQueue, kind: Kind) -> None:
    server.say["ChangeMessageVisibilityBatch"] = [kind.answer]
    settled(lambda: queue.change_visibility(deliveries(), [0, 1, 2]), kind)
    server.reset()
    assert queue.change_visibility(deliveries(), [0, 1, 2]) == ()


@named(DEAD)
def test_dead_letter_says_what_has_no_copy(server: Answers, queue: SqsQueue, kind: Kind) -> None:
    server.say["SendMessageBatch"] = [kind.answer]
    settled(lambda: dead_letter(queue), kind)
    server.reset()
    assert dead_letter(queue) == ()


# -- receiving


@named(WHOLE)
def test_receive_of_an_answer_that_cannot_be_read_is_an_error_of_ours(
    server: Answers, queue: SqsQueue, kind: Kind
) -> None:
    server.say["ReceiveMessage"] = [kind.answer]
    taken, error = said(lambda: queue.receive(10, 0))
    assert taken == () if not error else "\n" not in error
    server.say["ReceiveMessage"] = [answer([message(0)])]
    assert [one.message_id for one in queue.receive(10, 0)] == ["m0"]


def answer(messages: Any) -> Answer:
    body = json.dumps({"Messages": messages}).encode()
    return lambda ids, xml: http(body)


@pytest.mark.parametrize("messages", [5, "m", {"MessageId": "m"}, True], ids=repr)
def test_messages_that_are_no_list_are_an_error_of_ours(
    server: Answers, queue: SqsQueue, messages: Any
) -> None:
    server.say["ReceiveMessage"] = [answer(messages)]
    with pytest.raises(TransportError, match="the answer cannot be read"):
        queue.receive(10, 0)


@pytest.mark.parametrize(("what", "odd", "whole"), MESSAGES, ids=[one[0] for one in MESSAGES])
def test_a_message_that_lacks_something_is_left_and_the_others_are_handled(
    server: Answers,
    queue: SqsQueue,
    caplog: pytest.LogCaptureFixture,
    what: str,
    odd: Any,
    whole: bool,
) -> None:
    server.say["ReceiveMessage"] = [answer([message(0), odd, message(2)])]
    with caplog.at_level(logging.WARNING, "messaging.aws"):
        taken, error = said(lambda: queue.receive(10, 0))
        if error:  # boto3's own parser gives up the whole answer
            assert "the answer cannot be read" in error
            assert type(queue._clients.queues).__name__ == "BotoQueueCalls"
            return
        for one in taken:  # whatever is read of them later
            assert one.receive_count >= 1
            assert one.sent_at >= 0
            assert one.group is None or isinstance(one.group, str)
            assert dict(one.attributes) == {}
            assert one.body in ("{}", "")
    assert [one.message_id for one in taken] == (["m0", "m1", "m2"] if whole else ["m0", "m2"])
    if not whole:
        (line,) = caplog.messages
        assert "was not handled: it is redelivered" in line
        assert "\n" not in line
        has_id = isinstance(odd, dict) and odd.get("MessageId") == "m1"
        assert line.startswith("message m1 of" if has_id else "message without an id of")


# -- looking


@named(WHOLE)
@pytest.mark.parametrize("action", ["GetQueueUrl", "GetQueueAttributes"])
def test_depth_is_counted_or_an_error_of_ours(
    server: Answers, broker: AwsBroker, action: str, kind: Kind
) -> None:
    server.say[action] = [kind.answer]
    fresh = broker.queue("dois")
    _, error = said(fresh.depth)
    assert "\n" not in error
    server.reset()
    assert fresh.depth().visible == 1


@pytest.mark.parametrize(
    "attributes",
    [
        *(None, [], "x", {"VisibilityTimeout": None}, {"VisibilityTimeout": "soon"}),
        *({"RedrivePolicy": "{"}, {"RedrivePolicy": "[]"}, {"RedrivePolicy": "{}"}),
        {"RedrivePolicy": '{"deadLetterTargetArn": 5}'},
        {"RedrivePolicy": '{"deadLetterTargetArn": "q"}'},
        {"ApproximateNumberOfMessages": "many"},
    ],
    ids=repr,
)
def test_attributes_of_another_form_are_an_error_of_ours(
    server: Answers, broker: AwsBroker, attributes: Any
) -> None:
    body = json.dumps({"Attributes": attributes}).encode()
    server.say["GetQueueAttributes"] = [lambda ids, xml: http(body)]
    fresh = broker.queue("dois")
    depth, error = said(fresh.depth)
    if attributes in (None, []) and not error:  # which boto3 itself may take for none
        assert depth.visible == 0
    else:
        assert "the answer cannot be read" in error


# -- a whole worker


class Office(Consumer):
    name = "um"

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.done = threading.Event()

    @handles
    def noted(self, note: Noted) -> None:
        self.handled.append(note.number)
        if note.number == LAST:
            self.done.set()


LAST = 999
FEW = [kind for kind in WHOLE if kind.name in ("JSON null", "JSON list", "bad UTF-8", "HTML")]
ODD = SETTLED[len(WHOLE) :]


def test_a_worker_outlives_every_broken_answer(server: Answers, broker: AwsBroker) -> None:
    def whole(number: int) -> Any:
        topic = ScriptedTopic()
        Publisher(topic, source="/t").publish(Noted(number=number))
        body = topic.accepted[0].body
        return message(number, Body=body, MessageId=f"w{number}")

    broken = [
        *(kind.answer for kind in FEW),
        *(answer([odd]) for _, odd, can_be_handled in MESSAGES if not can_be_handled),
        *(answer([]) for _ in ODD),
    ]
    receives: list[Answer] = []
    for number, one in enumerate(broken):  # one failure each, not many in succession
        receives += [one, answer([whole(number)])]
    server.say["ReceiveMessage"] = [*receives, answer([whole(LAST)]), answer([])]
    server.say["DeleteMessageBatch"] = [*(kind.answer for kind in [*FEW, *ODD]), good]
    office = Office()
    with Worker(office, broker=broker, wait=0) as worker:
        assert office.done.wait(30), "the worker no longer receives"
        end = time.monotonic() + 20
        while worker.stats.in_flight:
            assert time.monotonic() < end, "the worker no longer settles"
            time.sleep(0.01)
        stats = worker.stats
    assert sorted(office.handled) == [*range(len(broken)), LAST]
    assert stats.balanced
    assert stats.received == len(office.handled) == stats.acknowledged + stats.expired
    assert len(server.asked("DeleteMessageBatch")) > len(FEW)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"type": {"DataType": "String", "StringValue": "aluno.saiu"}}, "aluno.saiu"),
        ({"type": {"DataType": "Binary", "BinaryValue": b"x"}}, None),
        ({"type": {"DataType": "String", "StringValue": ""}}, ""),
        ({"type": {"DataType": "String", "StringValue": 7}}, None),
        ({"type": "aluno.saiu"}, None),
        ({"other": {"DataType": "String", "StringValue": "x"}}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
    ids=["text", "bytes", "empty", "number", "no object", "another", "none", "null", "a list"],
)
def test_the_type_of_a_message_is_told_as_its_attribute_says(attributes: Any, said: Any) -> None:
    message = {"MessageId": "1", "ReceiptHandle": "r", "Body": "{}"}
    (delivery,) = messages.deliveries(
        "q", [message | {"MessageAttributes": attributes}], started=0.5, ended=1.0
    )
    assert delivery.event_type == said
    given = delivery.attributes.get("type")
    assert said == (given.value if given and isinstance(given.value, str) else None)


def test_metrics_that_ask_for_the_type_of_each_message_pay_for_no_other_attribute() -> None:
    """Making all of them cost a sixth of what a message costs."""
    text = {"DataType": "String", "StringValue": "aluno.saiu"}
    message = {"MessageId": "1", "ReceiptHandle": "r", "Body": "{}"}
    (delivery,) = messages.deliveries(
        "q", [message | {"MessageAttributes": {"type": text}}], started=0.5, ended=1.0
    )
    assert delivery.event_type == "aluno.saiu"
    assert "attributes" not in vars(delivery)
