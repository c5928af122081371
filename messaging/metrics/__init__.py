"""Metrics of workers, publishers and relays: one set of names, for Prometheus and OpenTelemetry.

    metrics = Metrics(worker, publisher)
    REGISTRY.register(prometheus.Collector(metrics))         # messaging.metrics.prometheus
    otel.observe(metrics)                                    # messaging.metrics.otel

Values are read from what these objects count anyway, when somebody scrapes or exports: a message
costs nothing. Labels are services, topics and tables, outcomes and states, never what an event
holds, so their number does not grow with traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from messaging.errors import ConfigurationError
from messaging.logs import logger
from messaging.outbox.claims import OutboxStatus
from messaging.outbox.relay import Relay
from messaging.publishing.publisher import Publisher
from messaging.runtime.backpressure import State
from messaging.runtime.in_flight import Disposition
from messaging.runtime.shared_rate import SharedBucket
from messaging.runtime.worker import Worker

if TYPE_CHECKING:
    from messaging.runtime.pipeline import Pipeline

__all__ = ["METRICS", "Backlog", "Metric", "Metrics", "Sample"]

log = logger("messaging.metrics")


class Metric(NamedTuple):
    """One metric, by its name for OpenTelemetry; Prometheus has underscores for dots."""

    name: str
    counts: bool
    """True: a counter, which only grows; False: a gauge."""
    unit: str
    labels: tuple[str, ...]
    help: str


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
        "Of the settled, those that came again after they had been handled.",
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
        "messaging.publisher.published", True, "{message}", ("topic",), "Accepted by the topic."
    ),
    Metric(
        "messaging.publisher.refused",
        True,
        "{message}",
        ("topic",),
        "Not accepted in the end, after all attempts.",
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


class Sample(NamedTuple):
    """One value at this moment, with the values of its metric's labels in their order."""

    name: str
    labels: tuple[str, ...]
    value: float


class Backlog:
    """An outbox's backlog and age as a source of `Metrics`.

    status  gives the outbox's `OutboxStatus`; each scrape or export calls it, and it reads the
            table. It opens a connection of its own: a relay's belongs to the relay's thread.
    """

    def __init__(self, status: Callable[[], OutboxStatus], *, table: str) -> None:
        self.status = status
        self.table = table


_ABOUT: Mapping[type, str] = {
    Worker: "messaging.worker.",
    Publisher: "messaging.publisher.",
    Relay: "messaging.relay.",
    Backlog: "messaging.outbox.",
}
"""With what the names of a source's metrics begin."""


class Metrics:
    """Reads workers, publishers, relays and backlogs. May be read from any thread.

    Two sources with the same labels, such as two publishers to one topic, are added up.
    Raises `ConfigurationError` for a source of another type.
    """

    def __init__(self, *sources: Worker | Publisher | Relay | Backlog) -> None:
        for source in sources:
            if not isinstance(source, Worker | Publisher | Relay | Backlog):
                raise ConfigurationError(
                    f"Metrics({type(source).__qualname__}): give a Worker, a Publisher, a Relay "
                    "or a Backlog"
                )
        self._sources = sources

    def read(self, only: str = "") -> Mapping[str, Mapping[tuple[str, ...], float]]:
        """By metric's name and labels: every value at this moment.

        only  asks just the sources that know the metric of this name.

        A source that cannot be read (a database that is away) is left out, and logged.
        """
        found: dict[str, dict[tuple[str, ...], float]] = {one.name: {} for one in METRICS}
        for source in self._sources:
            if not only.startswith(_about(source) if only else ""):
                continue
            try:
                samples = list(_samples(source))
            except Exception as error:  # noqa: BLE001 - the other sources are still to be read
                # The text of a driver's error may quote data.
                log.warning(
                    "cannot read the metrics of a %s: %s",
                    type(source).__qualname__,
                    type(error).__qualname__,
                )
                continue
            for name, labels, value in samples:
                values = found[name]
                values[labels] = values.get(labels, 0) + value
        return found


def _about(source: object) -> str:
    return next(names for kind, names in _ABOUT.items() if isinstance(source, kind))


def _samples(source: Worker | Publisher | Relay | Backlog) -> Iterator[Sample]:
    if isinstance(source, Worker):
        for service, pipeline in source.pipelines.items():
            yield from _of_service(service, pipeline)
    elif isinstance(source, Publisher):
        topic, published, refused = source.counts
        yield Sample("messaging.publisher.published", (topic,), published)
        yield Sample("messaging.publisher.refused", (topic,), refused)
    elif isinstance(source, Relay):
        for name, value in asdict(source.stats).items():
            yield Sample(f"messaging.relay.{name}", (source.topic_name,), value)
    else:
        status, table = source.status(), (source.table,)
        yield Sample("messaging.outbox.backlog", table, status.pending)
        yield Sample("messaging.outbox.parked", table, status.parked)
        yield Sample("messaging.outbox.age", table, status.oldest or 0)


def _of_service(service: str, pipeline: Pipeline) -> Iterator[Sample]:
    stats, label = pipeline.stats, (service,)
    for name in ("received", "discarded", "deduplicated", "in_flight"):
        yield Sample(f"messaging.worker.{name}", label, getattr(stats, name))
    for account in Disposition:
        count = getattr(stats, account.value)
        yield Sample("messaging.worker.settled", (service, account.value), count)
    waiting = [one.started is None and one.outcome is None for one in pipeline.in_flight.every()]
    yield Sample("messaging.worker.waiting", label, sum(waiting))
    yield Sample("messaging.worker.stuck", label, pipeline.in_flight.stuck)
    now = pipeline.state
    for state in State:
        name = state.value.replace(" ", "_")
        yield Sample("messaging.worker.state", (service, name), state is now)
    yield Sample("messaging.worker.receive_failing", label, pipeline.receiver.failing)
    rate = pipeline.rate
    yield Sample(
        "messaging.worker.rate_failing", label, isinstance(rate, SharedBucket) and rate.away
    )
