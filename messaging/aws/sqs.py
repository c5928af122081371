"""The `QueueTransport` on SQS."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from messaging.aws.calls import BotoQueueCalls
from messaging.aws.clients import Clients
from messaging.aws.errors import check_batch, translated
from messaging.aws.lookups import attributes_of, dead_letter_queue, no_dead_letters, url_of
from messaging.aws.messages import COUNTS, counts, deliveries, send_requests
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.dead_letters.reason import LARGEST, attributes
from messaging.errors import AccessDenied, NotFound, TransportError
from messaging.transport import DeadLetter, Delivery, Failure, QueueDepth

__all__ = ["SqsQueue"]


@dataclass(frozen=True, slots=True)
class _Facts:
    """The attributes of the queue. `dead_letters` is the URL of its dead-letter queue."""

    visibility_timeout: int
    dead_letters: str | None


class SqsQueue:
    """One SQS queue, given by its name, with the dead-letter queue from its RedrivePolicy.

    A `QueueTransport`. `undelivered` is the name of the queue for messages that SNS could not
    deliver, only used by `depth`. Needs sqs:GetQueueUrl, GetQueueAttributes, ReceiveMessage,
    DeleteMessage and ChangeMessageVisibility on the queue; sqs:GetQueueUrl, GetQueueAttributes and
    SendMessage on the dead-letter queue.
    """

    def __init__(
        self,
        clients: Clients,
        name: str,
        *,
        undelivered: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._clients = clients
        self._name = name
        self._undelivered = undelivered
        self._clock = clock
        # By name. Filled without a lock: at the start, two threads may make the same request twice.
        self._urls: dict[str, str] = {}
        self._known: _Facts | None = None
        self._largest: int | None = None
        self._around: dict[str, translated] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"SqsQueue({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def visibility_timeout(self) -> int:
        """Seconds, from the queue's attribute, which is read once."""
        return self._facts().visibility_timeout

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Make one ReceiveMessage request. A fraction of a second in `wait` counts as a whole one.

        The request sets the visibility timeout that this object reports, so that leases are right
        even if somebody changes the queue meanwhile.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
        """
        url, facts = self._ready(), self._facts()
        started = self._clock.now()
        with self._translated("receive from"):
            messages = self._clients.queues.receive(
                url, limit=limit, wait=math.ceil(wait), lease=facts.visibility_timeout
            )
            return deliveries(self._name, messages, started=started, ended=self._clock.now())

    def begin_receive(
        self, limit: int, wait: float
    ) -> Generator[int, None, Sequence[Delivery]] | None:
        """`receive` in two steps: sent when it yields; None if boto3 carries the messages."""
        url, facts = self._ready(), self._facts()
        steps = self._clients.queues.begin_receive(
            url, limit=limit, wait=math.ceil(wait), lease=facts.visibility_timeout
        )
        return None if steps is None else self._receiving(steps)

    def begin_delete(
        self, deliveries: Sequence[Delivery]
    ) -> Generator[int, None, Sequence[Failure]] | None:
        """`delete` in two steps: sent when it yields; None if boto3 carries the messages."""
        url = self._ready()
        check_batch(len(deliveries), f"queue {self._name}")
        steps = self._clients.queues.begin_delete(url, [one.receipt for one in deliveries])
        return None if steps is None else self._deleting(steps)

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Make one DeleteMessageBatch request; none without deliveries."""
        url = self._ready()
        check_batch(len(deliveries), f"queue {self._name}")
        if not deliveries:
            return ()
        with self._translated("delete from"):
            return self._clients.queues.delete(url, [one.receipt for one in deliveries])

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        """Make one ChangeMessageVisibilityBatch request; none without deliveries."""
        url = self._ready()
        check_batch(len(deliveries), f"queue {self._name}")
        if not deliveries:
            return ()
        with self._translated("change visibility in"):
            return self._clients.queues.change_visibility(
                url, [one.receipt for one in deliveries], seconds
            )

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        """SendMessageBatch to the dead-letter queue: one request, or several for big letters.

        Raises `NotFound` if the queue has no dead-letter queue. If a later request fails as a
        whole, letters of an earlier one may already be in the dead-letter queue: they are then sent
        twice.
        """
        self._ready()
        check_batch(len(letters), f"the dead letters of {self._name}")
        if not letters:
            return ()
        url = self._facts().dead_letters
        if url is None:
            raise no_dead_letters(self._clients, self._name)
        failures: list[Failure] = []
        largest = self._largest_letter(url)
        copies = ((one.delivery, attributes(one, max_bytes=largest)) for one in letters)
        for part in send_requests(copies, fifo=url.endswith(".fifo")):
            failures += self._send(url, part)
        return tuple(failures)

    def depth(self) -> QueueDepth:
        """SQS's approximate counts. `oldest` is None: SQS only reports it to CloudWatch."""
        url, facts = self._ready(), self._facts()
        visible, in_flight, delayed = self._counts(url)
        return QueueDepth(
            visible=visible,
            in_flight=in_flight,
            delayed=delayed,
            oldest=None,
            dead_letters=sum(self._counts(facts.dead_letters)) if facts.dead_letters else 0,
            undelivered=self._count_undelivered(),
        )

    def close(self) -> None:
        """Refuse further use. A waiting `receive` ends with its wait: HTTP cannot wake it."""
        self._closed = True

    def _receiving(
        self, steps: Generator[int, None, Sequence[Any]]
    ) -> Generator[int, None, Sequence[Delivery]]:
        started = self._clock.now()
        with self._translated("receive from"):
            messages = yield from steps
            return deliveries(self._name, messages, started=started, ended=self._clock.now())

    def _deleting(
        self, steps: Generator[int, None, Sequence[Failure]]
    ) -> Generator[int, None, Sequence[Failure]]:
        with self._translated("delete from"):
            return (yield from steps)

    def _send(self, url: str, entries: list[Any]) -> Sequence[Failure]:
        try:
            with self._translated("send to the dead-letter queue of"):
                return BotoQueueCalls(self._clients.sqs).send(url, entries)
        except NotFound:
            # Another dead-letter queue may have been set since: look it up again next time.
            self._known = self._largest = None
            raise

    def _largest_letter(self, url: str) -> int:
        """Maximum message size of the dead-letter queue; looked up when the first letter is
        sent."""
        if self._largest is None:
            try:
                said = attributes_of(self._clients, self._name, url, "MaximumMessageSize")
                self._largest = int(said.get("MaximumMessageSize", LARGEST))
            except AccessDenied:
                self._largest = LARGEST
            except (TransportError, ValueError):
                # Not worth losing a letter: assume the current default of new queues.
                return LARGEST
        return self._largest

    def _ready(self) -> str:
        if self._closed:
            raise TransportError(
                f"queue {self._name} was closed; ask the broker for another",
                code="Closed",
                retryable=False,
            )
        return self._url(self._name)

    def _url(self, name: str, account: str | None = None) -> str:
        if name not in self._urls:
            self._urls[name] = url_of(self._clients, name, account)
        return self._urls[name]

    def _facts(self) -> _Facts:
        known = self._known
        if known is None:
            wanted = "VisibilityTimeout", "RedrivePolicy"
            said = attributes_of(self._clients, self._name, self._url(self._name), *wanted)
            with self._translated("read the attributes of"):
                visibility = int(said.get("VisibilityTimeout", 30))
            letters = None
            if policy := said.get("RedrivePolicy"):
                account, name = dead_letter_queue(self._clients, self._name, policy)
                letters = self._url(name, account)
            known = self._known = _Facts(visibility, letters)
        return known

    def _counts(self, url: str) -> tuple[int, int, int]:
        said = attributes_of(self._clients, self._name, url, *COUNTS)
        with self._translated("read the attributes of"):
            return counts(said)

    def _count_undelivered(self) -> int:
        if self._undelivered is None:
            return 0
        try:
            return sum(self._counts(self._url(self._undelivered)))
        except NotFound:
            return 0

    def _translated(self, action: str) -> translated:
        around = self._around.get(action)
        if around is None:
            target = f"queue {self._name}"
            around = self._around[action] = translated(action, target, self._clients.where)
        return around
