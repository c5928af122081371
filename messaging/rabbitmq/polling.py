"""One long poll on RabbitMQ: a consumer that takes as many messages as are asked for, and ends.

A consumer that stays would be sent messages that nobody has asked for: they would be missing to
others, and count as received when they go back. Its prefetch is the limit, so the broker never
sends more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from messaging.errors import TransportError
from messaging.rabbitmq.link import Answer, Link

__all__ = ["Poll"]

Take = Callable[[Any, Any, bytes], Any]
"""Makes a delivery of the method, the properties and the body."""


class Poll:
    """At most `limit` messages of `queue`, in the link's thread; `wait` seconds for the first.

    take   called for each message as it arrives.
    ended  called once nothing more can come for this poll.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        limit: int,
        wait: float,
        take: Take,
        ended: Callable[[Poll], None],
    ) -> None:
        self._link = link
        self._queue = queue
        self._limit = limit
        self._wait = wait
        self._take = take
        self._ended = ended
        self._found: list[Any] = []
        self._timer: object = None
        self._tag = ""
        self._cancelling = False

    def start(self, channel: Any, answer: Answer) -> None:
        """Start the consumer; `answer` is the list of deliveries."""
        self._channel, self._answer = channel, answer
        channel.basic_qos(prefetch_count=self._limit)
        self._tag = channel.basic_consume(self._queue, self._arrived, callback=self._started)

    @property
    def tag(self) -> str:
        """The consumer's tag."""
        return self._tag

    def broken_off(self) -> None:
        """The broker has ended the consumer, as it does when the queue is deleted."""
        self._forget()
        self._ended(self)
        if not self._answer.done():
            self._answer.set_exception(
                TransportError(
                    f"queue {self._queue}: RabbitMQ ended the consumer; was the queue deleted?",
                    code="ConsumerCancelled",
                )
            )

    def wake(self) -> None:
        """Wait no longer: what has arrived is the answer."""
        self._cancel()

    def _started(self, _frame: Any) -> None:
        # What was in the queue is sent before the answer to the cancel that follows.
        if self._wait <= 0:
            self._cancel()
        elif not self._cancelling:
            self._timer = self._link.later(self._wait, self._cancel)

    def _arrived(self, _channel: Any, method: Any, found: Any, body: bytes) -> None:
        self._found.append(self._take(method, found, body))
        if len(self._found) >= self._limit:
            self._finish()
            self._cancel()
        elif len(self._found) == 1 and not self._cancelling:
            # The others that are there follow at once.
            self._forget()
            self._cancel()

    def _cancel(self) -> None:
        if self._cancelling or not self._channel.is_open:
            return
        self._cancelling = True
        self._forget()
        self._channel.basic_cancel(self._tag, callback=self._cancelled)
        # The client would send back what still arrives for a consumer that is being cancelled, and
        # the broker would count that as a receive. It is as good as any other message.
        self._channel._cancelled.discard(self._tag)

    def _cancelled(self, _frame: Any) -> None:
        self._ended(self)
        self._finish()

    def _finish(self) -> None:
        if not self._answer.done():
            self._answer.set_result(self._found)

    def _forget(self) -> None:
        if self._timer is not None:
            self._link.forget(self._timer)
            self._timer = None
