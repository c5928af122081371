"""The room of the verdict: what must hold at the end of every story, whatever went wrong in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from messaging import deadletter
from messaging.memory.shelves import StoredMessage
from messaging.projection import EVERYONE, Projection
from messaging.testing.chaos.process import End
from messaging.testing.chaos.world import World, event_id

__all__ = ["Breach", "Count", "breaches", "count"]

NO_REASON = "none given"
"""What a dead letter says whose reason was empty: SQS takes no empty attribute."""


class Breach(NamedTuple):
    """One promise that was not kept: which, and how it shows."""

    promise: str
    how: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What one story, or many together, came to. All are counts.

    wanted        pairs of an accepted event and a service that wants it.
    done          of these, handled.
    dead_lettered, undelivered, discarded   of these, what else became of them.
    duplicates    effects beyond the first, of one event in one service, without idempotency;
                  `duplicates_once` with it.
    receipts, redeliveries   what workers received, and those that came again.
    """

    stories: int = 0
    events: int = 0
    wanted: int = 0
    done: int = 0
    dead_lettered: int = 0
    undelivered: int = 0
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
        mine, theirs = _numbers(self), _numbers(other)
        return Count(**{name: value + theirs[name] for name, value in mine.items()})


def _numbers(one: Count) -> dict[str, int]:
    return {name: getattr(one, name) for name in Count.__dataclass_fields__}


