"""`messaging topology` of many teams: each in its repository, as real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run

Start = Callable[..., "subprocess.Popen[str]"]
OFFICE = ("--topology", "school:OFFICE")
LETTERS = ("--topology", "school:LETTERS")
LEDGER = ("--topology", "school:LEDGER")


@pytest.fixture
def standing(messaging: Run) -> Run:
    for topology in (OFFICE, LETTERS, LEDGER):
        done = messaging("topology", "apply", *topology)
        assert done.returncode == 0, done.stderr
    return messaging


def missing(messaging: Run) -> list[bool]:
    """Of mail, then books."""
    status = json.loads(messaging("status", "--json").stdout)
    return [one["missing"] for one in status["queues"]]


def test_a_service_deployed_before_the_topic_exits_with_4_and_changes_nothing(
    messaging: Run,
) -> None:
    for command in ("plan", "apply"):
        done = messaging("topology", command, *LETTERS)
        assert done.returncode == 4
        assert done.stdout == ""
        assert done.stderr.startswith("error: topic ")
        assert "does not exist" in done.stderr
        assert "nothing was changed" in done.stderr
        assert "Traceback" not in done.stderr
    assert messaging("topology", "plan", "--detailed-exitcode", *LETTERS).returncode == 4
    assert missing(messaging) == [True, True]
    waited = messaging("topology", "apply", "--wait", "0.1", *LETTERS)
    assert waited.returncode == 4


def test_a_service_that_waits_for_its_topic_is_applied_when_it_is_there(
    messaging: Run, started: Start
) -> None:
    waiting = started("topology", "apply", "--wait", "60", *LETTERS)
    assert waiting.stderr is not None
    assert "Waiting for up to 60 s" in waiting.stderr.readline()
    assert messaging("topology", "apply", *OFFICE).returncode == 0
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert "done (4 to create)" in said
    assert missing(messaging) == [False, True]


def test_ctrl_c_ends_a_wait_in_order(started: Start) -> None:
    waiting = started("topology", "apply", "--wait", "60", *LETTERS)
    assert waiting.stderr is not None
    waiting.stderr.readline()
    waiting.send_signal(2)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert "Traceback" not in said


def test_other_teams_things_are_shown_as_not_managed_here_and_stay(standing: Run) -> None:
    seen = standing("topology", "plan", "--detailed-exitcode", *LETTERS)
    assert seen.returncode == 0
    assert "not managed here" in seen.stdout
    assert "delete" not in seen.stdout
    assert "owner: ledger" in standing("topology", "plan", *OFFICE).stdout
    assert missing(standing) == [False, False]


def test_the_option_that_removed_other_teams_queues_is_gone(standing: Run) -> None:
    for command in ("plan", "apply"):
        done = standing("topology", command, "--delete", *LETTERS)
        assert done.returncode == 2
        assert "No such option" in done.stderr
    assert missing(standing) == [False, False]


def test_another_owners_service_is_refused_in_one_message_and_taken_over_on_demand(
    standing: Run,
) -> None:
    whole = ("--topology", "school:TOPOLOGY")
    for command in ("plan", "apply"):
        done = standing("topology", command, *whole)
        assert done.returncode == 1
        assert "is owned by 'office', and this topology by" in done.stderr
        assert "--take-over" in done.stderr
    seen = standing("topology", "plan", "--take-over", "--json", *whole)
    assert json.loads(seen.stdout)["pending"] is True
    assert standing("topology", "apply", "--take-over", *whole).returncode == 0
    assert standing("topology", "apply", *LETTERS).returncode == 1


def test_remove_shows_then_does(standing: Run) -> None:
    shown = standing("topology", "remove", "mail", *LETTERS)
    assert shown.returncode == 0
    assert shown.stdout.count("- delete") == 4
    assert "mail is sent nothing that is published from now on" in shown.stdout
    assert "nothing was removed; --yes does it" in shown.stderr
    assert missing(standing) == [False, False]

    done = standing("topology", "remove", "mail", "--yes", "--json", *LETTERS)
    assert done.returncode == 0
    kinds = [one["kind"] for one in json.loads(done.stdout)["changes"]]
    assert kinds == ["subscription", "queue", "queue", "queue"]
    assert "mail is removed" in done.stderr
    assert missing(standing) == [True, False]

    again = standing("topology", "remove", "mail", "--yes", *LETTERS)
    assert again.returncode == 0
    assert "nothing of a service mail stands" in again.stderr


def test_remove_refuses_another_teams_service(standing: Run) -> None:
    for more in ((), ("--yes",), ("--yes", "--lose-messages")):
        done = standing("topology", "remove", "books", *more, *LETTERS)
        assert done.returncode == 1
        assert "is owned by 'ledger', and this topology by 'letters'" in done.stderr
        assert done.stdout == ""
    assert missing(standing) == [False, False]


@pytest.mark.parametrize("name", ["Mail!", "students-mail.fifo", ""])
def test_remove_wants_a_services_name(messaging: Run, name: str) -> None:
    done = messaging("topology", "remove", name, *LETTERS)
    assert done.returncode == 2
    assert "give the name of a service" in done.stderr


def test_remove_refuses_what_holds_messages_unless_they_may_be_lost(
    standing: Run, project: Path
) -> None:
    (project / "two.csv").write_text("name,email\nAna,a@x.br\nRui,r@x.br\n")
    sent = standing("publish", "two.csv", "--topology", "school:LETTERS")
    assert sent.returncode == 0, sent.stderr
    for more in ((), ("--yes",)):
        kept = standing("topology", "remove", "mail", *more, *LETTERS)
        assert kept.returncode == 1
        assert "holds 2 messages (2 visible, 0 in flight, 0 delayed)" in kept.stdout
        assert "nothing was removed" in kept.stderr
        assert "messaging dlq list mail" in kept.stderr
    shown = standing("topology", "remove", "mail", "--lose-messages", *LETTERS)
    said = " ".join(shown.stdout.split())
    assert "2 messages (2 visible, 0 in flight, 0 delayed) lost for good" in said
    assert missing(standing) == [False, False]
    done = standing("topology", "remove", "mail", "--lose-messages", "--yes", *LETTERS)
    assert done.returncode == 0
    assert missing(standing) == [True, False]


def test_show_tells_owners_and_asks_nobody(messaging: Run) -> None:
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "MESSAGING_PREFIX": ""}
    part = messaging("topology", "show", *LETTERS, **nowhere)
    assert "Topic students (of another topology)" in part.stdout
    assert "letters" in part.stdout
    whole = messaging("topology", "show", *OFFICE, "--json", **nowhere)
    said = json.loads(whole.stdout)
    assert (said["owner"], said["owns_topic"], said["services"]) == ("office", True, {})


def test_a_local_server_has_the_topic_of_a_services_part(started: Start, messaging: Run) -> None:
    """To work on one service needs no other repository; its producer's may be applied, too."""
    process = started("local", "--port", "0", "--json", *LETTERS)
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["services"] == ["mail"]
    there = said["environment"]
    assert messaging("topology", "plan", "--detailed-exitcode", *LETTERS, **there).returncode == 0
    for topology in (LETTERS, OFFICE, LEDGER):
        done = messaging("topology", "apply", *topology, **there)
        assert done.returncode == 0, done.stderr
