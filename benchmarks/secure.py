"""The work "tls": what an event costs by HTTPS and by HTTP, in turns, on one server.

Client and server take turns on one processor, as for the other tables of CPU. Connections stay, so
what is measured is the encryption of each request; the handshakes are part of the warm-up. The
certificate is of an authority that is made for the sitting.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.control import Canned, canned_server
from benchmarks.job import Job
from benchmarks.machine import cpus
from benchmarks.report import figures
from benchmarks.roster import Subject, environments
from benchmarks.sitting import Failed, Plan, run

__all__ = ["SECURE", "secure", "secure_tables"]

SECURE = "tls"
HTTP, HTTPS = "HTTP", "HTTPS"


class _Way(NamedTuple):
    name: str
    module: str
    transport: str
    share: float
    consume: str = "consume"
    """What its consuming is called."""
    needs: tuple[str, ...] = ()
    """Packages of the others' environment; empty: it runs in the project's."""


WAYS = (
    _Way("messaging, fast", "ours", "fast", 1.0),
    _Way("messaging, boto3", "ours", "boto3", 0.2),
    _Way("raw boto3 loop", "raw", "", 0.2),
    _Way("fanferro, async", "fanferro_core", "", 0.5, "consume-async", ("fanferro",)),
)
WORKS = ("publish", "consume")


def secure(plan: Plan, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every way by both protocols, round after round; one dict for each run."""
    from tests.certificates import Authority

    mine, _ = cpus()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="messaging-bench-") as folder:
        authority = Authority(Path(folder))
        with canned_server(authority.issue()) as canned:
            canned.move(mine)
            for turn in range(plan.rounds):
                for work in WORKS:
                    for way in _wanted(plan):
                        for protocol in (HTTP, HTTPS):
                            said = f"{work}, {way.name}, {protocol}"
                            tell(f"round {turn + 1} of {plan.rounds}: {said}")
                            file = str(authority.file) if protocol is HTTPS else ""
                            runs += _noted(plan, work, way, canned, mine, file, tell)
    return runs


def _wanted(plan: Plan) -> list[_Way]:
    return [
        way
        for way in WAYS
        if (not plan.only or any(part in way.name for part in plan.only))
        and (not way.needs or len(environments()) > 1)
    ]


def _noted(
    plan: Plan,
    work: str,
    way: _Way,
    canned: Canned,
    cpu: int | None,
    authority: str,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    canned.reset()
    does = way.consume if work == "consume" else work
    python = environments()[-1 if way.needs else 0]
    events = max(100, int(plan.events * way.share) // 10 * 10)
    job = Job(
        work=does,
        url=canned.url,
        events=events,
        warmup=max(50, events // 50 * 10),
        cpu=cpu,
        transport=way.transport,
        tls=canned.tls if authority else "",
        authority=authority,
    )
    subject = Subject(name=way.name, module=way.module, works=(does,), needs=way.needs)
    before = canned.counts()["cpu"]
    try:
        found = run(python, subject, job)
    except Failed as failed:
        tell(f"left out: {failed}")
        return []
    server = (canned.counts()["cpu"] - before) / (job.events + job.warmup) * 1e6
    protocol = HTTPS if authority else HTTP
    return [
        {**found, "work": f"{SECURE}, {work}, {protocol}", "server_cpu_us": server}
        | {"subject": way.name, "python": python.label}
    ]


def secure_tables(runs: Sequence[Mapping[str, Any]]) -> str:
    """CPU microseconds of an event by either protocol, and how many times the one is the other;
    empty where nobody was measured."""
    lines: list[str] = []
    for work in WORKS:
        plain, safe = (
            figures(runs, f"{SECURE}, {work}, {protocol}", "cpu_us") for protocol in (HTTP, HTTPS)
        )
        lines += [
            f"| {work}, {row[0]} | {one} | {safe[row]} | {safe[row].median / one.median:.2f} |"
            for row, one in plain.items()
            if row in safe
        ]
    if not lines:
        return ""
    head = ["### TLS: CPU us an event", "", "| | HTTP | HTTPS | times |", "|---|---:|---:|---:|"]
    return "\n".join([*head, *lines, ""])
