"""Asks CloudWatch for the age of a queue's oldest message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from messaging.aws.clients import Clients
from messaging.aws.errors import translated

__all__ = ["oldest_message"]

LOOK_BACK = timedelta(minutes=10)
"""SQS reports every minute, and CloudWatch shows it some minutes later; it reports nothing for a
queue that has not been used for six hours.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""


def oldest_message(clients: Clients, queue: str) -> float | None:
    """Seconds, or None if CloudWatch has no figure (a local server, or an unused queue).

    A message that has been received three times or more no longer counts: look for poison messages
    among the dead letters. Needs cloudwatch:GetMetricStatistics; raises `TransportError`
    (`AccessDenied` without it).
    """
    now = datetime.now(UTC)
    with translated("ask CloudWatch for the age of", f"queue {queue}", clients.where):
        answer = clients.patient_cloudwatch.get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": queue}],
            StartTime=now - LOOK_BACK,
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )
    points = sorted(answer["Datapoints"], key=lambda point: point.get("Timestamp", now))
    return float(points[-1].get("Maximum", 0.0)) if points else None
