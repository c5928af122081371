"""Exported dashboards against Grafana's own types, and scalers against what KEDA's CRD says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from jsonschema import Draft202012Validator

from messaging.export import Scaling, grafana, keda
from tests.export.conftest import TOPOLOGIES

SERVED = [name for name, one in TOPOLOGIES.items() if one.services]


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """What of a document is not in what was read of it: a field that its type does not have."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            if name in kept:
                yield from lost(value, kept[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif given != kept:
        yield f"{path}: {given!r} is read as {kept!r}"


def unknown_to_grafana(document: Any) -> list[str]:
    register_default_plugins()
    read = JSONEncoder().encode(Dashboard.from_json(document))
    return list(lost(document, json.loads(read)))


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
SCALED_OBJECT = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    # As Kubernetes takes names, which are those of Deployments, too.
    metadata=closed(
        ["name"], name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
    ),
    spec=closed(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=closed(
            ["name"], name={"type": "string", "minLength": 1}, kind=TEXT, apiVersion=TEXT
        ),
        minReplicaCount={"type": "integer", "minimum": 0},
        maxReplicaCount={"type": "integer", "minimum": 1},
        idleReplicaCount={"type": "integer", "minimum": 0},
        pollingInterval={"type": "integer", "minimum": 1},
        cooldownPeriod={"type": "integer", "minimum": 0},
        triggers={
            "type": "array",
            "items": closed(
                ["metadata", "type"],
                type={"type": "string", "minLength": 1},
                name=TEXT,
                metadata={"type": "object", "additionalProperties": TEXT},
                authenticationRef=closed(["name"], name=TEXT, kind=TEXT),
            ),
        },
    ),
)
"""What the CRD of ScaledObject says about what is exported, and about the fields beside it.

https://github.com/kedacore/keda/blob/main/config/crd/bases/keda.sh_scaledobjects.yaml
"""


def refused_by_keda(document: Any) -> list[str]:
    found = Draft202012Validator(SCALED_OBJECT).iter_errors(document)
    return [f"{one.json_path}: {one.message}" for one in found]


@pytest.mark.parametrize("name", SERVED)
def test_grafanas_own_types_know_every_field_of_the_dashboard(name: str) -> None:
    assert unknown_to_grafana(grafana(TOPOLOGIES[name])) == []


def test_a_field_that_grafana_does_not_have_is_noticed() -> None:
    document = grafana(TOPOLOGIES["the whole map"])
    document["panels"][1]["titel"] = "x"
    document["panels"][0]["targets"][0]["query"] = "x"
    assert unknown_to_grafana(document) == [".panels[0].targets[0].query", ".panels[1].titel"]


@pytest.mark.parametrize("name", SERVED)
def test_the_crd_of_keda_has_every_field_of_a_scaled_object(name: str) -> None:
    made = keda(TOPOLOGIES[name], Scaling(), account="111111111111", region="sa-east-1")
    for one in made["items"]:
        assert refused_by_keda(one) == []


def test_what_keda_would_refuse_or_overlook_is_noticed() -> None:
    made = keda(TOPOLOGIES["one service"], Scaling(), account="111111111111", region="sa-east-1")
    (one,) = made["items"]
    one["spec"]["maxReplicas"] = 3
    one["spec"]["triggers"][0]["metadata"]["queueLength"] = 5  # a number: KEDA takes texts only
    number, unknown = sorted(refused_by_keda(one))
    assert "queueLength" in number
    assert "maxReplicas" in unknown
