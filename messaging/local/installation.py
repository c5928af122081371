"""The Python environment of an engine: created once, kept, and separate from the caller's.

ministack requires one exact version of botocore, and moto depends on sixty packages. In a service's
environment they would dictate its version of boto3, so each gets its own environment below
`$XDG_CACHE_HOME/messaging` (`~/.cache/messaging`), with the packages in the lock file next to this
one. pip installs them: it honours the index, proxy and certificates of this machine, and checks
hashes.
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
# Variables that would make pip install the packages outside the new environment.
_MISLEADING = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIREMENT", "PIP_PYTHON")
_PROBLEM = ("ERROR", "error", "WARNING")


def environment_of(engine: str) -> Path:
    """The folder of the engine's environment, which may not exist yet.

    Another lock file, Python or machine has another folder, so that versions of the library can
    coexist. Any of them may be removed at any time: it is recreated when needed.
    """
    made_of = (_lock(engine).read_text(), sys.version, sys.base_prefix, os.uname().machine)
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:12]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "messaging"
    return kept / f"{engine}-{key}"


def interpreter(engine: str) -> Path:
    """The Python of the engine's environment, which is created if necessary.

    Raises the same errors as `install`.
    """
    folder = environment_of(engine)
    if not (folder / _COMPLETE).exists():
        install(engine, log.warning)
    return folder / "bin" / "python"


def install(engine: str, say: Callable[..., object]) -> Path:
    """Create the engine's environment unless it exists; returns its folder.

    Of two concurrent installations, the second waits for the first. An interrupted one is started
    from scratch.

    Args:
        engine: "ministack" or "moto".
        say: called with progress messages, like a logging method: `say("installing %s", name)`.

    Raises:
        MissingExtra: if pip or venv fails; it quotes their output.
        ConfigurationError: if the folder cannot be created.

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
