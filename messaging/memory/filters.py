"""Filter policies: decides as SNS does which subscriptions get a message.

https://docs.aws.amazon.com/sns/latest/dg/attribute-key-matching.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from messaging.errors import TopologyError
from messaging.transport import Attribute

__all__ = ["Policy", "policy"]

Policy = Callable[[Mapping[str, Attribute]], bool]
"""True if a message with these attributes matches."""

_Rule = Callable[[Sequence[Any] | None], bool]
"""Tests one attribute's values; None if the message has no such attribute."""


def policy(document: Mapping[str, Sequence[Any]] | None) -> Policy:
    """`document` as a predicate: every key must match, by any one of its rules.

    Rules are strings (exact), `{"prefix": text}`, `{"anything-but": text, list or prefix}` and
    `{"exists": bool}`. Any member of a String.Array may match. None or an empty document matches
    everything. Raises `TopologyError` for a rule that is not implemented here.
    """
    if not document:
        return lambda attributes: True
    keys = [(key, _any_of(key, rules)) for key, rules in document.items()]

    def wanted(attributes: Mapping[str, Attribute]) -> bool:
        return all(matches(_values(attributes.get(key))) for key, matches in keys)

    return wanted


def _values(attribute: Attribute | None) -> Sequence[Any] | None:
    if attribute is None or isinstance(attribute.value, bytes):
        return None  # SNS ignores binary attributes
    if not attribute.type.startswith("String.Array"):
        return (attribute.value,)
    try:
        members = json.loads(attribute.value)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, list) else None


def _any_of(key: str, rules: Sequence[Any]) -> _Rule:
    exact = frozenset(rule for rule in rules if isinstance(rule, str))
    others = [_rule(key, rule) for rule in rules if not isinstance(rule, str)]

    def matches(values: Sequence[Any] | None) -> bool:
        if values is not None and any(isinstance(v, str) and v in exact for v in values):
            return True
        return any(rule(values) for rule in others)

    return matches


def _rule(key: str, rule: Any) -> _Rule:
    if isinstance(rule, Mapping) and len(rule) == 1:
        operator, operand = next(iter(rule.items()))
        if operator == "prefix" and isinstance(operand, str):
            return lambda values: any(
                isinstance(value, str) and value.startswith(operand) for value in values or ()
            )
        if operator == "exists" and isinstance(operand, bool):
            return lambda values: (values is not None) is operand
        if operator == "anything-but":
            return _anything_but(key, operand)
    raise TopologyError(
        f"filter policy, key {key!r}: the in-process broker plays exact strings, prefix, "
        f"anything-but and exists, not {json.dumps(rule, default=str)}"
    )


def _anything_but(key: str, operand: Any) -> _Rule:
    if isinstance(operand, Mapping):
        inner = _rule(key, operand)
        # One member with another value is enough, as with the other rules.
        return lambda values: values is not None and any(not inner([value]) for value in values)
    refused = [operand] if isinstance(operand, str) else list(operand)
    return lambda values: values is not None and any(value not in refused for value in values)
