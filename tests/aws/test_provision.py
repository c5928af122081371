"""Plan and apply: what stands becomes what the topology says, and nothing else is touched."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from messaging.aws import Plan, connect
from messaging.aws.clients import Clients
from messaging.aws.desired import DesiredQueue
from messaging.aws.ownership import CONTRACT, OWNER, SERVICE, TOPIC, Ownership
from messaging.aws.policies import MAY_SEND, ONLY_TLS
from messaging.aws.queues import Queues, Standing
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import NotFound
from messaging.event import Event
from messaging.topology import Topic, Topology
from messaging.transport import Attribute, Outgoing
from tests.aws.account import Account as AnyAccount
from tests.aws.account import details, told


class Aconteceu(Event, type="teste.aconteceu", version=1):
    numero: int


class Mudou(Event, type="teste.mudou", version=1):
    numero: int


class Um(Consumer):
    visibility_timeout = 45
    max_receives = 7

    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


class Dois(Consumer):
    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


class DoisMaior(Consumer):
    service = "dois"

    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...

    @handles
    def mudar(self, evento: Mudou) -> None: ...


BOTH = Topology.of(Um, Dois, topic="alunos", owns_topic=True)
SERVICE_SIX = ("um-dlq", "um-undelivered", "um", "dois-dlq", "dois-undelivered", "dois")


class Account(AnyAccount):
    """Which is asked about both services, unless told otherwise."""

    def plan(self, topology: Topology = BOTH, **more: Any) -> Plan:
        return super().plan(topology, **more)

    def apply(self, topology: Topology = BOTH, **more: Any) -> Plan:
        return super().apply(topology, **more)


@pytest.fixture
def account(server, session, prefix) -> Account:
    return Account(server, session, prefix)


@pytest.fixture
def exact(ministack, session, prefix) -> Account:
    """On ministack only: moto forgets RedriveAllowPolicy, and a queue's policy with it."""
    return Account(ministack, session, prefix)


def test_a_plan_of_nothing_creates_everything_and_changes_nothing(account):
    first = account.plan()
    kinds = [one.kind for one in first.changes]
    assert {one.action for one in first.changes} == {"create"}
    assert kinds == ["topic"] + ["queue"] * 6 + ["subscription"] * 2
    assert first.pending
    assert first.topic == f"{account.prefix}alunos"
    assert account.plan() == first
    assert account.names() == set()


def test_what_apply_did_is_what_plan_said(account):
    expected = account.plan()
    assert account.apply() == expected
    assert account.names() == {f"alunos-{name}" for name in SERVICE_SIX}


def test_every_queue_is_as_the_topology_says(exact):
    exact.apply()
    queue = exact.attributes("alunos-um")
    assert queue["VisibilityTimeout"] == "45"
    assert queue["MessageRetentionPeriod"] == str(4 * 86_400)
    assert queue["ReceiveMessageWaitTimeSeconds"] == "20"
    assert json.loads(queue["RedrivePolicy"]) == {
        "deadLetterTargetArn": exact.arn("alunos-um-dlq"),
        "maxReceiveCount": 7,
    }
    letters = exact.attributes("alunos-um-dlq")
    assert json.loads(letters["RedriveAllowPolicy"]) == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [exact.arn("alunos-um")],
    }
    for name in ("alunos-um-dlq", "alunos-um-undelivered"):
        assert exact.attributes(name)["MessageRetentionPeriod"] == str(14 * 86_400)
    for name in exact.names():
        assert exact.attributes(name)["SqsManagedSseEnabled"] == "true"
        assert exact.attributes(name)["MaximumMessageSize"] == "1048576"
        tags = exact.sqs.list_queue_tags(QueueUrl=exact.url(name))["Tags"]
        assert tags == {
            TOPIC: f"{exact.prefix}alunos",
            OWNER: f"{exact.prefix}alunos",
            SERVICE: name.split("-")[1],
        } | ({CONTRACT: "teste.aconteceu/1"} if name in ("alunos-um", "alunos-dois") else {})


