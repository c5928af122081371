"""Says what Kubernetes' and KEDA's schemas have against objects: a list of texts for each.

A program for the environment of the validators (`tests/validators.py`): JSON comes and goes by the
standard streams. The models of cloudcoil are made of Kubernetes' OpenAPI and of KEDA's CRDs.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from pydantic import ValidationError

MODELS = {
    "apps/v1": "cloudcoil.models.kubernetes.apps.v1",
    "batch/v1": "cloudcoil.models.kubernetes.batch.v1",
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
}


def complaints(document: dict[str, Any]) -> list[str]:
    """As kubectl, which asks the API server for strict validation: no field that is not known,
    and no value of another type."""
    model = getattr(importlib.import_module(MODELS[document["apiVersion"]]), document["kind"])
    try:
        model.model_validate_json(
            json.dumps(document), strict=True, extra="forbid", by_alias=True, by_name=False
        )
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return []


if __name__ == "__main__":
    json.dump([complaints(one) for one in json.load(sys.stdin)], sys.stdout)
