"""Exported dashboards and scalers against the vendors' own models, and that those refuse."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from messaging.export import Scaling, alarms, grafana, keda
from tests import validators
from tests.export import grafana_model
from tests.export.conftest import TOPOLOGIES

WHOLE = TOPOLOGIES["the whole map"]
SQS_TRIGGER = set(
    "queueURL queueURLFromEnv queueLength activationQueueLength awsRegion awsEndpoint "
    "identityOwner scaleOnInFlight scaleOnDelayed".split()
)
"""What KEDA reads of a trigger; its CRD only says that these are texts, and others are overlooked.

https://keda.sh/docs/2.16/scalers/aws-sqs/
"""
Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_grafana_knows_every_field_of_the_dashboard_and_its_type(name: str) -> None:
    made = grafana(TOPOLOGIES[name])
    assert grafana_model.complaints(made) == []
    named = {one["fieldConfig"]["defaults"]["unit"] for one in made["panels"] if "targets" in one}
    assert named <= grafana_model.UNITS
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", made["uid"])


DASHBOARD_CHANGES: dict[str, tuple[Change, str]] = {
    "an unknown field": (lambda made: made.update(reload="30s"), "$.reload is unknown"),
    "a number in a text": (
        lambda made: made.update(schemaVersion="39"),
        "$.schema_version is '39'",
    ),
    "an unknown kind of variable": (
        lambda made: made["templating"]["list"][0].update(type="source"),
        "$.templating.list[0].type is 'source'",
    ),
    "an unknown field of a panel": (
        lambda made: made["panels"][1].update(position={}),
        "$.panels[1].position is unknown",
    ),
    "a place that is a text": (
        lambda made: made["panels"][1]["gridPos"].update(x="0"),
        "$.panels[1].grid_pos.x is '0'",
    ),
    "a query under another name": (
        lambda made: made["panels"][1]["targets"][0].update(query="up"),
        "$.panels[1].targets[0].query is unknown",
    ),
    "a panel without a query": (
        lambda made: made["panels"][1]["targets"][0].pop("expr"),
        "$.panels[1].targets[0].expr is missing",
    ),
    "a unit beside its place": (
        lambda made: made["panels"][1]["fieldConfig"].update(unit="s"),
        "$.panels[1].fieldConfig.unit is unknown",
    ),
}


@pytest.mark.parametrize("what", DASHBOARD_CHANGES)
def test_grafana_refuses_a_dashboard_with(what: str) -> None:
    made = copy.deepcopy(grafana(WHOLE))
    change, said = DASHBOARD_CHANGES[what]
    change(made)
    assert said in grafana_model.complaints(made)


def scalers() -> list[dict[str, Any]]:
    lists = [
        keda(one, Scaling(), account="111111111111", region="sa-east-1")
        for one in TOPOLOGIES.values()
    ]
    assert {(one["apiVersion"], one["kind"]) for one in lists} == {("v1", "List")}
    assert {frozenset(one) for one in lists} == {frozenset(("apiVersion", "kind", "items"))}
    return [scaler for one in lists for scaler in one["items"]]


def test_kedas_crd_knows_every_field_of_the_scalers_and_its_type() -> None:
    made = scalers()
    assert validators.kubernetes(*made) == [[] for _ in made]
    for one in made:
        # As Kubernetes takes names, which are those of Deployments, too.
        for named in (one["metadata"], one["spec"]["scaleTargetRef"]):
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", named["name"])
        assert set(one["spec"]["triggers"][0]["metadata"]) <= SQS_TRIGGER


SCALER_CHANGES: dict[Change, str] = {
    lambda one: one["spec"].update(maxReplicas=3): "spec.maxReplicas: Extra inputs",
    lambda one: one["spec"].update(maxReplicaCount="3"): "spec.maxReplicaCount: Input should be a",
    lambda one: one["spec"].pop("triggers"): "spec.triggers: Field required",
    lambda one: one["spec"]["scaleTargetRef"].pop("name"): "spec.scaleTargetRef.name: Field",
    lambda one: one["spec"]["triggers"][0].update(auth={}): "spec.triggers.0.auth: Extra inputs",
    lambda one: one["spec"]["triggers"][0]["metadata"].update(
        queueLength=5
    ): "spec.triggers.0.metadata.queueLength: Input should be a valid string",
}


def test_kedas_crd_refuses_what_is_unknown_missing_or_of_another_type() -> None:
    broken = [copy.deepcopy(scalers()[0]) for _ in SCALER_CHANGES]
    for change, one in zip(SCALER_CHANGES, broken, strict=True):
        change(one)
    found = validators.kubernetes(*broken)
    for complaints, said in zip(found, SCALER_CHANGES.values(), strict=True):
        assert len(complaints) == 1, said
        assert complaints[0].startswith(said)


def closed(required: str, **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
CLOUDWATCH_DASHBOARD = closed(
    "widgets",
    widgets={
        "type": "array",
        "maxItems": 500,
        "items": closed(
            "type properties",
            type={"const": "metric"},
            x={"type": "integer", "minimum": 0, "maximum": 23},
            y={"type": "integer", "minimum": 0},
            width={"type": "integer", "minimum": 1, "maximum": 24},
            height={"type": "integer", "minimum": 1, "maximum": 1000},
            properties=closed(
                "metrics region",
                title=TEXT,
                region=TEXT,
                view={"enum": ["timeSeries", "singleValue", "gauge", "bar", "pie", "table"]},
                stat=TEXT,
                period={"type": "integer", "multipleOf": 60, "minimum": 60},
                metrics={
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 500,
                    "items": {
                        "type": "array",
                        "prefixItems": [TEXT, TEXT, TEXT, TEXT, closed("", stat=TEXT, label=TEXT)],
                        "minItems": 4,
                        "items": False,
                    },
                },
            ),
        ),
    },
)
"""AWS's page: no tool knows the form of this body, which to cfn-lint and botocore is a text.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_cloudwatch_dashboard_is_as_aws_describes_it(name: str) -> None:
    check = Draft202012Validator(CLOUDWATCH_DASHBOARD)
    resources = alarms(TOPOLOGIES[name], emf="messaging")["Resources"]
    body = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    assert not list(check.iter_errors(body))
    body["widgets"][0]["properties"]["statistic"] = "Sum"
    body["widgets"][0]["width"] = 25
    assert len(list(check.iter_errors(body))) == 2
