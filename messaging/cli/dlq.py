"""`messaging dlq`: lists, shows, redrives or drops dead letters."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from messaging.cli import screen
from messaging.cli.help import add, group
from messaging.cli.options import Json, TopologyName, flag
from messaging.cli.project import connected, deployment
from messaging.cli.signals import asked_by_signals
from messaging.clock import SYSTEM_CLOCK, utc
from messaging.errors import ConfigurationError
from messaging.printable import printable

if TYPE_CHECKING:
    from messaging.connecting import ServiceBroker
    from messaging.dead_letters import DeadLetterSource, Letter, Where, Workbench, WorkbenchReport
    from messaging.dead_letters.source import OnProgress
    from messaging.topology import Topology

__all__ = ["app"]

app = group("Dead letters: inspect them, send them back to their queue, or drop them.")

_UNITS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="Whose letters.")]
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Ids of letters, or of their events.")
]
Undelivered = Annotated[bool, flag("--undelivered", "What SNS could not deliver to the queue.")]
Yes = Annotated[bool, flag("--yes", "Do it; without it, only count.")]


@dataclass(frozen=True, kw_only=True)
class Letters:
    """Selects dead letters."""

    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Letters of this event type; may be repeated."),
    ] = None
    reason: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="Found in the reason or in the error's name, in any case."
        ),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Given up since: 90m, 2h, 7d (ago), or 2026-11-24T10:00."
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Given up before then; same format as --since."),
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many letters.")] = None
    undelivered: Undelivered = False

    def where(self, ids: Sequence[str] | None = None) -> Where:
        """The selection for the workbench; raises `ConfigurationError` for an invalid time."""
        from messaging.dead_letters import Where

        return Where(
            ids=frozenset(ids or ()),
            types=frozenset(self.types or ()),
            reason=self.reason,
            since=_moment("--since", self.since),
            until=_moment("--until", self.until),
        )


def list_command(
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="SERVICE", help="The service; all services if none is given."),
    ] = None,
    letters: Letters = Letters(),
    topology: TopologyName = None,
    json: Json = False,
) -> None:
    """List dead letters, without their contents. With --json, one line for each.

    SQS can only show messages by receiving them: each listed letter is hidden from others until the
    list ends.

    [bold]Example:[/bold] messaging dlq list marketing --reason email --since 2h
    """
    where = letters.where()
    rows: list[list[object]] = []
    with _opened(topology) as (wanted, broker):
        for service in services or wanted.services:
            bench = _bench(wanted, broker, service, letters.undelivered)
            for letter in bench.letters(where, limit=letters.limit):
                if json:
                    screen.data({"service": service, **letter.to_dict()})
                else:
                    rows.append([service, *_cells(letter)])
    if rows:
        what = "Undelivered" if letters.undelivered else "Dead letters"
        screen.table(what, ["service", "given up", "letter"], rows)
    elif not json:
        screen.note("no letters")


def show_command(
    service: Service,
    id: Annotated[str, typer.Argument(metavar="ID", help="Of the letter, or of its event.")],
    body: Annotated[bool, flag("--body", "Show the body, too, which is personal data.")] = False,
    undelivered: Undelivered = False,
    topology: TopologyName = None,
    json: Json = False,
) -> None:
    """Show one dead letter: why it is here and, with --body, its contents.

    [bold]Example:[/bold] messaging dlq show marketing 7f3c0d1e-5a0b-4c5e-9a55-1f2d3c4b5a69
    """
    with _opened(topology) as (wanted, broker):
        bench = _bench(wanted, broker, service, undelivered)
        letter = next(bench.letters(Letters().where([id]), limit=1), None)
    if letter is None:
        source = "what could not be delivered to" if undelivered else "the dead letters of"
        screen.error(
            f"no letter {printable(id)} among {source} {service}; see: messaging dlq list {service}"
        )
        raise typer.Exit(1)
    told = letter.to_dict() | {
        "origin": letter.queue,
        "sent": utc(letter.delivery.sent_at).isoformat(timespec="seconds"),
        "group": letter.delivery.group,
        "bytes": len(letter.delivery.body.encode(errors="surrogatepass")),
        # Names only: another producer may have put personal data into the values.
        "attributes": sorted(letter.delivery.attributes),
    }
    if json:
        screen.data(told | ({"body": letter.delivery.body} if body else {}))
        return
    for name, value in told.items():
        text = ", ".join(value) if isinstance(value, list) else value
        if text is not None:
            screen.line(f"{name + ':':<12}{printable(str(text))}")
    if body:
        screen.line("")
        # Keep the body's line breaks; --json prints it unchanged.
        for line in letter.delivery.body.split("\n"):
            screen.line(printable(line))


def redrive_command(
    service: Service,
    ids: Ids = None,
    letters: Letters = Letters(),
    yes: Yes = False,
    topology: TopologyName = None,
    json: Json = False,
) -> None:
    """Send dead letters back to the service's own queue. Without --yes, only count them.

    Never to the topic: other services do not get them again. A letter is deleted once its copy is
    in the queue. Ctrl-C stops cleanly; run the same command to continue.

    [bold]Example:[/bold] messaging dlq redrive marketing --reason email --yes
    """
    _work("redrive", service, letters, letters.where(ids), yes, topology, json)


def drop_command(
    service: Service,
    ids: Ids = None,
    letters: Letters = Letters(),
    yes: Yes = False,
    topology: TopologyName = None,
    json: Json = False,
) -> None:
    """Permanently delete dead letters. Without --yes, only count them.

    [bold]Example:[/bold] messaging dlq drop marketing --type aluno.atualizado --until 7d --yes
    """
    _work("drop", service, letters, letters.where(ids), yes, topology, json)


def _work(
    action: Literal["redrive", "drop"],
    service: str,
    letters: Letters,
    where: Where,
    yes: bool,
    topology: str | None,
    json: bool,
) -> None:
    asked: list[bool] = []
    with _opened(topology) as (wanted, broker):
        bench = _bench(wanted, broker, service, letters.undelivered)
        if not yes and not json:
            _preview(action, bench.letters(where, limit=letters.limit), bench.source)
            return
        with asked_by_signals(lambda: asked.append(True), (signal.SIGINT,)):
            with _counting(action) as tell:
                work = bench.redrive if action == "redrive" else bench.drop
                report = work(
                    where,
                    limit=letters.limit,
                    dry_run=not yes,
                    on_progress=tell,
                    stop=lambda: bool(asked),
                )
            # A Ctrl-C after the work is done must not suppress its report.
            if json:
                screen.data(report.to_dict())
            else:
                _tell(report)
    if report.stopped:
        raise typer.Exit(130)
    if report.failed:
        raise typer.Exit(1)


def _preview(action: str, letters: Iterator[Letter], source: DeadLetterSource) -> None:
    counts = Counter((one.type or "?", one.reason) for one in letters)
    if not counts:
        screen.note("no letters match: nothing to do")
        return
    rows = [(count, *letter) for letter, count in counts.most_common()]
    screen.table("Dry run", [">letters", "type", "reason"], rows)
    goal = f"go back to {source.origin}" if action == "redrive" else "be deleted for good"
    screen.note(f"{counts.total():,} letters of {source.name} would {goal}; add --yes to do it")


def _tell(report: WorkbenchReport) -> None:
    goal = f"went back to {report.origin}" if report.action == "redrive" else "were deleted"
    by = " (moved by AWS)" if report.by_aws else ""
    screen.note(f"{report.done:,} letters of {report.queue} {goal}{by}")
    if report.arrived:
        screen.note(
            f"{report.arrived:,} came while this ran, and were left: they may have failed again"
        )
    if report.stopped and report.by_aws:
        screen.note("AWS continues to move the rest; run the same command to follow it")
    elif report.stopped:
        screen.note("interrupted; run the same command to continue")
    for reason, count in Counter((one.code, one.reason) for one in report.failed).most_common(10):
        screen.error(f"{count:,} letters stay: {printable(': '.join(reason))}")


def _cells(letter: Letter) -> list[object]:
    # One below the other: side by side, the ids and the reason do not fit into 80 columns.
    event = " ".join(filter(None, (letter.type, letter.event_id))) or "unknown"
    attempts = "" if letter.attempts is None else f", attempts: {letter.attempts}"
    error = f"{letter.error}: " if letter.error else ""
    told = (f"{letter.id}{attempts}", f"event {event}", f"{error}{letter.reason}")
    when = utc(letter.time).strftime("%Y-%m-%d\n%H:%M:%SZ")
    return [screen.marked(when), screen.marked(*map(screen.plain, told))]


@contextmanager
def _opened(said: str | None) -> Iterator[tuple[Topology, ServiceBroker]]:
    wanted, settings = deployment(said)
    with connected(settings) as broker:
        yield wanted, broker


def _bench(wanted: Topology, broker: ServiceBroker, service: str, undelivered: bool) -> Workbench:
    from messaging.dead_letters import Workbench

    wanted.queue(service)  # raises for an unknown service, naming the known ones
    return Workbench(broker.letters(service, kind="undelivered" if undelivered else "dead"))


def _moment(option: str, said: str | None) -> float | None:
    if said is None:
        return None
    if ago := re.fullmatch(r"(\d+)([smhd])", said):
        return SYSTEM_CLOCK.now() - int(ago[1]) * _UNITS[ago[2]]
    try:
        # Without an offset it is local time, which is what people mean.
        return datetime.fromisoformat(said).astimezone().timestamp()
    except ValueError:
        raise ConfigurationError(
            f"{option} {said!r}: write how long ago (90m, 2h, 7d) or a date and time "
            "(2026-11-24, 2026-11-24T10:00Z)"
        ) from None


@contextmanager
def _counting(action: str) -> Iterator[OnProgress | None]:
    """Show a running count on stderr if it is a terminal."""
    console = screen.console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status(f"{action}: 0") as status:
        yield lambda done, total: status.update(
            f"{action}: {done:,}" + (f" of about {total:,}" if total else "")
        )


add(app, "list", list_command)
add(app, "show", show_command)
add(app, "redrive", redrive_command)
add(app, "drop", drop_command)
