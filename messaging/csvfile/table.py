"""Makes rows into events, one at a time; bad rows say where and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Generic, Self, TypeVar

from pydantic import ValidationError

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import first_mistake
from messaging.csvfile.cells import CellError, is_email, plain
from messaging.csvfile.mapping import Mapping
from messaging.csvfile.plan import Filling, made_of, plan
from messaging.csvfile.rows import Row, Rows, Source
from messaging.errors import ConfigurationError
from messaging.event import Event

__all__ = ["BadRow", "EventRow", "Table", "events_from"]

E = TypeVar("E", bound=Event)
# Outside XML 1.0: SNS and SQS refuse them.
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class EventRow(Generic[E]):
    """A row that is an event.

    `id` is made of the event's type and the row's cells: publish the file twice, and each event
    has the id that it had. `line` is where the row begins in the file, from 1.
    """

    event: E = field(repr=False)
    id: str
    line: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be an event.

    `column` is the column's name in the file (or the field's, where a default was bad; empty
    where the row as a whole is). `reason` never shows a value; `row` holds the cells as they
    were, or the whole line as one, for the side file.
    """

    line: int
    column: str
    reason: str
    row: tuple[str, ...] = field(repr=False)


class Table(Iterator[EventRow[E] | BadRow]):
    """A file's rows as events, one pass. Made by `events_from`; close it, or use `with`."""

    def __init__(self, rows: Rows, event: type[E], mapping: Mapping, clock: Clock) -> None:
        now = datetime.fromtimestamp(clock.now(), mapping.zone)
        self._rows = rows
        self._event = event
        self._plan = plan(rows.header, event, mapping, name=rows.name, now=now)
        self._last: EventRow[E] | None = None

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the file's columns."""
        return self._rows.header

    @property
    def delimiter(self) -> str:
        """What separates the file's cells."""
        return self._rows.delimiter

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns that fill no field: worth telling, once."""
        return self._plan.ignored

    @property
    def position(self) -> int:
        """Bytes read so far, for a progress bar."""
        return self._rows.position

    @property
    def size(self) -> int | None:
        """Bytes that the file has, where that can be known."""
        return self._rows.size

    def __next__(self) -> EventRow[E] | BadRow:
        return self._read(next(self._rows))

    def events(self, *, on_bad: Callable[[BadRow], object]) -> Iterator[E]:
        """Only the events; each bad row is handed to `on_bad` when its turn comes."""
        for row in self:
            if isinstance(row, BadRow):
                on_bad(row)
            else:
                self._last = row
                yield row.event

    def id_of(self, event: Event) -> str:
        """The id of the event that `events` gave last: `publish_many(..., id=table.id_of)`."""
        if self._last is None or self._last.event is not event:
            raise ConfigurationError("id_of knows the event that events() gave last, no other")
        return self._last.id

    def close(self) -> None:
        """Close the file, if it was given by its path."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, row: Row) -> EventRow[E] | BadRow:
        if row.fault:
            return BadRow(row.line, "", row.fault, row.cells)
        data: dict[str, str] = {}
        mistakes: list[tuple[str, str]] = []
        for filling in self._plan.fillings:
            try:
                text = _fill(filling, row)
            except CellError as error:
                mistakes.append((filling.place, str(error)))
            else:
                if text:
                    data[filling.field] = text
        if not mistakes:
            try:
                event = self._event.model_validate_strings(data, by_name=True, by_alias=False)
            except ValidationError as error:
                mistakes = self._mistakes(error)
            else:
                cells = (plain(cell) for cell in row.cells)
                return EventRow(event, made_of(self._event.event_type, *cells), row.line)
        (column, reason), *others = mistakes
        if others:
            names = ", ".join(dict.fromkeys(name for name, _ in others if name))
            reason += f" (also wrong: {names})" if names else ""
        return BadRow(row.line, column, reason, row.cells)

    def _mistakes(self, error: ValidationError) -> list[tuple[str, str]]:
        places = {filling.field: filling.place for filling in self._plan.fillings}
        fields = [
            str(mistake["loc"][0]) if mistake["loc"] else ""
            for mistake in error.errors(include_url=False, include_input=False)
        ]
        # "row.cpf: refused by its validator (cpf) (1 of 2 mistakes)": the column tells the place
        said = first_mistake(error, "row").partition(": ")[2]
        said = re.sub(r" \(1 of \d+ mistakes\)$", "", said)
        info = self._event.model_fields.get(fields[0])
        if info is not None and is_email(info.annotation):
            said = "not an e-mail address"
        return [(places.get(field, field), said) for field in fields]


def _fill(filling: Filling, row: Row) -> str:
    """The field's text; empty where the row says nothing about it."""
    cell = "" if filling.index is None else plain(row.cells[filling.index])
    if cell:
        if found := _REFUSED.search(cell):
            raise CellError(f"holds the control character U+{ord(found[0]):04X}")
        return filling.convert(cell)
    if filling.default is not None:
        return filling.default(row)
    if filling.required:
        raise CellError("empty")
    return ""


def events_from(
    source: Source, event: type[E], mapping: Mapping | None = None, *, clock: Clock = SYSTEM_CLOCK
) -> Table[E]:
    """The rows of a CSV file as events of one type, and as bad rows, in the file's order.

    source   a path, or a file open for reading bytes (standard input's buffer).
    event    the event's class; each cell is read as its field's type wants it.
    mapping  from the file's columns to the event's fields, where they differ.

    Raises `ConfigurationError` before any row is read, when the columns do not fill the event or
    the file is no CSV file, and `OSError` when it cannot be read.
    """
    rows = Rows(source)
    try:
        return Table(rows, event, Mapping() if mapping is None else mapping, clock)
    except BaseException:
        rows.close()
        raise
