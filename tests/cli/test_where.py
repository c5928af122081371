"""`messaging where`: the traces of one event, in real queues and a real database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from messaging.aws import AwsBroker
from messaging.idempotency import SqliteStore
from messaging.stores import Claim
from tests.cli.conftest import Run
from tests.cli.test_dlq import SEGREDO, Bury, broker, bury, session, settings, sqs
from tests.cli.test_outbox import database, fill, sql

__all__ = ["broker", "bury", "database", "session", "settings", "sqs"]  # fixtures


MAIL_ALONE = ("--topology", "school:LETTERS")
"""Each dead-letter queue is a long poll of a second: those of one service are enough for most."""


def traces(messaging: Run, id: str, *more: str, exit: int = 0) -> dict[str, Any]:
    done = messaging("where", id, "--json", *more)
    assert done.returncode == exit, done.stderr
    assert SEGREDO not in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_dead_letter_is_found_with_its_reason_and_stays(
    messaging: Run, bury: Bury, broker: AwsBroker
) -> None:
    bury("email: bad", "name: bad", lost=1)

    found = traces(messaging, "evt-1", *MAIL_ALONE)

    assert [(one["service"], one["kind"], one["reason"]) for one in found["letters"]] == [
        ("mail", "dead", "name: bad")
    ]
    lost = traces(messaging, "evt-100", *MAIL_ALONE)["letters"]
    assert [one["kind"] for one in lost] == ["undelivered"]
    assert broker.queue("mail").depth().dead_letters == 2
    again = messaging("dlq", "list", "mail", "--json").stdout.splitlines()
    assert len(again) == 2, "the look hides nothing for longer than it lasts"


def test_no_trace_is_exit_code_1_and_what_is_not_known_is_said(
    messaging: Run, broker: AwsBroker
) -> None:
    done = messaging("where", "evt-9", *MAIL_ALONE)
    assert done.returncode == 1
    assert "there is no trace of this event" in done.stderr
    assert "a queue cannot be searched" in done.stderr
    assert "no database was named" in done.stderr


def test_the_outbox_says_when_it_was_published(messaging: Run, database: Path) -> None:
    assert messaging("topology", "apply").returncode == 0
    fill(database, "Ana", "Bia")
    [[id]] = sql(database, "SELECT id FROM messaging_outbox ORDER BY seq LIMIT 1")
    assert {one["state"] for one in traces(messaging, id, *MAIL_ALONE)["outbox"]} == {"pending"}
    assert messaging("outbox", "relay", "--until-empty").returncode == 0

    found = traces(messaging, id, *MAIL_ALONE)

    assert [one["state"] for one in found["outbox"]] == ["published"] * 2, "a row for each copy"
    assert all(one["published"] >= one["written"] for one in found["outbox"])
    assert found["queues"]["mail"]["visible"] == 2, "one of them is it: only the count is known"
    assert found["marks"] is None
    assert any("there is no table messaging_handled" in one for one in found["unknown"])


def test_marks_say_who_handled_it_and_who_began(
    messaging: Run, database: Path, broker: AwsBroker
) -> None:
    store = SqliteStore(database)
    for service, key in (("books", "/office EVT-1"), ("mail", "/office evt-1")):
        claim = store.begin(service, key, lease_seconds=60)
        assert isinstance(claim, Claim)
        assert store.complete(claim)
    store.begin("books", "/office evt-1", lease_seconds=60)
    store.begin("books", "/office other-evt-1", lease_seconds=60)
    store.close()

    marks = traces(messaging, "evt-1")["marks"]

    assert [(one["service"], one["handled"] is not None) for one in marks] == [
        ("books", False),
        ("mail", True),
    ]
    assert traces(messaging, "evt%1", *MAIL_ALONE, exit=1)["marks"] == []


def test_a_claim_check_is_named_by_its_address(
    messaging: Run, sqs: Any, broker: AwsBroker, environment: dict[str, str]
) -> None:
    name = f"{environment['MESSAGING_PREFIX']}students-mail-undelivered"
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    body = {
        "specversion": "1.0", "id": "big-1", "source": "/s", "type": "student.enrolled",
        "dataref": "s3://school/claims/abc.json",
    }  # fmt: skip
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    [letter] = traces(messaging, "big-1", *MAIL_ALONE)["letters"]
    assert letter["claim"] == "s3://school/claims/abc.json"


def test_people_are_shown_where_and_what(messaging: Run, bury: Bury) -> None:
    bury("email: bad")
    done = messaging("where", "evt-0", *MAIL_ALONE, COLUMNS="160")
    assert done.returncode == 0, done.stderr
    assert "mail, dead letter" in done.stdout
    assert "email: bad" in done.stdout


def test_a_queue_that_is_missing_is_said_and_the_others_are_searched(
    messaging: Run, bury: Bury, sqs: Any, environment: dict[str, str]
) -> None:
    bury("email: bad")
    name = f"{environment['MESSAGING_PREFIX']}students-books"
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])
    found = traces(messaging, "evt-0")
    assert len(found["letters"]) == 1
    assert any(one.startswith("what books has of it") for one in found["unknown"])
