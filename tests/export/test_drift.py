"""An exported file and the consumers of now: what has come to differ."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from messaging.errors import ConfigurationError
from messaging.export import cloudformation, drift, terraform
from messaging.topology import Topology
from tests.export.conftest import TOPOLOGIES, Dois, Um

FORMS = {"CloudFormation": cloudformation, "Terraform": terraform}
WHOLE = TOPOLOGIES["the whole map"]


def written(topology: Topology, form: str) -> Any:
    return json.loads(json.dumps(FORMS[form](topology)))


def told(topology: Topology, document: Any) -> list[tuple[str, str, str, tuple[str, ...]]]:
    found = drift(topology, document, file="topology.json")
    return [
        (one.action, one.kind, one.name, one.details)
        for one in found.changes
        if one.action != "leave"
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_file_of_now_differs_in_nothing(name: str, form: str) -> None:
    assert told(TOPOLOGIES[name], written(TOPOLOGIES[name], form)) == []


class Longer(Um):
    service = "um"
    visibility_timeout = 90


@pytest.mark.parametrize(
    ("form", "attribute"),
    [("CloudFormation", "VisibilityTimeout"), ("Terraform", "visibility_timeout_seconds")],
)
def test_a_consumer_that_needs_longer_changes_its_queue_alone(form: str, attribute: str) -> None:
    now = Topology.of(Longer, Dois, topic="alunos", owns_topic=True)
    assert told(now, written(WHOLE, form)) == [
        ("change", "queue", "alunos-um", (f"{attribute}: 45 -> 90",))
    ]


@pytest.mark.parametrize("form", FORMS)
def test_a_new_service_is_missing_and_one_that_is_gone_is_told(form: str) -> None:
    one = Topology.of(Um, topic="alunos", owns_topic=True)
    made = told(WHOLE, written(one, form))
    assert {action for action, *_ in made} == {"create"}
    assert ("create", "queue", "alunos-meia-entrada", ("not in the file",)) in made
    assert len(made) == 7
    gone = told(one, written(WHOLE, form))
    assert [(action, name) for action, _, name, _ in gone] == [
        ("delete", "alunos-meia-entrada-dlq"),
        ("delete", "alunos-meia-entrada-undelivered"),
        ("delete", "alunos-meia-entrada"),
    ]


@pytest.mark.parametrize("form", FORMS)
def test_what_somebody_edited_by_hand_is_told(form: str) -> None:
    edited = json.loads(json.dumps(written(WHOLE, form)).replace("teste.aconteceu", "teste.outro"))
    names = [name for _, kind, name, _ in told(WHOLE, edited) if kind == "subscription"]
    assert len(names) == 2


@pytest.mark.parametrize("form", FORMS)
def test_a_key_that_was_chosen_since_is_told(form: str) -> None:
    found = told(replace(WHOLE, kms_key="alias/alunos"), written(WHOLE, form))
    assert len(found) == 7
    assert all("alias/alunos" in " ".join(details) for *_, details in found)


def test_what_else_stands_in_the_file_is_left_alone() -> None:
    document = written(WHOLE, "CloudFormation")
    document["Resources"]["Own"] = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "x"}}
    document["Resources"]["Bucket"] = {"Type": "AWS::S3::Bucket"}
    assert told(WHOLE, document) == []


@pytest.mark.parametrize("document", [{}, [], None, {"Resources": []}, {"AWSTemplate": 1}])
def test_a_file_of_another_kind_is_refused_with_its_name(document: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"topology\.json is neither"):
        drift(WHOLE, document, file="topology.json")
