"""Tests of the room of age: what CloudWatch says, and what is told where it says nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from messaging.aws import connect
from messaging.errors import TransportError
from messaging.settings import Settings


def _report(client, queue, seconds, ago):
    client.put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": queue}],
                "Timestamp": datetime.now(UTC) - ago,
                "Value": seconds,
                "Unit": "Seconds",
            }
        ],
    )


def test_the_newest_figure_of_this_queue_counts(ministack, session, prefix):
    client = session.client("cloudwatch", endpoint_url=ministack.url)
    _report(client, f"{prefix}alunos-um", 900.0, timedelta(minutes=4))
    _report(client, f"{prefix}alunos-um", 120.0, timedelta(minutes=2))
    _report(client, f"{prefix}alunos-um", 5.0, timedelta(hours=2))
    _report(client, f"{prefix}alunos-dois", 7.0, timedelta(minutes=1))
    broker = connect(ministack.settings(topic="alunos", prefix=prefix), session=session)

    assert broker.oldest("um") == 120.0
    assert broker.oldest("dois") == 7.0

    broker.close()


def test_no_figure_is_none(ministack, session, prefix):
    broker = connect(ministack.settings(topic="alunos", prefix=prefix), session=session)
    assert broker.oldest("um") is None
    broker.close()


def test_no_answer_is_an_error_that_names_the_queue(session):
    settings = Settings(topic="alunos", region="sa-east-1", endpoint_url="http://127.0.0.1:9")
    broker = connect(settings, session=session)
    with pytest.raises(TransportError, match="queue alunos-um"):
        broker.oldest("um")
    broker.close()
