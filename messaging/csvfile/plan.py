"""Decides, before any row is read, which column of a header fills which field of an event."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from messaging.csvfile.cells import CellError, Convert, converter, plain, same
from messaging.csvfile.header import check_header, columns_told
from messaging.csvfile.mapping import Mapping
from messaging.csvfile.rows import Row
from messaging.errors import ConfigurationError
from messaging.event import Event

__all__ = ["Filling", "ColumnPlan", "made_of", "plan"]

Make = Callable[[Row], str]
"""A default for one row. Raises `CellError`."""

_NAMESPACE = uuid.UUID("0d6f7c0e-8f4b-5a53-9d0c-3c1f5b8a2e47")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """How one field is filled: from a column, from a default, or from a default where the cell
    is empty."""

    field: str
    column: str | None
    index: int | None
    convert: Convert
    default: Make | None
    required: bool

    @property
    def place(self) -> str:
        """What to name when it cannot be filled: the column as it is called in the file."""
        return self.column or self.field


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPlan:
    """Everything decided about one file. `ignored`: columns that fill nothing."""

    fillings: tuple[Filling, ...]
    ignored: tuple[str, ...]


def made_of(*texts: str) -> str:
    """A UUID (version 5) that is the same for the same texts, here and everywhere."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps(texts, ensure_ascii=False)))


def plan(
    header: Sequence[str], event: type[Event], mapping: Mapping, *, name: str, now: datetime
) -> ColumnPlan:
    """Raises `ConfigurationError` that lists what to map, before any row is read."""
    known = {*event.model_fields, *mapping.columns}
    check_header(header, known, name, event.__name__)
    told = columns_told(header, known)
    columns = _columns(header, event, mapping, name, told)
    _check_complete(told, event, {*columns, *mapping.defaults}, name)
    used = set(columns.values())
    fillings: list[Filling] = []
    for field, info in event.model_fields.items():
        index = columns.get(field)
        default = mapping.defaults.get(field)
        if index is None and default is None:
            continue
        convert = converter(
            info.annotation, timezone=mapping.zone, decimal_comma=mapping.decimal_comma
        )
        make = None
        if default is not None:
            make, cells = _default(field, default, convert, header, columns, now, told)
            used |= cells
        fillings.append(
            Filling(
                field=field,
                column=None if index is None else header[index],
                index=index,
                convert=convert,
                default=make,
                required=info.is_required(),
            )
        )
    # In the order of the file, so that the first mistake told is the first one seen.
    fillings.sort(key=lambda filling: len(header) if filling.index is None else filling.index)
    ignored = (column for index, column in enumerate(header) if index not in used and column)
    return ColumnPlan(fillings=tuple(fillings), ignored=tuple(ignored))


def _columns(
    header: Sequence[str], event: type[Event], mapping: Mapping, name: str, told: str
) -> dict[str, int]:
    """Field to the index of its column."""
    found: dict[str, int] = {}
    for column, field in mapping.columns.items():
        if field not in event.model_fields:
            raise ConfigurationError(
                f"column {column!r} is mapped to {field!r}, which is not a field of "
                f"{event.__name__}; it has {', '.join(event.model_fields)}"
            )
        if field in found:
            raise ConfigurationError(f"two columns are mapped to the field {field!r}: keep one")
        found[field] = _index(column, header, name, told)
    taken = set(found.values())
    for field in event.model_fields:
        if field in found or same(field) not in map(same, header):
            continue
        index = _index(field, header, name, told)
        if index not in taken:
            found[field] = index
    for field in mapping.defaults:
        if field not in event.model_fields:
            raise ConfigurationError(
                f"a default is given for {field!r}, which is not a field of {event.__name__}; "
                f"it has {', '.join(event.model_fields)}"
            )
    return found


def _index(column: str, header: Sequence[str], name: str, told: str) -> int:
    places = [index for index, other in enumerate(header) if same(other) == same(column)]
    if len(places) == 1:
        return places[0]
    what = "twice" if places else "not at all"
    raise ConfigurationError(f"{name} has the column {column!r} {what}; its columns are {told}")


def _default(
    field: str,
    text: str,
    convert: Convert,
    header: Sequence[str],
    columns: dict[str, int],
    now: datetime,
    told: str,
) -> tuple[Make, set[int]]:
    """How to make the default, and which columns it looks at."""
    kind, _, names = text.partition(":")
    if kind == "@uuid" and names:
        cells = [_cell_of(name, field, header, columns, told) for name in names.split("+")]
        return _uuid_of(cells, names), set(cells)
    if text == "@uuid":
        return lambda row: str(uuid.uuid4()), set()
    if text == "@line":
        return lambda row: convert(str(row.line)), set()
    literal = {"@now": now.isoformat(), "@today": now.date().isoformat()}.get(text, text)
    if literal.startswith("@@"):
        literal = literal[1:]
    elif literal.startswith("@"):
        raise ConfigurationError(
            f"default of {field}: {text!r} is not known; use @now, @today, @line, @uuid, "
            '@uuid:column+column, or "@@" for a text that begins with "@"'
        )
    try:
        value = convert(plain(literal))
    except CellError as error:
        raise ConfigurationError(f"default of {field}: {error}") from None
    return lambda row: value, set()


def _cell_of(
    name: str, field: str, header: Sequence[str], columns: dict[str, int], told: str
) -> int:
    name = name.strip()
    places = [index for index, column in enumerate(header) if same(column) == same(name)]
    if len(places) == 1:
        return places[0]
    if not places and name in columns:
        return columns[name]
    raise ConfigurationError(
        f"default of {field}: @uuid is to be made of {name!r}, which is not one column of the "
        f"file; its columns are {told}"
    )


def _uuid_of(cells: Sequence[int], names: str) -> Make:
    def make(row: Row) -> str:
        texts = [plain(row.cells[index]).casefold() for index in cells]
        if not any(texts):
            raise CellError(f"nothing to make an id of: {names} is empty")
        return made_of(*texts)

    return make


def _check_complete(
    told: str,
    event: type[Event],
    filled: Collection[str],
    name: str,
) -> None:
    missing = [
        field
        for field, info in event.model_fields.items()
        if info.is_required() and field not in filled
    ]
    if missing:
        raise ConfigurationError(
            f"{name} has no column for {', '.join(missing)}, which {event.__name__} needs: map a "
            f"column to each, or give a default; its columns are {told}"
        )
