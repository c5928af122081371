"""The door to the broker that the environment names."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

import messaging
from messaging.aws import AwsBroker
from messaging.aws import connect as connect_aws
from messaging.connecting import apply, connect
from messaging.errors import (
    AccessDenied,
    MissingExtra,
    OwnershipError,
    SettingsError,
    TopicNotFound,
    TransportError,
)
from messaging.rabbitmq import RabbitBroker, plan, remove
from messaging.settings import Settings
from messaging.topology import Topology
from tests.contracts.conftest import TOPOLOGY, Claims, Depot, message

ROOT = Path(__file__).parents[2]


def test_the_environment_says_which_broker() -> None:
    def found(url: str) -> type:
        given = {"MESSAGING_BROKER_URL": url, "MESSAGING_TOPIC": "alunos"}
        with messaging.connect(Settings.from_environment(given)) as broker:
            return type(broker)

    assert found("") is AwsBroker
    assert found("sqs:") is AwsBroker
    assert found("amqp://localhost") is RabbitBroker
    assert found("amqps://one.example,amqps://two.example") is RabbitBroker


def test_the_end_of_the_block_closes_the_broker(settings: Settings) -> None:
    apply(TOPOLOGY, settings, create_topic=True)
    with messaging.connect(settings) as broker:
        topic = broker.topic()
        assert not topic.publish([message("in the block")])
    with pytest.raises(TransportError, match="was closed"):
        topic.publish([message("after it")])


@pytest.mark.parametrize("url", ["rabbit.example", "http://rabbit.example", "sqs://x", "kafka://x"])
def test_another_broker_is_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match="MESSAGING_BROKER_URL"):
        Settings.from_environment({"MESSAGING_BROKER_URL": url})


def test_no_password_is_shown() -> None:
    url = "amqp://escola:s3cret@one.example,amqp://escola:s3cr3t@two.example/alunos"
    settings = Settings(broker_url=url, topic="alunos")
    broker = connect(settings)
    said = repr(settings) + repr(broker) + repr(broker.topic()) + repr(broker.queue("depot"))
    broker.close()
    assert "one.example" in said
    assert "two.example" in said
    with pytest.raises(SettingsError) as wrong:
        Settings.from_environment({"MESSAGING_BROKER_URL": "ampq://u:s3cret@x,amqp://u:s3cr3t@y"})
    with pytest.raises(SettingsError) as unreadable:
        connect(Settings(broker_url="amqp://u:s3cret@x:s3cr3t", topic="alunos"))
    for text in (said, str(wrong.value), str(unreadable.value)):
        assert "s3cret" not in text
        assert "s3cr3t" not in text


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_pika(name: str, package: str | None = None) -> Any:
        return None if name == "pika" else find(name, package)

    monkeypatch.setattr("messaging.connecting.find_spec", without_pika)
    with pytest.raises(MissingExtra, match=r"messaging-sns-sqs\[rabbitmq\]"):
        connect(Settings(broker_url="amqp://localhost", topic="alunos"))


def test_pika_is_loaded_by_whoever_names_rabbitmq_only() -> None:
    code = "import sys, messaging; messaging.connect(); assert 'pika' not in sys.modules"
    environment = os.environ | {"MESSAGING_TOPIC": "alunos", "AWS_REGION": "sa-east-1"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)


def test_what_is_aws_own_says_so(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="names another broker"):
        connect_aws(settings)
    with pytest.raises(SettingsError, match="session="):
        connect(settings, session=boto3.Session(region_name="sa-east-1"))
    by_arn = settings.model_copy(update={"topic": "arn:aws:sns:sa-east-1:123456789012:alunos"})
    with pytest.raises(SettingsError, match="ARN"):
        connect(by_arn)


def test_a_kms_key_means_nothing_here_and_the_plan_says_so(settings: Settings) -> None:
    encrypted = replace(TOPOLOGY, owns_topic=True, kms_key="alias/alunos")
    found = plan(encrypted, settings.model_copy(update={"topic": TOPOLOGY.topic.name}))
    (said,) = (one for one in found.changes if one.kind == "key")
    assert (said.action, said.name) == ("other", "alias/alunos")
    assert "AWS key" in said.details[0]


def test_a_wrong_password_is_told_without_it(settings: Settings) -> None:
    url = str(settings.broker_url).replace("guest:guest", "guest:s3cret")
    broker = connect(settings.model_copy(update={"broker_url": url}))
    with pytest.raises(AccessDenied, match="RabbitMQ refuses") as refused:
        broker.topic().publish([message("1")])
    broker.close()
    assert "s3cret" not in str(refused.value)
    assert not refused.value.retryable


def test_nobody_there_is_told_and_may_be_tried_again() -> None:
    broker = connect(Settings(broker_url="amqp://127.0.0.1:1", topic="alunos"))
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:1") as away:
        broker.topic().publish([message("1")])
    broker.close()
    assert away.value.retryable


def test_another_node_of_the_cluster_answers(settings: Settings) -> None:
    apply(Topology.of(Depot, topic="parcels", owns_topic=True), settings)
    urls = f"amqp://127.0.0.1:1, {settings.broker_url}"
    broker = connect(settings.model_copy(update={"broker_url": urls}))
    assert not broker.topic().publish([message("1")])
    broker.close()


def test_apply_needs_the_topic_of_its_owner(settings: Settings) -> None:
    with pytest.raises(TopicNotFound, match="owns_topic"):
        apply(TOPOLOGY, settings)


def test_plan_says_what_apply_does_and_apply_is_safe_to_repeat(settings: Settings) -> None:
    topology = Topology.of(Depot, Claims, topic="parcels", owns_topic=True)

    def actions(found: Any) -> set[str]:
        return {one.action for one in found.changes}

    before = plan(topology, settings)
    assert actions(before) == {"create"}
    assert apply(topology, settings).changes == before.changes
    assert actions(plan(topology, settings)) == {"leave"}
    assert not apply(topology, settings).pending

    class Hurried(Depot):
        service = "depot"
        visibility_timeout = 45
        max_receives = 9

    changed = plan(Topology.of(Hurried, Claims, topic="parcels", owns_topic=True), settings)
    told = {one.action: one.details for one in changed.changes if one.action != "leave"}
    assert told["change"] == ("visibility_timeout: 30 -> 45",)
    assert "max_receives" in told["drift"][0]
    assert "cannot change a standing queue" in told["drift"][0]


def test_a_topic_and_a_queue_of_another_owner_are_left_alone(settings: Settings) -> None:
    apply(Topology.of(Depot, topic="parcels", owner="post", owns_topic=True), settings)
    theirs = Topology.of(Depot, topic="parcels", owner="railway")

    with pytest.raises(OwnershipError, match="'post' and not to 'railway'"):
        apply(theirs, settings)
    with pytest.raises(OwnershipError):
        remove(theirs, "depot", settings)

    apply(theirs, settings, take_over=True)
    assert not plan(theirs, settings).pending


def test_remove_keeps_what_holds_messages(settings: Settings) -> None:
    topology = Topology.of(Depot, Claims, topic="parcels", owns_topic=True)
    apply(topology, settings)
    broker = connect(settings)
    broker.topic().publish([message("1")])
    broker.close()

    kept = remove(topology, "depot", settings)
    assert kept.kept[0].details == ("holds 1 messages",)
    shown = remove(topology, "depot", settings, dry_run=True, lose_messages=True)
    assert remove(topology, "depot", settings, lose_messages=True) == shown
    assert remove(topology, "depot", settings).changes == ()
    again = {one.action for one in plan(topology, settings).changes if "depot" in one.name}
    assert again == {"create"}
