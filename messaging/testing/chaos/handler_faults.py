"""Makes handlers fail according to the plan, and records how each run ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from messaging.consuming.batch_dispatch import BatchCall
from messaging.consuming.dispatch import Call
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry
from messaging.testing.chaos.wire import Killed

if TYPE_CHECKING:
    from messaging.testing.chaos.process import Mortal
    from messaging.testing.chaos.simulation import Simulation

__all__ = ["Accounted", "Sabotage", "HandlerFaults"]

LONGEST_STALL = 90
"""Seconds: three leases of the consumers of `make chaos`."""


class Sabotage(Exception):
    """The exception of a handler that fails according to the plan."""


class Accounted:
    """The outermost middleware: records how each run ended, after all other middleware."""

    def __init__(self, actor: Mortal, stage: Simulation) -> None:
        self._actor = actor
        self._stage = stage

    def __call__(self, call: Call) -> AbstractContextManager[None]:
        return self._around([call])

    @contextmanager
    def around_batch(self, batch: BatchCall) -> Iterator[None]:
        with self._around(batch.calls, batch):
            yield

    @contextmanager
    def _around(self, calls: Sequence[Call], batch: BatchCall | None = None) -> Iterator[None]:
        raised: BaseException | None = None
        try:
            yield
        except BaseException as error:
            raised = error
            raise
        finally:
            for call in () if isinstance(raised, Killed) else calls:
                how = raised
                if batch is not None and (raised is None or call not in batch.calls):
                    how = batch.outcome(call)  # also for messages that were kept from the handler
                what, detail = _ended(how)
                self._stage.tell(self._actor.name, call.service, what, call.envelope.id, detail)


def _ended(how: BaseException | None) -> tuple[str, str]:
    match how:
        case None:
            return "done", ""
        case Ack():
            return "done", how.reason
        case Discard():
            return "discarded", ""
        case Retry():
            return "asked again", how.reason
        case Outcome():
            return "rejected", how.reason
        case _:
            return "failed", type(how).__qualname__


class HandlerFaults:
    """The innermost middleware: injects the planned fault before or after a handler."""

    def __init__(self, actor: Mortal, stage: Simulation) -> None:
        self._actor = actor
        self._stage = stage
        self._running: set[str] = set()

    def __call__(self, call: Call) -> AbstractContextManager[None]:
        return self._around(call)

    @contextmanager
    def _around(self, call: Call, batch: BatchCall | None = None) -> Iterator[None]:
        message = call.delivery.message_id
        if message in self._running:
            self._stage.tell(self._actor.name, call.service, "beside itself", call.envelope.id)
        self._running.add(message)
        try:
            with self._hurt(call, batch):
                yield
        finally:
            self._running.discard(message)

    @contextmanager
    def around_batch(self, batch: BatchCall) -> Iterator[None]:
        """A fault of one message affects the whole batch, or only that message's outcome."""
        with ExitStack() as stack:
            for call in reversed(batch.calls):  # so that they end in order
                try:
                    stack.enter_context(self._around(call, batch))
                except Outcome as said:
                    batch.leave_out(call, said)
            yield

    @contextmanager
    def _hurt(self, call: Call, batch: BatchCall | None) -> Iterator[None]:
        service, event = call.service, call.envelope.id
        self._actor.check_alive()
        name, kind = self._stage.injected.handler(service, event)
        number = self._stage.injected.seeded.number(f"{name} how")
        self._stage.tell(self._actor.name, service, "began", event, kind)
        late = number % 2 == 1
        if kind == "died" and not late:
            self._actor.die()
        if kind == "stalled" and not late:
            self._stall(name, number)
        self._refuse(kind, number)
        acknowledged: Ack | None = None
        try:
            yield
        except Ack as outcome:  # raised by the handler: the same as returning
            acknowledged = outcome
        self._actor.check_alive()
        if batch is not None and not any(one is call for one in batch.calls):
            return  # behind a retried one of its group: it was not passed on
        self._stage.tell(self._actor.name, service, "handled", event, call.delivery.message_id)
        if kind == "stalled" and late:
            self._stall(name, number)
        if kind == "raised late":
            raise Sabotage
        if kind == "died" and late:
            self._actor.die()
        if acknowledged is not None:
            raise acknowledged

    def _stall(self, name: str, number: int) -> None:
        self._stage.meanwhile(name, 1 + number % LONGEST_STALL)
        self._actor.check_alive()

    def _refuse(self, kind: str, number: int) -> None:
        if kind in ("raised", "poisoned"):
            raise Sabotage
        if kind == "exited":
            raise SystemExit(1) if number % 3 else KeyboardInterrupt
        if kind == "asked again":
            raise Retry(number % 40)
        if kind == "rejected":
            raise Reject("the schedule says so")
        if kind == "discarded":
            raise Discard("the schedule says so")
