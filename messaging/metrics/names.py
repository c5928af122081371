"""The metrics: their names, units and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from messaging.histogram import AGES, DURATIONS

__all__ = ["METRICS", "Metric"]


class Metric(NamedTuple):
    """One metric, with its OpenTelemetry name; Prometheus replaces dots by underscores.

    Args:
        name: its name for OpenTelemetry.
        unit: its unit, in UCUM notation.
        labels: the names of its labels.
        help: a description in one sentence.

    Example:
        ```python
        from messaging.metrics import METRICS

        (metric,) = [one for one in METRICS if one.name == "messaging.publisher.published"]
        assert metric.counts  # it only ever grows
        ```
    """

    name: str
    counts: bool
    """True for a counter, which only grows, or a histogram; False for a gauge."""
    unit: str
    labels: tuple[str, ...]
    help: str
    bounds: Sequence[float] = ()
    """A histogram's upper bounds."""


_WORKER, _SETTLED, _STATE = ("service",), ("service", "outcome"), ("service", "state")
METRICS: Sequence[Metric] = (
    Metric("messaging.worker.received", True, "{message}", _WORKER, "Receipts."),
    Metric(
        "messaging.worker.settled",
        True,
        "{message}",
        _SETTLED,
        "Receipts that ended: acknowledged, released, dead_lettered or expired.",
    ),
    Metric(
        "messaging.worker.discarded",
        True,
        "{message}",
        _WORKER,
        "Of the acknowledged, those that a handler discarded.",
    ),
    Metric(
        "messaging.worker.deduplicated",
        True,
        "{message}",
        _WORKER,
        "Of the settled, those that were redelivered after they had been handled.",
    ),
    Metric(
        "messaging.worker.in_flight",
        False,
        "{message}",
        _WORKER,
        "Waiting for a handler, in one, or waiting to be settled.",
    ),
    Metric("messaging.worker.waiting", False, "{message}", _WORKER, "Of these, not yet begun."),
    Metric(
        "messaging.worker.stuck",
        False,
        "{handler}",
        _WORKER,
        "Handlers that still run although their message was given up.",
    ),
    Metric(
        "messaging.worker.state",
        False,
        "1",
        _STATE,
        "1 for the state that the service is in: receiving, paused, wedged, circuit_open or "
        "rate_limited.",
    ),
    Metric(
        "messaging.worker.receive_failing",
        False,
        "1",
        _WORKER,
        "1 while the queue does not answer.",
    ),
    Metric(
        "messaging.worker.rate_failing",
        False,
        "1",
        _WORKER,
        "1 while the store of a shared rate does not answer; 0 also where no rate is shared.",
    ),
    Metric(
        "messaging.worker.leases_renewed",
        True,
        "{renewal}",
        _WORKER,
        "Renewals of leases of messages in flight.",
    ),
    Metric(
        "messaging.worker.leases_lost",
        True,
        "{message}",
        _WORKER,
        "Messages in flight whose lease was found to be lost: they are redelivered.",
    ),
    Metric(
        "messaging.worker.oldest",
        False,
        "s",
        _WORKER,
        "Age of the oldest message that is in flight or will be redelivered, however often it was "
        "received; 0 if there is none.",
    ),
    Metric(
        "messaging.worker.probes",
        True,
        "{message}",
        _WORKER,
        "Canaries and probes that came; no handler sees them.",
    ),
    Metric(
        "messaging.worker.probe_delay",
        False,
        "s",
        _WORKER,
        "From when the last of them was sent until it was received; none before the first.",
    ),
    Metric(
        "messaging.worker.probe_age",
        False,
        "s",
        _WORKER,
        "Since the last of them was received; none before the first.",
    ),
    Metric(
        "messaging.worker.handler_duration",
        True,
        "s",
        ("service", "type", "outcome"),
        "How long handlers took, by event type and outcome: acknowledged, discarded, rejected, "
        "retried, failed, given_back or expired.",
        DURATIONS,
    ),
    Metric(
        "messaging.worker.time_in_queue",
        True,
        "s",
        _WORKER,
        "From when a message was sent to the queue until it was received; of 20 a second at most.",
        AGES,
    ),
    Metric(
        "messaging.worker.event_age",
        True,
        "s",
        _WORKER,
        "From the event's time until it was settled; of 20 a second at most.",
        AGES,
    ),
    Metric(
        "messaging.worker.retries",
        True,
        "{message}",
        ("service", "attempt"),
        "Messages that are redelivered because of their handler, by the receive that ended so: 1 "
        "to 5, 6-10, 11-100, 101-.",
    ),
    Metric(
        "messaging.worker.dead_letters",
        True,
        "{message}",
        ("service", "reason"),
        "Dead letters by error class: rejected if the handler rejected the message, other after "
        "twenty reasons.",
    ),
    Metric(
        "messaging.publisher.published", True, "{message}", ("topic",), "Accepted by the topic."
    ),
    Metric(
        "messaging.publisher.refused",
        True,
        "{message}",
        ("topic",),
        "Not accepted in the end, after all attempts.",
    ),
    Metric(
        "messaging.publisher.duration",
        True,
        "s",
        ("topic",),
        "How long a request took, with all its attempts.",
        DURATIONS,
    ),
    Metric("messaging.relay.published", True, "{message}", ("topic",), "Accepted by the topic."),
    Metric("messaging.relay.failed", True, "{message}", ("topic",), "Attempts to be made again."),
    Metric("messaging.relay.parked", True, "{message}", ("topic",), "Refused for good."),
    Metric("messaging.relay.lost", True, "{message}", ("topic",), "Leases taken over by another."),
    Metric("messaging.relay.pruned", True, "{message}", ("topic",), "Deleted after publishing."),
    Metric("messaging.outbox.backlog", False, "{message}", ("table",), "Entries to be sent."),
    Metric("messaging.outbox.parked", False, "{message}", ("table",), "Entries refused for good."),
    Metric(
        "messaging.outbox.age", False, "s", ("table",), "Age of the oldest entry to be sent, or 0."
    ),
)
