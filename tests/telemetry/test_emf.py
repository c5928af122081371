"""What a function writes for CloudWatch: checked against the format's published schema."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from messaging import Batch, Consumer, Discard, Event, Reject, Retry, RetryPolicy, handles
from messaging.emf import MOST_VALUES, CloudWatchMetrics
from messaging.errors import ConfigurationError
from messaging.lambda_handler import Invocation, lambda_handler
from messaging.metrics import METRICS
from messaging.testing import lambda_event
from messaging.transport import DeadLetter, Delivery, Failure

ROOT = Path(__file__).resolve().parents[2]
TEXT = {"type": "string", "minLength": 1}
SCHEMA: Mapping[str, Any] = {
    # The one of https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "properties": {
                            "Namespace": {**TEXT, "maxLength": 1024},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "maxItems": 30,
                                    "items": {**TEXT, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "properties": {
                                        "Name": {**TEXT, "maxLength": 1024},
                                        "Unit": {"enum": ["Count", "Seconds"]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}


class Enrolled(Event, type="student.enrolled", version=1):
    name: str


class Left(Event, type="student.left", version=1):
    name: str


class Mail(Consumer):
    retry = RetryPolicy(max_attempts=1, outage=0)

    @handles
    def enrolled(self, student: Enrolled) -> None:
        match student.name:
            case "retry":
                raise Retry(7, "of Zuleica")
            case "reject":
                raise Reject("name: refused for Zuleica")
            case "discard":
                raise Discard("not ours")
            case "raise":
                raise KeyError("Zuleica")

    @handles
    async def left(self, student: Left) -> None:
        pass


class Queue:
    """Takes every dead letter and every hide."""

    name = "t-mail"
    visibility_timeout = 60

    def dead_letter(self, letters: list[DeadLetter]) -> list[Failure]:
        return []

    def change_visibility(self, deliveries: list[Delivery], seconds: list[int]) -> list[Failure]:
        return []


def invoked(*events: Event, consumer: Consumer | None = None, queue: Any = None) -> dict[str, Any]:
    lines: list[str] = []
    handler = lambda_handler(
        consumer or Mail(), queue=queue, observe=CloudWatchMetrics(write=lines.append)
    )
    handler(lambda_event(consumer or Mail, *events), None)
    [line] = lines
    assert line.endswith("\n")
    assert line.count("\n") == 1
    return checked(json.loads(line))


def checked(document: dict[str, Any]) -> dict[str, Any]:
    """By the schema, and by what it cannot say: each name that is referred to is there."""
    jsonschema.validate(document, SCHEMA)
    [directive] = document["_aws"]["CloudWatchMetrics"]
    for dimensions in directive["Dimensions"]:
        assert all(isinstance(document[name], str) for name in dimensions)
    for metric in directive["Metrics"]:
        value = document[metric["Name"]]
        values = value if isinstance(value, list) else [value]
        assert 1 <= len(values) <= 100
        assert all(type(one) in (int, float) for one in values)
    return document


def test_an_invocation_is_one_line_with_what_became_of_its_records() -> None:
    names = ("fine", "retry", "reject", "discard", "raise")
    events = [*(Enrolled(name=name) for name in names), Left(name="Zuleica")]
    found = invoked(*events, queue=Queue())
    assert found["service"] == "mail"
    counts = {name.removeprefix("messaging.worker."): found[name] for name in found}
    assert counts["received"] == 6
    assert counts["settled.acknowledged"] == 3
    assert counts["settled.released"] == 1
    assert counts["settled.dead_lettered"] == 2
    assert counts["discarded"] == 1
    assert counts["retries"] == 1
    assert found["dead_letter_reasons"] == {"rejected": 1, "KeyError": 1}
    for name in ("handler_duration", "time_in_queue", "event_age"):
        assert len(counts[name]) == 6
        assert min(counts[name]) >= 0
    assert "Zuleica" not in json.dumps(found)


def test_without_a_queue_what_is_rejected_comes_again() -> None:
    found = invoked(Enrolled(name="reject"), Enrolled(name="fine"))
    assert found["messaging.worker.settled.released"] == 1
    assert found["messaging.worker.settled.dead_lettered"] == 0


def test_names_are_those_of_the_other_outlets() -> None:
    known = {one.name for one in METRICS}
    [directive] = invoked(Enrolled(name="fine"))["_aws"]["CloudWatchMetrics"]
    for metric in directive["Metrics"]:
        settled = metric["Name"].startswith("messaging.worker.settled.")
        assert (metric["Name"].rpartition(".")[0] if settled else metric["Name"]) in known


class Bulk(Consumer):
    service = "mail"

    @handles(batch=100, wait=0)
    def enrolled(self, students: Batch[Enrolled]) -> None: ...


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_a_large_batch_keeps_to_a_hundred_values_evenly_spread(count: int) -> None:
    found = invoked(*(Enrolled(name=f"n{at}") for at in range(count)), consumer=Bulk())
    assert found["messaging.worker.received"] == count
    for name in ("handler_duration", "time_in_queue", "event_age"):
        assert len(found[f"messaging.worker.{name}"]) == min(count, MOST_VALUES)


def test_a_function_writes_to_its_log_without_being_told_where() -> None:
    program = (
        "from tests.telemetry.test_emf import *\n"
        "handler = lambda_handler(Mail(), observe=CloudWatchMetrics(namespace='Escola'))\n"
        "class Context:\n    aws_request_id = '8f5c'\n"
        "event = lambda_event(Mail, Enrolled(name='fine'))\n"
        "handler(event, Context()), handler({'Records': []}, Context())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    [line] = done.stdout.splitlines()
    document = checked(json.loads(line))
    assert document["request_id"] == "8f5c"
    assert document["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Escola"


def test_an_observer_that_breaks_costs_no_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)

    def broken(invocation: Invocation) -> None:
        raise OSError("Zuleica's disk is full")

    handler = lambda_handler(Mail(), observe=broken)
    answer = handler(lambda_event(Mail, Enrolled(name="fine")), None)
    assert answer == {"batchItemFailures": []}
    assert "the invocation could not be observed: OSError" in caplog.text
    assert "Zuleica" not in caplog.text


@pytest.mark.parametrize("namespace", ["", "AWS/SQS", ":x", "a" * 256, "né"])
def test_a_namespace_that_cloudwatch_refuses_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigurationError, match="namespace"):
        CloudWatchMetrics(namespace=namespace)
