"""A topology's KMS key on topic and queues: applied, told where it differs, refused if useless."""

from __future__ import annotations

import json
import uuid
from typing import Any

import boto3
import pytest

from messaging.aws import plan
from messaging.aws.clients import Place
from messaging.consuming.consumer import Consumer, handles
from messaging.doctor import examine
from messaging.errors import TopologyError
from messaging.event import Event
from messaging.export import sns_statement
from messaging.local import LocalServer
from messaging.topology import Topology
from tests.aws.account import Account, details, told
from tests.aws.conftest import REGION, Say, Wire


class Aconteceu(Event, type="kms.aconteceu", version=1):
    numero: int


class Um(Consumer):
    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


QUEUES = ("alunos-um", "alunos-um-dlq", "alunos-um-undelivered")


class Keys:
    """KMS on the server."""

    def __init__(self, server: LocalServer, session: boto3.Session) -> None:
        self.kms: Any = session.client("kms", endpoint_url=server.url)
        self.alias = f"alias/t{uuid.uuid4().hex[:8]}/alunos"

    def make(self, *statements: dict[str, Any]) -> str:
        """A key behind `alias`, whose policy has these statements besides the account's."""
        root = {
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
        id = str(self.kms.create_key()["KeyMetadata"]["KeyId"])
        document = {"Version": "2012-10-17", "Statement": [root, *statements]}
        self.kms.put_key_policy(KeyId=id, PolicyName="default", Policy=json.dumps(document))
        self.kms.create_alias(AliasName=self.alias, TargetKeyId=id)
        return id


@pytest.fixture
def keys(ministack: LocalServer, session: boto3.Session) -> Keys:
    return Keys(ministack, session)


@pytest.fixture
def account(ministack: LocalServer, session: boto3.Session, prefix: str) -> Account:
    return Account(ministack, session, prefix)


def encrypted(key: str | None) -> Topology:
    return Topology.of(Um, topic="alunos", owns_topic=True, kms_key=key)


def admitting(account: Account) -> dict[str, Any]:
    topology = encrypted(None).prefixed(account.prefix)
    return sns_statement(topology, Place("aws", REGION, account.id))


def test_topic_and_queues_have_the_key_and_a_second_apply_has_nothing_to_do(
    account: Account, keys: Keys
) -> None:
    keys.make(admitting(account))
    topology = encrypted(keys.alias)

    account.apply(topology)

    topic = account.sns.get_topic_attributes(TopicArn=account.topic)["Attributes"]
    assert topic["KmsMasterKeyId"] == keys.alias
    assert [account.attributes(name)["KmsMasterKeyId"] for name in QUEUES] == [keys.alias] * 3
    again = account.plan(topology)
    assert not again.pending
    assert told(again, "leave")[0] == ("leave", "key", keys.alias)
    assert list(examine(topology, account.settings, session=account.session)) == []


def test_a_topology_that_gets_a_key_later_shows_and_sets_it(account: Account, keys: Keys) -> None:
    account.apply(encrypted(None))
    keys.make(admitting(account))
    topology = encrypted(keys.alias)

    shown = account.plan(topology)
    names = {one.name for one in examine(topology, account.settings, session=account.session)}
    account.apply(topology)

    line = f"KmsMasterKeyId: not set -> {keys.alias}"
    assert details(shown, "change", "alunos") == line
    assert details(shown, "change", "alunos-um-undelivered") == line
    assert names == {"key-differs"}
    assert not account.plan(topology).pending


def test_another_key_on_a_queue_is_set_back(account: Account, keys: Keys) -> None:
    id = keys.make(admitting(account))
    account.apply(encrypted(keys.alias))
    account.set("alunos-um", KmsMasterKeyId="alias/outra")

    shown = account.plan(encrypted(keys.alias))

    assert told(shown, "change") == [("change", "queue", f"{account.prefix}alunos-um")]
    account.apply(encrypted(keys.alias))
    assert account.attributes("alunos-um")["KmsMasterKeyId"] == keys.alias
    # By its id it is another name, and an ARN names the same key as its id.
    arn = f"arn:aws:kms:{REGION}:{account.id}:key/{id}"
    account.apply(encrypted(id))
    assert not account.plan(encrypted(arn)).pending


def test_a_key_that_the_topology_no_longer_names_stays_and_is_told(
    account: Account, keys: Keys
) -> None:
    keys.make(admitting(account))
    account.apply(encrypted(keys.alias))

    shown = account.plan(encrypted(None))

    assert not shown.pending
    assert "stays" in details(shown, "drift", "alunos-um")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda keys, mine: None, "there is no such key"),
        (lambda keys, mine: keys.make(), "does not let sns.amazonaws.com use it"),
        (
            lambda keys, mine: keys.make({**mine, "Action": "kms:GenerateDataKey"}),
            "does not let sns.amazonaws.com use it",
        ),
        (lambda keys, mine: keys.kms.disable_key(KeyId=keys.make(mine)), "its state is Disabled"),
    ],
    ids=["no key", "not for SNS", "only half", "disabled"],
)
def test_a_key_with_which_sns_would_deliver_nothing_is_refused_before_anything_is_made(
    break_it: Any, said: str, account: Account, keys: Keys
) -> None:
    break_it(keys, admitting(account))
    for way in (account.plan, account.apply):
        with pytest.raises(TopologyError, match=said) as raised:
            way(encrypted(keys.alias))
        assert keys.alias in str(raised.value)
    assert account.names() == set()


def test_a_key_that_the_role_may_not_look_at_is_told_and_set(
    account: Account, proxy: Wire, say: type[Say]
) -> None:
    denied = 400, json.dumps({"__type": "AccessDeniedException", "message": "no"})
    proxy.say("DescribeKey", denied)
    settings = account.settings.model_copy(update={"endpoint_url": proxy.url})
    shown = plan(encrypted("alias/alheia"), settings, session=account.session)
    assert told(shown, "other") == [("other", "key", "alias/alheia")]
    assert "kms:DescribeKey" in details(shown, "other", "alheia")
    assert "KmsMasterKeyId: alias/alheia" in details(shown, "create", "alunos-um")


def test_a_local_server_has_no_keys_and_the_topology_comes_without(account: Account) -> None:
    account.apply(encrypted("alias/de-producao"), create_topic=True)
    assert "KmsMasterKeyId" not in account.attributes("alunos-um")
