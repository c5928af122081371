"""The kinds of findings: each has a name, a severity and a remedy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["KINDS", "Diagnosis", "Kind", "Severity", "compared", "found"]

Severity = Literal["error", "warning", "unknown"]
"""error    messages are lost, refused, or do not arrive.
warning  it works, but something is not as it should be.
unknown  it could not be inspected.
"""


class Kind(NamedTuple):
    """One kind of finding.

    Args:
        severity: how bad it is.
        remedy: what to do.

    Example:
        ```python
        from messaging.doctor import KINDS

        for name, kind in KINDS.items():
            print(name, kind.severity, kind.remedy)
        ```
    """

    severity: Severity
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One finding of `doctor`. `where` is a resource and its name: "queue alunos-bi".

    Args:
        name: the kind of finding, a key of `KINDS`.
        severity: how bad it is.
        where: a resource and its name: "queue alunos-bi".
        said: what is wrong.
        remedy: what to do.

    Example:
        ```python
        from messaging.doctor import examine

        found = examine(topology, local.settings(topic="alunos", prefix="diagnosis-"))
        assert all(one.severity and one.where and one.remedy for one in found)
        assert found  # nothing exists yet
        ```
    """

    name: str
    severity: Severity
    where: str
    said: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for `--json`."""
        return asdict(self)


def found(name: str, where: str, said: str, remedy: str = "") -> Diagnosis:
    """A finding of the kind `name`, with that kind's remedy unless `remedy` is given."""
    kind = KINDS[name]
    return Diagnosis(
        name=name, severity=kind.severity, where=where, said=said, remedy=remedy or kind.remedy
    )


def compared(wanted: Collection[str], standing: Collection[str]) -> list[str]:
    """What `standing` lacks, and what it has in addition to `wanted`."""
    lacks, more = sorted(set(wanted) - set(standing)), sorted(set(standing) - set(wanted))
    told = [f"lacks {', '.join(lacks)}"] if lacks else []
    return told + ([f"has {', '.join(more)} besides"] if more else [])


_APPLY = "run `messaging topology apply`"
_EXCHANGE_ANEW = (
    "delete the exchange while nothing is published, and apply again: RabbitMQ cannot change an "
    "existing one"
)
_APPLY_OWNER = "its owner runs `messaging topology apply`"

