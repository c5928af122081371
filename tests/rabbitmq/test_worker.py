"""Workers on RabbitMQ, end to end: outcomes, the school's services, lost processes and nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from consumers import SERVICES
from consumers import TOPOLOGY as SCHOOL
from messaging.connecting import apply, connect
from messaging.dead_letters import Workbench
from messaging.errors import TransportError
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.settings import Settings
from messaging.topology import Topology
from tests.consumers.test_services import cadastrado
from tests.contracts.conftest import Depot, message
from tests.rabbitmq.parcels import TOPOLOGY, Counter, publish, until
from tests.rabbitmq.proxy import Cutter
from tests.rabbitmq_server import RabbitNode

ROOT = Path(__file__).parents[2]


def test_every_outcome_on_rabbitmq(settings: Settings) -> None:
    apply(TOPOLOGY, settings)
    publish(settings, 0, 1, 2, 3)
    broker = connect(settings)
    consumer = Counter()

    with Worker(consumer, broker=broker, wait=1) as worker:
        until(lambda: worker.stats.acknowledged >= 3 and worker.stats.dead_lettered == 1)
    assert worker.stats.balanced

    assert consumer.counts(0) == [1]
    assert consumer.counts(1) == [1, 2, 3]
    times = [moment for number, _, moment in consumer.seen if number == 1]
    assert all(after - before >= 1 for before, after in pairwise(times))
    [letter] = Workbench(broker.letters("counter")).letters()
    assert letter.reason == "number: no such parcel"
    assert letter.type == "parcel.sent"
    # The look at the letters has just put them back.
    until(lambda: broker.queue("counter").depth()[:5] == (0, 0, 0, None, 1))
    broker.close()


def test_the_school_s_services_hear_what_is_theirs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = settings.model_copy(update={"topic": "alunos"})
    apply(SCHOOL, here)
    monkeypatch.chdir(tmp_path)  # each service keeps its own database there
    broker = connect(here)
    with Publisher(broker.topic(), source="/cadastro") as publisher:
        publisher.publish(cadastrado(aceita_marketing=True))
        publisher.publish(cadastrado(aceita_marketing=False, aluno_id=uuid4()))
    assert {one: broker.queue(one).depth().visible for one in SCHOOL.services} == {
        "plataforma": 2,
        "financeiro": 2,
        "bi": 2,
        "marketing": 1,
    }
    with Worker(*(service() for service in SERVICES), broker=broker, wait=1) as worker:
        until(lambda: worker.stats.acknowledged == 7)
    assert worker.stats.dead_lettered == 0
    assert worker.stats.balanced
    broker.close()


def test_a_killed_worker_s_messages_come_again_at_once(settings: Settings) -> None:
    apply(Topology.of(Depot, topic="parcels", owns_topic=True), settings)
    publish(settings, 7)
    environment = os.environ | {
        "MESSAGING_BROKER_URL": str(settings.broker_url),
        "MESSAGING_TOPIC": "parcels",
        "MESSAGING_PREFIX": settings.prefix,
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "rabbitmq" / "slow_worker.py"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "handling\n"

    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    broker = connect(settings)
    queue = broker.queue("depot")
    # The lease is 30 s: RabbitMQ sees the connection close, and waits for no lease.
    [again] = queue.receive(10, 10)
    assert again.receive_count == 2
    broker.close()


def test_a_reset_connection_is_opened_again(
    settings: Settings, rabbitmq_server: RabbitNode
) -> None:
    apply(TOPOLOGY, settings)
    proxy = Cutter(rabbitmq_server.port)
    through = settings.model_copy(update={"broker_url": f"amqp://127.0.0.1:{proxy.port}"})
    broker = connect(through)
    consumer = Counter()
    with Worker(consumer, broker=broker, wait=1):
        for number in range(100, 104):
            publish(settings, number)
            until(lambda number=number: number in {one for one, _, _ in list(consumer.seen)})  # type: ignore[misc]
            proxy.cut()
        publish(settings, 200)
        until(lambda: 200 in {one for one, _, _ in list(consumer.seen)})
        until(lambda: broker.queue("counter").depth()[:3] == (0, 0, 0))
    topic = broker.topic()
    assert not topic.publish([message("{}", "parcel.found")])
    proxy.cut()
    with suppress(TransportError):  # the first may still meet the connection that is gone
        topic.publish([message("{}", "parcel.found")])
    assert not topic.publish([message("{}", "parcel.found")])
    broker.close()
    proxy.close()


def test_a_connection_that_is_lost_while_its_channel_opens_is_opened_again(
    settings: Settings, rabbitmq_server: RabbitNode
) -> None:
    apply(TOPOLOGY, settings)
    opening = b"\x00\x14\x00\x0a"  # Channel.Open: class 20, method 10
    proxy = Cutter(rabbitmq_server.port, at=opening)
    through = settings.model_copy(update={"broker_url": f"amqp://127.0.0.1:{proxy.port}"})
    broker = connect(through)
    queue = broker.queue("counter")

    with pytest.raises(TransportError) as lost:
        queue.depth()
    assert lost.value.code != "Timeout"
    assert queue.depth().visible == 0
    broker.close()
    proxy.close()
