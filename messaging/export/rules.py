"""Alert rules for Prometheus over the metrics of `messaging.metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from messaging.export.alarms import OLDEST
from messaging.export.grafana import prometheus_name
from messaging.topology import Topology

__all__ = ["prometheus_rules"]

_RUNBOOK = "https://github.com/messaging-sns-sqs/messaging/blob/main/docs/how-to/runbook.md"


class _Rule(NamedTuple):
    """An alert: for how long its expression has to give something, who is told, and what."""

    alert: str
    expression: str
    wait: str
    severity: str
    summary: str
    service: str = ""
    """Of a rule that is there for each service: Prometheus wants no two with the same labels."""


def prometheus_rules(
    topology: Topology, *, oldest: int = OLDEST, canary: int = 0
) -> dict[str, Any]:
    """A file for `rule_files` of Prometheus; JSON is YAML, too. The Prometheus operator takes it as
    the `spec` of a PrometheusRule.

    Severity `page` is for what gets worse while nobody looks, `ticket` for the rest.

    Args:
        topology: what should stand: topic, queues and subscriptions.
        oldest: seconds that the oldest message, or entry of an outbox, may wait.
        canary: seconds between two canaries (`messaging canary --every`). It is told if none comes
            for three times as long, or if one takes as long. 0: none are sent.

    Example:
        ```python
        from messaging.export import prometheus_rules

        rules = prometheus_rules(topology, oldest=600)
        assert rules["groups"]
        ```
    """
    rules = [*_of_services(topology, oldest), *_of_handlers(topology)]
    if canary:
        rules += _of_canaries(topology, canary)
    if topology.owns_topic:
        rules += _of_the_producer(topology, oldest)
    made = [
        {
            "alert": f"Messaging{one.alert}",
            "expr": one.expression,
            "for": one.wait,
            "labels": {
                "severity": one.severity,
                **({"service": one.service} if one.service else {}),
            },
            "annotations": {"summary": one.summary, "runbook_url": _RUNBOOK},
        }
        for one in rules
    ]
    return {"groups": [{"name": f"messaging {topology.topic.name}", "rules": made}]}


def _of_services(topology: Topology, oldest: int) -> Iterator[_Rule]:
    """Whether there are workers, and whether they receive."""
    for service in topology.services:
        absent = f'absent({_worker("received")}{{service="{service}"}})'
        said = "No worker of {{ $labels.service }} tells of itself."
        yield _Rule("NoWorker", absent, "5m", "page", said, service)
    if not topology.services:
        return
    for alert, name, limit, wait, severity, said in (
        ("CircuitOpen", "state", 0, "5m", "page", "the circuit breaker of a worker is open."),
        ("Wedged", "state", 0, "2m", "page", "all handlers of a worker hang."),
        ("QueueUnreached", "receive_failing", 0, "5m", "page", "the queue does not answer."),
        (
            *("RateStoreUnreached", "rate_failing", 0, "5m", "ticket"),
            "the store of the shared rate does not answer.",
        ),
        (
            *("HandlersGivenUp", "stuck", 0, "10m", "ticket"),
            "{{ $value }} handlers of a worker still run although their messages were given up.",
        ),
        (
            *("Behind", "oldest", oldest, "5m", "page"),
            "the oldest message that a worker knows is {{ $value | humanizeDuration }} old.",
        ),
    ):
        state = {"CircuitOpen": "circuit_open", "Wedged": "wedged"}.get(alert)
        labels = _services(topology) + (f', state="{state}"' if state else "")
        expression = f"max by (service) ({_worker(name)}{{{labels}}}) > {limit}"
        yield _Rule(alert, expression, wait, severity, f"{_OF}{said}")


def _of_handlers(topology: Topology) -> Iterator[_Rule]:
    """What becomes of messages."""
    if not topology.services:
        return
    services = _services(topology)
    letters = f'{_worker("settled")}{{{services}, outcome="dead_lettered"}}'
    lost = f"{_worker('leases_lost')}{{{services}}}"
    again, came = (f"{_worker(name)}{{{services}}}" for name in ("retries", "received"))
    share = f"sum by (service) (rate({again}[10m])) / sum by (service) (rate({came}[10m]))"
    yield _Rule(
        "DeadLetters",
        f"sum by (service) (increase({letters}[10m])) > 0",
        "0m",
        "page",
        f"{_OF}messages were dead-lettered.",
    )
    yield _Rule(
        "LeasesLost",
        f"sum by (service) (increase({lost}[15m])) > 0",
        "0m",
        "ticket",
        f"{_OF}leases were lost, so messages are handled twice.",
    )
    yield _Rule(
        "MostComeAgain",
        f"{share} > 0.5",
        "10m",
        "ticket",
        f"{_OF}{{{{ $value | humanizePercentage }}}} of what is received comes again.",
    )


def _of_canaries(topology: Topology, every: int) -> Iterator[_Rule]:
    for service in topology.services:
        label = f'{{service="{service}"}}'
        age, delay = (f"{_worker(name)}{label}" for name in ("probe_age", "probe_delay"))
        missing = f"min by (service) ({age}) > {3 * every} or absent({age})"
        late = f"max by (service) ({delay}) > {every}"
        yield _Rule("NoCanary", missing, "5m", "page", f"{_OF}no canary came.", service)
        said = f"{_OF}the last canary took {{{{ $value | humanizeDuration }}}}."
        yield _Rule("CanaryLate", late, "5m", "ticket", said, service)


def _of_the_producer(topology: Topology, oldest: int) -> Iterator[_Rule]:
    refused = f'{prometheus_name("messaging.publisher.refused")}{{topic="{topology.topic.name}"}}'
    age, parked = (prometheus_name(f"messaging.outbox.{one}") for one in ("age", "parked"))
    yield _Rule(
        "PublishRefused",
        f"sum by (topic) (increase({refused}[10m])) > 0",
        "0m",
        "page",
        "{{ $labels.topic }}: messages were not accepted, after all attempts.",
    )
    yield _Rule(
        "OutboxBehind",
        f"max by (table) ({age}) > {oldest}",
        "5m",
        "page",
        "{{ $labels.table }}: the oldest entry waits for {{ $value | humanizeDuration }}.",
    )
    yield _Rule(
        "OutboxParked",
        f"max by (table) ({parked}) > 0",
        "0m",
        "ticket",
        "{{ $labels.table }}: {{ $value }} entries were refused for good.",
    )


_OF = "{{ $labels.service }}: "


def _worker(name: str) -> str:
    return prometheus_name(f"messaging.worker.{name}")


def _services(topology: Topology) -> str:
    return f'service=~"{"|".join(topology.services)}"'
