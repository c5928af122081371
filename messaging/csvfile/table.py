"""Turns rows into events, one at a time; bad rows say where and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import ValidationError

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.closing import Closing
from messaging.csvfile.cells import broken, clean, doubt, plain
from messaging.csvfile.columns import known_names
from messaging.csvfile.mapping import Mapping
from messaging.csvfile.mistakes import mistakes_of
from messaging.csvfile.notices import Notice
from messaging.csvfile.plan import Filling, made_of, plan
from messaging.csvfile.rows import Row, Rows, Source
from messaging.csvfile.wording import CellError, Language, said
from messaging.errors import ConfigurationError
from messaging.event import Event

__all__ = ["BadRow", "EventRow", "Table", "events_from"]

E = TypeVar("E", bound=Event)
_WATCHED = 1_000_000  # rows checked for repetition; 64 bytes each


@dataclass(frozen=True, slots=True)
class EventRow(Generic[E]):
    """A row that has become an event.

    `id` is derived from the event's type and the published data: publish the file twice, and each
    event has the same id; correct a cell or the mapping, and it has a different one. `line` is the
    line on which the row begins in the file, from 1.

    Args:
        event: the event.
        id: its id, derived from the data: the same each time.
        line: the file's line, from 1, on which the row begins.

    Example:
        ```python
        from pathlib import Path

        from messaging.csvfile import EventRow, events_from

        Path("alunos.csv").write_text("aluno_id\\n2026-0042\\n")
        with events_from("alunos.csv", MatriculaCancelada) as table:
            (row,) = table
        assert isinstance(row, EventRow)
        assert (row.event, row.line) == (cancelada, 2)
        ```
    """

    event: E = field(repr=False)
    id: str
    line: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot become an event.

    `column` is the column's name in the file (or the field's, if a default was bad; empty if the
    row as a whole is). `reason` never shows a value; `row` holds the original cells, or the whole
    line as one, for the side file.

    Args:
        line: the file's line, from 1, on which the row begins.
        column: the column, if one is to blame.
        reason: the reason, without the value.
        row: the row itself.

    Example:
        ```python
        from pathlib import Path

        from messaging.csvfile import BadRow, events_from

        Path("alunos.csv").write_text("aluno_id;nome;email\\n1;Ana;\\n")
        with events_from("alunos.csv", AlunoCadastrado) as table:
            (bad,) = table
        assert isinstance(bad, BadRow) and bad.line == 2
        print(bad.column, bad.reason)
        ```
    """

    line: int
    column: str
    reason: str
    row: tuple[str, ...] = field(repr=False)


