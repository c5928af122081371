"""The `TopicTransport` on SNS."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from messaging.aws.calls import TopicCalls
from messaging.aws.clients import Clients
from messaging.aws.errors import check_batch, translated
from messaging.errors import TransportError
from messaging.transport import BATCH_ENTRIES, Failure, Outgoing

if TYPE_CHECKING:
    from messaging.contract.subscribers import Subscriber

__all__ = ["SnsTopic"]


class SnsTopic:
    """One SNS topic, given by its ARN or by its name in the caller's own account and region.

    A `TopicTransport`. It never lists or creates topics, and only needs sns:Publish.

    max_bytes  the topic's MaximumMessageSize. It is configured, not looked up, so that an event
               that is too large is an error before any network call.
    """

    def __init__(self, clients: Clients, topic: str, *, max_bytes: int) -> None:
        self._clients = clients
        self._topic = topic
        self._arn = topic if topic.startswith("arn:") else None
        self._max_bytes = max_bytes
        self._closed = False
        self._publishing: translated | None = None
        """Wraps each request, once its destination is known."""

    def __repr__(self) -> str:
        return f"SnsTopic({self._topic!r})"

    @property
    def arn(self) -> str:
        """The topic's ARN. For a topic given by name, the first call asks STS for the account."""
        if self._arn is None:
            self._arn = self._clients.place().topic_arn(self._topic)
        return self._arn

    @property
    def name(self) -> str:
        """The topic's name, without region and account."""
        return self._topic.rpartition(":")[2]

    @property
    def max_bytes(self) -> int:
        """Maximum bytes of a request, and so of a message (`Settings.max_bytes`)."""
        return self._max_bytes

    @property
    def fifo(self) -> bool:
        """True if messages of one group must stay in order, which the name shows."""
        return self._topic.endswith(".fifo")

    @property
    def publish_timeout(self) -> float:
        """Seconds that a publish may take unless the publisher sets a limit (`Settings`)."""
        return self._clients.publish_timeout

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Make one PublishBatch request, which is never repeated here. An empty batch makes none.

        https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
        """
        if self._closed:
            raise self._was_closed()
        if len(batch) > BATCH_ENTRIES:
            check_batch(len(batch), f"topic {self._topic}")
        if not batch:
            return ()
        arn, topics = self._arn, self._clients.topics_at_hand
        if arn is None or topics is None:
            arn, topics = self._ready()
        with self._publishing or self._translated():
            return topics.publish(arn, self._allowed(batch))

    def begin(
        self, batch: Sequence[Outgoing]
    ) -> Generator[int | None, None, Sequence[Failure]] | None:
        """`publish` in two steps: the request has been sent when it yields.

        None if boto3 carries the messages, or if `publish` must report an error first.
        """
        if self._closed or not 0 < len(batch) <= BATCH_ENTRIES:
            return None
        try:
            arn, topics = self._arn, self._clients.topics_at_hand
            if arn is None or topics is None:
                arn, topics = self._ready()
            steps = topics.begin(arn, self._allowed(batch))
        except Exception:  # noqa: BLE001 - no credentials, no region: `publish` meets it as well
            return None
        return None if steps is None else self._steps(steps)

    def subscribers(self) -> Sequence[Subscriber]:
        """The topic's subscriptions. Only for start-up: SNS allows few of these requests."""
        from messaging.aws.subscribers import list_subscribers

        if self._closed:
            raise self._was_closed()
        return list_subscribers(self._clients, self.arn)

    def close(self) -> None:
        """Refuse further use; the sockets belong to the broker, which closes them."""
        self._closed = True

    def _ready(self) -> tuple[str, TopicCalls]:
        """The topic's ARN, and the calls to publish to it; the first time, both may require
        requests.

        Raises `TransportError` with `unknown` False: nothing was sent yet.
        """
        try:
            arn = self.arn
            topics = self._clients.topics_at_hand
            if topics is None:
                with translated(
                    "find credentials for", f"topic {self._topic}", self._clients.where
                ):
                    topics = self._clients.bounded(lambda: self._clients.topics)
        except TransportError as error:
            error.unknown = False
            raise
        return arn, topics

    def _steps(
        self, steps: Generator[int | None, None, Sequence[Failure]]
    ) -> Generator[int | None, None, Sequence[Failure]]:
        with self._publishing or self._translated():
            return (yield from steps)

    def _allowed(self, batch: Sequence[Outgoing]) -> Sequence[Outgoing]:
        # On a standard topic, a group is a tenant of fair queues, and SNS accepts no other FIFO
        # field.
        if not [one for one in batch if one.deduplication is not None] or self.fifo:
            return batch
        return [replace(one, deduplication=None) for one in batch]

    def _was_closed(self) -> TransportError:
        return TransportError(
            f"topic {self._topic} was closed; ask the broker for another",
            code="Closed",
            retryable=False,
            unknown=False,
        )

    def _translated(self) -> translated:
        target = f"topic {self._topic}"
        self._publishing = translated("publish to", target, self._clients.where)
        return self._publishing
