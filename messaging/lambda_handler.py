"""AWS Lambda: handles one invocation's records, and returns a partial batch response.

    handler = lambda_handler(Marketing())                                 # in the function's module

    queue = connect().queue("marketing")                                  # no request is made here
    handler = lambda_handler(Marketing(), queue=queue)

The event source mapping must have `FunctionResponseTypes: [ReportBatchItemFailures]`, or Lambda
deletes the whole batch whatever the response says.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from messaging.answers import ask
from messaging.batching import batches
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec
from messaging.consuming.batch_dispatch import acknowledged, largest_batch, units
from messaging.consuming.consumer import Consumer
from messaging.consuming.dispatch import Dispatcher, Middleware
from messaging.errors import ConfigurationError
from messaging.lambda_records import (
    Invocation,
    check_receipts,
    deliveries_of,
    delivery_of,
    ends,
    records_of,
    time_left,
)
from messaging.logs import logger
from messaging.outcome import Ack, Discard, Outcome
from messaging.settlement import (
    Action,
    Groups,
    action_of,
    dead_letter,
    is_ordered,
    reason_of,
    refused,
    seconds_of,
)
from messaging.transport import DeadLetter, Delivery, Failure, QueueTransport

if TYPE_CHECKING:
    import asyncio

__all__ = ["Handler", "Invocation", "delivery_of", "lambda_handler"]

log = logger("messaging.lambda")

_T = TypeVar("_T")

Handler = Callable[[Mapping[str, Any], Any], dict[str, list[dict[str, str]]]]
"""The function that Lambda calls: `handler(event, context)`."""


def lambda_handler(
    consumer: Consumer,
    *,
    queue: QueueTransport | None = None,
    codec: Codec | None = None,
    middleware: Sequence[Middleware] = (),
    reserve: float = 2.0,
    observe: Callable[[Invocation], None] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Handler:
    """Create the function that AWS Lambda calls for the queue of `consumer`.

    Its response lists exactly the messages to be redelivered. On a FIFO queue, messages behind a
    failed one of their group are not started, and count as failures too; other groups continue.
    Sync handlers run one after another; async ones of a standard queue run together, on an event
    loop that lives from one invocation to the next. A consumer that takes a `Batch` gets the
    invocation's messages in batches, one after another; the event source mapping limits their size
    (BatchSize, MaximumBatchingWindowInSeconds).

    The consumer's `open` is called before the first record of an execution environment, on that
    loop. Lambda ends an environment without notice, so `close` is never called.

    An exception that cannot become an outcome leaves the function, and Lambda keeps the whole
    batch.

    Args:
        consumer: the service.
        queue: the function's queue, for outcomes that Lambda's response cannot express:
            `Retry(delay)` hides the message for that long, and `Reject` copies it to the
            dead-letter queue with its reason, then counts as done. Without it, both are failures:
            the message is redelivered after the queue's visibility timeout, until it has been
            received `max_receives` times and SQS moves it, without a reason.
        codec: reads and writes message bodies; `JsonCodec()` by default. Use the producer's codec.
        middleware: context managers around each handler, outermost first.
        reserve: seconds before the function's timeout at which no more records are started: they
            count as failures, and are redelivered. A function that times out repeats all.
        observe: called at the end of each invocation with the results of its records:
            `messaging.emf.CloudWatchMetrics()` writes them as metrics.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: by the function, if the event is not from SQS.

    Example:
        ```python
        from messaging.lambda_handler import Invocation, lambda_handler
        from messaging.testing import lambda_event


        def tell(invocation: Invocation) -> None:
            print(invocation.service, len(invocation.ended))


        handler = lambda_handler(Marketing(), observe=tell)  # AWS calls handler(event, context)
        assert handler(lambda_event(Marketing, ana), None) == {"batchItemFailures": []}
        ```
    """
    if isinstance(consumer, type):
        name = consumer.__name__
        raise ConfigurationError(f"lambda_handler takes a consumer, not its class: {name}()")
    dispatcher = Dispatcher(consumer, codec=codec, middleware=middleware, clock=clock)
    check_receipts(queue)
    return _Function(dispatcher, queue, reserve, observe, clock)


@dataclass(eq=False, repr=False)
class _Function:
    """The handler itself. It lives as long as Lambda's execution environment."""

    _dispatch: Dispatcher
    _queue: QueueTransport | None
    _reserve: float
    _observe: Callable[[Invocation], None] | None
    _clock: Clock
    _spent: dict[str, float] = field(default_factory=dict)
    _letters: dict[str, Outcome | None] = field(default_factory=dict)
    """For this invocation, by message: the seconds of its handler, and why it was dead-lettered."""
    _loop: asyncio.AbstractEventLoop | None = None
    _opened: bool = False

    def __call__(
        self, event: Mapping[str, Any], context: Any = None
    ) -> dict[str, list[dict[str, str]]]:
        records = records_of(event)
        self._open()
        deliveries = deliveries_of(records, now=self._clock.now())
        enough = time_left(context, self._reserve)
        self._spent, self._letters = {}, {}
        takes_batches = largest_batch(self._dispatch.consumer) > 0
        if takes_batches or any(map(is_ordered, {one.queue for one in deliveries})):
            outcomes = self._in_order(deliveries, enough)
        else:
            outcomes = self._dead_lettered(deliveries, self._together(deliveries, enough))
        failed = self._failed(deliveries, outcomes)
        if self._observe is not None:
            self._observed(self._observe, deliveries, outcomes, context)
        return {"batchItemFailures": [{"itemIdentifier": one.message_id} for one in failed]}

    def _observed(
        self,
        observe: Callable[[Invocation], None],
        deliveries: Sequence[Delivery],
        outcomes: Sequence[Outcome | None],
        context: Any,
    ) -> None:
        """Call the observer; a bug in it does not cost any message its acknowledgement."""
        try:
            ended = ends(deliveries, outcomes, letters=self._letters, spent=self._spent)
            request = str(getattr(context, "aws_request_id", ""))
            observe(Invocation(self._dispatch.consumer.service, request, self._clock.now(), ended))
        except Exception as error:  # noqa: BLE001 - the batch is done
            log.error("the invocation could not be observed: %s", type(error).__qualname__)

    def _open(self) -> None:
        """Call the consumer's `open` once; if it raises, Lambda keeps the batch, and the next one
        tries again."""
        if not self._opened:
            opening = self._dispatch.consumer.open()
            if opening is not None:
                self._wait(opening)
            self._opened = True

    def _together(
        self, deliveries: Sequence[Delivery], enough: Callable[[], bool]
    ) -> list[Outcome | None]:
        """The result of each; None for those to be redelivered unchanged."""
        outcomes: list[Outcome | None] = [None] * len(deliveries)
        running: dict[int, Coroutine[Any, Any, Outcome]] = {}
        try:
            for index, delivery in enumerate(deliveries):
                if not enough():
                    break
                found = self._begun(delivery)
                if type(found) is Ack or not isinstance(found, Coroutine):  # the quick check first
                    outcomes[index] = found
                else:
                    running[index] = found
        except BaseException:  # KeyboardInterrupt: the batch is redelivered
            for coroutine in running.values():
                coroutine.close()
            raise
        if running:
            done = self._wait(_gathered(list(running.values())))
            for index, ended in zip(running, done, strict=True):
                outcomes[index] = _told(deliveries[index], ended)
        return outcomes

    def _in_order(
        self, deliveries: Sequence[Delivery], enough: Callable[[], bool]
    ) -> list[Outcome | None]:
        """Handle batches and single messages one after another. In a FIFO queue, if one is to be
        redelivered, the rest of its group is released with it."""
        outcomes: dict[str, Outcome | None] = {}
        groups = Groups()
        for together, unit in units(self._dispatch.consumer, deliveries):
            fit = []
            for delivery in unit:
                if is_ordered(delivery.queue) and groups.stopped(delivery):
                    outcomes[delivery.message_id] = groups.back(delivery)
                else:
                    fit.append(delivery)
            ended: list[Outcome | None] = [None] * len(fit)
            if not together:
                ended = self._together(fit, enough)
            elif fit and enough():
                ended = self._batch(fit)
            # Immediately: if the copy is refused, the rest of the group must not continue.
            for one, outcome in zip(fit, self._dead_lettered(fit, ended), strict=True):
                groups.ended(one, outcome)
                outcomes[one.message_id] = outcome
        return [outcomes[delivery.message_id] for delivery in deliveries]

    def _batch(self, deliveries: list[Delivery]) -> list[Outcome | None]:
        run = self._dispatch.batch(deliveries)
        ended: Outcome | BaseException = Ack()
        began = self._clock.monotonic()
        try:
            coroutine = run.start()
            if coroutine is not None:
                [ended] = self._wait(_gathered([acknowledged(coroutine)]))
        except Exception as error:  # noqa: BLE001 - others must not fail for one batch
            ended = error
        spent = self._clock.monotonic() - began
        self._spent.update({one.message_id: spent for one in deliveries})
        return [
            one or (_told(delivery, ended) if not isinstance(ended, Outcome) else None)
            for delivery, one in zip(deliveries, run.outcomes, strict=True)
        ]

    def _begun(self, delivery: Delivery) -> Outcome | Coroutine[Any, Any, Outcome] | None:
        """A bug outside the handler (such as a retry policy that raises) only costs this message an
        attempt."""
        began = self._clock.monotonic() if self._observe is not None else 0.0
        try:
            found = self._dispatch(delivery)
            if self._observe is not None and isinstance(found, Coroutine):
                return self._timed(found, delivery)
            return found
        except Exception as error:  # noqa: BLE001 - the batch must not fail for one message
            return _told(delivery, error)
        finally:
            if self._observe is not None:
                self._spent[delivery.message_id] = self._clock.monotonic() - began

    async def _timed(self, run: Coroutine[Any, Any, Outcome], delivery: Delivery) -> Outcome:
        began = self._clock.monotonic()
        try:
            return await run
        finally:
            self._spent[delivery.message_id] = self._clock.monotonic() - began

    def _wait(self, awaitable: Awaitable[_T]) -> _T:
        # Kept between invocations: the handlers' resources (HTTP clients, pools) belong to one
        # loop.
        import asyncio  # importing it is a tenth of a cold start, and sync handlers need none

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            weakref.finalize(self, self._loop.close)
        return self._loop.run_until_complete(awaitable)

    def _dead_lettered(
        self, deliveries: Sequence[Delivery], outcomes: list[Outcome | None]
    ) -> list[Outcome | None]:
        """`outcomes`, with each `Reject` replaced by an `Ack` if its copy was made, or by a later
        retry."""
        if self._queue is None:
            return outcomes
        now = self._clock.now()
        settled = list(outcomes)
        rejected = [
            index
            for index, outcome in enumerate(outcomes)
            if action_of(outcome) is Action.DEAD_LETTER
        ]
        letters = [
            dead_letter(deliveries[at], outcomes[at], now=now, queue=deliveries[at].queue)
            for at in rejected
        ]
        for index, stands in zip(rejected, _copy(self._queue, letters), strict=True):
            if stands:
                self._letters[deliveries[index].message_id] = outcomes[index]
            settled[index] = Ack() if stands else self._again(deliveries[index])
        return settled

    def _again(self, delivery: Delivery) -> Outcome | None:
        try:
            return refused(self._dispatch.consumer.retry.delay(delivery.receive_count))
        except Exception as error:  # noqa: BLE001 - a wait strategy is the user's code
            return _told(delivery, error)

    def _failed(
        self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome | None]
    ) -> list[Delivery]:
        """The messages to be redelivered; those with a delay are hidden first."""
        hides: list[tuple[Delivery, int]] = []
        failed: list[Delivery] = []
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            action = action_of(outcome)
            if action is Action.HIDE:
                hides.append((delivery, seconds_of(outcome)))
            elif action is Action.DEAD_LETTER:
                _say(logging.WARNING, delivery, "rejected and left to SQS's redrive", outcome)
            elif isinstance(outcome, Discard):
                _say(logging.INFO, delivery, "discarded", outcome)
            if action is not Action.DELETE:
                failed.append(delivery)
        if self._queue is not None:
            _hide(self._queue, hides)
        return failed


