"""`messaging outbox`: from a table to the queues, and what an operator sees of it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from messaging.event import Event
from messaging.outbox import SqlOutbox, create
from messaging.publishing.publisher import Publisher
from messaging.sql import mysql
from tests.cli.conftest import Run, load_school

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def database(project: Path, environment: dict[str, str]) -> Path:
    """An empty outbox, named in the environment."""
    path = project / "school.db"
    with closing(sqlite3.connect(path)) as connection:
        create(connection)
    environment["MESSAGING_DATABASE"] = "sqlite:///school.db"
    return path


def fill(path: Path, *names: str) -> None:
    school = load_school()
    events: list[Event] = [school.Enrolled(name=name, email="x@example.com") for name in names]
    with closing(sqlite3.connect(path)) as connection:
        Publisher(SqlOutbox(connection), source="/office").publish_many(events)
        connection.commit()


def sql(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(statement).fetchall()
        connection.commit()
        return found


def test_from_the_table_to_the_queues(messaging: Run, database: Path) -> None:
    assert messaging("topology", "apply").returncode == 0
    fill(database, "Ana", "Bia")
    done = messaging("outbox", "relay", "--until-empty", "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts == {"published": 4, "failed": 0, "parked": 0, "lost": 0, "pruned": 0}
    queues = json.loads(messaging("status", "--json").stdout)["queues"]
    assert {queue["service"]: queue["visible"] for queue in queues} == {"mail": 2, "books": 2}

    table = messaging("outbox", "status")
    assert table.returncode == 0
    assert "Outbox messaging_outbox" in table.stdout
    assert json.loads(messaging("outbox", "status", "--json").stdout) == {
        "pending": 0,
        "in_flight": 0,
        "waiting": 0,
        "parked": 0,
        "published": 4,
        "oldest": None,
        "troubled": [],
    }
    assert messaging("outbox", "prune", "--older-than", "1").stdout == "0 entries deleted\n"
    assert messaging("outbox", "prune", "--older-than", "0").stdout == "4 entries deleted\n"


def test_a_relay_runs_until_it_is_told_to_stop(
    messaging: Run, started: Started, database: Path
) -> None:
    assert messaging("topology", "apply").returncode == 0
    relay = started("outbox", "relay", "--poll", "0.05", "--keep", "0")
    fill(database, "Ana")
    deadline = time.monotonic() + 30
    while sql(database, "SELECT 1 FROM messaging_outbox WHERE published_at IS NULL"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    relay.send_signal(signal.SIGTERM)
    output, log = relay.communicate(timeout=20)
    assert relay.returncode == 0, log
    assert "What became of the entries" in output


def test_without_a_topic_nothing_is_lost_and_the_exit_code_says_so(
    messaging: Run, database: Path
) -> None:
    fill(database, "Ana")
    done = messaging("outbox", "relay", "--until-empty")
    assert done.returncode == 1
    assert "cannot use the topic: NotFound" in done.stderr
    assert "2 entries are left: see messaging outbox status" in done.stderr
    status = json.loads(messaging("outbox", "status", "--json").stdout)
    assert (status["pending"], status["parked"]) == (2, 0)
    assert {one["attempts"] for one in status["troubled"]} == {1}


def test_a_parked_entry_is_shown_and_taken_up_again(messaging: Run, database: Path) -> None:
    fill(database, "Secret")
    sql(database, "UPDATE messaging_outbox SET parked_at = 1, error = 'Invalid[x]' WHERE seq = 2")
    shown = messaging("outbox", "status")
    assert shown.returncode == 1
    assert "Not accepted so far" in shown.stdout
    assert "student.enrolled" in shown.stdout
    assert "Invalid[x]" in shown.stdout
    assert "Secret" not in shown.stdout + shown.stderr
    assert messaging("outbox", "retry", "1").stdout == "0 entries taken up again\n"
    assert json.loads(messaging("outbox", "retry", "--json").stdout) == {"entries": 1}
    assert messaging("outbox", "status").returncode == 0


def test_parked_entries_are_deleted_when_told(messaging: Run, database: Path) -> None:
    fill(database, "Ana")
    sql(database, "UPDATE messaging_outbox SET parked_at = 1, error = 'x' WHERE seq = 2")
    assert messaging("outbox", "prune").stdout == "0 entries deleted\n"
    assert messaging("outbox", "prune", "--parked").stdout == "1 entries deleted\n"
    assert sql(database, "SELECT seq FROM messaging_outbox") == [(1,)]


def test_the_statements_are_printed(messaging: Run, project: Path) -> None:
    printed = messaging("outbox", "ddl", "sqlite", "--table", "sent").stdout
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(printed)
        connection.execute("SELECT seq, key FROM sent")
    assert "GENERATED ALWAYS AS IDENTITY" in messaging("outbox", "ddl", "postgresql").stdout


def test_from_a_table_of_mariadb_to_the_queues(
    messaging: Run, environment: dict[str, str], mariadb: str
) -> None:
    """With what `ddl` prints, and the URL in the environment."""
    environment["MESSAGING_DATABASE"] = mariadb.replace("mysql://", "mariadb://")
    missing = messaging("outbox", "status")
    assert missing.returncode == 2
    assert "there is no table messaging_outbox" in missing.stderr
    connect = mysql(mariadb)
    with closing(connect()) as connection:
        for statement in messaging("outbox", "ddl", "mysql").stdout.split(";"):
            if statement.strip():
                connection.cursor().execute(statement)
        event = load_school().Enrolled(name="Zoë 🎓", email="x@example.com")
        Publisher(SqlOutbox(connection), source="/office").publish(event)
        connection.commit()
    assert messaging("topology", "apply").returncode == 0
    done = messaging("outbox", "relay", "--until-empty", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["published"] == 2
    status = json.loads(messaging("outbox", "status", "--json").stdout)
    assert (status["pending"], status["published"]) == (0, 2)
    assert messaging("outbox", "prune", "--older-than", "0").stdout == "2 entries deleted\n"


@pytest.mark.parametrize("command", ["relay", "status", "retry", "prune"])
def test_what_is_missing_is_said(messaging: Run, project: Path, command: str) -> None:
    nothing = messaging("outbox", command)
    assert nothing.returncode == 2
    assert "MESSAGING_DATABASE" in nothing.stderr

    sqlite3.connect(project / "empty.db").close()
    empty = messaging("outbox", command, "--database", "sqlite:///empty.db")
    assert empty.returncode == 2
    assert "there is no table messaging_outbox" in empty.stderr


def test_a_database_that_is_away_is_said(messaging: Run) -> None:
    done = messaging("outbox", "status", "--database", "postgresql://u:secret@127.0.0.1:1/x")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "secret" not in done.stderr


def test_no_command_shows_the_password_of_a_url(
    messaging: Run, environment: dict[str, str]
) -> None:
    commands = [
        ("status",),
        ("topology", "plan"),
        ("topology", "show"),
        ("dlq", "list", "mail"),
        ("outbox", "status"),
        ("outbox", "status", "--database", "postgresql://u:SEGREDO@127.0.0.1:1/x"),
        ("outbox", "retry", "--database", "postgresql://u:SEGREDO/x@127.0.0.1:1/x"),
        ("outbox", "status", "--database", "mysql://u:SEGREDO@127.0.0.1:1/x"),
        ("outbox", "retry", "--database", "mysql://u:SEGREDO/x@127.0.0.1:1/x"),
        ("outbox", "relay", "--until-empty", "--database", "host=127.0.0.1 password=SEGREDO ("),
        ("outbox", "relay", "--help"),
    ]
    places = [
        {"MESSAGING_ENDPOINT_URL": "http://u:SEGREDO@127.0.0.1:1"},
        {"MESSAGING_ENDPOINT_URL": "http://u:SEGREDO/x@127.0.0.1:1"},
        {"AWS_ENDPOINT_URL": "ftp://u:SEGREDO@127.0.0.1:1", "MESSAGING_LOG_LEVEL": "DEBUG"},
    ]
    environment["MESSAGING_DATABASE"] = "postgresql://u:SEGREDO@127.0.0.1:1/x"
    before = dict(environment)
    for number, command in enumerate(commands):
        place = places[number % len(places)]
        environment.clear()
        environment.update(before | place)
        done = messaging(*command)
        assert "SEGREDO" not in done.stdout + done.stderr, command


def test_a_password_on_the_command_line_is_warned_of(messaging: Run) -> None:
    done = messaging("outbox", "status", "--database", "postgresql://u:secret@127.0.0.1:1/x")
    assert "its list of processes" in " ".join(done.stderr.split())
    plain = messaging("outbox", "status", "--database", "postgresql://u@127.0.0.1:1/x")
    assert "list of processes" not in " ".join(plain.stderr.split())
    told = messaging("outbox", "status", "--help").stdout
    assert "Never with a password" in " ".join(told.replace("│", " ").split())


def test_the_database_may_stand_in_a_mounted_secret(
    messaging: Run, database: Path, project: Path, environment: dict[str, str]
) -> None:
    (project / "url").write_text(environment.pop("MESSAGING_DATABASE"))
    environment["MESSAGING_DATABASE_FILE"] = "url"
    assert messaging("outbox", "status").returncode == 0
