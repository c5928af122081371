"""Validates e-mail addresses as pydantic's `EmailStr` does, but each domain only once.

Two thirds of the time to create an event with an address went into its domain (IDNA, rules,
reserved names), with the same result each time, and a school's students have a dozen domains.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import SchemaValidator

__all__ = ["remember_domains"]

_SIMPLE = re.compile(r"([A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*)@([A-Za-z0-9.-]+)", re.ASCII)
_SHORT = 64  # characters: far below any limit of an address
_DOMAINS = 10_000


def remember_domains(model: type[BaseModel]) -> None:
    """Make `model` remember validated domains, with the same values and the same errors.

    The class's own schema is used, with one step replaced. If that is not possible (no address, a
    name not yet known, a plugin, another pydantic), nothing changes.
    """
    # Pydantic loads EmailStr only if it is named.
    kind = getattr(sys.modules.get("pydantic.networks"), "EmailStr", None)
    check = getattr(kind, "_validate", None)
    schema: Any = model.__dict__.get("__pydantic_core_schema__")
    if check is None or type(model.__pydantic_validator__) is not SchemaValidator:
        return
    changed = _with(schema, check, _Addresses(check))
    config = next((one["config"] for one in _models(schema) if one["cls"] is model), None)
    if changed is schema or config is None:
        return
    try:
        # Otherwise it would use the class's own validator, which already exists.
        model.__pydantic_validator__ = SchemaValidator(changed, config, _use_prebuilt=False)
    except TypeError:  # a pydantic without this option
        return


class _Addresses:
    """`check`, which validates each domain once."""

    def __init__(self, check: Any) -> None:
        self._check = check
        self._domains: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        found = _SIMPLE.fullmatch(text) if len(text) <= _SHORT else None
        if found is None:
            return str(self._check(text))
        local, domain = found.groups()
        if local.isalpha() and local != local.lower():
            return str(self._check(text))  # "Info" is "info": some mailbox names ignore case
        known = self._domains.get(domain)
        if known is not None:
            return f"{local}@{known}"
        valid = str(self._check(text))
        if valid.startswith(f"{local}@") and len(self._domains) < _DOMAINS:
            self._domains[domain] = valid[len(local) + 1 :]
        return valid


def _with(schema: Any, check: Any, addresses: _Addresses) -> Any:
    """`schema` with the validation of addresses replaced; unchanged if it has none."""
    if isinstance(schema, dict):
        function = schema.get("function")
        if isinstance(function, dict) and function.get("function") == check:
            return {**schema, "function": {**function, "function": addresses}}
        changed = {
            name: new
            for name, old in schema.items()
            if name != "metadata" and (new := _with(old, check, addresses)) is not old
        }
        return {**schema, **changed} if changed else schema
    if isinstance(schema, list):
        items = [_with(old, check, addresses) for old in schema]
        return (
            items if any(new is not old for new, old in zip(items, schema, strict=True)) else schema
        )
    return schema


def _models(schema: Any) -> Iterator[dict[str, Any]]:
    """The schemas of models in `schema`, outermost first."""
    if isinstance(schema, dict):
        if schema.get("type") == "model" and "config" in schema:
            yield schema
        for name, inner in schema.items():
            if name != "metadata":
                yield from _models(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _models(inner)
