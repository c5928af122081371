"""Clients: made late and once, apart after a fork, and cheap where it counts."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.awsrequest import AWSRequest

from messaging.aws import connect
from messaging.aws.clients import READ_TIMEOUT, Clients
from messaging.errors import SettingsError
from messaging.settings import Settings
from messaging.transport import Attribute, Outgoing

ODD = 'ação & "dois" + três = % ~ \n 🎓'


def test_importing_the_room_and_connecting_load_no_boto3():
    code = """
        import sys
        from messaging.aws import connect
        from messaging.settings import Settings
        broker = connect(Settings(topic="alunos", endpoint_url="http://127.0.0.1:9"))
        broker.topic(), broker.queue("marketing")
        assert not {"boto3", "botocore"} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_many_threads_get_one_client(wire, settings_of, session):
    clients = Clients(settings_of(wire), session)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: clients.sqs, range(32)))
    assert len({id(client) for client in found}) == 1
    assert clients.sqs is not clients.patient_sqs
    clients.close()


def test_a_client_made_after_closing_is_another(wire, settings_of, session):
    clients = Clients(settings_of(wire), session)
    first = clients.sns
    clients.close()
    assert clients.sns is not first
    clients.close()


def test_the_configuration_says_what_the_hot_path_needs(wire, settings_of, session):
    clients = Clients(settings_of(wire), session)
    hot, patient = clients.sqs.meta.config, clients.patient_sqs.meta.config
    assert hot.read_timeout == READ_TIMEOUT > 20
    assert hot.tcp_keepalive
    assert hot.retries == {"mode": "standard", "total_max_attempts": 1}
    assert patient.retries == {"mode": "standard", "total_max_attempts": 3}
    clients.close()


def test_without_a_region_the_error_says_what_to_set(monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    broker = connect(Settings(topic="alunos"))
    with pytest.raises(SettingsError, match="MESSAGING_REGION"):
        broker.queue("marketing").receive(1, 0)


def test_a_forked_child_has_clients_of_its_own_though_the_lock_was_held(ministack):
    # In a process of its own, so that this one is not forked with its threads.
    code = f"""
        import os, boto3
        from messaging.aws.clients import Clients
        from messaging.settings import Settings

        session = boto3.Session(**{ministack.credentials!r})
        clients = Clients(Settings(**{ministack.settings(topic="alunos").model_dump()!r}), session)
        before = clients.sqs
        before.list_queues()
        clients._process.lock.acquire()  # as if another thread made a client at the fork
        child = os.fork()
        if child == 0:
            mine = clients.sqs
            mine.list_queues()
            os._exit(0 if mine is not before else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        before.list_queues()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_the_body_that_is_encoded_once_is_the_body_botocore_would_send(
    wire, say, settings_of, session
):
    wire.say("PublishBatch", say.batch([0]))
    message = Outgoing(
        id="e1",
        body=ODD,
        attributes={"type": Attribute.array([ODD]), "blob": Attribute("Binary", b"\x00\xff")},
        size=100,
        group="g",
        deduplication="d",
    )
    topic = f"{settings_of(wire).topic}.fifo"  # only there does a message have these two
    broker = connect(settings_of(wire, topic=topic), session=session)
    assert broker.topic().publish([message]) == ()
    broker.close()

    plain = boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="sa-east-1"
    ).client("sns", endpoint_url=wire.url)
    entry = {
        "Id": "0",
        "Message": ODD,
        "MessageAttributes": {
            "type": {"DataType": "String.Array", "StringValue": Attribute.array([ODD]).value},
            "blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
        "MessageGroupId": "g",
        "MessageDeduplicationId": "d",
    }
    plain.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[entry])
    plain.close()
    ours, theirs = wire.bodies
    assert ours == theirs


def test_the_form_is_a_text_before_botocore_would_encode_it(wire, say, settings_of, session):
    wire.say("PublishBatch", say.batch([0]))
    broker = connect(settings_of(wire, transport="boto3"), session=session)
    seen: list[object] = []

    def look(request: AWSRequest, **_: object) -> None:
        seen.append(request.data)

    broker._clients.sns.meta.events.register("request-created.sns.PublishBatch", look)
    broker.topic().publish([Outgoing(id="e", body="{}", attributes={}, size=2)])
    broker.close()
    assert seen == [wire.bodies[0]]
