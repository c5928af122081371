"""The `DeadLetterSource` on SQS."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from messaging.aws.answers import batch_failures, queue_attributes, queue_url
from messaging.aws.clients import Clients
from messaging.aws.errors import TOPOLOGY_REMEDY, translated
from messaging.aws.messages import SAFE_BATCH, deliveries, message_weight, wire_value
from messaging.aws.movetask import move_all
from messaging.batching import Packer, Weight
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.dead_letters.letter import Kind
from messaging.dead_letters.source import OnProgress
from messaging.errors import NotFound
from messaging.transport import Delivery, Failure

__all__ = ["SqsDeadLetters"]


class SqsDeadLetters:
    """A `DeadLetterSource` on SQS. `AwsBroker.letters` gives it.

    origin       the name of the service's queue. Its RedrivePolicy names the dead-letter queue.
    undelivered  the name of the queue that takes what SNS could not deliver, if that is meant.

    Needs sqs:GetQueueUrl, GetQueueAttributes, ReceiveMessage, ChangeMessageVisibility and
    DeleteMessage on the queue of letters; sqs:GetQueueUrl, GetQueueAttributes and SendMessage on
    the service's queue; and sqs:StartMessageMoveTask and ListMessageMoveTasks on the dead-letter
    queue, without which letters are moved one by one.
    """

    def __init__(
        self,
        clients: Clients,
        origin: str,
        *,
        undelivered: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._clients = clients
        self._origin = origin
        self._undelivered = undelivered
        self._clock = clock
        self._letters: tuple[str, str] | None = None
        self._origin_url: str | None = None

    @property
    def kind(self) -> Kind:
        return "dead" if self._undelivered is None else "undelivered"

    @property
    def name(self) -> str:
        """Asked of the service's queue the first time, where it is a dead-letter queue."""
        return self._found()[0]

    @property
    def origin(self) -> str:
        return self._origin

    def receive(self, limit: int, wait: float, hold: int) -> Sequence[Delivery]:
        """One ReceiveMessage request, with `hold` as visibility timeout."""
        name, url = self._found()
        with self._translated("receive from", name):
            answer = self._clients.patient_sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=math.ceil(wait),
                VisibilityTimeout=hold,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=[
                    "ApproximateReceiveCount",
                    "SentTimestamp",
                    "MessageGroupId",
                ],
            )
            return deliveries(name, answer.get("Messages") or (), self._clock.now())

    def release(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """One ChangeMessageVisibilityBatch request."""
        name, url = self._found()
        with self._translated("change visibility in", name):
            answer = self._clients.patient_sqs.change_message_visibility_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": one.receipt, "VisibilityTimeout": 0}
                    for index, one in enumerate(deliveries)
                ],
            )
            return batch_failures(answer, range(len(deliveries)), "SQS")

    def send_back(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """SendMessageBatch to the service's queue: one request, or several for big letters.

        When a second request fails whole, letters of the first stand in the queue already.
        """
        url = self._url_of_origin()
        failures: list[Failure] = []
        for part in _entries(deliveries, fifo=self._origin.endswith(".fifo")):
            with self._translated("send to", self._origin):
                answer = self._clients.patient_sqs.send_message_batch(QueueUrl=url, Entries=part)
                asked = [int(entry["Id"]) for entry in part]
                failures += batch_failures(answer, asked, "SQS", sent=True)
        return failures

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """One DeleteMessageBatch request."""
        name, url = self._found()
        with self._translated("delete from", name):
            answer = self._clients.patient_sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": one.receipt}
                    for index, one in enumerate(deliveries)
                ],
            )
            return batch_failures(answer, range(len(deliveries)), "SQS")

    def move_all(self, on_progress: OnProgress, stop: Callable[[], bool]) -> int | None:
        """StartMessageMoveTask, followed to its end; None where it may not be had.

        SNS's dead letters it does not take: None, too.
        """
        if self.kind == "undelivered":
            return None
        name, url = self._found()
        source = self._attribute(name, url, "QueueArn")
        target = self._attribute(self._origin, self._url_of_origin(), "QueueArn")
        return move_all(self._clients, source, target, on_progress, stop, self._clock)

    def _found(self) -> tuple[str, str]:
        """Name and URL of the queue of letters."""
        if self._letters is None:
            name, account = self._undelivered, None
            if name is None:
                account, name = self._dead_letter_queue()
            self._letters = name, self._url(name, account)
        return self._letters

    def _dead_letter_queue(self) -> tuple[str, str]:
        policy = self._attribute(self._origin, self._url_of_origin(), "RedrivePolicy")
        if not policy:
            raise NotFound(
                f"queue {self._origin} in {self._clients.where} has no dead-letter queue "
                f"(RedrivePolicy); {TOPOLOGY_REMEDY}",
                code="NoRedrivePolicy",
            )
        with self._translated("read the RedrivePolicy of", self._origin):
            account, name = json.loads(policy)["deadLetterTargetArn"].split(":")[4:6]
        return account, name

    def _url_of_origin(self) -> str:
        if self._origin_url is None:
            self._origin_url = self._url(self._origin)
        return self._origin_url

    def _url(self, name: str, account: str | None = None) -> str:
        owner: Any = {"QueueOwnerAWSAccountId": account} if account else {}
        with self._translated("find", name):
            return queue_url(self._clients.patient_sqs.get_queue_url(QueueName=name, **owner))

    def _attribute(self, name: str, url: str, attribute: Any) -> str:
        with self._translated("read the attributes of", name):
            answer = self._clients.patient_sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=[attribute]
            )
            return queue_attributes(answer).get(attribute, "")

    def _translated(self, action: str, name: str) -> AbstractContextManager[None]:
        return translated(action, f"queue {name}", self._clients.where)


def _entries(deliveries: Sequence[Delivery], *, fifo: bool) -> Iterator[list[Any]]:
    """Entries of SendMessageBatch, in requests of at most `SAFE_BATCH` bytes."""
    packer: Packer[tuple[Weight, Any]] = Packer(SAFE_BATCH)
    sized = (_entry(index, one, fifo) for index, one in enumerate(deliveries))
    for part in packer.all(sized):
        yield [entry for _, entry in part]


def _entry(index: int, one: Delivery, fifo: bool) -> tuple[Weight, Any]:
    entry: dict[str, Any] = {
        "Id": str(index),
        "MessageBody": one.body,
        "MessageAttributes": {name: wire_value(a) for name, a in one.attributes.items()},
    }
    if fifo:
        # Not the event's: SQS would take the letter for a repetition of the message it was. A
        # letter that is sent twice, because of an answer that was lost, stays one message.
        entry["MessageDeduplicationId"] = one.message_id
    if fifo or one.group:
        entry["MessageGroupId"] = one.group or one.message_id
    return message_weight(one.body, one.attributes), entry
