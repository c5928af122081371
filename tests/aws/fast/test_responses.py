"""Answers: the quick look at a PublishBatch answer never says more than a full reading would."""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from messaging.aws.answers import batch_failures
from messaging.aws.fast.pool import Reply
from messaging.aws.fast.responses import all_accepted, json_answer, messages, understood

SESSION: Any = boto3.Session("a", "b", region_name="us-east-1")  # type: ignore[call-overload]  # positional keys
SNS, SQS = SESSION.client("sns"), SESSION.client("sqs")
XMLNS = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"'


def reply(body: str | bytes, status: int = 200, head: bytes = b"") -> Reply:
    return Reply(status, head, body.encode() if isinstance(body, str) else body, keep=True)


def document(accepted: list[int], failed: str = "<Failed/>", between: str = "") -> str:
    members = between.join(
        f"<member><MessageId>m</MessageId><Id>{place}</Id></member>" for place in accepted
    )
    return (
        f"<PublishBatchResponse {XMLNS}><PublishBatchResult>{failed}<Successful>{members}"
        "</Successful></PublishBatchResult><ResponseMetadata><RequestId>r</RequestId>"
        "</ResponseMetadata></PublishBatchResponse>"
    )


def refused(place: int, text: str) -> str:
    return (
        f"<member><Id>{place}</Id><Code>InternalError</Code><Message>{escape(text)}</Message>"
        "<SenderFault>false</SenderFault></member>"
    )


@given(
    count=st.integers(1, 10),
    accepted=st.lists(st.integers(0, 10), max_size=11),
    failed=st.lists(st.integers(0, 10), max_size=3),
    text=st.text("<Id>0/Failed&;!-[CDATA member", max_size=30),
    between=st.sampled_from(["", "\n  "]),
)
def test_all_accepted_is_said_only_where_no_entry_failed(
    count: int, accepted: list[int], failed: list[int], text: str, between: str
) -> None:
    refusals = "".join(refused(place, text) for place in failed)
    said = reply(document(accepted, f"<Failed>{refusals}</Failed>", between))
    answer = understood(SNS, "PublishBatch", said)
    plain = sorted(accepted) == list(range(count)) and not failed
    assert all_accepted(said, count) == plain
    if plain:
        assert batch_failures(answer, range(count), "SNS") == ()


@pytest.mark.parametrize("failed", ["", "<Failed/>", "<Failed></Failed>"])
def test_an_empty_list_of_failures_may_be_written_in_any_way(failed: str) -> None:
    assert all_accepted(reply(document([0, 1], failed)), 2)


@pytest.mark.parametrize(
    "body",
    [
        document([0]).replace("<Successful>", "<!--<Successful>").replace("</Res", "--></Res"),
        document([]).replace("<RequestId>", "<RequestId><![CDATA[<member><Id>0</Id></member>]]>"),
        document([0], f"<Failed>{refused(0, '')}</Failed>"),
        document([], f"<Failed >{refused(0, '')}</Failed >"),
        document([0, 0]),
        document([1]),
        document([0])[:-30],
        "<Answer>" + document([0]),
        document([0]).replace("<MessageId>m</MessageId>", ""),
        "<html>502</html>",
        "",
    ],
)
def test_what_is_not_plain_is_read_in_full(body: str) -> None:
    assert not all_accepted(reply(body), 1)


def test_a_status_that_is_no_success_is_never_a_success() -> None:
    assert not all_accepted(reply(document([0]), status=500), 1)


def test_a_refusal_of_sns_is_the_exception_that_boto3_raises() -> None:
    error = "<Error><Code>NotFound</Code><Message>m</Message></Error>"
    body = f"<ErrorResponse {XMLNS}>{error}</ErrorResponse>"
    with pytest.raises(ClientError) as caught:
        understood(SNS, "PublishBatch", reply(body, 404))
    assert caught.value.response["Error"]["Code"] == "NotFound"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize("status", [300, 307])
def test_an_address_that_sends_us_elsewhere_has_not_answered(status: int) -> None:
    with pytest.raises(ClientError):
        understood(SNS, "PublishBatch", reply(document([0]), status))
    with pytest.raises(ClientError):
        json_answer(SQS, "ReceiveMessage", reply("{}", status))


def test_any_status_below_300_is_an_answer_as_it_is_to_boto3() -> None:
    assert understood(SNS, "PublishBatch", reply(document([0]), 299))["Successful"]


def test_a_refusal_of_sqs_keeps_the_code_of_the_query_protocol() -> None:
    body = json.dumps({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "m"})
    head = b"x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender\r\n"
    with pytest.raises(ClientError) as caught:
        json_answer(SQS, "ReceiveMessage", reply(body, 400, head))
    error = caught.value.response["Error"]
    assert error["Code"] in {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}


@pytest.mark.parametrize("body", ["", "<html/>", "[]", '{"Messages": [', "null", b"\xff"])
def test_an_answer_of_sqs_that_is_no_json_object_is_none(body: str | bytes) -> None:
    with pytest.raises(ResponseParserError):
        json_answer(SQS, "ReceiveMessage", reply(body))


def test_binary_values_come_as_they_are_and_no_messages_as_an_empty_list() -> None:
    values = {"a": {"DataType": "Binary", "BinaryValue": "AP8="}, "b": {"StringValue": "AP8="}}
    said = reply(json.dumps({"Messages": [{"Body": "b", "MessageAttributes": values}, {}]}))
    first, second = messages(SQS, said)
    assert first["MessageAttributes"]["a"]["BinaryValue"] == "AP8="
    assert first["MessageAttributes"]["b"]["StringValue"] == "AP8="
    assert second == {}
    assert messages(SQS, reply("{}")) == messages(SQS, reply('{"Messages": null}')) == []


@pytest.mark.parametrize(("id", "accepted"), [("m-1", True), ("", False)])
def test_an_acceptance_has_a_message_id(id: str, accepted: bool) -> None:
    body = (
        "<PublishBatchResponse><PublishBatchResult><Failed/><Successful><member>"
        f"<MessageId>{id}</MessageId><Id>0</Id></member></Successful></PublishBatchResult>"
        "</PublishBatchResponse>"
    )
    assert all_accepted(Reply(200, b"", body.encode(), True), 1) is accepted


@pytest.mark.parametrize("accepted", [[0, 0], [0, 2], [1, 2], [0], [0, 1, 2]])
def test_an_answer_about_other_entries_than_were_sent_is_no_success(accepted: list[int]) -> None:
    assert all_accepted(reply(document([0, 1])), 2) is True
    assert all_accepted(reply(document([1, 0])), 2) is True
    assert all_accepted(reply(document(accepted)), 2) is False
