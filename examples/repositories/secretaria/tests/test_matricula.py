"""Tests of the event that the office publishes for an enrolment."""

from decimal import Decimal

from secretaria.matricula import matricular

from messaging import Publisher
from messaging.testing import RecordingTopic


def test_the_same_enrolment_is_the_same_event() -> None:
    topic = RecordingTopic()
    with Publisher(topic, source="/testes") as publisher:
        for _ in range(2):
            matricular(publisher, "2026-0001", "Ana", "ENEM", Decimal(900))
    assert {copy.envelope.id for copy in topic.copies} == {"matricula-2026-0001"}
