"""Decides which fault hits which request and which handler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from messaging.errors import AccessDenied, Throttled, TransportError
from messaging.memory.faults import Operation
from messaging.testing.chaos.plan import HANDLER_FAULTS, ScenarioPlan
from messaging.testing.chaos.record import Record
from messaging.testing.chaos.seeded import Seeded
from messaging.testing.clock import FakeClock
from messaging.transport import Failure

__all__ = ["InjectedFaults", "RequestFaults"]

_ANY = ("unavailable", "throttled", "reset", "lost", "slow", "denied")
_BATCH = ("refused", "lied")
_FAULTS_OF: Mapping[str, tuple[str, ...]] = {
    "publish": (*_ANY, *_BATCH),
    "relay": (*_ANY, *_BATCH, "killed"),
    "receive": ("unavailable", "throttled", "reset", "slow", "denied", "killed"),
    "answer": ("lost", "duplicated", "shuffled", "stopped"),
    "delete": (*_ANY, *_BATCH, "killed"),
    "change_visibility": (*_ANY, *_BATCH, "killed"),
    "renew": (*_ANY, *_BATCH, *_BATCH, "killed"),
    "dead_letter": (*_ANY, *_BATCH, "killed"),
}
_OFTENER: Mapping[str, int] = {"publish": 2, "relay": 4, "dead_letter": 4, "renew": 3}
"""There are few of these requests in a scenario, and they matter a lot."""
SLOWEST = 45
"""Seconds: longer than the leases of the consumers of `make chaos`."""


class InjectedFaults:
    """Decides by seed and plan, and counts the injected faults."""

    def __init__(self, plan: ScenarioPlan, record: Record, clock: FakeClock) -> None:
        self.seeded = Seeded(plan.seed)
        self.calm = False
        """Inject no more faults, so that the scenario can end."""
        self._plan = plan
        self._record = record
        self.clock = clock
        self._times: Counter[str] = Counter()

    def request(self, name: str, operation: str) -> str:
        """The fault of this request, or ""."""
        rate = self._plan.requests * _OFTENER.get(operation, 1)
        return self._pick(name, _FAULTS_OF.get(operation, ()), rate)

    def next_of(self, what: str) -> str:
        """A unique name for this draw: draws of one kind are numbered, across all starts of a
        worker."""
        self._times[what] += 1
        return f"{what} #{self._times[what]}"

    def handler(self, service: str, event: str) -> tuple[str, str]:
        """The name of this run of a handler, and its fault or ""."""
        run = f"{service} {event}"
        name = self.next_of(run)
        if self._pick(f"{run} always", ("poisoned",), self._plan.handlers / 3, calms=False):
            return name, "poisoned"
        possible = [kind for kind in HANDLER_FAULTS if kind != "poisoned"]
        return name, self._pick(name, possible, self._plan.handlers)

    def deliver(self, operation: Operation) -> Sequence[Failure] | None:
        """For `MemoryBroker(faults=...)`: makes a queue unreachable for SNS."""
        if operation.name == "deliver" and operation.stage == "before":
            name = self.next_of(f"topic {operation.target}")
            if self._pick(name, ("undelivered",), self._plan.requests / 4):
                return (Failure(0, "Undeliverable", "a fault of the schedule", False),)
        return None

    def _pick(self, name: str, possible: Sequence[str], rate: float, *, calms: bool = True) -> str:
        if (self.calm and calms) or self.seeded.unit(name) >= rate:
            return ""
        kinds = [kind for kind in possible if kind in self._plan.kinds]
        if not kinds:
            return ""
        kind = kinds[self.seeded.number(f"{name} kind") % len(kinds)]
        full = f"{name}: {kind}"
        if self._plan.only is not None and full not in self._plan.only:
            return ""
        if full not in self._record.names:
            self._record.names[full] = None
            self._record.injected[kind] += 1
        return kind


class RequestFaults:
    """The faults of one process towards one queue, or of the publisher, with the interface of
    `Faults`.

    about  the event of the next request: its faults do not depend on anything else in the scenario.
    as_operation  the operation's name in `InjectedFaults`, if it is different.
    """

    def __init__(
        self,
        injected: InjectedFaults,
        who: str,
        *,
        die: Callable[[], None],
        as_operation: str = "",
    ) -> None:
        self.as_operation = as_operation
        self._now = ""
        self.about = ""
        self._injected = injected
        self._who = who
        self._die = die
        self._name = ""
        self._late = False

    def __call__(self, operation: Operation) -> Sequence[Failure] | None:
        if operation.stage == "before":
            what = f"{self._who} {operation.name} {self.about}".rstrip()
            self._name = self._injected.next_of(what)
            self._now = self._injected.request(self._name, self.as_operation or operation.name)
            self._late = self._injected.seeded.number(f"{self._name} late") % 2 == 1
        if not self._now:
            return None
        late = operation.stage == "after"
        if late is self._late:
            if self._now == "slow":
                seconds = 1 + self._injected.seeded.number(f"{self._name} s") % SLOWEST
                self._injected.clock.advance(seconds)
            elif self._now == "killed":
                self._die()
        return self._after(operation.entries) if late else self._before(operation.entries)

    def answer(self, event: str) -> str:
        """The fault of a receive's answer, named for the first event in it."""
        return self._injected.request(
            self._injected.next_of(f"{self._who} answer {event}"), "answer"
        )

    def _before(self, entries: int) -> Sequence[Failure] | None:
        if self._now == "unavailable":
            raise TransportError("chaos: 503", code="ServiceUnavailable")
        if self._now == "throttled":
            raise Throttled("chaos: throttled", code="ThrottlingException")
        if self._now == "reset":
            raise TransportError("chaos: connection reset", code="ConnectionClosedError")
        if self._now == "denied":
            raise AccessDenied("chaos: the token has expired", code="ExpiredToken")
        return self._some(entries) if self._now == "refused" else None

    def _after(self, entries: int) -> Sequence[Failure] | None:
        if self._now == "lost":
            raise TransportError("chaos: no answer in time", code="ReadTimeoutError")
        return self._some(entries) if self._now == "lied" else None

    def _some(self, entries: int) -> Sequence[Failure]:
        """Temporarily refuse at least one of so many entries."""
        chance = self._injected.seeded.stream(f"{self._name} entries")
        places = chance.sample(range(entries), chance.randint(1, entries))
        return [Failure(at, "InternalError", "chaos: refused", True) for at in sorted(places)]