class _Ending:
    """What became of everything, read from the record and from what lies in the broker."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.record = world.record
        services = world.topology.services
        self.letters = {one: world.broker.dead_letters(one) for one in services}
        self.dead = self._where(self.letters)
        self.undelivered = self._where({one: world.broker.undelivered(one) for one in services})
        self.discarded = {(fact.service, fact.event) for fact in self.record.of("discarded")}

    def _where(self, of: dict[str, tuple[StoredMessage, ...]]) -> set[tuple[str, str]]:
        return {
            (service, self.world.event_of(one.message_id, one.body))
            for service, letters in of.items()
            for one in letters
        }

    @cached_property
    def effects(self) -> Counter[tuple[str, str]]:
        if self.world.cast.effects is not None:
            return Counter(self.world.cast.effects())
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
        """Who is to hear of what: read from the consumers, not from what the library sends."""
        world = self.world
        return [
            (service, event_id(number))
            for number in world.plan.events
            for at in world.plan.services
            for service in [world.cast.services[at].service]
            if world.published.get(event_id(number)) and _wants(world, at, number)
        ]

    @cached_property
    def lost(self) -> list[tuple[str, str]]:
        ended_well = {(fact.service, fact.event) for fact in self.record.of("done")}
        done = self.effects.keys() & ended_well
        accounted = done | self.dead | self.undelivered | self.discarded
        return [pair for pair in self.wanted if pair not in accounted]


def _wants(world: World, at: int, number: int) -> bool:
    event = world.cast.events[number]
    handler = world.cast.services[at].handlers.get(type(event).event_type)
    if handler is None:
        return False
    view = handler.view
    return not issubclass(view, Projection) or view.wanted(event)


def breaches(world: World) -> list[Breach]:
    """Every promise that this story broke."""
    ending = _Ending(world)
    return [breach for promise in _PROMISES for breach in promise(ending)]


def count(world: World) -> Count:
    """What this story came to."""
    ending = _Ending(world)
    wanted = set(ending.wanted)
    receipts = list(world.record.of("received"))
    duplicates = sum(ending.effects.values()) - len(ending.effects)
    return Count(
        stories=1,
        events=sum(world.published.values()),
        wanted=len(wanted),
        done=len(wanted & ending.effects.keys()),
        dead_lettered=len(wanted & ending.dead),
        undelivered=len(wanted & ending.undelivered),
        discarded=len(wanted & ending.discarded),
        lost=len(ending.lost),
        unaccounted=sum(abs(_unaccounted(end)) for end in world.ends),
        duplicates=0 if world.cast.once else duplicates,
        duplicates_once=duplicates if world.cast.once else 0,
        receipts=len(receipts),
        redeliveries=sum(not fact.detail.endswith("/1") for fact in receipts),
        facts=len(world.record),
        kills=sum(1 for _ in world.record.of("killed")),
    )


def _comes_to_rest(ending: _Ending) -> Iterator[Breach]:
    if not ending.world.at_rest:
        left = {one: len(ending.world.broker.messages(one)) for one in ending.letters}
        yield Breach("everything comes to rest", f"left in the queues: {left}")


def _nothing_lost(ending: _Ending) -> Iterator[Breach]:
    for service, event in ending.lost:
        yield Breach("no accepted event is lost", f"{event} never reached {service}")


def _nobody_elses(ending: _Ending) -> Iterator[Breach]:
    world = ending.world
    known = {event_id(number): number for number in world.plan.events}
    numbers = {world.cast.services[at].service: at for at in world.plan.services}
    for service, event in sorted(ending.effects):
        number = known.get(event)
        if number is None or not _wants(world, numbers[service], number):
            yield Breach("nobody hears of what is not theirs", f"{service} handled {event}")


def _deleted_with_cause(ending: _Ending) -> Iterator[Breach]:
    caused: set[tuple[str, str]] = set()
    for fact in ending.record.of("done", "discarded", "copied", "gone"):
        pair = (fact.service, fact.event)
        if fact.what != "gone":
            caused.add(pair)
        elif pair not in caused:
            yield Breach(
                "nothing is deleted that was not handled or dead-lettered",
                f"{fact.event} of {fact.service} at {fact.at:.2f}",
            )


def _receipts_balance(ending: _Ending) -> Iterator[Breach]:
    promise = "receipts balance"
    given = Counter((one.who, one.service) for one in ending.record.of("received"))
    taken: dict[tuple[str, str], set[str]] = {}
    for fact in ending.record.of("acknowledged"):
        taken.setdefault((fact.who, fact.service), set()).add(fact.detail)
    for end in ending.world.ends:
        stats, key = end.stats, (end.who, end.service)
        if off := _unaccounted(end):
            yield Breach(promise, f"{end.who} {end.service}: {off} too many or too few: {stats}")
        if stats.received != given[key]:
            yield Breach(
                promise, f"{end.who} {end.service} was given {given[key]}, counts {stats.received}"
            )
        deleted = len(taken.get(key, ()))
        if stats.acknowledged + stats.dead_lettered != deleted:
            yield Breach(
                promise,
                f"{end.who} {end.service} counts {stats.acknowledged} acknowledged and "
                f"{stats.dead_lettered} dead-lettered; the queue took {deleted} deletes",
            )


def _unaccounted(end: End) -> int:
    stats = end.stats
    settled = stats.acknowledged + stats.released + stats.dead_lettered + stats.expired
    return stats.received - settled


def _once(ending: _Ending) -> Iterator[Breach]:
    if ending.world.cast.once:
        for (service, event), times in sorted(ending.effects.items()):
            if times > 1:
                yield Breach("effects exactly once", f"{event} in {service}: {times} times")


def _reasons(ending: _Ending) -> Iterator[Breach]:
    limits = {one.service: one.max_receives for one in ending.world.topology.queues}
    for service, letters in ending.letters.items():
        for letter in letters:
            _, note = deadletter.read(letter.attributes)
            # What SQS itself moved after too many receives has no reason but their number.
            bare = note is None or note.reason in ("", NO_REASON)
            if bare and letter.receive_count < limits[service]:
                event = ending.world.event_of(letter.message_id, letter.body)
                yield Breach("every dead letter has a reason", f"{event} of {service} has none")


def _junk_kept(ending: _Ending) -> Iterator[Breach]:
    for fact in ending.record.of("junk"):
        if (fact.service, fact.event) not in ending.dead:
            yield Breach("nothing is deleted silently", f"{fact.event} of {fact.service} is gone")


def _in_order(ending: _Ending) -> Iterator[Breach]:
    if not ending.world.plan.fifo:
        return
    excused = ending.dead | ending.undelivered | ending.discarded
    numbers = {ending.world.cast.services[at].service for at in ending.world.plan.services}
    lines: dict[tuple[str, str], list[str]] = {}
    for fact in ending.record.of("took"):
        audience, _, group = fact.detail.partition(" ")
        for service in numbers if audience == EVERYONE else set(audience.split(",")) & numbers:
            line = lines.setdefault((service, group), [])
            if fact.event not in line:
                line.append(fact.event)
    first: dict[tuple[str, str], int] = {}
    for place, fact in enumerate(ending.record.of("handled")):
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


def _leases_end(ending: _Ending) -> Iterator[Breach]:
    """A receipt that was settled is not hidden again: its message would come late or never.

    And none is hidden longer than a handler may take.
    """
    settled: set[tuple[str, str]] = set()
    for fact in ending.record.of("released", "acknowledged", "hides"):
        receipt = (fact.who, fact.detail.partition(" ")[0])
        if fact.what != "hides":
            settled.add(receipt)
        elif receipt in settled and fact.detail.endswith("renew"):
            yield Breach(
                "no lease is renewed after its end", f"{fact.event} of {fact.service}, {fact.who}"
            )


_PROMISES = (
    _comes_to_rest,
    _nothing_lost,
    _nobody_elses,
    _deleted_with_cause,
    _receipts_balance,
    _once,
    _reasons,
    _junk_kept,
    _in_order,
    _leases_end,
)
