"""`messaging doctor`, as somebody on call types it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest

from messaging.local import LocalServer
from tests.cli.conftest import Run


@pytest.fixture
def sqs(server: LocalServer) -> Iterator[Any]:
    with closing(boto3.client("sqs", endpoint_url=server.url, **server.credentials)) as client:
        yield client


def test_a_sound_set_up_says_nothing_and_what_is_missing_is_told(
    messaging: Run, environment: dict[str, str], sqs: Any
) -> None:
    missing = messaging("doctor")
    assert missing.returncode == 1
    assert "nothing found" not in missing.stderr
    first = missing.stdout.splitlines()[0]
    assert first.startswith("error topic-missing: topic ")
    assert "messaging topology apply" in first

    assert messaging("topology", "apply").returncode == 0
    sound = messaging("doctor")
    assert (sound.returncode, sound.stdout) == (0, "")
    assert sound.stderr == (
        "nothing found on topic students; services looked at: mail, books. "
        "What waits and what is in flight: messaging status\n"
    )

    name = f"{environment['MESSAGING_PREFIX']}students-mail"
    url = sqs.get_queue_url(QueueName=f"{name}-dlq")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    warned = messaging("doctor")
    assert warned.returncode == 0
    assert warned.stdout == (
        f"warning dead-letters: queue {name}-dlq: about 1 messages are in it. "
        "messaging dlq list mail\n"
    )
    assert messaging("doctor", "--strict").returncode == 1

    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])
    told = messaging("doctor", "--json")
    assert told.returncode == 1
    found = [json.loads(line) for line in told.stdout.splitlines()]
    assert {one["name"] for one in found} == {"queue-missing", "dead-letters"}


def test_without_topology_and_events_there_is_nothing_to_look_at(
    messaging: Run, project: Any
) -> None:
    (project / "pyproject.toml").unlink()
    done = messaging("doctor", MESSAGING_TOPIC="students")
    assert done.returncode == 2
    assert "--topology" in done.stderr


def test_a_probe_is_sent_to_each_service(messaging: Run) -> None:
    assert messaging("topology", "apply").returncode == 0
    done = messaging("doctor", "--send")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert "mail: the topic answered after" in lines[0]
    assert lines[0].endswith("; no worker took it within 0.5 s")
    told = [
        json.loads(line) for line in messaging("doctor", "--send", "--json").stdout.splitlines()
    ]
    assert [(one["service"], one["end"]) for one in told] == [
        ("mail", "arrived"),
        ("books", "arrived"),
    ]


def test_where_something_is_wrong_it_says_that_no_probe_was_sent(messaging: Run) -> None:
    done = messaging("doctor", "--send")
    assert done.returncode == 1
    assert "probe" not in done.stdout
    assert "no probe was sent: put right first what was found" in done.stderr
