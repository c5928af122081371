"""A queue stands, and somebody has the troubleshooting page and the command line to find out why.

Each test breaks the service in one way, asks `messaging status` as the page says, finds the page's
row for what it shows, and goes on with what that row names.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep

import boto3
import pytest

from messaging.aws import apply
from messaging.aws.broker import AwsBroker
from messaging.cli.app import run
from messaging.connecting import connect
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.local import LocalServer
from messaging.outcome import Reject
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker, wedge
from messaging.settings import Settings
from messaging.topology import Topology

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "troubleshooting.md").read_text()
HUNG = threading.Event()


class Matriculado(Event, type="aluno.matriculado", version=1):
    numero: int


class Biblioteca(Consumer):
    visibility_timeout = 2

    @handles
    def matricular(self, aluno: Matriculado) -> None: ...


class Falha(Biblioteca):
    service = "biblioteca"

    @handles
    def matricular(self, aluno: Matriculado) -> None:
        raise KeyError("estante")


class Recusa(Biblioteca):
    service = "biblioteca"

    @handles
    def matricular(self, aluno: Matriculado) -> None:
        raise Reject("numero: not of this year")


class Trava(Biblioteca):
    service = "biblioteca"

    @handles
    def matricular(self, aluno: Matriculado) -> None:
        HUNG.wait(20)


TOPOLOGY = Topology.of(Biblioteca, topic="alunos", owns_topic=True)


class OnCall:
    """Somebody at a terminal, with the page beside it."""

    def __init__(self, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings = settings
        self.broker: AwsBroker = connect(settings)  # type: ignore[assignment]  # on AWS
        self._capsys = capsys

    def typed(self, *words: str) -> tuple[int, str]:
        """Exit code and all that was printed."""
        self._capsys.readouterr()
        code = run(words)
        printed = self._capsys.readouterr()
        return code, printed.out + printed.err

    def sees(self, row: str, visible: int, in_flight: int, dead_letters: int) -> str:
        """`status` until it shows so; what the page says of the row that begins so."""
        wanted = rf"biblioteca +{visible} +{in_flight} +0 +- +{dead_letters} +0 "
        until(lambda: re.search(wanted, self.typed("status")[1]) is not None)
        (found,) = [line for line in PAGE.splitlines() if line.startswith(f"| {row} |")]
        return found

    def publish(self, count: int) -> None:
        with Publisher(self.broker.topic(), source="/secretaria") as publisher:
            publisher.publish_many(Matriculado(numero=n) for n in range(count))

    @contextmanager
    def works(self, consumer: Consumer) -> Iterator[None]:
        with Worker(consumer, broker=self.broker, concurrency=1, wait=1, drain=0, poll_grace=0):
            yield


def until(true: Callable[[], bool]) -> None:
    end = monotonic() + 20
    while not true():
        assert monotonic() < end, "it did not come"
        sleep(0.02)


@pytest.fixture
def on_call(
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[OnCall]:
    prefix = "t" + "".join(filter(str.isalnum, tmp_path.name))[-20:] + "-"
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MESSAGING_PREFIX", prefix)
    monkeypatch.setenv("MESSAGING_TOPIC", "alunos")
    monkeypatch.setenv("MESSAGING_TOPOLOGY", f"{__name__}:TOPOLOGY")
    monkeypatch.setenv("COLUMNS", "100")
    caplog.set_level(logging.INFO, logger="messaging")
    person = OnCall(server.settings(prefix=prefix, topic="alunos"), capsys)
    apply(TOPOLOGY, person.settings)
    try:
        yield person
    finally:
        person.broker.close()


def test_the_handler_raises(on_call: OnCall, caplog: pytest.LogCaptureFixture) -> None:
    on_call.publish(1)
    with on_call.works(Falha()):
        row = on_call.sees("in flight above 0, and not falling", 0, 1, 0)
        code, said = on_call.typed("doctor")
        until(lambda: "raised KeyError on event" in caplog.text)
    assert "[the worker's log](#messages-are-in-flight-and-none-ends)" in row
    assert "\n## Messages are in flight, and none ends\n" in PAGE
    assert code == 0
    assert "What waits and what is in flight: messaging status" in said
    line = next(one for one in caplog.messages if "raised KeyError on event" in one)
    assert re.fullmatch(
        r"biblioteca\.matricular raised KeyError on event \S+, receive \d: "
        r"\S+test_troubleshooting\.py:\d+ in Falha\.matricular; again in [\d.]+ s",
        line,
    )
    assert "| `biblioteca.matricular raised KeyError on event " in PAGE


def test_nothing_arrives_because_the_filter_is_another(
    on_call: OnCall, server: LocalServer
) -> None:
    topic = f"{on_call.settings.prefix}alunos"
    with closing(boto3.client("sns", endpoint_url=server.url, **server.credentials)) as sns:
        (arn,) = [
            one["SubscriptionArn"]
            for page in sns.get_paginator("list_subscriptions").paginate()
            for one in page["Subscriptions"]
            if one["TopicArn"].endswith(f":{topic}")
        ]
        sns.set_subscription_attributes(
            SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue='{"type":["other"]}'
        )
    on_call.publish(1)
    row = on_call.sees("0 everywhere, although events were published", 0, 0, 0)
    assert "`messaging doctor`, then `messaging doctor --send`" in row
    code, said = on_call.typed("doctor", "--send")
    assert code == 1
    assert said.startswith("error filter-differs: subscription of ")
    assert "messaging topology apply" in said
    assert "no probe was sent" in said
    assert on_call.typed("topology", "apply")[0] == 0
    code, said = on_call.typed("doctor", "--send")
    assert code == 0
    assert "no worker took it" in said


def test_no_worker_runs(on_call: OnCall) -> None:
    on_call.publish(2)
    row = on_call.sees("visible above 0, in flight 0", 2, 0, 0)
    assert "`nobody-receives`" in row
    code, said = on_call.typed("doctor")
    assert code == 0
    assert said.startswith("warning nobody-receives: queue ")
    assert "about 2 messages wait" in said
    assert "messaging run MODULE:SERVICE" in said


def test_messages_became_dead_letters(on_call: OnCall) -> None:
    on_call.publish(1)
    with on_call.works(Recusa()):
        row = on_call.sees("dead letters above 0", 0, 0, 1)
    assert "`messaging dlq list SERVICE`" in row
    _, said = on_call.typed("doctor")
    remedy = re.search(r"warning dead-letters: .*\. messaging (dlq list biblioteca)\n", said)
    assert remedy is not None
    _, said = on_call.typed(*remedy[1].split())
    assert "numero: not of this year" in said
    assert on_call.typed("dlq", "redrive", "biblioteca", "--yes")[0] == 0
    on_call.sees("visible above 0, in flight 0", 1, 0, 0)


def test_the_handler_hangs(
    on_call: OnCall, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wedge, "BUSY", 0.05)
    HUNG.clear()
    on_call.publish(1)
    try:
        with on_call.works(Trava()):
            on_call.sees("in flight above 0, and not falling", 0, 1, 0)
            until(lambda: "no other message is handled" in caplog.text)
            HUNG.set()
    finally:
        HUNG.set()
    line = next(one for one in caplog.messages if "no other message is handled" in one)
    assert line.startswith("biblioteca: all 1 handlers have run for more than ")
    assert "test_troubleshooting.py:" in line
    assert "| `biblioteca: all 10 handlers have run for more than 60 s, " in PAGE
