"""The demo: a CSV file of students goes to four services on this machine.

    python -m examples.demo            # or: make demo
    python -m examples.demo --json     # or: make demo ARGS=--json
    python -m examples.demo --trace    # or: make demo ARGS=--trace
    python -m examples.demo --broker rabbitmq    # or: make demo BROKER=rabbitmq

It starts a local server, writes the topology out, starts the four services as four processes,
publishes the file, waits until everything is handled, and compares what each service did with
what it should have done. Exit code 0 says that every count is right. Nothing stays behind.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Names
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Any

from consumers import SERVICES, TOPOLOGY
from consumers.events import AlunoCadastrado
from examples._fleet import Ended, Fleet, ServiceDied
from examples._otlp import Seen
from examples._screen import Bars, print_health, print_table, print_trace
from messaging import MessagingError, Publisher
from messaging.connecting import ServiceBroker
from messaging.csvfile import BadRow, Mapping, events_from
from messaging.local import LocalRabbitMQ, LocalServer
from messaging.projection import views

if TYPE_CHECKING:
    from examples._traced import Traced

__all__ = ["main"]

CSV = Path(__file__).parent / "data" / "alunos.csv"
MAPPING = Mapping(
    defaults={"aluno_id": "@uuid:email+nome", "origem": "csv", "data_matricula": "@now"}
)
"""What a file may not say. An id of e-mail and name together: a family may share an address."""
BROKERS = {"sqs": LocalServer, "rabbitmq": LocalRabbitMQ}
PATIENCE = 60.0
"""Seconds without any progress after which the demo gives up."""


@dataclass
class Expected:
    """What should come of the file, counted while it is read."""

    bad_rows: int = 0
    copies: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def take(self, event: AlunoCadastrado) -> None:
        """Count the copies of `event`, and who will reject its own."""
        for copy in views(event):
            self.copies.update(copy.audience)
        if event.valor_mensalidade is not None and event.valor_mensalidade < 0:
            self.rejected["financeiro"] += 1  # and nobody else: nobody else sees the fee

    def handled(self, service: str) -> int:
        """Events that should have taken effect."""
        return self.copies[service] - self.rejected[service]


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 if every count is right, 1 if not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--trace", action="store_true", help="show one trace, and the health")
    parser.add_argument("--broker", choices=BROKERS, default="sqs", help="what carries the events")
    parser.add_argument("--csv", type=Path, default=CSV, help="another file of students")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        began = time.monotonic()
        with _traced() if given.trace else nullcontext() as traced:
            result = run(given.csv, given.broker, traced)
        result["seconds"] = round(time.monotonic() - began, 1)
    except KeyboardInterrupt:
        print("stopped; nothing is left behind", file=sys.stderr)
        return 130
    except (MessagingError, ServiceDied, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _tell(result, as_json=given.json)
    return 0 if not result["mistakes"] else 1


def _traced() -> Traced:
    from examples._traced import Traced  # OpenTelemetry is loaded by those who trace

    return Traced()


def run(
    csv: Path,
    broker_name: str = "sqs",
    traced: Traced | None = None,
    *,
    besides: Callable[[ServiceBroker], object] | None = None,
) -> dict[str, Any]:
    """The whole way, from an empty server to the counts.

    besides  is called while the services run, when everything has arrived.
    """
    events_from(csv, AlunoCadastrado, MAPPING).close()  # a file that will not do is told at once
    print("a local server, a topic, four queues and four services ...", file=sys.stderr)
    local = BROKERS[broker_name]
    with TemporaryDirectory(prefix="messaging-demo-") as folder, local() as server:
        settings = server.settings(topic=TOPOLOGY.topic.name)
        server.apply(TOPOLOGY, settings)
        broker = server.connect(settings)
        environment = {
            **server.environment,
            "MESSAGING_TOPIC": TOPOLOGY.topic.name,
            "MESSAGING_TOPOLOGY": "consumers:TOPOLOGY",
            "MESSAGING_LOG_LEVEL": "ERROR",  # each rejected fee would be a warning
            "MESSAGING_WAIT": "1",  # a stop waits for the long poll that is out
        }
        expected = Expected()
        with (
            Fleet(Path(folder), environment, traced) as fleet,
            Bars(("published", *TOPOLOGY.services)) as bars,
        ):
            if traced is not None:
                fleet.health()  # so that the trace shows no service that still starts
            published = _publish(csv, broker, expected, fleet, bars, traced)
            _wait(broker, expected, fleet, bars)
            health = {} if traced is None else fleet.health()
            if besides is not None:
                besides(broker)
            letters = _dead_letters(broker)
            effects = {name: fleet.effects(name) for name in TOPOLOGY.services}
            ended = fleet.stop()
        broker.close()
    services = {
        name: {
            "expected": expected.copies[name],
            "handled": effects[name],
            "rejected": ended[name].notes["rejected"],
            "dead_lettered": letters[name],
            "fields": ended[name].notes["fields"],
        }
        for name in TOPOLOGY.services
    }
    result = {
        "published": published,
        "rejected_rows": expected.bad_rows,
        "services": services,
        "mistakes": list(_mistakes(expected, services, ended)),
    }
    if traced is not None:
        result["trace"] = [one._asdict() for one in traced.spans()]
        result["health"] = health
    return result


def _publish(
    csv: Path,
    broker: ServiceBroker,
    expected: Expected,
    fleet: Fleet,
    bars: Bars,
    traced: Traced | None,
) -> int:
    """Publish the file while it is read; how many events the topic accepted."""
    bad: list[BadRow] = []

    def counted(events: Iterator[AlunoCadastrado]) -> Iterator[AlunoCadastrado]:
        for event in events:
            expected.take(event)
            yield event

    def show(accepted: int, total: int | None = None) -> None:
        bars.set("published", accepted, total, f"{len(bad)} bad rows")
        if bars.due():
            _show(expected, fleet, bars)

    with (
        events_from(csv, AlunoCadastrado, MAPPING) as table,
        Publisher(broker.topic(), source="/cadastro") as publisher,
    ):
        events = counted(table.events(on_bad=bad.append))
        alone = 0
        if traced is not None and (first := next(events, None)) is not None:
            traced.published_to = tuple(sorted(expected.copies))
            traced.publish(broker.topic(), first, table.id_of(first))
            alone = 1
        result = publisher.publish_many(
            events,
            id=table.id_of,
            on_progress=lambda progress: show(alone + progress.accepted),
        )
    accepted = alone + result.accepted
    expected.bad_rows = len(bad)
    show(accepted, accepted)
    return accepted


def _wait(broker: ServiceBroker, expected: Expected, fleet: Fleet, bars: Bars) -> None:
    """Until every service has done what it should, or nothing has moved for `PATIENCE`."""
    before, since = -1, time.monotonic()
    while True:
        done = _show(expected, fleet, bars)
        letters = sum(_dead_letters(broker).values())
        if done + letters >= expected.copies.total():
            return
        if done + letters != before:
            before, since = done + letters, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            return  # the counts will say what is missing
        fleet.check()
        time.sleep(0.2)


def _dead_letters(broker: ServiceBroker) -> dict[str, int]:
    return {name: broker.queue(name).depth().dead_letters for name in TOPOLOGY.services}


def _show(expected: Expected, fleet: Fleet, bars: Bars) -> int:
    effects = {name: fleet.effects(name) for name in TOPOLOGY.services}
    for name, done in effects.items():
        rejected = expected.rejected[name]
        note = f"{rejected} to reject" if rejected else ""
        bars.set(name, done, expected.handled(name), note)
    bars.draw()
    return sum(effects.values())


def _mistakes(
    expected: Expected, services: Names[str, Names[str, Any]], ended: Names[str, Ended]
) -> Iterator[str]:
    """What is not as it should be, each in one sentence."""
    for consumer in SERVICES:
        name = consumer.service
        counts, left = services[name], ended[name]
        wanted = {
            "handled": expected.handled(name),
            "rejected": expected.rejected[name],
            "dead_lettered": expected.rejected[name],
        }
        for what, number in wanted.items():
            if counts[what] != number:
                yield f"{name}: {what} {counts[what]} instead of {number}"
        if left.notes["handled"] != counts["handled"]:
            yield f"{name}: {left.notes['handled']} handled, but {counts['handled']} took effect"
        stats = left.stats
        ends = ("acknowledged", "released", "dead_lettered", "expired", "in_flight")
        if stats["received"] != sum(stats[end] for end in ends):
            yield f"{name}: of {stats['received']} receipts some are not accounted for"
        declared = sorted(consumer.handlers[AlunoCadastrado.event_type].view.model_fields)
        if counts["expected"] and counts["fields"] != declared:
            yield f"{name}: received {counts['fields']}, and its view declares {declared}"


def _tell(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(
            f"{result['published']:,} students published in {result['seconds']} s, "
            f"rows refused: {result['rejected_rows']}\n"
        )
        print_table(result["services"])
        if "trace" in result:
            print_trace([Seen(**one) for one in result["trace"]])
            print_health(result["health"])
    for mistake in result["mistakes"]:
        print(f"wrong: {mistake}", file=sys.stderr)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
