"""Publishing with confirms and consuming on RabbitMQ, beside the other libraries for it.

python -m benchmarks.rabbitmq                     starts a node of its own, and takes it away
python -m benchmarks.rabbitmq --url amqp://...    on a node that is there; names begin with "bench-"
python -m benchmarks.rabbitmq --events 500 --rounds 1 --only messaging

The others run in an environment of their own, `.venv-bench-rabbitmq`, which is made of
benchmarks/requirements-rabbitmq.txt; what cannot be installed is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pika

from benchmarks.contract import Student
from messaging import Consumer, Settings, handles
from messaging.connecting import apply
from messaging.rabbitmq.names import dead_letter_arguments
from messaging.topology import Topology

__all__ = ["bench_consumer", "main"]

ROOT = Path(__file__).resolve().parent.parent
OTHERS = ROOT / ".venv-bench-rabbitmq"
REQUIREMENTS = Path(__file__).with_name("requirements-rabbitmq.txt")
PEERS = ("messaging", "pika", "kombu", "aio-pika", "faststream", "dramatiq")


class Bench(Consumer):
    """Counts, and does nothing else."""

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count

    @handles
    def heard(self, student: Student) -> None:
        self._count()


def bench_consumer(count: Callable[[], None]) -> Consumer:
    return Bench(count)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rabbitmq", description=__doc__)
    parser.add_argument("--url", help="a node that is there")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], choices=PEERS)
    given = parser.parse_args(arguments)
    others = _environment() if set(given.only) != {"messaging"} else Path(sys.executable)
    figures: dict[str, list[dict[str, float]]] = {}
    with _node(given.url) as url:
        for round_ in range(given.rounds):
            for peer in [one for one in PEERS if not given.only or one in given.only]:
                queue = _queue(url, f"bench-{os.getpid()}-{round_}-{peer}")
                for work in ("publish", "consume"):
                    run = f"{peer} {work}"
                    found = _run(others, run, url, queue, given.events)
                    if found:
                        figures.setdefault(run, []).append(found)
                        print(f"{run}: {found}", file=sys.stderr, flush=True)
                _delete(url, queue)
    _report(figures)


def _run(python: Path, run: str, url: str, queue: str, events: int) -> dict[str, float]:
    # A consumer needs what was published for the warm-up, too: a publish brings as many.
    done = subprocess.run(
        [python, "-m", "benchmarks.rabbitmq_peers", run, url, queue, str(events)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    for line in done.stdout.splitlines():
        if line.startswith("benchmark:"):
            found: dict[str, float] = json.loads(line.removeprefix("benchmark:"))
            return found
    print(f"{run}: left out\n{done.stderr[-600:]}", file=sys.stderr)
    return {}


def _queue(url: str, name: str) -> str:
    """What `name` publishes to: ours by its topology, the others' a quorum queue of that name."""
    if name.endswith("messaging"):
        settings = Settings(broker_url=url)
        apply(Topology.of(Bench, topic=name, owns_topic=True), settings)
        return name
    connection = pika.BlockingConnection(pika.URLParameters(url))
    arguments = dead_letter_arguments(3600)
    connection.channel().queue_declare(name, durable=True, arguments=arguments)
    connection.close()
    return name


def _delete(url: str, name: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    parts = ("", "-bench", "-bench-dlq", "-bench-record", "-record", "-unrouted")
    for part in (*parts, "-d", "-d.DQ", "-d.XQ"):
        channel.queue_delete(name + part)
    for part in ("", "-unrouted"):
        channel.exchange_delete(name + part)
    connection.close()


@contextmanager
def _node(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    from tests.rabbitmq_server import RabbitNode

    node = RabbitNode()
    try:
        yield node.url
    finally:
        node.stop()


def _environment() -> Path:
    """The Python of the others; this one where theirs cannot be made."""
    python = OTHERS / "bin" / "python"
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", OTHERS], check=False)
        install = [python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS]
        if made.returncode or subprocess.run(install, check=False).returncode:
            print(f"{OTHERS.name} could not be made: without the others", file=sys.stderr)
            return Path(sys.executable)
    return python


def _report(figures: dict[str, list[dict[str, float]]]) -> None:
    print("| | publish, a second | CPU | consume, a second | CPU |\n|---|---:|---:|---:|---:|")
    for peer in PEERS:
        cells = [_cell(figures.get(f"{peer} {work}", [])) for work in ("publish", "consume")]
        if any(cells):
            print(f"| {peer} | " + " | ".join(one or "- | -" for one in cells) + " |")


def _cell(rounds: list[dict[str, float]]) -> str:
    if not rounds:
        return ""
    speeds = [one["per_second"] for one in rounds]
    cpu = statistics.median(one["cpu_us"] for one in rounds)
    middle, least, most = statistics.median(speeds), min(speeds), max(speeds)
    return f"{middle:,.0f} ({least:,.0f} to {most:,.0f}) | {cpu:.0f} us"


if __name__ == "__main__":
    main()
