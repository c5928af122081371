"""Passes one delivery to its handler and returns the outcome: no threads, no queue, no AWS."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import BaseModel

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec, JsonCodec
from messaging.consuming.attempts import Attempts
from messaging.consuming.batch_call import DONE
from messaging.consuming.batch_dispatch import BatchCall, BatchRun, check_middleware
from messaging.consuming.consumer import Consumer, Handler
from messaging.consuming.decoder import ProbeReceived, Read
from messaging.consuming.fast_decoder import decoder_for, envelope
from messaging.envelope import Envelope
from messaging.errors import CodecError, InvalidReturn
from messaging.logs import logger
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry
from messaging.settlement import give_back
from messaging.tracebacks import causes_of, frames_of, package_of
from messaging.transport import Delivery
from messaging.variables import with_variables

__all__ = ["SWALLOWED", "Call", "Dispatcher", "Middleware", "check_returned"]

log = logger("messaging.consuming.dispatch")

SWALLOWED = (
    "failed, and a middleware kept the exception to itself: let it raise, or to acknowledge the "
    "message all the same raise Ack"
)


@dataclass(frozen=True, kw_only=True, init=False)
class Call:
    """One handler about to run on one delivery, as passed to middleware.

    `view` is the validated event or projection. `repr` leaves it out, because it is personal data.

    Args:
        consumer: the service.
        handler: the handler.
        envelope: the envelope of the data.
        delivery: the message.
        view: the handler's argument, validated.

    Example:
        ```python
        from collections.abc import Iterator
        from contextlib import contextmanager

        from messaging.consuming.dispatch import Call


        @contextmanager
        def timed(call: Call) -> Iterator[None]:  # Worker(..., middleware=[timed])
            print(call.service, call.handler.name, call.envelope.id)
            yield
        ```
    """

    consumer: Consumer
    handler: Handler
    envelope: Envelope
    delivery: Delivery
    view: BaseModel

    def __init__(
        self,
        *,
        consumer: Consumer,
        handler: Handler,
        envelope: Envelope,
        delivery: Delivery,
        view: BaseModel,
    ) -> None:
        # Written by hand for the same reason as `transport.Outgoing`.
        self.__dict__.update(
            consumer=consumer, handler=handler, envelope=envelope, delivery=delivery, view=view
        )

    @property
    def service(self) -> str:
        """The name of the service."""
        return self.consumer.service

    def __repr__(self) -> str:
        return f"Call({self.service}.{self.handler.name}, {self.envelope.id})"


Middleware = Callable[[Call], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]
"""A context manager around a handler; around an async one it may be asynchronous. It sees the
handler's exceptions; if it raises an `Outcome` on entry, the handler does not run. Suppressing an
exception becomes `InvalidReturn`, not an acknowledgement: to acknowledge, raise `Ack`.

