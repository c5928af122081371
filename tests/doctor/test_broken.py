"""Doctor names what is broken: one thing each, on a real server, and nothing else with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from messaging.doctor import KINDS
from messaging.local import LocalServer
from tests.doctor.conftest import ACCOUNT, IN_ORDER, School

Break = Callable[[School], Any]


def policy(school: School, queue: str, **changes: Any) -> None:
    standing = school.get(queue, "Policy")
    for one in standing["Statement"]:
        if one["Sid"] == "MessagingTopicMaySend":
            one.update(changes)
    school.set(queue, Policy=json.dumps(standing))


def no_policy(school: School) -> None:
    standing = school.get(school.queue, "Policy")
    kept = [one for one in standing["Statement"] if one["Sid"] != "MessagingTopicMaySend"]
    school.set(school.queue, Policy=json.dumps({**standing, "Statement": kept}))


def denied(school: School) -> None:
    standing = school.get(school.queue, "Policy")
    shut = {
        "Sid": "Shut",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:Send*",
        "Resource": "*",
    }
    school.set(
        school.queue, Policy=json.dumps({**standing, "Statement": [*standing["Statement"], shut]})
    )


def other_topic(school: School) -> None:
    arn = school.topic_arn.replace("alunos", "outros")
    policy(school, school.queue, Condition={"ArnEquals": {"aws:SourceArn": arn}})


def redrive(school: School, **changes: Any) -> None:
    standing = school.get(school.queue, "RedrivePolicy")
    school.set(school.queue, RedrivePolicy=json.dumps({**standing, **changes}))


def redrive_elsewhere(school: School) -> None:
    school.sqs.create_queue(QueueName=f"{school.prefix}quarto")
    redrive(school, deadLetterTargetArn=school.arn_of(f"{school.prefix}quarto"))


def closed_dead_letters(school: School) -> None:
    school.set(school.dead_letters, RedriveAllowPolicy=json.dumps({"redrivePermission": "denyAll"}))


def delete(school: School, queue: str) -> None:
    school.sqs.delete_queue(QueueUrl=school.url_of(queue))


def fewer_types(school: School) -> None:
    wanted = {"type": ["teste.mudou"], "audience": ["*", "um"]}
    school.subscribe_so("FilterPolicy", json.dumps(wanted))


def undelivered_elsewhere(school: School) -> None:
    target = {"deadLetterTargetArn": school.arn_of(school.dead_letters)}
    school.subscribe_so("RedrivePolicy", json.dumps(target))


def somebody_elses(school: School) -> None:
    tags = {"messaging:owner": "tesouraria"}
    school.sqs.tag_queue(QueueUrl=school.url_of(school.queue), Tags=tags)


def another_contract(school: School) -> None:
    tags = {"messaging:contract": "teste.aconteceu/2"}
    school.sqs.tag_queue(QueueUrl=school.url_of(school.queue), Tags=tags)


def key(school: School, statement: dict[str, Any] | None = None) -> str:
    kms = school.client("kms")
    made = str(kms.create_key()["KeyMetadata"]["Arn"])
    root = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    document = {"Version": "2012-10-17", "Statement": [root, *([statement] if statement else [])]}
    kms.put_key_policy(KeyId=made, PolicyName="default", Policy=json.dumps(document))
    school.set(school.queue, KmsMasterKeyId=made)
    return made


ADMITS_SNS = {
    "Effect": "Allow",
    "Principal": {"Service": "sns.amazonaws.com"},
    "Action": ["kms:GenerateDataKey*", "kms:Decrypt"],
    "Resource": "*",
}


def disabled_key(school: School) -> None:
    school.client("kms").disable_key(KeyId=key(school, ADMITS_SNS))


def elsewhere(school: School) -> None:
    school.sns.unsubscribe(SubscriptionArn=school.subscription)
    school.sns.subscribe(
        TopicArn=school.topic_arn, Protocol="sqs", Endpoint=school.arn_of(school.queue, "us-east-1")
    )


def of_another_kind(school: School) -> None:
    school.sns.subscribe(
        TopicArn=school.topic_arn, Protocol="sqs", Endpoint=school.arn_of(f"{school.queue}.fifo")
    )


def nobodys_queue(school: School) -> None:
    endpoint = school.arn_of(f"{school.prefix}alunos-gone")
    school.sns.subscribe(TopicArn=school.topic_arn, Protocol="sqs", Endpoint=endpoint)


def waiting(school: School, *, received: bool) -> None:
    for _ in range(3):
        school.send(school.queue)
    if received:
        school.sqs.receive_message(QueueUrl=school.url_of(school.queue), MaxNumberOfMessages=1)
    school.client("cloudwatch").put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": school.queue}],
                "Timestamp": datetime.now(UTC),
                "Value": 4000,
            }
        ],
    )


def topic(school: School, name: str, value: str) -> None:
    school.sns.set_topic_attributes(
        TopicArn=school.topic_arn, AttributeName=name, AttributeValue=value
    )


REPORTS = ["ReportBatchItemFailures"]


def disabled_mapping(school: School) -> None:
    school.map_to_lambda(timeout=3, FunctionResponseTypes=REPORTS, Enabled=False)


BROKEN: dict[str, tuple[Break, set[str]]] = {
    "the topic was deleted": (
        lambda s: s.sns.delete_topic(TopicArn=s.topic_arn), {"topic-missing"}
    ),
    "the queue was deleted": (lambda s: delete(s, s.queue), {"queue-missing"}),
    "the dead-letter queue was deleted": (lambda s: delete(s, s.dead_letters), {"dlq-missing"}),
    "the queue for what SNS cannot deliver was deleted": (
        lambda s: delete(s, s.undelivered), {"undelivered-missing"}
    ),
    "the subscription was deleted": (
        lambda s: s.sns.unsubscribe(SubscriptionArn=s.subscription), {"subscription-missing"}
    ),
    "a queue of the same name in another region is subscribed": (
        elsewhere, {"queue-elsewhere", "subscription-missing"}
    ),
    "a FIFO queue of the service is subscribed to the standard topic": (
        of_another_kind, {"fifo-mismatch", "subscriber-queue-missing"}
    ),
    "a subscriber's queue is gone": (nobodys_queue, {"subscriber-queue-missing"}),
    "raw delivery is off": (
        lambda s: s.subscribe_so("RawMessageDelivery", "false"), {"raw-delivery-off"}
    ),
    "the filter policy is missing": (
        lambda s: s.subscribe_again("FilterPolicy"), {"filter-missing"}
    ),
    "the filter policy looks at the body": (
        lambda s: s.subscribe_so("FilterPolicyScope", "MessageBody"), {"filter-scope"}
    ),
    "the filter policy has another type": (fewer_types, {"filter-differs"}),
    "the subscription has no dead-letter queue": (
        lambda s: s.subscribe_again("RedrivePolicy"), {"subscription-dlq-missing"}
    ),
    "the subscription's dead letters go elsewhere": (
        undelivered_elsewhere, {"subscription-dlq-elsewhere"}
    ),
    "the queue policy does not let the topic send": (no_policy, {"queue-policy-missing"}),
    "the queue policy is for another topic": (other_topic, {"queue-policy-other-topic"}),
    "a Deny shuts the topic out": (denied, {"queue-policy-denies"}),
    "the redrive policy is missing": (
        lambda s: s.set(s.queue, RedrivePolicy=""), {"redrive-missing"}
    ),
    "the redrive policy points elsewhere": (redrive_elsewhere, {"redrive-elsewhere"}),
    "the dead-letter queue takes nothing": (closed_dead_letters, {"redrive-not-allowed"}),
    "maxReceiveCount is below the retry policy": (
        lambda s: redrive(s, maxReceiveCount=2), {"max-receives-low"}
    ),
    "maxReceiveCount is above the topology's": (
        lambda s: redrive(s, maxReceiveCount=9), {"differs"}
    ),
    "the dead letters are kept for less long than the queue's messages": (
        lambda s: s.set(s.dead_letters, MessageRetentionPeriod="3600"), {"dlq-retention"}
    ),
    "the dead-letter queue takes smaller messages": (
        lambda s: s.set(s.dead_letters, MaximumMessageSize="262144"), {"dlq-size"}
    ),
    "the queue takes smaller messages than the topic": (
        lambda s: s.set(s.queue, MaximumMessageSize="1024"), {"queue-size"}
    ),
    "the visibility timeout is too short": (
        lambda s: s.set(s.queue, VisibilityTimeout="5"), {"visibility-short"}
    ),
    "the retention is too short": (
        lambda s: s.set(s.queue, MessageRetentionPeriod="60"), {"retention-short"}
    ),
    "polls are short": (
        lambda s: s.set(s.queue, ReceiveMessageWaitTimeSeconds="0"), {"long-poll-off"}
    ),
    "each message is delayed": (lambda s: s.set(s.queue, DelaySeconds="30"), {"delivery-delayed"}),
    "the queue is not encrypted": (
        lambda s: s.set(s.queue, SqsManagedSseEnabled="false"), {"unencrypted"}
    ),
    "the queue has AWS's own key": (
        lambda s: s.set(s.queue, KmsMasterKeyId="alias/aws/sqs"), {"key-managed"}
    ),
    "the queue's key does not admit SNS": (key, {"key-policy"}),
    "the queue's key is disabled": (disabled_key, {"key-unusable"}),
    "the queue's key is gone": (
        lambda s: s.set(s.queue, KmsMasterKeyId="11111111-2222-3333-4444-555555555555"),
        {"key-unusable"},
    ),
    "the queue is another team's": (somebody_elses, {"another-owner"}),
    "the queue was applied for another version of the contract": (
        another_contract, {"contract-tag"}
    ),
    "nobody receives": (lambda s: waiting(s, received=False), {"backlog-not-received"}),
    "no worker runs, and CloudWatch has no figure yet": (
        lambda s: s.send(s.queue), {"nobody-receives"}
    ),
    "the service falls behind": (lambda s: waiting(s, received=True), {"backlog-old"}),
    "dead letters wait": (lambda s: s.send(s.dead_letters), {"dead-letters"}),
    "undelivered messages wait": (lambda s: s.send(s.undelivered), {"undelivered-messages"}),
    "Lambda deletes whole batches": (
        lambda s: s.map_to_lambda(timeout=3), {"lambda-whole-batches"}
    ),
    "Lambda's function runs longer than the visibility timeout allows": (
        lambda s: s.map_to_lambda(timeout=30, FunctionResponseTypes=REPORTS), {"lambda-visibility"}
    ),
    "Lambda's batch window is too long for the visibility timeout": (
        lambda s: s.map_to_lambda(
            timeout=7, FunctionResponseTypes=REPORTS, MaximumBatchingWindowInSeconds=10
        ),
        {"lambda-visibility"},
    ),
    "Lambda's mapping is disabled": (disabled_mapping, {"lambda-disabled"}),
    "the topic takes smaller messages than may be published": (
        lambda s: topic(s, "MaximumMessageSize", "1024"), {"topic-size"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_it_names(what: str, school: School) -> None:
    break_it, names = BROKEN[what]
    assert school.examined() == []

    break_it(school)

    found = school.examined()
    assert {one.name for one in found} == names, found
    assert all(one.remedy and one.said and one.where for one in found)


def test_a_key_that_admits_sns_and_a_lambda_that_reports_are_sound(school: School) -> None:
    key(school, ADMITS_SNS)
    school.map_to_lambda(timeout=7, FunctionResponseTypes=REPORTS)
    assert school.examined() == []


def test_a_key_that_the_topology_names_and_the_queue_lacks_is_told(school: School) -> None:
    named = key(school, ADMITS_SNS)
    wanted = replace(school.topology, kms_key=named)
    found = school.examined(topology=wanted)
    assert {(one.name, one.where) for one in found} == {
        ("key-differs", f"topic {school.topic}"),
        ("key-differs", f"queue {school.dead_letters}"),
        ("key-differs", f"queue {school.undelivered}"),
    }
    assert all(named in one.said for one in found)


def test_a_sound_fifo_topology_is_silent_and_content_dedup_is_told(server: LocalServer) -> None:
    school = School(server, IN_ORDER)
    assert school.examined() == []
    topic(school, "ContentBasedDeduplication", "true")
    school.set(school.queue, ContentBasedDeduplication="true")
    found = school.examined()
    assert [one.name for one in found] == ["content-dedup", "content-dedup"]
    assert [one.where for one in found] == [f"topic {school.topic}", f"queue {school.queue}"]


def test_a_topology_of_the_other_kind_is_told_so(school: School) -> None:
    names = {one.name for one in school.examined(topology=IN_ORDER)}
    assert "fifo-mismatch" in names
    assert "topic-missing" not in names


def test_findings_say_which_types_the_filter_lacks(school: School) -> None:
    fewer_types(school)
    (found,) = school.examined()
    assert found.said == (
        "its filter policy: type lacks teste.aconteceu; type has teste.mudou besides"
    )
    assert found.where == f"subscription of {school.queue}"


def test_every_kind_is_found_by_some_test() -> None:
    from tests.doctor.test_unreached import REACH

    alone = {"content-dedup", "key-differs"}
    tried = set().union(*(names for _, names in BROKEN.values()), REACH, alone)
    on_rabbitmq = Path(__file__).with_name("test_rabbitmq.py").read_text(encoding="utf-8")
    tried |= {kind for kind in KINDS if f'"{kind}"' in on_rabbitmq}
    assert set(KINDS) - tried == set()


def test_messages_that_a_worker_has_in_hand_are_nothing_to_tell(school: School) -> None:
    for _ in range(2):
        school.send(school.queue)
    school.sqs.receive_message(QueueUrl=school.url_of(school.queue), MaxNumberOfMessages=1)
    assert school.examined() == []
