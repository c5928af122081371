"""Idempotency marks in DynamoDB: one item per event, changed by conditional writes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import uuid4

from messaging.aws.clients import STORE_TIMEOUT, Clients
from messaging.aws.errors import translated
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import ConfigurationError, TransportError
from messaging.settings import Settings
from messaging.stores import Claim, Done, InProgress

if TYPE_CHECKING:
    import boto3

__all__ = ["DynamoDBStore"]

KEEP = 30 * 86_400.0
"""Seconds. SQS keeps a message for 14 days, and its dead-letter queue for 14 more.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

_KEY_SCHEMA: Any = ({"AttributeName": "id", "KeyType": "HASH"},)
# The token remains after completion: botocore repeats a request whose response was lost.
_CLAIM: Mapping[str, str] = {
    "UpdateExpression": "SET #token = :token, #until = :until, #expires = :expires",
    "ConditionExpression": (
        "attribute_not_exists(#id) OR "
        "(attribute_not_exists(#done) AND (#until <= :now OR #token = :token))"
    ),
}
_RENEW: Mapping[str, str] = {
    "UpdateExpression": "SET #until = :until, #expires = :expires",
    "ConditionExpression": "#token = :token AND attribute_not_exists(#done)",
}
_COMPLETE: Mapping[str, str] = {
    "UpdateExpression": "SET #done = :now, #expires = :expires REMOVE #until",
    "ConditionExpression": "#token = :token",
}
_RELEASE: Mapping[str, str] = {
    "ConditionExpression": "#token = :token AND attribute_not_exists(#done)"
}


