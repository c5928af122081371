"""Sits between the library and the in-process broker: injects faults, and records requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from messaging.errors import TransportError
from messaging.memory.faults import FaultScript, asked, guarded
from messaging.memory.queue import MemoryQueue
from messaging.memory.topic import MemoryTopic
from messaging.testing.chaos.faults import RequestFaults
from messaging.transport import DeadLetter, Delivery, Failure, Outgoing, QueueDepth

if TYPE_CHECKING:
    from messaging.testing.chaos.lambda_process import LambdaProcess
    from messaging.testing.chaos.process import Process
    from messaging.testing.chaos.simulation import Simulation

__all__ = ["Killed", "QueueWire", "TopicWire"]

_T = TypeVar("_T")


class Killed(BaseException):
    """Simulates kill -9 in one thread: the killed process gets no further."""


class TopicWire:
    """A `TopicTransport` in front of a `MemoryTopic`."""

    in_callers_thread = True
    """Tells the publisher that there is only one thread."""

    def __init__(self, inner: MemoryTopic, simulation: Simulation, faults: RequestFaults) -> None:
        self._inner = inner
        self._simulation = simulation
        self._faults = faults
        self._script = FaultScript(faults)

    @property
    def max_bytes(self) -> int:
        return self._inner.max_bytes

    @property
    def fifo(self) -> bool:
        return self._inner.fifo

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        self._faults.about = batch[0].id if batch else ""
        return guarded(self._script, "publish", self._inner.name, batch, self._publish)

    def close(self) -> None:
        self._inner.close()

    def _publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        failures = self._inner.publish(batch)
        for one in _accepted(batch, failures):
            audience = ",".join(one.attributes["audience"].strings)
            self._simulation.tell("topic", "", "took", one.id, f"{audience} {one.group or ''}")
        return failures


class QueueWire:
    """A `QueueTransport` in front of a `MemoryQueue`, for one process.

    Receives never wait, because nothing else could happen meanwhile.
    """

    def __init__(
        self,
        inner: MemoryQueue,
        service: str,
        simulation: Simulation,
        owner: Process | LambdaProcess,
        faults: RequestFaults,
    ) -> None:
        self._inner = inner
        self._service = service
        self._simulation = simulation
        self._owner = owner
        self._faults = faults
        self._script = FaultScript(faults)
        self._fifo = simulation.plan.fifo
        self._leases = owner.leases[service]

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def visibility_timeout(self) -> int:
        return self._inner.visibility_timeout

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        self._begin(())
        self._asked = self._simulation.clock.monotonic()
        found = asked(self._script, "receive", self.name, limit, lambda: self._receive(limit))
        answer = self._hurt(found) if found else ()
        for one in answer:
            self._tell("received", one)
        return answer

    def _hurt(self, found: Sequence[Delivery]) -> Sequence[Delivery]:
        kind = self._faults.answer(self._simulation.event_of(found[0].message_id, found[0].body))
        if kind == "lost":
            raise TransportError("chaos: no answer in time", code="ReadTimeoutError")
        if kind == "stopped":
            self._owner.hear_signal()
        elif kind == "shuffled" and not self._fifo:
            return self._simulation.shuffled(found)
        elif kind == "duplicated" and not self._fifo:
            self._inner.change_visibility(found, [0] * len(found))
            self._leases.end(found)
        return found

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        self._begin(deliveries)
        failures = guarded(self._script, "delete", self.name, deliveries, self._delete)
        for one in _accepted(deliveries, failures):
            self._tell("acknowledged", one)
        return failures

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        self._begin(deliveries)
        both = list(zip(deliveries, seconds, strict=True))
        for one, length in both:
            self._tell("hides", one, f" {length} s {self._owner.doing}")
        self._leases.asked.update(one.receipt for one in deliveries)
        self._faults.as_operation = "renew" if self._owner.doing == "renew" else ""
        failures = guarded(self._script, "change_visibility", self.name, both, self._hide)
        word = "renewed" if self._owner.doing == "renew" else "released"
        for one in _accepted(deliveries, failures):
            self._tell(word, one)
        return failures

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        self._begin([letter.delivery for letter in letters])
        return guarded(self._script, "dead_letter", self.name, letters, self._dead_letter)

    def depth(self) -> QueueDepth:
        return self._inner.depth()

    def close(self) -> None:
        """A killed process closes nothing; the simulation closes the rest."""

    def _begin(self, deliveries: Sequence[Delivery]) -> None:
        self._owner.check_alive()
        self._faults.as_operation = self._faults.about = ""
        for one in deliveries[:1]:
            self._faults.about = self._simulation.event_of(one.message_id, one.body)

    def _receive(self, limit: int) -> list[Delivery]:
        found = list(self._inner.receive(limit, 0))
        for one in found:
            self._simulation.current[one.message_id] = one.receipt
        until = self._simulation.clock.monotonic() + self.visibility_timeout
        self._leases.begin(found, asked=self._asked, until=until)
        return found

    def _delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        failures = self._inner.delete(deliveries)
        for one in _accepted(deliveries, failures):
            # SQS accepts an old receipt, but the message stays.
            if self._simulation.current.get(one.message_id) == one.receipt:
                del self._simulation.current[one.message_id]
                self._tell("gone", one)
        return failures

    def _hide(self, both: Sequence[tuple[Delivery, int]]) -> Sequence[Failure]:
        failures = self._inner.change_visibility(
            [one for one, _ in both], [seconds for _, seconds in both]
        )
        for one, seconds in _accepted(both, failures):
            if self._owner.doing == "renew":
                self._leases.go_on(one, self._simulation.clock.monotonic() + seconds)
            else:  # its response may be lost: then the process holds it for longer than the broker
                self._leases.end([one])
        return failures

    def _dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        failures = self._inner.dead_letter(letters)
        for letter in _accepted(letters, failures):
            self._tell("copied", letter.delivery, f" {letter.reason}")
        return failures

    def _tell(self, what: str, one: Delivery, more: str = "") -> None:
        event = self._simulation.event_of(one.message_id, one.body)
        self._simulation.tell(self._owner.name, self._service, what, event, f"{one.receipt}{more}")


def _accepted(entries: Sequence[_T], failures: Sequence[Failure]) -> Sequence[_T]:
    """The accepted entries."""
    refused = {one.index for one in failures}
    return [one for index, one in enumerate(entries) if index not in refused]
