"""The brokers on which schedules are played: each a local server, and a proxy that hurts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Protocol, Self

from messaging.connecting import ServiceBroker, remove
from messaging.local import HOST, LocalRabbitMQ, LocalServer
from messaging.rabbitmq.looks import AmqpLooks
from messaging.settings import Settings
from messaging.topology import Topology
from tests.chaos.cutting import CuttingProxy
from tests.chaos.proxy import FaultyProxy, ProxyThread

__all__ = ["GROUNDS", "Aws", "Ground", "RabbitMQ"]


SETTLED = 6.0
"""Seconds. A node (3.10) that is killed sooner after a quorum queue was made forgets the queue's
log: it writes its list of logs some seconds later. That is the broker's, and seen without us."""
TICK = 5.0
"""Seconds. A node writes down so often what each quorum queue holds (`quorum_tick_interval`), and
`rabbitmqctl list_queues` reads that: 0 until the first time, also after a restart."""


class Ground(Protocol):
    """A local server, on which schedules are played one after the other."""

    node_kills: int
    """How often the broker itself is killed in one schedule, where nothing else is said."""
    quiet: float
    """For how many seconds it must count nothing, so that nothing is there."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def prepared(self, topology: Topology, prefix: str) -> Settings:
        """The topology stands; settings that lead to it directly."""
        ...

    def connect(self, settings: Settings) -> ServiceBroker: ...

    def proxy(self, seed: int) -> ProxyThread: ...

    def through(self, settings: Settings, proxy: ProxyThread) -> Settings: ...

    def environment(self, proxy: ProxyThread) -> dict[str, str]:
        """For workers: it leads through the proxy."""
        ...

    def waiting(self, settings: Settings, services: list[str]) -> int:
        """Messages that wait, are in somebody's hand, or are delayed."""
        ...

    def clear(self, topology: Topology, settings: Settings) -> None:
        """Whatever a schedule made may go."""
        ...

    def kill_node(self) -> None:
        """kill -9 the broker, and start it again with what it had on disk."""
        ...


class _Local(ExitStack):
    server: LocalServer | LocalRabbitMQ

    def connect(self, settings: Settings) -> ServiceBroker:
        return self.server.connect(settings)

    def prepared(self, topology: Topology, prefix: str) -> Settings:
        settings = self.server.settings(topic=topology.topic.name, prefix=prefix)
        self.server.apply(topology, settings)
        return settings


class Aws(_Local):
    """ministack, behind a proxy that answers wrongly."""

    node_kills = 0
    quiet = 0.6

    def __init__(self) -> None:
        super().__init__()
        self.server = self.enter_context(LocalServer())

    def proxy(self, seed: int) -> ProxyThread:
        return FaultyProxy(self.server.url, seed=seed)

    def through(self, settings: Settings, proxy: ProxyThread) -> Settings:
        return settings.model_copy(update={"endpoint_url": proxy.url})

    def environment(self, proxy: ProxyThread) -> dict[str, str]:
        return self.server.environment | {"AWS_ENDPOINT_URL": proxy.url}

    def waiting(self, settings: Settings, services: list[str]) -> int:
        broker = self.connect(settings)
        try:
            return sum(sum(broker.queue(one).depth()[:3]) for one in services)
        finally:
            broker.close()

    def clear(self, topology: Topology, settings: Settings) -> None:
        """What is left there costs nothing."""

    def kill_node(self) -> None:
        raise NotImplementedError("ministack keeps nothing when it is killed")


class RabbitMQ(_Local):
    """A node of RabbitMQ, behind a proxy that cuts connections."""

    node_kills = 1
    quiet = 2 * TICK + 1

    def __init__(self) -> None:
        super().__init__()
        folder = Path(mkdtemp(prefix="messaging-chaos-"))
        self.callback(shutil.rmtree, folder, ignore_errors=True)
        self.server: LocalRabbitMQ = self.enter_context(LocalRabbitMQ(state=folder))

    def proxy(self, seed: int) -> ProxyThread:
        return CuttingProxy(self.server.url, seed=seed)

    def through(self, settings: Settings, proxy: ProxyThread) -> Settings:
        return settings.model_copy(update={"broker_url": proxy.url})

    def environment(self, proxy: ProxyThread) -> dict[str, str]:
        return {"MESSAGING_BROKER_URL": proxy.url}

    def waiting(self, settings: Settings, services: list[str]) -> int:
        # AMQP tells at once what is ready, and never what others have in hand; rabbitmqctl names
        # the queues, those of delays too, and counts all, but late.
        found = 0
        listed = self.server.control("-q", "list_queues", "name", "messages", "--no-table-headers")
        with closing(AmqpLooks(settings)) as looks:
            for line in listed.splitlines():
                name, _, count = line.partition("\t")
                ours = name.startswith(f"{settings.prefix}{settings.topic}-")
                if ours and not name.endswith(("-dlq", "-record", "-unrouted")):
                    found += max(int(count), looks.queue(name, None).messages)
            return found + len(looks.unseen)

    def prepared(self, topology: Topology, prefix: str) -> Settings:
        settings = super().prepared(topology, prefix)
        self._made = time.monotonic()
        return settings

    def clear(self, topology: Topology, settings: Settings) -> None:
        # Each quorum queue that stands makes the node's next start slower.
        for service in topology.services:
            remove(topology, service, settings, lose_messages=True)

    def kill_node(self) -> None:
        time.sleep(max(0.0, self._made + SETTLED - time.monotonic()))
        if self.server.pid is not None:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        while _listens(self.server.port):  # its parent is reaped a moment before it is gone itself
            time.sleep(0.05)
        self.server.start()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


GROUNDS = {"sqs": Aws, "rabbitmq": RabbitMQ}
