"""A rate that a fleet shares: three worker processes at a backlog, counted in windows.

    python -m benchmarks.fleet_rate                a minute with Redis and a minute with PostgreSQL
    python -m benchmarks.fleet_rate --seconds 10 --store redis

It starts ministack, Redis and PostgreSQL itself. Of each store it says how many messages all
workers handled a second, the least and the most of any window of ten seconds, how many requests
for tokens the store had, and how many receipts ended in another way than acknowledged. It ends
with 1 if the mean is more than 5 % off, or a lease was lost, or a message was received twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

from benchmarks.environment import ROOT
from messaging import Consumer, Event, Publisher, RateLimit, Topology, Worker, connect, handles
from messaging.aws import apply
from messaging.local import LocalServer
from messaging.rates import open_rates
from messaging.settings import Settings
from messaging.stores import RateStore, Reservation

__all__ = ["Measured", "fleet", "main"]

TOLERANCE = 0.05
WINDOW = 10.0
"""Seconds. A process receives ten messages at a time, so shorter windows say little."""


class Noted(Event, type="bench.noted", version=1):
    number: int


class Gentle(Consumer):
    """Notes when it handled which message."""

    visibility_timeout = 30

    def __init__(self) -> None:
        self.handled: list[tuple[float, int]] = []

    @handles
    def note(self, event: Noted) -> None:
        self.handled.append((time.time(), event.number))


class _Counted:
    """A store that counts how often it is asked."""

    def __init__(self, store: RateStore) -> None:
        self._store = store
        self.requests = 0

    def reserve(
        self, queue: str, member: str, cost: float, *, saved: float, ahead: float
    ) -> Reservation:
        self.requests += 1
        return self._store.reserve(queue, member, cost, saved=saved, ahead=ahead)

    def leave(self, queue: str, member: str, cost: float) -> None:
        self._store.leave(queue, member, cost)

    def close(self) -> None:
        self._store.close()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a fleet did. `counts` are messages of each window; `others` receipts that were released,
    dead-lettered or expired."""

    rate: float
    seconds: float
    counts: Sequence[int]
    window: float
    by_worker: Sequence[int]
    twice: int
    others: int
    requests: int

    @property
    def a_second(self) -> float:
        return sum(self.by_worker) / self.seconds

    @property
    def good(self) -> bool:
        off = abs(self.a_second / self.rate - 1)
        return off <= TOLERANCE and not self.twice and not self.others

    def row(self, store: str) -> str:
        least, most = (count / self.window for count in (min(self.counts), max(self.counts)))
        workers = ", ".join(map(str, self.by_worker))
        return (
            f"| {store} | {self.a_second:.2f} | {least:.1f} to {most:.1f} | {workers} "
            f"| {self.requests / self.seconds:.1f} | {self.others} | {self.twice} |"
        )


def fleet(url: str, *, rate: float, seconds: float, workers: int, window: float) -> Measured:
    """Run `workers` processes at a backlog for `seconds`; their limit is kept at `url`."""
    with LocalServer() as server:
        settings = server.settings(topic="fleet", prefix=f"bench-{os.getpid()}-")
        make: Any = boto3.Session
        session = make(**server.credentials)
        apply(_topology(settings), settings, session=session, create_topic=True)
        with closing(connect(settings, session=session)) as broker:
            with Publisher(broker.topic(), source="/bench") as publisher:
                backlog = int(rate * (seconds + 3) * 1.2) + 100
                publisher.publish_many(Noted(number=number) for number in range(backlog))
            told = _run(settings, server.environment, url, rate, seconds, workers)
    first = min(one["began"] for one in told) if told else 0.0
    handled = [
        (at - first, number)
        for one in told
        for at, number in one["handled"]
        if 0 <= at - first < seconds
    ]
    counts = [0] * max(1, int(seconds / window))
    for at, _number in handled:
        if at < len(counts) * window:
            counts[int(at / window)] += 1
    return Measured(
        rate=rate,
        seconds=seconds,
        counts=counts,
        window=window,
        by_worker=[sum(0 <= at - first < seconds for at, _ in one["handled"]) for one in told],
        twice=len(handled) - len({number for _, number in handled}),
        others=sum(one["others"] for one in told),
        requests=sum(one["requests"] for one in told),
    )


def _topology(settings: Settings) -> Topology:
    return Topology.of(Gentle, topic=settings.topic or "")


def _run(
    settings: Settings,
    environment: dict[str, str],
    url: str,
    rate: float,
    seconds: float,
    workers: int,
) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.fleet_rate", "--worker"]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    own = {
        "MESSAGING_TOPIC": str(settings.topic),
        "MESSAGING_PREFIX": settings.prefix,
        "MESSAGING_RATES": url,
    }
    with ExitStack() as stack:
        processes = []
        for _ in range(workers):
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment, **own},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it has imported everything
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate(timeout=seconds + 60)[0]) for process in processes]


def _worker(rate: float, seconds: float) -> None:
    """The program of one process: ready, then for so long, then what it did."""
    settings = Settings.from_environment()
    Gentle.rate = RateLimit(rate, shared=True)
    gentle = Gentle()
    assert settings.rates is not None
    with (
        closing(_Counted(open_rates(settings.rates))) as store,
        closing(connect(settings)) as broker,
    ):
        worker = Worker(gentle, broker=broker, rates=store, wait=1.0)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.time()
        with worker:
            while not gentle.handled and time.time() < began + seconds:
                time.sleep(0.001)
            time.sleep(min(1.0, seconds / 4))  # the burst is past, and all have joined
            began = time.time()
            time.sleep(seconds)
            stats = worker.stats
    others = stats.received - stats.acknowledged - stats.in_flight
    told = {"handled": gentle.handled, "others": others, "began": began, "requests": store.requests}
    print(json.dumps(told), flush=True)


@contextmanager
def _store(kind: str) -> Iterator[str]:
    from tests.servers import running_postgres, running_redis

    if kind == "redis":
        with running_redis() as url:
            yield url
    else:
        with running_postgres() as conninfo:
            parts = dict(part.split("=", 1) for part in conninfo.split())
            yield f"postgresql:///{parts['dbname']}?host={parts['host']}&user={parts['user']}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 1 if a fleet was more than 5 % off, or something came twice or was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_rate")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--store", action="append", choices=["redis", "postgresql"])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args(argv)
    if said.worker:
        _worker(said.rate, said.seconds)
        return 0
    print(
        "| kept in | messages a second | windows of 10 s | by worker | requests for tokens "
        "a second | not acknowledged | twice |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    good = True
    for kind in said.store or ["redis", "postgresql"]:
        with _store(kind) as url:
            found = fleet(
                url,
                rate=said.rate,
                seconds=said.seconds,
                workers=said.workers,
                window=min(WINDOW, said.seconds),
            )
        print(found.row(kind), flush=True)
        good &= found.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
