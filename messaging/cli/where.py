"""`messaging where`: what is known about one event, and what cannot be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from messaging.cli import screen
from messaging.cli.options import Json, TopologyName
from messaging.cli.outbox import DatabaseUrl, TableName, asked
from messaging.cli.project import connected, deployment
from messaging.clock import utc

if TYPE_CHECKING:
    from messaging.connecting import ServiceBroker

__all__ = ["where"]

_OUTBOX, _MARKS = "messaging_outbox", "messaging_handled"


def where(
    id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event's id.")],
    topology: TopologyName = None,
    database: DatabaseUrl = None,
    table: TableName = _OUTBOX,
    marks: Annotated[
        str, typer.Option(metavar="NAME", help="The table of what was handled.")
    ] = _MARKS,
    json: Json = False,
) -> None:
    """Find an event: in the outbox, in the marks of services, among dead letters.

    Changes nothing; dead letters are hidden from others while they are inspected. Exits with 1 if
    there is no trace of the event. A queue cannot be searched: the output says what is unknown.

    [bold]Example:[/bold] messaging where 7f3c0d1e-5a0b-4c5e-9a55-1f2d3c4b5a69
    """
    wanted, settings = deployment(topology)
    found: dict[str, Any] = {"id": id, "outbox": None, "marks": None, "unknown": []}
    if url := database or settings.database:
        _ask_database(found, url, table, marks)
    else:
        found["unknown"].append(
            "when it was published and who handled it: no database was named "
            "(--database, or MESSAGING_DATABASE)"
        )
    with connected(settings) as broker:
        _ask_queues(found, broker, wanted.services)
    found["unknown"].append(
        "whether it waits in a queue, or a handler has it now: a queue cannot be searched"
    )
    if json:
        screen.data(found)
    else:
        _show(found)
    if not (found["outbox"] or found["marks"] or found["letters"]):
        screen.error("there is no trace of this event")
        raise typer.Exit(1)


def _ask_database(found: dict[str, Any], url: str, outbox: str, marks: str) -> None:
    from messaging.idempotency.finding import marks_of
    from messaging.outbox import Claims
    from messaging.outbox.finding import entries_of

    with asked(url) as database:
        if Claims(database, table=outbox).exists():
            entries = entries_of(database, found["id"], table=outbox)
            found["outbox"] = [
                {
                    "seq": one.seq,
                    "state": one.state,
                    "written": _moment(one.created),
                    "published": _moment(one.published),
                    "attempts": one.attempts,
                    "error": one.error,
                    "claim": _claim(one.body),
                }
                for one in entries
            ]
        else:
            found["unknown"].append(f"when it was published: there is no table {outbox}")
        noted = marks_of(database, found["id"], table=marks)
    if noted is None:
        found["unknown"].append(
            f"who handled it: there is no table {marks}; marks in other stores are not read"
        )
    else:
        found["marks"] = [
            {"service": one.service, "handled": _moment(one.handled)} for one in noted
        ]


def _ask_queues(found: dict[str, Any], broker: ServiceBroker, services: Sequence[str]) -> None:
    from messaging.dead_letters import Where, Workbench
    from messaging.errors import NotFound

    wanted = Where(ids=frozenset({found["id"]}))
    letters: list[dict[str, Any]] = []
    queues: dict[str, Any] = {}
    for service in services:
        try:
            queues[service] = broker.queue(service).depth()._asdict()
            for kind in ("dead", "undelivered"):
                bench = Workbench(broker.letters(service, kind=kind))
                letters += [
                    {"service": service, **one.to_dict(), "claim": _claim(one.delivery.body)}
                    for one in bench.letters(wanted)
                    if one.event_id == found["id"]
                ]
        except NotFound:
            queues.setdefault(service, None)
            found["unknown"].append(f"what {service} has of it: its queues are not all there")
    found["letters"], found["queues"] = letters, queues


def _claim(body: str) -> str | None:
    """The address of the data that a claim check stored, taken from the body."""
    from pydantic_core import from_json

    from messaging.claimcheck import DATAREF

    try:
        document = from_json(body)
    except ValueError:
        return None
    address = document.get(DATAREF) if isinstance(document, dict) else None
    return address if isinstance(address, str) else None


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else utc(seconds).isoformat(timespec="seconds")


def _show(found: dict[str, Any]) -> None:
    rows: list[list[str]] = []
    for one in found["outbox"] or ():
        what = f"entry {one['seq']}: {one['state']}, written {one['written']}"
        what += f", published {one['published']}" if one["published"] else ""
        what += f", {one['attempts']} attempts failed: {one['error']}" if one["error"] else ""
        rows.append(["outbox", what, one["claim"] or ""])
    for one in found["marks"] or ():
        done = f"handled {one['handled']}" if one["handled"] else "begun, and not ended"
        rows.append([f"{one['service']}, mark", done, ""])
    for one in found["letters"]:
        kind = "dead letter" if one["kind"] == "dead" else "undelivered"
        what = f"since {one['time']}: {one['reason']}"
        rows.append([f"{one['service']}, {kind}", what, one["claim"] or ""])
    if rows:
        screen.table(f"Event {found['id']}", ["where", "what", "claim check"], rows)
    for service, depth in found["queues"].items():
        if depth and (depth["visible"] or depth["in_flight"] or depth["delayed"]):
            screen.note(
                f"the queue of {service} holds {depth['visible']} visible, "
                f"{depth['in_flight']} in flight, {depth['delayed']} delayed messages"
            )
    for one in found["unknown"]:
        screen.note(f"not known: {one}")