class DynamoDBStore:
    """Idempotency marks in a DynamoDB table, for any number of machines. An `IdempotencyStore`.

        store = DynamoDBStore("handled")

    An event costs two writes of one unit each, and a long handler one more per renewal. The clock
    of the asking machine decides whether a claim has expired, so `lease` must be longer than clocks
    differ. Needs dynamodb:UpdateItem and dynamodb:DeleteItem. No request is made before the first
    use.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ConditionExpressions.html

    Args:
        table: its name. The partition key is `id`, a string; TTL is on `expires`. `create` creates
            it this way.
        settings: region and endpoint; by default the environment's.
        session: a session with its own credentials; by default boto3 finds them.
        keep: seconds for which a completed event is remembered; DynamoDB deletes it within days
            afterwards.
        timeout: seconds to wait for DynamoDB, in each of three attempts.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: if `keep` is not above 0.
        TransportError: by each method, after botocore's own retries.

    Example:
        ```python
        from messaging.aws.dynamodb import DynamoDBStore
        from messaging.idempotency import Idempotency

        store = DynamoDBStore("messaging-handled", settings=local.settings(topic="alunos"))
        once = Idempotency(store)  # Worker(..., middleware=[once])
        ```
    """

    def __init__(
        self,
        table: str,
        *,
        settings: Settings | None = None,
        session: boto3.Session | None = None,
        keep: float = KEEP,
        timeout: float = STORE_TIMEOUT,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if keep <= 0:
            raise ConfigurationError(f"DynamoDBStore(keep={keep!r}): more than 0 seconds")
        self._table = table
        self._clients = Clients(
            settings or Settings.from_environment(), session, read_timeout=timeout
        )
        self._keep = keep
        self._clock = clock

    def __repr__(self) -> str:
        return f"DynamoDBStore({self._table!r})"

    def create(self) -> Self:
        """Create the table, billed per request, and its TTL if they are missing; wait for both.

        Safe to repeat, even after an interruption at any point, and for several callers at once.
        Needs dynamodb:CreateTable, DescribeTable, DescribeTimeToLive and UpdateTimeToLive.

        Raises:
            ConfigurationError: if a table of that name has another key, or TTL on another
                attribute.
        """
        client = self._clients.patient_dynamodb
        with self._translated("create"):
            # The table exists, or another caller is creating it and may have been interrupted.
            with suppress(client.exceptions.ResourceInUseException):
                client.create_table(
                    TableName=self._table,
                    KeySchema=list(_KEY_SCHEMA),
                    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                    BillingMode="PAY_PER_REQUEST",
                )
            client.get_waiter("table_exists").wait(
                TableName=self._table, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
            )
            table: Any = client.describe_table(TableName=self._table)["Table"]
        if table["KeySchema"] != list(_KEY_SCHEMA):
            raise ConfigurationError(
                f"table {self._table} in {self._clients.where} has another key than `id` alone: "
                "give the marks a table of their own"
            )
        self._let_expire()
        return self

    def _let_expire(self) -> None:
        if self._expires():
            return
        try:
            with self._translated("set the TTL of"):
                self._clients.patient_dynamodb.update_time_to_live(
                    TableName=self._table,
                    TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"},
                )
        except TransportError as error:
            # Another caller was quicker, and DynamoDB refuses to enable it again.
            if error.code != "ValidationException" or not self._expires():
                raise

    def _expires(self) -> bool:
        with self._translated("read the TTL of"):
            answer = self._clients.patient_dynamodb.describe_time_to_live(TableName=self._table)
        found: Any = answer.get("TimeToLiveDescription", {})
        if found.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
            return False
        if found.get("AttributeName") != "expires":
            raise ConfigurationError(
                f"table {self._table} in {self._clients.where} has its TTL on another attribute "
                "than `expires`: give the marks a table of their own"
            )
        return True

    def begin(
        self, service: str, event_id: str, *, lease_seconds: float
    ) -> Claim | InProgress | Done:
        """See `IdempotencyStore.begin`."""
        claim = Claim(service=service, event_id=event_id, token=uuid4().hex)
        now = self._clock.now()
        there = self._change(claim, now, _CLAIM, until=now + lease_seconds)
        if there is None:
            return claim
        if "done" in there:
            return Done()
        until = float(there.get("until", {"N": "0"})["N"])
        return InProgress(max(0.0, until - now))

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        """See `IdempotencyStore.renew`."""
        now = self._clock.now()
        return self._change(claim, now, _RENEW, until=now + lease_seconds) is None

    def complete(self, claim: Claim) -> bool:
        """See `IdempotencyStore.complete`."""
        return self._change(claim, self._clock.now(), _COMPLETE) is None

    def release(self, claim: Claim) -> bool:
        """See `IdempotencyStore.release`."""
        client = self._clients.patient_dynamodb
        request = self._request(claim, _RELEASE, {":token": {"S": claim.token}})
        with self._translated("delete from"):
            try:
                client.delete_item(**request)
            except client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def prune(self, older_than: float) -> int:
        """Return 0: DynamoDB forgets by itself, after `keep`.

        Args:
            older_than: ignored.
        """
        return 0

    def close(self) -> None:
        self._clients.close()

    def _change(
        self, claim: Claim, now: float, what: Mapping[str, str], *, until: float | None = None
    ) -> Mapping[str, Any] | None:
        """None if the item was changed; otherwise its current content."""
        client = self._clients.patient_dynamodb
        values = {
            ":token": {"S": claim.token},
            ":now": _number(now),
            ":until": _number(until or now),
            ":expires": {"N": str(math.ceil((until or now) + self._keep))},
        }
        request = self._request(claim, what, values)
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        with self._translated("write to"):
            try:
                client.update_item(**request)
            except client.exceptions.ConditionalCheckFailedException as refused:
                there: Mapping[str, Any] = cast("dict[str, Any]", refused.response).get("Item", {})
                return there
        return None

    def _request(
        self, claim: Claim, what: Mapping[str, str], values: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Any]:
        said = " ".join(what.values())
        return {
            "TableName": self._table,
            # A service's name contains no slash, so two services never share a key.
            "Key": {"id": {"S": f"{claim.service}/{claim.event_id}"}},
            **what,
            # Names and values that no expression uses are an error.
            "ExpressionAttributeNames": {
                f"#{name}": name
                for name in ("id", "token", "until", "done", "expires")
                if f"#{name}" in said
            },
            "ExpressionAttributeValues": {
                name: value for name, value in values.items() if name in said
            },
        }

    def _translated(self, action: str) -> AbstractContextManager[None]:
        return translated(action, f"table {self._table}", self._clients.where)


def _number(seconds: float) -> dict[str, str]:
    return {"N": f"{seconds:.3f}"}