def _say(level: int, delivery: Delivery, what: str, outcome: Outcome | None) -> None:
    log.log(
        level, "message %s of %s is %s: %s",
        delivery.message_id, delivery.queue, what, reason_of(outcome),
    )  # fmt: skip


def _told(delivery: Delivery, ended: Outcome | BaseException) -> Outcome | None:
    """The outcome; logs and returns None if it ended without one."""
    if isinstance(ended, Outcome):
        return ended
    log.error(
        "message %s of %s has no outcome (%s) and is redelivered",
        delivery.message_id,
        delivery.queue,
        type(ended).__qualname__,
    )
    return None


async def _gathered(
    coroutines: list[Coroutine[Any, Any, Outcome]],
) -> list[Outcome | BaseException]:
    import asyncio

    # A cancelled handler has no outcome: its message is not done.
    ended: list[Outcome | BaseException] = await asyncio.gather(*coroutines, return_exceptions=True)
    return ended


def _copy(queue: QueueTransport, letters: Sequence[DeadLetter]) -> list[bool]:
    """Copy `letters` to the dead-letter queue; returns for each whether the copy was made."""
    stands: list[bool] = []
    for batch in batches(letters):
        answer = ask(queue.dead_letter, batch, f"dead_letter of {queue.name}", apart=True)
        codes = {one.index: one.code for one in answer.failures}
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
    """Best effort: a message that is not hidden is redelivered after the queue's visibility
    timeout."""

    def hide(some: Sequence[tuple[Delivery, int]]) -> Sequence[Failure]:
        deliveries, seconds = zip(*some, strict=True)
        return queue.change_visibility(deliveries, seconds)

    for part in batches(hides):
        if failures := ask(hide, part, f"hide of {queue.name}").failures:
            code = failures[0].code
            log.warning("messages of %s keep their visibility timeout: %s", queue.name, code)
