"""The room where one delivery goes in and one outcome comes out: no thread, no queue, no AWS."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from messaging.codec import Codec, JsonCodec
from messaging.consumer import Consumer, Handler
from messaging.envelope import Envelope
from messaging.errors import CodecError
from messaging.logs import logger
from messaging.outcome import Ack, Outcome, Reject, Retry
from messaging.reading import Read, Reader, envelope
from messaging.transport import Delivery

__all__ = ["Call", "Dispatcher", "Middleware"]

log = logger("messaging.dispatch")

_ACK = Ack()


@dataclass(frozen=True, kw_only=True, init=False)
class Call:
    """One handler about to run on one delivery: what a middleware sees.

    `view` is the validated event or projection. Left out of `repr`: it is personal data.
    """

    service: str
    handler: Handler
    envelope: Envelope
    delivery: Delivery
    view: BaseModel

    def __init__(
        self,
        *,
        service: str,
        handler: Handler,
        envelope: Envelope,
        delivery: Delivery,
        view: BaseModel,
    ) -> None:
        # By hand for the same reason as `transport.Outgoing`.
        self.__dict__.update(
            service=service, handler=handler, envelope=envelope, delivery=delivery, view=view
        )

    def __repr__(self) -> str:
        return f"Call({self.service}.{self.handler.name}, {self.envelope.id})"


Middleware = Callable[[Call], AbstractContextManager[Any]]
"""A context manager around a handler. It sees what the handler raises; raising an `Outcome` on
the way in means that the handler does not run."""


class Dispatcher:
    """Gives deliveries to one consumer's handlers.

    Calling it never raises for what a message holds or a handler does: a body that cannot be
    read, an unknown type, a newer version or a view that does not validate is a `Reject` whose
    reason names the field; whatever the handler raises becomes an outcome, too.
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        codec: Codec | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self.consumer = consumer
        self._middleware = tuple(middleware)
        self._read = Reader(consumer, codec or JsonCodec(), watched=bool(self._middleware))

    def __call__(self, delivery: Delivery) -> Outcome | Coroutine[Any, Any, Outcome]:
        """The outcome, or for an async handler the coroutine that will give it.

        This is the one place in the library that asks whether a handler is async.
        """
        try:
            read = self._read(delivery)
        except CodecError as error:
            service, message = self.consumer.service, delivery.message_id
            log.warning("%s refused message %s: %s", service, message, error.reason)
            refused = Reject(error.reason, error=type(error).__name__)
            refused.origin = "message"
            return refused
        except Exception as error:  # noqa: BLE001 - dispatch never raises for a message
            # Not the message's fault but the code's (a validator that breaks, a codec whose store
            # is away): by the retry policy, like a handler's exception.
            log.warning(
                "%s could not read message %s: %s at %s",
                self.consumer.service,
                delivery.message_id,
                type(error).__qualname__,
                _place(error),
            )
            return self.consumer.retry.decide(error, delivery.receive_count)
        handler, view, _ = read
        if self._middleware or handler.envelope or handler.delivery:
            call = self._call(delivery, read)
            return self._run_async(call) if handler.is_async else self._run(call)
        # As nearly always: a method that takes its view and nothing else.
        if handler.is_async:
            return self._run_plain_async(delivery, read)
        try:
            returned = getattr(self.consumer, handler.name)(view)
            if returned is not None:
                _check(returned)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
            return self._decide(error, self._call(delivery, read))
        return returned if isinstance(returned, Ack) else _ACK

    def _call(self, delivery: Delivery, read: Read) -> Call:
        handler, view, _ = read
        return Call(
            service=self.consumer.service,
            handler=handler,
            envelope=envelope(read),
            delivery=delivery,
            view=view,
        )

    def _run(self, call: Call) -> Outcome:
        returned: Any = None
        try:
            if not self._middleware:
                returned = self._invoke_sync(call)
            else:
                with ExitStack() as around:
                    for middleware in self._middleware:
                        around.enter_context(middleware(call))
                    returned = self._invoke_sync(call)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
            return self._decide(error, call)
        return returned if isinstance(returned, Ack) else _ACK

    async def _run_async(self, call: Call) -> Outcome:
        returned: Any = None
        try:
            if not self._middleware:
                returned = await self._invoke(call)
                _raise_unless_ack(returned)
            else:
                with ExitStack() as around:
                    for middleware in self._middleware:
                        around.enter_context(middleware(call))
                    returned = await self._invoke(call)
                    _raise_unless_ack(returned)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
            return self._decide(error, call)
        return returned if isinstance(returned, Ack) else _ACK

    async def _run_plain_async(self, delivery: Delivery, read: Read) -> Outcome:
        handler, view, _ = read
        try:
            returned = await getattr(self.consumer, handler.name)(view)
            _raise_unless_ack(returned)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes an outcome
            return self._decide(error, self._call(delivery, read))
        return returned if isinstance(returned, Ack) else _ACK

    def _invoke_sync(self, call: Call) -> Any:
        returned = self._invoke(call)
        if returned is not None:
            _check(returned)
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

    def _decide(self, error: BaseException, call: Call) -> Outcome:
        delivery, consumer = call.delivery, self.consumer
        if isinstance(error, Retry):
            if delivery.receive_count >= consumer.max_receives:
                # SQS would move it without a reason at the next receive.
                return Reject(
                    f"still asked to be retried after {delivery.receive_count} receives"
                    + (f": {error.reason}" if error.reason else "")
                )
            if error.delay is None:
                # A new one: the handler may raise the same object for every message.
                return Retry(consumer.retry.delay(delivery.receive_count), error.reason)
            return error
        if isinstance(error, Outcome):
            return error
        outcome = consumer.retry.decide(error, delivery.receive_count)
        # The text of an exception may quote personal data: its type and place are told instead.
        log.warning(
            "%s.%s raised %s on event %s, receive %d: %s; %s",
            consumer.service,
            call.handler.name,
            type(error).__qualname__,
            call.envelope.id,
            delivery.receive_count,
            _place(error),
            "the last one" if isinstance(outcome, Reject) else f"again in {outcome.delay:.1f} s",
        )
        return outcome


def _check(returned: object) -> None:
    """Raises for what a sync handler may not return, and for an outcome that it means to raise."""
    if inspect.isawaitable(returned):
        # A plain method that hands out a coroutine: its work would never be done.
        if inspect.iscoroutine(returned):
            returned.close()
        raise TypeError("a handler returned an awaitable; declare it with async def")
    _raise_unless_ack(returned)


def _raise_unless_ack(returned: object) -> None:
    # Inside the middleware: one that marks events as handled must see that this one was not.
    if isinstance(returned, Outcome) and not isinstance(returned, Ack):
        raise returned


def _place(error: BaseException) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return "no traceback"
    code = frame.tb_frame.f_code
    return f"{code.co_filename}:{frame.tb_lineno} in {code.co_name}"
