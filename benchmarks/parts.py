"""Parts of this library by themselves: FIFO, one event at a time, files, processes, an idle worker.

    python -m benchmarks.parts                     all of them, as tables; about two minutes
    python -m benchmarks.parts --only fifo         one of: fifo, single, files, processes, idle
    python -m benchmarks.parts --events 2000 --rounds 1 --seconds 5      a first look

Each figure is the median of the rounds, with the least and the most; those of one table were taken
in turns. FIFO and standard queues are those of the in-process broker, which is a part of the cost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, EmailStr

from benchmarks.contract import Student
from benchmarks.control import Canned, canned_server
from benchmarks.environment import ROOT
from benchmarks.machine import cpus, pin
from benchmarks.payload import CREDENTIALS, REGION, TOPIC, TOPIC_ARN
from benchmarks.subjects.ours import QUEUE, broker, messages, students
from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, Worker, handles
from messaging.csvfile import BadRow, events_from

__all__ = ["PARTS", "main", "rate"]

Plan = argparse.Namespace
Rows = dict[str, list[float]]
SPIN = 0.000_5
"""Seconds of CPU that a handler of the processes' work takes."""
STOCK = 1_000_000
"""Messages that the processes find: more than they can do."""
LONGEST = 10.0
"""Seconds for which a round of processes counts."""
PATIENCE = 120.0
"""Seconds in which processes must have begun, on however busy a machine."""
HOUR = 3600


class Moved(Event, type="bench.moved", version=1, group="who"):
    """An event of one of so many groups."""

    who: str
    number: int


class Pupil(Event, type="bench.pupil", version=1):
    """What a row or a request becomes: with an address, a date and money."""

    pupil: UUID
    name: str
    email: EmailStr
    enrolled: AwareDatetime
    fee: Decimal | None = None
    marketing: bool = False


class Mover(Consumer):
    """Does nothing."""

    @handles
    def moved(self, event: Moved) -> None:
        pass


class Spinning(Consumer):
    """Keeps a processor busy, as a handler does that computes."""

    service = "a"

    @handles
    def arrived(self, student: Student) -> None:
        end = time.thread_time() + SPIN
        while time.thread_time() < end:
            pass


TOPOLOGY = Topology.of(Spinning, topic=TOPIC)


def fifo(plan: Plan) -> Rows:
    """CPU microseconds of a message consumed, by kind of queue and number of groups."""
    kinds = (
        ("standard queue", "bench", 1000),
        ("FIFO, 1,000 groups", "bench.fifo", 1000),
        ("FIFO, a group for each", "bench.fifo", plan.events),
        ("FIFO, one group", "bench.fifo", 1),
    )
    rows: Rows = {name: [] for name, _, _ in kinds}
    for _ in range(plan.rounds):
        for name, topic, groups in kinds:
            rows[name].append(_consumed(topic, groups, plan.events))
    return rows


def _consumed(topic: str, groups: int, events: int) -> float:
    given = MemoryBroker(Topology.of(Mover, topic=topic))
    with Publisher(given.topic(), source="/bench") as publisher:
        publisher.publish_many(Moved(who=str(at % groups), number=at) for at in range(events))
    before = _cpu()
    with Worker(Mover(), broker=given, wait=0.2) as worker:
        while worker.stats.acknowledged < events:
            time.sleep(0.005)
        spent = _cpu() - before
    return spent / events * 1e6


