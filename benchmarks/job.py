"""One run: a subject does one work in a process of its own and reports its figures."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.control import Canned
from benchmarks.machine import Gauge, pin, rss

__all__ = ["MARK", "Handled", "Job", "Work", "latencies", "main", "measure", "measure_async"]

MARK = "benchmark:"
"""Before the line with the figures: some subjects print on their own."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one run does. `warmup` events go before the `events` that are measured.

    `transport` is the way in which a subject that has several does it. With `tls` the subject's
    requests go there, to the same server behind TLS, whose certificate `authority` has signed.
    `slower` is how many times longer everything takes than without what counts it.
    """

    work: str
    url: str
    events: int
    warmup: int = 0
    cpu: int | None = None
    transport: str = ""
    concurrency: int = 10
    database: str = ""
    tls: str = ""
    authority: str = ""
    slower: int = 1

    @property
    def endpoint(self) -> str:
        """Where the subject's requests go."""
        return self.tls or self.url

    @property
    def canned(self) -> Canned:
        return Canned(self.url)

    def text(self) -> str:
        return json.dumps(asdict(self))


Work = Callable[[Job], Mapping[str, Any]]


def main(works: Mapping[str, Work]) -> None:
    """The body of a subject: reads its job from the command line, prints what it measured."""
    job = Job(**json.loads(sys.argv[1]))
    pin(job.cpu)
    if job.authority:
        os.environ["AWS_CA_BUNDLE"] = job.authority  # as its users say it
        os.environ["SSL_CERT_FILE"] = job.authority  # the same for who is written in Rust
    print(MARK + json.dumps(dict(works[job.work](job))), flush=True)
    os._exit(0)  # consumers that run for ever, in threads and loops of every kind


def measure(job: Job, run: Callable[[int], object]) -> dict[str, Any]:
    """`run(n)` does n events and returns when they are done; the first call is the warm-up."""
    gauge, idle = Gauge(), rss()
    if job.warmup:
        run(job.warmup)
    with gauge:
        run(job.events)
    return {**gauge.result(job.events), "idle_rss": idle}


async def measure_async(job: Job, run: Callable[[int], Awaitable[object]]) -> dict[str, Any]:
    """The same for subjects of asyncio."""
    gauge, idle = Gauge(), rss()
    if job.warmup:
        await run(job.warmup)
    with gauge:
        await run(job.events)
    return {**gauge.result(job.events), "idle_rss": idle}


class Handled:
    """Loads a queue of the canned server, and waits until all of it has been deleted.

    The server counts, so no subject has to say when it is done.
    """

    def __init__(self, job: Job, queue: str, messages: Sequence[Mapping[str, Any]]) -> None:
        self._canned, self._queue = job.canned, queue
        self._messages: Sequence[Mapping[str, Any]] | None = messages
        self._total = 0

    def __call__(self, count: int, *, after: int | None = None) -> None:
        """So many more; `after` is how many were deleted before, where others did that, too."""
        self._total = (self._total if after is None else after) + count
        self._canned.load(self._queue, count, self._messages)
        self._messages = None  # it has them now
        self._canned.wait("DeleteMessage", self._total)

    async def later(self, count: int) -> None:
        """The same beside a running event loop."""
        await asyncio.to_thread(self, count)


def latencies(seconds: Sequence[float]) -> dict[str, Any]:
    """Milliseconds of the middle and of the slowest hundredth."""
    ordered = sorted(seconds)
    if not ordered:
        return {"samples": 0, "p50_ms": math.nan, "p99_ms": math.nan}
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * q))] for name, q in _QUANTILES}
    return {"samples": len(ordered), **{name: value * 1000 for name, value in at.items()}}


_QUANTILES = (("p50_ms", 0.5), ("p99_ms", 0.99))
