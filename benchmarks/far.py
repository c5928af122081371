"""The works of far queues: every answer comes some milliseconds late, as those of AWS do.

Client and server have a processor each, and what is looked at is how many events a second one
process does, and the CPU time of each. Raw boto3 is a pool of threads here: whoever needs more than
one loop writes that next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.control import canned_server
from benchmarks.job import Job
from benchmarks.machine import cpus
from benchmarks.report import figures
from benchmarks.roster import Environment, Subject, environments
from benchmarks.sitting import Failed, Plan, run

__all__ = ["WAYS", "Way", "far", "far_tables"]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One row of the table: a subject's program, and with how many threads or handlers at once.

    `share` is the part of the events that it does.
    """

    name: str
    module: str
    work: str
    concurrency: int = 10
    share: float = 1.0
    transport: str = ""


WAYS = (
    Way(name="messaging, concurrency 10", module="ours", work="far-consume", transport="fast"),
    Way(
        name="messaging, concurrency 100",
        module="ours",
        work="far-consume",
        concurrency=100,
        transport="fast",
    ),
    Way(
        name="messaging, async, concurrency 100",
        module="ours",
        work="far-consume-async",
        concurrency=100,
        transport="fast",
    ),
    Way(name="raw boto3, 16 threads", module="raw", work="far-consume", concurrency=16, share=0.25),
    Way(name="raw boto3, 32 threads", module="raw", work="far-consume", concurrency=32, share=0.25),
    Way(
        name="messaging, handlers of 20 ms, concurrency 100",
        module="ours",
        work="far-wait",
        concurrency=100,
        transport="fast",
    ),
    Way(name="messaging, publish_many", module="ours", work="far-publish", transport="fast"),
    Way(
        name="raw boto3, publish_batch, 16 threads",
        module="raw",
        work="far-publish",
        concurrency=16,
        share=0.25,
    ),
    Way(
        name="raw boto3, publish_batch, 32 threads",
        module="raw",
        work="far-publish",
        concurrency=32,
        share=0.25,
    ),
)


def far(
    plan: Plan, delays: Sequence[float], tell: Callable[[str], None], jitter: float = 0.0
) -> list[dict[str, Any]]:
    """Every way at every delay (milliseconds, and up to `jitter` more), round after round; one dict
    for each run."""
    mine, its = cpus()
    project = environments()[0]
    runs: list[dict[str, Any]] = []
    with canned_server() as canned:
        canned.move(its)
        for turn in range(plan.rounds):
            for delay in delays:
                for way in _wanted(plan):
                    tell(f"round {turn + 1} of {plan.rounds}: {delay:g} ms, {way.name}")
                    canned.reset()
                    canned.delay(delay / 1000, jitter / 1000)
                    job = _job(plan, way, canned.url, mine)
                    before = canned.counts()["requests"]
                    if found := _noted(project, way, job, tell):
                        made = canned.counts()["requests"]
                        done = job.events + job.warmup
                        requests = (sum(made.values()) - sum(before.values())) / done
                        runs.append(
                            {**found, "work": f"far, {delay:g} ms", "requests": requests}
                            | {"subject": way.name, "python": project.label}
                        )
    return runs


def far_tables(runs: Sequence[Mapping[str, Any]], delays: Sequence[float]) -> str:
    """Events a second and CPU microseconds of each, by delay; empty where nobody was measured."""
    rates: dict[str, list[str]] = {}
    for at, delay in enumerate(delays):
        work = f"far, {delay:g} ms"
        cpu, requests = figures(runs, work, "cpu_us"), figures(runs, work, "requests")
        for row, wall in figures(runs, work, "wall_us").items():
            cells = rates.setdefault(row[0], [""] * len(delays))
            most, least = (1e6 / wall.values[0], 1e6 / wall.values[-1])
            spread = "" if len(wall.values) == 1 else f", {least:,.0f} to {most:,.0f}"
            cells[at] = (
                f"{1e6 / wall.median:,.0f} ({cpu[row].median:.0f} us, "
                f"{requests[row].median:.2f} requests{spread})"
            )
    if not rates:
        return ""
    head = " | ".join(f"{delay:g} ms" for delay in delays)
    lines = ["### Far queues: events a second (CPU and requests of each)", "", f"| | {head} |"]
    lines.append("|---|" + "---:|" * len(delays))
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rates.items()]
    return "\n".join(lines)


def _wanted(plan: Plan) -> list[Way]:
    return [
        way
        for way in WAYS
        if plan.wants(way.work) and (not plan.only or any(part in way.name for part in plan.only))
    ]


def _job(plan: Plan, way: Way, url: str, cpu: int | None) -> Job:
    events = max(100, int(plan.events * way.share) // 10 * 10)
    return Job(
        work=way.work,
        url=url,
        events=events,
        warmup=max(50, events // 10 // 10 * 10),
        cpu=cpu,
        transport=way.transport,
        concurrency=way.concurrency,
    )


def _noted(
    environment: Environment, way: Way, job: Job, tell: Callable[[str], None]
) -> dict[str, Any]:
    try:
        subject = Subject(name=way.name, module=way.module, works=(way.work,), needs=())
        return run(environment, subject, job)
    except Failed as failed:
        tell(f"left out: {failed}")
        return {}
