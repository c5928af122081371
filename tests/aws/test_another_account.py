"""MESSAGING_TOPIC beside a topology: the same topic, wherever it is, or a refusal."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import boto3
import pytest

from messaging.aws import apply, connect, plan
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import AccessDenied, SettingsError, TopicNotFound, TransportError
from messaging.event import Event
from messaging.local import LocalServer
from messaging.publishing.publisher import Publisher
from messaging.settings import Settings
from messaging.topology import Topic, Topology
from tests.aws.conftest import REGION, Wire

THEIRS, OURS = "111111111111", "222222222222"


class Matricula(Event, type="matricula.feita", version=1):
    aluno: str


class Biblioteca(Consumer):
    @handles
    def abrir(self, matricula: Matricula) -> None: ...


TOPOLOGY = Topology.of(Biblioteca, topic="alunos")
WHOLE = Topology.of(Biblioteca, topic="alunos", owns_topic=True)


def session_of(account: str) -> boto3.Session:
    """ministack takes a key of twelve digits for the account's number."""
    return boto3.Session(
        aws_access_key_id=account, aws_secret_access_key="local", region_name=REGION
    )


def client(server: LocalServer, account: str, service: str) -> Any:
    return session_of(account).client(service, endpoint_url=server.url)


def topics(server: LocalServer, account: str) -> set[str]:
    pages = client(server, account, "sns").get_paginator("list_topics").paginate()
    return {one["TopicArn"] for page in pages for one in page["Topics"]}


def arn(name: str, account: str = THEIRS) -> str:
    return f"arn:aws:sns:{REGION}:{account}:{name}"


def test_an_arn_of_another_account_makes_no_second_topic_and_events_arrive(
    ministack: LocalServer, prefix: str
) -> None:
    there = arn(f"{prefix}alunos")
    assert (
        client(ministack, THEIRS, "sns").create_topic(Name=f"{prefix}alunos")["TopicArn"] == there
    )
    settings = ministack.settings(topic=there, prefix=prefix)
    before = topics(ministack, OURS)

    planned = plan(TOPOLOGY, settings, session=session_of(OURS))
    applied = apply(TOPOLOGY, settings, session=session_of(OURS))
    assert planned == applied
    (topic,) = (one for one in applied.changes if one.kind == "topic")
    assert topic.action == "other"
    assert f"in account {THEIRS}" in topic.details[0]
    assert topics(ministack, OURS) == before
    assert not plan(TOPOLOGY, settings, session=session_of(OURS)).pending

    for account in (THEIRS, OURS):  # who publishes may be in either
        with closing(connect(settings, session=session_of(account))) as broker:
            Publisher(broker.topic(), source="/x").publish(Matricula(aluno=account))
    with closing(connect(settings, session=session_of(OURS))) as broker:
        assert broker.queue("biblioteca").depth().visible == 2


def test_what_others_subscribed_to_their_topic_is_not_reported_nor_touched(
    ministack: LocalServer, prefix: str
) -> None:
    their_sns, their_sqs = (client(ministack, THEIRS, name) for name in ("sns", "sqs"))
    there = their_sns.create_topic(Name=f"{prefix}alunos")["TopicArn"]
    their_sqs.create_queue(QueueName=f"{prefix}theirs")
    endpoint = f"arn:aws:sqs:{REGION}:{THEIRS}:{prefix}theirs"
    their_sns.subscribe(TopicArn=there, Protocol="sqs", Endpoint=endpoint)
    settings = ministack.settings(topic=there, prefix=prefix)
    apply(TOPOLOGY, settings, session=session_of(OURS))
    again = apply(TOPOLOGY, settings, session=session_of(OURS))
    assert [one.action for one in again.changes] == ["other"] + ["leave"] * 4
    left = their_sns.list_subscriptions_by_topic(TopicArn=there)["Subscriptions"]
    assert endpoint in {one["Endpoint"] for one in left}


def test_a_topic_that_the_other_account_has_not_made_is_told(
    ministack: LocalServer, prefix: str
) -> None:
    settings = ministack.settings(topic=arn(f"{prefix}alunos"), prefix=prefix)
    with pytest.raises(TopicNotFound, match=r"its own account creates it first.*another-account"):
        apply(TOPOLOGY, settings, session=session_of(OURS))
    assert arn(f"{prefix}alunos", OURS) not in topics(ministack, OURS)


def test_a_size_that_the_other_account_must_set_is_told(
    ministack: LocalServer, prefix: str
) -> None:
    client(ministack, THEIRS, "sns").create_topic(Name=f"{prefix}alunos")
    big = Topology.of(Biblioteca, topic=Topic(name="alunos", max_bytes=1_048_576))
    settings = ministack.settings(topic=arn(f"{prefix}alunos"), prefix=prefix)
    (topic,) = (
        one for one in plan(big, settings, session=session_of(OURS)).changes if one.kind == "topic"
    )
    assert topic.action == "drift"
    assert topic.details[1] == "MaximumMessageSize: 262144, and 1048576 in the topology"


