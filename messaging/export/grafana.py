"""A Grafana dashboard over the metrics that `messaging.metrics` gives to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from messaging.errors import ConfigurationError
from messaging.metrics import METRICS, Metric
from messaging.topology import Topology

__all__ = ["grafana", "prometheus_name"]

_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
_RATE = "$__rate_interval"
_OF_SERVICE = '{service=~"$service"}'


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


class _Line(NamedTuple):
    """A query of a panel, and what its lines are called."""

    expression: str
    legend: str


def _rate(name: str, by: str, legend: str = "") -> _Line:
    """So many a second."""
    metric = prometheus_name(name)
    return _Line(f"sum by ({by}) (rate({metric}{_where(by)}[{_RATE}]))", legend or _legend(by))


def _sum(name: str, by: str, legend: str = "") -> _Line:
    """Of all processes together."""
    return _Line(f"sum by ({by}) ({prometheus_name(name)}{_where(by)})", legend or _legend(by))


def _most(name: str, by: str, legend: str = "", of: str = "max") -> _Line:
    """Of all processes the one where it is worst; several may tell of the same table."""
    return _Line(f"{of} by ({by}) ({prometheus_name(name)}{_where(by)})", legend or _legend(by))


def _quantiles(name: str, by: str) -> list[_Line]:
    """How long it takes at most in half of all cases, and in 95 of 100."""
    buckets = f"rate({prometheus_name(name)}_bucket{_where(by)}[{_RATE}])"
    return [
        _Line(
            f"histogram_quantile({quantile}, sum by ({by}, le) ({buckets}))",
            f"{_legend(by)} p{quantile * 100:g}",
        )
        for quantile in (0.5, 0.95)
    ]


def _where(by: str) -> str:
    return _OF_SERVICE if by.startswith("service") else ""


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


_Panels = Sequence[tuple[str, str, Sequence[_Line]]]
"""Titles, units and queries."""
_WORKER, _PUBLISHER, _OUTBOX = "messaging.worker", "messaging.publisher", "messaging.outbox"
_OF = "{{service}}: "


def _wrong() -> _Panels:
    not_receiving = (
        f"sum by (service, state) ({prometheus_name(f'{_WORKER}.state')}"
        '{service=~"$service", state!="receiving"})'
    )
    return [
        (
            "Workers that are paused, wedged, limited, or whose circuit is open",
            "short",
            [_Line(not_receiving, _legend("service, state"))],
        ),
        (
            "Workers whose queue or rate store does not answer; handlers given up",
            "short",
            [
                _sum(f"{_WORKER}.receive_failing", "service", f"{_OF}queue"),
                _sum(f"{_WORKER}.rate_failing", "service", f"{_OF}rate store"),
                _sum(f"{_WORKER}.stuck", "service", f"{_OF}handlers given up"),
            ],
        ),
        (
            "Oldest message in hand or to come again",
            "s",
            [_most(f"{_WORKER}.oldest", "service")],
        ),
        (
            "Dead letters a second, by reason",
            "ops",
            [_rate(f"{_WORKER}.dead_letters", "service, reason")],
        ),
        (
            "Canary: since the last one came, and how long it took",
            "s",
            [
                _most(f"{_WORKER}.probe_age", "service", f"{_OF}since", of="min"),
                _most(f"{_WORKER}.probe_delay", "service", f"{_OF}took"),
            ],
        ),
        ("Canaries and probes a second", "ops", [_rate(f"{_WORKER}.probes", "service")]),
    ]


def _messages() -> _Panels:
    return [
        ("Received a second", "ops", [_rate(f"{_WORKER}.received", "service")]),
        ("Settled a second", "ops", [_rate(f"{_WORKER}.settled", "service, outcome")]),
        (
            "In hand, and of these waiting for a handler",
            "short",
            [
                _sum(f"{_WORKER}.in_flight", "service", f"{_OF}in hand"),
                _sum(f"{_WORKER}.waiting", "service", f"{_OF}waiting"),
            ],
        ),
        (
            "Retries a second, by attempt",
            "ops",
            [_rate(f"{_WORKER}.retries", "service, attempt")],
        ),
        (
            "Discarded, and handled before, a second",
            "ops",
            [
                _rate(f"{_WORKER}.discarded", "service", f"{_OF}discarded"),
                _rate(f"{_WORKER}.deduplicated", "service", f"{_OF}handled before"),
            ],
        ),
        (
            "Leases a second",
            "ops",
            [
                _rate(f"{_WORKER}.leases_renewed", "service", f"{_OF}renewed"),
                _rate(f"{_WORKER}.leases_lost", "service", f"{_OF}lost"),
            ],
        ),
    ]


def _durations() -> _Panels:
    return [
        ("Handlers", "s", _quantiles(f"{_WORKER}.handler_duration", "service, type")),
        ("In the queue", "s", _quantiles(f"{_WORKER}.time_in_queue", "service")),
        ("From the event to its end", "s", _quantiles(f"{_WORKER}.event_age", "service")),
        ("Publish requests", "s", _quantiles(f"{_PUBLISHER}.duration", "topic")),
    ]


def _publishing() -> _Panels:
    return [
        ("Published a second", "ops", [_rate(f"{_PUBLISHER}.published", "topic")]),
        ("Refused a second", "ops", [_rate(f"{_PUBLISHER}.refused", "topic")]),
        (
            "Outbox: to be sent, and parked",
            "short",
            [
                _most(f"{_OUTBOX}.backlog", "table", "{{table}}: to be sent"),
                _most(f"{_OUTBOX}.parked", "table", "{{table}}: parked"),
            ],
        ),
        ("Outbox: age of the oldest", "s", [_most(f"{_OUTBOX}.age", "table")]),
        (
            "Relay, a second",
            "ops",
            [
                _rate(f"messaging.relay.{name}", "topic", f"{{{{topic}}}}: {name}")
                for name in ("published", "failed", "parked", "lost", "pruned")
            ],
        ),
    ]


_ROWS = (
    ("Is anything wrong", _wrong),
    ("Messages", _messages),
    ("How long it takes", _durations),
    ("Publishing", _publishing),
)
"""What is looked at first stands on top."""


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
                    "query": ",".join(topology.services),
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": list(_placed()),
    }


def _placed() -> Iterator[dict[str, Any]]:
    """The panels, two beside each other, below the titles of their rows."""
    id, y = 0, 0
    for row, made in _ROWS:
        panels = made()
        id += 1
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        yield {"id": id, "type": "row", "title": row, "collapsed": False, "gridPos": place}
        y += 1
        for number, (title, unit, lines) in enumerate(panels):
            id += 1
            place = {"h": 8, "w": 12, "x": 12 * (number % 2), "y": y + 8 * (number // 2)}
            yield {**_panel(title, unit, lines), "id": id, "gridPos": place}
        y += 8 * ((len(panels) + 1) // 2)


def _panel(title: str, unit: str, lines: Sequence[_Line]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": dict(_SOURCE),
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": dict(_SOURCE),
                "expr": line.expression,
                "legendFormat": line.legend,
            }
            for number, line in enumerate(lines)
        ],
    }
