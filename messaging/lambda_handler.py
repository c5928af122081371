"""The room of AWS Lambda: one invocation's records in, a partial batch response out.

    handler = lambda_handler(Marketing())                                 # in the function's module

    queue = connect().queue("marketing")                                  # no request is made here
    handler = lambda_handler(Marketing(), queue=queue)

The event source mapping must say `FunctionResponseTypes: [ReportBatchItemFailures]`, or Lambda
deletes the whole batch whatever is answered.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec
from messaging.consumer import Consumer
from messaging.dispatch import Dispatcher, Middleware
from messaging.errors import ConfigurationError, TransportError
from messaging.logs import logger
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry
from messaging.transport import BATCH_ENTRIES, Attribute, DeadLetter, Delivery, QueueTransport

__all__ = ["Handler", "delivery_of", "lambda_handler"]

log = logger("messaging.lambda")

_T = TypeVar("_T")

Handler = Callable[[Mapping[str, Any], Any], dict[str, list[dict[str, str]]]]
"""What Lambda calls: `handler(event, context)`."""


def lambda_handler(
    consumer: Consumer,
    *,
    queue: QueueTransport | None = None,
    codec: Codec | None = None,
    middleware: Sequence[Middleware] = (),
    reserve: float = 2.0,
    clock: Clock = SYSTEM_CLOCK,
) -> Handler:
    """The function that AWS Lambda calls for the queue of `consumer`.

    queue              the queue that feeds the function, to settle what Lambda cannot say:
                       `Retry(delay)` hides the message for that long, and `Reject` copies it to
                       the dead-letter queue with its reason, then counts as done. Without it both
                       are failures: the message comes again after the queue's visibility timeout,
                       until it was received `max_receives` times and SQS moves it, without a
                       reason.
    codec, middleware  as for `Worker`.
    reserve            seconds before the function's timeout at which no more records are begun:
                       they are failures, and come again. A function that times out repeats all.

    The answer lists exactly the messages that are to come again. On a FIFO queue, those of a
    message group that come after a failed one are not begun, and are failures, too; other groups
    go on. Sync handlers run one after another; async ones of a standard queue run together, on
    one event loop that stays from one invocation to the next.

    The consumer's `open` is called before the first record of an execution environment, on that
    loop. Lambda ends an environment without a word, so `close` is never called.

    Raises `ConfigurationError` when the event is not one of SQS. An exception that no outcome can
    be made of leaves the function, and Lambda keeps the whole batch.
    """
    if isinstance(consumer, type):
        name = consumer.__name__
        raise ConfigurationError(
            f"lambda_handler({name}) takes a consumer, not its class: {name}()"
        )
    dispatcher = Dispatcher(consumer, codec=codec, middleware=middleware, clock=clock)
    return _Function(dispatcher, queue, reserve, clock)


def delivery_of(record: Mapping[str, Any], *, now: float) -> Delivery:
    """One record of an SQS event, received `now` (seconds since the epoch), as a delivery.

    Lambda writes the names of an SQS message in its own way: `messageId`, `stringValue`, but
    `ApproximateReceiveCount`. Binary values are base64.
    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    system = record.get("attributes") or {}
    return Delivery(
        queue=str(record.get("eventSourceARN", "")).rpartition(":")[2],
        message_id=record["messageId"],
        receipt=record["receiptHandle"],
        body=record.get("body") or "",
        attributes={
            name: _attribute(one) for name, one in (record.get("messageAttributes") or {}).items()
        },
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        sent_at=int(system.get("SentTimestamp", 0)) / 1000,
        received_at=now,
        group=system.get("MessageGroupId"),
    )


def _attribute(said: Mapping[str, Any]) -> Attribute:
    kind = said.get("dataType", "String")
    if kind.startswith("Binary"):
        return Attribute(kind, base64.b64decode(said.get("binaryValue") or ""))
    return Attribute(kind, said.get("stringValue") or "")


