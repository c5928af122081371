"""CloudWatch alarms and widgets over what `messaging.emf.CloudWatchMetrics` writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from messaging.export.places import capitalized, identifiers
from messaging.topology import Topology

__all__ = ["emf_alarms", "emf_lines"]

_FIVE_MINUTES = 300
_WORKER = "messaging.worker"


def emf_alarms(topology: Topology, namespace: str, oldest: int, notify: Any) -> dict[str, Any]:
    """For each service that 19 of 20 events are not older than `oldest` seconds when they are
    settled, and that most of what is received does not come again."""
    names = identifiers(topology.services, capitalized)
    resources: dict[str, Any] = {}
    for service in topology.services:
        age = _metric("age", namespace, f"{_WORKER}.event_age", service, "p95")
        again = _metric("again", namespace, f"{_WORKER}.retries", service, "Sum")
        came = _metric("came", namespace, f"{_WORKER}.received", service, "Sum")
        resources[f"{names[service]}Late"] = _alarm(
            f"{service}: 5 of 100 events are older than {oldest} s when they are settled",
            [{**age, "ReturnData": True}],
            above=oldest,
            notify=notify,
        )
        share = {
            "Id": "share",
            "Expression": "IF(came > 0, again / came, 0)",
            "Label": "share that comes again",
        }
        resources[f"{names[service]}ComesAgain"] = _alarm(
            f"{service}: more than half of what is received comes again",
            [share, again, came],
            above=0.5,
            notify=notify,
        )
    return resources


def emf_lines(namespace: str, service: str) -> Iterator[tuple[str, Sequence[Sequence[Any]]]]:
    """By title the lines of a dashboard's widgets; each but the counts with its percentiles."""

    def lines(names: Sequence[str], *statistics: str) -> list[list[Any]]:
        return [
            [
                *(namespace, f"{_WORKER}.{name}", "service", service),
                {"stat": statistic, "label": f"{name} {statistic}"},
            ]
            for name in names
            for statistic in statistics
        ]

    settled = [f"settled.{one}" for one in ("acknowledged", "released", "dead_lettered")]
    yield "received and settled", lines(["received", *settled], "Sum")
    yield "handlers, s", lines(["handler_duration"], "p50", "p95", "p99")
    yield "in the queue, and age of events, s", lines(["time_in_queue", "event_age"], "p50", "p95")
    yield "retries and discarded", lines(["retries", "discarded"], "Sum")


def _metric(id: str, namespace: str, name: str, service: str, statistic: str) -> dict[str, Any]:
    return {
        "Id": id,
        "ReturnData": False,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": "service", "Value": service}],
            },
            "Period": _FIVE_MINUTES,
            "Stat": statistic,
        },
    }


def _alarm(
    about: str, metrics: Sequence[dict[str, Any]], *, above: float, notify: Any
) -> dict[str, Any]:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": about,
            "Metrics": list(metrics),
            "EvaluationPeriods": 2,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": above,
            "TreatMissingData": "notBreaching",  # a function that nothing comes to writes nothing
            "AlarmActions": notify,
        },
    }
