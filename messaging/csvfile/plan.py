"""Decides, before any row is read, which columns of a header fill which fields of an event."""

from __future__ import annotations

import hashlib
import json.encoder
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from messaging.csvfile.cells import Convert, converter, is_date, is_text, plain
from messaging.csvfile.columns import Columns
from messaging.csvfile.dates import DateReader
from messaging.csvfile.mapping import Mapping
from messaging.csvfile.rows import Rows
from messaging.csvfile.wording import CellError, Language
from messaging.errors import ConfigurationError
from messaging.event import Event

__all__ = ["ColumnPlan", "Filling", "made_of", "plan"]

Cells = Sequence[str]
Make = Callable[[Cells, int], str]
"""Returns the default for one row, from its clean cells and its line. Raises `CellError`."""

_NAMESPACE = uuid.UUID("0d6f7c0e-8f4b-5a53-9d0c-3c1f5b8a2e47").bytes
_AHEAD = 20  # years
_CHANGING = ("@now", "@today", "@uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """How one field is filled: from columns, a default, or a default if the cells are empty.

    mark   used in the event's id instead of a default that differs in each run; else empty.
    dates  the reader of the column's dates.
    """

    field: str
    column: str | None
    places: tuple[int, ...]
    convert: Convert
    default: Make | None
    required: bool
    text: bool
    mark: str
    dates: DateReader | None

    @property
    def place(self) -> str:
        """The name to report when it cannot be filled: the column's name in the file."""
        return self.column or self.field


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPlan:
    """All decisions about one file.

    used     indexes of the columns that fill something. `ignored`: names of those that do not.
    least    minimum number of cells in a row.
    """

    fillings: tuple[Filling, ...]
    used: tuple[int, ...]
    ignored: tuple[str, ...]
    least: int


def made_of(*texts: str) -> str:
    """A UUID (version 5) that is always and everywhere the same for the same texts."""
    # The same result as uuid.uuid5 and json.dumps, in a fifth of the time.
    name = f"[{', '.join(map(json.encoder.encode_basestring, texts))}]"
    digest = bytearray(
        hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16]
    )
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def plan(
    rows: Rows, event: type[Event], mapping: Mapping, now: datetime, language: Language
) -> ColumnPlan:
    """Raises `ConfigurationError`, which lists what to map, before any row is read."""
    columns = Columns(rows, event, mapping, language)
    used = {place for places in columns.fields.values() for place in places}
    years = mapping.years or (1900, now.year + _AHEAD)
    fillings: list[Filling] = []
    for field, info in event.model_fields.items():
        places = columns.fields.get(field, ())
        default = mapping.defaults.get(field)
        if not places and default is None:
            continue
        column = columns.title(places) if places else None
        dates = DateReader(mapping.order_of(field, column or ""), (years[0], years[1]))
        convert = converter(
            info.annotation,
            dates=dates,
            zone=mapping.zone,
            # A workbook's numbers are written with a point, whatever its texts have.
            decimal_comma="auto" if rows.typed else mapping.decimal_comma,
        )
        make = None
        if default is not None:
            make, cells = _default(field, default, convert, columns, now)
            used |= cells
        fillings.append(
            Filling(
                field=field,
                column=column,
                places=places,
                convert=convert,
                default=make,
                required=info.is_required(),
                text=is_text(info.annotation),
                mark=default if default in _CHANGING else "",
                dates=dates if places and is_date(info.annotation) else None,
            )
        )
    return _planned(fillings, rows.header, used)


def _planned(fillings: list[Filling], header: Sequence[str], used: set[int]) -> ColumnPlan:
    # In the file's order, so that the first mistake reported is the first in the row.
    fillings.sort(key=lambda filling: filling.places[0] if filling.places else len(header))
    needed = [
        place
        for filling in fillings
        for place in filling.places
        if filling.required and filling.default is None
    ]
    return ColumnPlan(
        fillings=tuple(fillings),
        used=tuple(sorted(used)),
        ignored=tuple(
            column for place, column in enumerate(header) if place not in used and column
        ),
        least=max(needed, default=0) + 1,
    )


def _default(
    field: str, text: str, convert: Convert, columns: Columns, now: datetime
) -> tuple[Make, set[int]]:
    """How to make the default, and which columns it uses."""
    kind, _, names = text.partition(":")
    if kind == "@uuid" and names:
        places = [
            place for name in names.split("+") for place in _places_of(name.strip(), field, columns)
        ]
        return _uuid_of(places, names), set(places)
    if text == "@uuid":
        return lambda cells, line: str(uuid.uuid4()), set()
    if text == "@line":
        return lambda cells, line: convert(str(line)), set()
    literal = {"@now": now.isoformat(), "@today": now.date().isoformat()}.get(text, text)
    if literal.startswith("@@"):
        return lambda cells, line: literal[1:], set()
    if literal.startswith("@"):
        raise ConfigurationError(
            f"default of {field}: {text!r} is not known; use @now, @today, @line, @uuid, "
            '@uuid:column+column, or "@@" for a text that begins with "@"'
        )
    try:
        value = convert(plain(literal))
    except CellError as error:
        raise ConfigurationError(f"default of {field}: {error}") from None
    return lambda cells, line: value, set()


def _places_of(name: str, field: str, columns: Columns) -> tuple[int, ...]:
    try:
        return columns.of(name, field)
    except ConfigurationError as error:
        if name in columns.fields:
            return columns.fields[name]
        raise ConfigurationError(
            f"default of {field}: @uuid is to be made of {name!r}, which is not one column of the "
            f"file: {error}"
        ) from None


def _uuid_of(places: Sequence[int], names: str) -> Make:
    def make(cells: Cells, line: int) -> str:
        texts = [cells[place].casefold() for place in places]
        if not any(texts):
            raise CellError("nothing", names=names)
        return made_of(*texts)

    return make