It may have more methods. `around_batch(batch)` is for handlers that take a batch.
`after_request(request)` is told of each request to the queue (`messaging.observed`);
`around_queue(queue)`, instead of that, gives the transport that a worker uses.
`lets_pass(traceparent, context)` says whether there is nothing to do around a message; if all of
them say so, none is called. It may set variables in `context`, a copy of the current
`contextvars.Context`: the handler runs with its variables. It is asked about messages as this
library writes them: `traceparent` is "" if there is none, or if tracestate or baggage comes with
it."""


class Dispatcher:
    """Passes deliveries to one consumer's handlers.

    Calling it never raises because of a message's content or a handler: an unreadable body, an
    unknown type, a newer version or a view that does not validate becomes a `Reject` whose reason
    names the field; a handler's exception becomes an outcome too.

    Args:
        consumer: the service.
        codec: reads and writes message bodies; `JsonCodec()` by default. Use the producer's codec.
        middleware: context managers around each handler, outermost first.
        clock: the source of time; a test may pass a `FakeClock`.
        outages: False makes every failed attempt count, for tests of the retry policy.

    Example:
        ```python
        from messaging.consuming.dispatch import Dispatcher
        from messaging.outcome import Ack

        publisher.publish(ana)
        (delivery,) = broker.queue("marketing").receive(1, wait=0)
        marketing = Marketing()
        assert isinstance(Dispatcher(marketing)(delivery), Ack)  # the caller settles the delivery
        assert marketing.welcomed == ["ana@example.com"]
        ```
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        codec: Codec | None = None,
        middleware: Sequence[Middleware] = (),
        clock: Clock = SYSTEM_CLOCK,
        outages: bool = True,
    ) -> None:
        self.consumer = consumer
        policy = consumer.retry if outages else replace(consumer.retry, outage=0)
        self.attempts = Attempts(policy, last_receive=consumer.max_receives, clock=clock)
        self._failing = self.attempts.failing
        self._middleware = tuple(middleware)
        check_middleware(consumer, self._middleware)
        passing: list[Any] = [getattr(one, "lets_pass", None) for one in self._middleware]
        self._passing = bool(passing) and all(passing)
        self._lets_pass: Callable[[str, Context], bool] = (
            passing[0]
            if len(passing) == 1  # as nearly always
            else lambda traceparent, context: all(one(traceparent, context) for one in passing)
        )
        watched = bool(self._middleware) and not self._passing
        self._read = decoder_for(consumer, codec or JsonCodec(), watched=watched)
        self._package = package_of(type(consumer))
        self.probes = 0
        """The number of probes and canaries received, and the last one's delay and arrival, in
        seconds."""
        self.last_probe: tuple[float, float] | None = None
        self._told: set[str] = set()
        """Handlers for which a warning about an invalid return value was logged."""

    def __call__(self, delivery: Delivery) -> Outcome | Coroutine[Any, Any, Outcome]:
        """The outcome, or for an async handler a coroutine that returns it.

        This is the only place in the library that checks whether a handler is async.
        """
        try:
            read = self._read(delivery)
        except Exception as error:  # noqa: BLE001 - dispatch never raises for a message
            return self._unread(error, delivery)
        handler, view, _, traceparent = read
        run: Callable[[Any], Any] = getattr(self.consumer, handler.name)
        seen: Any = view
        # A sync handler shares its thread with others: context variables that it sets must end with
        # it. An async one is a task, which has its own context.
        context = copy_context()
        passes = False
        if self._middleware or not handler.plain:
            # Not the usual case, a method that takes its view and nothing else.
            try:
                passes = (
                    self._passing
                    and traceparent is not None
                    and handler.batch is None
                    and self._lets_pass(traceparent, context)
                )
            except Exception as error:  # noqa: BLE001 - dispatch never raises for a message
                return self.decide(error, self._call(delivery, read))
            if not passes:  # a middleware has something to do, or may have
                context = copy_context()  # without what those set that had nothing to do
                if handler.batch is not None:
                    return self._alone(delivery)
            if not (passes and handler.plain):
                within: Any = self._within_async if handler.is_async else self._within
                run = partial(within, depth=len(self._middleware)) if passes else within
                seen = self._call(delivery, read)
        if handler.is_async:
            if passes and context:
                run = partial(with_variables, context, run)
            return self._run_async(run, seen, delivery, read)
        try:
            returned = context.run(run, seen)
            if returned is not None:
                check_returned(returned)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
            return self.decide(error, self._call(delivery, read))
        if self._failing:
            self.attempts.succeeded(delivery.message_id)
        return returned if isinstance(returned, Ack) else DONE

    def batch(self, deliveries: Sequence[Delivery]) -> BatchRun:
        """Create the run of deliveries that one handler takes in a batch
        (`batch_dispatch.handler_of`).

        Args:
            deliveries: messages from `receive`.
        """
        return BatchRun(self, deliveries, self._middleware)

    def _alone(self, delivery: Delivery) -> Outcome | Coroutine[Any, Any, Outcome]:
        """A batch of one."""
        run = self.batch([delivery])
        coroutine = run.start()

        async def ended(rest: Coroutine[Any, Any, None]) -> Outcome:
            await rest
            return run.outcomes[0] or give_back()

        return run.outcomes[0] or give_back() if coroutine is None else ended(coroutine)

    def read_call(self, delivery: Delivery) -> Call | Outcome:
        """The call of a delivery, or its outcome if it cannot be read.

        Args:
            delivery: a message from `receive`.
        """
        try:
            return self._call(delivery, self._read(delivery))
        except Exception as error:  # noqa: BLE001 - the others of its batch go on
            return self._unread(error, delivery)

    def _unread(self, error: Exception, delivery: Delivery) -> Outcome:
        """The outcome of a delivery that cannot be read, or not now."""
        if isinstance(error, CodecError):
            service, message = self.consumer.service, delivery.message_id
            log.warning("%s refused message %s: %s", service, message, error.reason)
            refused = Reject(error.reason, error=type(error).__name__)
            refused.origin = "message"
            return refused
        if isinstance(error, ProbeReceived):
            return self._probed(error.envelope, delivery)
        # Not the message's fault but the code's (a failing validator, a codec whose store is
        # unavailable): decided by the retry policy, like a handler's exception.
        log.warning(
            "%s could not read message %s: %s at %s",
            self.consumer.service,
            delivery.message_id,
            " from ".join(causes_of(error)),
            self._place(error),
        )
        return self.attempts.decide(error, delivery)

    def tell_batch_failed(self, batch: BatchCall, error: BaseException) -> None:
        """Log that a batch failed as a whole.

        Args:
            batch: the call of the batch.
            error: what ended it.
        """
        self._tell_once(batch.handler, error)
        log.warning(
            "%s.%s raised %s on a batch of %d: %s; each is tried alone",
            self.consumer.service,
            batch.handler.name,
            " from ".join(causes_of(error)),
            len(batch.calls),
            self._place(error),
        )

    def _probed(self, envelope: Envelope, delivery: Delivery) -> Outcome:
        sent = envelope.time.timestamp() if envelope.time is not None else delivery.received_at
        delay = max(0.0, delivery.received_at - sent)
        self.probes, self.last_probe = self.probes + 1, (delay, delivery.received_at)
        log.info(
            "%s received probe %s of messaging doctor, %.3f s after it was sent",
            self.consumer.service,
            envelope.id,
            delay,
        )
        outcome = Discard(f"probe {envelope.id} of messaging doctor")
        outcome.origin = "message"  # no handler ran, so this says nothing to the circuit breaker
        return outcome

    async def _run_async(
        self, run: Callable[[Any], Any], seen: Any, delivery: Delivery, read: Read
    ) -> Outcome:
        """The same for an async handler, which waits in a task of its own."""
        try:
            returned = await run(seen)
            if returned is not None:
                check_returned(returned)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
            return self.decide(error, self._call(delivery, read))
        if self._failing:
            self.attempts.succeeded(delivery.message_id)
        return returned if isinstance(returned, Ack) else DONE

    def _call(self, delivery: Delivery, read: Read) -> Call:
        handler, view, _, _ = read
        return Call(
            consumer=self.consumer,
            handler=handler,
            envelope=envelope(read),
            delivery=delivery,
            view=view,
        )

    def _within(self, call: Call, depth: int = 0) -> Any:
        """Run the handler within the middleware from number `depth` on."""
        if depth == len(self._middleware):
            return self.invoke(call)
        returned = SWALLOWED
        around: Any = self._middleware[depth](call)
        with around:
            returned = self._within(call, depth + 1)
        if returned is SWALLOWED:
            # Here, so that outer middlewares see that the event is not handled.
            raise InvalidReturn(SWALLOWED)
        return returned

    async def _within_async(self, call: Call, depth: int = 0) -> Any:
        if depth == len(self._middleware):
            returned = await self._invoke(call)
            if returned is not None:
                check_returned(returned)
            return returned
        returned = SWALLOWED
        around: Any = self._middleware[depth](call)
        if hasattr(around, "__aenter__") and not hasattr(around, "__enter__"):
            async with around:
                returned = await self._within_async(call, depth + 1)
        else:
            with around:
                returned = await self._within_async(call, depth + 1)
        if returned is SWALLOWED:
            raise InvalidReturn(SWALLOWED)
        return returned

    def invoke(self, call: Call) -> Any:
        """Call a plain handler for one message; returns its result: an outcome, or None.

        Args:
            call: from `read_call`.
        """
        returned = self._invoke(call)
        if returned is not None:
            check_returned(returned)
        return returned

    def _invoke(self, call: Call) -> Any:
        handler = call.handler
        method = getattr(self.consumer, handler.name)
        if handler.envelope is None and handler.delivery is None:
            return method(call.view)
        keywords: dict[str, Any] = {}
        if handler.envelope:
            keywords[handler.envelope] = call.envelope
        if handler.delivery:
            keywords[handler.delivery] = call.delivery
        return method(call.view, **keywords)

    def decide(self, error: BaseException, call: Call) -> Outcome:
        """The outcome of a call that ended in `error`.

        Args:
            error: the exception that ended the call.
            call: from `read_call`.
        """
        delivery, consumer = call.delivery, self.consumer
        if self._failing and isinstance(error, Outcome):
            self.attempts.succeeded(delivery.message_id)
        if isinstance(error, Retry):
            if delivery.receive_count >= consumer.max_receives:
                # At the next receive, SQS would move it without a reason.
                return Reject(
                    f"still asked to be retried after {delivery.receive_count} receives"
                    + (f": {error.reason}" if error.reason else "")
                )
            if error.delay is None:
                # A copy: the handler may raise the same object for every message.
                return Retry(consumer.retry.delay(delivery.receive_count), error.reason)
            return error
        if isinstance(error, Ack | Reject | Discard):
            return error
        outcome = self.attempts.decide(error, delivery)
        self._tell_once(call.handler, error)
        # The text of an exception may quote personal data: log its type and location instead.
        log.warning(
            "%s.%s raised %s on event %s, receive %d: %s; %s",
            consumer.service,
            call.handler.name,
            " from ".join(causes_of(error)),
            call.envelope.id,
            delivery.receive_count,
            self._place(error),
            "the last one" if isinstance(outcome, Reject) else f"again in {outcome.delay:.1f} s",
            exc_info=error if consumer.log_tracebacks else None,
        )
        return outcome

    def _tell_once(self, handler: Handler, error: BaseException) -> None:
        if isinstance(error, InvalidReturn) and handler.name not in self._told:
            self._told.add(handler.name)
            log.error("%s.%s %s", self.consumer.service, handler.name, error)

    def _place(self, error: BaseException) -> str:
        """The service's own frames: "financeiro/servico.py:42 in cobrar < financeiro/..."."""
        frames = " < ".join(map(str, reversed(frames_of(error, self._package))))
        return frames or "no frame of the service"


