"""The command line on RabbitMQ: what goes by the broker, and what says that it is AWS's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consumers import TOPOLOGY
from messaging.settings import Settings
from tests.consumers.test_services import cadastrado

ROOT = Path(__file__).parents[2]


class Terminal:
    """Runs commands of the school's project on one RabbitMQ."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder = folder
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MESSAGING_"))}
        self._environment = clean | {
            "MESSAGING_BROKER_URL": str(settings.broker_url),
            "MESSAGING_PREFIX": settings.prefix,
            "MESSAGING_TOPOLOGY": "consumers:TOPOLOGY",
            "MESSAGING_WAIT": "1",
            "PYTHONPATH": str(ROOT),
        }

    def __call__(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "messaging", *arguments],
            cwd=self._folder,
            env=self._environment | more,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def data(self, *arguments: str) -> dict[str, object]:
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found


@pytest.fixture
def messaging(settings: Settings, tmp_path: Path) -> Terminal:
    return Terminal(settings, tmp_path)


def test_topology_publish_run_and_status(messaging: Terminal, settings: Settings) -> None:
    from messaging import Publisher, connect

    assert messaging.data("topology", "plan", "--json")["pending"]
    assert messaging.data("topology", "apply", "--json")["pending"]
    assert not messaging.data("topology", "plan", "--json")["pending"]
    broker = connect(settings.model_copy(update={"topic": "alunos"}))
    with Publisher(broker.topic(), source="/cadastro") as publisher:
        publisher.publish(cadastrado(aceita_marketing=True))
    broker.close()

    before = messaging.data("status", "--json")
    ran = messaging("run", "consumers.financeiro:Financeiro", "--until-empty")
    after = messaging.data("status", "--json")

    assert ran.returncode == 0, ran.stderr
    assert _visible(before, "financeiro") == 1
    assert _visible(after, "financeiro") == 0
    assert _visible(after, "marketing") == 1
    assert messaging("dlq", "list", "financeiro").returncode == 0


def test_doctor_finds_what_is_wrong_and_who_is_told_nothing(messaging: Terminal) -> None:
    before = messaging("doctor", "--json")
    assert before.returncode == 1
    assert json.loads(before.stdout.splitlines()[0])["name"] == "topic-missing"

    messaging("topology", "apply")
    sound = messaging("doctor", "consumers.events", "--send")

    assert sound.returncode == 0, sound.stdout + sound.stderr
    told = sound.stdout.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in told] == [*TOPOLOGY.services]
    assert all("in the queue after" in line for line in told)
    assert "the broker does not report them: policies" in " ".join(sound.stderr.split())


def test_a_node_that_is_not_there_is_told_without_the_password(messaging: Terminal) -> None:
    done = messaging("status", MESSAGING_BROKER_URL="amqp://escola:s3cret@127.0.0.1:1/escola")

    assert done.returncode != 0
    assert "127.0.0.1:1/escola" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def _visible(status: dict[str, object], service: str) -> int:
    queues = status["queues"]
    assert isinstance(queues, list)
    return int(next(one["visible"] for one in queues if one["service"] == service))
