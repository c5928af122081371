"""The kit's own services: four consumers, two events, and three ways to handle an event once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from tenacity import wait_fixed

from messaging.clock import Clock
from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Call, Middleware
from messaging.envelope import Envelope
from messaging.event import Event
from messaging.idempotency import Idempotency, MemoryStore, Transactional
from messaging.outcome import RetryPolicy
from messaging.projection import Projection
from messaging.sql.driver import DriverConnection
from messaging.sql.opening import memory_sqlite
from messaging.stores import Claim, Done, InProgress
from messaging.testing.chaos.plan import Mode, ScenarioPlan
from messaging.testing.chaos.setup import Parts, Setup

__all__ = ["SERVICES", "Enrolled", "Paid", "sample_setup"]

EVENTS = 40
LEASE = 30
"""Seconds."""
CLAIM = 3600.0
"""Seconds: longer than any handler takes here, stalls inside of stalls included."""


class Enrolled(Event, type="chaos.enrolled", version=1, group="student"):
    """Sent as three views; mailing receives only those who agreed."""

    student: int
    name: str
    agreed: bool


class EnrolledForOthers(Projection, of=Enrolled, audience=("platform", "billing")):
    student: int
    name: str


class EnrolledForMailing(Projection, of=Enrolled, audience="mailing"):
    student: int

    @classmethod
    def wanted(cls, event: Enrolled) -> bool:
        return event.agreed


class EnrolledForReports(Projection, of=Enrolled, audience="reports"):
    student: int
    agreed: bool


class Paid(Event, type="chaos.paid", version=1, group="student"):
    """Sent whole, to every service that handles it."""

    student: int
    cents: int


class _Service(Consumer):
    retry = RetryPolicy(max_attempts=4, wait=wait_fixed(7))
    visibility_timeout = LEASE

    def __init__(self, effect: Callable[[str, str], None]) -> None:
        self._effect = effect
        self._opened = False

    def open(self) -> None:
        self._opened = True

    def take_effect(self, envelope: Envelope) -> None:
        # An effect before `open` is an effect on something that nobody published.
        self._effect(self.service, envelope.id if self._opened else "before open")


class Platform(_Service):
    @handles
    def enrolled(self, view: EnrolledForOthers, envelope: Envelope) -> None:
        self.take_effect(envelope)


class Billing(_Service):
    max_lease = 60

    @handles
    def enrolled(self, view: EnrolledForOthers, envelope: Envelope) -> None:
        self.take_effect(envelope)

    @handles
    def paid(self, event: Paid, envelope: Envelope) -> None:
        self.take_effect(envelope)


class Mailing(_Service):
    @handles
    def enrolled(self, view: EnrolledForMailing, envelope: Envelope) -> None:
        self.take_effect(envelope)


class Reports(_Service):
    handler_timeout = 50

    @handles
    def enrolled(self, view: EnrolledForReports, envelope: Envelope) -> None:
        self.take_effect(envelope)

    @handles
    def paid(self, event: Paid, envelope: Envelope) -> None:
        self.take_effect(envelope)


class AsyncMailing(_Service):
    service = "mailing"

    @handles
    async def enrolled(self, view: EnrolledForMailing, envelope: Envelope) -> None:
        self.take_effect(envelope)


class AsyncReports(_Service):
    service = "reports"
    handler_timeout = 50

    @handles
    async def enrolled(self, view: EnrolledForReports, envelope: Envelope) -> None:
        self.take_effect(envelope)

    @handles
    def paid(self, event: Paid, envelope: Envelope) -> None:
        self.take_effect(envelope)


SERVICES: tuple[type[_Service], ...] = (Platform, Billing, Mailing, Reports)
WITH_ASYNC: tuple[type[_Service], ...] = (Platform, Billing, AsyncMailing, AsyncReports)
"""The same, some of whose handlers are async, which `Transactional` does not take."""


def sample_setup(plan: ScenarioPlan, clock: Clock, parts: Parts | None = None) -> Setup:
    """The kit's own services, with idempotency as the plan's mode says."""
    stage = _STAGES[plan.mode](clock)
    some_async = plan.mode != "transactional" and plan.seed % 2
    services = WITH_ASYNC if some_async else SERVICES
    return Setup(
        consumers=[_maker(service, stage.effect) for service in services],
        services=services,
        events=[_event(number) for number in range(EVENTS)],
        hire=stage.hire,
        effects=stage.effects,
        once=stage.once,
        parts=parts or Parts(),
        close=stage.close,
    )


def _maker(service: type[_Service], effect: Callable[[str, str], None]) -> Callable[[], Consumer]:
    return lambda: service(effect)


def _event(number: int) -> Event:
    student = number % 5
    if number % 3 == 2:
        return Paid(student=student, cents=100 * number)
    return Enrolled(student=student, name=f"Student {student}", agreed=number % 2 == 0)


class _AtLeastOnce:
    """No idempotency: effects are counted, as often as they come."""

    once = False

    def __init__(self, clock: Clock) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def hire(self, clock: Clock, check_alive: Callable[[], None]) -> Sequence[Middleware]:
        return ()

    def effect(self, service: str, event: str) -> None:
        self._counts[service, event] += 1

    def effects(self) -> Counter[tuple[str, str]]:
        return self._counts

    def close(self) -> None:
        pass


class _Idempotent(_AtLeastOnce):
    """A store beside the effects: what ended well is not done again.

    An effect whose run did not end well (killed or raised after it) is no promise of the store's,
    so runs that ended well are what is counted.
    """

    once = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._store = MemoryStore(clock=clock)

    def hire(self, clock: Clock, check_alive: Callable[[], None]) -> Sequence[Middleware]:
        tethered = Tethered(self._store, check_alive)
        once = Idempotency(tethered, lease=CLAIM, renew=False)
        return (self._counted, once)

    def effect(self, service: str, event: str) -> None:
        pass

    @contextmanager
    def _counted(self, call: Call) -> Iterator[None]:
        yield
        self._counts[call.service, call.envelope.id] += 1


class Tethered:
    """A store as one process sees it: after its death nothing is stored."""

    def __init__(self, store: MemoryStore, check_alive: Callable[[], None]) -> None:
        self._store = store
        self._check_alive = check_alive

    def begin(
        self, service: str, event_id: str, *, lease_seconds: float
    ) -> Claim | InProgress | Done:
        self._check_alive()
        return self._store.begin(service, event_id, lease_seconds=lease_seconds)

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        self._check_alive()
        return self._store.renew(claim, lease_seconds=lease_seconds)

    def complete(self, claim: Claim) -> bool:
        self._check_alive()
        return self._store.complete(claim)

    def release(self, claim: Claim) -> bool:
        self._check_alive()
        return self._store.release(claim)

    def prune(self, older_than: float) -> int:
        return self._store.prune(older_than)

    def close(self) -> None:
        pass


class _InTransactions:
    """Effect and mark in one transaction of an SQLite database in memory, one for each service."""

    once = True

    def __init__(self, clock: Clock) -> None:
        self._once: dict[str, Transactional] = {}
        self._kept: list[DriverConnection] = []
        scenario = uuid4().hex
        for service in SERVICES:
            connect = partial(memory_sqlite, f"chaos-{scenario}-{service.service}")
            first = connect()  # the database lives as long as somebody is connected
            first.execute("CREATE TABLE effects (event TEXT)")
            self._kept.append(first)
            self._once[service.service] = Transactional(connect, clock=clock).create()

    def hire(self, clock: Clock, check_alive: Callable[[], None]) -> Sequence[Middleware]:
        def around(call: Call) -> AbstractContextManager[Any]:
            return self._once[call.service](call)

        return (around,)

    def effect(self, service: str, event: str) -> None:
        self._once[service].connection.execute("INSERT INTO effects VALUES (?)", (event,))

    def effects(self) -> Counter[tuple[str, str]]:
        return Counter(
            (service.service, event)
            for service, connection in zip(SERVICES, self._kept, strict=True)
            for (event,) in connection.execute("SELECT event FROM effects")
        )

    def close(self) -> None:
        for once in self._once.values():
            once.close()
        for connection in self._kept:
            connection.close()


_STAGES: Mapping[Mode, type[_AtLeastOnce] | type[_InTransactions]] = {
    "at least once": _AtLeastOnce,
    "idempotent": _Idempotent,
    "transactional": _InTransactions,
}