def test_the_topic_may_send_where_it_must_and_only_there(account):
    account.apply()
    for name in account.names():
        policy = json.loads(account.attributes(name)["Policy"])
        found = {one["Sid"]: one for one in policy["Statement"]}
        assert found[ONLY_TLS]["Effect"] == "Deny"
        if name.endswith("-dlq"):
            assert MAY_SEND not in found
            continue
        assert found[MAY_SEND]["Condition"] == {"ArnEquals": {"aws:SourceArn": account.topic}}
        assert found[MAY_SEND]["Resource"] == account.arn(name)


def test_a_subscription_is_raw_filtered_and_has_its_own_dead_letters(account):
    account.apply()
    found = account.subscription("alunos-um")
    assert found["RawMessageDelivery"] == "true"
    assert found["FilterPolicyScope"] == "MessageAttributes"
    assert json.loads(found["FilterPolicy"]) == {
        "type": ["teste.aconteceu"],
        "audience": ["*", "um"],
    }
    assert json.loads(found["RedrivePolicy"]) == {
        "deadLetterTargetArn": account.arn("alunos-um-undelivered")
    }


def test_applied_twice_nothing_is_left_to_do(exact):
    exact.apply()
    before = exact.subscriptions()
    again = exact.apply()
    assert not again.pending
    assert {one.action for one in again.changes} == {"leave"}
    assert exact.subscriptions() == before


def test_eight_at_once_end_as_one_would(exact):
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(exact.apply) for _ in range(8)]
    for one in done:
        one.result()
    assert not exact.plan().pending
    assert len(exact.subscriptions()) == 2
    assert exact.names() == {f"alunos-{name}" for name in SERVICE_SIX}


def test_two_versions_at_once_end_as_one_of_them(exact):
    newer = Topology.of(Um, DoisMaior, topic="alunos", owns_topic=True)
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(exact.apply, one) for one in (BOTH, newer) * 2]
    for one in done:
        one.result()
    assert len(exact.subscriptions()) == 2
    exact.apply(newer)
    assert not exact.plan(newer).pending


def test_a_filter_policy_is_changed_in_place(exact):
    exact.apply()
    before = exact.subscriptions()
    newer = Topology.of(Um, DoisMaior, topic="alunos", owns_topic=True)
    assert told(exact.plan(newer), "change", "create") == [
        ("change", "queue", f"{exact.prefix}alunos-dois"),
        ("change", "subscription", f"{exact.prefix}alunos-dois"),
    ]
    assert f"tag {CONTRACT}: teste.aconteceu/1 -> teste.aconteceu/1 teste.mudou/1" in details(
        exact.plan(newer), "change", "alunos-dois"
    )
    assert "teste.mudou" in details(exact.plan(newer), "change", "alunos-dois")
    exact.apply(newer)
    types = json.loads(exact.subscription("alunos-dois")["FilterPolicy"])["type"]
    assert types == ["teste.aconteceu", "teste.mudou"]
    exact.apply(BOTH)  # and back: the handler is gone, so is its type
    types = json.loads(exact.subscription("alunos-dois")["FilterPolicy"])["type"]
    assert types == ["teste.aconteceu"]
    assert exact.subscriptions() == before


def test_what_somebody_altered_is_told_and_set_again(exact):
    exact.apply()
    exact.set("alunos-um", VisibilityTimeout="5")
    exact.sns.set_subscription_attributes(
        SubscriptionArn=exact.subscriptions()[f"{exact.prefix}alunos-um"],
        AttributeName="RawMessageDelivery",
        AttributeValue="false",
    )
    seen = exact.plan()
    assert "VisibilityTimeout: 5 -> 45" in details(seen, "change", "alunos-um")
    assert "RawMessageDelivery: false -> true" in details(seen, "change", "alunos-um")
    assert len(told(seen, "change")) == 2
    exact.apply()
    assert exact.attributes("alunos-um")["VisibilityTimeout"] == "45"
    assert not exact.plan().pending


