"""The results of all events, read from the record and from the broker."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property

from messaging.dead_letters import reason as dead_letter_reason
from messaging.projection import Projection
from messaging.testing.chaos.process import End
from messaging.testing.chaos.simulation import Simulation, event_id

__all__ = ["Count", "Observed", "count", "unaccounted", "wants"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """The counts of one scenario, or of many together.

    Args:
        scenarios: how many scenarios.
        events: events that were accepted.
        wanted: pairs of an accepted event and a service that wants it.
        done: wanted pairs that were handled.
        dead_lettered: wanted pairs given up by the service, or by SQS.
        undelivered: wanted pairs refused by the queue.
        moved_by_sqs: dead letters without a reason: received `max_receives` times.
        discarded: wanted pairs discarded by the handler.
        lost: pairs without any result.
        unaccounted: receipts without a known end.
        duplicates: effects beyond the first, of one event in one service, without idempotency.
        duplicates_once: the same, with idempotency.
        receipts: messages that workers received.
        redeliveries: receipts of messages that had been received before.
        facts: effects of handlers.
        kills: processes that were killed.

    Example:
        ```python
        from messaging.testing.chaos import check

        count = check([Marketing], [ana, ana], seeds=range(2)).count
        assert (count.scenarios, count.lost, count.unaccounted) == (2, 0, 0)
        ```
    """

    scenarios: int = 0
    events: int = 0
    wanted: int = 0
    done: int = 0
    dead_lettered: int = 0
    undelivered: int = 0
    moved_by_sqs: int = 0
    discarded: int = 0
    lost: int = 0
    unaccounted: int = 0
    duplicates: int = 0
    duplicates_once: int = 0
    receipts: int = 0
    redeliveries: int = 0
    facts: int = 0
    kills: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(**(Counter(asdict(self)) + Counter(asdict(other))))


class Observed:
    """The state of everything at the end of a scenario."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.record = simulation.record
        broker, services = simulation.broker, simulation.topology.services
        self.dead_letters = [
            (
                service,
                simulation.event_of(one.message_id, one.body),
                one.receive_count,
                dead_letter_reason.read(one.attributes)[1],
            )
            for service in services
            for one in broker.dead_letters(service)
        ]
        """Service, event, receive count and reason of each; None: SQS moved it itself."""
        self.dead = {(service, event) for service, event, *_ in self.dead_letters}
        self.undelivered = {
            (service, simulation.event_of(one.message_id, one.body))
            for service in services
            for one in broker.undelivered(service)
        }
        self.discarded = {(fact.service, fact.event) for fact in self.record.of("discarded")}

    @cached_property
    def effects(self) -> Counter[tuple[str, str]]:
        if self.simulation.setup.effects is not None:
            return Counter(self.simulation.setup.effects())
        ran: set[tuple[str, str, str]] = set()
        ended_well: Counter[tuple[str, str]] = Counter()
        for fact in self.record.of("began", "handled", "done"):
            run = (fact.who, fact.service, fact.event)
            if fact.what == "handled":
                ran.add(run)
            elif run in ran:
                ran.remove(run)
                ended_well[fact.service, fact.event] += fact.what == "done"
        return +ended_well

    @cached_property
    def wanted(self) -> list[tuple[str, str]]:
        """Which service should receive which event, derived from the consumers and not from what
        was sent."""
        simulation = self.simulation
        return [
            (service, event_id(number))
            for number in simulation.plan.events
            for at in simulation.plan.services
            for service in [simulation.setup.services[at].service]
            if simulation.published.get(event_id(number)) and wants(simulation, at, number)
        ]

    @cached_property
    def lost(self) -> list[tuple[str, str]]:
        ended_well = {(fact.service, fact.event) for fact in self.record.of("done")}
        done = self.effects.keys() & ended_well
        accounted = done | self.dead | self.undelivered | self.discarded
        return [pair for pair in self.wanted if pair not in accounted]


def wants(simulation: Simulation, at: int, number: int) -> bool:
    """Whether service number `at` should receive event `number`, as its consumer declares."""
    event = simulation.setup.events[number]
    handler = simulation.setup.services[at].handlers.get(type(event).event_type)
    if handler is None:
        return False
    view = handler.view
    return not issubclass(view, Projection) or view.wanted(event)


def count(simulation: Simulation) -> Count:
    """The counts of this scenario."""
    observed = Observed(simulation)
    wanted = set(observed.wanted)
    receipts = list(simulation.record.of("received"))
    duplicates = sum(observed.effects.values()) - len(observed.effects)
    return Count(
        scenarios=1,
        events=sum(simulation.published.values()),
        wanted=len(wanted),
        done=len(wanted & observed.effects.keys()),
        dead_lettered=len(wanted & observed.dead),
        undelivered=len(wanted & observed.undelivered),
        moved_by_sqs=sum(reason is None for *_, reason in observed.dead_letters),
        discarded=len(wanted & observed.discarded),
        lost=len(observed.lost),
        unaccounted=sum(abs(unaccounted(end)) for end in simulation.ends),
        duplicates=0 if simulation.setup.once else duplicates,
        duplicates_once=duplicates if simulation.setup.once else 0,
        receipts=len(receipts),
        redeliveries=sum(not fact.detail.endswith("/1") for fact in receipts),
        facts=len(simulation.record),
        kills=sum(1 for _ in simulation.record.of("killed")),
    )


def unaccounted(end: End) -> int:
    """Receipts that a stopped process neither settled nor counted as expired."""
    stats = end.stats
    settled = stats.acknowledged + stats.released + stats.dead_lettered + stats.expired
    return stats.received - settled
