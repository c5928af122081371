"""The machine: its name, its processors, and the memory and CPU time of this process."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.instructions import Instructions

__all__ = ["Gauge", "cpus", "machine", "peak_rss", "pin", "rss"]

MIB = 1 << 20


def cpus() -> tuple[int | None, int | None]:
    """A processor for the subject and one for the server; None where pinning cannot be had."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    mine = sorted(os.sched_getaffinity(0))
    return (mine[0], mine[1]) if len(mine) > 1 else (None, None)


def pin(cpu: int | None, pid: int = 0) -> None:
    """Keep a process on one processor, where the system can."""
    if cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {cpu})


def rss() -> float:
    """Resident memory of this process now, in MiB; NaN where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError):
        return float("nan")
    return pages * resource.getpagesize() / MIB


def peak_rss() -> float:
    """The most resident memory this process ever had, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (MIB if sys.platform == "darwin" else 1024)


def machine() -> dict[str, Any]:
    """What a reader must know of the machine to weigh its figures."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(load, 1),
    }


class Gauge:
    """CPU time of all threads of this process, wall time, and instructions where counted.

    gauge = Gauge()          # early: threads started later are counted, too
    with gauge:
        ...
    gauge.result(events)
    """

    def __init__(self) -> None:
        self._instructions = Instructions()

    def __enter__(self) -> Gauge:
        self._began = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = self._now()

    def result(self, events: int) -> dict[str, Any]:
        """Microseconds of each event, MiB of the process."""
        cpu, wall, instructions = (
            None if before is None or after is None else (after - before) / events
            for before, after in zip(self._began, self._ended, strict=True)
        )
        assert cpu is not None
        assert wall is not None
        return {
            "events": events,
            "cpu_us": cpu * 1e6,
            "wall_us": wall * 1e6,
            "instructions": instructions,
            "rss": rss(),
            "peak_rss": peak_rss(),
        }

    def _now(self) -> tuple[float, float, int | None]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime, time.perf_counter(), self._instructions.read()
