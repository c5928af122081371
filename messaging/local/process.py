"""The parent's side of the local server's process: its socket, its environment and its end."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from messaging.errors import ConfigurationError

__all__ = [
    "CREDENTIALS",
    "HOST",
    "REGION",
    "answers",
    "bind",
    "spawn",
    "end",
    "environment",
    "inherited",
    "last_lines",
]

HOST = "127.0.0.1"
REGION = "sa-east-1"
CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Variables that keep boto3 from reading credentials from files or the network."""
_ACCOUNT = "000000000000"
_STOP_SECONDS = 5.0
_SAVE_SECONDS = 60.0  # saving some hundred thousand messages takes seconds
_CHILD = Path(__file__).with_name("child.py")
_PASSED_ON = frozenset(
    "PATH HOME LANG LC_ALL LC_CTYPE TZ LD_LIBRARY_PATH DYLD_LIBRARY_PATH".split()
)


def spawn(
    python: Path,
    engine: str,
    descriptor: int | None,
    scratch: Path,
    log: IO[bytes],
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start a process of `messaging.local.child`, which serves the socket `descriptor`, or binds
    its own."""
    # -I: nothing is imported from the caller's environment or folder
    command = [str(python), "-I", str(_CHILD)]
    command += [engine, str(descriptor), str(os.getpid()), str(scratch)]
    return subprocess.Popen(  # noqa: S603 - our own interpreter, file and words
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        pass_fds=() if descriptor is None else (descriptor,),
        cwd=scratch,
        env=environment,
        # A terminal's Ctrl-C is for this process only, which then stops the server gracefully.
        start_new_session=True,
    )


def bind(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1. Raises `ConfigurationError` if the port is not available."""
    # Bound here and passed to the child, so that no other process can take the port between its
    # choice and its use.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections linger
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"port {port} on {HOST} cannot be had ({error.strerror}): another program, perhaps an "
            "earlier local server, uses it; stop that one, or choose another port (0 takes a "
            "free one)"
        ) from error
    return listener


def inherited() -> dict[str, str]:
    """The part of this process's environment that a server inherits."""
    return {name: value for name, value in os.environ.items() if name in _PASSED_ON}


def environment(port: int, scratch: Path, log_level: str, state: Path | None) -> dict[str, str]:
    """The environment of the server of SNS and SQS, which writes only to `scratch` and, if given,
    `state`. It lists just what the server needs, so that no stray variable affects it."""
    # These make ministack keep its state, which `child.py` saves at the end.
    keeps = {} if state is None else {"PERSIST_STATE": "1", "S3_PERSIST": "1"}
    return inherited() | {
        "TMPDIR": str(scratch),
        "LOG_LEVEL": log_level,
        **CREDENTIALS,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        # ministack: one port, no docker, nothing on disk. By default it would open 0.0.0.0:8883.
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": REGION,
        "MINISTACK_ACCOUNT_ID": _ACCOUNT,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{scratch}/no-docker.sock",
        "STATE_DIR": str((state or scratch) / "services"),
        "S3_DATA_DIR": str((state or scratch) / "s3"),
        **keeps,
        "MOTO_PORT": str(port),
        "MOTO_ACCOUNT_ID": _ACCOUNT,
    }


def answers(port: int, path: str) -> bool:
    """True if `GET path` is answered with 200 within five seconds."""
    # http.client rather than urllib, which would use the proxy from the environment.
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def end(
    process: subprocess.Popen[bytes], scratch: Path, owner: int, *, saves: bool = False
) -> None:
    """End and reap the process, and remove its folder; only in the process that started it.

    saves   it has state to save first.
    """
    if os.getpid() != owner:
        return  # a forked child: the server belongs to its parent
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_SAVE_SECONDS if saves else _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
    shutil.rmtree(scratch, ignore_errors=True)


def last_lines(log: Path) -> str:
    """The end of the log, at most 15 lines."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join(f"  {line}" for line in lines[-15:]) or "  (nothing)"
