"""What Grafana's own SDK, whose classes are made of Grafana's schemas, has against a dashboard."""

from __future__ import annotations

import json
import typing
import warnings
from collections.abc import Iterator
from enum import Enum
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

with warnings.catch_warnings():
    # It would rather be used for dashboards of version 2; those of version 1 every Grafana imports.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models import dashboard, units

register_default_plugins()  # panels of each kind and queries of each source have classes, too
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)
UNITS = {one for one in vars(units).values() if isinstance(one, str)}


def complaints(document: dict[str, Any]) -> list[str]:
    """The SDK takes anything: so what it loses is no field of Grafana's, and what it holds against
    its annotations is of another type. A text that it makes up is a field that must be given."""
    read = dashboard.Dashboard.from_json(document)
    written = json.loads(JSONEncoder().encode(read))
    return [*differing(document, written, "$"), *mistyped(read, "$")]


def differing(given: Any, written: Any, at: str) -> Iterator[str]:
    if isinstance(given, list):
        for number, (one, other) in enumerate(zip(given, written, strict=True)):
            yield from differing(one, other, f"{at}[{number}]")
    elif isinstance(given, dict):
        yield from (f"{at}.{name} is unknown" for name in given.keys() - written.keys())
        for name, other in written.items():
            if name in given:
                yield from differing(given[name], other, f"{at}.{name}")
            elif other == "":
                yield f"{at}.{name} is missing"
    elif given != written:
        yield f"{at} becomes {written!r}"


def mistyped(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from mistyped(one, f"{at}[{number}]")
    elif hasattr(value, "to_json"):
        for name, hint in typing.get_type_hints(type(value)).items():
            held, place = getattr(value, name), f"{at}.{name.removesuffix('_val')}"
            if not fits(held, hint):
                yield f"{place} is {held!r}"
            yield from mistyped(held, place)


def fits(held: Any, hint: Any) -> bool:
    for one in (hint, *typing.get_args(hint)):
        if isinstance(one, type) and issubclass(one, Enum):  # held as its plain value
            values = [member.value for member in one]
            return held is None or (held in values and not isinstance(held, bool))
    try:
        TypeAdapter(hint, config=STRICT).validate_python(held)
    except ValidationError:
        return False
    return True
