"""A Grafana dashboard over the metrics that `messaging.metrics` gives to Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from messaging.errors import ConfigurationError
from messaging.metrics import METRICS, Metric
from messaging.topology import Topology

__all__ = ["grafana", "prometheus_name"]

_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
_RATE = "$__rate_interval"


def prometheus_name(name: str) -> str:
    """The name under which Prometheus has the metric `messaging.worker.received`."""
    metric = next((one for one in METRICS if one.name == name), None)
    if metric is None:
        raise ConfigurationError(f"{name!r} is no metric of this library")
    return _family_name(metric)


def _family_name(metric: Metric) -> str:
    unit = "_seconds" if metric.unit == "s" else ""
    return (
        metric.name.replace(".", "_")
        + unit
        + ("_total" if metric.counts and not metric.bounds else "")
    )


def grafana(topology: Topology) -> dict[str, Any]:
    """For Grafana's import: it asks for the Prometheus source, and lets services be chosen.

    Args:
        topology: what should stand: topic, queues and subscriptions.

    Example:
        ```python
        from messaging.export import grafana

        dashboard = grafana(topology)
        assert dashboard["panels"]
        ```
    """
    services = ",".join(topology.services)
    worker = '{service=~"$service"}'
    panels = [
        _counted("Received a second", "messaging.worker.received", worker, "service"),
        _counted("Settled a second", "messaging.worker.settled", worker, "service, outcome"),
        _gauge("In flight", "messaging.worker.in_flight", worker, "service"),
        _gauge("Waiting for a handler", "messaging.worker.waiting", worker, "service"),
        _gauge(
            "Wedged, paused or circuit open",
            "messaging.worker.state",
            '{service=~"$service", state!="receiving"}',
            "service, state",
        ),
        _gauge("Queue does not answer", "messaging.worker.receive_failing", worker, "service"),
        _gauge("Handlers given up", "messaging.worker.stuck", worker, "service"),
        _counted("Came again", "messaging.worker.deduplicated", worker, "service"),
        _counted("Published a second", "messaging.publisher.published", "", "topic"),
        _counted("Refused a second", "messaging.publisher.refused", "", "topic"),
        _gauge("Outbox: to be sent", "messaging.outbox.backlog", "", "table"),
        _gauge("Outbox: age of the oldest, s", "messaging.outbox.age", "", "table"),
    ]
    for number, panel in enumerate(panels):
        panel["id"] = number + 1
        panel["gridPos"] = {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)}
    return {
        "title": f"messaging: {topology.topic.name}",
        "uid": f"messaging-{topology.topic.name.replace('.', '-')}"[:40],
        "tags": ["messaging"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "service",
                    "type": "custom",
                    "query": services,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": panels,
    }


def _counted(title: str, name: str, where: str, by: str) -> dict[str, Any]:
    return _panel(title, f"sum by ({by}) (rate({prometheus_name(name)}{where}[{_RATE}]))", by)


def _gauge(title: str, name: str, where: str, by: str) -> dict[str, Any]:
    return _panel(title, f"sum by ({by}) ({prometheus_name(name)}{where})", by)


def _panel(title: str, expression: str, by: str) -> dict[str, Any]:
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return {
        "type": "timeseries",
        "title": title,
        "datasource": dict(_SOURCE),
        "targets": [
            {"refId": "A", "datasource": dict(_SOURCE), "expr": expression, "legendFormat": legend}
        ],
    }
