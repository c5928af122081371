"""`messaging outbox`: runs the relay, and shows and cleans up the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from messaging.cli import screen
from messaging.cli.help import add, group
from messaging.cli.options import Json, TopologyName, flag
from messaging.cli.project import connected, deployment_if_any, require_topic
from messaging.cli.signals import asked_by_signals
from messaging.errors import ConfigurationError, MessagingError

if TYPE_CHECKING:
    from messaging.outbox import Claims, OutboxStatus, RelayStats
    from messaging.settings import Settings
    from messaging.sql.database import Database

__all__ = ["DatabaseUrl", "TableName", "app", "asked"]

app = group("Send what your transactions wrote to the outbox, and maintain it.")

_DAY = 86_400.0

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="postgresql://user@host/name, mysql://user@host/name or sqlite:///file.db. "
        "Never with a password, which the list of processes would show: that goes into "
        "MESSAGING_DATABASE or MESSAGING_DATABASE_FILE.",
    ),
]
TableName = Annotated[str, typer.Option(metavar="NAME", help="The outbox's table.")]
Lease = Annotated[
    float,
    typer.Option(min=0.1, help="Seconds for which other relays leave claimed entries alone."),
]
Batch = Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of entries in flight.")]
Poll = Annotated[
    float, typer.Option(min=0.01, help="Maximum seconds between two polls of an empty outbox.")
]
Keep = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="DAYS", help="Delete entries published this many days ago; 0: at once."
    ),
]
NoListen = Annotated[
    bool,
    flag(
        "--no-listen",
        "Only poll: for PostgreSQL behind a pooler in transaction mode.",
    ),
]
UntilEmpty = Annotated[
    bool, flag("--until-empty", "Send what is there and end; exit 1 if some is left.")
]
OlderThan = Annotated[
    float, typer.Option(min=0, metavar="DAYS", help="Days since it was published.")
]
Parked = Annotated[bool, flag("--parked", "Also delete entries parked that long ago.")]
Entries = Annotated[
    list[int] | None,
    typer.Argument(metavar="SEQ", help="Numbers of entries, as in `status`; all if none is given."),
]

_TABLE = "messaging_outbox"


def relay_command(
    database: DatabaseUrl = None,
    table: TableName = _TABLE,
    lease: Lease = 120.0,
    batch: Batch = 1000,
    poll: Poll = 1.0,
    keep: Keep = None,
    no_listen: NoListen = False,
    until_empty: UntilEmpty = False,
    topology: TopologyName = None,
    json: Json = False,
) -> None:
    """Send the entries committed to the outbox, until Ctrl-C or SIGTERM.

    Run as many as you like: no two send the same entry, and the entries of one key are sent in
    order. On PostgreSQL a commit wakes it. It waits for a database or topic that is unavailable.
    When stopped, it finishes the requests in flight and releases the other entries.

    [bold]Example:[/bold] messaging outbox relay --keep 7
    """
    from messaging.outbox import Relay, connector

    _, settings = deployment_if_any(topology)
    require_topic(settings)
    connect_database = connector(_url(database, settings))
    screen.log_to_stderr(settings.log_level)
    with (
        connected(settings) as broker,
        Relay(
            connect_database,
            broker.topic(),
            table=table,
            lease=lease,
            batch=batch,
            poll=poll,
            keep=None if keep is None else keep * _DAY,
            listen=not no_listen,
        ) as relay,
        asked_by_signals(relay.stop),
    ):
        stats = relay.drain() if until_empty else relay.run()
    _tell_stats(stats, json)
    if until_empty:
        with _claims(database, table) as claims:
            left = claims.status().pending
        if left:
            screen.error(f"{left} entries are left: see messaging outbox status")
            raise typer.Exit(1)


def status_command(
    database: DatabaseUrl = None, table: TableName = _TABLE, json: Json = False
) -> None:
    """Show how full the outbox is, and every entry that was refused.

    A "parked" entry was refused for good and waits for you: fix the cause, then run `outbox retry`.
    Exits with 1 if any entry is parked.

    [bold]Example:[/bold] messaging outbox status --json
    """
    with _claims(database, table) as claims:
        status = claims.status()
    if json:
        screen.data(asdict(status))
    else:
        _tell_status(status, table)
    if status.parked:
        raise typer.Exit(1)


def retry_command(
    seqs: Entries = None,
    database: DatabaseUrl = None,
    table: TableName = _TABLE,
    json: Json = False,
) -> None:
    """Make parked entries pending again, and retry failed ones immediately.

    [bold]Example:[/bold] messaging outbox retry 1204 1207
    """
    with _claims(database, table) as claims:
        count = claims.retry(seqs or None)
    _tell_count("taken up again", count, json)


def prune_command(
    older_than: OlderThan = 7.0,
    parked: Parked = False,
    database: DatabaseUrl = None,
    table: TableName = _TABLE,
    json: Json = False,
) -> None:
    """Delete entries published some days ago. Unpublished entries stay.

    [bold]Example:[/bold] messaging outbox prune --older-than 30
    """
    with _claims(database, table) as claims:
        count = claims.prune(older_than * _DAY, parked=parked)
    _tell_count("deleted", count, json)


def ddl_command(
    dialect: Annotated[
        Literal["postgresql", "mysql", "sqlite"],
        typer.Argument(help="postgresql, mysql (also for MariaDB) or sqlite."),
    ],
    table: TableName = _TABLE,
) -> None:
    """Print the statements that create the table, for your migrations.

    [bold]Example:[/bold] messaging outbox ddl postgresql
    """
    from messaging.outbox import ddl

    screen.line(ddl(dialect, table).rstrip())


add(app, "relay", relay_command)
add(app, "status", status_command)
add(app, "retry", retry_command)
add(app, "prune", prune_command)
add(app, "ddl", ddl_command)


def _url(given: str | None, settings: Settings) -> str:
    url = given or settings.database
    if url is None:
        raise ConfigurationError(
            "which database? Set MESSAGING_DATABASE to postgresql://user@host/name, "
            "mysql://user@host/name or sqlite:///file.db, or "
            "MESSAGING_DATABASE_FILE to a file that says so; or give --database, without a password"
        )
    if given and re.search("://.*:.*@|password", given):
        screen.note(
            "the password in --database can be read by everybody on this machine, in its list of "
            "processes: use MESSAGING_DATABASE or MESSAGING_DATABASE_FILE"
        )
    return url


@contextmanager
def _claims(given: str | None, table: str) -> Iterator[Claims]:
    from messaging.outbox import Claims

    _, settings = deployment_if_any(None)
    with asked(_url(given, settings)) as database:
        claims = Claims(database, table=table)
        claims.check()
        yield claims


@contextmanager
def asked(url: str) -> Iterator[Database]:
    """The database at `url`, for a command: database errors become a `MessagingError`."""
    from messaging.outbox import Database, connector
    from messaging.sql.opening import is_database_error

    database = Database(connector(url))
    try:
        yield database
    except Exception as error:
        if not is_database_error(error):
            raise
        raise MessagingError(f"the database refused it: {type(error).__name__}") from None
    finally:
        database.close()


def _tell_stats(stats: RelayStats, json: bool) -> None:
    if json:
        screen.data(asdict(stats))
        return
    screen.table(
        "What became of the entries",
        [">published", ">failed attempts", ">parked", ">leases lost", ">pruned"],
        [list(asdict(stats).values())],
    )


def _tell_status(status: OutboxStatus, table: str) -> None:
    counts: dict[str, Any] = asdict(status)
    troubled = counts.pop("troubled")
    counts["oldest"] = "" if status.oldest is None else f"{status.oldest:.0f} s"
    names = [">" + name.replace("_", " ") for name in counts]
    screen.table(f"Outbox {table}", names, [list(counts.values())])
    if troubled:
        screen.table(
            "Not accepted so far",
            [">seq", "event", "type", ">attempts", "error", "parked"],
            [
                [
                    *(one[name] for name in ("seq", "id", "type", "attempts", "error")),
                    screen.marked("[bold red]yes[/]") if one["parked"] else "",
                ]
                for one in troubled
            ],
        )


def _tell_count(what: str, count: int, json: bool) -> None:
    if json:
        screen.data({"entries": count})
    else:
        screen.line(f"{count} entries {what}")
