"""What stands in for Lambda: AWS's shapes, and what a mapping does with an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import pytest

from examples.cadastro.lambda_local import Contexto, evento_http, evento_sqs, uma_vez

ARN = "arn:aws:sqs:sa-east-1:123456789012:alunos-chamada-api"


def test_a_message_is_told_as_lambda_tells_it() -> None:
    mensagem = {
        "MessageId": "m-1",
        "ReceiptHandle": "r-1",
        "MD5OfBody": "md5",
        "Body": "corpo",
        "Attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1545082649183"},
        "MessageAttributes": {
            "type": {"StringValue": "t", "DataType": "String"},
            "bin": {"BinaryValue": b"\x00\x01", "DataType": "Binary"},
        },
    }
    assert evento_sqs([mensagem], ARN) == {
        "Records": [
            {
                "messageId": "m-1",
                "receiptHandle": "r-1",
                "body": "corpo",
                "attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1545082649183"},
                "messageAttributes": {
                    "type": {
                        "stringValue": "t",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "String",
                    },
                    "bin": {
                        "binaryValue": "AAE=",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "Binary",
                    },
                },
                "md5OfBody": "md5",
                "eventSource": "aws:sqs",
                "eventSourceARN": ARN,
                "awsRegion": "sa-east-1",
            }
        ]
    }


def test_a_request_is_told_as_a_function_url_tells_it() -> None:
    evento = evento_http("POST", "/uploads", "a=1", {"content-type": "application/json"}, b"{}")

    assert (evento["version"], evento["rawPath"], evento["rawQueryString"]) == (
        "2.0", "/uploads", "a=1"
    )  # fmt: skip
    assert evento["requestContext"]["http"]["method"] == "POST"
    assert (evento["body"], evento["isBase64Encoded"]) == ("{}", False)
    assert "body" not in evento_http("GET", "/", "", {}, b"")


@pytest.fixture
def fila(sqs: Any) -> tuple[Any, str, str]:
    url = sqs.create_queue(QueueName=f"l{uuid4().hex[:8]}", Attributes={"VisibilityTimeout": "60"})[
        "QueueUrl"
    ]
    dito = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    for numero in range(4):
        sqs.send_message(QueueUrl=url, MessageBody=str(numero))
    return sqs, url, dito["Attributes"]["QueueArn"]


def ficam(sqs: Any, url: str) -> int:
    nomes: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    dito = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=nomes)["Attributes"]
    return sum(int(um) for um in dito.values())


def falham(*corpos: str) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    def handler(evento: Mapping[str, Any], contexto: Any) -> dict[str, Any]:
        assert 0 < contexto.get_remaining_time_in_millis() <= 30_000
        maus = [um["messageId"] for um in evento["Records"] if um["body"] in corpos]
        return {"batchItemFailures": [{"itemIdentifier": um} for um in maus]}

    return handler


def test_what_did_not_fail_is_deleted(fila: tuple[Any, str, str]) -> None:
    assert uma_vez(falham("1", "3"), *fila, espera=0) == 4
    assert ficam(*fila[:2]) == 2


def _quebra(evento: Mapping[str, Any], contexto: Any) -> dict[str, Any]:
    raise ValueError("anything")


@pytest.mark.parametrize(
    "handler",
    [
        _quebra,
        lambda evento, contexto: {"batchItemFailures": [{"itemIdentifier": "unknown"}]},
        lambda evento, contexto: {"batchItemFailures": [{"itemIdentifier": None}]},
        lambda evento, contexto: {"batchItemFailures": ["m"]},
        lambda evento, contexto: {},
        lambda evento, contexto: None,
    ],
)
def test_an_answer_that_cannot_be_read_leaves_the_whole_batch(
    handler: Any, fila: tuple[Any, str, str]
) -> None:
    assert uma_vez(handler, *fila, espera=0) == 4
    assert ficam(*fila[:2]) == 4


def test_an_empty_queue_invokes_nothing(fila: tuple[Any, str, str]) -> None:
    uma_vez(falham(), *fila, espera=0)
    assert uma_vez(_quebra, *fila, espera=0) == 0


def test_the_time_of_a_function_ends() -> None:
    assert Contexto(0).get_remaining_time_in_millis() == 0
