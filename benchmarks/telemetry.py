"""What metrics and tracing cost: CPU microseconds of each event with them on and off.

    python -m benchmarks.telemetry               consume and publish_many, eight minutes
    python -m benchmarks.telemetry --events 300  quicker, and worth less
    python -m benchmarks.telemetry --work consume --work consume-traced

On the canned server, in a process that turns metrics, or tracing with 1 % recorded, on and off
forty times. The ratio of CPU is the median of the ratios of neighbouring turns; the times are
those of the best turns. Since where a process has its objects in memory makes a difference of a
hundredth, five processes are measured, and the mean of their ratios counts. The ratio of
instructions is counted in another run, under valgrind if it is installed, of user space only; a
busy machine does not change it, but it knows nothing of caches, and what is done so often a second
counts for more there. Since all takes longer under valgrind, the limits for what a worker takes for
quick are raised there: otherwise it would take each handler for a slow one, and work in another
way. The program ends with 1 if either ratio of a work is above `MOST`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

from benchmarks.callgrind import available, counted
from benchmarks.control import Canned, canned_server
from benchmarks.job import Job
from benchmarks.machine import cpus
from benchmarks.roster import Subject, environments
from benchmarks.sitting import run

__all__ = ["instructions", "main", "timed"]

MOST = {
    "consume": 1.05,
    "publish": 1.05,
    "consume-traced": 1.10,
    "consume-async-traced": 1.10,
    "publish-traced": 1.10,
    "publish-roots": 1.10,
}
"""By work: the ratio that neither CPU nor instructions are to exceed."""
WORKS = tuple(MOST)
COUNTED = 200
"""Events of a turn whose instructions are counted."""
SLOWER = 50
"""How many times longer a run takes under valgrind."""
PROCESSES = 5
SUBJECT = Subject(
    name="metrics", module="telemetry", works=WORKS, needs=("boto3", "pydantic", "tenacity")
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 1 if metrics or tracing cost more than they may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry")
    parser.add_argument("--events", type=int, default=3_000, help="of each turn")
    parser.add_argument("--work", action="append", choices=WORKS, help="only this one")
    said = parser.parse_args(argv)
    mine, its = cpus()
    print("| work | off, us | on, us | CPU | off, instructions | on, instructions | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    good = True
    with canned_server() as canned:
        canned.move(its)
        for work in said.work or WORKS:
            job = Job(
                work=work,
                url=canned.url,
                events=said.events,
                warmup=max(100, said.events // 10),
                cpu=mine,
                transport="fast",
            )
            off, on, most = timed(canned, job)
            row = f"| {work} | {off:.1f} | {on:.1f} | {most:.3f} |"
            if available():
                canned.reset()
                off, on = instructions(replace(job, events=min(said.events, COUNTED)))
                row += f" {off:,.0f} | {on:,.0f} | {on / off:.3f} |"
                most = max(most, on / off)
            print(row, flush=True)
            good &= most <= MOST[work]
    return 0 if good else 1


def timed(canned: Canned, job: Job) -> tuple[float, float, float]:
    """CPU microseconds of one event, off and on, and the ratio."""
    found = []
    for _ in range(PROCESSES):
        canned.reset()
        found.append(run(environments()[0], SUBJECT, job))
    off, on = (min(one[name] for one in found) for name in ("off", "on"))
    return off, on, fmean(one["ratio"] for one in found)


def instructions(job: Job) -> tuple[float, float]:
    """Of one event, off and on: the medians of the turns."""
    slowed = replace(job, slower=SLOWER)
    found, counts = counted(lambda under: run(environments()[0], SUBJECT, slowed, under))
    by: dict[bool, list[int]] = {False: [], True: []}
    for on, count in zip(found["order"], counts[::2], strict=True):  # between two turns is no turn
        by[on].append(count)
    return median(by[False]) / job.events, median(by[True]) / job.events


if __name__ == "__main__":
    sys.exit(main())
