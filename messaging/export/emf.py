"""CloudWatch alarms and widgets for the metrics of `messaging.emf.CloudWatchMetrics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from messaging.export.cloudwatch import alarm, metric
from messaging.export.places import capitalized, identifiers
from messaging.topology import Topology

__all__ = ["emf_alarms", "emf_lines"]

_WORKER = "messaging.worker"


def emf_alarms(topology: Topology, namespace: str, oldest: int) -> dict[str, Any]:
    """Two alarms for each service: the 95th percentile of the events' age when they are settled
    exceeds `oldest` seconds, and more than half of the received messages are redelivered."""
    names = identifiers(topology.services, capitalized)
    resources: dict[str, Any] = {}
    for service in topology.services:
        age, again, came = (
            metric(id, namespace, f"{_WORKER}.{name}", ("service", service), statistic)
            for id, name, statistic in (
                ("age", "event_age", "p95"),
                ("again", "retries", "Sum"),
                ("came", "received", "Sum"),
            )
        )
        resources[f"{names[service]}Late"] = alarm(
            f"{service}: 5 of 100 events are older than {oldest} s when they are settled",
            {"Metrics": [{**age, "ReturnData": True}]},
            periods=2,
            above=oldest,
        )
        share = {
            "Id": "share",
            "Expression": "IF(came > 0, again / came, 0)",
            "Label": "share that is redelivered",
        }
        resources[f"{names[service]}ComesAgain"] = alarm(
            f"{service}: more than half of the received messages are redelivered",
            {"Metrics": [share, again, came]},
            periods=2,
            above=0.5,
        )
    return resources


def emf_lines(namespace: str, service: str) -> Iterator[tuple[str, Sequence[Sequence[Any]]]]:
    """The titles and lines of a dashboard's widgets; all but the counts are shown as
    percentiles."""

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
