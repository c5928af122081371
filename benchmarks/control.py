"""Starts the canned server, loads it, and asks what it has counted."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.machine import pin

__all__ = ["Canned", "canned_server"]


class Canned:
    """The canned server at `url`, asked from any process. Who knows its `pid` may move it."""

    def __init__(self, url: str, pid: int | None = None, tls: str = "") -> None:
        self.url = url
        self.tls = tls
        """The same behind TLS, where the server was given a certificate."""
        self._pid = pid

    def move(self, cpu: int | None) -> None:
        """Let it run on this processor only, where that can be said."""
        if self._pid is not None:
            pin(cpu, self._pid)

    def load(
        self, queue: str, count: int, messages: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Put `count` messages into `queue`: `messages` again and again, or those it has."""
        self._ask("load", queue=queue, count=count, messages=messages)

    def relay(self, *queues: str) -> None:
        """From now on what is published is received from these queues."""
        self._ask("relay", queues=queues)

    def delay(self, seconds: float, jitter: float = 0.0) -> None:
        """From now on each answer to a client comes so much later, and up to `jitter` seconds more;
        a reset does not change that."""
        self._ask("delay", seconds=seconds, jitter=jitter)

    def wait(self, what: str, count: int) -> None:
        """Return when `count` entries of an action ("DeleteMessage", "Publish") have come."""
        self._ask("await", what=what, count=count)

    def counts(self) -> dict[str, Any]:
        """`requests` and `entries` by action since the reset; the server's own `cpu` seconds."""
        return dict(self._ask("counts"))

    def last(self) -> list[dict[str, Any]]:
        """The messages of the last request that published or sent any."""
        return list(self._ask("last"))

    def reset(self) -> None:
        """Forget everything."""
        self._ask("reset")

    def _ask(self, path: str, **said: Any) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=600)
        try:
            connection.request("POST", f"/_canned/{path}", json.dumps(said))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def canned_server(certificate: Path | None = None) -> Iterator[Canned]:
    """The server as a process of its own, behind TLS as well if it is given a certificate with its
    key; gone at the end."""
    more = [] if certificate is None else [str(certificate)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.canned", *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the canned server did not start")
        yield Canned(url, process.pid, process.stdout.readline().strip() if more else "")
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
