"""This library with its metrics on and off by turns, in one process."""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import contract
from benchmarks.contract import Student
from benchmarks.job import Handled, Job, main
from benchmarks.subjects.ours import QUEUE, broker, messages, students
from messaging import Publisher, Worker
from messaging.metrics import Metrics

TURNS = 20
"""Of each: one after the other, so that what else the machine does meets both."""


def consume(job: Job) -> dict[str, Any]:
    worker = Worker(contract.Sync(), broker=broker(job), concurrency=job.concurrency)
    Metrics(worker)
    worker.start()
    time.sleep(0.2)
    [pipeline] = worker.pipelines.values()
    on = pipeline.in_flight.measure
    handled = Handled(job, QUEUE, messages(Student, "a"))

    def turn(metrics: bool) -> None:
        pipeline.in_flight.measure = on if metrics else None

    return _by_turns(job, turn, handled)


def publish(job: Job) -> dict[str, Any]:
    events = students(Student)
    with Publisher(broker(job).topic(), source="/bench") as publisher:
        Metrics(publisher)
        sender: Any = publisher._sender
        on = sender.durations

        def turn(metrics: bool) -> None:
            sender.durations = on if metrics else None

        return _by_turns(
            job, turn, lambda count: publisher.publish_many(itertools.islice(events, count))
        )


def _by_turns(
    job: Job, turn: Callable[[bool], None], run: Callable[[int], object]
) -> dict[str, Any]:
    run(job.warmup)
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(TURNS):
        for metrics in (number % 2 == 0, number % 2 == 1):
            turn(metrics)
            before = _cpu()
            run(job.events)
            taken[metrics].append((_cpu() - before) / job.events * 1e6)
    # What disturbs a turn makes it longer, never shorter.
    off, on = min(taken[False]), min(taken[True])
    return {"off": off, "on": on, "ratio": on / off}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


WORKS: Mapping[str, Callable[[Job], dict[str, Any]]] = {"consume": consume, "publish": publish}

if __name__ == "__main__":
    main(WORKS)
