"""A local server that answers SNS and SQS on this machine, and its life cycle.

    with LocalServer() as server:
        broker = connect(server.settings(), session=boto3.Session(**server.credentials))

The server is a child process. It ends with this one, however this one ends, and it listens on
127.0.0.1 only. `messaging.local.child` is what runs in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import ConfigurationError, TransportError
from messaging.local.installation import install, interpreter
from messaging.local.process import HOST, REGION, answers, bind, end, last_lines, spawn
from messaging.settings import Settings

__all__ = ["HOST", "REGION", "Engine", "LocalServer", "install"]

Engine = Literal["ministack", "moto"]

_START_SECONDS = 60.0  # ministack needs half of one, moto one; a laptop that swaps, many more
_HEALTH: Mapping[Engine, str] = {"ministack": "/_ministack/health", "moto": "/moto-api/"}


class LocalServer:
    """A server on 127.0.0.1 that speaks SNS and SQS. Start it with `start()` or `with`.

    engine  "ministack" (fast) or "moto" (known to many). Neither needs to be installed: `start`
            makes an environment for it once, apart from yours (`messaging.local.installation`).
    port    0 takes a free one.
    log     a file to which the server's log is appended, requests and all; None keeps warnings
            only, in a folder that is removed at the end.
    state   a folder in which ministack keeps what it holds, from one stop to the next start;
            queues are written when it ends in order (`stop()`, SIGTERM, this process's end) and
            not when it is killed, files of S3 at once. Two servers must not share one.

    Without `state`, what it holds is in memory and gone at `stop()`. `start` raises `MissingExtra`
    when the engine could not be installed, and `ConfigurationError` when the port cannot be had. A
    server that stopped can be started again, on the same port; empty, if it has no `state`. It may
    be used from any thread; a forked child process may talk to it, and does not stop it.
    """

    def __init__(
        self,
        *,
        engine: Engine = "ministack",
        port: int = 0,
        log: str | Path | None = None,
        state: str | Path | None = None,
    ) -> None:
        if engine not in _HEALTH:
            raise ConfigurationError(f"engine={engine!r}: use one of {', '.join(_HEALTH)}")
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"port={port}: use 1 to 65535, or 0 for a free one")
        if state is not None and engine != "ministack":
            raise ConfigurationError(f"engine={engine!r} keeps no state: only ministack does")
        self.engine: Engine = engine
        self._port = port
        self._log = None if log is None else Path(log)
        self._state = None if state is None else Path(state).absolute()
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None

    @property
    def port(self) -> int:
        """The port; 0 before the first start, where a free one was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Where SNS and SQS answer: what boto3 calls the endpoint URL."""
        return f"http://{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def credentials(self) -> dict[str, str]:
        """For code in this process: `boto3.Session(**server.credentials)`."""
        return {
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
            "region_name": REGION,
        }

    @property
    def environment(self) -> dict[str, str]:
        """For other processes: with these variables set, boto3 and this library come here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def settings(self, **fields: Any) -> Settings:
        """Settings that lead here; `fields` are those of `Settings` (topic, prefix, ...)."""
        return Settings(**{"endpoint_url": self.url, "region": REGION, **fields})

    def start(self) -> Self:
        """Return when the server answers. Starting one that runs does nothing."""
        with self._lock:
            if self.pid is not None:
                return self
            self.stop()  # what is left of one that died
            python = interpreter(self.engine)
            listener = bind(self._port)
            self._port = listener.getsockname()[1]
            scratch = Path(tempfile.mkdtemp(prefix="messaging-local-"))
            try:
                level = "WARNING" if self._log is None else "INFO"
                with closing(listener), self._open_log(scratch) as log:
                    process = spawn(python, self.engine, listener, scratch, log, level, self._state)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
            self._process = process
            # Runs at `stop`, when this object is garbage collected, and when the interpreter exits.
            self._end = weakref.finalize(
                self, end, process, scratch, os.getpid(), saves=bool(self._state)
            )
            try:
                self._wait_until_it_answers(process, scratch)
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """End the server and wait until it is gone. Stopping twice does nothing."""
        with self._lock:
            if self._end is not None:
                self._end()
            self._end = self._process = None

    def wait(self, timeout: float | None = None) -> bool:
        """True when the server has ended, by itself or stopped; False after `timeout` seconds."""
        process = self._process
        if process is None:
            return True
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"at {self.url}, pid {self.pid}" if self.pid else "not running"
        return f"<LocalServer {self.engine} {state}>"

    def _open_log(self, scratch: Path) -> IO[bytes]:
        path = self._log or scratch / "server.log"
        try:
            return path.open("ab")
        except OSError as error:
            raise ConfigurationError(f"log={str(path)!r}: {error.strerror}") from error

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], scratch: Path) -> None:
        # The socket is ours and listens already: a request waits in its backlog until the server
        # takes it, and nobody else can answer it.
        deadline = SYSTEM_CLOCK.monotonic() + _START_SECONDS
        while SYSTEM_CLOCK.monotonic() < deadline and process.poll() is None:
            if answers(self._port, _HEALTH[self.engine]):
                return
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        ended = process.poll()
        what = (
            f"did not answer within {_START_SECONDS:.0f} seconds"
            if ended is None
            else f"ended at its start with exit code {ended}"
        )
        last = last_lines(self._log or scratch / "server.log")
        raise TransportError(
            f"the local server ({self.engine}) {what}; its log ends with:\n{last}",
            code="LocalServer",
            retryable=False,
        )
