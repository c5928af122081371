"""The demo's four services: each runs in its own process and is stopped at the end."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

from consumers import TOPOLOGY
from examples._watched import NOTES

if TYPE_CHECKING:
    from examples._traced import Traced

__all__ = ["Fleet", "ServiceDied"]

ROOT = Path(__file__).parents[1]
GRACE = 30
"""Seconds within which a service must stop when asked to."""


class ServiceDied(Exception):
    """A service ended unexpectedly; the text has its last output."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A service's results: its worker's statistics, and its record."""

    stats: Mapping[str, Any]
    notes: Mapping[str, Any]


class Fleet:
    """`messaging run` once for each service, in `folder`, until the `with` ends.

    traced  if given, they send their telemetry there, and serve their health.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], traced: Traced | None = None
    ) -> None:
        self._folder = folder
        self._traced = traced
        self._environment = {
            **os.environ,
            **environment,
            "PYTHONPATH": str(ROOT),  # they run in a folder of their own, which gets their data
            "PYTHONUTF8": "1",
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            for service in TOPOLOGY.services:
                self._running[service] = self._start(service)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _start(self, service: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "messaging", "run", f"examples._watched:{service}"]
        environment = self._environment
        if self._traced is not None:
            command += ["--middleware", "examples._telemetry:tracing", "--health", "127.0.0.1:0"]
            environment = environment | self._traced.environment(service)
        with (
            (self._folder / f"{service}.out").open("wb") as out,
            (self._folder / f"{service}.log").open("wb") as log,
        ):
            return subprocess.Popen(
                [*command, "--json"],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.PIPE,  # closed when this process ends, in whatever way
                stdout=out,
                stderr=log,
                start_new_session=True,  # Ctrl-C only reaches the demo, which then stops them
            )

    def check(self) -> None:
        """Raise `ServiceDied` if one of them has stopped unexpectedly."""
        for service, process in self._running.items():
            if process.poll() is not None:
                raise ServiceDied(f"{service} ended ({process.returncode}):\n{self.log(service)}")

    def health(self) -> dict[str, dict[str, Any]]:
        """By service: the responses of `/live` and `/ready`. Waits for services that are still
        starting."""
        until = time.monotonic() + GRACE
        while True:
            self.check()
            found = {service: self._health(service) for service in self._running}
            starting = any(not one or one["ready"]["stage"] != "running" for one in found.values())
            if not starting or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def _health(self, service: str) -> dict[str, Any]:
        said = (self._folder / f"{service}.log").read_text(encoding="utf-8", errors="replace")
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        found: dict[str, Any] = {}
        for page in ("live", "ready") if address is not None else ():
            try:
                with urlopen(f"{address[0]}/{page}", timeout=10) as answer:
                    found[page] = json.load(answer)
            except HTTPError as error:  # 503: the body says why
                found[page] = json.load(error)
        return found

    def effects(self, service: str) -> int:
        """Facts that have taken effect in the service's own database so far."""
        path = self._folder / "dados" / f"{service}.sqlite3"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                counted = database.execute("select count(distinct evento_id) from fatos")
                return int(counted.fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # still starting: no file, or a file without tables

    def stop(self) -> dict[str, Ended]:
        """Ask all of them to stop, wait, and read their results."""
        for process in self._running.values():
            process.terminate()
        ended = {}
        for service, process in self._running.items():
            if code := process.wait(GRACE):
                raise ServiceDied(f"{service} stopped with {code}:\n{self.log(service)}")
            said = json.loads((self._folder / f"{service}.out").read_bytes())
            notes = (self._folder / NOTES / f"{service}.json").read_bytes()
            ended[service] = Ended(said["services"][service], json.loads(notes))
        return ended

    def log(self, service: str) -> str:
        """The last lines of the service's output."""
        text = (self._folder / f"{service}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-15:])

    def _end(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
