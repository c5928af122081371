"""`messaging publish`: publishes a CSV file's rows as events, and sets unreadable rows aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from messaging.cli import names, screen
from messaging.cli.options import CodecName, Json, TopologyName, flag
from messaging.cli.project import (
    HOST,
    Project,
    chosen_codec,
    connected,
    deployment_if_any,
    require_topic,
)
from messaging.errors import ConfigurationError
from messaging.printable import printable

if TYPE_CHECKING:
    from messaging.cli.sending import SentRows
    from messaging.csvfile import Language
    from messaging.csvfile import Mapping as ColumnMapping
    from messaging.event import Event

__all__ = ["publish"]

_SHOWN = 10


@dataclass(frozen=True, kw_only=True, repr=False)
class PublishOptions:
    """The options of `messaging publish`. Its repr hides their values, such as defaults."""

    event: Annotated[
        str | None,
        typer.Option(metavar="MODULE:NAME", help="The event. Else `event` in the project's file."),
    ] = None
    map: Annotated[
        Path | None, typer.Option(help="TOML: columns, defaults, timezone, decimal_comma.")
    ] = None
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=FIELD", help="The file's column for a field; repeatable."),
    ] = None
    default: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="For a field without a value; repeatable."),
    ] = None
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where bad rows go. Else beside the file: NAME.rejeitados.csv."),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(help="Who publishes. Else MESSAGING_SOURCE, the project's file, /csv."),
    ] = None
    resume_from: Annotated[
        int, typer.Option(min=1, metavar="LINE", help="Publish from this line of the file on.")
    ] = 1
    dry_run: Annotated[bool, flag("--dry-run", "Read and check everything, send nothing.")] = False
    strict: Annotated[bool, flag("--strict", "Exit 1 if a row was bad.")] = False
    date_order: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLUMN=]ORDER", help="dmy or mdy, for all dates or a column; repeatable."
        ),
    ] = None
    empty: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text that means an empty cell; repeatable."),
    ] = None
    no_header: Annotated[
        bool, flag("--no-header", 'The columns are "#1", "#2", ...: map them.')
    ] = False
    event_ids: Annotated[
        Literal["data", "cells"] | None,
        typer.Option(
            metavar="cells", help="Ids as 0.1.0 made them, to finish a run begun with it."
        ),
    ] = None
    allow_none: Annotated[bool, flag("--allow-none", "Exit 0 where nothing was published.")] = False
    language: Annotated[
        Literal["en", "pt"] | None,
        typer.Option(metavar="en|pt", help="Of reasons. Else MESSAGING_LANGUAGE, the locale's."),
    ] = None
    codec: CodecName = None
    topology: TopologyName = None
    json: Json = False


def publish(
    file: Annotated[Path, typer.Argument(help='The CSV file; "-" is standard input.')],
    given: PublishOptions,
) -> None:
    """Publish each row of a CSV file as an event.

    Reads ";", "," or tab, UTF-8, UTF-16 or Windows-1252, a zip with one file, and .xlsx with the
    extra of that name. Bad rows go to a side file with line, column and reason, and the good ones
    are published; the exit code is then 0, unless --strict is given or nothing was published. If
    SNS did not accept a row, it exits with 1 and says how to resume. --dry-run overwrites no side
    file.

    The same data has the same event id whenever it is published: sending a file twice is safe.

    [bold]Example:[/bold] messaging publish alunos.csv --map mapeamento.toml
    """
    from messaging.cli.sending import send

    project = HOST.get().project()
    found = _event(given.event, project)
    mapping = _mapping(given, project).merged(
        date_order=_orders(given.date_order or ()),
        empty=given.empty or (),
        header=False if given.no_header else None,
        event_ids=given.event_ids,
    )
    _, settings = deployment_if_any(given.topology)
    reader = given.language or settings.language
    if not given.dry_run:
        require_topic(settings)
    with nullcontext() if given.dry_run else connected(settings) as broker:
        sent = send(
            file,
            found,
            mapping,
            broker.topic() if broker is not None else settings.max_bytes,
            source=given.source or settings.source or project.source or "/csv",
            codec=chosen_codec(given.codec),
            rejects=given.rejects,
            resume_from=given.resume_from,
            language=reader,
        )
    _tell(sent, file, given.json, reader)
    raise typer.Exit(_code(sent, given.strict, given.allow_none))


def _event(event: str | None, project: Project) -> type[Event]:
    named = event or project.event
    if named is None:
        raise ConfigurationError(
            "which event? Give --event module:NAME, or in pyproject.toml: "
            '[tool.messaging] event = "module:NAME"'
        )
    return names.event(named, "--event" if event else f"event in {project.file}:")


def _orders(given: Sequence[str]) -> str | Mapping[str, str] | None:
    """Parse --date-order: one order for all columns, or "COLUMN=ORDER" for each."""
    pairs = [one.rpartition("=") for one in given]
    if not pairs:
        return None
    if all(equals and column for column, equals, _ in pairs):
        return {column: order for column, _, order in pairs}
    if len(pairs) == 1:
        return given[0]
    raise ConfigurationError("--date-order: give one for all columns, or COLUMN=ORDER each")


def _mapping(given: PublishOptions, project: Project) -> ColumnMapping:
    """The file of --map, otherwise the project's [csv]; options of the command line override
    both."""
    from messaging.csvfile import Mapping as ColumnMapping

    if given.map is not None:
        try:
            mapping = ColumnMapping.load(given.map)
        except OSError as error:
            raise ConfigurationError(f"--map {given.map}: {error.strerror}") from None
    else:
        try:
            mapping = ColumnMapping(**project.csv)
        except (TypeError, ConfigurationError) as error:
            raise ConfigurationError(f"csv in {project.file}: {error}") from None
    return mapping.merged(
        # A column's name may contain "=", a field's may not; with --default, the value may.
        columns=dict(_pair(one, "--column", one.rpartition("=")) for one in given.column or ()),
        defaults=dict(_pair(one, "--default", one.partition("=")) for one in given.default or ()),
    )


def _pair(given: str, option: str, parts: tuple[str, str, str]) -> tuple[str, str]:
    name, equals, value = parts
    if not equals or not name:
        wanted = "COLUMN=FIELD" if option == "--column" else "FIELD=VALUE"
        raise ConfigurationError(f"{option} {given!r}: write {wanted}")
    return name, value


def _code(sent: SentRows, strict: bool, allow_none: bool) -> int:
    if sent.interrupted:
        return 130
    if not (sent.published or sent.declined or allow_none):
        return 1
    return int(bool(sent.broken or sent.refused or (strict and sent.rejected)))


def _tell(sent: SentRows, file: Path, json: bool, language: Language) -> None:
    from messaging.csvfile.wording import said

    if json:
        screen.data(sent.to_dict())
    else:
        screen.table(
            "Nothing was sent: this is what would be" if sent.dry_run else f"Published {file.name}",
            ["", ">rows"],
            list(_counts(sent).items()),
        )
    if sent.ignored:
        screen.note(said("told.ignored", language, names=printable(", ".join(sent.ignored))))
    for notice in sent.notices:
        screen.note(printable(notice.text))
    if sent.empty:
        screen.note(said("note.rows", language))
    if sent.rejected:
        screen.note(said("told.bad", language, count=sent.rejected, path=sent.rejects))
    _tell_refused(sent)
    if sent.broken:
        screen.error(printable(sent.broken))
    if sent.resume_from is not None:
        screen.note(
            f"every good row before line {sent.resume_from} was accepted; go on with: messaging "
            f"publish {file} --resume-from {sent.resume_from} (and the options of this run)"
        )


def _tell_refused(sent: SentRows) -> None:
    """Show each reason once: if the topic did not respond, it is the same for every line."""
    lines: dict[str, list[int]] = {}
    for one in sent.refused:
        lines.setdefault(f"{one.code}: {one.reason}", []).append(one.line)
    for reason, (first, *others) in list(lines.items())[:_SHOWN]:
        which = f"line {first} was" if not others else f"line {first} and {len(others)} more were"
        screen.note(f"{which} not accepted: {printable(reason)}")
    if len(lines) > _SHOWN or any(len(one) > 1 for one in lines.values()):
        screen.note("--json shows every line that was not accepted")


def _counts(sent: SentRows) -> Mapping[str, int]:
    return {
        "published": sent.published,
        "declined by every service": sent.declined,
        "bad, set aside": sent.rejected,
        "not accepted": len(sent.refused),
        "copies, one for each distinct view": sent.copies,
    }