class _Function:
    """The handler itself: it lives as long as Lambda keeps the execution environment."""

    def __init__(
        self, dispatch: Dispatcher, queue: QueueTransport | None, reserve: float, clock: Clock
    ) -> None:
        self._dispatch = dispatch
        self._queue = queue
        self._reserve = reserve
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened = False

    def __call__(
        self, event: Mapping[str, Any], context: Any = None
    ) -> dict[str, list[dict[str, str]]]:
        records = _records(event)
        self._open()
        now = self._clock.now()
        deliveries = [delivery_of(record, now=now) for record in records]
        enough = _time_left(context, self._reserve)
        if any(one.queue.endswith(".fifo") for one in deliveries):
            outcomes = self._in_order(deliveries, enough)
        else:
            outcomes = self._together(deliveries, enough)
        failed = self._failed(deliveries, outcomes)
        return {"batchItemFailures": [{"itemIdentifier": one.message_id} for one in failed]}

    def _open(self) -> None:
        """Call the consumer's `open` once; if it raises, Lambda keeps the batch, and it is tried
        again with the next."""
        if not self._opened:
            opening = self._dispatch.consumer.open()
            if opening is not None:
                self._wait(_awaited(opening))
            self._opened = True

    def _together(
        self, deliveries: Sequence[Delivery], enough: Callable[[], bool]
    ) -> list[Outcome | None]:
        """What became of each; None for those that are to come again as they are."""
        outcomes: list[Outcome | None] = [None] * len(deliveries)
        running: dict[int, Coroutine[Any, Any, Outcome]] = {}
        for index, delivery in enumerate(deliveries):
            if not enough():
                break
            found = self._dispatch(delivery)
            if isinstance(found, Outcome):
                outcomes[index] = found
            else:
                running[index] = found
        if running:
            done = self._wait(_gathered(list(running.values())))
            for index, outcome in zip(running, done, strict=True):
                outcomes[index] = outcome
        return self._dead_lettered(deliveries, outcomes)

    def _in_order(
        self, deliveries: Sequence[Delivery], enough: Callable[[], bool]
    ) -> list[Outcome | None]:
        """One after another; what follows a failure in its group has the failure's outcome."""
        outcomes: list[Outcome | None] = []
        stopped: dict[str | None, Outcome | None] = {}
        for delivery in deliveries:
            if delivery.group not in stopped:
                outcome = self._outcome(delivery) if enough() else None
                # At once: if the copy is refused, nothing of the group may go on.
                [outcome] = self._dead_lettered([delivery], [outcome])
                if not _is_done(outcome):
                    # The others are hidden as long as a Retry, for they must not overtake it.
                    stopped[delivery.group] = outcome if isinstance(outcome, Retry) else None
                outcomes.append(outcome)
            else:
                outcomes.append(stopped[delivery.group])
        return outcomes

    def _outcome(self, delivery: Delivery) -> Outcome:
        found = self._dispatch(delivery)
        return found if isinstance(found, Outcome) else self._wait(found)

    def _wait(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        # Kept between invocations: what handlers hold (HTTP clients, pools) belongs to one loop.
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            weakref.finalize(self, self._loop.close)
        return self._loop.run_until_complete(coroutine)

    def _dead_lettered(
        self, deliveries: Sequence[Delivery], outcomes: list[Outcome | None]
    ) -> list[Outcome | None]:
        """`outcomes`, where a `Reject` is an `Ack` if its copy stands, and None if it does not."""
        if self._queue is None:
            return outcomes
        now = self._clock.now()
        rejected = {
            index: _letter(deliveries[index], outcome, now)
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, Reject)
        }
        stands = _copy(self._queue, list(rejected.values()))
        settled = dict(zip(rejected, stands, strict=True))
        return [
            (Ack() if settled[index] else None) if index in settled else outcome
            for index, outcome in enumerate(outcomes)
        ]

    def _failed(
        self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome | None]
    ) -> list[Delivery]:
        """Those that are to come again; a `Retry` is hidden first."""
        hides: list[tuple[Delivery, int]] = []
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            if isinstance(outcome, Retry):
                hides.append((delivery, math.ceil(outcome.delay or 0)))
            elif isinstance(outcome, Reject):
                _say(logging.WARNING, delivery, "rejected and left to SQS's redrive", outcome)
            elif isinstance(outcome, Discard):
                _say(logging.INFO, delivery, "discarded", outcome)
        if self._queue is not None:
            _hide(self._queue, hides)
        pairs = zip(deliveries, outcomes, strict=True)
        return [delivery for delivery, outcome in pairs if not _is_done(outcome)]


def _is_done(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Ack | Discard)


def _say(level: int, delivery: Delivery, what: str, outcome: Outcome) -> None:
    log.log(
        level, "message %s of %s is %s: %s",
        delivery.message_id, delivery.queue, what, outcome.reason,
    )  # fmt: skip


def _records(event: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, list) or any(one.get("eventSource") != "aws:sqs" for one in records):
        raise ConfigurationError(
            'this event is not of SQS (Records with eventSource "aws:sqs"): lambda_handler is for '
            "a function that an SQS event source mapping invokes"
        )
    return records


def _time_left(context: Any, reserve: float) -> Callable[[], bool]:
    """Whether another record may be begun. https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return lambda: True
    return lambda: bool(remaining() > reserve * 1000)


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


async def _gathered(coroutines: list[Coroutine[Any, Any, Outcome]]) -> list[Outcome | None]:
    found = await asyncio.gather(*coroutines, return_exceptions=True)
    # A cancelled handler has no outcome: it is not done.
    return [one if isinstance(one, Outcome) else None for one in found]


def _letter(delivery: Delivery, outcome: Reject, now: float) -> DeadLetter:
    return DeadLetter(
        delivery=delivery,
        reason=outcome.reason,
        error=outcome.error,
        attempts=delivery.receive_count,
        time=now,
        queue=delivery.queue,
    )


def _copy(queue: QueueTransport, letters: Sequence[DeadLetter]) -> list[bool]:
    """Copy `letters` to the dead-letter queue; for each, whether it stands there now."""
    stands: list[bool] = []
    for start in range(0, len(letters), BATCH_ENTRIES):
        batch = letters[start : start + BATCH_ENTRIES]
        try:
            codes = {one.index: one.code for one in queue.dead_letter(batch)}
        except TransportError as error:
            codes = dict.fromkeys(range(len(batch)), error.code or type(error).__name__)
        for index, letter in enumerate(batch):
            stands.append(index not in codes)
            log.log(
                logging.ERROR if index in codes else logging.INFO,
                "message %s of %s %s: %s",
                letter.delivery.message_id,
                letter.queue,
                f"cannot be dead-lettered ({codes[index]}) and is left to SQS's redrive"
                if index in codes
                else "is dead-lettered",
                letter.reason,
            )
    return stands


def _hide(queue: QueueTransport, hides: Sequence[tuple[Delivery, int]]) -> None:
    """Best effort: what is not hidden comes again when the queue's visibility timeout ends."""
    for start in range(0, len(hides), BATCH_ENTRIES):
        batch = hides[start : start + BATCH_ENTRIES]
        try:
            codes = [one.code for one in queue.hide([d for d, _ in batch], [s for _, s in batch])]
        except TransportError as error:
            codes = [error.code or type(error).__name__]
        if codes:
            log.warning("messages of %s keep their visibility timeout: %s", queue.name, codes[0])
