"""Connecting: names, ARNs and prefixes, without a request."""

from __future__ import annotations

import pytest

from messaging.aws import AwsBroker, connect
from messaging.aws.broker import AwsBroker as Same
from messaging.errors import SettingsError
from messaging.settings import Settings
from messaging.transport import Broker

ARN = "arn:aws:sns:sa-east-1:123456789012:dev-alunos"


def test_a_name_gets_the_prefix_and_the_queues_follow():
    broker = connect(Settings(topic="alunos", prefix="dev-", region="sa-east-1"))
    assert isinstance(broker, Broker)
    assert AwsBroker is Same
    assert repr(broker.topic()) == "SnsTopic('dev-alunos')"
    assert broker.queue("marketing").name == "dev-alunos-marketing"


def test_an_arn_is_taken_as_it_is_with_its_region():
    broker = connect(Settings(topic=ARN, prefix="dev-"))
    assert broker.topic().arn == ARN
    assert broker.queue("bi").name == "dev-alunos-bi"
    assert broker._clients.where == "sa-east-1"


def test_of_a_fifo_topic_the_queues_are_fifo():
    assert connect(Settings(topic="alunos.fifo")).queue("bi").name == "alunos-bi.fifo"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "MESSAGING_TOPIC"),
        ({"topic": "arn:aws:sqs:sa-east-1:1:alunos"}, "not the ARN of an SNS topic"),
        ({"topic": "arn:aws:sns:sa-east-1:1"}, "not the ARN of an SNS topic"),
        ({"topic": ARN, "prefix": "prod-"}, "does not begin with prefix 'prod-'"),
        ({"topic": ARN, "region": "us-east-1"}, "not in region 'us-east-1'"),
    ],
)
def test_settings_that_contradict_are_refused(fields, said):
    with pytest.raises(SettingsError, match=said):
        connect(Settings(**fields))


def test_without_settings_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("MESSAGING_TOPIC", "alunos")
    monkeypatch.setenv("MESSAGING_PREFIX", "hml-")
    assert connect().queue("bi").name == "hml-alunos-bi"
