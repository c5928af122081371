"""Autoscaling by the backlog of a queue: KEDA's ScaledObject, and target tracking for ECS.

Both keep the number of messages per task at a target. One task with `concurrency` handlers of
`seconds` each handles `concurrency / seconds` messages per second; a message should wait at most
`wait` seconds. So the backlog that one task may have is

    target = concurrency / seconds * wait

and the number of tasks is the number of messages in the queue, divided by it and rounded up.
https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-using-sqs-queue.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from messaging.errors import ConfigurationError
from messaging.export.cloudformation import template
from messaging.export.places import capitalized, identifiers
from messaging.topology import Topology

__all__ = ["Scaling", "ecs", "keda"]


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The throughput of one task, and the limits on the number of tasks.

    Args:
        concurrency: concurrent handlers in one task.
        seconds: seconds that one handler takes.
        wait: seconds that a message may wait.
        least: minimum number of tasks.
        most: maximum number of tasks.

    Raises:
        ConfigurationError: if a number is out of its range, or a task would handle no message
            within `wait`.

    Example:
        ```python
        from messaging.export import Scaling, ecs

        template = ecs(topology, Scaling(concurrency=20, seconds=0.05, wait=60, most=10))
        ```
    """

    concurrency: int = 10
    seconds: float = 0.1
    wait: float = 60.0
    least: int = 1
    most: int = 10

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.seconds <= 0 or self.wait <= 0:
            raise ConfigurationError(
                f"concurrency={self.concurrency}, seconds={self.seconds}, wait={self.wait}: each "
                "must be above 0"
            )
        if not 0 <= self.least <= self.most or self.most < 1:
            raise ConfigurationError(
                f"least={self.least}, most={self.most}: 0 or more, and most not below least"
            )
        if self.concurrency / self.seconds * self.wait < 1:
            raise ConfigurationError(
                f"a task handles {self.concurrency / self.seconds:g} messages a second, none in "
                f"wait={self.wait:g} s: let messages wait longer than a handler takes"
            )

    @property
    def target(self) -> int:
        """The target number of messages in the queue per task."""
        return int(self.concurrency / self.seconds * self.wait)


def keda(topology: Topology, scaling: Scaling, *, account: str, region: str) -> dict[str, Any]:
    """A List of ScaledObjects for `kubectl apply`, one for the Deployment of each service.

    Deployments must have the services' names. Messages in flight count, too: otherwise the scaler
    would remove tasks that are still working. The trigger requires an authentication called
    `messaging`. https://keda.sh/docs/latest/scalers/aws-sqs/

    Args:
        topology: the desired topic, queues and subscriptions.
        scaling: the throughput of a task, and the limits.
        account: the AWS account's number.
        region: the AWS region.

    Example:
        ```python
        from messaging.export import Scaling, keda

        objects = keda(topology, Scaling(), account="111111111111", region="sa-east-1")
        assert objects["kind"] == "List"
        ```
    """
    place = f"https://sqs.{region}.amazonaws.com/{account}"
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "ScaledObject",
                "metadata": {"name": queue.service.replace("_", "-")},
                "spec": {
                    "scaleTargetRef": {"name": queue.service.replace("_", "-")},
                    "minReplicaCount": scaling.least,
                    "maxReplicaCount": scaling.most,
                    "triggers": [
                        {
                            "type": "aws-sqs-queue",
                            "authenticationRef": {"name": "messaging"},
                            "metadata": {
                                "queueURL": f"{place}/{queue.name}",
                                "queueLength": str(scaling.target),
                                "awsRegion": region,
                                "scaleOnInFlight": "true",
                            },
                        }
                    ],
                },
            }
            for queue in topology.queues
        ],
    }


def ecs(topology: Topology, scaling: Scaling) -> dict[str, Any]:
    """A template that scales the ECS service of each service; the cluster is a parameter.

    ECS services must have the services' names, and the cluster needs Container Insights, which
    counts the tasks. `RunningTaskCount` is 0 before the first task, so `least` must be at least 1.
    https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking-metric-math.html

    Args:
        topology: the desired topic, queues and subscriptions.
        scaling: the throughput of a task, and the limits.

    Raises:
        ConfigurationError: if `scaling.least` is 0.

    Example:
        ```python
        from messaging.export import Scaling, ecs

        template = ecs(topology, Scaling(concurrency=20, seconds=0.05))
        ```
    """
    if scaling.least < 1:
        raise ConfigurationError("least=0: backlog per task needs a task; give least=1 or more")
    names = identifiers(topology.services, capitalized)
    resources: dict[str, Any] = {}
    for queue in topology.queues:
        id = names[queue.service]
        resources[f"{id}Target"] = {
            "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
            "Properties": {
                "ServiceNamespace": "ecs",
                "ScalableDimension": "ecs:service:DesiredCount",
                "ResourceId": {"Fn::Sub": f"service/${{Cluster}}/{queue.service}"},
                "MinCapacity": scaling.least,
                "MaxCapacity": scaling.most,
            },
        }
        resources[f"{id}Policy"] = {
            "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
            "Properties": {
                "PolicyName": f"{queue.name.replace('.', '-')}-backlog-per-task",
                "PolicyType": "TargetTrackingScaling",
                "ScalingTargetId": {"Ref": f"{id}Target"},
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": scaling.target,
                    "CustomizedMetricSpecification": {
                        "Metrics": _per_task(queue.name, queue.service)
                    },
                },
            },
        }
    return template(
        f"Autoscaling of {topology.topic.name}",
        resources,
        Parameters={"Cluster": {"Type": "String", "Description": "Name of the ECS cluster."}},
    )


def _per_task(queue: str, service: str) -> list[dict[str, Any]]:
    def metric(id: str, namespace: str, name: str, **dimensions: Any) -> dict[str, Any]:
        named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
        return {
            "Id": id,
            "ReturnData": False,
            "MetricStat": {
                "Metric": {"Namespace": namespace, "MetricName": name, "Dimensions": named},
                "Stat": "Average",
            },
        }

    return [
        metric("waiting", "AWS/SQS", "ApproximateNumberOfMessagesVisible", QueueName=queue),
        metric("handled", "AWS/SQS", "ApproximateNumberOfMessagesNotVisible", QueueName=queue),
        metric(
            "tasks",
            "ECS/ContainerInsights",
            "RunningTaskCount",
            ClusterName={"Ref": "Cluster"},
            ServiceName=service,
        ),
        {
            "Id": "backlog",
            "Label": "messages in the queue for each task",
            "Expression": "(waiting + handled) / tasks",
            "ReturnData": True,
        },
    ]
