"""Simulates outages and poison messages: how long good ones wait, and what is dead-lettered.

    python -m tests.chaos.outages        the table of docs/explanation/delivery.md

The worker's own steps run on the in-process broker and a simulated clock. A handler takes ten
milliseconds and ten run at once; it raises while the database is away, and always for poison.
"""

from __future__ import annotations

import logging
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.event import Event
from messaging.memory.broker import MemoryBroker
from messaging.outcome import Circuit
from messaging.publishing.publisher import Publisher
from messaging.runtime.backpressure import State
from messaging.testing.clock import FakeClock
from messaging.testing.stepping import Steps
from messaging.topology import Topology

__all__ = ["Played", "Setting", "play", "table"]

HANDLER, REQUEST = 0.01, 0.005
"""Seconds of a handler and of a receive."""
CONCURRENCY = 10
KEYS = 5
"""Groups of a FIFO queue."""
LONGEST = 6 * 3600.0
"""Seconds after which a scenario ends that does not come to rest."""


class _Happened(Event, type="outage.happened", version=1, group="key"):
    n: int
    key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One scenario. Good and poison messages are shuffled; `every` seconds one is published, or all
    at once; the database is away from second `away_from` on, for `away` seconds."""

    good: int
    poison: int = 0
    every: float = 0.0
    away: float = 0.0
    away_from: float = 0.0
    processes: int = 1
    circuit: Circuit | None = field(default_factory=Circuit)
    fifo: bool = False

    @property
    def traffic(self) -> str:
        return f"one in {self.every:.0f} s" if self.every else "all at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The result. Times are in seconds.

    good_lost      good messages that were dead-lettered.
    last_good      when the last good one was handled, since it was published or the start.
    first_attempt  from the database's return to the next attempt: the probe.
    over           from that attempt until nothing that was published before it waits.
    poison_dead    poison messages in the dead-letter queue, each with its reason.
    last_poison    when the last of them got there.
    most_receives  of one message.
    calls_a_second  handlers that failed in the busiest second, after the first try of each message.
    """

    good_lost: int
    last_good: float
    first_attempt: float
    over: float
    poison_dead: int
    last_poison: float
    most_receives: int
    calls_a_second: int


class _Story:
    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting = setting
        self.clock = FakeClock()
        self.began = self.clock.monotonic()
        total = setting.good + setting.poison
        self.poison = set(random.Random(seed).sample(range(total), setting.poison))
        self.published: dict[int, float] = {}
        self.handled: dict[int, float] = {}
        self.calls: list[tuple[float, int]] = []
        self.receives: dict[int, int] = {}
        self.dead: dict[int, float] = {}
        scenario = self

        class Service(Consumer):
            service = "outage"
            circuit = setting.circuit

            @handles
            def happened(self, event: _Happened) -> None:
                scenario.handle(event.n)

        topic = "outages.fifo" if setting.fifo else "outages"
        self.broker = MemoryBroker(Topology.of(Service, topic=topic), clock=self.clock)
        self.publisher = Publisher(self.broker.topic(), source="/outages", clock=self.clock)
        self.steps = [
            Steps.of(
                Dispatcher(Service(), clock=self.clock),
                self.broker,
                concurrency=CONCURRENCY,
                prefetch=CONCURRENCY,
                clock=self.clock,
            )
            for _ in range(setting.processes)
        ]

    @property
    def now(self) -> float:
        return self.clock.monotonic() - self.began

    @property
    def away(self) -> bool:
        start = self.setting.away_from
        return start <= self.now < start + self.setting.away

    def handle(self, number: int) -> None:
        self.calls.append((self.now, number))
        self.receives[number] = self.receives.get(number, 0) + 1
        if self.away:
            raise ConnectionError
        if number in self.poison:
            raise ValueError
        self.handled[number] = self.now

    def run(self) -> Played:
        total = self.setting.good + self.setting.poison
        while len(self.handled) + len(self.dead) < total and self.now < LONGEST:
            self._publish(total)
            if not sum(self._turn(steps) for steps in self.steps):
                self.clock.advance(0.05)
            self._bury()
        self.publisher.close()
        return self._played()

    def _publish(self, total: int) -> None:
        due = total if not self.setting.every else int(self.now / self.setting.every) + 1
        new = range(len(self.published), min(due, total))
        if new:
            self.publisher.publish_many(_Happened(n=number, key=number % KEYS) for number in new)
            self.published |= dict.fromkeys(new, self.now)

    def _turn(self, steps: Steps) -> int:
        brought = steps.poll() or 0
        if brought:
            self.clock.advance(REQUEST / len(self.steps))
        handled = 0
        while steps.handle():
            handled += 1
            at_once = CONCURRENCY // 2 if steps.state is State.OPEN else CONCURRENCY
            self.clock.advance(HANDLER / at_once / len(self.steps))
        steps.settle()
        steps.renew()
        return brought + handled

    def _bury(self) -> None:
        letters = self.broker.dead_letters("outage")
        for letter in letters[len(self.dead) :]:
            number = int(re.findall(r'"n":(\d+)', letter.body)[0])
            self.dead[number] = self.now

    def _played(self) -> Played:
        back = self.setting.away_from + self.setting.away
        after = [at for at, _ in self.calls if at >= back]
        probe = min(after, default=back) if self.setting.away else back
        waited = [
            at for number, at in self.handled.items() if self.published[number] <= probe
        ] + [probe]  # fmt: skip
        seconds: dict[int, int] = {}
        tried: set[int] = set()
        for at, number in self.calls:
            if number in tried and self.away_at(at):
                seconds[int(at)] = seconds.get(int(at), 0) + 1
            tried.add(number)
        return Played(
            good_lost=sum(number not in self.poison for number in self.dead),
            last_good=max(
                (at - self.published[number] for number, at in self.handled.items()), default=0.0
            ),
            first_attempt=probe - back if self.setting.away else 0.0,
            over=max(waited) - probe if self.setting.away else 0.0,
            poison_dead=sum(number in self.poison for number in self.dead),
            last_poison=max(
                (self.dead[n] - self.published[n] for n in self.dead if n in self.poison),
                default=0.0,
            ),
            most_receives=max(self.receives.values(), default=0),
            calls_a_second=max(seconds.values(), default=0),
        )

    def away_at(self, at: float) -> bool:
        start = self.setting.away_from
        return start <= at < start + self.setting.away


