"""Schedules against a local server: real worker processes, killed and stopped while they work.

python -m tests.chaos.server --schedules 50
python -m tests.chaos.server --schedules 1 --events 10000 --kills 50 --once
python -m tests.chaos.server --schedules 30 --broker rabbitmq
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from messaging.connecting import ServiceBroker
from messaging.dead_letters import reason as dead_letter_reason
from messaging.errors import PublishError
from messaging.event import Event
from messaging.publishing.publisher import Publisher
from messaging.settings import Settings
from messaging.sql import open_sqlite
from tests.chaos.grounds import GROUNDS, Ground
from tests.chaos.sample import Enrolled, Paid
from tests.chaos.services import EFFECTS, SERVICES, TOPOLOGY

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180.0
"""Seconds in which the queues must be empty when nothing goes wrong any more."""
TRYING = 60.0
"""Seconds for which the producer publishes a portion again, until all of it is accepted."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What one run does. `once` puts effect and mark into one transaction."""

    seed: int
    events: int = 300
    workers: int = 2
    kills: int = 3
    stops: int = 2
    node_kills: int = 0
    once: bool = False


@dataclass(kw_only=True)
class Outcome:
    """What came of it. Pairs are of an accepted event and a service that wants it.

    refused  events that were not accepted in all that time: told to their producer, never lost.
    tries    what the producer was told of events that it then published again, by code.
    """

    schedules: int = 0
    events: int = 0
    refused: int = 0
    pairs: int = 0
    handled: int = 0
    dead_lettered: int = 0
    lost: int = 0
    without_reason: int = 0
    duplicates: int = 0
    duplicates_once: int = 0
    kills: int = 0
    stops: int = 0
    node_kills: int = 0
    not_at_rest: int = 0
    longest_stop: float = 0.0
    seconds: float = 0.0
    injected: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)

    @property
    def broken(self) -> int:
        wrong = self.lost + self.without_reason + self.duplicates_once + self.not_at_rest
        return wrong + self.refused

    def add(self, other: Outcome) -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            longest = name == "longest_stop"
            setattr(self, name, max(mine, value) if longest else mine + value)


