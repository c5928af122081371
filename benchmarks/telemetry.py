"""What metrics cost: CPU microseconds of each event with metrics on and off.

    python -m benchmarks.telemetry               consume and publish_many, a minute
    python -m benchmarks.telemetry --events 300  quicker, and worth less

On the canned server, in one process that turns metrics on and off twenty times; of each the best
turn, since what else the machine does makes a turn only longer. It ends with 1 if metrics cost
more than 5 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.control import canned_server
from benchmarks.job import Job
from benchmarks.machine import cpus
from benchmarks.roster import Subject, environments
from benchmarks.sitting import run

__all__ = ["main"]

MOST = 1.05
WORKS = ("consume", "publish")
SUBJECT = Subject(
    name="metrics", module="telemetry", works=WORKS, needs=("boto3", "pydantic", "tenacity")
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 1 if metrics cost more than they may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry")
    parser.add_argument("--events", type=int, default=3_000, help="of each turn")
    said = parser.parse_args(argv)
    mine, its = cpus()
    print("| work | metrics off, us | metrics on, us | ratio |\n|---|--:|--:|--:|")
    good = True
    with canned_server() as canned:
        canned.move(its)
        for work in WORKS:
            canned.reset()
            job = Job(
                work=work,
                url=canned.url,
                events=said.events,
                warmup=max(100, said.events // 10),
                cpu=mine,
                transport="fast",
            )
            found = run(environments()[0], SUBJECT, job)
            print(f"| {work} | {found['off']:.1f} | {found['on']:.1f} | {found['ratio']:.3f} |")
            good &= found["ratio"] <= MOST
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