def single(plan: Plan) -> Rows:
    """CPU microseconds of an event that is published alone, and through a buffer."""
    rows: Rows = {"publish()": [], "buffered, as fast as it goes": [], "buffered, every 0.1 ms": []}
    events = students(Student)
    with _server() as canned, _publisher(canned) as publisher:
        for _ in range(plan.rounds):
            rows["publish()"].append(_spent(publisher.publish, events, plan.events // 5))
            for name, pause in (
                ("buffered, as fast as it goes", 0.0),
                ("buffered, every 0.1 ms", 0.0001),
            ):
                with publisher.buffered() as buffer:
                    spent = _spent(buffer.publish, events, plan.events // 5, pause, buffer.flush)
                rows[name].append(spent)
    return rows


def _spent(
    publish: Callable[[Event], object],
    events: Iterator[Event],
    count: int,
    pause: float = 0.0,
    end: Callable[[], object] = bool,
) -> float:
    for event in itertools.islice(events, max(1, count // 10)):
        publish(event)
    end()
    chosen = list(itertools.islice(events, count))
    before = _cpu()
    for event in chosen:
        publish(event)
        if pause:
            time.sleep(pause)
    end()
    return (_cpu() - before - _pauses(count, pause)) / count * 1e6


def _pauses(count: int, pause: float) -> float:
    """What the pauses cost alone, which is not the publisher's."""
    before = _cpu()
    for _ in range(count if pause else 0):
        time.sleep(pause)
    return _cpu() - before


def files(plan: Plan) -> Rows:
    """CPU microseconds of an event made of a row, of a request's JSON, and of a dict."""
    rows: Rows = {"a CSV row": [], "JSON": [], "a dict": []}
    with TemporaryDirectory() as folder:
        path = Path(folder, "pupils.csv")
        path.write_text("pupil;name;email;enrolled;fee;marketing\n" + _lines(plan.events))
        with events_from(path, Pupil) as table:
            texts = [event.model_dump_json() for event in table.events(on_bad=_refuse)]
        dicts = [json.loads(text) for text in texts]
        for _ in range(plan.rounds):
            before = _cpu()
            with events_from(path, Pupil) as table:
                count = sum(1 for _ in table)
            rows["a CSV row"].append((_cpu() - before) / count * 1e6)
            rows["JSON"].append(_made(Pupil.model_validate_json, texts))
            rows["a dict"].append(_made(Pupil.model_validate, dicts))
    return rows


def _lines(count: int) -> str:
    return "".join(
        f"7b1d9a60-3c52-4e8f-9a01-{at:012d};Maria de Souza;maria.{at}@escola{at % 12}.com.br;"
        f"24/11/2026 12:00;850,50;sim\n"
        for at in range(count)
    )


def _made(make: Callable[[Any], object], given: Sequence[Any]) -> float:
    before = _cpu()
    for one in given:
        make(one)
    return (_cpu() - before) / len(given) * 1e6


def _refuse(bad: BadRow) -> None:
    raise RuntimeError(f"line {bad.line} of the benchmark's own file: {bad.reason}")


def processes(plan: Plan) -> Rows:
    """Events a second with so many processes, whose handlers take half a millisecond of CPU.

    Counted for a time and not to the end: what a busy machine leaves to its lease comes never again
    from the canned server, so that the end might not come.
    """
    counts = sorted({1, min(2, os.cpu_count() or 1), os.cpu_count() or 1})
    rows: Rows = {f"--processes {count}": [] for count in counts}
    with canned_server() as canned:
        for _ in range(plan.rounds):
            for count in counts:
                canned.reset()
                rows[f"--processes {count}"].append(rate(canned, count, plan.seconds))
    return rows


def rate(canned: Canned, count: int, seconds: float) -> float:
    """Events a second of so many processes, counted for `seconds` (`LONGEST` at most)."""
    with _run(canned, f"--processes={count}") as worker:
        canned.load(QUEUE, STOCK, messages(Student, "a"))
        _deleted(canned, worker, 500 * count)
        began, before = time.perf_counter(), _done(canned)
        time.sleep(min(seconds, LONGEST))
        return (_done(canned) - before) / (time.perf_counter() - began)


def idle(plan: Plan) -> Rows:
    """Requests and CPU seconds an hour of a worker whose queue stays empty."""
    rows: Rows = {"requests": [], "CPU seconds": []}
    with canned_server() as canned, _run(canned) as worker:
        canned.load(QUEUE, 10, messages(Student, "a"))
        _deleted(canned, worker, 10)
        time.sleep(2)  # what follows the last message is over
        for _ in range(plan.rounds):
            before, spent = sum(canned.counts()["requests"].values()), _cpu_of(worker.pid)
            time.sleep(plan.seconds)
            made = sum(canned.counts()["requests"].values()) - before
            rows["requests"].append(made / plan.seconds * HOUR)
            rows["CPU seconds"].append((_cpu_of(worker.pid) - spent) / plan.seconds * HOUR)
    return rows


@contextmanager
def _server() -> Iterator[Canned]:
    mine, its = cpus()
    pin(mine)
    with canned_server() as canned:
        canned.move(its)
        yield canned


def _publisher(canned: Canned) -> Publisher:
    job: Any = SimpleNamespace(endpoint=canned.url, transport="fast")
    return Publisher(broker(job).topic(), source="/bench")


@contextmanager
def _run(canned: Canned, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`messaging run` in processes of its own, stopped at the end."""
    environment = {
        **os.environ,
        **{name.upper(): value for name, value in CREDENTIALS.items()},
        "MESSAGING_TOPIC": TOPIC_ARN,
        "MESSAGING_ENDPOINT_URL": canned.url,
        "MESSAGING_REGION": REGION,
    }
    given = ["benchmarks.parts:Spinning", "--topology=benchmarks.parts:TOPOLOGY"]
    command = [sys.executable, "-m", "messaging", "run", *given, *words]
    silent = subprocess.DEVNULL
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=silent,
        stderr=silent,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # a machine without time for it
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _deleted(canned: Canned, worker: subprocess.Popen[bytes], count: int) -> None:
    """Return when so many messages have been deleted.

    Raises `RuntimeError` if the worker ends, or does not come so far in `PATIENCE`.
    """
    end = time.monotonic() + PATIENCE
    while (done := _done(canned)) < count:
        if worker.poll() is not None:
            raise RuntimeError(f"the worker ended with {worker.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"{done} of {count} messages in {PATIENCE:.0f} s")
        time.sleep(0.01)


def _done(canned: Canned) -> int:
    return int(canned.counts()["entries"].get("DeleteMessageBatch", 0))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_of(pid: int) -> float:
    """CPU seconds of another process; NaN where the system does not tell."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


PARTS: Mapping[str, tuple[str, Callable[[Plan], Rows]]] = {
    "fifo": ("CPU us a message consumed", fifo),
    "single": ("CPU us an event published", single),
    "files": ("CPU us an event made", files),
    "processes": ("events a second", processes),
    "idle": ("an hour", idle),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts")
    parser.add_argument("--only", action="append", choices=PARTS, default=[])
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of a round of idle; of processes 10 at most"
    )
    plan = parser.parse_args(arguments)
    for name in plan.only or PARTS:
        unit, measure = PARTS[name]
        print(f"| {name} | {unit} |\n|---|---:|")
        for row, values in measure(plan).items():
            print(f"| {row} | {_shown(values)} |")
        print(flush=True)
    return 0


def _shown(values: Sequence[float]) -> str:
    spread = f" ({min(values):,.1f} to {max(values):,.1f})" if len(values) > 1 else ""
    return f"{median(values):,.1f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
