"""Making the table of marks: interrupted anywhere, by several at once, where another one stands."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import boto3
import pytest

from messaging.aws.dynamodb import DynamoDBStore
from messaging.errors import ConfigurationError, TransportError
from messaging.local import LocalServer
from messaging.settings import Settings
from messaging.stores import Claim
from tests.aws.conftest import REGION, Wire

KEY = [{"AttributeName": "id", "KeyType": "HASH"}]


class Interrupted(BaseException):
    """As Ctrl-C, or the end of a deployment's time."""


class Interrupting:
    """Raises before the request, or after the answer, number `at` of its session."""

    def __init__(self, session: boto3.Session, at: int) -> None:
        self._at = at
        self._numbers = count()
        for moment in ("before-call", "after-call"):
            session.events.register(f"{moment}.dynamodb", self._step)

    def _step(self, **_: Any) -> None:
        if next(self._numbers) == self._at:
            raise Interrupted


def fresh_session() -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION
    )


def time_to_live(server: LocalServer, table: str) -> tuple[str, str]:
    client = fresh_session().client("dynamodb", endpoint_url=server.url)
    said: Any = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    return said["TimeToLiveStatus"], said.get("AttributeName", "")


def test_a_table_whose_making_was_interrupted_forgets_all_the_same(
    server: LocalServer, prefix: str
) -> None:
    def interrupted(at: int) -> bool:
        table = f"{prefix}handled-{at}"
        session = fresh_session()
        Interrupting(session, at)
        try:
            DynamoDBStore(table, settings=server.settings(), session=session).create()
            ended = False
        except Interrupted:
            ended = True
        store = DynamoDBStore(table, settings=server.settings(), session=fresh_session()).create()
        assert time_to_live(server, table) == ("ENABLED", "expires"), f"interrupted at step {at}"
        assert isinstance(store.begin("mail", "e1", lease_seconds=60), Claim)
        store.close()
        return ended

    steps = next(at for at in count() if not interrupted(at))
    assert steps >= 10  # create, wait, describe, read the TTL, set it: before and after each


def test_services_that_make_the_table_at_the_same_time_all_can_use_it(
    server: LocalServer, prefix: str
) -> None:
    together = threading.Barrier(5)

    def made(number: int) -> bool:
        store = DynamoDBStore(
            f"{prefix}handled", settings=server.settings(), session=fresh_session()
        )
        together.wait()
        try:
            claim = store.create().begin("mail", f"e{number}", lease_seconds=60)
            return isinstance(claim, Claim)
        finally:
            store.close()

    with ThreadPoolExecutor(5) as pool:
        assert all(pool.map(made, range(5)))
    assert time_to_live(server, f"{prefix}handled") == ("ENABLED", "expires")


def said(**answer: Any) -> tuple[int, str]:
    return 200, json.dumps(answer)


def refused(code: str) -> tuple[int, str]:
    return 400, json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "x"})


def described(status: str) -> tuple[int, str]:
    return said(Table={"TableStatus": status, "KeySchema": KEY, "TableName": "handled"})


def lives(status: str, **more: str) -> tuple[int, str]:
    return said(TimeToLiveDescription={"TimeToLiveStatus": status, **more})


def store_at(wire: Wire, session: boto3.Session, **more: Any) -> DynamoDBStore:
    settings = Settings(endpoint_url=wire.url, region=REGION)
    return DynamoDBStore("handled", settings=settings, session=session, **more)


def test_a_table_that_another_is_making_is_waited_for(wire: Wire, session: boto3.Session) -> None:
    wire.say("CreateTable", refused("ResourceInUseException"))
    wire.say("DescribeTable", described("CREATING"), described("ACTIVE"))
    wire.say("DescribeTimeToLive", lives("DISABLED"), lives("ENABLING", AttributeName="expires"))
    # And the other was quicker with the TTL, too.
    wire.say("UpdateTimeToLive", refused("ValidationException"))
    store_at(wire, session).create()
    assert len(wire.asked("DescribeTable")) == 3
    assert len(wire.asked("UpdateTimeToLive")) == 1


def test_a_ttl_that_cannot_be_set_is_told(wire: Wire, session: boto3.Session) -> None:
    wire.say("CreateTable", refused("ResourceInUseException"))
    wire.say("DescribeTable", described("ACTIVE"))
    wire.say("DescribeTimeToLive", lives("DISABLED"))
    wire.say("UpdateTimeToLive", refused("ValidationException"))
    with pytest.raises(TransportError, match="set the TTL of table handled"):
        store_at(wire, session).create()


def test_a_table_of_something_else_is_refused(server: LocalServer, prefix: str) -> None:
    client = fresh_session().client("dynamodb", endpoint_url=server.url)
    for name, key in ((f"{prefix}other", "pk"), (f"{prefix}timed", "id")):
        client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    client.update_time_to_live(
        TableName=f"{prefix}timed",
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "gone_at"},
    )
    settings, session = server.settings(), fresh_session()
    with pytest.raises(ConfigurationError, match="another key than `id`"):
        DynamoDBStore(f"{prefix}other", settings=settings, session=session).create()
    with pytest.raises(ConfigurationError, match="TTL on another attribute than `expires`"):
        DynamoDBStore(f"{prefix}timed", settings=settings, session=session).create()
