"""Validates rows as the event's class does, but each e-mail domain only once.

Half of the time of reading a row went into the domain of its e-mail address, and a school's file
has a dozen domains. The class's own schema is used, with one step in it replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import pydantic
from pydantic_core import SchemaValidator

from messaging.event import Event

__all__ = ["Validate", "validator_of"]

E = TypeVar("E", bound=Event)
Validate = Callable[[dict[str, Any]], E]
"""Texts in, the event out. Raises pydantic's `ValidationError`."""

_SIMPLE = re.compile(r"([A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*)@([A-Za-z0-9.-]+)", re.ASCII)
_SHORT = 64  # characters: no limit of an address is near
_DOMAINS = 10_000
_ADDRESS: Any = getattr(pydantic.EmailStr, "_validate", None)


def validator_of(event: type[E]) -> Validate[E]:
    """`event.model_validate_strings` for many rows: the same events, the same mistakes."""
    schema: Any = event.__pydantic_core_schema__
    remembering = _remembering(schema, _Addresses()) if isinstance(schema, dict) else schema
    try:
        # Else it would take the class's own validator, which is there already.
        validator = (
            None if remembering is schema else SchemaValidator(remembering, _use_prebuilt=False)
        )
    except TypeError:  # a pydantic that cannot be told so
        validator = None
    if validator is None:
        return lambda data: event.model_validate_strings(data, by_name=True, by_alias=False)

    def validate(data: dict[str, Any]) -> E:
        found: E = validator.validate_strings(data, by_name=True, by_alias=False)
        return found

    return validate


class _Addresses:
    """`EmailStr`'s validation, which looks at each domain once."""

    def __init__(self) -> None:
        self._domains: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        found = _SIMPLE.fullmatch(text) if len(text) <= _SHORT else None
        if found is None:
            return str(_ADDRESS(text))
        local, domain = found.groups()
        if local.isalpha() and local != local.lower():
            return str(_ADDRESS(text))  # "Info" is "info": some mailboxes have one name for all
        known = self._domains.get(domain)
        if known is not None:
            return f"{local}@{known}"
        valid = str(_ADDRESS(text))
        if valid.startswith(f"{local}@") and len(self._domains) < _DOMAINS:
            self._domains[domain] = valid[len(local) + 1 :]
        return valid


def _remembering(schema: Any, addresses: _Addresses) -> Any:
    """`schema` with the validation of addresses replaced; itself where it has none."""
    if isinstance(schema, dict):
        function = schema.get("function")
        if isinstance(function, dict) and function.get("function") == _ADDRESS:
            return {**schema, "function": {**function, "function": addresses}}
        changed = {
            name: new
            for name, old in schema.items()
            if name != "metadata" and (new := _remembering(old, addresses)) is not old
        }
        return {**schema, **changed} if changed else schema
    if isinstance(schema, list):
        items = [_remembering(old, addresses) for old in schema]
        return (
            items if any(new is not old for new, old in zip(items, schema, strict=True)) else schema
        )
    return schema