def test_an_arn_of_ones_own_account_is_as_good_as_the_name(
    ministack: LocalServer, prefix: str
) -> None:
    settings = ministack.settings(topic=arn(f"{prefix}alunos", OURS), prefix=prefix)
    applied = apply(WHOLE, settings, session=session_of(OURS))
    assert applied.changes[0].action == "create"
    assert arn(f"{prefix}alunos", OURS) in topics(ministack, OURS)


@pytest.mark.parametrize("use", [plan, apply])
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"topic": "outro"}, "names topic 'outro', the topology is that of 'alunos'"),
        ({"topic": "alunos.fifo"}, "names topic 'alunos.fifo'"),
        ({"topic": arn("outro")}, "names topic 'outro'"),
        ({"topic": arn("alunos"), "prefix": "dev-"}, "does not begin with prefix"),
        ({"topic": arn("alunos"), "region": "us-east-1"}, "not in region 'us-east-1'"),
        ({"topic": f"arn:aws:sns:{REGION}:alunos"}, "not the ARN of an SNS topic"),
    ],
)
def test_another_topic_than_the_topologys_is_refused_before_any_request(
    wire: Wire, use: Any, fields: dict[str, str], said: str
) -> None:
    settings = Settings(**{"endpoint_url": wire.url, "region": REGION, **fields})
    with pytest.raises(SettingsError, match=said):
        use(TOPOLOGY, settings, session=session_of(OURS))
    assert wire.requests == []


def test_another_partition_is_refused(ministack: LocalServer) -> None:
    settings = ministack.settings(topic=arn("alunos").replace("arn:aws:", "arn:aws-cn:"))
    with pytest.raises(SettingsError, match="in partition 'aws-cn', the credentials in 'aws'"):
        plan(TOPOLOGY, settings, session=session_of(OURS))


@pytest.fixture
def across(proxy: Wire, ministack: LocalServer, prefix: str) -> Settings:
    """A topic of another account, seen through a wire that can be told what to answer."""
    client(ministack, THEIRS, "sns").create_topic(Name=f"{prefix}alunos")
    return Settings(
        endpoint_url=proxy.url, region=REGION, prefix=prefix, topic=arn(f"{prefix}alunos")
    )


def test_a_topic_whose_policy_does_not_let_us_in_names_the_remedy(
    proxy: Wire, across: Settings, say: Any
) -> None:
    proxy.say("GetTopicAttributes", say.sns_error("AuthorizationError", status=403))
    proxy.say("ListSubscriptionsByTopic", say.sns_error("AuthorizationError", status=403))
    with pytest.raises(AccessDenied) as denied:
        apply(TOPOLOGY, across, session=session_of(OURS))
    assert f"must allow account {OURS} sns:Subscribe" in str(denied.value)
    assert "another-account" in str(denied.value)


def test_attributes_that_are_not_ours_to_read_keep_nobody_from_subscribing(
    proxy: Wire, across: Settings, say: Any
) -> None:
    proxy.say("GetTopicAttributes", say.sns_error("AuthorizationError", status=403))
    applied = apply(TOPOLOGY, across, session=session_of(OURS))
    assert applied.changes[0].action == "other"
    assert applied.changes[-1].kind == "subscription"
    assert proxy.asked("CreateTopic") == []


def listed(topic: str, endpoint: str, subscription: str) -> tuple[int, str]:
    return 200, (
        '<ListSubscriptionsByTopicResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
        "<ListSubscriptionsByTopicResult><Subscriptions><member>"
        f"<TopicArn>{topic}</TopicArn><Protocol>sqs</Protocol><Endpoint>{endpoint}</Endpoint>"
        f"<SubscriptionArn>{subscription}</SubscriptionArn><Owner>{THEIRS}</Owner>"
        "</member></Subscriptions></ListSubscriptionsByTopicResult>"
        "</ListSubscriptionsByTopicResponse>"
    )


def test_a_subscription_that_waits_for_its_confirmation_is_made_by_the_queues_own_account(
    proxy: Wire, across: Settings, prefix: str
) -> None:
    queue = f"arn:aws:sqs:{REGION}:{OURS}:{prefix}alunos-biblioteca"
    waiting = listed(across.topic or "", queue, "PendingConfirmation")
    proxy.say("ListSubscriptionsByTopic", waiting)
    planned = plan(TOPOLOGY, across, session=session_of(OURS))
    assert planned.changes[-1].action == "create"
    apply(TOPOLOGY, across, session=session_of(OURS))
    assert [one["Endpoint"] for one in proxy.asked("Subscribe")] == [queue]


def test_a_subscription_that_still_waits_is_an_error(proxy: Wire, across: Settings) -> None:
    waits = (
        '<GetSubscriptionAttributesResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
        "<GetSubscriptionAttributesResult><Attributes><entry><key>PendingConfirmation</key>"
        "<value>true</value></entry></Attributes></GetSubscriptionAttributesResult>"
        "</GetSubscriptionAttributesResponse>"
    )
    proxy.say("GetSubscriptionAttributes", (200, waits))
    with pytest.raises(TransportError, match="waits for confirmation and delivers nothing"):
        apply(TOPOLOGY, across, session=session_of(OURS))