def test_what_an_apply_left_half_done_is_finished(exact):
    exact.sns.create_topic(Name=f"{exact.prefix}alunos")
    exact.sqs.create_queue(QueueName=f"{exact.prefix}alunos-um")
    seen = exact.plan()
    assert ("change", "topic", f"{exact.prefix}alunos") in told(seen, "change")
    assert f"tag {SERVICE}: not set -> um" in details(seen, "change", "alunos-um")
    exact.apply()
    assert not exact.plan().pending


def test_statements_of_others_stay_and_are_drift(exact):
    exact.apply()
    foreign = {
        "Sid": "Backoffice",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::999999999999:root"},
        "Action": "sqs:SendMessage",
        "Resource": exact.arn("alunos-um"),
    }
    exact.set("alunos-um", Policy=json.dumps({"Version": "2012-10-17", "Statement": [foreign]}))
    seen = exact.plan()
    assert f"Policy: statement {MAY_SEND}, {ONLY_TLS}" in details(seen, "change", "alunos-um")
    assert "Backoffice" in details(seen, "drift", "alunos-um")
    exact.apply()
    assert json.loads(exact.attributes("alunos-um")["Policy"])["Statement"][0] == foreign
    after = exact.plan()
    assert not after.pending
    assert told(after, "drift") == [("drift", "queue", f"{exact.prefix}alunos-um")]


def test_a_key_of_yours_stays(exact):
    exact.apply()
    exact.set("alunos-um", KmsMasterKeyId="alias/escola", SqsManagedSseEnabled="false")
    seen = exact.plan()
    assert not seen.pending
    assert "its policy must admit sns.amazonaws.com" in details(seen, "drift", "alunos-um")
    exact.apply()
    assert exact.attributes("alunos-um")["KmsMasterKeyId"] == "alias/escola"
    assert exact.attributes("alunos-um")["SqsManagedSseEnabled"] == "false"


def test_subscriptions_of_others_stay_and_their_addresses_are_not_told(exact):
    exact.apply()
    other = exact.sqs.create_queue(QueueName=f"{exact.prefix}auditoria")["QueueUrl"]
    exact.sns.subscribe(TopicArn=exact.topic, Protocol="sqs", Endpoint=exact.arn("auditoria"))
    exact.sns.subscribe(TopicArn=exact.topic, Protocol="email", Endpoint="maria@escola.br")
    seen = exact.apply()
    assert told(seen, "drift", "delete", "other") == [
        ("other", "subscription", "of protocol email"),
        ("other", "subscription", f"{exact.prefix}auditoria"),
    ]
    assert details(seen, "other", "auditoria") == "not managed here; owner: no tag says"
    assert "maria" not in json.dumps(seen.to_dict())
    assert len(exact.subscriptions()) == 4
    assert other


def test_a_raised_size_limit_is_set_and_lowered_again(exact):
    large = Topology.of(Um, Dois, topic=Topic(name="alunos", max_bytes=1_048_576), owns_topic=True)
    exact.apply(large)
    assert not exact.plan(large).pending
    assert "MaximumMessageSize: 1048576 -> 262144" in details(exact.plan(), "change", "alunos")
    exact.apply()
    assert not exact.plan().pending


def test_what_was_applied_carries_messages(account):
    account.apply()
    broker = connect(account.settings, session=account.session)

    def send(*audience: str) -> None:
        attributes = {
            "type": Attribute.array(["teste.aconteceu"]),
            "audience": Attribute.array(audience),
        }
        body = ",".join(audience)
        assert not broker.topic().publish(
            [Outgoing(id="e", body=body, attributes=attributes, size=60)]
        )

    send("um")
    send("*")
    got = [
        sorted(one.body for _ in range(2) for one in broker.queue(service).receive(10, 1))
        for service in ("um", "dois")
    ]
    broker.close()
    assert got == [["*", "um"], ["*"]]


