# ruff: noqa: T201 - a command
"""Scenarios over real sockets: a publisher and a threaded worker against an answering stub.

    python -m tests.chaos.sockets --seeds 50
    python -m tests.chaos.sockets --seed 7 --log

`make chaos` plays threads and stands behind the broker's interface. Here both transports' parsers,
their connections and the worker's threads are the real ones, in real time: a seed gives the faults
and the services' behaviour, but not the order in which threads run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import boto3
from tenacity import wait_fixed

from messaging.aws.broker import AwsBroker, connect
from messaging.clock import SystemClock
from messaging.consuming.consumer import Consumer, handles
from messaging.dead_letters import reason as dead_letter_reason
from messaging.envelope import Envelope
from messaging.errors import BufferFull, PublishError
from messaging.event import Event
from messaging.memory import MemoryBroker, StoredMessage
from messaging.outcome import Discard, Reject, Retry, RetryPolicy
from messaging.publishing.publisher import Publisher
from messaging.runtime.in_flight import Stats
from messaging.runtime.worker import Worker
from messaging.settings import Settings
from messaging.topology import Topology, queue_name
from messaging.transport import Delivery, Failure
from tests.chaos.stub import ARN, FAULTS, FIFO_ARN, Stub

__all__ = ["Outcome", "Scenario", "main", "play", "scenario"]

READ_TIMEOUT = 0.25
"""Seconds that the client waits for an answer."""
TROUBLE = 0.8
"""Seconds for which requests meet faults."""
REST = 20.0
"""Seconds in which everything must have come to rest once the faults are over."""
REASON = "on purpose"
ENDS = {"": "done", "reject": "copied", "discard": "discarded"}
"""What becomes of an event after a handler's word; after any other it is handled in the end."""
FAILURES = 2
"""Times at most that one event fails in one service for a passing reason."""


GROUPS = 5


def _group(number: int) -> str:
    return str(number % GROUPS)


