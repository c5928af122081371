"""The four fast calls: publish, receive, delete and change_visibility, each one request.

A receive, a delete and a change of visibility may be repeated: messages of a lost receive become
visible again after their lease, and the others have the same effect twice. Only the publisher
repeats a publish, because it keeps the event's id and waits between attempts; here it is sent again
only if it could not be sent completely.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from messaging.aws.answers import batch_failures
from messaging.aws.bounded import Bounded
from messaging.aws.fast.endpoint import Endpoint, EndpointOperation
from messaging.aws.fast.pool import Reply
from messaging.aws.fast.requests import RequestForms
from messaging.aws.fast.responses import all_accepted, json_answer, messages, understood
from messaging.aws.messages import SYSTEM_ATTRIBUTES
from messaging.transport import BATCH_ENTRIES, Failure, Outgoing

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

__all__ = ["FastQueueCalls", "FastTopicCalls"]

_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_JSON = "application/x-amz-json-1.0"
_SNS_SAMPLE = ("publish_batch", {"TopicArn": "arn", "PublishBatchRequestEntries": []})
_SQS_SAMPLE = ("receive_message", {"QueueUrl": "url"})
_DELETED = tuple(
    b"[%b]" % b",".join(b'{"Id":"%d","ReceiptHandle":%%b}' % place for place in range(count))
    for count in range(BATCH_ENTRIES + 1)
)
"""Templates for the entries of a DeleteMessageBatch by their number, without the receipts."""


class FastTopicCalls:
    """PublishBatch, to the endpoint that `client` would use."""

    def __init__(self, client: SNSClient, session: boto3.Session, bounded: Bounded) -> None:
        self._endpoint = Endpoint(client, session, sample=_SNS_SAMPLE, bounded=bounded)
        self._form = RequestForms()
        self._publish = EndpointOperation(
            self._endpoint, "PublishBatch", headers={"Content-Type": _FORM}, repeatable=False
        )

    def publish(self, arn: str, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Returns the refused entries."""
        return self._refused(self._endpoint.exchange(self._publish, self._form(arn, batch)), batch)

    def begin(self, arn: str, batch: Sequence[Outgoing]) -> Generator[int, None, Sequence[Failure]]:
        """`publish` in two steps: sent when it yields the number of the socket to look at."""
        sent = self._endpoint.send(self._publish, self._form(arn, batch))
        return self._refused((yield from self._endpoint.steps(sent)), batch)

    def _refused(self, reply: Reply, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        if all_accepted(reply, len(batch)):
            return ()
        answer = understood(self._endpoint.client, "PublishBatch", reply)
        return batch_failures(answer, range(len(batch)), "SNS", sent=True)

    def close(self) -> None:
        self._endpoint.close()


class FastQueueCalls:
    """ReceiveMessage, DeleteMessageBatch and ChangeMessageVisibilityBatch, to one endpoint."""

    def __init__(self, client: SQSClient, session: boto3.Session) -> None:
        self._endpoint = Endpoint(client, session, sample=_SQS_SAMPLE)
        # Only a few: a worker has some queues, and asks for one to ten messages.
        self._asked: dict[tuple[str, int, int, int], bytes] = {}
        # By the number of entries, the response when all were accepted: their Ids are always the
        # same, so the same text means the same again.
        self._good: dict[int, bytes] = {}
        self._receive, self._delete, self._change_visibility = (
            EndpointOperation(
                self._endpoint,
                name,
                headers={
                    "X-Amz-Target": f"AmazonSQS.{name}",
                    "Content-Type": _JSON,
                    "X-Amzn-Query-Mode": "true",  # errors keep boto3's codes
                },
                repeatable=True,
            )
            for name in ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
        )

    def receive(self, url: str, *, limit: int, wait: int, lease: int) -> list[dict[str, Any]]:
        """Messages in boto3's format, but binary values in base64; `wait` and `lease` in
        seconds."""
        asked = self._receive_body(url, limit, wait, lease)
        return messages(self._endpoint.client, self._endpoint.exchange(self._receive, asked))

    def begin_receive(
        self, url: str, *, limit: int, wait: int, lease: int
    ) -> Generator[int, None, list[dict[str, Any]]]:
        """`receive` in two steps: sent when it yields the number of the socket to wait on."""
        asked = self._receive_body(url, limit, wait, lease)
        sent = self._endpoint.send(self._receive, asked)
        return messages(self._endpoint.client, (yield from self._endpoint.steps(sent)))

    def delete(self, url: str, receipts: Sequence[str]) -> Sequence[Failure]:
        """Returns the entries that were not deleted."""
        asked = self._delete_body(url, receipts)
        return self._refused(
            self._delete, len(receipts), self._endpoint.exchange(self._delete, asked)
        )

    def begin_delete(
        self, url: str, receipts: Sequence[str]
    ) -> Generator[int, None, Sequence[Failure]]:
        """`delete` in two steps: sent when it yields the number of the socket to wait on."""
        sent = self._endpoint.send(self._delete, self._delete_body(url, receipts))
        reply = yield from self._endpoint.steps(sent)
        return self._refused(self._delete, len(receipts), reply)

    def change_visibility(
        self, url: str, receipts: Sequence[str], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        """Returns the entries whose visibility was not changed."""
        entries = [
            {"Id": str(place), "ReceiptHandle": one, "VisibilityTimeout": int(time)}
            for place, (one, time) in enumerate(zip(receipts, seconds, strict=True))
        ]
        asked = _batch(url, to_json(entries))
        reply = self._endpoint.exchange(self._change_visibility, asked)
        return self._refused(self._change_visibility, len(receipts), reply)

    def close(self) -> None:
        self._endpoint.close()

    def _receive_body(self, url: str, limit: int, wait: int, lease: int) -> bytes:
        asked = self._asked.get((url, limit, wait, lease))
        if asked is None:
            asked = self._asked[url, limit, wait, lease] = to_json(
                {
                    "QueueUrl": url,
                    "MaxNumberOfMessages": limit,
                    "WaitTimeSeconds": wait,
                    "VisibilityTimeout": lease,
                    "MessageAttributeNames": ["All"],
                    "MessageSystemAttributeNames": SYSTEM_ATTRIBUTES,
                }
            )
        return asked

    def _delete_body(self, url: str, receipts: Sequence[str]) -> bytes:
        # Every message passes through here: the text around the receipts is written only once.
        return _batch(url, _DELETED[len(receipts)] % tuple([to_json(one) for one in receipts]))

    def _refused(self, operation: EndpointOperation, count: int, reply: Reply) -> Sequence[Failure]:
        if reply.body == self._good.get(count) and reply.status == 200:
            return ()
        answer = json_answer(self._endpoint.client, operation.name, reply)
        failures = batch_failures(answer, range(count), "SQS")
        if not failures:
            self._good[count] = reply.body
        return failures


def _batch(url: str, entries: bytes) -> bytes:
    return b'{"QueueUrl":%b,"Entries":%b}' % (to_json(url), entries)
