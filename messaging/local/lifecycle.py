"""The life cycle of a server in a child process: starts it, waits for it, ends it and cleans up."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import weakref
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from messaging.clock import SYSTEM_CLOCK
from messaging.connecting import ServiceBroker, apply, connect
from messaging.errors import ConfigurationError, TransportError
from messaging.local.process import end, last_lines
from messaging.settings import Settings

if TYPE_CHECKING:
    from messaging.aws import Plan
    from messaging.topology import Topology

__all__ = ["ServerProcess"]


class ServerProcess(ABC):
    """A server on 127.0.0.1 that ends with this process, however that ends.

    port    0 chooses a free one.
    log     a file to which the server's log is appended; None keeps it in a folder that is removed
            at the end.
    state   a folder that keeps the server's contents from one stop to the next start.

    Thread-safe; a forked child process may use it, and does not stop it.
    """

    start_seconds = 60.0  # startup timeout; a swapping laptop needs many seconds

    def __init__(
        self, name: str, port: int, log: str | Path | None, state: str | Path | None
    ) -> None:
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"port={port}: use 1 to 65535, or 0 for a free one")
        self.name = name
        """The kind of server: "ministack", "moto" or "rabbitmq"."""
        self._port = port
        self._log = None if log is None else Path(log)
        self._state = None if state is None else Path(state).absolute()
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None

    @abstractmethod
    def _spawn(self, scratch: Path) -> subprocess.Popen[bytes]:
        """Start the child process, which may write to `scratch`; sets the port."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server is ready."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The server's URL."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Variables for other processes: they make this library use this server."""

    @abstractmethod
    def settings(self, **fields: Any) -> Settings:
        """Settings for this server; `fields` are those of `Settings` (topic, prefix, ...)."""

    def connect(self, settings: Settings) -> ServiceBroker:
        """A broker on this server. `settings` come from `settings()`."""
        return connect(settings, session=self._session())

    def apply(self, topology: Topology, settings: Settings) -> Plan:
        """Create the topology on this server, including its topic, even if another service owns
        that."""
        return apply(topology, settings, session=self._session(), create_topic=True)

    def _session(self) -> Any:
        """A session with credentials, if the server requires them."""
        return None

    @property
    def port(self) -> int:
        """The port; 0 before the first start if a free one was requested."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it is not running."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> Self:
        """Start the server, and return once it answers. Does nothing if it is already running."""
        with self._lock:
            if self.pid is not None:
                return self
            self.stop()  # clean up after a server that died
            scratch = Path(tempfile.mkdtemp(prefix="messaging-local-"))
            try:
                process = self._spawn(scratch)
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
        """End the server and wait until it is gone. Does nothing if it is already stopped."""
        with self._lock:
            if self._end is not None:
                self._end()
            self._end = self._process = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server has ended, by itself or stopped; returns False after `timeout`
        seconds."""
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

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"at {self.url}, pid {self.pid}" if self.pid else "not running"
        return f"<{type(self).__name__} {self.name} {state}>"

    def _open_log(self, scratch: Path) -> IO[bytes]:
        path = self._log or scratch / "server.log"
        try:
            return path.open("ab")
        except OSError as error:
            raise ConfigurationError(f"log={str(path)!r}: {error.strerror}") from error

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], scratch: Path) -> None:
        deadline = SYSTEM_CLOCK.monotonic() + self.start_seconds
        while SYSTEM_CLOCK.monotonic() < deadline and process.poll() is None:
            if self._answers():
                return
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        ended = process.poll()
        what = (
            f"did not answer within {self.start_seconds:.0f} seconds"
            if ended is None
            else f"ended at its start with exit code {ended}"
        )
        last = last_lines(self._log or scratch / "server.log")
        raise TransportError(
            f"the local server ({self.name}) {what}; its log ends with:\n{last}",
            code="LocalServer",
            retryable=False,
        )
