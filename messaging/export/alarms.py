"""CloudWatch alarms and a dashboard for the metrics of SQS and SNS, as CloudFormation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from messaging.emf import check_namespace
from messaging.export.cloudformation import template
from messaging.export.cloudwatch import alarm, metric
from messaging.export.emf import emf_alarms, emf_lines
from messaging.export.places import capitalized, identifiers
from messaging.topology import Queue, Topology

__all__ = ["OLDEST", "alarms"]

OLDEST = 900
"""Seconds that the oldest message may wait before an alarm is raised."""
_MINUTE = 60
_VISIBLE, _AGE = "ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"
_FAILED = "NumberOfNotificationsFailed"
_RECEIVED, _DELETED = "NumberOfMessagesReceived", "NumberOfMessagesDeleted"


def alarms(topology: Topology, *, oldest: int = OLDEST, emf: str = "") -> dict[str, Any]:
    """A CloudFormation template with alarms for each service: its queue is behind, nothing is
    deleted from it, dead letters, undelivered messages. If the topology owns the topic, another
    alarm for failed deliveries by SNS.

    The template's parameter `NotifyTopicArn` is the topic that alarms notify; without it they only
    show in the console. SQS leaves messages that have been received three times out of the age, so
    it is the second alarm, for waiting messages of which none is deleted, that notices a service
    whose messages all fail.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html

    Args:
        topology: the desired topic, queues and subscriptions.
        oldest: seconds; a queue is behind if its oldest message is older for five minutes.
        emf: the namespace of `messaging.emf.CloudWatchMetrics`, for services that are Lambda
            functions and write it. Adds alarms for events that are old when they are settled and
            for a majority of redelivered messages, and all those metrics to the dashboard.

    Example:
        ```python
        from messaging.export import alarms

        template = alarms(topology, oldest=600)
        assert "Resources" in template
        ```
    """
    resources = _alarms(topology, oldest)
    if emf:
        check_namespace(emf)
        resources |= emf_alarms(topology, emf, oldest)
    resources["Dashboard"] = {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {
            "DashboardName": topology.topic.name.replace(".", "-"),
            "DashboardBody": json.dumps({"widgets": list(_widgets(topology, emf))}),
        },
    }
    return template(
        f"Alarms and dashboard of {topology.topic.name}",
        resources,
        Parameters={
            "NotifyTopicArn": {
                "Type": "String",
                "Default": "",
                "Description": "ARN of the SNS topic for notifications; empty for none.",
            }
        },
        Conditions={"HasNotify": {"Fn::Not": [{"Fn::Equals": [{"Ref": "NotifyTopicArn"}, ""]}]}},
    )


def _alarms(topology: Topology, oldest: int) -> dict[str, Any]:
    names = identifiers(topology.services, capitalized)
    resources: dict[str, Any] = {}
    if topology.owns_topic:
        topic = topology.topic.name
        about = f"{topic}: SNS could not deliver"
        resources["TopicFails"] = _alarm(about, _FAILED, topic, of_topic=True)
    for queue in topology.queues:
        id, undelivered = names[queue.service], topology.subscription(queue.service).undelivered
        about = f"{queue.name}: its oldest message has waited for more than {oldest} s"
        resources[f"{id}Behind"] = _alarm(about, _AGE, queue.name, above=oldest, minutes=5)
        resources[f"{id}NothingDeleted"] = _nothing_deleted(queue)
        for part, name, what in (
            ("DeadLetters", queue.dead_letters.name, "could not be handled"),
            ("Undelivered", undelivered.name, "could not be delivered by SNS"),
        ):
            about = f"{name}: messages are in it that {what}"
            resources[f"{id}{part}"] = _alarm(about, _VISIBLE, name)
    return resources


def _alarm(
    about: str, metric: str, name: str, *, above: int = 0, minutes: int = 1, of_topic: bool = False
) -> dict[str, Any]:
    namespace, dimension = ("AWS/SNS", "TopicName") if of_topic else ("AWS/SQS", "QueueName")
    what = {
        "Namespace": namespace,
        "MetricName": metric,
        "Dimensions": [{"Name": dimension, "Value": name}],
        "Statistic": "Sum" if of_topic else "Maximum",
        "Period": _MINUTE,
    }
    return alarm(about, what, periods=minutes, above=above)


def _nothing_deleted(queue: Queue) -> dict[str, Any]:
    stuck = {
        "Id": "stuck",
        "Expression": "IF(FILL(waiting, 0) > 0 AND FILL(deleted, 0) == 0, 1, 0)",
        "Label": "waiting, and none deleted",
    }
    of = ("QueueName", queue.name)
    waiting = metric("waiting", "AWS/SQS", _VISIBLE, of, "Minimum")
    deleted = metric("deleted", "AWS/SQS", _DELETED, of, "Sum")
    return alarm(
        f"{queue.name}: messages wait, and for 15 minutes none is deleted",
        {"Metrics": [stuck, waiting, deleted]},
        periods=3,
        above=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )


def _widgets(topology: Topology, emf: str) -> Iterator[dict[str, Any]]:
    topic = topology.topic.name
    published = [
        ["AWS/SNS", name, "TopicName", topic] for name in ("NumberOfMessagesPublished", _FAILED)
    ]
    yield _widget(0, 0, 24, f"Topic {topic}", "Sum", published)
    for row, queue in enumerate(topology.queues, start=1):
        undelivered = topology.subscription(queue.service).undelivered.name
        lost = [(_VISIBLE, queue.dead_letters.name), (_VISIBLE, undelivered)]
        for column, title, statistic, metrics in (
            (0, "waiting", "Maximum", [(_VISIBLE, queue.name)]),
            (1, "oldest, s", "Maximum", [(_AGE, queue.name)]),
            (2, "received and deleted", "Sum", [(_RECEIVED, queue.name), (_DELETED, queue.name)]),
            (3, "dead letters, undelivered", "Maximum", lost),
        ):
            named = [["AWS/SQS", name, "QueueName", of] for name, of in metrics]
            yield _widget(6 * column, 6 * row, 6, f"{queue.service}: {title}", statistic, named)
    below = 6 * (len(topology.queues) + 1)
    for row, service in enumerate(topology.services if emf else ()):
        for column, (title, lines) in enumerate(emf_lines(emf, service)):
            at = 6 * column, below + 6 * row
            yield _widget(*at, 6, f"{service}, Lambda: {title}", "Sum", lines)


def _widget(
    x: int, y: int, width: int, title: str, statistic: str, metrics: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    return {
        "type": "metric",
        "x": x,
        "y": y,
        "width": width,
        "height": 6,
        "properties": {
            "title": title,
            "region": "${AWS::Region}",
            "view": "timeSeries",
            "stat": statistic,
            "period": _MINUTE,
            "metrics": metrics,
        },
    }
