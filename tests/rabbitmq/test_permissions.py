"""Permissions of each role, imported into a real node and then lived with."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from messaging.connecting import apply, connect, remove
from messaging.consuming.consumer import Consumer, handles
from messaging.dead_letters import Workbench
from messaging.doctor import examine
from messaging.errors import AccessDenied
from messaging.outcome import Reject, Retry
from messaging.publishing.publisher import Publisher
from messaging.rabbitmq.permissions import definitions, permissions
from messaging.runtime import Worker
from messaging.settings import Settings
from messaging.topology import Topology
from messaging.transport import Delivery
from tests.contracts.conftest import Claims, Depot, ParcelSent, message
from tests.rabbitmq.parcels import until
from tests.rabbitmq_server import RabbitNode

PASSWORD = "none but this test's"
OFFICE = Topology.producer("parcels", owner="office")


class Counter(Consumer):
    """Retries each parcel once with a delay, and refuses those with an odd number."""

    service = "counter"

    @handles
    def sent(self, parcel: ParcelSent, delivery: Delivery) -> None:
        if parcel.number % 2:
            raise Reject("number: odd")
        if delivery.receive_count == 1:
            raise Retry(delay=1)


POST = Topology.of(Counter, Depot, topic="parcels", owns_topic=True)
COUNTER = Topology.of(Counter, topic="parcels")

As = Callable[[str], Settings]


@pytest.fixture
def role(settings: Settings, rabbitmq_server: RabbitNode, tmp_path: Path) -> As:
    """Settings of a role's user, which was made by an import of the exported definitions."""
    document = definitions(POST.prefixed(settings.prefix), users=True)
    salt = os.urandom(4)
    digest = hashlib.sha256(salt + PASSWORD.encode()).digest()
    for user in document["users"]:
        assert user["password_hash"] == ""
        user["password_hash"] = base64.b64encode(salt + digest).decode()
    (tmp_path / "users.json").write_text(json.dumps(document))
    rabbitmq_server.control("import_definitions", str(tmp_path / "users.json"))

    def settings_of(name: str) -> Settings:
        user = f"{settings.prefix}parcels-{name}".replace("/", "%2F")
        password = PASSWORD.replace(" ", "%20")
        url = str(settings.broker_url).replace("guest:guest", f"{user}:{password}")
        return settings.model_copy(update={"broker_url": url})

    return settings_of


def test_each_role_does_its_own_work_and_no_other_s(role: As, settings: Settings) -> None:
    apply(Topology.producer("parcels", owner="office"), role("topic-deploy"))
    apply(COUNTER, role("counter-deploy"))
    apply(Topology.of(Depot, topic="parcels"), role("depot-deploy"))
    with pytest.raises(AccessDenied):
        apply(Topology.of(Depot, topic="parcels"), role("counter-deploy"))
    assert list(examine(COUNTER, role("counter-deploy"))) == []

    broker = connect(role("producer"))
    with Publisher(broker.topic(), source="/post") as publisher:
        publisher.publish_many([ParcelSent(number=one) for one in (1, 2)])
    with pytest.raises(AccessDenied):
        broker.queue("counter").receive(1, 0)
    broker.close()

    broker = connect(role("counter-worker"))
    with Worker(Counter(), broker=broker, wait=1) as worker:
        until(lambda: worker.stats.acknowledged >= 1 and worker.stats.dead_lettered == 1)
    assert broker.queue("counter").depth().visible == 0
    with pytest.raises(AccessDenied, match="depot"):
        broker.queue("depot").receive(1, 0)
    with pytest.raises(AccessDenied):
        broker.topic().publish([message("1")])
    broker.close()

    broker = connect(role("operator"))
    bench = Workbench(broker.letters("counter"))
    assert bench.redrive(dry_run=False).done == 1
    broker.close()
    found = {one.name for one in examine(POST, role("operator"))}
    assert found == {"another-owner", "nobody-receives"}
    assert remove(COUNTER, "counter", role("counter-deploy"), lose_messages=True).pending


def test_roles_are_named_as_the_exports_of_aws_name_them() -> None:
    assert list(permissions(POST)) == [
        *("producer", "topic-deploy"),
        *("counter-worker", "counter-deploy", "depot-worker", "depot-deploy"),
        "operator",
    ]
    others = Topology.of(Claims, topic="parcels")
    assert "topic-deploy" not in permissions(others)
    assert "users" not in definitions(others)
