"""Exported scalers against what KEDA's CRD says."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from messaging.export import Scaling, keda
from tests.export.conftest import TOPOLOGIES

SERVED = [name for name, one in TOPOLOGIES.items() if one.services]


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