class Workers:
    """Worker processes that are started again when they have ended, however they ended."""

    def __init__(self, count: int, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log.open("ab")
        self.longest_stop = 0.0
        self._processes = [self._start() for _ in range(count)]

    def kill(self, chance: random.Random) -> None:
        """kill -9 one, and start another in its place."""
        at = chance.randrange(len(self._processes))
        self._processes[at].kill()
        self._processes[at].wait()
        self._processes[at] = self._start()

    def stop(self, chance: random.Random) -> None:
        """SIGTERM one, wait for its end, and start another in its place."""
        at = chance.randrange(len(self._processes))
        self._end(self._processes[at])
        self._processes[at] = self._start()

    def keep_up(self) -> None:
        """Start those again that ended by themselves."""
        for at, process in enumerate(self._processes):
            if process.poll() is not None:
                self._processes[at] = self._start()

    def close(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            self._end(process)
        self._log.close()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.longest_stop = max(self.longest_stop, time.monotonic() - began)

    def _start(self) -> subprocess.Popen[bytes]:
        names = [f"tests.chaos.services:{service.__name__}" for service in SERVICES]
        command = [sys.executable, "-m", "messaging", "run", *names]
        options = "--wait 1 --drain 5 --concurrency 4 --topology tests.chaos.services:TOPOLOGY"
        return subprocess.Popen(
            [*command, *options.split(), "--middleware", "tests.chaos.services:once"],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )


class Producer:
    """Publishes in a thread of its own, a portion when asked, again until it is accepted."""

    def __init__(self, broker: ServiceBroker, events: int, *, portions: int) -> None:
        self.accepted: set[int] = set()
        self.refused: set[int] = set()
        self.tries: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._broker = broker
        self._events = [event_of(number) for number in range(events)]
        self._portion = -(-events // portions)
        self._asked = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """Publish one portion more."""
        self._asked.release()

    def finish(self) -> None:
        self._asked.release()
        self._thread.join()
        self._broker.close()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            with Publisher(self._broker.topic(), source="/chaos") as publisher:
                for start in range(0, len(self._events), self._portion):
                    self._asked.acquire()
                    numbers = list(range(start, min(start + self._portion, len(self._events))))
                    until = time.monotonic() + TRYING
                    while (
                        numbers := self._publish(publisher, numbers)
                    ) and until > time.monotonic():
                        time.sleep(0.2)
                    self.refused.update(numbers)
        except BaseException as error:  # noqa: BLE001 - `finish` raises it
            self.error = error

    def _publish(self, publisher: Publisher, numbers: Sequence[int]) -> list[int]:
        """Those that were not accepted."""
        ids = iter([f"event-{number}" for number in numbers])
        left: set[int] = set()
        consumed = len(numbers)
        try:
            publisher.publish_many(
                [self._events[number] for number in numbers], id=lambda _event: next(ids)
            )
        except PublishError as error:
            result: Any = error.result
            left = {int(one.id.partition("-")[2]) for one in result.failed}
            self.tries.update(one.code for one in result.failed)
            consumed = result.consumed
        self.accepted |= set(numbers[:consumed]) - left
        return sorted(left | set(numbers[consumed:]))


def event_of(number: int) -> Event:
    if number % 3 == 2:
        return Paid(student=number, cents=100)
    return Enrolled(student=number, name=f"Student {number}", agreed=number % 2 == 0)


def wanted_by(number: int) -> set[str]:
    """Which services want event number so and so: the test's own knowledge."""
    if number % 3 == 2:
        return {"billing", "reports"}
    return {"platform", "billing", "reports"} | ({"mailing"} if number % 2 == 0 else set())


def run(ground: Ground, schedule: Schedule, folder: Path) -> Outcome:
    """One schedule, on queues of its own."""
    began = time.monotonic()
    chance = random.Random(schedule.seed)
    database = folder / f"effects-{schedule.seed}-{os.getpid()}.db"
    with closing(open_sqlite(database)) as connection:
        connection.execute(EFFECTS)
    direct = ground.prepared(TOPOLOGY, f"s{schedule.seed}-")
    outcome = Outcome(
        schedules=1, kills=schedule.kills, stops=schedule.stops, node_kills=schedule.node_kills
    )
    with ground.proxy(schedule.seed) as proxy:
        environment = {
            **os.environ,
            **ground.environment(proxy),
            "MESSAGING_TOPIC": "chaos",
            "MESSAGING_PREFIX": f"s{schedule.seed}-",
            "MESSAGING_LOG_LEVEL": "WARNING",
            "CHAOS_DATABASE": str(database),
            "CHAOS_ONCE": "1" if schedule.once else "0",
        }
        workers = Workers(schedule.workers, environment, folder / "workers.log")
        try:
            portions = schedule.kills + schedule.stops + schedule.node_kills + 1
            broker = ground.connect(ground.through(direct, proxy))
            producer = Producer(broker, schedule.events, portions=portions)
            _hurt(ground, workers, schedule, chance, producer, database)
            producer.finish()
            proxy.calm()
            outcome.not_at_rest = 0 if _rests(ground, workers, direct) else 1
        finally:
            workers.close()
        outcome.injected, outcome.requests = proxy.injected, proxy.requests
    outcome.longest_stop = workers.longest_stop
    outcome.refused, outcome.tries = len(producer.refused), producer.tries
    _judge(outcome, schedule, producer.accepted, database, ground, direct)
    ground.clear(TOPOLOGY, direct)
    outcome.seconds = time.monotonic() - began
    return outcome


def _hurt(
    ground: Ground,
    workers: Workers,
    schedule: Schedule,
    chance: random.Random,
    producer: Producer,
    database: Path,
) -> None:
    """Kills and stops, each a random moment after effects of a new portion were seen."""
    actions = [partial(workers.kill, chance)] * schedule.kills
    actions += [partial(workers.stop, chance)] * schedule.stops
    actions += [ground.kill_node] * schedule.node_kills
    chance.shuffle(actions)
    with closing(open_sqlite(database)) as connection:

        def effects() -> int:
            return int(connection.execute("SELECT count(*) FROM effects").fetchone()[0])

        for action in actions:
            before, deadline = effects(), time.monotonic() + 30
            producer.go_on()
            while effects() == before and time.monotonic() < deadline:
                time.sleep(0.02)
                workers.keep_up()
            time.sleep(chance.uniform(0, 0.3))
            action()


def _rests(ground: Ground, workers: Workers, settings: Settings) -> bool:
    """Whether all queues are empty, and stay so for as long as the ground's counts may be old."""
    services = [service.service for service in SERVICES]
    deadline = time.monotonic() + PATIENCE
    since = time.monotonic()
    while time.monotonic() < deadline:
        workers.keep_up()
        time.sleep(0.3)
        if ground.waiting(settings, services):
            since = time.monotonic()
        elif time.monotonic() - since >= ground.quiet:
            return True
    return False


def _judge(
    outcome: Outcome,
    schedule: Schedule,
    accepted: set[int],
    database: Path,
    ground: Ground,
    settings: Settings,
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT service, event, count(*) FROM effects GROUP BY 1, 2")
        effects = {(service, event): count for service, event, count in rows}
    dead = _dead_letters(outcome, ground, settings)
    pairs = {(service, f"event-{number}") for number in accepted for service in wanted_by(number)}
    outcome.events = len(accepted)
    outcome.pairs = len(pairs)
    outcome.handled = len(pairs & effects.keys())
    outcome.dead_lettered = len(pairs & dead)
    outcome.lost = len(pairs - effects.keys() - dead)
    duplicates = sum(effects.values()) - len(effects)
    if schedule.once:
        outcome.duplicates_once = duplicates
    else:
        outcome.duplicates = duplicates


def _dead_letters(outcome: Outcome, ground: Ground, settings: Settings) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    with closing(ground.connect(settings)) as broker:
        for service in SERVICES:
            box = broker.letters(service.service)
            while letters := box.receive(10, 1, 3600):  # a short poll may miss some
                for one in letters:
                    found.add((service.service, json.loads(one.body)["id"]))
                    _, note = dead_letter_reason.read(one.attributes)
                    outcome.without_reason += note is None or not note.reason
    return found


def main(arguments: list[str] | None = None) -> int:
    """0: every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.server", description=__doc__)
    parser.add_argument("--broker", choices=GROUNDS, default="sqs")
    parser.add_argument("--schedules", type=int, default=50)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--stops", type=int, default=2)
    parser.add_argument("--node-kills", type=int, help="of the broker; else as it can")
    parser.add_argument("--once", action="store_true", help="in all; else in every other schedule")
    options = parser.parse_args(arguments)
    total = Outcome()
    with tempfile.TemporaryDirectory() as folder, GROUNDS[options.broker]() as ground:
        for seed in range(options.first, options.first + options.schedules):
            schedule = Schedule(
                seed=seed,
                events=options.events,
                workers=options.workers,
                kills=options.kills,
                stops=options.stops,
                node_kills=ground.node_kills if options.node_kills is None else options.node_kills,
                once=options.once or seed % 2 == 1,
            )
            outcome = run(ground, schedule, Path(folder))
            total.add(outcome)
            said = {name: value for name, value in vars(outcome).items() if value}
            said["injected"] = sum(outcome.injected.values())
            said["requests"] = sum(outcome.requests.values())
            said["tries"] = dict(outcome.tries)
            _say(f"schedule {seed}: {said}", sys.stderr)
            if outcome.broken:
                _say((Path(folder) / "workers.log").read_text()[-5000:], sys.stderr)
    _print(total)
    return 1 if total.broken else 0


def _say(text: str, where: TextIO | None = None) -> None:
    (where or sys.stdout).write(f"{text}\n")


def _print(total: Outcome) -> None:
    _say("| | |\n|---|--:|")
    for name, value in vars(total).items():
        if isinstance(value, Counter):
            for kind, count in sorted(value.items()):
                _say(f"| {name}: {kind} | {count:,} |")
        else:
            _say(f"| {name.replace('_', ' ')} | {value:,.1f} |".replace(".0 |", " |"))


if __name__ == "__main__":
    raise SystemExit(main())
