"""One sitting: every subject in turn, round after round, each run in a new process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.control import Canned, canned_server
from benchmarks.environment import ROOT
from benchmarks.job import MARK, Job
from benchmarks.machine import cpus
from benchmarks.roster import APART, Environment, Subject, roster

__all__ = ["Failed", "Plan", "run", "sit"]

TIMEOUT = 60.0
"""Seconds for one run, and for every thousand of its events one more."""
PATIENCE = 5
"""So many times longer under another program."""
WAITING_EVENTS, LATENCY_EVENTS, BILL_EVENTS, END_TO_END_EVENTS = 500, 500, 5000, 500


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. `events` is what the quickest subject does in one run."""

    events: int = 20_000
    rounds: int = 5
    growth: int = 6
    starts: int = 15
    real: bool = True
    only: tuple[str, ...] = ()
    works: tuple[str, ...] = ()

    def wants(self, work: str) -> bool:
        """Whether `work` is among those asked for; all are, where none was named."""
        return not self.works or work in self.works


TIMED = ("publish", "consume", "consume-async", "wait", "wait-async", "latency")
ALONE = ("publish", "consume", "consume-async")
"""Works whose CPU time is compared: client and server take turns on one processor. On two, each
request wakes a processor that sleeps, and the client pays for that: on a virtual machine more than
for all that it does itself."""


class Failed(Exception):
    """A run ended without figures; the last lines say why."""


def run(
    environment: Environment, subject: Subject, job: Job, under: Sequence[str] = ()
) -> dict[str, Any]:
    """One run of one subject in a process of its own, which another program may start (`under`).

    Raises `Failed`.
    """
    seconds = (TIMEOUT + job.events / 1000) * (PATIENCE if under else 1)
    try:
        done = subprocess.run(
            [*under, environment.python, "-m", f"benchmarks.subjects.{subject.module}", job.text()],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{subject.name}, {job.work}: no end after {seconds:.0f} s") from None
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return dict(json.loads(line.removeprefix(MARK)))
    raise Failed(f"{subject.name}, {job.work}: {done.stderr.strip()[-300:]}")


def sit(plan: Plan, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """All works on the canned server; one dict for each run."""
    mine, its = cpus()
    works = tuple(filter(plan.wants, TIMED))
    runs: list[dict[str, Any]] = []
    with canned_server() as canned:
        for turn in range(plan.rounds):
            for work in (*works, *_apart(works)):
                runners = roster(work, plan.only)
                # Another one is first each round: whoever follows a busy one has a warm machine.
                at = turn % max(1, len(runners))
                for environment, subject in runners[at:] + runners[:at]:
                    name = work.removesuffix(APART)
                    canned.move(mine if work in ALONE else its)
                    job = _job(plan, name, subject, canned, mine)
                    tell(f"round {turn + 1} of {plan.rounds}: {work}, {subject.name}")
                    found = _noted(environment, subject, job, canned, tell)
                    runs.append({**found, "work": work} if found else found)
        canned.move(its)
        for work in filter(plan.wants, ("bill", "bill-views", "drain")):
            for environment, subject in roster(work, plan.only):
                if environment.name == "project":
                    tell(f"{work}, {subject.name}")
                    job = _job(plan, work, subject, canned, mine)
                    runs.append(_noted(environment, subject, job, canned, tell))
        if plan.wants("growth"):
            canned.move(mine)
            runs += _grow(plan, canned, mine, tell)
    return [one for one in runs if one]


def _apart(works: Sequence[str]) -> list[str]:
    return [work + APART for work in works if work in ALONE]


def _grow(
    plan: Plan, canned: Canned, cpu: int | None, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Ten, a hundred, a thousand times as many events: what an event costs must not change."""
    runs = []
    for power in range(3, plan.growth + 1):
        for work in ("publish", "consume"):
            ours = [one for one in roster(work, plan.only) if one[1].module == "ours"][:1]
            for environment, subject in ours:
                tell(f"growth: {work} 10^{power}, {subject.name}")
                job = Job(
                    work=work,
                    url=canned.url,
                    events=10**power,
                    warmup=200,
                    cpu=cpu,
                    transport=subject.transport,
                )
                found = _noted(environment, subject, job, canned, tell)
                runs.append({**found, "work": f"growth-{work}"} if found else found)
    return runs


def _job(plan: Plan, work: str, subject: Subject, canned: Canned, cpu: int | None) -> Job:
    full = max(100, int(plan.events * subject.share) // 10 * 10)
    limits = {"latency": LATENCY_EVENTS, "bill": BILL_EVENTS, "bill-views": BILL_EVENTS}
    limit = WAITING_EVENTS if work.startswith("wait") else limits.get(work, full)
    events = min(full, limit)
    return Job(
        work=work,
        url=canned.url,
        events=events,
        warmup=0 if work in ("bill", "bill-views", "drain") else max(50, events // 50 * 10),
        cpu=cpu,
        transport=subject.transport,
    )


def _noted(
    environment: Environment,
    subject: Subject,
    job: Job,
    canned: Canned,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    canned.reset()
    before = canned.counts()["cpu"]
    try:
        figures: Mapping[str, Any] = run(environment, subject, job)
    except Failed as failed:
        tell(f"left out: {failed}")
        return {}
    counts = canned.counts()
    done = job.events + job.warmup
    return {
        "subject": subject.name,
        "python": environment.label,
        "environment": environment.name,
        "work": job.work,
        "server_cpu_us": (counts["cpu"] - before) / done * 1e6,
        "requests": sum(counts["requests"].values()) / done,
        **figures,
    }