def test_the_plan_as_plain_data(exact):
    exact.apply()
    data = exact.plan().to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["pending"] is False
    assert data["topic"] == f"{exact.prefix}alunos"
    assert data["changes"][0] == {
        "action": "leave",
        "kind": "topic",
        "name": f"{exact.prefix}alunos",
        "details": [],
    }


def test_a_new_queue_is_waited_for(wire, say, settings_of, session):
    class NoWaiting:
        slept: list[float] = []  # noqa: RUF012 - one test's own

        def now(self) -> float:
            return 0.0

        def monotonic(self) -> float:
            return 0.0

        def sleep(self, seconds: float) -> None:
            self.slept.append(seconds)

    missing = say.sqs_error("QueueDoesNotExist")
    wire.say("CreateQueue", say.json(QueueUrl="http://sqs/0/alunos-um"))
    wire.say("ListQueueTags", missing, say.json(Tags={}))
    wire.say("TagQueue", missing, missing, say.json())
    wire.say("GetQueueAttributes", say.json(Attributes={}))
    wire.say("SetQueueAttributes", say.json())
    clients = Clients(settings_of(wire), session)
    wanted = DesiredQueue(
        name="alunos-um",
        attributes={"VisibilityTimeout": "1"},
        statements=(),
        claim=Ownership(topic="alunos", owner="um", service="um"),
    )

    missing_yet = Standing(None, {})
    (change,) = Queues(clients, NoWaiting()).settle(wanted, missing_yet, write=True)
    assert change.action == "create"
    # Bare: SQS refuses to create a queue that another has created with other attributes.
    assert [one["Attributes"] for one in wire.asked("CreateQueue")] == [{}]
    assert len(wire.asked("TagQueue")) == 3
    assert len(wire.asked("SetQueueAttributes")) == 1

    wire.say("TagQueue", missing)
    with pytest.raises(NotFound, match="alunos-um"):
        list(Queues(clients, NoWaiting()).settle(wanted, missing_yet, write=True))
    clients.close()


@pytest.fixture
def behind(proxy, session, prefix, ministack) -> Account:
    """An account on ministack, with the wire before it."""
    account = Account(ministack, session, prefix)
    account.settings = account.settings.model_copy(update={"endpoint_url": proxy.url})
    return account


def test_a_subscription_that_somebody_made_meanwhile_is_set_in_place(behind, proxy, say):
    behind.apply()
    arn = behind.subscriptions()[f"{behind.prefix}alunos-um"]
    behind.sns.set_subscription_attributes(
        SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="false"
    )
    # Not there at the look; there, with other attributes, when it is to be made.
    namespace = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"'
    result = "<ListSubscriptionsByTopicResult><Subscriptions/></ListSubscriptionsByTopicResult>"
    proxy.say("ListSubscriptionsByTopic", (200, f"<R {namespace}>{result}</R>"))
    conflict = "Subscription already exists with different attributes"
    proxy.answers["Subscribe"] = [say.sns_error("InvalidParameter", conflict)]
    original = proxy._answer

    def second_look(handler: Any, body: bytes) -> Any:
        if b"Action=Subscribe" in body:
            proxy.answers.pop("ListSubscriptionsByTopic", None)
        return original(handler, body)

    proxy._answer = second_look
    behind.apply()
    assert behind.subscription("alunos-um")["RawMessageDelivery"] == "true"


def test_a_plan_makes_no_request_that_writes(behind, proxy):
    behind.apply(Topology.of(Um, topic="alunos", owns_topic=True))
    proxy.requests.clear()
    assert behind.plan().pending
    behind.plan(Topology.of(Dois, topic="alunos"))
    asked = {action for action, _ in proxy.requests}
    assert all(action.startswith(("Get", "List")) for action in asked), asked
    assert not asked & {"ListTopics", "ListQueues"}
