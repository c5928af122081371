"""Evaluates resource policies: whether SNS may send to a queue or use a key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

__all__ = ["Verdict", "verdict"]

Verdict = Literal["allowed", "not allowed", "other topic", "denied"]

_SNS = "sns.amazonaws.com"


def verdict(policy: str | None, actions: Sequence[str], topic_arn: str) -> Verdict:
    """Whether a policy allows SNS the `actions` ("sqs:SendMessage") on behalf of `topic_arn`.

    A condition on an unknown key counts as met: what cannot be judged is not reported.
    """
    statements = list(_statements(policy))
    found: Verdict = "allowed"
    for action in actions:
        fitting = [one for one in statements if _is_about(one, action)]
        answers = [(one.get("Effect"), _holds(one, topic_arn)) for one in fitting]
        if ("Deny", True) in answers:
            return "denied"
        allowing = [held for effect, held in answers if effect == "Allow"]
        if not any(held is not False for held in allowing):
            found = "other topic" if allowing else "not allowed"
            if found == "not allowed":
                return found
    return found


def _statements(policy: str | None) -> Iterator[Mapping[str, Any]]:
    try:
        document = json.loads(policy) if policy else {}
    except ValueError:
        document = {}
    found = document.get("Statement", ()) if isinstance(document, Mapping) else ()
    for one in [found] if isinstance(found, Mapping) else found:
        if isinstance(one, Mapping):
            yield one


def _is_about(statement: Mapping[str, Any], action: str) -> bool:
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        named = [*_listed(principal.get("Service")), *_listed(principal.get("AWS"))]
    else:
        named = _listed(principal)
    if _SNS not in named and "*" not in named:
        return False
    return any(
        fnmatchcase(action.lower(), str(one).lower()) for one in _listed(statement.get("Action"))
    )


def _holds(statement: Mapping[str, Any], topic_arn: str) -> bool | None:
    """Whether its conditions hold for that topic; None if one cannot be judged."""
    known = {
        "aws:sourcearn": topic_arn,
        "aws:sourceaccount": topic_arn.split(":")[4],
        "aws:securetransport": "true",
    }
    answer: bool | None = True
    for operator, keys in (statement.get("Condition") or {}).items():
        for key, values in keys.items():
            one = _compared(operator, known.get(key.lower()), _listed(values))
            if one is False:
                return False
            answer = None if one is None else answer
    return answer


def _compared(operator: str, value: str | None, wanted: Sequence[Any]) -> bool | None:
    plain = operator.removesuffix("IfExists")
    if value is None:
        return None
    texts = [str(one).lower() if plain == "Bool" else str(one) for one in wanted]
    if plain in ("StringEquals", "Bool"):
        return value in texts
    if plain in ("ArnEquals", "ArnLike", "StringLike"):  # both ARN operators are the same
        return any(fnmatchcase(value, one) for one in texts)
    if plain in ("StringNotEquals", "ArnNotEquals", "ArnNotLike", "StringNotLike"):
        return not any(fnmatchcase(value, one) for one in texts)
    return None


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
