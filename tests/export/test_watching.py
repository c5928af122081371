"""Alarms, dashboards and autoscaling name the queues and metrics that there are."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

from messaging.consuming.consumer import Consumer, handles
from messaging.emf import CloudWatchMetrics
from messaging.errors import ConfigurationError
from messaging.export.alarms import alarms
from messaging.export.grafana import prometheus_name
from messaging.export.scaling import Scaling, ecs, keda
from messaging.lambda_handler import lambda_handler
from messaging.local import LocalServer
from messaging.memory import MemoryBroker
from messaging.outcome import Reject, Retry
from messaging.testing import lambda_event
from messaging.topology import Topology
from tests.export.conftest import TOPOLOGIES, Aconteceu, Um, cfn_lint

SERVED = [name for name, one in TOPOLOGIES.items() if one.services]
WHOLE = TOPOLOGIES["the whole map"]
ONE = Topology.of(Um, topic="alunos", owns_topic=True)


def alarm_properties(topology: Topology, emf: str = "") -> dict[str, Any]:
    resources = alarms(topology, emf=emf)["Resources"]
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


def test_cfn_lint_has_nothing_to_say_of_the_alarms(tmp_path: Path) -> None:
    made = {name: alarms(one, emf="messaging") for name, one in TOPOLOGIES.items()}
    assert cfn_lint(tmp_path, **made) == (0, "")


def test_cfn_lint_has_nothing_to_say_of_the_scaling(tmp_path: Path) -> None:
    made = {name: ecs(TOPOLOGIES[name], Scaling()) for name in SERVED}
    assert cfn_lint(tmp_path, **made) == (0, "")


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_each_queue_has_its_alarms(name: str) -> None:
    topology = TOPOLOGIES[name]
    text = json.dumps(alarm_properties(topology))
    named = re.findall(r'"Name": "QueueName", "Value": "([^"]+)"', text)
    assert set(named) == queues_of(topology)
    assert len(alarm_properties(topology)) == 4 * len(topology.services) + topology.owns_topic


def refused_by_aws(service: str, operation: str, given: dict[str, Any]) -> str:
    """What botocore's model of an operation has against its parameters."""
    model = botocore.session.get_session().get_service_model(service)
    shape: Any = model.operation_model(operation).input_shape
    return str(ParamValidator().validate(given, shape).generate_report())


def test_the_alarms_are_what_cloudwatch_takes() -> None:
    for id, properties in alarm_properties(WHOLE, emf="messaging").items():
        given = {**properties, "AlarmName": id, "AlarmActions": []}
        assert refused_by_aws("cloudwatch", "PutMetricAlarm", given) == ""
    wrong = {**given, "Threshold": "0"}
    assert "Threshold" in refused_by_aws("cloudwatch", "PutMetricAlarm", wrong)


@pytest.mark.parametrize("name", SERVED)
def test_the_scaling_is_what_application_auto_scaling_takes(name: str) -> None:
    resources = ecs(TOPOLOGIES[name], Scaling())["Resources"]
    text = json.dumps(resources).replace('{"Ref": "Cluster"}', '"escola"')
    text = re.sub(r'\{"Fn::Sub": ("[^"]+")\}', r"\1", text)  # as CloudFormation fills them in
    made = [
        (one["Type"].rpartition("::")[2], one["Properties"]) for one in json.loads(text).values()
    ]
    targets = [given for kind, given in made if kind == "ScalableTarget"]
    policies = [given for kind, given in made if kind == "ScalingPolicy"]
    assert len(targets) == len(policies) == len(TOPOLOGIES[name].services)
    for target, policy in zip(targets, policies, strict=True):
        assert not refused_by_aws("application-autoscaling", "RegisterScalableTarget", target)
        names = ("ServiceNamespace", "ScalableDimension", "ResourceId")
        given = {**policy, **{one: target[one] for one in names}}
        del given["ScalingTargetId"]  # which stands for the three
        assert not refused_by_aws("application-autoscaling", "PutScalingPolicy", given)
    given["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] = "12000"
    said = refused_by_aws("application-autoscaling", "PutScalingPolicy", given)
    assert "TargetTrackingScalingPolicyConfiguration.TargetValue" in said


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


@pytest.mark.parametrize("emf", ["", "messaging"], ids=["queues", "and functions"])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_cloudwatch_dashboard_shows_each_queue_and_no_widget_lies_on_another(
    name: str, emf: str
) -> None:
    topology = TOPOLOGIES[name]
    properties = alarms(topology, emf=emf)["Resources"]["Dashboard"]["Properties"]
    assert re.fullmatch(r"[A-Za-z0-9_-]+", properties["DashboardName"])
    widgets = json.loads(properties["DashboardBody"]["Fn::Sub"])["widgets"]
    lines = [one for widget in widgets for one in widget["properties"]["metrics"]]
    named = {one[3] for one in lines if one[0].startswith("AWS/")}
    assert named == queues_of(topology) | {topology.topic.name}
    assert {one[3] for one in lines if one[0] == emf} == set(topology.services if emf else ())
    taken = [
        (x, y)
        for widget in widgets
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


class Mail(Consumer):
    service = "um"

    @handles
    def ouvir(self, evento: Aconteceu) -> None:
        if evento.numero == 1:
            raise Reject("no")
        if evento.numero == 2:
            raise Retry(5)


def test_the_dashboard_shows_all_that_a_lambda_function_writes_and_nothing_else() -> None:
    said: list[str] = []
    broker = MemoryBroker(ONE)
    with closing(broker.queue("um")) as queue:
        handler = lambda_handler(
            Mail(), queue=queue, observe=CloudWatchMetrics(namespace="escola", write=said.append)
        )
        handler(lambda_event(Mail, *(Aconteceu(numero=number) for number in range(3))), None)
    broker.close()
    document = json.loads(said[0])
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    written = {one["Name"] for one in directive["Metrics"]}
    resources = alarms(ONE, emf="escola")["Resources"]
    body = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    lines = [one for widget in body["widgets"] for one in widget["properties"]["metrics"]]
    ours = [one for one in lines if one[0] == directive["Namespace"]]
    assert {one[1] for one in ours} == written
    assert {tuple(one[2:4]) for one in ours} == {("service", document["service"])}
    assert directive["Dimensions"] == [["service"]]
    named = [
        one["MetricStat"]["Metric"]
        for id in ("UmLate", "UmComesAgain")
        for one in resources[id]["Properties"]["Metrics"]
        if "MetricStat" in one
    ]
    assert {one["MetricName"] for one in named} <= written
    assert {one["Namespace"] for one in named} == {"escola"}


@pytest.mark.parametrize("namespace", ["AWS/SQS", "a" * 256, "é"])
def test_a_namespace_that_cloudwatch_does_not_take_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigurationError, match="namespace="):
        alarms(ONE, emf=namespace)


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
