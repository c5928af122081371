"""What every transport is tried with: one small topology, on memory, ministack, moto and RabbitMQ.

On a server of AWS twice: carried by the fast transport, and by boto3.

A test asks for `site`, which is fresh for each test (a prefix of its own on a server that all
share), and uses nothing but the protocols of `messaging.transport`. `site.letters` is the one
look behind them: it reads a dead-letter queue. `fifo` is the same with a FIFO topic.

Where a server is known to differ from AWS, the test stands as AWS has it and says
`@not_on("server", because=...)`: it is weaker for nobody, and runs for one less.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from messaging.aws import apply, connect
from messaging.aws.clients import Clients
from messaging.aws.sqs import SqsQueue
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.local import Engine, LocalServer
from messaging.memory import MemoryBroker
from messaging.outcome import RetryPolicy
from messaging.rabbitmq import apply as apply_rabbitmq
from messaging.rabbitmq import connect as connect_rabbitmq
from messaging.settings import Settings
from messaging.topology import Topology
from messaging.transport import Attribute, Broker, Delivery, Outgoing, QueueTransport
from tests.rabbitmq_server import RabbitNode


class ParcelSent(Event, type="parcel.sent", version=1):
    number: int


class ParcelLost(Event, type="parcel.lost", version=1):
    number: int


class Depot(Consumer):
    """Hears of everything, and gives up after two receives."""

    retry = RetryPolicy(max_attempts=1)
    visibility_timeout = 30
    max_receives = 2

    @handles
    def sent(self, parcel: ParcelSent) -> None: ...

    @handles
    def lost(self, parcel: ParcelLost) -> None: ...


class Claims(Consumer):
    """Hears of lost parcels only; its leases are short."""

    visibility_timeout = 1

    @handles
    def lost(self, parcel: ParcelLost) -> None: ...


TOPOLOGY = Topology.of(Depot, Claims, topic="parcels")
FIFO_TOPOLOGY = Topology.of(Depot, Claims, topic="parcels.fifo")

ENGINES = ("memory", "ministack", "moto", "ministack-boto3", "moto-boto3", "rabbitmq")

Letter = tuple[str, Mapping[str, Attribute]]


@dataclass(frozen=True)
class Site:
    """One transport, set up; `bare` is the same with no topic and no queue."""

    broker: Broker
    bare: Broker
    letters: Callable[[str], list[Letter]]
    lose: Callable[[str, str], None] | None
    """Let a message (service, body) of type "parcel.sent" be one that SNS could not deliver; None
    where a publish fails then (`keeps_undelivered`)."""

    def send(self, *bodies: str, type: str = "parcel.sent", audience: str = "*") -> None:
        """Publish `bodies` as one batch; all of them must be accepted."""
        topic = self.broker.topic()
        assert list(topic.publish([message(one, type, audience) for one in bodies])) == []

    def queue(self, service: str) -> QueueTransport:
        return self.broker.queue(service)


def message(body: str, type: str = "parcel.sent", *audience: str, **more: Attribute) -> Outgoing:
    """One message to publish, for `audience` (default: everyone)."""
    attributes = {
        "type": Attribute.string(type),
        "audience": Attribute.array(audience or ("*",)),
        **more,
    }
    size = len(body.encode()) + sum(one.size(name) for name, one in attributes.items())
    return Outgoing(id=body[:20], body=body, attributes=attributes, size=size)


def receive_all(queue: QueueTransport, expected: int) -> list[Delivery]:
    """`expected` messages; fewer if the queue gives no more. A queue may give them in parts."""
    found: list[Delivery] = []
    while len(found) < expected:
        some = queue.receive(min(10, expected - len(found)), 2)
        if not some:
            break
        found += some
    return found


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[Engine], LocalServer]]:
    """One server for each engine, started when the first test asks for it."""
    running: dict[Engine, LocalServer] = {}

    def server(engine: Engine) -> LocalServer:
        if engine not in running:
            running[engine] = LocalServer(engine=engine).start()
        return running[engine]

    yield server
    for one in running.values():
        one.stop()


_prefixes = itertools.count(1)


def not_on(*engines: str, because: str) -> pytest.MarkDecorator:
    """Run this test without `engines`, which are known to differ from AWS in what it asks."""
    assert because
    left = [engine for engine in ENGINES if engine.partition("-")[0] not in engines]
    return pytest.mark.parametrize("site", left, indirect=True)


@pytest.fixture(params=ENGINES)
def site(
    request: pytest.FixtureRequest, servers: Callable[[Engine], LocalServer]
) -> Iterator[Site]:
    """A standard topic with its queues."""
    if request.param == "rabbitmq":
        yield from _rabbitmq(TOPOLOGY, request.getfixturevalue("rabbitmq_server"))
    else:
        yield from _site(request.param, TOPOLOGY, servers)


@pytest.fixture(params=["memory", "ministack", "ministack-boto3", "rabbitmq"])
def fifo(
    request: pytest.FixtureRequest, servers: Callable[[Engine], LocalServer]
) -> Iterator[Site]:
    """A FIFO topic with its queues; not on moto, which forgets order and deduplication."""
    if request.param == "rabbitmq":
        yield from _rabbitmq(FIFO_TOPOLOGY, request.getfixturevalue("rabbitmq_server"))
    else:
        yield from _site(request.param, FIFO_TOPOLOGY, servers)


def _site(
    where: Any, topology: Topology, servers: Callable[[Engine], LocalServer]
) -> Iterator[Site]:
    engine, _, transport = where.partition("-")
    if engine == "memory":
        yield from _memory(topology)
    else:
        yield from _server(topology, servers(engine), transport or "fast")


def _memory(topology: Topology) -> Iterator[Site]:
    bare = MemoryBroker(topology)
    for name in (topology.topic.name, *(queue.name for queue in topology.queues)):
        bare.remove(name)
    with MemoryBroker(topology) as broker:

        def letters(service: str) -> list[Letter]:
            return [(one.body, one.attributes) for one in broker.dead_letters(service)]

        def lose(service: str, body: str) -> None:
            broker.fail_next("deliver", service=service)
            assert not broker.topic().publish([message(body)])

        yield Site(broker, bare, letters, lose)


def _server(topology: Topology, server: LocalServer, transport: str) -> Iterator[Site]:
    credentials: dict[str, Any] = server.credentials
    session = boto3.Session(**credentials)
    prefix = f"t{os.getpid()}-{next(_prefixes)}-"
    settings = server.settings(topic=topology.topic.name, prefix=prefix, transport=transport)
    apply(topology, settings, session=session, create_topic=True)
    broker = connect(settings, session=session)
    bare = connect(settings.model_copy(update={"topic": "nowhere"}), session=session)

    def letters(service: str) -> list[Letter]:
        clients = Clients(settings, session)
        try:
            queue = SqsQueue(clients, prefix + topology.queue(service).dead_letters.name)
            return [(one.body, one.attributes) for one in queue.receive(10, 1)]
        finally:
            clients.close()

    def lose(service: str, body: str) -> None:
        # No server plays it: what SNS does then is to send the message and its own remarks there.
        sqs = session.client("sqs", endpoint_url=server.url)
        name = prefix + topology.subscription(service).undelivered.name
        attributes = dict(message(body).attributes) | {
            "RequestID": Attribute.string("r"),
            "ErrorCode": Attribute.string("403"),
            "ErrorMessage": Attribute.string("access denied"),
        }
        sqs.send_message(
            QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"],
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": one.type, "StringValue": str(one.value)}
                for name, one in attributes.items()
            },
        )
        sqs.close()

    yield Site(broker, bare, letters, lose)
    broker.close()
    bare.close()


def _rabbitmq(topology: Topology, node: RabbitNode) -> Iterator[Site]:
    prefix = f"t{os.getpid()}-{next(_prefixes)}-"
    settings = Settings(broker_url=node.url, topic=topology.topic.name, prefix=prefix)
    apply_rabbitmq(topology, settings, create_topic=True)
    broker = connect_rabbitmq(settings)
    bare = connect_rabbitmq(settings.model_copy(update={"topic": "nowhere"}))

    def letters(service: str) -> list[Letter]:
        found = broker.letters(service).receive(10, 1, 30)
        return [(one.body, one.attributes) for one in found]

    yield Site(broker, bare, letters, None)
    broker.close()
    bare.close()
