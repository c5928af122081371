"""The `DeadLetterSource` on SQS."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from messaging.aws.calls import BotoQueueCalls
from messaging.aws.clients import Clients
from messaging.aws.errors import translated
from messaging.aws.lookups import attributes_of, dead_letter_queue, no_dead_letters, url_of
from messaging.aws.messages import deliveries, send_requests
from messaging.aws.movetask import move_all
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.dead_letters.letter import Kind
from messaging.dead_letters.source import OnProgress
from messaging.transport import Delivery, Failure

__all__ = ["SqsDeadLetters"]


class SqsDeadLetters:
    """A `DeadLetterSource` on SQS, from `AwsBroker.letters`.

    origin       the name of the service's queue. Its RedrivePolicy names the dead-letter queue.
    undelivered  the name of the queue for messages that SNS could not deliver, if that one is
                 meant.

    Needs sqs:GetQueueUrl, GetQueueAttributes, ReceiveMessage, ChangeMessageVisibility and
    DeleteMessage on the queue of letters; sqs:GetQueueUrl, GetQueueAttributes and SendMessage on
    the service's queue; and sqs:StartMessageMoveTask and ListMessageMoveTasks on the dead-letter
    queue, otherwise, letters are moved one by one.
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
        """For a dead-letter queue, looked up from the service's queue the first time."""
        return self._found()[0]

    @property
    def origin(self) -> str:
        return self._origin

    def receive(self, limit: int, wait: float, hold: int) -> Sequence[Delivery]:
        """Make one ReceiveMessage request, with `hold` as visibility timeout."""
        name, url = self._found()
        started = self._clock.now()
        with self._translated("receive from", name):
            found = self._calls.receive(url, limit=limit, wait=math.ceil(wait), lease=hold)
            return deliveries(name, found, started=started, ended=self._clock.now())

    def release(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Make one ChangeMessageVisibilityBatch request."""
        name, url = self._found()
        with self._translated("change visibility in", name):
            receipts = [one.receipt for one in deliveries]
            return self._calls.change_visibility(url, receipts, [0] * len(receipts))

    def send_back(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """SendMessageBatch to the service's queue: one request, or several for big letters.

        If a later request fails as a whole, letters of an earlier one are already in the queue.
        """
        url = self._url_of_origin()
        failures: list[Failure] = []
        copies = ((one, one.attributes) for one in deliveries)
        for part in send_requests(copies, fifo=self._origin.endswith(".fifo")):
            with self._translated("send to", self._origin):
                failures += self._calls.send(url, part)
        return failures

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Make one DeleteMessageBatch request."""
        name, url = self._found()
        with self._translated("delete from", name):
            return self._calls.delete(url, [one.receipt for one in deliveries])

    def move_all(self, on_progress: OnProgress, stop: Callable[[], bool]) -> int | None:
        """StartMessageMoveTask, followed to its end; None if it is refused.

        Also None for SNS's dead letters, which it does not move.
        """
        if self.kind == "undelivered":
            return None
        name, url = self._found()
        source = attributes_of(self._clients, name, url, "QueueArn").get("QueueArn", "")
        target = self._origin_attribute("QueueArn")
        return move_all(self._clients, source, target, on_progress, stop, self._clock)

    @property
    def _calls(self) -> BotoQueueCalls:
        return BotoQueueCalls(self._clients.patient_sqs)

    def _found(self) -> tuple[str, str]:
        """Name and URL of the queue of letters."""
        if self._letters is None:
            name, account = self._undelivered, None
            if name is None:
                policy = self._origin_attribute("RedrivePolicy")
                if not policy:
                    raise no_dead_letters(self._clients, self._origin)
                account, name = dead_letter_queue(self._clients, self._origin, policy)
            self._letters = name, url_of(self._clients, name, account)
        return self._letters

    def _url_of_origin(self) -> str:
        if self._origin_url is None:
            self._origin_url = url_of(self._clients, self._origin)
        return self._origin_url

    def _origin_attribute(self, name: str) -> str:
        url = self._url_of_origin()
        return attributes_of(self._clients, self._origin, url, name).get(name, "")

    def _translated(self, action: str, name: str) -> AbstractContextManager[None]:
        return translated(action, f"queue {name}", self._clients.where)
