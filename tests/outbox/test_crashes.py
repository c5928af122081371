"""Relays are processes: several at once, killed at random, and nothing is lost or out of order."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from messaging.outbox import SqlOutbox
from messaging.publishing.publisher import Publisher
from tests.outbox.conftest import Noted, Place

ROOT = Path(__file__).parents[2]
KEYS = 12

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "sent"
    path.touch()
    return path


@pytest.fixture
def start(place: Place, log: Path) -> Iterator[Start]:
    """Starts relays of `place` and sees to their end."""
    running: list[subprocess.Popen[str]] = []

    def started(*options: float) -> subprocess.Popen[str]:
        options = options or (60,)  # the lease, in seconds
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.outbox.relaying", place.url, log, *map(str, options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def fill(place: Place, count: int) -> None:
    with closing(place.connect()) as connection:
        publisher = Publisher(SqlOutbox(connection), source="/test")
        publisher.publish_many(Noted(who=f"k{n % KEYS}", n=n) for n in range(count))
        connection.commit()


def sent(log: Path) -> list[tuple[str, int, int]]:
    """Event id, number, and the process that sent it."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(id, int(n), int(pid)) for id, n, pid in lines]


def wait_until_published(place: Place, count: int) -> None:
    deadline = time.monotonic() + 60
    while place.status().published < count:
        assert time.monotonic() < deadline, place.status()
        time.sleep(0.05)


def check(log: Path, count: int) -> Counter[int]:
    """How often each was sent. None is missing, and none before the one it follows."""
    found = sent(log)
    ids: dict[int, set[str]] = defaultdict(set)
    last = {key: key - KEYS for key in range(KEYS)}
    for id, n, _ in found:
        ids[n].add(id)
        key = n % KEYS
        assert n <= last[key] + KEYS, f"{n} was sent before {last[key] + KEYS}"
        last[key] = max(last[key], n)
    assert sorted(ids) == list(range(count))
    assert all(len(one) == 1 for one in ids.values()), "an entry was sent under another id"
    return Counter(n for _, n, _ in found)


def test_three_relays_do_no_work_twice(place: Place, log: Path, start: Start) -> None:
    fill(place, 600)
    relays = [start() for _ in range(3)]
    wait_until_published(place, 600)
    for one in relays:
        one.terminate()
    outputs = [one.communicate()[0].split() for one in relays]
    assert [one.returncode for one in relays] == [0, 0, 0]
    assert sum(int(output[-1]) for output in outputs) == 600
    assert set(check(log, 600).values()) == {1}


def test_relays_that_are_killed_lose_nothing(place: Place, log: Path, start: Start) -> None:
    chance = random.Random(1)
    fill(place, 600)
    relays = [ready(start(1, -1)), ready(start(1, -1))]
    for _ in range(3):
        victim = chance.randrange(2)
        time.sleep(chance.uniform(0.0, 0.15))
        relays[victim].kill()
        relays[victim] = ready(start(1, -1))
    wait_until_published(place, 600)
    check(log, 600)
    assert place.status().pending == 0


def test_a_relay_that_is_killed_leaves_one_request_unnoted(
    place: Place, log: Path, start: Start
) -> None:
    chance = random.Random(2)
    fill(place, 400)
    for _ in range(4):
        one = ready(start())
        before = len(sent(log))
        while len(sent(log)) == before:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.05))
        one.kill()
        one.wait()
        # As if its lease were over: nothing here depends on how busy the machine is.
        place.run("UPDATE messaging_outbox SET free_at = 0")
    start()
    wait_until_published(place, 400)
    assert sum(check(log, 400).values()) - 400 <= 4 * 10


def test_a_stop_gives_everything_back_at_once(place: Place, log: Path, start: Start) -> None:
    fill(place, 800)
    one = ready(start(60, 3))
    output = one.communicate()[0].split()
    status = place.status()
    assert one.returncode == 0
    assert 0 < status.published == int(output[-1]) == len(sent(log)) <= 30
    assert (status.pending, status.in_flight) == (800 - status.published, 0)
