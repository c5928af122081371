"""Looks up what SQS knows of a queue: its URL, its attributes, and where its dead letters go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from messaging.aws.answers import queue_attributes, queue_url
from messaging.aws.clients import Clients
from messaging.aws.errors import TOPOLOGY_REMEDY, translated
from messaging.errors import NotFound

__all__ = ["attributes_of", "dead_letter_queue", "no_dead_letters", "url_of"]


def url_of(clients: Clients, name: str, account: str | None = None) -> str:
    """The URL of the queue of that name, in the caller's account or in another."""
    owner: Any = {"QueueOwnerAWSAccountId": account} if account else {}
    with translated("find", f"queue {name}", clients.where, quote=True):
        return queue_url(clients.patient_sqs.get_queue_url(QueueName=name, **owner))


def attributes_of(clients: Clients, name: str, url: str, *wanted: Any) -> Mapping[str, str]:
    """Those of the `wanted` attributes that are set; "All" is all of them."""
    with translated("read the attributes of", f"queue {name}", clients.where, quote=True):
        return queue_attributes(
            clients.patient_sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)
        )


def dead_letter_queue(clients: Clients, name: str, policy: str) -> tuple[str, str]:
    """Account and name of the dead-letter queue that the RedrivePolicy of queue `name` names."""
    with translated("read the RedrivePolicy of", f"queue {name}", clients.where):
        account, letters = json.loads(policy)["deadLetterTargetArn"].split(":")[4:6]
    return account, letters


def no_dead_letters(clients: Clients, name: str) -> NotFound:
    """The error where queue `name` has no RedrivePolicy."""
    return NotFound(
        f"queue {name} in {clients.where} has no dead-letter queue (RedrivePolicy); "
        f"{TOPOLOGY_REMEDY}",
        code="NoRedrivePolicy",
    )
