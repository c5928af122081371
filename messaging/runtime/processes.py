"""Processes: a parent that keeps several Python processes running side by side.

For a consumer whose handlers need more than one core: each child is a program with its own worker,
and SQS shares the messages among them.
"""

from __future__ import annotations

import logging
import os
import queue as queues
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from messaging.backoff import Backoff
from messaging.clock import SYSTEM_CLOCK
from messaging.errors import ConfigurationError
from messaging.logs import logger
from messaging.runtime.threads import on_signals

__all__ = ["LAUNCH", "run_processes", "start_python"]

log = logger("messaging.runtime")

BACKOFF = Backoff(first=0.5, longest=30.0, jitter=0.5)
"""Seconds before a crashed child is restarted."""

LAUNCH = """
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)   # PR_SET_PDEATHSIG, which lasts through exec
if os.getppid() != int(sys.argv[1]):
    sys.exit(0)                                  # the parent died before that was said
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""Runs first in a child: it gets SIGTERM when its parent, whose pid it is given, dies."""


@dataclass(slots=True)
class _Child:
    """One of the `count` slots, its current process, and its history of crashes."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    crashes: int = 0
    """Crashes in a row, each soon after its start."""
    again_at: float | None = None


_Mail = queues.SimpleQueue[tuple[_Child, int] | None]
"""Each child that has ended and what it returned, and None for each signal."""


def run_processes(
    argv: Sequence[str],
    count: int,
    *,
    most_crashes: int = 5,
    settled_after: float = 10.0,
    grace: float = 60.0,
) -> int:
    """Run `count` processes of `python *argv` until SIGTERM or Ctrl-C; returns the exit code.

        run_processes(["-m", "messaging", "run", "consumers.marketing:Marketing"], 4)

    Call it in the main thread. Each signal is forwarded to every child as SIGTERM; `grace` seconds
    after the first, children that still run are killed. A crashed child is restarted after a pause
    that doubles each time. After `most_crashes` in a row, each less than `settled_after` seconds
    after its start, all are stopped. A child that ends with 0 is not restarted.

    Returns 0 if all ended with 0, otherwise the first nonzero code (128 + n for signal n). If the
    parent is killed, its children get SIGTERM (on Linux; elsewhere they keep running).
    """
    if count < 1:
        raise ConfigurationError(f"run_processes(count={count}): at least 1")
    return _Parent(argv, count, most_crashes, settled_after, grace).run()


def start_python(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `python *argv` in a process that is told by SIGTERM when this one dies."""
    # A process group of its own: Ctrl-C in a terminal only reaches the parent, which forwards it
    # once. The child would otherwise get two signals, and a second one means hurry.
    return subprocess.Popen(  # noqa: S603 - this Python, by its own path
        [sys.executable, "-c", LAUNCH, str(os.getpid()), *argv],
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


class _Parent:
    def __init__(
        self, argv: Sequence[str], count: int, most_crashes: int, settled_after: float, grace: float
    ) -> None:
        self._argv = argv
        self._most_crashes = most_crashes
        self._settled_after = settled_after
        self._grace = grace
        self._children = [_Child(number) for number in range(1, count + 1)]
        self._mail: _Mail = queues.SimpleQueue()
        self._kill_at: float | None = None
        self._killed = False
        self._code = 0

    def run(self) -> int:
        with on_signals(lambda: self._mail.put(None)):
            try:
                for child in self._children:
                    self._start(child)
                while self._alive():
                    self._turn()
            finally:
                self._kill()
        return self._code

    def _alive(self) -> bool:
        return any(one.process is not None or one.again_at is not None for one in self._children)

    def _turn(self) -> None:
        """Wait for the next signal or exit, and handle it."""
        try:
            ended = self._mail.get(timeout=self._until_next())
        except queues.Empty:
            now = SYSTEM_CLOCK.monotonic()
            for child in self._children:
                if child.again_at is not None and child.again_at <= now:
                    self._start(child)
            if self._kill_at is not None and self._kill_at <= now and not self._killed:
                log.error("children that still run after %.0f s are killed", self._grace)
                self._killed = True
                self._kill()
            return
        if ended is None:
            self._stop()
        else:
            self._ended(*ended)

    def _until_next(self) -> float | None:
        times = [one.again_at for one in self._children if one.again_at is not None]
        if self._kill_at is not None and not self._killed:
            times.append(self._kill_at)
        return max(0.001, min(times) - SYSTEM_CLOCK.monotonic()) if times else None

    def _start(self, child: _Child) -> None:
        child.again_at = None
        child.started = SYSTEM_CLOCK.monotonic()
        process = child.process = start_python(self._argv)
        log.info("process %d started (pid %d)", child.number, process.pid)
        threading.Thread(
            target=lambda: self._mail.put((child, process.wait())),
            name=f"messaging-process-{child.number}",
            daemon=True,
        ).start()

    def _ended(self, child: _Child, returned: int) -> None:
        child.process = None
        code = 128 - returned if returned < 0 else returned
        stopping = self._kill_at is not None
        if stopping and returned == -signal.SIGTERM:
            code = 0  # it had just started and did not handle signals yet
        log.log(
            logging.INFO if code == 0 or stopping else logging.ERROR,
            "process %d ended with %d",
            child.number,
            code,
        )
        if stopping or code == 0:
            self._code = self._code or code
            return
        now = SYSTEM_CLOCK.monotonic()
        child.crashes = child.crashes + 1 if now - child.started < self._settled_after else 1
        if child.crashes >= self._most_crashes:
            log.error("process %d crashed %d times: all are stopped", child.number, child.crashes)
            self._code = self._code or code
            self._stop()
            return
        child.again_at = now + BACKOFF.after(child.crashes)

    def _stop(self) -> None:
        if self._kill_at is None:
            self._kill_at = SYSTEM_CLOCK.monotonic() + self._grace
        for child in self._children:
            child.again_at = None
            if child.process is not None:
                child.process.terminate()

    def _kill(self) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.kill()
