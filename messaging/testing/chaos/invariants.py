"""What must hold at the end of every scenario, whatever went wrong in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from messaging.projection import EVERYONE
from messaging.testing.chaos.observed import Observed, unaccounted, wants
from messaging.testing.chaos.simulation import Simulation, event_id

__all__ = ["Breach", "breaches"]

LONG = 3600
"""Seconds: a `max_lease` that no handler of a scenario approaches."""
NO_REASON = "none given"
"""The reason of a dead letter whose reason was empty: SQS accepts no empty attribute."""


class Breach(NamedTuple):
    """One broken promise, and the evidence. `messaging.testing.chaos.check` finds them.

    Args:
        promise: the promise.
        how: the evidence.
    """

    promise: str
    how: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.how}"


def breaches(simulation: Simulation) -> list[Breach]:
    """Every promise that this scenario broke."""
    observed = Observed(simulation)
    return [breach for promise in _PROMISES for breach in promise(observed)]


def _comes_to_rest(observed: Observed) -> Iterator[Breach]:
    if not observed.simulation.at_rest:
        broker, services = observed.simulation.broker, observed.simulation.topology.services
        left = {one: len(broker.messages(one)) for one in services}
        yield Breach("everything comes to rest", f"left in the queues: {left}")


def _nothing_lost(observed: Observed) -> Iterator[Breach]:
    for service, event in observed.lost:
        yield Breach("no accepted event is lost", f"{event} never reached {service}")


def _nobody_elses(observed: Observed) -> Iterator[Breach]:
    simulation = observed.simulation
    known = {event_id(number): number for number in simulation.plan.events}
    numbers = {simulation.setup.services[at].service: at for at in simulation.plan.services}
    for service, event in sorted(observed.effects):
        number = known.get(event)
        if number is None or not wants(simulation, numbers[service], number):
            yield Breach("nobody hears of what is not theirs", f"{service} handled {event}")


def _deleted_with_cause(observed: Observed) -> Iterator[Breach]:
    caused: set[tuple[str, str]] = set()
    for fact in observed.record.of("done", "discarded", "copied", "gone"):
        pair = (fact.service, fact.event)
        if fact.what != "gone":
            caused.add(pair)
        elif pair not in caused:
            yield Breach(
                "nothing is deleted that was not handled or dead-lettered",
                f"{fact.event} of {fact.service} at {fact.at:.2f}",
            )


def _receipts_balance(observed: Observed) -> Iterator[Breach]:
    """A message counted as released is or will be visible again, according to the queue."""
    promise = "receipts balance"
    given = Counter((one.who, one.service) for one in observed.record.of("received"))
    settled = {
        (fact.what, fact.who, fact.service, fact.detail)
        for fact in observed.record.of("acknowledged", "released")
    }
    taken = Counter((what, who, service) for what, who, service, _ in settled)
    for end in observed.simulation.ends:
        stats, who, key = end.stats, f"{end.who} {end.service}", (end.who, end.service)
        deleted, released = taken["acknowledged", *key], taken["released", *key]
        if off := unaccounted(end):
            yield Breach(promise, f"{who}: {off} too many or too few: {stats}")
        if stats.received != given[key]:
            yield Breach(promise, f"{who} was given {given[key]}, counts {stats.received}")
        if stats.acknowledged + stats.dead_lettered != deleted:
            yield Breach(
                promise,
                f"{who} counts {stats.acknowledged} acknowledged and "
                f"{stats.dead_lettered} dead-lettered; the queue took {deleted} deletes",
            )
        if stats.released != released:
            yield Breach(
                promise, f"{who} counts {stats.released} released; the queue took {released}"
            )


def _leases_kept(observed: Observed) -> Iterator[Breach]:
    for fact in observed.record.of("not renewed"):
        yield Breach("each lease is renewed in time", f"{fact.who} {fact.service}: {fact.detail}")


def _not_beside_itself(observed: Observed) -> Iterator[Breach]:
    """A process never handles a message twice at once, unless it gave the first one up."""
    patient = {
        one.service
        for one in observed.simulation.setup.services
        if one.handler_timeout is None and one.max_lease >= LONG
    }
    for fact in observed.record.of("beside itself"):
        if fact.service in patient:
            yield Breach("no message is handled beside itself", f"{fact.event} of {fact.service}")


def _settled_at_the_end(observed: Observed) -> Iterator[Breach]:
    for end in observed.simulation.ends:
        if end.left:
            yield Breach("a stop settles what is done", f"{end.who} {end.service}: {end.left} left")


def _every_attempt(observed: Observed) -> Iterator[Breach]:
    """A handler that fails temporarily runs as often as its retry policy allows."""
    attempts = {one.service: one.retry.max_attempts for one in observed.simulation.setup.services}
    for service, event, _, note in observed.dead_letters:
        if note is None or note.attempts is None or not (note.error or "").endswith("Sabotage"):
            continue
        if note.attempts < attempts[service]:
            yield Breach("every attempt is made", f"{event} of {service}: {note.attempts}")


def _relayed_in_order(observed: Observed) -> Iterator[Breach]:
    """The events of one group are sent in the order of their transactions."""
    if observed.simulation.plan.producer != "outbox" or not observed.simulation.plan.fifo:
        return
    latest: dict[tuple[str, str], int] = {}
    sent: set[tuple[str, str]] = set()
    for fact in observed.record.of("took"):
        audience, _, group = fact.detail.partition(" ")
        number = int(fact.event.partition("-")[2])
        if (fact.event, audience) in sent:
            continue
        sent.add((fact.event, audience))
        if number < latest.get((audience, group), -1):
            yield Breach("an outbox keeps the order of a key", f"{fact.event} was overtaken")
        latest[audience, group] = max(number, latest.get((audience, group), -1))


def _once(observed: Observed) -> Iterator[Breach]:
    if observed.simulation.setup.once:
        for (service, event), times in sorted(observed.effects.items()):
            if times > 1:
                yield Breach("effects exactly once", f"{event} in {service}: {times} times")


def _reasons(observed: Observed) -> Iterator[Breach]:
    limits = {one.service: one.max_receives for one in observed.simulation.topology.queues}
    for service, event, receive_count, note in observed.dead_letters:
        # A message moved by SQS has no note but keeps its receive count; a worker's copy is a new
        # message, whose count is 0.
        moved = note is None and receive_count >= limits[service]
        if not moved and (note is None or note.reason in ("", NO_REASON)):
            yield Breach("every dead letter has a reason", f"{event} of {service} has none")


def _junk_kept(observed: Observed) -> Iterator[Breach]:
    for fact in observed.record.of("junk"):
        if (fact.service, fact.event) not in observed.dead:
            yield Breach("nothing is deleted silently", f"{fact.event} of {fact.service} is gone")


def _in_order(observed: Observed) -> Iterator[Breach]:
    if not observed.simulation.plan.fifo:
        return
    excused = observed.dead | observed.undelivered | observed.discarded
    numbers = {
        observed.simulation.setup.services[at].service for at in observed.simulation.plan.services
    }
    lines: dict[tuple[str, str], list[str]] = {}
    for fact in observed.record.of("took"):
        audience, _, group = fact.detail.partition(" ")
        for service in numbers if audience == EVERYONE else set(audience.split(",")) & numbers:
            line = lines.setdefault((service, group), [])
            if fact.event not in line:
                line.append(fact.event)
    first: dict[tuple[str, str], int] = {}
    for place, fact in enumerate(observed.record.of("handled")):
        first.setdefault((fact.service, fact.event), place)
    for (service, _), line in sorted(lines.items()):
        latest, before = -1, ""
        for event in line:
            if (service, event) in excused or (service, event) not in first:
                continue
            place = first[service, event]
            if place < latest:
                yield Breach(
                    "a group keeps its order", f"{service} handled {event} before {before}"
                )
            else:
                latest, before = place, event


def _leases_end(observed: Observed) -> Iterator[Breach]:
    """A settled receipt is not hidden again: its message would be redelivered late or never.

    And none is renewed beyond `max_lease`: a hanging handler would keep it for ever.
    """
    promise = "no lease is renewed after its end"
    longest = {one.service: one.max_lease for one in observed.simulation.setup.services}
    settled: set[tuple[str, str]] = set()
    since: dict[tuple[str, str], float] = {}
    for fact in observed.record.of("received", "released", "acknowledged", "hides"):
        receipt, _, more = fact.detail.partition(" ")
        key = (fact.who, receipt)
        if fact.what == "received":
            since[key] = fact.at
        elif fact.what != "hides":
            settled.add(key)
        elif more.endswith("renew"):
            seconds = int(more.partition(" ")[0])
            limit = since[key] + longest[fact.service] + 1
            if key in settled:
                yield Breach(promise, f"{fact.event} of {fact.service} was settled")
            elif seconds and fact.at + seconds > limit:
                yield Breach(promise, f"{fact.event} of {fact.service} has reached its max_lease")


_PROMISES = (
    _comes_to_rest,
    _nothing_lost,
    _nobody_elses,
    _deleted_with_cause,
    _receipts_balance,
    _leases_kept,
    _not_beside_itself,
    _settled_at_the_end,
    _every_attempt,
    _relayed_in_order,
    _once,
    _reasons,
    _junk_kept,
    _in_order,
    _leases_end,
)
