"""A RabbitMQ node on this machine: the installed server, isolated from the machine's own node.

    with LocalRabbitMQ() as server:
        broker = server.connect(server.settings(topic="alunos"))

The node has its own data, name, Erlang cookie and name server (epmd), so it does not interfere with
other nodes on the machine. RabbitMQ and Erlang must be installed: they are not Python packages.
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

_FOLDERS = (  # Debian's rabbitmq-server in /usr/sbin only runs as root and for its own node
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
"""Below the system's ephemeral ports: while the node is down, a client that connects to such a port
may be assigned it as its own source port, and is then connected to itself."""
_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


class LocalRabbitMQ(ServerProcess):
    """A RabbitMQ node on 127.0.0.1. Start it with `start()` or `with`.

    Without `state`, its contents are lost at `stop()`. Starting takes a few seconds.

    Args:
        port: 0 chooses a free one.
        log: a file to which the node's log is appended; None logs warnings only, in a folder that
            is removed at the end.
        state: a folder in which the node keeps its contents from one stop to the next start. Two
            nodes must not share a folder.

    Raises:
        ConfigurationError: by `start`, if RabbitMQ is not installed, or the port is not available.

    Example:
        ```python
        # Not run: it starts its own server, which tests/test_local_rabbitmq.py does.
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
        """The value for `MESSAGING_BROKER_URL`."""
        return f"amqp://guest:guest@{HOST}:{self._port}/"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for other processes: they make this library use this server."""
        return {"MESSAGING_BROKER_URL": self.url}

    def settings(self, **fields: Any) -> Settings:
        """Settings for this server; `fields` are those of `Settings` (topic, prefix, ...).

        Args:
            **fields: fields of `Settings`.
        """
        return Settings(**{"broker_url": self.url, **fields})

    @staticmethod
    def installed() -> Path:
        """The path of the installed server.

        Raises:
            ConfigurationError: if there is none; the text names the remedy.
        """
        return _binary("rabbitmq-server")

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` for this node and return its output; it takes a second or two.

        Args:
            *arguments: the arguments of `rabbitmqctl`.

        Raises:
            ConfigurationError: if the node is not running, or `rabbitmqctl` is not installed.
            TransportError: if it fails; the text quotes its output.
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
            bind(self._port).close()  # fail here, with the remedy, not in the node's log
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
        # The node listens once it is ready, and answers a client that speaks its protocol.
        with suppress(OSError), socket.create_connection((HOST, self._port), timeout=5) as door:
            door.sendall(_HEADER)
            return door.recv(1) == _METHOD_FRAME
        return False

    def _node(self, home: Path) -> dict[str, str]:
        """The environment of the node and its tools, without anything from the machine's own
        node."""
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
            # With this, the script is replaced by the node, which can be ended by its process id.
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
            # Without SO_REUSEADDR, so that only ports are chosen that the node can bind, too.
            one = held.enter_context(socket.socket())
            port = random.SystemRandom().choice(_PORTS)
            with suppress(OSError):
                one.bind((HOST, port))
                one.listen()
                found.append(port)
    return found