class Moved(Event, type="chaos.wire.moved", version=1, group="who"):
    """What is published; a FIFO topic keeps the order of each `who`."""

    who: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a seed says. `pace` is the most seconds that a handler takes; 0 is at once."""

    seed: int
    transport: Literal["fast", "boto3"]
    fifo: bool
    events: int
    concurrency: int
    pace: float
    trouble: float
    rate: float
    faults: tuple[str, ...]
    workers: int


def scenario(seed: int) -> Scenario:
    rng = random.Random(f"{seed} story")
    return Scenario(
        seed=seed,
        transport="fast" if seed % 2 == 0 else "boto3",
        fifo=seed % 3 == 2,
        events=rng.randint(20, 120),
        concurrency=rng.choice((1, 2, 5, 10, 50)),
        pace=rng.choice((0.0, 0.0, 0.005, 0.03)),
        trouble=rng.choice((0.0, 0.1, 0.3)),
        rate=rng.choice((0.05, 0.15, 0.3)),
        # A few kinds alone meet each other more often than all of them would.
        faults=FAULTS if rng.random() < 0.5 else tuple(rng.sample(FAULTS, 3)),
        workers=rng.choice((1, 1, 2)),
    )


@dataclass
class Outcome:
    """What a scenario came to, and every promise that it broke."""

    seed: int
    accepted: int = 0
    handled: int = 0
    dead: int = 0
    discarded: int = 0
    receipts: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)


class _Hooks(NamedTuple):
    """What one consumer of one worker was called for, in order."""

    what: list[str]


class _Told(Consumer):
    """What both services share: they note what they do, and fail as the seed says."""

    visibility_timeout = 1
    retry = RetryPolicy(max_attempts=50, wait=wait_fixed(0))
    circuit = None
    max_receives = 200
    stub: Stub
    plan: Scenario

    def __init__(self, stub: Stub, plan: Scenario) -> None:
        self.stub, self.plan = stub, plan
        self.hooks = _Hooks([])
        self._tries: Counter[str] = Counter()
        self._lock = threading.Lock()

    def begin(self, event: str, number: int) -> float:
        """Seconds that it is to take; raises what goes wrong."""
        self.hooks.what.append("handle")
        self.stub.note("begun", self.service, event)
        what, rng = mistake(self.plan, self.service, number)
        with self._lock:
            self._tries[event] += 1
            tries = self._tries[event]
        if what:
            if what == "reject":
                raise Reject(REASON)
            if what == "discard":
                self.stub.note("discarded", self.service, event)
                raise Discard("on purpose")
            if tries <= rng.randint(1, FAILURES):
                raise {
                    "raise": RuntimeError("on purpose"),
                    "exit": SystemExit(3),
                    "interrupt": KeyboardInterrupt(),
                    "retry": Retry(0),
                }[what]
        return rng.random() * self.plan.pace

    def done(self, event: str) -> None:
        self.stub.note("done", self.service, event)


def mistake(plan: Scenario, service: str, number: int) -> tuple[str, random.Random]:
    """What goes wrong with this event in this service: always the same; empty: nothing."""
    rng = random.Random(f"{plan.seed} {service} {number}")
    if rng.random() >= plan.trouble:
        return "", rng
    return rng.choice(("raise", "exit", "interrupt", "retry", "reject", "discard")), rng


class Blocking(_Told):
    """Sync handlers and hooks."""

    service = "blocking"

    def open(self) -> None:
        self.hooks.what.append("open")

    def close(self) -> None:
        self.hooks.what.append("close")

    @handles
    def moved(self, moved: Moved, envelope: Envelope) -> None:
        seconds = self.begin(envelope.id, moved.number)
        if seconds:
            time.sleep(seconds)
        self.done(envelope.id)


class Awaiting(_Told):
    """Async handlers and hooks."""

    service = "awaiting"

    async def open(self) -> None:
        self.hooks.what.append("open")

    async def close(self) -> None:
        self.hooks.what.append("close")

    @handles
    async def moved(self, moved: Moved, envelope: Envelope) -> None:
        seconds = self.begin(envelope.id, moved.number)
        if seconds:
            await asyncio.sleep(seconds)
        self.done(envelope.id)


SERVICES = (Blocking, Awaiting)


class _Hurried(SystemClock):
    """Waits between attempts are a tenth of what they are."""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 10)


class _Believing:
    """The broker, whose queues compare what they were told with what the server did."""

    def __init__(self, broker: AwsBroker, stub: Stub) -> None:
        self._broker = broker
        self._stub = stub
        self.breaches: list[str] = []

    def topic(self) -> Any:
        return self._broker.topic()

    def queue(self, service: str) -> Any:
        queue: Any = self._broker.queue(service)

        def checked(what: str, request: Callable[..., Sequence[Failure]]) -> Any:
            def ask(deliveries: Sequence[Delivery], *more: Any) -> Sequence[Failure]:
                failures = request(deliveries, *more)
                failed = {one.index for one in failures}
                did = _receipts(self._stub, service, what)
                self.breaches += [
                    f"nothing is believed that was not done: {service}, {what}: {one.receipt}"
                    for place, one in enumerate(deliveries)
                    if place not in failed and one.receipt not in did
                ]
                return failures

            return ask

        queue.delete = checked("deleted", queue.delete)
        queue.change_visibility = checked("hidden", queue.change_visibility)
        return queue


def play(plan: Scenario, *, rest: float = REST) -> Outcome:
    """Play one scenario, and judge it; it has `rest` seconds to come to rest."""
    outcome = Outcome(plan.seed)
    memory = MemoryBroker(Topology.of(*SERVICES, topic=_arn(plan).rpartition(":")[2]))
    stub = Stub(
        memory, seed=plan.seed, rate=plan.rate, faults=plan.faults, read_timeout=READ_TIMEOUT
    )
    broker = _connected(plan, stub)
    told = _Believing(broker, stub)
    sets = [[one(stub, plan) for one in SERVICES] for _ in range(plan.workers)]
    workers = [
        Worker(
            *each,
            broker=told,
            concurrency=plan.concurrency,
            wait=1,
            drain=min(5, rest),
            poll_grace=1,
        )
        for each in sets
    ]
    errors: list[BaseException] = []
    accepted: set[str] = set()
    try:
        running = [threading.Thread(target=_run, args=(one, errors)) for one in workers]
        for thread in running:
            thread.start()
        # On a busy machine all might be over before the second worker had begun.
        begun = time.monotonic() + rest
        while not all(one.hooks.what for each in sets for one in each):
            if errors or time.monotonic() > begun:
                break
            time.sleep(0.01)
        calm = threading.Timer(TROUBLE, stub.calm)
        calm.start()
        accepted = _publish(plan, broker)
        calm.join()
        until = time.monotonic() + rest
        while any(memory.messages(one.service) for one in SERVICES) and time.monotonic() < until:
            time.sleep(0.02)
        left = {one.service: len(memory.messages(one.service)) for one in SERVICES}
        letters = {one.service: memory.dead_letters(one.service) for one in SERVICES}
        for worker in workers:
            worker.stop()
        for thread in running:
            thread.join()
        if any(left.values()):
            outcome.breaches.append(f"everything comes to rest: left in the queues: {left}")
    finally:
        stub.calm()
        for worker in workers:
            worker.stop()
        broker.close()
        stub.close()
    outcome.breaches += [f"a worker lives on: it ended in {type(one).__name__}" for one in errors]
    for consumers in sets:
        outcome.breaches += _hooks(consumers)
    outcome.breaches += _accounts(stub, workers)
    outcome.breaches += told.breaches
    outcome.breaches += _fates(plan, stub, accepted, outcome)
    outcome.breaches += _letters(plan, letters)
    if plan.fifo:
        outcome.breaches += _order(stub)
    outcome.injected = stub.injected
    return outcome


def _arn(plan: Scenario) -> str:
    return FIFO_ARN if plan.fifo else ARN


def _connected(plan: Scenario, stub: Stub) -> AwsBroker:
    session: Any = boto3.Session("a", "b", region_name="us-east-1")  # type: ignore[call-overload]  # positional keys
    settings = Settings(
        topic=_arn(plan), endpoint_url=stub.url, region="us-east-1", transport=plan.transport
    )
    broker = connect(settings, session=session)
    broker._clients._read_timeout = READ_TIMEOUT
    # Made here, so that the clients' models are loaded before the clock of the scenario runs.
    _ = broker._clients.topics, broker._clients.queues, broker._clients.patient_sqs
    return broker


def _run(worker: Worker, errors: list[BaseException]) -> None:
    try:
        worker.run()
    except BaseException as error:  # noqa: BLE001 - judged by the scenario
        errors.append(error)


def _publish(plan: Scenario, broker: AwsBroker) -> set[str]:
    """Publish all events, in each of three ways a third; the ids of those that were accepted."""
    accepted: set[str] = set()
    ids = [f"{plan.seed}-{number}" for number in range(plan.events)]
    events = [Moved(who=_group(one), number=one) for one in range(plan.events)]
    with Publisher(broker.topic(), source="/chaos", timeout=5, clock=_Hurried()) as publisher:
        for number in range(0, plan.events, 3):
            with suppress(PublishError):
                accepted.add(publisher.publish(events[number], id=ids[number]).id)
        accepted |= _published_many(publisher, events, ids, range(1, plan.events, 3))
        with publisher.buffered(linger=0.001) as buffered:
            pending: list[tuple[str, Future[Any]]] = []
            for number in range(2, plan.events, 3):
                with suppress(BufferFull, PublishError):
                    pending.append((ids[number], buffered.publish(events[number], id=ids[number])))
        accepted |= {id for id, future in pending if future.exception(10) is None}
    return accepted


def _published_many(
    publisher: Publisher, events: Sequence[Event], ids: Sequence[str], places: range
) -> set[str]:
    given = iter([ids[place] for place in places])
    try:
        result = publisher.publish_many(
            [events[place] for place in places], id=lambda _: next(given)
        )
    except PublishError as error:
        if error.result is None:
            return set()
        result = error.result
    failed = {one.index for one in result.failed}
    return {ids[places[n]] for n in range(result.consumed) if n not in failed}


# -- the verdict


def _hooks(consumers: Sequence[_Told]) -> Iterator[str]:
    for one in consumers:
        calls = one.hooks.what
        if calls.count("open") != 1 or calls.count("close") != 1:
            yield f"hooks are called once: {one.service} had {Counter(calls)}"
        elif calls[0] != "open" or calls[-1] != "close":
            yield f"hooks stand around the handlers: {one.service} handled outside of them"


def _balances(workers: Sequence[Worker]) -> Iterator[str]:
    """Every receipt has ended in one of four ways."""
    for worker in workers:
        for service in SERVICES:
            stats = worker.stats_of(service.service)
            if stats.in_flight or not stats.balanced:
                yield f"receipts balance: {service.service}: {stats}"


def _accounts(stub: Stub, workers: Sequence[Worker]) -> Iterator[str]:
    """And a worker never counts more than the server did: what was lost on the way is less."""
    yield from _balances(workers)
    for service in (one.service for one in SERVICES):
        stats = sum((worker.stats_of(service) for worker in workers), Stats())
        did = {what: _receipts(stub, service, what) for what in ("received", "deleted", "hidden")}
        for what, counted in (
            ("received", stats.received),
            ("deleted", stats.acknowledged + stats.dead_lettered),
            ("hidden", stats.released),
        ):
            if counted > len(did[what]):
                yield (
                    f"nothing counts that was not done: {service} counts {counted} {what}, "
                    f"the server {len(did[what])}"
                )


def _receipts(stub: Stub, service: str, what: str) -> set[str]:
    return {one.receipt for one in tuple(stub.facts) if one.what == what and one.service == service}


def _letters(plan: Scenario, letters: Mapping[str, Sequence[StoredMessage]]) -> Iterator[str]:
    """Every dead letter says why, from which queue, and after how many receives."""
    topic = _arn(plan).rpartition(":")[2]
    for service, found in letters.items():
        for letter in found:
            event = json.loads(letter.body)["id"]
            _, note = dead_letter_reason.read(letter.attributes)
            if note is None or note.reason != REASON or not note.attempts:
                yield f"every dead letter has its reason: {event} of {service} has {note}"
            elif note.queue != queue_name(topic, service):
                yield f"every dead letter has its queue: {event} of {service} has {note.queue}"
            elif plan.fifo and letter.group != _group(_number(event)):
                yield f"a dead letter keeps its group: {event} of {service} has {letter.group}"


def _order(stub: Stub) -> Iterator[str]:
    """The topic takes a group as it was given, and nothing of it begins before what is ahead."""
    lines: dict[str, list[str]] = {}
    begun: dict[tuple[str, str], int] = {}
    ended: dict[tuple[str, str], int] = {}
    for fact in tuple(stub.facts):
        pair = (fact.service, fact.event)
        if fact.what == "took":
            line = lines.setdefault(fact.receipt, [])
            if fact.event not in line:
                line.append(fact.event)
        elif fact.what == "begun":
            begun.setdefault(pair, fact.at)
        elif fact.what in ENDS.values():
            ended.setdefault(pair, fact.at)
    for group, line in sorted(lines.items()):
        # Each of the three ways to publish takes every third event, one way after the other.
        if line != sorted(line, key=lambda event: (_number(event) % 3, _number(event))):
            yield f"a group is sent in the order in which it was given: {group}: {line}"
        for service in (one.service for one in SERVICES):
            for before, event in pairwise(line):
                first = begun.get((service, event))
                end = ended.get((service, before))
                if first is not None and (end is None or end > first):
                    yield f"a group keeps its order: {service} began {event} before {before} ended"


def _number(event: str) -> int:
    return int(event.rpartition("-")[2])


def _fates(plan: Scenario, stub: Stub, accepted: set[str], outcome: Outcome) -> Iterator[str]:
    """No accepted event is lost, and nothing is deleted that had no end before."""
    ended: set[tuple[str, str]] = set()
    kinds: dict[str, set[tuple[str, str]]] = {one: set() for one in ("done", "copied", "discarded")}
    for fact in stub.facts:
        pair = (fact.service, fact.event)
        if fact.what in kinds:
            kinds[fact.what].add(pair)
            ended.add(pair)
        elif fact.what == "deleted" and pair not in ended:
            yield f"nothing is deleted that was not handled: {fact.event} of {fact.service}"
        outcome.receipts += fact.what == "received"
    wanted = {(one.service, event) for one in SERVICES for event in accepted}
    for service, event in sorted(wanted - ended):
        yield f"no accepted event is lost: {event} never reached {service}"
    for service, event in sorted(ended):
        said = mistake(plan, service, _number(event))[0]
        wanted = ENDS.get(said, "done")
        for kind in kinds:
            if (kind == wanted) is not ((service, event) in kinds[kind]):
                yield (
                    f"an event ends as its handler said: {event} of {service}, "
                    f"{said or 'handled'}: {kind} is {(service, event) in kinds[kind]}"
                )
    outcome.accepted = len(accepted)
    outcome.handled = len(kinds["done"])
    outcome.dead = len(kinds["copied"])
    outcome.discarded = len(kinds["discarded"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.sockets", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="scenarios to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument("--log", action="store_true", help="show the library's log")
    asked = parser.parse_args(arguments)
    if not asked.log:
        logging.disable(logging.CRITICAL)
    first, many = (asked.first, asked.seeds) if asked.seed is None else (asked.seed, 1)
    began, broken = time.monotonic(), 0
    together = Outcome(first)
    for seed in range(first, first + many):
        outcome = play(scenario(seed))
        broken += bool(outcome.breaches)
        for breach in outcome.breaches:
            print(f"seed {seed}: {breach}")
        for name in ("accepted", "handled", "dead", "discarded", "receipts"):
            setattr(together, name, getattr(together, name) + getattr(outcome, name))
        together.injected += outcome.injected
    print(f"{many} scenarios, {time.monotonic() - began:.0f} s; {broken} broke a promise")
    print(
        f"events accepted {together.accepted}; pairs handled {together.handled}, dead-lettered "
        f"{together.dead}, discarded {together.discarded}; receipts {together.receipts}"
    )
    print(f"faults {together.injected.total()}: {dict(together.injected.most_common())}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
