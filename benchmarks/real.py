"""From publish to four services through ministack, a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3

from benchmarks.contract import STUDENTS
from benchmarks.job import Job
from benchmarks.machine import cpus
from benchmarks.payload import REGION, TOPIC
from benchmarks.roster import roster
from benchmarks.sitting import END_TO_END_EVENTS, Failed, Plan, run
from messaging import Topology
from messaging.aws import apply
from messaging.errors import MessagingError
from messaging.local import LocalServer

__all__ = ["end_to_end"]


def end_to_end(plan: Plan, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """One dict for each run. Each has a server of its own: nobody meets another's long polls."""
    runs, topology = [], Topology.of(*STUDENTS, topic=TOPIC)
    for turn in range(min(plan.rounds, 3)):
        for environment, subject in roster("end-to-end", plan.only):
            if environment.name != "project":
                continue
            tell(f"round {turn + 1}: end to end through ministack, {subject.name}")
            try:
                with LocalServer() as server:
                    session: Any = boto3.Session
                    settings = server.settings(region=REGION)
                    apply(
                        topology, settings, session=session(**server.credentials), create_topic=True
                    )
                    job = Job(
                        work="end-to-end",
                        url=server.url,
                        events=min(plan.events, END_TO_END_EVENTS),
                        cpu=cpus()[0],
                        transport=subject.transport,
                    )
                    figures = run(environment, subject, job)
            except (Failed, MessagingError) as failed:
                tell(f"left out: {failed}")
                continue
            runs.append(
                {
                    "subject": subject.name,
                    "python": environment.label,
                    "environment": environment.name,
                    "work": "end-to-end",
                    **figures,
                }
            )
    return runs