_ERRORS: Mapping[str, str] = {
    # Availability of AWS.
    "no-answer": "check the network, MESSAGING_ENDPOINT_URL or AWS_ENDPOINT_URL, and the region",
    "credentials-missing": (
        "set AWS_PROFILE, give the task or machine a role, or set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY"
    ),
    "credentials-expired": "renew the credentials: `aws sso login`, or a new role",
    "credentials-refused": "check that key and secret belong together, and that the key is active",
    "clock-skew": "set the clock of this machine (NTP): AWS refuses requests at 300 s",
    # The topic.
    "topic-missing": f"{_APPLY_OWNER}; check region, account and prefix if it should be there",
    "topic-size": f"{_APPLY_OWNER}, or lower MESSAGING_MAX_BYTES or max_bytes",
    "fifo-mismatch": "topic and queue must both be FIFO (name ending in .fifo) or both standard",
    "another-owner": (
        "agree on the owner; `messaging topology apply --take-over` if it is yours now"
    ),
    "key-managed": (
        "encrypt with SSE-SQS (SqsManagedSseEnabled), or with a customer key whose policy admits "
        "sns.amazonaws.com"
    ),
    "key-unusable": "enable the key, cancel its deletion, or name another",
    "key-policy": (
        "let the key's policy allow sns.amazonaws.com kms:GenerateDataKey* and kms:Decrypt: "
        "`messaging export kms --statements`"
    ),
    # Subscriptions.
    "subscription-missing": _APPLY,
    "subscription-pending": (
        f"{_APPLY} with credentials of the queue's account: then no confirmation is needed"
    ),
    "queue-elsewhere": (
        "check MESSAGING_REGION and the credentials; remove the subscription not meant"
    ),
    "raw-delivery-off": _APPLY,
    "filter-missing": _APPLY,
    "filter-scope": _APPLY,
    "filter-differs": f"{_APPLY}; SNS takes up to 15 minutes to heed it",
    "subscription-dlq-missing": _APPLY,
    # Queues.
    "queue-missing": f"{_APPLY}; check region, account and prefix",
    "queue-policy-missing": _APPLY,
    "queue-policy-other-topic": _APPLY,
    "queue-policy-denies": "remove the Deny statement, or except sns.amazonaws.com",
    "redrive-missing": _APPLY,
    "redrive-elsewhere": _APPLY,
    "redrive-not-allowed": _APPLY,
    "max-receives-low": _APPLY,
    "dlq-missing": _APPLY,
    "dlq-retention": _APPLY,
    "dlq-size": _APPLY,
    "undelivered-missing": _APPLY,
    "queue-size": _APPLY,
    # Contents of the queues.
    "backlog-not-received": "start a worker: `messaging run MODULE:SERVICE`",
    # RabbitMQ.
    "broker-refused": (
        "check user, password and virtual host of MESSAGING_BROKER_URL, and permissions"
    ),
    "broker-old": "run RabbitMQ 3.10 or later",
    "alternate-missing": _EXCHANGE_ANEW,
    "exchange-differs": _EXCHANGE_ANEW,
    # Lambda functions.
    "lambda-whole-batches": "give the mapping FunctionResponseTypes: [ReportBatchItemFailures]",
    "lambda-visibility": "raise the queue's visibility timeout, or shorten the function's timeout",
    "lambda-disabled": "enable the event source mapping, or delete it",
}
_WARNINGS: Mapping[str, str] = {
    # The topic.
    "content-dedup": (
        "switch ContentBasedDeduplication off: every message of this library has an id of its own"
    ),
    "key-differs": _APPLY,
    # Subscriptions.
    "subscription-dlq-elsewhere": _APPLY,
    "subscriber-queue-missing": (
        "its owner creates the queue, or removes the service: `messaging topology remove`"
    ),
    # Queues.
    "visibility-short": _APPLY,
    "retention-short": _APPLY,
    "long-poll-off": _APPLY,
    "delivery-delayed": "set the queue's DelaySeconds to 0",
    "unencrypted": _APPLY,
    "differs": "see `messaging topology plan`, then `messaging topology apply`",
    "contract-tag": f"{_APPLY} from the version that is deployed, or deploy the version applied",
    # Contents of the queues.
    "nobody-receives": "start a worker: `messaging run MODULE:SERVICE`",
    "backlog-old": "start more workers, or see which handler is slow",
    "dead-letters": "look at them: `messaging dlq list SERVICE`",
    "undelivered-messages": "mend the queue's policy or key, then send them again from that queue",
    # RabbitMQ.
    "broker-new": "compare receive counts in a test before you rely on them",
    "unrouted-messages": (
        "deploy the services that handle them with `messaging topology apply`, or stop publishing "
        "them; then empty the queue"
    ),
    "queue-differs": (
        "RabbitMQ changes no standing queue: let the workers empty it, `messaging topology remove "
        "SERVICE`, then apply"
    ),
    "record-missing": _APPLY,
}
_UNKNOWN: Mapping[str, str] = {
    # Availability of AWS.
    "access-denied": "give the role the permission, or ask who has it",
    "not-answered": "try again; if it persists, check what the service answers",
}
_SEVERITIES: Mapping[Severity, Mapping[str, str]] = {
    "error": _ERRORS,
    "warning": _WARNINGS,
    "unknown": _UNKNOWN,
}
KINDS: Mapping[str, Kind] = {
    name: Kind(severity, remedy)
    for severity, remedies in _SEVERITIES.items()
    for name, remedy in remedies.items()
}
