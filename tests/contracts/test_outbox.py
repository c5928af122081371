"""An outbox with a relay behind it is a topic like any other: the suite of topics, once more.

Left out is what an outbox cannot know when it writes: that the topic is missing, and which entries
it will refuse. The relay parks those (`tests/outbox/`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from messaging.outbox import Relay, SqlOutbox, create
from messaging.sql import mysql
from messaging.topology import Topology
from messaging.transport import Attribute, Broker, Failure, Outgoing, QueueTransport
from tests.contracts.conftest import FIFO_TOPOLOGY, TOPOLOGY, Site, _memory, message
from tests.contracts.test_fifo import (  # noqa: F401 - pytest collects what stands here
    test_group_travels_with_the_message,
    test_group_waits_while_one_of_its_messages_is_in_flight,
    test_order_in_a_group_outlives_a_release,
    test_repeated_message_arrives_once,
)
from tests.contracts.test_topic import (  # noqa: F401 - pytest collects what stands here
    test_audience_decides_who_hears,
    test_batch_of_ten,
    test_body_and_attributes_arrive_intact,
    test_broker_is_one,
    test_closed_topic_refuses_and_others_go_on,
    test_eleven_messages_are_refused_whole,
    test_empty_batch_is_nothing,
    test_limit_is_that_of_the_topology,
    test_message_without_the_attributes_reaches_nobody,
    test_one_copy_for_several_services,
    test_type_decides_who_hears,
)


class Relayed:
    """An outbox whose every batch is committed and relayed at once."""

    def __init__(self, connect: Callable[[], Any], target: Broker) -> None:
        self._connect = connect
        self._target = target
        self._connection = connect()
        self._outbox = SqlOutbox(self._connection)

    @property
    def max_bytes(self) -> int:
        return self._outbox.max_bytes

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        failures = self._outbox.publish(batch)
        self._connection.commit()
        with Relay(self._connect, self._target.topic()) as relay:
            relay.drain()
        return failures

    def close(self) -> None:
        self._outbox.close()


@dataclass
class OutboxBroker:
    connect: Callable[[], Any]
    target: Broker

    def topic(self) -> Relayed:
        return Relayed(self.connect, self.target)

    def queue(self, service: str) -> QueueTransport:
        return self.target.queue(service)

    def close(self) -> None: ...


def _site(request: pytest.FixtureRequest, topology: Topology) -> Iterator[Site]:
    path: Path = request.getfixturevalue("tmp_path") / "outbox.db"
    open_another: Callable[[], Any] = partial(sqlite3.connect, path, isolation_level="DEFERRED")
    if request.param == "postgresql":
        open_another = partial(psycopg.connect, request.getfixturevalue("postgres"))
    elif request.param == "mysql":
        open_another = mysql(request.getfixturevalue("mariadb"))
    opened: list[Any] = []

    def connect() -> Any:
        opened.append(open_another())
        return opened[-1]

    first = connect()
    create(first)
    first.commit()
    for behind in _memory(topology):
        yield replace(behind, broker=OutboxBroker(connect, behind.broker))
    for connection in opened:
        with suppress(pymysql.Error):  # it says so where one was closed before
            connection.close()


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    yield from _site(request, TOPOLOGY)


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def fifo(request: pytest.FixtureRequest) -> Iterator[Site]:
    yield from _site(request, FIFO_TOPOLOGY)


def test_binary_attribute_arrives_intact(site: Site) -> None:
    sent = message("1", binary=Attribute("Binary", bytes(range(256))))

    assert not site.broker.topic().publish([sent])

    [delivery] = site.queue("depot").receive(1, 1)
    assert delivery.attributes == sent.attributes


def test_messages_of_one_group_arrive_in_their_order(fifo: Site) -> None:
    topic = fifo.broker.topic()
    for start in range(0, 30, 10):
        numbers = [str(number) for number in range(start, start + 10)]
        topic.publish([replace(message(n), group="ana", deduplication=n) for n in numbers])

    queue = fifo.queue("depot")
    order = []
    while found := queue.receive(10, 0):
        order += [delivery.body for delivery in found]
        queue.delete(found)
    assert order == [str(number) for number in range(30)]
