"""No request gets the answer to another: a connection with an answer to come is not used again.

Each server here answers its first request late. If a connection whose request was given up were
used again, every answer after that would be one behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

from messaging.aws import connect
from messaging.aws.bounded import Bounded
from messaging.aws.fast import FastQueueCalls, FastTopicCalls
from messaging.errors import PublishError
from messaging.publishing.publisher import Publisher
from messaging.settings import Settings
from messaging.transport import Outgoing
from tests.aws.fast.conftest import Scripted, answer
from tests.scripted import Noted

ARN = "arn:aws:sns:us-east-1:000000000000:alunos"
URL = "http://127.0.0.1/000000000000/q"
SHORT = 0.2
"""Seconds of a read timeout: the first answer never comes before."""


def client(service: str, url: str) -> tuple[Any, Any]:
    session: Any = boto3.Session("a", "b", region_name="us-east-1")  # type: ignore[call-overload]  # positional keys
    config = Config(read_timeout=SHORT, retries={"total_max_attempts": 1})
    return session.client(service, endpoint_url=url, config=config), session


def late(*bodies: bytes) -> list[list[Any]]:
    """Scripts of a server that answers the first request only while the second one waits.

    That is on the first connection, where each answer would be one behind. On any other, the
    second request gets the second answer.
    """
    first, *rest = [answer(body) for body in bodies]
    return [[lambda connection: None, first, *rest], rest, rest]


def outgoing(many: int) -> list[Outgoing]:
    return [Outgoing(id=f"e{n}", body="{}", attributes={}, size=2) for n in range(many)]


def accepted(*places: int) -> bytes:
    good = "".join(f"<member><MessageId>m</MessageId><Id>{n}</Id></member>" for n in places)
    bad = "".join(
        f"<member><Id>{n}</Id><Code>InternalError</Code><SenderFault>false</SenderFault></member>"
        for n in range(2)
        if n not in places
    )
    return (
        f"<PublishBatchResponse><PublishBatchResult><Failed>{bad}</Failed><Successful>{good}"
        "</Successful></PublishBatchResult></PublishBatchResponse>".encode()
    )


def deleted(*places: int) -> bytes:
    failed = [{"Id": str(n), "Code": "InternalError"} for n in range(2) if n not in places]
    return json.dumps({"Successful": [{"Id": str(n)} for n in places], "Failed": failed}).encode()


def brought(name: str) -> bytes:
    one = {"MessageId": name, "ReceiptHandle": f"r-{name}", "Body": "{}"}
    return json.dumps({"Messages": [one]}).encode()


def test_a_publish_that_timed_out_does_not_answer_for_the_next(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(*late(accepted(0, 1), accepted(0), accepted(1), accepted(0, 1)))
    topics = FastTopicCalls(*client("sns", server.url), Bounded())
    with pytest.raises(ReadTimeoutError):
        topics.publish(ARN, outgoing(2))
    refused = [[one.index for one in topics.publish(ARN, outgoing(2))] for _ in range(3)]
    topics.close()
    assert refused == [[1], [0], []]


def test_a_publish_begun_that_timed_out_does_not_answer_for_the_next(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(*late(accepted(0, 1), accepted(0), accepted(1)))
    topics = FastTopicCalls(*client("sns", server.url), Bounded())
    steps = topics.begin(ARN, outgoing(2))
    next(steps)
    with pytest.raises(ReadTimeoutError):
        next(steps)
    refused = [[one.index for one in topics.publish(ARN, outgoing(2))] for _ in range(2)]
    topics.close()
    assert refused == [[1], [0]]


@pytest.mark.parametrize("how", ["close", "throw", "forget"])
def test_a_publish_given_up_between_its_steps_does_not_answer_for_the_next(
    scripted: Callable[..., Scripted], how: str
) -> None:
    server = scripted(*late(accepted(0, 1), accepted(0), accepted(1)))
    topics = FastTopicCalls(*client("sns", server.url), Bounded())
    steps = topics.begin(ARN, outgoing(2))
    next(steps)
    if how == "close":
        steps.close()
    elif how == "throw":
        with pytest.raises(KeyboardInterrupt):
            steps.throw(KeyboardInterrupt())
    else:
        del steps
    refused = [[one.index for one in topics.publish(ARN, outgoing(2))] for _ in range(2)]
    topics.close()
    assert refused == [[1], [0]]


def test_a_receive_that_timed_out_does_not_answer_for_the_next(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(*late(brought("first"), brought("second"), brought("third")))
    queues = FastQueueCalls(*client("sqs", server.url))

    def receive() -> list[str]:
        return [one["MessageId"] for one in queues.receive(URL, limit=1, wait=0, lease=30)]

    with pytest.raises(ReadTimeoutError):
        receive()
    assert [receive(), receive()] == [["second"], ["third"]]
    queues.close()


@pytest.mark.parametrize("action", ["delete", "change_visibility"])
def test_a_settlement_that_timed_out_does_not_answer_for_the_next(
    scripted: Callable[..., Scripted], action: str
) -> None:
    server = scripted(*late(deleted(0, 1), deleted(0), deleted(1)))
    queues = FastQueueCalls(*client("sqs", server.url))

    def settle() -> list[int]:
        more = ([1, 1],) if action == "change_visibility" else ()
        return [one.index for one in getattr(queues, action)(URL, ["r0", "r1"], *more)]

    with pytest.raises(ReadTimeoutError):
        settle()
    assert [settle(), settle()] == [[1], [0]]
    queues.close()


def test_a_receive_that_timed_out_does_not_answer_a_delete(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(*late(brought("lost"), deleted(0), deleted(1)))
    queues = FastQueueCalls(*client("sqs", server.url))
    with pytest.raises(ReadTimeoutError):
        queues.receive(URL, limit=1, wait=0, lease=30)
    refused = [[one.index for one in queues.delete(URL, ["r0", "r1"])] for _ in range(2)]
    queues.close()
    assert refused == [[1], [0]]


def test_a_publish_whose_deadline_passed_does_not_answer_for_the_next(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted(*late(accepted(0, 1), accepted(0, 1), accepted(0, 1)))
    session: Any = boto3.Session("a", "b", region_name="us-east-1")  # type: ignore[call-overload]  # positional keys
    broker = connect(
        Settings(topic=ARN, endpoint_url=server.url, region="us-east-1"), session=session
    )
    broker._clients.topics  # noqa: B018 - boto3's models load slowly on a busy machine
    made = Publisher(broker.topic(), source="/t")
    with pytest.raises(PublishError, match="Timeout"):
        made.publish_many([Noted(number=0), Noted(number=1)], timeout=SHORT)
    assert made.publish_many([Noted(number=2), Noted(number=3)]).accepted == 2
    broker.close()
    assert server.asked() == [0, 1], "the connection was used again"


def test_a_good_answer_does_not_answer_for_a_later_one(
    scripted: Callable[..., Scripted],
) -> None:
    server = scripted([answer(deleted(0, 1)), answer(deleted(0)), answer(deleted(0, 1))])
    queues = FastQueueCalls(*client("sqs", server.url))
    refused = [[one.index for one in queues.delete(URL, ["r0", "r1"])] for _ in range(3)]
    queues.close()
    assert refused == [[], [1], []]
