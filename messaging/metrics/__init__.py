"""Metrics of workers, publishers and relays: one set of names, for Prometheus and OpenTelemetry.

    metrics = Metrics(worker, publisher)
    REGISTRY.register(prometheus.Collector(metrics))         # messaging.metrics.prometheus
    otel.observe(metrics)                                    # messaging.metrics.otel

These objects keep their counts anyway; they are read when somebody scrapes or exports. Durations
and ages are measured once there is a `Metrics` for a worker or a publisher. Labels are services,
topics and tables, the event types that a consumer handles, outcomes, states and classes of errors,
never event data, so their number does not grow with traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import ConfigurationError
from messaging.histogram import Read
from messaging.logs import logger
from messaging.metrics.names import METRICS, Metric
from messaging.outbox.claims import OutboxStatus
from messaging.outbox.relay import Relay
from messaging.publishing.publisher import Publisher
from messaging.runtime.backpressure import State
from messaging.runtime.in_flight import Disposition
from messaging.runtime.shared_rate import SharedBucket
from messaging.runtime.worker import Worker

if TYPE_CHECKING:
    from messaging.consuming.dispatch import Dispatcher
    from messaging.runtime.measures import Measures
    from messaging.runtime.pipeline import Pipeline

__all__ = ["METRICS", "Backlog", "Metric", "Metrics", "Sample"]

log = logger("messaging.metrics")


class Sample(NamedTuple):
    """One current value, with the values of its metric's labels in order.

    Args:
        name: the metric's name.
        labels: the values of its labels, in order.
        value: the value, or the histogram.
    """

    name: str
    labels: tuple[str, ...]
    value: float | Read


class Backlog:
    """An outbox's backlog and age as a source of `Metrics`.

    Args:
        status: returns an `OutboxStatus`; called at each reading.
        table: the outbox's table, for the label.

    Example:
        ```python
        from messaging.metrics import Backlog, Metrics
        from messaging.outbox import Relay, create
        from messaging.outbox.claims import Claims
        from messaging.sql import open_sqlite
        from messaging.sql.database import Database

        connection = open_sqlite("escola.db")
        create(connection)
        connection.close()

        database = Database(lambda: open_sqlite("escola.db"))
        backlog = Backlog(Claims(database).status, table="messaging_outbox")
        assert Metrics(backlog).read("messaging.outbox.")
        database.close()
        ```
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
"""The prefix of the names of a source's metrics."""


class Metrics:
    """Reads workers, publishers, relays and backlogs. Thread-safe.

    Two sources with the same labels, such as two publishers to one topic, are added up. From now
    on, the workers and publishers measure how long handlers and requests take.

    Args:
        *sources: the objects to read.

    Raises:
        ConfigurationError: for a source of another type.

    Example:
        ```python
        from messaging.metrics import Metrics

        metrics = Metrics(publisher)  # with a worker: Metrics(publisher, worker)
        publisher.publish(ana)
        assert metrics.read("messaging.publisher.")
        ```
    """

    def __init__(self, *sources: Worker | Publisher | Relay | Backlog) -> None:
        for source in sources:
            if not isinstance(source, Worker | Publisher | Relay | Backlog):
                raise ConfigurationError(
                    f"Metrics({type(source).__qualname__}): give a Worker, a Publisher, a Relay "
                    "or a Backlog"
                )
            if isinstance(source, Worker | Publisher):
                source.measure()
        self._sources = sources

    def read(self, only: str = "") -> Mapping[str, Mapping[tuple[str, ...], float | Read]]:
        """All current values, by metric name and labels.

        A source that cannot be read (such as an unavailable database) is left out, and logged.

        Args:
            only: the name of one metric: other sources are not read. "" reads all.
        """
        found: dict[str, dict[tuple[str, ...], float | Read]] = {one.name: {} for one in METRICS}
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
                values[labels] = _sum(values.get(labels), value)
        return found


def _sum(one: float | Read | None, other: float | Read) -> float | Read:
    if isinstance(one, Read) and isinstance(other, Read):
        return one + other
    return other if one is None or isinstance(one, Read) or isinstance(other, Read) else one + other


def _about(source: object) -> str:
    return next(names for kind, names in _ABOUT.items() if isinstance(source, kind))


def _samples(source: Worker | Publisher | Relay | Backlog) -> Iterator[Sample]:
    if isinstance(source, Worker):
        for service, pipeline in source.pipelines.items():
            yield from _of_service(service, pipeline)
            yield from _of_probes(service, source.dispatchers[service])
            if measures := source.measures.get(service):
                yield from _measured(service, pipeline, measures)
    elif isinstance(source, Publisher):
        topic, published, refused = source.counts
        yield Sample("messaging.publisher.published", (topic,), published)
        yield Sample("messaging.publisher.refused", (topic,), refused)
        if source.durations is not None:
            yield Sample("messaging.publisher.duration", (topic,), source.durations.read())
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
    yield Sample("messaging.worker.leases_renewed", label, pipeline.heartbeat.renewed)
    yield Sample("messaging.worker.leases_lost", label, pipeline.heartbeat.lost)


def _of_probes(service: str, dispatcher: Dispatcher) -> Iterator[Sample]:
    yield Sample("messaging.worker.probes", (service,), dispatcher.probes)
    if dispatcher.last_probe is not None:
        delay, at = dispatcher.last_probe
        yield Sample("messaging.worker.probe_delay", (service,), delay)
        age = max(0.0, SYSTEM_CLOCK.now() - at)
        yield Sample("messaging.worker.probe_age", (service,), age)


def _measured(service: str, pipeline: Pipeline, measures: Measures) -> Iterator[Sample]:
    label = (service,)
    yield Sample("messaging.worker.oldest", label, measures.oldest(pipeline.in_flight))
    for (type, outcome), one in measures.durations().items():
        yield Sample("messaging.worker.handler_duration", (service, type, outcome), one.read())
    yield Sample("messaging.worker.time_in_queue", label, measures.in_queue.read())
    yield Sample("messaging.worker.event_age", label, measures.age.read())
    for attempt, count in measures.retries().items():
        yield Sample("messaging.worker.retries", (service, attempt), count)
    for reason, count in measures.reasons().items():
        yield Sample("messaging.worker.dead_letters", (service, reason), count)
