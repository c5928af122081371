"""The event that Lambda would hand to a function, made from events."""

from __future__ import annotations

import json

import pytest

from messaging import Consumer, Event, Projection, Retry, handles
from messaging.errors import EventTooLarge
from messaging.lambda_handler import lambda_handler
from messaging.testing import FakeClock, lambda_event


class Enrolled(Event, type="student.enrolled", version=1, group="name"):
    name: str
    consent: bool = True
    fee: str = "0"


class ForMail(Projection, of=Enrolled, audience="mail"):
    name: str

    @classmethod
    def wanted(cls, event: Enrolled) -> bool:
        return event.consent


class ForBooks(Projection, of=Enrolled, audience="books"):
    fee: str


class Left(Event, type="student.left", version=1):
    name: str


class Mail(Consumer):
    def __init__(self) -> None:
        self.names: list[str] = []

    @handles
    def enrolled(self, student: ForMail) -> None:
        self.names.append(student.name)
        if student.name == "later":
            raise Retry


def test_the_function_handles_what_its_queue_would_bring() -> None:
    mail = Mail()
    event = lambda_event(
        Mail, Enrolled(name="Ana"), Enrolled(name="later"), Enrolled(name="Bia", consent=False),
        Left(name="Caio"),
    )  # fmt: skip
    answer = lambda_handler(mail)(event, None)
    assert mail.names == ["Ana", "later"]
    again = event["Records"][1]["messageId"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": again}]}


def test_a_record_is_as_lambda_writes_it() -> None:
    clock = FakeClock()
    (record,) = lambda_event(
        Mail(), Enrolled(name="Ana"), topic="alunos", receive_count=3, clock=clock
    )["Records"]
    assert record["eventSourceARN"] == "arn:aws:sqs:sa-east-1:123456789012:alunos-mail"
    assert record["attributes"]["ApproximateReceiveCount"] == "3"
    assert record["attributes"]["SentTimestamp"] == str(int(clock.now() * 1000))
    assert record["attributes"]["MessageGroupId"]
    assert record["messageAttributes"]["type"]["stringValue"] == "student.enrolled"
    assert json.loads(record["body"])["data"] == {"name": "Ana"}
    assert json.loads(json.dumps(record)) == record


def test_an_event_that_could_not_be_published_is_refused() -> None:
    with pytest.raises(EventTooLarge):
        lambda_event(Mail, Enrolled(name="Ana" * 200_000))
