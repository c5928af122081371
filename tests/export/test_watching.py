"""Alarms, dashboards and autoscaling name the queues and metrics that there are."""

from __future__ import annotations

import json
import re
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

from messaging.errors import ConfigurationError
from messaging.export.alarms import alarms
from messaging.export.grafana import grafana, prometheus_name
from messaging.export.scaling import Scaling, ecs, keda
from messaging.local import LocalServer
from messaging.memory import MemoryBroker
from messaging.metrics import METRICS, Metrics
from messaging.metrics.prometheus import Collector
from messaging.publishing.publisher import Publisher
from messaging.topology import Topology
from tests.export.conftest import TOPOLOGIES, Lint

SERVED = [name for name, one in TOPOLOGIES.items() if one.services]
WHOLE = TOPOLOGIES["the whole map"]


def alarm_properties(topology: Topology) -> dict[str, Any]:
    resources = alarms(topology)["Resources"]
    return {
        id: one["Properties"]
        for id, one in resources.items()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    }


def queues_of(topology: Topology) -> set[str]:
    return {
        name
        for queue, subscription in zip(topology.queues, topology.subscriptions, strict=True)
        for name in (queue.name, queue.dead_letters.name, subscription.undelivered.name)
    }


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_cfn_lint_has_nothing_to_say_of_the_alarms(name: str, lint: Lint) -> None:
    lint(alarms(TOPOLOGIES[name]))


@pytest.mark.parametrize("name", SERVED)
def test_cfn_lint_has_nothing_to_say_of_the_scaling(name: str, lint: Lint) -> None:
    lint(ecs(TOPOLOGIES[name], Scaling()))


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_each_queue_has_its_alarms(name: str) -> None:
    topology = TOPOLOGIES[name]
    text = json.dumps(alarm_properties(topology))
    named = re.findall(r'"Name": "QueueName", "Value": "([^"]+)"', text)
    assert set(named) == queues_of(topology)
    assert len(alarm_properties(topology)) == 4 * len(topology.services) + topology.owns_topic


def test_the_alarms_are_what_cloudwatch_takes() -> None:
    shape: Any = (
        botocore.session.get_session()
        .get_service_model("cloudwatch")
        .operation_model("PutMetricAlarm")
        .input_shape
    )
    for id, properties in alarm_properties(WHOLE).items():
        given = {**properties, "AlarmName": id, "AlarmActions": []}
        problems = ParamValidator().validate(given, shape)
        assert not problems.has_errors(), problems.generate_report()


def test_an_alarm_of_dead_letters_stands_as_it_was_written(server: LocalServer) -> None:
    session = boto3.Session(**server.credentials)
    cloudwatch: Any = session.client("cloudwatch", endpoint_url=server.url)
    properties = alarm_properties(WHOLE)["UmDeadLetters"]
    cloudwatch.put_metric_alarm(**{**properties, "AlarmName": "letters", "AlarmActions": []})
    (found,) = cloudwatch.describe_alarms(AlarmNames=["letters"])["MetricAlarms"]
    assert found["Dimensions"] == [{"Name": "QueueName", "Value": "alunos-um-dlq"}]
    assert found["Threshold"] == 0
    assert found["ComparisonOperator"] == "GreaterThanThreshold"
    assert found["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_cloudwatch_dashboard_shows_each_queue_and_no_widget_lies_on_another(name: str) -> None:
    topology = TOPOLOGIES[name]
    properties = alarms(topology)["Resources"]["Dashboard"]["Properties"]
    assert re.fullmatch(r"[A-Za-z0-9_-]+", properties["DashboardName"])
    widgets = json.loads(properties["DashboardBody"]["Fn::Sub"])["widgets"]
    named = {one[3] for widget in widgets for one in widget["properties"]["metrics"]}
    assert named == queues_of(topology) | {topology.topic.name}
    taken = [
        (x, y)
        for widget in widgets
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


def test_grafana_asks_for_metrics_and_labels_that_prometheus_has() -> None:
    broker = MemoryBroker(WHOLE)
    with Publisher(broker.topic(), source="/x") as publisher:
        families = list(Collector(Metrics(publisher)).describe())
    broker.close()
    given = {one.name + ("_total" if one.type == "counter" else ""): one for one in families}
    labels = {prometheus_name(one.name): set(one.labels) for one in METRICS}
    assert set(labels) == set(given)
    panels = grafana(WHOLE)["panels"]
    assert len(panels) == 12
    for panel in panels:
        (target,) = panel["targets"]
        (metric,) = re.findall(r"messaging_\w+", target["expr"])
        assert metric in given
        (by,) = re.findall(r"sum by \(([\w, ]+)\)", target["expr"])
        used = set(by.split(", ")) | set(re.findall(r"(\w+)!?=", target["expr"]))
        assert used <= labels[metric]
        assert ("rate(" in target["expr"]) == (given[metric].type == "counter")


def test_a_metric_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"messaging\.worker\.nope"):
        prometheus_name("messaging.worker.nope")


def test_keda_and_ecs_hold_the_backlog_that_one_task_handles_in_the_time() -> None:
    scaling = Scaling(concurrency=20, seconds=0.05, wait=30, least=2, most=8)
    assert scaling.target == 12_000  # 400 a second, for 30 s
    for one in keda(WHOLE, scaling, account="111111111111", region="sa-east-1")["items"]:
        (trigger,) = one["spec"]["triggers"]
        assert trigger["metadata"]["queueLength"] == "12000"
        assert (one["spec"]["minReplicaCount"], one["spec"]["maxReplicaCount"]) == (2, 8)
        assert trigger["metadata"]["queueURL"].endswith(f"/alunos-{one['metadata']['name']}")
    policies = [
        one["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        for one in ecs(WHOLE, scaling)["Resources"].values()
        if one["Type"] == "AWS::ApplicationAutoScaling::ScalingPolicy"
    ]
    assert [one["TargetValue"] for one in policies] == [12_000, 12_000]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seconds": 0}, "above 0"),
        ({"least": 3, "most": 2}, "most not below least"),
        ({"concurrency": 1, "seconds": 90, "wait": 60}, "wait longer than a handler takes"),
    ],
)
def test_numbers_that_cannot_be_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Scaling(**given)


def test_ecs_cannot_scale_from_nothing() -> None:
    with pytest.raises(ConfigurationError, match="least=0"):
        ecs(WHOLE, Scaling(least=0))
    assert keda(WHOLE, Scaling(least=0), account="1", region="x")["items"]
