"""Every command of the command line on RabbitMQ: it works, or says what it is for instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from messaging.cli.app import command, run
from messaging.settings import Settings

AWS = "this is for AWS, and MESSAGING_BROKER_URL names RabbitMQ"


class Row(NamedTuple):
    """A command with its arguments, its exit code, and a part of what it says."""

    words: str
    arguments: str = ""
    code: int = 0
    said: str = ""


ROWS = [  # in the order in which a team would type them
    Row("topology plan", said="create"),
    Row("topology apply", said="counter"),
    Row("topology show", said="parcels"),
    Row("status", said="counter"),
    Row("doctor"),
    Row("canary", "counter", said="counter"),
    Row(
        "publish", "nothing.csv --event tests.contracts.conftest:ParcelSent", code=2, said="nothing"
    ),
    Row("try", "tests.rabbitmq.parcels:Counter", said="counter"),
    Row("run", "tests.rabbitmq.parcels:Counter --until-empty"),
    Row("explain", "parcel.sent --event tests.contracts.conftest:ParcelSent"),
    Row("where", "no-such-event", code=1),
    Row("dlq list", "counter"),
    Row("dlq show", "counter no-such-id", code=1),
    Row("dlq redrive", "counter --yes"),
    Row("dlq drop", "counter --type parcel.sent --yes"),
    Row("outbox status", code=2, said="database"),
    Row("outbox relay", code=2, said="database"),
    Row("outbox retry", code=2, said="database"),
    Row("outbox prune", code=2, said="database"),
    *(Row(f"export {one}", said=AWS) for one in ("cloudformation", "terraform", "iam", "alarms")),
    *(Row(f"export {one}", said=AWS) for one in ("grafana", "ecs")),
    Row("export kms", code=2, said=AWS),
    Row("export keda", "--account 123456789012 --region sa-east-1", said=AWS),
    Row("export prometheus", said="counter"),
    Row("export rabbitmq-permissions", said="counter"),
    Row("topology remove", "counter --yes --lose-messages"),
]
ELSEWHERE = {
    "local": "tests/local/test_rabbitmq.py",
    **{f"new {one}": "asks no broker" for one in ("service", "producer")},
    **{f"contract {one}": "asks no broker" for one in ("check", "export", "needs", "schema")},
    "outbox ddl": "asks no broker",
    "contract generate": "asks no broker",
}


def leaves(group: Any, before: tuple[str, ...] = ()) -> Iterator[str]:
    for name in group.list_commands(None):
        found = group.get_command(None, name)
        if hasattr(found, "list_commands"):
            yield from leaves(found, (*before, name))
        else:
            yield " ".join((*before, name))


def test_every_command_stands_in_the_table() -> None:
    assert sorted({row.words for row in ROWS} | set(ELSEWHERE)) == sorted(leaves(command()))


def test_every_command_works_or_says_what_it_is_for(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MESSAGING_BROKER_URL", str(settings.broker_url))
    monkeypatch.setenv("MESSAGING_PREFIX", settings.prefix)
    monkeypatch.setenv("MESSAGING_TOPOLOGY", "tests.rabbitmq.parcels:TOPOLOGY")
    monkeypatch.setenv("MESSAGING_WAIT", "1")
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    wrong = []
    for row in ROWS:
        code = run([*row.words.split(), *row.arguments.split()])
        out, err = capfd.readouterr()
        if code != row.code or row.said not in " ".join((out + err).split()) or "Traceback" in err:
            wrong.append(f"{row}: exit code {code}\n{out[-300:]}{err[-600:]}")
    assert not wrong, "\n".join(wrong)
