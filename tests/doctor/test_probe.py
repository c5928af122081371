"""A probe goes the whole way, and no handler sees it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from time import monotonic, sleep

import pytest

from messaging import MemoryBroker, Publisher, Worker
from messaging.aws import connect
from messaging.consuming.consumer import Consumer, handles
from messaging.doctor.probe import probe, send
from messaging.errors import TopologyError
from messaging.local import LocalServer
from messaging.metrics import Metrics
from messaging.topology import Topology
from tests.doctor.conftest import IN_ORDER, SOUND, Aconteceu, School, Um

WAIT = 3.0


class Ouvinte(Consumer):
    def __init__(self) -> None:
        self.heard: list[int] = []

    @handles
    def ouvir(self, evento: Aconteceu) -> None:
        self.heard.append(evento.numero)


class Outro(Consumer):
    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


BOTH = Topology.of(Ouvinte, Outro, topic="alunos", owns_topic=True)


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    broker = MemoryBroker(BOTH)
    yield broker
    broker.close()


def test_without_a_worker_each_queue_gives_its_own_probe_back(broker: MemoryBroker) -> None:
    hops = list(probe(BOTH, broker, wait=WAIT))
    assert [(one.service, one.end) for one in hops] == [
        ("ouvinte", "arrived"),
        ("outro", "arrived"),
    ]
    for one in hops:
        assert one.arrived is not None
        assert 0 <= one.published <= one.arrived
        assert not one.failed
    for service in BOTH.services:
        depth = broker.queue(service).depth()
        assert (depth.visible, depth.in_flight, depth.dead_letters) == (0, 0, 0)


def test_a_worker_discards_a_probe_and_says_so_and_no_handler_sees_it(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="messaging")
    ouvinte = Ouvinte()
    # Something waits, so the probe is left to the worker.
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Aconteceu(numero=7))
    hops = list(probe(BOTH, broker, wait=WAIT))
    assert [one.end for one in hops] == ["left", "left"]

    worker = Worker(ouvinte, broker=broker)
    worker.start()
    try:
        until = monotonic() + 20
        while worker.pipelines["ouvinte"].stats.acknowledged < 2 and monotonic() < until:
            sleep(0.01)
    finally:
        worker.stop()
    stats = worker.pipelines["ouvinte"].stats

    assert ouvinte.heard == [7]
    assert (stats.discarded, stats.acknowledged) == (1, 2)
    assert broker.queue("ouvinte").depth().dead_letters == 0
    assert any(f"received probe {hops[0].id}" in one.getMessage() for one in caplog.records)


def test_messages_of_others_are_not_received(broker: MemoryBroker) -> None:
    with Publisher(broker.topic(), source="/x") as publisher:
        publisher.publish(Aconteceu(numero=7))
    list(probe(BOTH, broker, wait=WAIT))
    received = broker.queue("outro").receive(10, 0)
    assert [one.receive_count for one in received] == [1, 1]


def test_a_topic_that_refuses_is_told() -> None:
    with MemoryBroker(BOTH) as broker:
        broker.fail_next("publish", entries=[0], code="AuthorizationError", times=2)
        hops = list(probe(BOTH, broker, wait=WAIT))
    assert [one.end for one in hops] == ["refused", "refused"]
    assert all(one.failed and one.code for one in hops)


@pytest.mark.parametrize("topology", [SOUND, IN_ORDER], ids=["standard", "FIFO"])
def test_a_probe_on_a_real_server(server: LocalServer, topology: Topology) -> None:
    school = School(server, topology)
    named = school.settings.model_copy(update={"topic": topology.topic.name})
    broker = connect(named, session=school.session)
    try:
        (hop,) = probe(topology, broker, wait=WAIT)
    finally:
        broker.close()
    assert hop.end == "arrived"
    assert hop.to_dict()["name"] == "probe"
    assert school.examined() == []


def test_a_worker_that_polls_is_not_called_away_because_doctor_was_quicker(
    server: LocalServer,
) -> None:
    school = School(server)
    named = school.settings.model_copy(update={"topic": SOUND.topic.name})
    broker = connect(named, session=school.session)
    with closing(broker), Worker(Um(), broker=broker, wait=1, poll_grace=0) as worker:
        (hop,) = probe(SOUND, broker, wait=WAIT)
        until = monotonic() + 20
        while not worker.stats.discarded and monotonic() < until:
            sleep(0.01)
        assert worker.stats.discarded == 1
    assert hop.end in ("taken", "not seen")


def test_a_probe_that_sns_cannot_deliver_is_told() -> None:
    with MemoryBroker(BOTH) as broker:
        broker.fail_next("deliver", service="ouvinte", code="KMSDisabled", retryable=False)
        first, second = probe(BOTH, broker, wait=0.2)
    assert first.end == "undelivered"
    assert first.failed
    assert second.end == "arrived"


def test_a_canary_is_left_to_the_worker_whose_metrics_tell_its_delay(broker: MemoryBroker) -> None:
    ouvinte = Ouvinte()
    with Worker(ouvinte, broker=broker, wait=0.1) as worker:
        metrics = Metrics(worker)
        before = metrics.read()
        assert before["messaging.worker.probes"] == {("ouvinte",): 0}
        assert not before["messaging.worker.probe_age"]
        hops = list(send(BOTH, broker, services=["ouvinte"]))
        until = monotonic() + 20
        while not worker.stats.discarded and monotonic() < until:
            sleep(0.01)
        found = metrics.read()
    assert [(one.service, one.end, one.failed) for one in hops] == [("ouvinte", "sent", False)]
    assert ouvinte.heard == []
    assert found["messaging.worker.probes"] == {("ouvinte",): 1}
    for name in ("probe_delay", "probe_age"):
        value = found[f"messaging.worker.{name}"]["ouvinte",]
        assert isinstance(value, float)
        assert 0 <= value < 20
    assert broker.queue("outro").depth().visible == 0, "nobody asked for that one"


def test_a_canary_disturbs_no_queue_and_goes_to_all_if_none_is_named(broker: MemoryBroker) -> None:
    assert [one.service for one in send(BOTH, broker)] == ["ouvinte", "outro"]
    for service in BOTH.services:
        [received] = broker.queue(service).receive(10, 0)
        assert received.receive_count == 1


def test_a_canary_that_the_topic_refuses_is_told() -> None:
    with MemoryBroker(BOTH) as broker:
        broker.fail_next("publish", entries=[0], code="AuthorizationError", times=2)
        hops = list(send(BOTH, broker))
    assert [(one.end, one.code, one.failed) for one in hops] == [
        ("refused", "AuthorizationError", True)
    ] * 2


def test_a_canary_for_a_service_that_is_not_there_names_it(broker: MemoryBroker) -> None:
    with pytest.raises(TopologyError, match="biblioteca"):
        list(send(BOTH, broker, services=["biblioteca"]))
