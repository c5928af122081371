"""`messaging dlq` as people use it: real processes, a real queue."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from messaging.aws import AwsBroker, apply, connect
from messaging.local import LocalServer
from messaging.settings import Settings
from messaging.transport import Attribute, DeadLetter
from tests.cli.conftest import Run, load_school

SEGREDO = "ana@segredo.example"
BODY = (
    '{"specversion":"1.0","id":"evt-%d","source":"/s","type":"student.enrolled",'
    f'"data":{{"name":"{SEGREDO}"}}}}'
)


@pytest.fixture
def session(server: LocalServer) -> boto3.Session:
    credentials: dict[str, Any] = server.credentials
    return boto3.Session(**credentials)


@pytest.fixture
def settings(server: LocalServer, environment: dict[str, str]) -> Settings:
    return server.settings(topic="students", prefix=environment["MESSAGING_PREFIX"])


@pytest.fixture
def broker(settings: Settings, session: boto3.Session) -> Any:
    apply(load_school().TOPOLOGY, settings, session=session, create_topic=True)
    broker = connect(settings, session=session)
    yield broker
    broker.close()


@pytest.fixture
def sqs(settings: Settings, session: boto3.Session) -> Any:
    client = session.client("sqs", endpoint_url=settings.endpoint_url)
    yield client
    client.close()


Bury = Callable[..., list[str]]


@pytest.fixture
def bury(broker: AwsBroker, settings: Settings, sqs: Any) -> Bury:
    """Letters of `mail` with these reasons; `lost` ones are those that SNS could not deliver."""

    def make(*reasons: str, error: str | None = None, lost: int = 0) -> list[str]:
        name = f"{settings.prefix}students-mail"
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        kind = {"type": {"DataType": "String", "StringValue": "student.enrolled"}}
        queue = broker.queue("mail")
        for number, reason in enumerate(reasons):
            sqs.send_message(QueueUrl=url, MessageBody=BODY % number, MessageAttributes=kind)
            [delivery] = queue.receive(1, 2)
            letter = DeadLetter(
                delivery=delivery, reason=reason, error=error, attempts=5,
                time=time.time() - 60 * number, queue=queue.name,
            )  # fmt: skip
            assert not queue.dead_letter([letter])
            assert not queue.delete([delivery])
        undelivered = sqs.get_queue_url(QueueName=f"{name}-undelivered")["QueueUrl"]
        for number in range(lost):
            sqs.send_message(
                QueueUrl=undelivered, MessageBody=BODY % (100 + number), MessageAttributes=kind
            )
        return list(reasons)

    return make


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def bodies(broker: AwsBroker) -> list[str]:
    found = broker.queue("mail").receive(10, 0)
    return sorted(json.loads(one.body)["id"] for one in found)


def test_list_tells_why_and_nothing_of_what_is_in_it(bury: Bury, messaging: Run) -> None:
    bury("data.email: not an address", "KeyError after 5 attempts", error="KeyError")

    listed = messaging("dlq", "list", "mail", COLUMNS="200")
    assert listed.returncode == 0, listed.stderr
    assert "data.email: not an address" in listed.stdout
    assert "KeyError" in listed.stdout
    assert "evt-0" in listed.stdout
    assert SEGREDO not in listed.stdout + listed.stderr

    # In a terminal of the usual width, what is to be copied or read is whole.
    narrow = messaging("dlq", "list", "mail", COLUMNS="80").stdout
    assert "event student.enrolled evt-0" in narrow
    assert "KeyError: data.email: not an address" in narrow

    found = lines(messaging("dlq", "list", "--json").stdout)
    assert {one["event_id"] for one in found} == {"evt-0", "evt-1"}
    assert {one["service"] for one in found} == {"mail"}
    assert {one["attempts"] for one in found} == {5}


def test_list_narrows_down(bury: Bury, messaging: Run) -> None:
    bury("email: bad", "name: bad", "email: gone")

    def ids(*filters: str) -> set[str]:
        done = messaging("dlq", "list", "mail", "--json", *filters)
        assert done.returncode == 0, done.stderr
        return {one["event_id"] for one in lines(done.stdout)}

    assert ids("--reason", "EMAIL", "--until", "30s") == {"evt-2"}
    assert ids("--since", "1h", "--type", "student.enrolled", "--limit", "3") == {
        "evt-0",
        "evt-1",
        "evt-2",
    }
    assert ids("--type", "student.left") == set()


def test_show_one_letter(bury: Bury, messaging: Run) -> None:
    bury("email: bad")

    shown = messaging("dlq", "show", "mail", "evt-0")
    assert shown.returncode == 0, shown.stderr
    assert "email: bad" in shown.stdout
    assert "students-mail" in shown.stdout
    assert SEGREDO not in shown.stdout

    with_body = messaging("dlq", "show", "mail", "evt-0", "--body")
    assert with_body.stdout.endswith(f"\n{BODY % 0}\n")

    as_json = json.loads(messaging("dlq", "show", "mail", "evt-0", "--json").stdout)
    assert "body" not in as_json
    assert as_json["bytes"] == len(BODY % 0)

    missing = messaging("dlq", "show", "mail", "evt-9")
    assert missing.returncode == 1
    assert "no letter evt-9 among the dead letters of mail" in missing.stderr


HOSTILE = "bad\r\nmail  2030-01-01 forged\x1b[31m\u2028\u202e[red]\x9b[/]"


def test_hostile_text_forges_no_line_and_no_colour(
    broker: AwsBroker, settings: Settings, sqs: Any, messaging: Run
) -> None:
    told = {"specversion": "1.0", "id": HOSTILE, "source": HOSTILE, "type": HOSTILE, "data": {}}
    url = sqs.get_queue_url(QueueName=f"{settings.prefix}students-mail")["QueueUrl"]
    queue = broker.queue("mail")
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(told, ensure_ascii=True))
    [delivery] = queue.receive(1, 2)
    letter = DeadLetter(
        delivery=delivery, reason=HOSTILE, error="[red]Key\u202eError", attempts=5,
        time=time.time(), queue=queue.name,
    )  # fmt: skip
    assert not queue.dead_letter([letter])
    assert not queue.delete([delivery])

    [found] = lines(messaging("dlq", "list", "--json", "mail").stdout)
    assert found["type"] == found["event_id"] == HOSTILE  # whole for a program
    for arguments in (
        ("list", "mail"),
        ("list", "mail", "--json"),
        ("show", "mail", "no\x1b[31msuch"),
        ("show", "mail", found["id"], "--body"),
        ("redrive", "mail"),
    ):
        done = messaging("dlq", *arguments, COLUMNS="250")
        assert done.returncode in (0, 1), done.stderr
        for line in (done.stdout + done.stderr).split("\n"):
            assert line.isprintable(), line
            assert not line.lstrip().startswith(("mail  2030", "forged"))
    listed = messaging("dlq", "list", "mail", COLUMNS="250").stdout
    assert listed.count("[red]") >= 2  # told as it is, not taken for a colour


def test_redrive_counts_first_and_then_does_it(
    bury: Bury, messaging: Run, broker: AwsBroker
) -> None:
    bury("email: bad", "email: bad", "name: bad")

    dry = messaging("dlq", "redrive", "mail", "--reason", "email")
    assert dry.returncode == 0, dry.stderr
    assert "email: bad" in dry.stdout
    assert "2 letters of" in dry.stderr
    assert "add --yes to do it" in dry.stderr
    assert bodies(broker) == []

    report = json.loads(messaging("dlq", "redrive", "mail", "--reason", "email", "--json").stdout)
    assert (report["dry_run"], report["matched"], report["done"]) == (True, 2, 0)

    done = messaging("dlq", "redrive", "mail", "--reason", "email", "--yes")
    assert done.returncode == 0, done.stderr
    assert "2 letters of" in done.stderr
    assert "went back to" in done.stderr
    assert bodies(broker) == ["evt-0", "evt-1"]
    left = lines(messaging("dlq", "list", "mail", "--json").stdout)
    assert [one["reason"] for one in left] == ["name: bad"]


def test_redrive_of_everything_and_of_one(bury: Bury, messaging: Run, broker: AwsBroker) -> None:
    bury("a", "b", "c")

    one = messaging("dlq", "redrive", "mail", "evt-1", "--yes", "--json")
    assert json.loads(one.stdout)["done"] == 1
    assert bodies(broker) == ["evt-1"]

    rest = messaging("dlq", "redrive", "mail", "--yes", "--json")
    assert json.loads(rest.stdout)["done"] == 2


def test_undelivered_letters_go_back_too(bury: Bury, messaging: Run, broker: AwsBroker) -> None:
    bury(lost=2)

    listed = messaging("dlq", "list", "mail", "--undelivered", "--json")
    assert {one["kind"] for one in lines(listed.stdout)} == {"undelivered"}
    assert "no letters" in messaging("dlq", "list", "mail").stderr

    done = messaging("dlq", "redrive", "mail", "--undelivered", "--yes", "--json")
    assert json.loads(done.stdout)["done"] == 2
    assert bodies(broker) == ["evt-100", "evt-101"]


def test_drop(bury: Bury, messaging: Run, broker: AwsBroker) -> None:
    bury("email: bad", "name: bad")

    dry = messaging("dlq", "drop", "mail", "--reason", "email")
    assert "1 letters of" in dry.stderr
    assert "would be deleted for good" in dry.stderr

    done = messaging("dlq", "drop", "mail", "--reason", "email", "--yes")
    assert done.returncode == 0, done.stderr
    assert "were deleted" in done.stderr
    assert [one["reason"] for one in lines(messaging("dlq", "list", "mail", "--json").stdout)] == [
        "name: bad"
    ]
    assert bodies(broker) == []


def test_letters_of_another_queue_fail_the_command(
    bury: Bury, messaging: Run, broker: AwsBroker, settings: Settings, sqs: Any
) -> None:
    note = {
        "dead-letter-reason": Attribute.string("r"),
        "dead-letter-queue": Attribute.string("books"),
    }
    url = sqs.get_queue_url(QueueName=f"{settings.prefix}students-mail-dlq")["QueueUrl"]
    sqs.send_message(
        QueueUrl=url,
        MessageBody="1",
        MessageAttributes={
            name: {"DataType": one.type, "StringValue": one.value} for name, one in note.items()
        },
    )
    done = messaging("dlq", "redrive", "mail", "--yes")
    assert done.returncode == 1
    assert "1 letters stay: OtherQueue: it comes from books" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "nobody"), "no service 'nobody' in this topology; it has mail, books"),
        (("list", "--since", "soon"), "--since 'soon': write how long ago (90m, 2h, 7d)"),
        (("list", "--reason", "("), "reason '(' is no regular expression"),
        (("redrive",), "Missing argument 'SERVICE'"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str, messaging: Run) -> None:
    done = messaging("dlq", *arguments, COLUMNS="200")
    assert done.returncode == 2
    assert said in done.stderr


def test_a_missing_queue_is_told(messaging: Run) -> None:
    done = messaging("dlq", "list", "mail")
    assert done.returncode == 1
    assert "messaging topology apply" in done.stderr


def test_ctrl_c_ends_it_in_order(
    bury: Bury, started: Callable[..., Any], broker: AwsBroker, sqs: Any, settings: Settings
) -> None:
    url = sqs.get_queue_url(QueueName=f"{settings.prefix}students-mail-dlq")["QueueUrl"]
    bury()
    for at in range(0, 500, 10):
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(n), "MessageBody": f"{at + n}"} for n in range(10)],
        )
    process = started("dlq", "redrive", "mail", "--yes", "--json")
    deadline = time.monotonic() + 20
    while not broker.queue("mail").depth().visible and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)

    report = json.loads(out)
    assert process.returncode == (130 if report["stopped"] else 0), err
    depth = broker.queue("mail").depth()
    assert report["done"] == depth.visible
    assert report["done"] + depth.dead_letters == 500


def test_the_project_is_not_needed_for_help(messaging: Run, tmp_path: Path) -> None:
    assert "redrive" in messaging("dlq", "--help").stdout


FORGED = (
    '{"reason":"x","attributes":{"a":{"type":"String","value":5}}}',
    '{"reason":"x","attributes":{"a":{"type":5,"value":"x"}}}',
    '{"reason":"x","attributes":{"a":{"type":"String","value":"\\ud800"}}}',
    '{"reason":7,"time":-1e308,"attempts":1e308}',
    "[" * 60_000,
)


def test_a_letter_with_a_forged_note_is_listed_shown_and_sent_back(
    broker: AwsBroker, settings: Settings, sqs: Any, messaging: Run
) -> None:
    """Anybody who may publish can put it there; nobody may end the commands by it."""
    name = f"{settings.prefix}students-mail-dlq"
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    for number, note in enumerate(FORGED):
        sqs.send_message(
            QueueUrl=url,
            MessageBody=BODY % number,
            MessageAttributes={"dead-letter": {"DataType": "String", "StringValue": note}},
        )

    listed = messaging("dlq", "list", "mail", "--json")
    assert listed.returncode == 0, listed.stderr
    assert len(lines(listed.stdout)) == len(FORGED)
    shown = messaging("dlq", "show", "mail", "evt-0")
    assert shown.returncode == 0, shown.stderr
    back = messaging("dlq", "redrive", "mail", "--type", "student.enrolled", "--yes")
    assert back.returncode == 0, back.stderr
    assert bodies(broker) == [f"evt-{number}" for number in range(len(FORGED))]