class Table(Closing, Iterator[EventRow[E] | BadRow]):
    """A file's rows as events, in one pass. Created by `events_from`; close it, or use `with`.

    Args:
        rows: the rows of the file.
        event: the event's class.
        mapping: maps the file's columns to the event's fields.
        clock: the time source; a test may pass a `FakeClock`.
        language: the language of reasons and notices: "en" or "pt".

    Example:
        ```python
        from pathlib import Path

        from messaging.csvfile import events_from

        Path("alunos.csv").write_text("aluno_id;curso\\n2026-0042;Letras\\n")
        with events_from("alunos.csv", MatriculaCancelada) as table:
            assert (table.delimiter, table.ignored) == (";", ("curso",))
            assert list(table.events(on_bad=print)) == [cancelada]
        ```
    """

    def __init__(
        self, rows: Rows, event: type[E], mapping: Mapping, clock: Clock, language: Language
    ) -> None:
        now = datetime.fromtimestamp(clock.now(), mapping.zone)
        self._rows = rows
        self._event = event
        self._language: Language = language
        self._plan = plan(rows, event, mapping, now, language)
        self._by_cells = mapping.event_ids == "cells"
        self._empty = frozenset(text.casefold() for text in mapping.empty)
        self._last: EventRow[E] | None = None
        self._seen: set[int] = set()
        rows.least = self._plan.least
        self._settle_dates()

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the file's columns."""
        return self._rows.header

    @property
    def delimiter(self) -> str:
        """The delimiter between the file's cells."""
        return self._rows.delimiter

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns that fill no field, which is worth reporting once."""
        return self._plan.ignored

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Notices about the rows read so far, besides the bad rows."""
        return tuple(self._rows.notices)

    @property
    def position(self) -> int:
        """Bytes read so far, for a progress bar."""
        return self._rows.position

    @property
    def size(self) -> int | None:
        """The file's size in bytes, if known."""
        return self._rows.size

    def __next__(self) -> EventRow[E] | BadRow:
        return self._read(next(self._rows))

    def events(self, *, on_bad: Callable[[BadRow], object]) -> Iterator[E]:
        """Only the events; each bad row is passed to `on_bad` when it is reached.

        Args:
            on_bad: called with each bad row.
        """
        for row in self:
            if isinstance(row, BadRow):
                on_bad(row)
            else:
                self._last = row
                yield row.event

    def id_of(self, event: Event) -> str:
        """The id of the event last yielded by `events`: `publish_many(..., id=table.id_of)`.

        Args:
            event: the event last yielded by `events`.

        Raises:
            ConfigurationError: if it is a different event.
        """
        if self._last is None or self._last.event is not event:
            raise ConfigurationError("id_of knows the event that events() gave last, no other")
        return self._last.id

    def close(self) -> None:
        """Close the file, if it was given by its path."""
        self._rows.close()

    def _settle_dates(self) -> None:
        columns = [
            (filling.places[0], filling.dates, filling.place)
            for filling in self._plan.fillings
            if filling.dates is not None and filling.dates.auto
        ]
        if not columns:
            return

        def look(row: Row) -> None:
            for place, dates, _ in columns:
                if place < len(row.cells):
                    dates.see(row.cells[place], row.line)

        self._rows.ahead(look)
        for _, dates, title in columns:
            dates.settle(title, self._rows.notices)

    def _read(self, row: Row) -> EventRow[E] | BadRow:
        if row.fault:
            return BadRow(row.line, "", row.fault, row.cells)
        cells, mistakes = self._cells(row)
        data: dict[str, str] = {}
        made: list[str] = []
        for filling in self._plan.fillings:
            try:
                text, mark = _fill(filling, cells, row.line)
            except CellError as error:
                mistakes.append((filling.place, error.told(self._language)))
                continue
            if text:
                data[filling.field] = text
                made.append(f"{filling.field}={mark or text}")
                if filling.text and (what := doubt(text)):
                    self._rows.notices.add(what, line=row.line, column=filling.place)
        if not mistakes:
            try:
                event = self._event.model_validate_strings(data, by_name=True, by_alias=False)
            except ValidationError as error:
                places = {filling.field: filling.place for filling in self._plan.fillings}
                mistakes = [
                    (places.get(field, field), reason)
                    for field, reason in mistakes_of(error, self._event, self._language)
                ]
            else:
                return EventRow(event, self._id(row, made), row.line)
        (column, reason), *others = mistakes
        names = ", ".join(dict.fromkeys(name for name, _ in others if name and name != column))
        if names:
            reason += said("also", self._language, names=names)
        return BadRow(row.line, column, reason, row.cells)

    def _cells(self, row: Row) -> tuple[list[str], list[tuple[str, str]]]:
        """The row's cells, with the used ones cleaned; and the mistakes in those that cannot be."""
        cells, mistakes = list(row.cells), []
        for place in self._plan.used:
            if cell := cells[place]:
                try:
                    cells[place] = cell = clean(cell)
                except CellError as error:
                    mistakes.append((self._rows.header[place], error.told(self._language)))
                    cells[place] = ""
                    continue
                if self._empty and cell.casefold() in self._empty:
                    cells[place] = ""
        return cells, mistakes

    def _id(self, row: Row, made: list[str]) -> str:
        if self._by_cells:
            made = [plain(cell) for cell in row.cells]
        else:
            made.sort()  # whatever the order of the columns
        id = made_of(self._event.event_type, *made)
        notices, seen = self._rows.notices, self._seen
        if len(seen) < _WATCHED:
            before = len(seen)
            seen.add(hash(id))
            if len(seen) == before:
                notices.add("repeated", line=row.line)
            elif before + 1 == _WATCHED:
                notices.add("unwatched", line=row.line)
        return id


def _fill(filling: Filling, cells: list[str], line: int) -> tuple[str, str]:
    """The field's text, empty if the row has no value for it; and its mark in the id."""
    places = filling.places
    if len(places) == 1:
        text = cells[places[0]]
    else:
        text = " ".join(cells[place] for place in places if cells[place])
    if text:
        if broken(text):
            raise CellError("error")
        return filling.convert(text), ""
    if filling.default is not None:
        return filling.default(cells, line), filling.mark
    if filling.required:
        raise CellError("empty")
    return "", ""


def events_from(
    source: Source,
    event: type[E],
    mapping: Mapping | None = None,
    *,
    language: Language = "en",
    clock: Clock = SYSTEM_CLOCK,
) -> Table[E]:
    """The rows of a CSV file as events of one type, or as bad rows, in the file's order.

    If the order of a date column has to be determined, the file is read twice; a pipe is copied to
    a temporary file for that.

    Args:
        source: a path, or a file opened for reading bytes (standard input's buffer).
        event: the event's class; each cell is read according to its field's type.
        mapping: maps the file's columns to the event's fields, where they differ.
        language: the language of reasons and notices: "en" or "pt".
        clock: the time source; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: before any row is read, if the columns do not fill the event or the file
            is not a CSV file.
        OSError: if the file cannot be read.

    Example:
        ```python
        from pathlib import Path

        from messaging.csvfile import BadRows, Mapping, events_from

        Path("alunos.csv").write_text("matricula;nome;email\\n1;Ana;ana@example.com\\n2;Bia;\\n")
        mapping = Mapping(columns={"matricula": "aluno_id"})
        with events_from("alunos.csv", AlunoCadastrado, mapping) as table:
            with BadRows(
                "alunos.rejeitados.csv", table.header, delimiter=table.delimiter
            ) as rejected:
                result = publisher.publish_many(table.events(on_bad=rejected.write), id=table.id_of)
        assert result.accepted == 1
        ```
    """
    mapping = Mapping() if mapping is None else mapping
    rows = Rows(source, known=known_names(event, mapping), headed=mapping.header, language=language)
    try:
        return Table(rows, event, mapping, clock, language)
    except BaseException:
        rows.close()
        raise
