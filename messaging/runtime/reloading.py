"""Runs a program again whenever its source changes: for development, never in production."""

from __future__ import annotations

import os
import queue as queues
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from messaging.clock import SYSTEM_CLOCK
from messaging.logs import logger
from messaging.runtime.processes import start_python
from messaging.runtime.threads import on_signals

__all__ = ["run_reloading"]

log = logger("messaging.runtime")

LOOK_EVERY = 0.5
"""Seconds between two checks of the files."""
GRACE = 40.0
"""Seconds that a program has for an orderly end: with the defaults, a worker takes at most 30."""

_Seen = Mapping[Path, tuple[int, int]]


def run_reloading(argv: Sequence[str], folder: Path, *, grace: float = GRACE) -> int:
    """Run `python *argv` until SIGTERM or Ctrl-C, restarting it after each change; returns the exit
    code.

        run_reloading(["-m", "messaging", "run", "biblioteca.servico:Biblioteca"], Path.cwd())

    Watches the Python files, pyproject.toml and .env files below `folder`, except virtual
    environments and hidden folders. A program that ends with an error is restarted at the next
    change. Programs are stopped by SIGTERM, so messages in flight are finished or released.
    """
    asked: queues.SimpleQueue[None] = queues.SimpleQueue()
    with on_signals(lambda: asked.put(None)):
        while True:
            seen = _look(folder)
            process = start_python(argv)
            try:
                change = _wait(process, folder, seen, asked)
            finally:
                _end(process, asked, grace)
            if change is None:
                return max(process.returncode, 0)
            log.warning("%s has changed: starting again", change)


def _wait(
    process: subprocess.Popen[bytes],
    folder: Path,
    seen: _Seen,
    asked: queues.SimpleQueue[None],
) -> str | None:
    """The changed file; None if a stop is requested, or the program has ended successfully."""
    told = False
    while True:
        if _asked(asked, LOOK_EVERY):
            return None
        now = _look(folder)
        if now != seen:
            different = {path for path, _ in seen.items() ^ now.items()}
            return str(min(different).relative_to(folder))
        code = process.poll()
        if code == 0:
            return None
        if code is not None and not told:
            told = True
            log.error("the program ended with %d: it is started again at the next change", code)


def _end(process: subprocess.Popen[bytes], asked: queues.SimpleQueue[None], grace: float) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    end = SYSTEM_CLOCK.monotonic() + grace
    while process.poll() is None and SYSTEM_CLOCK.monotonic() < end:
        if _asked(asked, 0.1):
            process.terminate()  # a second signal: it no longer waits for handlers
    process.kill()
    process.wait()


def _asked(asked: queues.SimpleQueue[None], seconds: float) -> bool:
    """Whether a stop is requested within `seconds`."""
    try:
        asked.get(timeout=seconds)
    except queues.Empty:
        return False
    return True


def _look(folder: Path) -> _Seen:
    seen: dict[Path, tuple[int, int]] = {}
    for path in _sources(folder):
        try:
            about = path.stat()
        except OSError:  # removed while we check
            continue
        seen[path] = about.st_mtime_ns, about.st_size
    return seen


def _sources(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in {"__pycache__", "node_modules", "site-packages"}
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        for name in names:
            if name.endswith(".py") or name in {"pyproject.toml", ".env"}:
                yield Path(place, name)
