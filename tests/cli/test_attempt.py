"""`messaging try`: a test event for one service alone, over a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

WRONG = '{"name": 7, "email": "ana@example.com"}'


@pytest.fixture
def applied(messaging: Run) -> Run:
    done = messaging("topology", "apply")
    assert done.returncode == 0, done.stderr
    return messaging


def visible(messaging: Run) -> dict[str, int]:
    shown = json.loads(messaging("status", "--json").stdout)
    return {one["service"]: one["visible"] for one in shown["queues"]}


def test_a_made_up_event_reaches_the_service_and_no_other(applied: Run) -> None:
    done = applied("try", "school:Mail", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["type"], said["service"]) == ("student.enrolled", "mail")
    assert visible(applied) == {"mail": 1, "books": 0}
    ran = applied("run", "school:Mail", "--until-empty")
    assert "handled text" in ran.stdout


def test_data_of_ones_own_is_handled_as_the_view_has_it(applied: Run) -> None:
    data = '{"name": "Ana", "fee": -1, "email": "not for books"}'
    done = applied("try", "school:Books", "--data", data)
    assert done.returncode == 0, done.stderr
    ran = applied("run", "school:Books", "--until-empty", "--json")
    assert json.loads(ran.stdout.splitlines()[-1])["services"]["books"]["dead_lettered"] == 1
    letters = applied("dlq", "list", "books", "--json").stdout
    assert "fee: negative" in letters


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("school:Mail", "--data", WRONG), "data.name: input should"),
        (("school:Mail", "--data", "{"), "--data is not what EnrolledForMail reads: data: "),
        (("school:Mail", "--type", "student.left"), "it handles student.enrolled"),
        (("school:Enrolled",), "a Consumer class was expected"),
        (("school:Nobody",), "school has no 'Nobody'"),
    ],
)  # fmt: skip
def test_what_the_service_would_not_read_is_refused_before_it_is_sent(
    applied: Run, arguments: tuple[str, ...], says: str
) -> None:
    done = applied("try", *arguments)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "ana@example.com" not in done.stderr
    assert visible(applied) == {"mail": 0, "books": 0}


def test_an_event_that_the_topic_would_drop_is_not_said_to_be_published(
    applied: Run, project: Path
) -> None:
    # A new handler, and nobody has applied the topology since.
    school = project / "school.py"
    left = 'class Left(Event, type="student.left", version=1):\n    name: str\n\n\n'
    mail = "class Mail(Consumer):\n"
    handler = "    @handles\n    def part(self, student: Left) -> None: ...\n\n"
    text = school.read_text().replace(left, "")
    school.write_text(text.replace(mail, left + mail + handler))

    for service in ("school:Mail", "school:Post"):
        done = applied("try", service, "--type", "student.left")
        assert (done.returncode, done.stdout) == (1, "")
        told = " ".join(done.stderr.split())
        assert "no subscription lets student.left through" in told
        assert "`messaging topology apply`" in told
    assert visible(applied) == {"mail": 0, "books": 0}

    assert applied("topology", "apply").returncode == 0
    done = applied("try", "school:Mail", "--type", "student.left")
    assert done.stdout.startswith("published student.left "), done.stderr
    assert visible(applied) == {"mail": 1, "books": 0}


def test_a_service_that_takes_arguments_is_not_made(applied: Run) -> None:
    done = applied("try", "school:Choosy", "--type", "student.enrolled")
    assert done.returncode == 2
    assert "handles no event" in done.stderr


def test_on_aws_it_asks_first(messaging: Run) -> None:
    done = messaging("try", "school:Mail", AWS_ENDPOINT_URL="http://sns.example.org")
    assert done.returncode == 2
    assert "--yes publishes it all the same" in " ".join(done.stderr.split())