def play(setting: Setting, seed: int = 1) -> Played:
    """Run one scenario to its end."""
    state = random.getstate()
    random.seed(seed)
    try:
        return _Story(setting, seed).run()
    finally:
        random.setstate(state)


OUTAGES: Sequence[Setting] = [
    Setting(good=good, away=away, every=every, processes=processes)
    for good, every, processes in [
        (1, 0, 1), (5, 0, 1), (20, 0, 1), (45, 0, 1), (120, 0, 1), (1_000, 0, 1), (10_000, 0, 1),
        (15, 60, 1), (120, 0, 4),
    ]
    for away in (35, 60, 600)
]  # fmt: skip
POISON: Sequence[Setting] = [
    Setting(good=good, poison=poison)
    for poison, good in [(200, 20), (20, 200), (1_000, 1), (1_000, 10), (50, 0), (1, 0), (1, 1)]
]


_OUTAGES_HEAD = """\
| messages | traffic | processes | database away | dead-lettered | next attempt after | over after \
that | most receives | failing retries a second |
|--:|---|--:|--:|--:|--:|--:|--:|--:|
"""
_POISON_HEAD = """
| poison | good | last good one, with the circuit | without | poison in the DLQ | the last of them \
after |
|--:|--:|--:|--:|--:|--:|
"""


def table(
    outages: Sequence[Setting] = OUTAGES, poison: Sequence[Setting] = POISON
) -> Iterator[str]:
    """The two tables, in Markdown."""
    yield _OUTAGES_HEAD
    for one in outages:
        found = play(one)
        yield (
            f"| {one.good:,} | {one.traffic} | {one.processes} | {one.away:.0f} s "
            f"| {found.good_lost} | {found.first_attempt:.1f} s | {found.over:.1f} s "
            f"| {found.most_receives} | {found.calls_a_second} |\n"
        )
    yield _POISON_HEAD
    for one in poison:
        found, without = play(one), play(replace(one, circuit=None))
        yield (
            f"| {one.poison:,} | {one.good:,} "
            f"| {found.last_good:.2f} s | {without.last_good:.2f} s "
            f"| {found.poison_dead:,} | {found.last_poison:.0f} s |\n"
        )


if __name__ == "__main__":
    logging.getLogger("messaging").setLevel(logging.CRITICAL)
    for part in table():
        sys.stdout.write(part)
        sys.stdout.flush()