def check_returned(returned: object) -> None:
    """Raise a returned outcome, or `InvalidReturn` if it is neither an outcome nor None.

    Args:
        returned: what a handler returned.

    Raises:
        Outcome: the one that was returned.
        InvalidReturn: if it is neither an outcome nor None.
    """
    # Inside the middleware: one that marks events as handled must see that this one failed.
    if isinstance(returned, Ack):
        return
    if isinstance(returned, Retry | Reject | Discard):
        raise returned
    if inspect.iscoroutine(returned) or inspect.isgenerator(returned):
        returned.close()  # or Python complains, later and elsewhere, that it was never awaited
    if inspect.isawaitable(returned):
        why = "its work was never done; declare the handler, or its decorator's wrapper, async def"
    elif inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        why = "its body never ran; take the yield out"
    elif isinstance(returned, BaseException) or (
        isinstance(returned, type) and issubclass(returned, BaseException)
    ):
        why = "write raise, or return an instance of Retry, Reject or Discard"
    else:
        why = "return nothing to acknowledge, or raise Retry, Reject or Discard"
    name = returned.__qualname__ if isinstance(returned, type) else type(returned).__qualname__
    what = "the class " if isinstance(returned, type) else "a value of type "
    raise InvalidReturn(f"returned {what}{name}, which is not an outcome: {why}")
