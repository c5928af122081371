"""Receives and deletes in two steps: each answer goes to its own request, or to nobody."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from benchmarks.contract import Student, Sync
from benchmarks.control import canned_server
from benchmarks.payload import CREDENTIALS, REGION, TOPIC, TOPIC_ARN
from benchmarks.subjects.ours import messages
from messaging import Settings, Worker, connect
from messaging.errors import TransportError
from messaging.readiness import readable
from messaging.runtime.under_way import UnderWay, answered
from messaging.transport import Delivery
from tests.aws.fast.conftest import Scripted, answer

TOPIC_OF_TESTS = "arn:aws:sns:us-east-1:000000000000:alunos"
URL = answer(b'{"QueueUrl": "http://127.0.0.1/000000000000/alunos-a"}')
FACTS = answer(b'{"Attributes": {"VisibilityTimeout": "30"}}')


def brought(*ids: str) -> bytes:
    found = [{"MessageId": one, "ReceiptHandle": f"r-{one}", "Body": "{}"} for one in ids]
    return answer(json.dumps({"Messages": found}).encode())


def deleted(*places: int) -> bytes:
    good = [{"Id": str(place)} for place in places]
    bad = [
        {"Id": str(place), "Code": "InternalError", "SenderFault": False}
        for place in range(2)
        if place not in places
    ]
    return answer(json.dumps({"Successful": good, "Failed": bad}).encode())


@pytest.fixture
def queue() -> Iterator[Callable[..., Any]]:
    """Makes a queue of a server that is ready: its URL and attributes, which boto3 asks for on one
    connection, are known."""
    made = []

    def make(server: Scripted, session: Any = None, **more: Any) -> Any:
        given = session or boto3.Session("a", "b", region_name="us-east-1")  # type: ignore[call-overload]  # positional keys
        settings = Settings(
            topic=TOPIC_OF_TESTS, endpoint_url=server.url, region="us-east-1", **more
        )
        made.append(connect(settings, session=given))
        found = made[-1].queue("a")
        assert found.visibility_timeout == 30
        return found

    yield make
    for one in made:
        one.close()


def hear(request: UnderWay[Any]) -> Any:
    """Wait for what is said, as the runtime does."""
    said = None
    while said is None:
        (found,) = answered({request.file: request}, 10)
        said = found.hear()
    return said


def ids(deliveries: list[Delivery]) -> list[str]:
    return [one.message_id for one in deliveries]


def late(sock: Any, *, body: bytes, until: threading.Event) -> None:
    assert until.wait(10)
    sock.sendall(body)


def test_each_answer_goes_to_its_own_request_whichever_comes_first(
    scripted: Callable[..., Scripted], queue: Callable[..., Any]
) -> None:
    go_on = threading.Event()
    server = scripted(
        [URL, FACTS],
        [lambda sock: late(sock, body=brought("first"), until=go_on)],
        [brought("second")],
        [deleted(0, 1)],
    )
    far = queue(server)
    first, second = (UnderWay(far.begin_receive(10, 0)) for _ in range(2))
    both = {one.file: one for one in (first, second)}
    assert answered(both, 10) == [second]
    received = second.hear()
    assert ids(received) == ["second"]
    assert hear(UnderWay(far.begin_delete(received))) == ()
    go_on.set()
    assert ids(hear(first)) == ["first"]


def test_a_receive_whose_connection_was_closed_is_sent_again_and_looked_at_again(
    scripted: Callable[..., Scripted], queue: Callable[..., Any]
) -> None:
    server = scripted([URL, FACTS], [brought("one"), None], [brought("two")])
    far = queue(server)
    assert ids(far.receive(10, 0)) == ["one"]
    request = UnderWay(far.begin_receive(10, 0))
    assert readable([request.file], 10)
    assert request.hear() is None, "the end was taken for an answer"
    assert ids(hear(request)) == ["two"]


def test_what_was_refused_of_a_delete_is_told(
    scripted: Callable[..., Scripted], queue: Callable[..., Any]
) -> None:
    server = scripted([URL, FACTS], [brought("a", "b"), deleted(0)])
    far = queue(server)
    both = far.receive(10, 0)
    (failure,) = hear(UnderWay(far.begin_delete(both)))
    assert (failure.index, failure.code, failure.retryable) == (1, "InternalError", True)


@pytest.mark.parametrize("nonsense", [b"{}}", b"[]", b'{"Messages": 7}'])
def test_an_answer_that_cannot_be_read_is_an_error_of_the_queue(
    scripted: Callable[..., Scripted], queue: Callable[..., Any], nonsense: bytes
) -> None:
    far = queue(scripted([URL, FACTS], [answer(nonsense)]))
    with pytest.raises(TransportError, match="receive from"):
        hear(UnderWay(far.begin_receive(10, 0)))


def test_a_request_that_is_overdue_raises_and_its_connection_is_not_used_again(
    scripted: Callable[..., Scripted], queue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging.runtime.under_way.PATIENCE", 0.1)
    never = threading.Event()
    server = scripted(
        [URL, FACTS], [lambda sock: never.wait(10), brought("late")], [brought("next")]
    )
    far = queue(server)
    request = UnderWay(far.begin_receive(10, 0))
    with pytest.raises(TransportError, match="no answer"):
        hear_or_give_up(request)
    never.set()
    assert ids(far.receive(10, 0)) == ["next"]


def hear_or_give_up(request: UnderWay[Any]) -> None:
    while not (found := answered({request.file: request}, 0.05)):
        pass
    found[0].hear()


def test_a_hook_that_answers_at_once_is_heard_without_a_socket(
    scripted: Callable[..., Scripted], queue: Callable[..., Any]
) -> None:
    class Raw:
        def stream(self) -> list[bytes]:
            return [b'{"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "{}"}]}']

    session: Any = boto3.Session("a", "b", region_name="us-east-1")  # type: ignore[call-overload]  # positional keys
    session.events.register(
        "before-send.sqs.ReceiveMessage",
        lambda request, **_: AWSResponse(request.url, 200, {}, Raw()),
    )
    far = queue(scripted([URL, FACTS]), session)
    request = UnderWay(far.begin_receive(10, 0))
    assert request.file < 0
    said = request.hear()
    assert said is not None
    assert ids(said) == ["m"]


def test_boto3_makes_them_in_one_piece(
    scripted: Callable[..., Scripted], queue: Callable[..., Any]
) -> None:
    far = queue(scripted([URL, FACTS]), transport="boto3")
    assert far.begin_receive(10, 0) is None
    assert far.begin_delete([Delivery(queue="q", message_id="m", receipt="r", body="")]) is None


def test_a_worker_drains_a_server_that_is_far_away_and_then_asks_once() -> None:
    with canned_server() as server:
        settings = Settings(topic=TOPIC_ARN, endpoint_url=server.url, region=REGION)
        session: Any = boto3.Session
        given = connect(settings, session=session(**CREDENTIALS))
        server.delay(0.02)
        server.load(f"{TOPIC}-a", 3000, messages(Student, "a"))
        with Worker(Sync(), broker=given) as worker:
            while worker.stats.acknowledged < 3000:
                time.sleep(0.01)
            counts = server.counts()
            assert counts["entries"]["DeleteMessageBatch"] == 3000
            assert counts["requests"]["DeleteMessageBatch"] <= 300 + 15
            assert counts["requests"]["ReceiveMessage"] <= 300 + 64 + 1
            assert worker.stats.received == 3000
            inner: Any = given
            assert len(inner._clients.queues._endpoint._pool._idle) >= 5
        given.close()
