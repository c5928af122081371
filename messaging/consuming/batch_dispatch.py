"""Gives several deliveries to a handler that takes a batch, and decides the outcome of each.

A batch that raises is retried at once, one message at a time, so that one bad row only uses up
attempts of its own message. When `LONE_FAILURES` in a row fail on their own, the cause is not a
message, and the others are retried by the retry policy without being tried on their own. A message
that the policy would dead-letter is always tried on its own first.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

from messaging.codec import JsonCodec
from messaging.consuming.batch import Batch
from messaging.consuming.batch_call import DONE, BatchCall
from messaging.consuming.consumer import Consumer, Handler
from messaging.consuming.fast_decoder import usual
from messaging.envelope import Envelope
from messaging.errors import ConfigurationError, InvalidReturn
from messaging.logs import logger
from messaging.outcome import Ack, Outcome, Reject, Retry
from messaging.settlement import Groups, give_back, is_ordered
from messaging.transport import Delivery

if TYPE_CHECKING:
    from messaging.consuming.dispatch import Call, Dispatcher

__all__ = [
    "LONE_FAILURES",
    "BatchCall",
    "BatchRun",
    "acknowledged",
    "check_middleware",
    "handler_of",
    "largest_batch",
    "units",
]

log = logger("messaging.consuming.dispatch")

LONE_FAILURES = 3
"""Messages of a failed batch that may fail on their own, without a success, before the others are
left to be retried later."""


_Steps = Generator[BatchCall, BaseException | None, None]


class _TakesBatches(Protocol):
    def around_batch(self, batch: BatchCall, /) -> AbstractContextManager[Any]: ...


def check_middleware(consumer: Consumer, middleware: Sequence[object]) -> None:
    """Refuse a middleware without batch support for a consumer that takes batches.

    It would be entered once per message around a single call: for example, with one transaction per
    message, of which the handler sees only the last.
    """
    batched = [one.name for one in consumer.handlers.values() if one.batch is not None]
    chunked = [one.name for one in consumer.handlers.values() if one.batch and one.batch.each]
    for one in middleware if batched else ():
        name = getattr(one, "__qualname__", type(one).__qualname__)
        if chunked and not getattr(one, "chunks", True):
            raise ConfigurationError(
                f"{type(consumer).__qualname__}.{chunked[0]} is called for each of a chunk, and "
                f"the middleware {name} cannot undo one of them alone: leave @handles(chunk=) out"
            )
        if not callable(getattr(one, "around_batch", None)):
            raise ConfigurationError(
                f"{type(consumer).__qualname__}.{batched[0]} takes a batch or a chunk, and "
                f"the middleware {name} knows single messages only: give it a method "
                "around_batch(batch), a context manager around one call for "
                "all of batch.calls, or leave it out"
            )


def handler_of(consumer: Consumer, delivery: Delivery) -> Handler | None:
    """The handler that takes this delivery in a batch; None if it takes single messages, or if the
    message would have to be read to find out."""
    attribute = delivery.attributes.get("type")
    kind: object = None if attribute is None else attribute.value
    if kind is None:
        try:
            said = usual(delivery.body)
            kind = JsonCodec().decode(delivery.body).type if said is None else said[0]
        except Exception:  # noqa: BLE001 - it is read again, where it can be told
            return None
    handler = consumer.handlers.get(kind) if isinstance(kind, str) else None
    return handler if handler is not None and handler.batch is not None else None


def largest_batch(consumer: Consumer) -> int:
    """The size of the largest batch that a handler of `consumer` takes; 0 if none takes batches."""
    return max((one.batch.batch for one in consumer.handlers.values() if one.batch), default=0)


async def acknowledged(run: Coroutine[Any, Any, None]) -> Outcome:
    """`run` (`BatchRun.start`) for callers that expect a single outcome: each message's own is in
    `BatchRun.outcomes`."""
    await run
    return DONE


def units(consumer: Consumer, deliveries: Sequence[Delivery]) -> list[tuple[bool, list[Delivery]]]:
    """Split the deliveries of one receive into handler calls: batches (True), and single messages.

    In a FIFO queue, messages of one group stay in order.
    """
    made: list[tuple[bool, list[Delivery]]] = []
    piles: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        handler = handler_of(consumer, delivery)
        mine = "" if handler is None else handler.name
        if is_ordered(delivery.queue):
            # Its group waits in another handler's batch: call that one first.
            before = [
                name
                for name, pile in piles.items()
                if name != mine and any(one.group == delivery.group for one in pile)
            ]
            made.extend((True, piles.pop(name)) for name in before)
        if handler is None or handler.batch is None:
            made.append((False, [delivery]))
            continue
        pile = piles.setdefault(mine, [])
        pile.append(delivery)
        if len(pile) >= handler.batch.batch:
            made.append((True, piles.pop(mine)))
    return [*made, *((True, pile) for pile in piles.values())]


class BatchRun:
    """The run of one batch through its handler.

    outcomes  by the position of the delivery; None if undecided: if the run was cut short (it was
              cancelled, or raised something that is not an outcome), those must be retried.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        deliveries: Sequence[Delivery],
        middleware: Sequence[Any],
    ) -> None:
        self.outcomes: list[Outcome | None] = [None] * len(deliveries)
        self._dispatcher = dispatcher
        self._deliveries = deliveries
        self._middleware: Sequence[_TakesBatches] = middleware
        self._at = {one.message_id: at for at, one in enumerate(deliveries)}
        self._ordered = bool(deliveries) and is_ordered(deliveries[0].queue)
        self._groups = Groups()

    def start(self) -> Coroutine[Any, Any, None] | None:
        """Run it to the end, or return the coroutine of an async handler."""
        calls = self._read()
        if not calls:
            self._in_order()
            return None
        steps = self._steps(calls)
        if calls[0].handler.is_async:
            return self._drive_async(steps)
        self._drive(steps)
        return None

    def _read(self) -> list[Call]:
        """The calls of readable messages; the others get their outcome here."""
        calls: list[Call] = []
        for at, delivery in enumerate(self._deliveries):
            if self._ordered and self._groups.stopped(delivery):
                self.outcomes[at] = self._groups.back(delivery)
                continue
            found = self._dispatcher.read_call(delivery)
            if isinstance(found, Outcome):
                self._decided(delivery, found)
            else:
                calls.append(found)
        return calls

    def _decided(self, delivery: Delivery, outcome: Outcome) -> None:
        self.outcomes[self._at[delivery.message_id]] = outcome
        if self._ordered:
            self._groups.ended(delivery, outcome)

    def _steps(self, calls: list[Call]) -> _Steps:
        """Yields each call to make, and is sent its exception, or None."""
        batch = BatchCall(calls)
        error = yield batch
        if error is None or isinstance(error, Outcome) or len(batch.calls) <= 1:
            self._end(batch, calls, error)
        else:
            yield from self._one_by_one(batch, calls, error)
        self._in_order()

    def _one_by_one(self, batch: BatchCall, calls: list[Call], error: BaseException) -> _Steps:
        self._dispatcher.tell_batch_failed(batch, error)
        lone, left = 0, 0
        given = {id(call) for call in batch.calls}
        for call in calls:
            delivery = call.delivery
            if id(call) not in given:
                self._decided(delivery, batch.left_out(delivery) or give_back())
                continue
            if self._ordered and self._groups.stopped(delivery):
                self._decided(delivery, self._groups.back(delivery) or give_back())
                continue
            if delivery.cancel_token.reason:
                self._decided(delivery, give_back())
                continue
            if lone >= LONE_FAILURES:
                outcome: Outcome = self._dispatcher.attempts.decide(error, delivery)
                if not isinstance(outcome, Reject):
                    left += 1
                    self._decided(delivery, outcome)
                    continue
            alone = BatchCall([call])
            failed = yield alone
            self._end(alone, [call], failed)
            done = failed is None or isinstance(failed, Outcome)
            # After the first success it is not an outage, and each is tried.
            lone = -len(calls) if done else lone + 1
        if left:
            log.warning(
                "%s.%s: %d failed alone one after the other; %d others are redelivered",
                batch.service, batch.handler.name, LONE_FAILURES, left,
            )  # fmt: skip

    def _end(self, batch: BatchCall, calls: list[Call], error: BaseException | None) -> None:
        given = {id(call) for call in batch.calls}
        for call in calls:
            said: BaseException = batch.outcome(call) or DONE
            if error is not None and id(call) in given:
                said = error
            if isinstance(said, Retry) and said.origin == "worker":
                outcome: Outcome = said  # it has never been handled, however often it was received
            elif isinstance(said, Ack):
                outcome = said
                if self._dispatcher.attempts.failing:
                    self._dispatcher.attempts.succeeded(call.delivery.message_id)
            else:
                outcome = self._dispatcher.decide(said, call)
            self._decided(call.delivery, outcome)

    def _in_order(self) -> None:
        """In a FIFO queue, messages behind one that was not completed are released too."""
        groups = Groups()
        for at, delivery in enumerate(self._deliveries) if self._ordered else ():
            if groups.stopped(delivery):
                self.outcomes[at] = groups.back(delivery)
            else:
                groups.ended(delivery, self.outcomes[at])

    def _drive(self, steps: _Steps) -> None:
        batch = _next(steps, None)
        while batch is not None:
            raised: BaseException | None = None
            try:
                copy_context().run(self._call, batch)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
                raised = error
            batch = _next(steps, raised)

    async def _drive_async(self, steps: _Steps) -> None:
        batch = _next(steps, None)
        while batch is not None:
            raised: BaseException | None = None
            try:
                await self._call_async(batch)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
                raised = error
            batch = _next(steps, raised)

    def _call(self, batch: BatchCall) -> None:
        with ExitStack() as stack:
            given = self._entered(stack, batch)
            if given is not None and batch.each:
                self._each(batch)
            elif given is not None:
                batch.answered(getattr(batch.consumer, batch.handler.name)(given))

    def _each(self, batch: BatchCall) -> None:
        """Call a handler of single messages for each in turn. An exception for one message only
        concerns that one; if a middleware raises afterwards, the whole chunk failed, and each is
        tried on its own."""
        groups = Groups()
        for call in batch.calls:
            delivery = call.delivery
            if self._ordered and groups.stopped(delivery):
                said: BaseException = groups.back(delivery) or give_back()
            elif delivery.cancel_token.reason:
                said = give_back()
            else:
                said = self._one(call)
            batch.said(call, said)
            if self._ordered:
                groups.ended(delivery, said if isinstance(said, Outcome) else give_back())

    def _one(self, call: Call) -> BaseException:
        """The handler's outcome for one message of a chunk, within the `around_each` of middlewares
        that have it."""
        stack = ExitStack()
        for one in self._middleware:
            if around := getattr(one, "around_each", None):
                stack.enter_context(around(call))
        try:
            returned = copy_context().run(self._dispatcher.invoke, call)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
            try:
                stack.__exit__(type(error), error, error.__traceback__)
            except BaseException as raised:
                if raised is not error:
                    raise
            return error
        stack.close()
        return returned if isinstance(returned, Ack) else DONE

    async def _call_async(self, batch: BatchCall) -> None:
        with ExitStack() as stack:
            given = self._entered(stack, batch)
            if given is not None:
                batch.answered(await getattr(batch.consumer, batch.handler.name)(given))

    def _entered(self, stack: ExitStack, batch: BatchCall) -> Batch[Any] | None:
        """Enter the middleware; returns the messages left for the handler, None if there are
        none."""
        for one in self._middleware:
            if not batch.calls:  # outer middlewares have left out all of them
                return None
            stack.enter_context(_strict(one, batch))
        if self._ordered:
            _leave_out_successors(batch, self._deliveries)
        if not batch.calls:
            return None
        calls = batch.calls

        def envelopes() -> Sequence[Envelope]:
            return tuple(call.envelope for call in calls)

        views: list[Any] = [call.view for call in calls]
        return Batch(views, [call.delivery for call in calls], envelopes)


def _next(steps: _Steps, raised: BaseException | None) -> BatchCall | None:
    """The next call to be made, when the last one raised this; None: there is none."""
    try:
        return steps.send(raised)
    except StopIteration:
        return None


def _leave_out_successors(batch: BatchCall, deliveries: Sequence[Delivery]) -> None:
    """If a middleware kept one from the handler, those behind it in its group wait too."""
    groups = Groups()
    by_id = {call.delivery.message_id: call for call in batch.calls}
    for delivery in deliveries:
        call = by_id.get(delivery.message_id)
        if call is not None and groups.stopped(delivery):
            batch.leave_out(call, groups.back(delivery) or give_back())
        elif call is None:
            said = batch.left_out(delivery)
            if said is not None:
                groups.ended(delivery, said)


@contextmanager
def _strict(middleware: _TakesBatches, batch: BatchCall) -> Iterator[None]:
    """Enter the middleware; an exception that it suppresses becomes `InvalidReturn`."""
    from messaging.consuming.dispatch import SWALLOWED

    done = False
    with middleware.around_batch(batch):
        yield
        done = True
    if not done:
        raise InvalidReturn(SWALLOWED)
