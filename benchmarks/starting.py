"""What an import and a command line cost before they do anything."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.environment import ROOT, compiled

__all__ = ["STARTS", "starts"]

STARTS: Mapping[str, Sequence[str]] = {
    "python, nothing": ("-c", "pass"),
    "import messaging": ("-c", "import messaging"),
    "import a consumer": ("-c", "from messaging import Consumer, Event, handles"),
    "import boto3": ("-c", "import boto3"),
    "messaging --help": ("-m", "messaging", "--help"),
}


def starts(rounds: int) -> dict[str, float]:
    """Milliseconds of wall time from start to exit, the interpreter's own included; medians."""
    taken: dict[str, list[float]] = {name: [] for name in STARTS}
    with tempfile.TemporaryDirectory(prefix="messaging-bench-") as folder:
        for _ in range(rounds + 1):
            for name, arguments in STARTS.items():
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, *arguments],
                    cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=compiled(folder),
                )  # fmt: skip
                taken[name].append((time.perf_counter() - began) * 1000)
    return {name: median(times[1:]) for name, times in taken.items()}  # the first filled caches
