"""`messaging explain`: who receives an event, what of it, and what a month costs."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cli.conftest import SCHOOL, Run


def explained(messaging: Run, *more: str, type: str = "student.enrolled") -> dict[str, Any]:
    done = messaging("explain", type, "--json", *more)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_each_service_is_named_with_its_queue_and_its_fields(
    messaging: Run, environment: dict[str, str]
) -> None:
    found = explained(messaging)
    prefix = environment["MESSAGING_PREFIX"]
    assert found["topic"] == f"{prefix}students"
    assert {name: (one["queue"], one["fields"]) for name, one in found["services"].items()} == {
        "mail": (f"{prefix}students-mail", ["name"]),
        "books": (f"{prefix}students-books", ["name", "fee"]),
    }
    assert [one["received_by"] for one in found["copies"]] == [["mail"], ["books"]]


def test_services_that_see_the_same_fields_share_a_copy(messaging: Run, project: Path) -> None:
    books = 'audience="books"):\n    name: str\n    fee: int | None\n'
    assert books in SCHOOL
    (project / "school.py").write_text(
        SCHOOL.replace(books, 'audience="books"):\n    name: str\n').replace(
            "student.fee is not None and student.fee < 0", "False"
        )
    )
    found = explained(messaging)
    assert [one["audience"] for one in found["copies"]] == [["mail", "books"]]


def test_a_copy_that_a_view_may_decline_is_counted_and_said(messaging: Run, project: Path) -> None:
    mail = 'class EnrolledForMail(Projection, of=Enrolled, audience="mail"):\n    name: str\n'
    assert mail in SCHOOL
    wanted = "\n    @classmethod\n    def wanted(cls, event):\n        return False\n"
    (project / "school.py").write_text(SCHOOL.replace(mail, mail + wanted))
    found = explained(messaging)
    assert [one["may_be_declined_by"] for one in found["copies"]] == [["mail"], []]


def test_a_view_whose_service_does_not_subscribe_here_is_named(messaging: Run) -> None:
    found = explained(messaging, "--topology", "school:LETTERS")
    assert (list(found["services"]), found["not_here"]) == (["mail"], ["books"])
    assert [one["received_by"] for one in found["copies"]] == [["mail"], []]


def test_its_size_is_that_of_the_message_that_arrives(
    messaging: Run, environment: dict[str, str]
) -> None:
    """The same event published for real has the same number of bytes, but for its ids."""
    assert messaging("topology", "apply").returncode == 0
    done = messaging("try", "school:Mail", "--yes")
    assert done.returncode == 0, done.stderr
    sqs: Any = boto3.client(
        "sqs",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    name = f"{environment['MESSAGING_PREFIX']}students-mail"
    with closing(sqs):
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        [message] = sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=5, MessageAttributeNames=["All"]
        )["Messages"]
    body = message["Body"]
    attributes = sum(
        len(name) + len(one["DataType"]) + len(one["StringValue"])
        for name, one in message["MessageAttributes"].items()
    )
    longer = len("/messaging-explain") - len("/messaging-try")
    assert explained(messaging)["copies"][0]["bytes"] == len(body) + attributes + longer


def test_the_cost_follows_from_the_number_of_events(messaging: Run) -> None:
    cost = explained(messaging, "--events", "1000000")["cost"]
    # Two copies in one publish; two queues, each a receive and a delete.
    assert cost["at_most"]["publishes"] == 1_000_000
    assert cost["at_most"]["requests"] == 4_000_000
    assert cost["at_most"]["usd"] == pytest.approx(0.5 + 4 * 0.4)
    assert cost["at_least"]["requests"] == 400_000
    assert cost["prices"]["date"]
    assert cost["prices"]["sources"]


def test_the_prices_of_another_region_can_be_given(messaging: Run) -> None:
    options = ["--events", "1000000", "--publish-price", "1", "--request-price", "2"]
    assert explained(messaging, *options)["cost"]["at_most"]["usd"] == pytest.approx(1 + 4 * 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "prices as third parties quoted AWS for us-east-1 in 20"),
        (["--publish-price", "1"], "the price that was not given is as third parties quoted"),
        (["--publish-price", "1", "--request-price", "2"], "prices as given; without the free"),
    ],
    ids=["none", "one", "both"],
)
def test_it_says_whose_prices_these_are(messaging: Run, options: list[str], said: str) -> None:
    done = messaging("explain", "student.enrolled", *options, COLUMNS="300")
    assert done.returncode == 0
    assert said in done.stderr


def test_people_are_shown_tables_and_a_range(messaging: Run) -> None:
    done = messaging("explain", "student.enrolled", COLUMNS="160")
    assert done.returncode == 0, done.stderr
    assert "name, fee" in done.stdout
    assert "100,000 events a month: 0.03 to 0.21 USD" in done.stdout
    assert "deliveries to SQS are free" in done.stdout


def test_an_unknown_type_is_refused_with_the_known_ones(messaging: Run) -> None:
    done = messaging("explain", "student.enroled")
    assert done.returncode == 2
    assert "'student.enroled'" in done.stderr
    assert "known are student.enrolled, student.left" in done.stderr


def test_an_event_of_another_type_than_asked_is_refused(messaging: Run) -> None:
    done = messaging("explain", "student.enrolled", "--event", "school:Left")
    assert done.returncode == 2
    assert "its type is student.left" in done.stderr


def test_two_classes_of_one_type_are_told_apart_by_event(messaging: Run, project: Path) -> None:
    twin = '\n\nclass Twin(Event, type="student.enrolled", version=2):\n    name: str\n'
    (project / "school.py").write_text(SCHOOL + twin)
    done = messaging("explain", "student.enrolled")
    assert done.returncode == 2
    assert "school:Enrolled and school:Twin" in done.stderr
    assert explained(messaging, "--event", "school:Enrolled")["version"] == 1


def test_an_event_of_which_no_example_is_known_says_the_remedy(
    messaging: Run, project: Path
) -> None:
    strict = 'class EnrolledForMail(Projection, of=Enrolled, audience="mail"):\n    name: str\n'
    check = (
        "\n    @field_validator('name')\n    @classmethod\n    def known(cls, name):\n"
        "        if name != 'Ada':\n            raise ValueError('unknown')\n"
        "        return name\n"
    )
    text = SCHOOL.replace(strict, strict + check)
    (project / "school.py").write_text(f"from pydantic import field_validator\n{text}")
    done = messaging("explain", "student.enrolled")
    assert done.returncode == 2
    assert "EnrolledForMail" in done.stderr
    assert "Field(examples=" in done.stderr


def test_the_cost_of_a_fifo_topic_is_not_guessed(messaging: Run, project: Path) -> None:
    (project / "school.py").write_text(
        SCHOOL.replace('topic="students", owns_topic', 'topic="students.fifo", owns_topic').replace(
            'type="student.enrolled", version=1', 'type="student.enrolled", version=1, group="name"'
        )
    )
    assert explained(messaging)["cost"] is None
    said = messaging("explain", "student.enrolled").stderr
    assert "the cost of a FIFO topic is not known here" in said
