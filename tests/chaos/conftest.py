"""Bugs to be planted: each a part of the library played wrongly, at a seam of the kit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from messaging.errors import TransportError
from messaging.testing.stepping import Steps
from messaging.transport import DeadLetter, Delivery, Failure, Outgoing


class Other:
    """A transport that is as the one behind it, but for what a subclass overrides."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class AcknowledgesFirst(Other):
    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        found: Sequence[Delivery] = self.inner.receive(limit, wait)
        if found:
            self.inner.delete(found)
        return found


class ForgetsDeletes(Other):
    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        self.inner.delete(deliveries)
        return ()


class ForgetsReleases(Other):
    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        self.inner.change_visibility(deliveries, seconds)
        return ()


class ForgetsCopies(Other):
    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        self.inner.dead_letter(letters)
        return ()


class DeletesBeforeTheCopy(Other):
    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        self.inner.delete([letter.delivery for letter in letters])
        failures: Sequence[Failure] = self.inner.dead_letter(letters)
        return failures


class DeletesWhatIsToComeAgain(Other):
    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        failures: Sequence[Failure] = self.inner.delete(deliveries)
        return failures


class NoReasons(Other):
    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        failures: Sequence[Failure] = self.inner.dead_letter(
            [replace(letter, reason="") for letter in letters]
        )
        return failures


class ForgetsPublishes(Other):
    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        self.inner.publish(batch)
        return ()


class NoFifo(Other):
    """To the library it looks like a standard queue."""

    @property
    def name(self) -> str:
        return str(self.inner.name).removesuffix(".fifo")


def knows_no_max_lease(steps: Steps) -> Steps:
    """A handler that hangs keeps its message for as long as SQS allows."""
    heartbeat: Any = steps._pipeline.heartbeat
    heartbeat._max_lease = 43_200.0
    return steps


def drops_late_answers(steps: Steps) -> Steps:
    """What a long poll brings after SIGTERM is thrown away."""
    receiver: Any = steps._pipeline.receiver
    taken: Callable[..., None] = receiver._taken

    def taken_unless_late(*what: Any) -> None:
        if not receiver._stopped.is_set():
            taken(*what)

    receiver._taken = taken_unless_late
    return steps


def renews_for_ever(steps: Steps) -> Steps:
    """Whatever was received once is renewed at each look."""
    pipeline: Any = steps._pipeline
    receive, look, known = pipeline.in_flight.receive, pipeline.heartbeat.step, []

    def receiving(deliveries: Sequence[Delivery], *rest: Any, **named: Any) -> Any:
        known.extend(deliveries)
        return receive(deliveries, *rest, **named)

    def looking() -> float:
        for one in known:
            with suppress(TransportError):
                pipeline.queue.change_visibility([one], [30])
        return float(look())

    pipeline.in_flight.receive, pipeline.heartbeat.step = receiving, looking
    return steps
