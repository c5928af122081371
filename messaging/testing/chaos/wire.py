"""Stands between the library and the in-process broker: hurts what passes, and writes it down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from messaging.clock import Clock
from messaging.errors import TransportError
from messaging.memory.faults import FaultScript, asked, guarded
from messaging.memory.queue import MemoryQueue
from messaging.memory.topic import MemoryTopic
from messaging.testing.chaos.faults import RequestFaults
from messaging.testing.chaos.leases import Leases
from messaging.transport import DeadLetter, Delivery, Failure, Outgoing, QueueDepth

__all__ = ["Ground", "Killed", "WireOwner", "QueueWire", "TopicWire"]


class Killed(BaseException):
    """kill -9 within one thread: the killed process gets no further."""


class Ground(Protocol):
    """What a wire asks of the world."""

    def tell(
        self, who: str, service: str, what: str, event: str = "", detail: str = "", /
    ) -> None: ...
    def event_of(self, message_id: str, body: str, /) -> str: ...
    def shuffled(self, deliveries: Sequence[Delivery], /) -> Sequence[Delivery]: ...
    @property
    def current(self) -> dict[str, str]: ...
    @property
    def clock(self) -> Clock: ...


class WireOwner(Protocol):
    """The process whose wire it is."""

    @property
    def name(self) -> str: ...
    @property
    def doing(self) -> str: ...
    @property
    def leases(self) -> dict[str, Leases]: ...
    def check_alive(self) -> None: ...
    def hear_signal(self) -> None: ...
    def die(self) -> None: ...


class TopicWire:
    """A `TopicTransport` in front of a `MemoryTopic`."""

    in_callers_thread = True
    """To the publisher: there is one thread only."""

    def __init__(self, inner: MemoryTopic, ground: Ground, faults: RequestFaults) -> None:
        self._inner = inner
        self._ground = ground
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
        refused = {one.index for one in failures}
        for index, one in enumerate(batch):
            if index not in refused:
                audience = ",".join(one.attributes["audience"].strings)
                self._ground.tell("topic", "", "took", one.id, f"{audience} {one.group or ''}")
        return failures


class QueueWire:
    """A `QueueTransport` in front of a `MemoryQueue`, for one process.

    Receives never wait: nothing else would happen meanwhile.
    """

    def __init__(
        self,
        inner: MemoryQueue,
        service: str,
        ground: Ground,
        owner: WireOwner,
        faults: RequestFaults,
        *,
        fifo: bool,
    ) -> None:
        self._inner = inner
        self._service = service
        self._ground = ground
        self._owner = owner
        self._faults = faults
        self._script = FaultScript(faults)
        self._fifo = fifo
        self._leases = owner.leases[service]

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def visibility_timeout(self) -> int:
        return self._inner.visibility_timeout

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        self._begin(())
        self._asked = self._ground.clock.monotonic()
        found = asked(self._script, "receive", self.name, limit, lambda: self._receive(limit))
        answer = self._hurt(found) if found else ()
        for one in answer:
            self._tell("received", one)
        return answer

    def _hurt(self, found: Sequence[Delivery]) -> Sequence[Delivery]:
        kind = self._faults.answer(self._ground.event_of(found[0].message_id, found[0].body))
        if kind == "lost":
            raise TransportError("chaos: no answer in time", code="ReadTimeoutError")
        if kind == "stopped":
            self._owner.hear_signal()
        elif kind == "shuffled" and not self._fifo:
            return self._ground.shuffled(found)
        elif kind == "duplicated" and not self._fifo:
            self._inner.change_visibility(found, [0] * len(found))
            self._leases.end(found)
        return found

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        self._begin(deliveries)
        failures = guarded(self._script, "delete", self.name, deliveries, self._delete)
        self._tell_settled("acknowledged", deliveries, failures)
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
        self._tell_settled(word, deliveries, failures)
        return failures

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        self._begin([letter.delivery for letter in letters])
        return guarded(self._script, "dead_letter", self.name, letters, self._dead_letter)

    def depth(self) -> QueueDepth:
        return self._inner.depth()

    def close(self) -> None:
        """A killed process closes nothing, and the world closes the rest."""

    def _begin(self, deliveries: Sequence[Delivery]) -> None:
        self._owner.check_alive()
        one = deliveries[0] if deliveries else None
        self._faults.as_operation = ""
        about = "" if one is None else self._ground.event_of(one.message_id, one.body)
        self._faults.about = about

    def _receive(self, limit: int) -> list[Delivery]:
        found = list(self._inner.receive(limit, 0))
        for one in found:
            self._ground.current[one.message_id] = one.receipt
        until = self._ground.clock.monotonic() + self.visibility_timeout
        self._leases.begin(found, asked=self._asked, until=until)
        return found

    def _delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        failures = self._inner.delete(deliveries)
        refused = {one.index for one in failures}
        for index, one in enumerate(deliveries):
            # An old receipt is accepted by SQS, and the message stays.
            current = self._ground.current.get(one.message_id) == one.receipt
            if index not in refused and current:
                del self._ground.current[one.message_id]
                self._tell("gone", one)
        return failures

    def _hide(self, both: Sequence[tuple[Delivery, int]]) -> Sequence[Failure]:
        failures = self._inner.change_visibility(
            [one for one, _ in both], [seconds for _, seconds in both]
        )
        refused, now = {one.index for one in failures}, self._ground.clock.monotonic()
        for index, (one, seconds) in enumerate(both):
            if index in refused:
                continue
            if self._owner.doing == "renew":
                self._leases.go_on(one, now + seconds)
            else:  # its answer may be lost: then the process holds it for longer than the broker
                self._leases.end([one])
        return failures

    def _dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        failures = self._inner.dead_letter(letters)
        refused = {one.index for one in failures}
        for index, letter in enumerate(letters):
            if index not in refused:
                self._tell("copied", letter.delivery, f" {letter.reason}")
        return failures

    def _tell_settled(
        self, what: str, deliveries: Sequence[Delivery], failures: Sequence[Failure]
    ) -> None:
        refused = {one.index for one in failures}
        for index, one in enumerate(deliveries):
            if index not in refused:
                self._tell(what, one)

    def _tell(self, what: str, one: Delivery, more: str = "") -> None:
        event = self._ground.event_of(one.message_id, one.body)
        self._ground.tell(self._owner.name, self._service, what, event, f"{one.receipt}{more}")
