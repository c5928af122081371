"""A real RabbitMQ for tests: a node of its own, on free ports, gone at the end.

    def test_x(rabbitmq_url: str) -> None: ...        # the URL of a fresh, empty virtual host
    def test_y(rabbitmq_node: RabbitNode) -> None: ...  # a node that this test may kill

Data, logs, node name, Erlang cookie and name server (epmd) are the node's own, so that it meets no
other node of the machine. Where RabbitMQ is not installed the tests that need it are skipped and
say so; where the environment says CI they fail.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pika
import pika.exceptions
import pytest

from tests.certificates import Authority
from tests.servers import missing

__all__ = [
    "RabbitNode",
    "rabbitmq_cluster",
    "rabbitmq_node",
    "rabbitmq_server",
    "rabbitmq_url",
]

START_SECONDS = 90.0
_HOME = Path("/usr/lib/rabbitmq/bin")
_numbers = count(1)


class RabbitNode:
    """One RabbitMQ node. `url` is its default virtual host; `virtual_host()` makes another.

    joins  another node, whose cluster this one is to be of.
    """

    def __init__(self, joins: RabbitNode | None = None) -> None:
        binary = next(
            (
                one
                for one in [_HOME / "rabbitmq-server", *_elsewhere("rabbitmq-server")]
                if one.exists()
            ),
            None,
        )
        epmd = shutil.which("epmd")
        if binary is None or epmd is None:
            missing("RabbitMQ", "apt-get install rabbitmq-server")
        self._binary = binary
        self._folder = Path(tempfile.mkdtemp(prefix="messaging-rabbit-", dir="/tmp"))
        self.port, self.tls_port, distribution, names = _free_ports(4)
        self._joins = joins
        if joins is not None:
            names = joins.names_port
            shutil.copy(joins.cookie, self._folder / ".erlang.cookie")
        self.names_port = names
        self.authority = Authority(self._folder)
        certificate = self.authority.issue()
        self._log = self._folder / "node.log"
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {self.authority.file}\n"
            f"ssl_options.certfile = {certificate}\n"
            f"ssl_options.keyfile = {certificate}\n"
            f"{self._cluster()}"
            "disk_free_limit.absolute = 1MB\n"
            "loopback_users = none\n"
        )
        (self._folder / "plugins").write_text("[].\n")
        (self._folder / "env.conf").write_text("")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "logs"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        self._names = joins._names if joins is not None else self._serve_names(epmd, names)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def tls_url(self) -> str:
        """The same, encrypted, with this node's authority."""
        return f"amqps://guest:guest@127.0.0.1:{self.tls_port}/?cacertfile={self.authority.file}"

    @property
    def name(self) -> str:
        return f"messaging{self.port}@localhost"

    @property
    def cookie(self) -> Path:
        """The secret that the nodes of a cluster share."""
        return self._folder / ".erlang.cookie"

    def start(self) -> None:
        """Start the node, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binary)],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(pika.exceptions.AMQPError, OSError):
                pika.BlockingConnection(pika.URLParameters(self.url)).close()
                return
            said = self._log.read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"RabbitMQ ended at its start:\n{said}"
            assert time.monotonic() < deadline, f"RabbitMQ does not answer:\n{said}"
            time.sleep(0.1)

    def kill(self) -> None:
        """End the node with SIGKILL, as a lost machine does. Its data stays."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def virtual_host(self) -> str:
        """The URL of a new, empty virtual host."""
        name = f"test{next(_numbers)}"
        self.control("add_vhost", name)
        self.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.url + name

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says; it takes some seconds, since it is an Erlang node, too."""
        done = subprocess.run(
            [str(self._binary.with_name("rabbitmqctl")), *arguments],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """End the node and everything that it left."""
        self.kill()
        if self._joins is None:
            self._names.terminate()
            self._names.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve_names(self, epmd: str, port: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [epmd, "-port", str(port), "-address", "127.0.0.1"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _cluster(self) -> str:
        if self._joins is None:
            return ""
        # https://www.rabbitmq.com/docs/cluster-formation#peer-discovery-classic-config
        return ("cluster_formation.peer_discovery_backend = classic_config\n") + "".join(
            f"cluster_formation.classic_config.nodes.{number} = {name}\n"
            for number, name in enumerate((self._joins.name, self.name), start=1)
        )


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitNode]:
    """A node that the tests of one process share: no test ends it."""
    node = RabbitNode()
    yield node
    node.stop()


@pytest.fixture
def rabbitmq_url(rabbitmq_server: RabbitNode) -> str:
    """The URL of a node that tests share; names need a prefix of the test's own."""
    return rabbitmq_server.url


@pytest.fixture
def rabbitmq_node() -> Iterator[RabbitNode]:
    """A node of this test's own, which it may kill and start again."""
    node = RabbitNode()
    yield node
    node.stop()


@pytest.fixture
def rabbitmq_cluster() -> Iterator[list[RabbitNode]]:
    """Three nodes of one cluster, of which this test may kill one."""
    with contextlib.ExitStack() as stack:
        first = RabbitNode()
        stack.callback(first.stop)
        nodes = [first]
        for _ in range(2):  # one after the other: two that join at once wait for each other's lock
            nodes.append(RabbitNode(first))
            stack.callback(nodes[-1].stop)
        yield nodes


def _elsewhere(name: str) -> list[Path]:
    found = shutil.which(name)
    return [Path(found).resolve()] if found else []


def _free_ports(number: int) -> list[int]:
    """Below those that the system gives to clients: while the node is down, a client that tries
    such a port may be given it as its own, and is then connected to itself."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < number:
            port = random.SystemRandom().randrange(15_000, 30_000)
            # Without SO_REUSEADDR: the node must be able to bind it just as well.
            one = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                one.listen()
                found.append(port)
    return found
