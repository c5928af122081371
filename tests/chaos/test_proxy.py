"""The proxy: forwards what it does not hurt, and each fault looks as AWS or a network makes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from messaging.errors import ConfigurationError
from messaging.local import LocalServer
from tests.chaos.proxy import RATES, FaultyProxy
from tests.chaos.rewriting import entries_of, operation_of, with_failed, without


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


def client(server: LocalServer, url: str, service: Any = "sqs") -> Any:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=10)
    session = boto3.Session(**server.credentials)
    return session.client(service, endpoint_url=url, config=config)


@pytest.fixture
def queue(server: LocalServer, request: pytest.FixtureRequest) -> str:
    name = f"q-{abs(hash(request.node.name))}"
    url: str = client(server, server.url).create_queue(QueueName=name)["QueueUrl"]
    return url


def batch(queue: str) -> dict[str, Any]:
    entries = [{"Id": str(at), "MessageBody": f"body {at}"} for at in range(5)]
    return {"QueueUrl": queue, "Entries": entries}


def waiting(server: LocalServer, queue: str) -> int:
    answer = client(server, server.url).get_queue_attributes(
        QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def test_without_faults_everything_passes(server: LocalServer, queue: str) -> None:
    with FaultyProxy(server.url, seed=1, rates={}) as proxy:
        sqs = client(server, proxy.url)
        assert len(sqs.send_message_batch(**batch(queue))["Successful"]) == 5
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
        assert {one["Body"] for one in found} == {f"body {at}" for at in range(5)}
    assert not proxy.injected
    assert proxy.requests["SendMessageBatch"] == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("error", "InternalFailure"),
        ("unavailable", "ServiceUnavailable"),
        ("throttled", "ThrottlingException"),
    ],
)
def test_a_refusal_is_that_of_the_service(
    server: LocalServer, queue: str, fault: str, code: str
) -> None:
    with FaultyProxy(server.url, seed=1, rates={fault: 1.0}) as proxy:
        for service, call in (("sqs", "send_message_batch"), ("sns", "publish_batch")):
            given = batch(queue)
            if service == "sns":
                entries = [{"Id": "a", "Message": "text"}]
                topic = "arn:aws:sns:us-east-1:000000000000:none"
                given = {"TopicArn": topic, "PublishBatchRequestEntries": entries}
            with pytest.raises(ClientError) as caught:
                getattr(client(server, proxy.url, service), call)(**given)
            assert caught.value.response["Error"]["Code"] == code
    assert waiting(server, queue) == 0
    assert proxy.injected[fault] == 2


@pytest.mark.parametrize(("fault", "sent"), [("reset before", 0), ("reset after", 5)])
def test_a_broken_connection_tells_nothing(
    server: LocalServer, queue: str, fault: str, sent: int
) -> None:
    with (
        FaultyProxy(server.url, seed=1, rates={fault: 1.0}) as proxy,
        pytest.raises(ConnectionClosedError),
    ):
        client(server, proxy.url).send_message_batch(**batch(queue))
    assert waiting(server, queue) == sent


@pytest.mark.parametrize("fault", ["refused", "lied"])
def test_a_batch_fails_in_part(server: LocalServer, queue: str, fault: str) -> None:
    with FaultyProxy(server.url, seed=2, rates={fault: 1.0}) as proxy:
        sqs = client(server, proxy.url)
        answer = sqs.send_message_batch(**batch(queue))
        failed = {one["Id"] for one in answer["Failed"]}
        done = {one["Id"] for one in answer.get("Successful", ())}
        assert failed
        assert failed | done == {str(at) for at in range(5)}
        assert not failed & done
        proxy.calm()
        assert not sqs.send_message_batch(**batch(queue)).get("Failed")
    assert waiting(server, queue) == (len(done) if fault == "refused" else 5) + 5


@pytest.mark.parametrize("fault", ["refused", "lied"])
def test_a_publish_fails_in_part(server: LocalServer, queue: str, fault: str) -> None:
    topic = client(server, server.url, "sns").create_topic(Name=f"t-{fault}")["TopicArn"]
    entries = [{"Id": str(at), "Message": f"text {at} & <more>"} for at in range(10)]
    with FaultyProxy(server.url, seed=3, rates={fault: 1.0}) as proxy:
        answer = client(server, proxy.url, "sns").publish_batch(
            TopicArn=topic, PublishBatchRequestEntries=entries
        )
    failed = {one["Id"] for one in answer["Failed"]}
    done = {one["Id"] for one in answer["Successful"]}
    assert failed
    assert failed | done == {str(at) for at in range(10)}
    assert answer["Failed"][0]["SenderFault"] is False


def test_a_request_that_moves_nothing_is_not_hurt(server: LocalServer, queue: str) -> None:
    with FaultyProxy(server.url, seed=1, rates={"error": 1.0}) as proxy:
        name = queue.rpartition("/")[2]
        assert client(server, proxy.url).get_queue_url(QueueName=name)["QueueUrl"]
    assert not proxy.injected


def test_the_rates_are_known_faults(server: LocalServer) -> None:
    assert sum(RATES.values()) < 0.5
    with pytest.raises(ConfigurationError, match="no such fault: gremlins"):
        FaultyProxy(server.url, seed=1, rates={"gremlins": 1.0})


def test_entries_of_a_form_are_numbered_anew() -> None:
    body = (
        b"Action=PublishBatch&PublishBatchRequestEntries.member.1.Id=a"
        b"&PublishBatchRequestEntries.member.1.Message=one"
        b"&PublishBatchRequestEntries.member.2.Id=b"
        b"&PublishBatchRequestEntries.member.2.Message=two%20%26"
    )
    assert operation_of("", body) == "PublishBatch"
    assert entries_of("PublishBatch", body) == ["a", "b"]
    left = without(body, ["a"])
    assert left is not None
    assert b"member.1.Id=b" in left
    assert b"member.2" not in left
    assert b"two+%26" in left
    assert without(body, ["a", "b"]) is None


def test_a_response_of_json_has_the_failed_apart() -> None:
    response = b'{"Successful": [{"Id": "a"}, {"Id": "b"}]}'
    content = json.loads(with_failed(response, ["b"]))
    assert [one["Id"] for one in content["Successful"]] == ["a"]
    assert [one["Id"] for one in content["Failed"]] == ["b"]
    assert operation_of("AmazonSQS.DeleteMessageBatch", b"{}") == "DeleteMessageBatch"
    assert entries_of("ReceiveMessage", b"{}") == ()
