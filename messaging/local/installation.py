"""The Python environment in which an engine runs: made once, kept, and apart from the caller's.

ministack asks for one exact botocore, and moto brings sixty packages. In the environment of a
service they would decide which boto3 it may use, so each gets an environment of its own below
`$XDG_CACHE_HOME/messaging` (`~/.cache/messaging`), with the packages of the lock beside this file.
pip installs them: it obeys the index, proxy and certificates of this machine, and checks hashes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from messaging.errors import ConfigurationError, MissingExtra
from messaging.logs import logger

__all__ = ["environment_of", "install", "interpreter"]

log = logger("messaging.local")

_COMPLETE = ".complete"
# What would send the packages elsewhere than into the environment that is being made.
_MISLEADING = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIREMENT", "PIP_PYTHON")
_PROBLEM = ("ERROR", "error", "WARNING")


def environment_of(engine: str) -> Path:
    """The folder of the engine's environment, made or not.

    Another lock, Python or machine gives another folder, so that versions of the library stand
    side by side. Any of them may be removed at any time: it is made again when it is needed.
    """
    made_of = (_lock(engine).read_text(), sys.version, sys.base_prefix, os.uname().machine)
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:12]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "messaging"
    return kept / f"{engine}-{key}"


def interpreter(engine: str) -> Path:
    """The Python of the engine's environment, which is made if it does not stand yet.

    Raises what `install` raises.
    """
    folder = environment_of(engine)
    if not (folder / _COMPLETE).exists():
        install(engine, log.warning)
    return folder / "bin" / "python"


def install(engine: str, say: Callable[..., object]) -> Path:
    """Make the engine's environment unless it stands; its folder.

    Two that install at once: the second waits for the first. One that was interrupted is made
    again from nothing.

    Args:
        engine: "ministack" or "moto".
        say: is told what happens, as a logging method is: `say("installing %s", name)`.

    Raises:
        MissingExtra: where pip or venv fail; it has their own words.
        ConfigurationError: where the folder cannot be made.

    Example:
        ```python
        # Not run: pip would fetch packages.
        import logging

        from messaging.local import install

        folder = install("ministack", logging.getLogger("setup").info)  # in an image's build
        ```
    """
    folder = environment_of(engine)
    with _only_one(folder):
        if (folder / _COMPLETE).exists():
            return folder
        say(
            "installing the local server %s into %s: once, with pip, in a minute or less",
            engine,
            folder,
        )
        shutil.rmtree(folder, ignore_errors=True)
        _run(engine, "venv", [sys.executable, "-I", "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-I", "-m", "pip", "install"]
        pip += ["--quiet", "--no-input", "--disable-pip-version-check"]
        pip += ["--no-deps", "--require-hashes", "--requirement", str(_lock(engine))]
        _run(engine, "pip", pip)
        (folder / _COMPLETE).touch()
    return folder


def _lock(engine: str) -> Path:
    return Path(__file__).with_name(f"{engine}.txt")


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_suffix(".lock").open("w")
    except OSError as error:
        raise ConfigurationError(
            f"the local server is kept in {folder.parent}, which cannot be written "
            f"({error.strerror}); set XDG_CACHE_HOME to a folder that can be"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(engine: str, tool: str, command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    done = subprocess.run(  # noqa: S603 - this interpreter and its own modules
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    if tool == "venv":
        remedy = (
            "this Python needs the modules venv and ensurepip (Debian and Ubuntu: "
            "apt-get install python3-venv)"
        )
    else:
        remedy = (
            "pip needs a package index. Where there is none, run on a machine that has one: "
            f"pip download --require-hashes -r {command[-1]} -d wheels; then here: "
            "PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels messaging local --install"
        )
    said = (done.stderr + done.stdout).splitlines()
    told = [line for line in said if line.startswith(_PROBLEM)] or said
    raise MissingExtra(
        f"the local server {engine} could not be installed: {tool} ended with "
        f"{done.returncode}; {remedy}. It said:\n" + "\n".join(f"  {line}" for line in told[-8:])
    )
