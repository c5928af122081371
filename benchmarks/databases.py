"""The works "outbox" and "transactions": a relay and handlers on a database, beside loops by hand.

They need PostgreSQL's programs, of which one server is started for the sitting, without fsync: what
a disk takes for a commit would hide all else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.control import canned_server
from benchmarks.job import Job
from benchmarks.machine import cpus
from benchmarks.report import figures
from benchmarks.roster import Subject, environments
from benchmarks.sitting import Failed, Plan, run

__all__ = ["WORKS", "database_tables", "databases"]

WORKS = ("outbox", "transactions")


class _Way(NamedTuple):
    work: str
    name: str
    does: str
    share: float = 0.25
    delay: float = 0.0


_RELAYS = {"outbox": "relay", "outbox-deleting": "relay, keep=0", "outbox-hand": "loop by hand"}
_HANDLERS = {"hand": "by hand", "single": "Transactional", "chunk": "Transactional, chunk=10"}
WAYS = (
    *(
        _Way("outbox", f"{name}, {delay:g} ms", does, 1.0 if does != "outbox-hand" else 0.1, delay)
        for delay in (0.0, 10.0, 30.0)
        for does, name in _RELAYS.items()
    ),
    *(
        _Way("transactions", f"{label}: {name}", f"{database}-{does}")
        for database, label in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL"))
        for does, name in _HANDLERS.items()
    ),
)


def databases(plan: Plan, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every way in turn, round after round; one dict for each run."""
    from tests.servers import running_postgres

    _, its = cpus()
    runs: list[dict[str, Any]] = []
    with running_postgres() as database, canned_server() as canned:
        canned.move(its)
        for turn in range(plan.rounds):
            for way in WAYS:
                if not plan.wants(way.work):
                    continue
                tell(f"round {turn + 1} of {plan.rounds}: {way.work}, {way.name}")
                canned.reset()
                canned.delay(way.delay / 1000)
                events = max(100, int(plan.events * way.share) // 10 * 10)
                # No processor of its own: the database has three processes for one that asks.
                job = Job(
                    work=way.does,
                    url=canned.url,
                    events=events,
                    warmup=max(50, events // 100 * 10),
                    transport="fast",
                    database=database,
                )
                subject = Subject(name=way.name, module="rows", works=(way.work,), needs=())
                try:
                    found = run(environments()[0], subject, job)
                except Failed as failed:
                    tell(f"left out: {failed}")
                    continue
                runs.append(
                    {**found, "work": way.work, "subject": way.name}
                    | {"python": environments()[0].label}
                )
    return runs


def database_tables(runs: Sequence[Mapping[str, Any]]) -> str:
    """Events a second and CPU microseconds of each; empty where nobody was measured."""
    lines: list[str] = []
    for work in WORKS:
        walls, cpu = figures(runs, work, "wall_us"), figures(runs, work, "cpu_us")
        if not walls:
            continue
        lines += [f"### {work.capitalize()}", "", "| | a second | us | CPU us of our process |"]
        lines.append("|---|---:|---:|---:|")
        lines += [
            f"| {row[0]} | {1e6 / wall.median:,.0f} | {wall.median:.0f} | {cpu[row].median:.0f} |"
            for row, wall in walls.items()
        ]
        lines.append("")
    return "\n".join(lines)
