"""A RabbitMQ node on this machine: the installed server, run apart from the machine's own node.

    with LocalRabbitMQ() as server:
        broker = server.connect(server.settings(topic="alunos"))

Data, node name, Erlang cookie and name server (epmd) are the node's own, so that it meets no other
node of the machine. RabbitMQ and Erlang must be installed: they are no Python packages.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from messaging.errors import ConfigurationError, TransportError
from messaging.local.lifecycle import ServerProcess
from messaging.local.process import HOST, bind, inherited, spawn
from messaging.settings import Settings

__all__ = ["LocalRabbitMQ"]

_FOLDERS = (  # Debian's own rabbitmq-server in /usr/sbin runs as root and for its own node only
    "/usr/lib/rabbitmq/bin",
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/sbin",
    "/usr/local/sbin",
)
_MISSING = (
    "RabbitMQ is not installed on this machine: apt-get install rabbitmq-server (Debian and "
    "Ubuntu), brew install rabbitmq (macOS); or name a server that runs elsewhere in "
    "MESSAGING_BROKER_URL"
)
_PORTS = range(15_000, 30_000)
"""Below those that the system gives to clients: while the node is down, a client that tries such a
port may be given it as its own, and is then connected to itself."""
_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


class LocalRabbitMQ(ServerProcess):
    """A RabbitMQ node on 127.0.0.1. Start it with `start()` or `with`.

    Without `state`, what it holds is gone at `stop()`. A start takes some seconds.

    Args:
        port: 0 takes a free one.
        log: a file to which the node's log is appended; None keeps warnings only, in a folder that
            is removed at the end.
        state: a folder in which the node keeps what it holds, from one stop to the next start. Two
            nodes must not share one.

    Raises:
        ConfigurationError: by `start`, where RabbitMQ is not installed, or the port cannot be had.

    Example:
        ```python
        # Not run: starts a server of its own, which tests/test_local_rabbitmq.py does.
        from messaging import connect
        from messaging.connecting import apply
        from messaging.local import LocalRabbitMQ

        with LocalRabbitMQ() as server:
            settings = server.settings(topic="alunos")
            apply(topology, settings)
            publisher = Publisher(connect(settings).topic(), source="/cadastro")
        ```
    """

    start_seconds = 120.0

    def __init__(
        self,
        *,
        port: int = 0,
        log: str | Path | None = None,
        state: str | Path | None = None,
    ) -> None:
        super().__init__("rabbitmq", port, log, state)
        self._home: Path | None = None
        self._names = self._distribution = 0

    @property
    def url(self) -> str:
        """What `MESSAGING_BROKER_URL` is set to."""
        return f"amqp://guest:guest@{HOST}:{self._port}/"

    @property
    def environment(self) -> dict[str, str]:
        """For other processes: with these variables set, this library comes here."""
        return {"MESSAGING_BROKER_URL": self.url}

    def settings(self, **fields: Any) -> Settings:
        """Settings that lead here; `fields` are those of `Settings` (topic, prefix, ...).

        Args:
            **fields: fields of `Settings`.
        """
        return Settings(**{"broker_url": self.url, **fields})

    @staticmethod
    def installed() -> Path:
        """Where the server is.

        Raises:
            ConfigurationError: where there is none; it tells the remedy.
        """
        return _binary("rabbitmq-server")

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` of this node says; it takes a second or two.

        Args:
            *arguments: what `rabbitmqctl` is given.

        Raises:
            ConfigurationError: if the node does not run, or `rabbitmqctl` is not installed.
            TransportError: if it fails; the text is its own words.
        """
        if self._home is None:
            raise ConfigurationError("rabbitmqctl asks a node that runs: call start() before")
        done = subprocess.run(  # noqa: S603 - the installed server's own tool
            [str(_binary("rabbitmqctl")), *arguments],
            env=self._node(self._home),
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise TransportError(
                f"rabbitmqctl ended with {done.returncode}: {said}",
                code="LocalServer",
                retryable=False,
            )
        return done.stdout

    def _spawn(self, scratch: Path) -> subprocess.Popen[bytes]:
        server, epmd = self.installed(), _binary("epmd")
        if self._port:
            bind(self._port).close()  # told here, with the remedy, and not in the node's log
            self._names, self._distribution = _free_ports(2)
        else:
            self._port, self._names, self._distribution = _free_ports(3)
        self._home = self._state or scratch
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "plugins").write_text("[].\n")
        (self._home / "env.conf").write_text("")
        level = "warning" if self._log is None else "info"
        (self._home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {HOST}:{self._port}\n"
            "disk_free_limit.absolute = 1MB\n"
            f"log.console = true\nlog.console.level = {level}\nlog.file = false\n"
        )
        environment = self._node(self._home) | {
            "MESSAGING_EPMD": str(epmd),
            "MESSAGING_RABBITMQ": str(server),
            "MESSAGING_STATE": "1" if self._state else "",
        }
        with self._open_log(scratch) as log:
            return spawn(Path(sys.executable), "rabbitmq", None, scratch, log, environment)

    def _answers(self) -> bool:
        # It listens when it is ready, and greets whoever speaks its protocol.
        with suppress(OSError), socket.create_connection((HOST, self._port), timeout=5) as door:
            door.sendall(_HEADER)
            return door.recv(1) == _METHOD_FRAME
        return False

    def _node(self, home: Path) -> dict[str, str]:
        """The environment of the node and its tools: nothing of the machine's own node."""
        return inherited() | {
            "HOME": str(home),  # Erlang keeps its cookie there
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._names),
            "RABBITMQ_NODENAME": "messaging@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "logs"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            # The script is then replaced by the node, which can be ended by its process id.
            "RUNNING_UNDER_SYSTEMD": "1",
        }


def _binary(name: str) -> Path:
    for folder in _FOLDERS:
        if (found := Path(folder, name)).exists():
            return found
    places = os.pathsep.join([*os.get_exec_path(), "/usr/local/bin", "/opt/homebrew/bin"])
    elsewhere = shutil.which(name, path=places)
    if elsewhere is None:
        raise ConfigurationError(_MISSING)
    return Path(elsewhere)


def _free_ports(number: int) -> list[int]:
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < number:
            # Without SO_REUSEADDR: the node must be able to bind it just as well.
            one = held.enter_context(socket.socket())
            port = random.SystemRandom().choice(_PORTS)
            with suppress(OSError):
                one.bind((HOST, port))
                one.listen()
                found.append(port)
    return found
