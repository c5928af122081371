"""One call of a handler with several messages, and the outcome of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from messaging.consuming.consumer import Consumer, Handler
from messaging.errors import InvalidReturn
from messaging.handling import HandlingState
from messaging.outcome import Ack, Outcome
from messaging.transport import Delivery

if TYPE_CHECKING:
    from messaging.consuming.dispatch import Call

__all__ = ["BatchCall", "DONE"]

DONE = Ack()
"""The outcome of a handler that returns nothing."""


class BatchCall:
    """One call of a handler with several messages, as passed to a middleware's `around_batch`.

    calls  one `Call` for each of the handler's messages, in order.

    Before the handler runs, `leave_out` removes a message from the call. After it has returned,
    `outcome` returns each message's outcome.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.consumer: Consumer = calls[0].consumer
        self.handler: Handler = calls[0].handler
        self.calls: tuple[Call, ...] = tuple(calls)
        self._outcomes: dict[str, BaseException] = {}

    @property
    def each(self) -> bool:
        """Whether the handler takes single messages, and is called for each of `calls`."""
        return self.handler.batch is not None and self.handler.batch.each

    @property
    def service(self) -> str:
        """The name of the service."""
        return self.consumer.service

    def leave_out(self, call: HandlingState, outcome: Outcome) -> None:
        """Keep this message from the handler, and give it this `outcome`."""
        self.calls = tuple(one for one in self.calls if one is not call)
        self._outcomes[call.delivery.message_id] = outcome

    def said(self, call: HandlingState, outcome: BaseException) -> None:
        """Record what a handler that is called for each message returned or raised for one."""
        self._outcomes[call.delivery.message_id] = outcome

    def outcome(self, call: HandlingState) -> BaseException | None:
        """The outcome of this message: an `Outcome`, or the exception of a handler that is called
        for each message; None if there is none yet."""
        return self._outcomes.get(call.delivery.message_id)

    def left_out(self, delivery: Delivery) -> Outcome | None:
        """The outcome of a message that was kept from the handler; None if it was not."""
        found = self._outcomes.get(delivery.message_id)
        return found if isinstance(found, Outcome) else None

    def answered(self, returned: object) -> None:
        """Record the handler's return value. Raises an outcome that is for all, and
        `InvalidReturn`."""
        from messaging.consuming.dispatch import check_returned

        if not isinstance(returned, Mapping):
            if returned is not None:
                check_returned(returned)
            returned = {}
        for position, outcome in returned.items():
            if type(position) is not int or not 0 <= position < len(self.calls):
                raise InvalidReturn(
                    f"returned an outcome at {type(position).__qualname__} "
                    f"{position if type(position) is int else ''}, which is no position in its "
                    f"batch of {len(self.calls)}: count from 0, as enumerate(batch) does"
                )
            if not isinstance(outcome, Outcome):
                raise InvalidReturn(
                    f"returned a {type(outcome).__qualname__} at position {position} of its batch, "
                    "which is not an outcome: leave it out to acknowledge, or say Retry, Reject or "
                    "Discard"
                )
        for position, call in enumerate(self.calls):
            self._outcomes[call.delivery.message_id] = returned.get(position, DONE)

    def __repr__(self) -> str:
        return f"BatchCall({self.service}.{self.handler.name}, {len(self.calls)} messages)"
