"""The four calls that carry messages, through boto3 or the fast transport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from messaging.aws.answers import batch_failures
from messaging.aws.bounded import Bounded
from messaging.aws.messages import SYSTEM_ATTRIBUTES, wire_value
from messaging.logs import logger
from messaging.transport import Failure, Outgoing

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import PublishBatchRequestEntryTypeDef
    from mypy_boto3_sqs import SQSClient

    from messaging.aws.fast import FastQueueCalls, FastTopicCalls

__all__ = ["BotoQueueCalls", "BotoTopicCalls", "QueueCalls", "TopicCalls", "queues_of", "topics_of"]

log = logger("messaging.aws")


TopicCalls: TypeAlias = "BotoTopicCalls | FastTopicCalls"
"""Publishes: one request, which raises what boto3 raises."""
QueueCalls: TypeAlias = "BotoQueueCalls | FastQueueCalls"
"""Receives, deletes and hides: one request each, which raise what boto3 raises."""


class BotoTopicCalls:
    """`TopicCalls` through boto3, whose client owns the sockets."""

    def __init__(self, client: SNSClient, bounded: Bounded) -> None:
        self._client = client
        self._bounded = bounded
        config: Any = client.meta.config
        self._longest = float(config.connect_timeout + config.read_timeout)

    def publish(self, arn: str, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """The refused entries, by their places in `batch`."""
        answer = self._bounded(
            lambda: self._client.publish_batch(
                TopicArn=arn,
                PublishBatchRequestEntries=[_entry(i, one) for i, one in enumerate(batch)],
            ),
            longest=self._longest,
        )
        return batch_failures(answer, range(len(batch)), "SNS", sent=True)

    def begin(self, arn: str, batch: Sequence[Outgoing]) -> None:
        """Not possible: boto3 sends and waits in one call."""

    def close(self) -> None: ...


class BotoQueueCalls:
    """`QueueCalls` through boto3, whose client owns the sockets."""

    def __init__(self, client: SQSClient) -> None:
        self._client = client

    def receive(self, url: str, *, limit: int, wait: int, lease: int) -> Sequence[Any]:
        """Messages; `wait` and `lease` are seconds."""
        answer = self._client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=wait,
            VisibilityTimeout=lease,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=SYSTEM_ATTRIBUTES,
        )
        messages: Any = answer.get("Messages") or ()
        return cast("Sequence[Any]", messages)

    def delete(self, url: str, receipts: Sequence[str]) -> Sequence[Failure]:
        """The receipts that were refused, by their places."""
        answer = self._client.delete_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(i), "ReceiptHandle": one} for i, one in enumerate(receipts)],
        )
        return batch_failures(answer, range(len(receipts)), "SQS")

    def begin_receive(self, url: str, *, limit: int, wait: int, lease: int) -> None:
        """Not possible: boto3 sends and waits in one call."""

    def begin_delete(self, url: str, receipts: Sequence[str]) -> None:
        """Not possible either."""

    def change_visibility(
        self, url: str, receipts: Sequence[str], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        """The receipts that were refused, by their places."""
        answer = self._client.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(i), "ReceiptHandle": one, "VisibilityTimeout": int(time)}
                for i, (one, time) in enumerate(zip(receipts, seconds, strict=True))
            ],
        )
        return batch_failures(answer, range(len(receipts)), "SQS")

    def send(self, url: str, entries: Sequence[Any]) -> Sequence[Failure]:
        """The refused entries of a SendMessageBatch, by their Ids."""
        answer = self._client.send_message_batch(QueueUrl=url, Entries=entries)
        asked = [int(entry["Id"]) for entry in entries]
        return batch_failures(answer, asked, "SQS", sent=True)

    def close(self) -> None: ...


def topics_of(
    client: SNSClient, session: boto3.Session, *, fast: bool, bounded: Bounded
) -> TopicCalls:
    """The fast calls, if they are wanted and can do what `client` is configured for."""
    if fast:
        from messaging.aws.fast import FastTopicCalls, Unsupported

        try:
            return FastTopicCalls(client, session, bounded)
        except Unsupported as error:
            _say("SNS", error)
    return BotoTopicCalls(client, bounded)


def queues_of(client: SQSClient, session: boto3.Session, *, fast: bool) -> QueueCalls:
    """The fast calls, if they are wanted and can do what `client` is configured for."""
    if fast:
        from messaging.aws.fast import FastQueueCalls, Unsupported

        try:
            return FastQueueCalls(client, session)
        except Unsupported as error:
            _say("SQS", error)
    return BotoQueueCalls(client)


def _say(service: str, error: Exception) -> None:
    log.warning(
        "%s: %s, which the fast transport does not support, so boto3 is used; "
        "MESSAGING_TRANSPORT=boto3 hides this warning",
        service,
        error,
    )


def _entry(index: int, message: Outgoing) -> PublishBatchRequestEntryTypeDef:
    entry: PublishBatchRequestEntryTypeDef = {
        "Id": str(index),
        "Message": message.body,
        "MessageAttributes": {name: wire_value(one) for name, one in message.attributes.items()},
    }
    if message.group is not None:
        entry["MessageGroupId"] = message.group
    if message.deduplication is not None:
        entry["MessageDeduplicationId"] = message.deduplication
    return entry
