"""The header of a file: which columns a name means, which fill a field, and what may be told.

Where the header is missing, its first line is somebody's data, and is not shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from messaging.csvfile.cells import same
from messaging.csvfile.mapping import Mapping
from messaging.csvfile.rows import Rows
from messaging.csvfile.wording import Language, Term, said
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.printable import printable

__all__ = ["Columns", "known_names"]

_LOOKS = (
    ("email", re.compile(r"\S+@\S+\.\S+")),
    ("date", re.compile(r"(\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4})([T ,].*)?", re.ASCII)),
    ("cpf", re.compile(r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", re.ASCII)),
    ("uuid", re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)),
    ("phone", re.compile(r"\+?[\d() -]{8,}", re.ASCII)),
    ("number", re.compile(r"[+-]?(R\$)?\s*[+-]?\d[\d.,]*", re.ASCII | re.IGNORECASE)),
)
"""What is somebody's data, and no name of a column."""
_BY_PLACE = re.compile(r"(.*?)\s*#(\d{1,4})")


def known_names(event: type[Event], mapping: Mapping) -> set[str]:
    """The names that a header may have: the fields, and the columns mapped to them."""
    known = set(event.model_fields)
    for column in _mapped(event, mapping).values():
        known |= {column, *column.split("+"), *column.split()}
    return known


def _mapped(event: type[Event], mapping: Mapping) -> dict[str, str]:
    """Field to column. `nome = "firstname lastname"` may also be written the other way round."""
    fields = event.model_fields
    found: dict[str, str] = {}
    for column, field in mapping.columns.items():
        if field not in fields and column in fields:
            column, field = field, column
        if field not in fields:
            raise _no_field(column, field, event)
        if field in found:
            raise ConfigurationError(f"two columns are mapped to the field {field!r}: keep one")
        found[field] = column
    return found


def _no_field(column: str, field: str, event: type[Event]) -> ConfigurationError:
    return ConfigurationError(
        f"column {column!r} is mapped to {field!r}, which is not a field of {event.__name__}; it "
        f"has {', '.join(event.model_fields)}"
    )


class Columns:
    """The columns of one file, and which of them fill which field of the event: `fields`.

    Raises `ConfigurationError` for a first line that looks like data, for columns that cannot be
    told apart, and for what is neither in the file nor given a default.
    """

    def __init__(
        self, rows: Rows, event: type[Event], mapping: Mapping, language: Language
    ) -> None:
        self._header = rows.header
        self._plain = [same(column) for column in rows.header]
        self._name = rows.name
        self._event = event
        self._mapping = mapping
        self._language: Language = language
        self._is_known = not set(self._plain).isdisjoint(map(same, known_names(event, mapping)))
        if mapping.header and not self._is_known:
            self._check_header()
        self.fields = self._fields()
        """Each field that has columns, and which."""
        self._check_complete()

    def _check_header(self) -> None:
        """A first line without a name that is known may be somebody's data."""
        seen = [
            said("header.like", self._language, place=place, looks=looks)
            for place, cell in enumerate(self._header, 1)
            if (looks := _looks(cell))
        ]
        if seen:
            raise self._wrong("header.data", like=", ".join(seen[:3]))

    def _fields(self) -> dict[str, tuple[int, ...]]:
        """A mapped column goes before one that is called like the field."""
        found: dict[str, tuple[int, ...]] = {}
        for field, column in _mapped(self._event, self._mapping).items():
            if self._mapping.columns.get(field) == column and not self._found(column):
                raise _no_field(field, column, self._event)  # there is nothing to join
            found[field] = self.of(column, field)
        taken = {place for places in found.values() for place in places}
        for field in self._event.model_fields:
            places = self._places(field)
            if field in found or not places:
                continue
            if len(places) > 1 and taken.intersection(places):
                places = [place for place in places if place not in taken]
            if len(places) != 1:
                self.of(field, field)  # raises, saying that there are two
            elif places[0] not in taken:
                found[field] = (places[0],)
        return found

    def _check_complete(self) -> None:
        fields, defaults = self._event.model_fields, self._mapping.defaults
        for field in defaults:
            if field not in fields:
                raise ConfigurationError(
                    f"a default is given for {field!r}, which is not a field of "
                    f"{self._event.__name__}; it has {', '.join(fields)}"
                )
        filled = {*self.fields, *defaults}
        if missing := [
            field for field, info in fields.items() if info.is_required() and field not in filled
        ]:
            raise self._wrong("column.missing", missing=", ".join(missing))

    def _wrong(self, code: str, **values: Any) -> ConfigurationError:
        values |= {"name": self._name, "event": self._event.__name__, "told": self._told()}
        return ConfigurationError(said(code, self._language, **values))

    def _told(self) -> str:
        """The columns' names for a message; none where nothing shows that they are names."""
        if not self._is_known:
            return said("header.unshown", self._language, count=len(self._header))
        return ", ".join(
            said("header.one_like", self._language, looks=looks)
            if (looks := _looks(cell))
            else printable(cell)
            for cell in self._header
        )

    def of(self, column: str, field: str) -> tuple[int, ...]:
        """The indexes of the columns named by `column`: "Nome", "#3", "Nome#2", or "Nome
        Sobrenome", to be joined with a space. Raises `ConfigurationError`."""
        if found := self._found(column):
            return found
        places = self._places(column)
        code = "column.twice" if places else "column.none"
        raise self._wrong(
            code,
            column=column,
            field=field,
            places=", ".join(str(place + 1) for place in places),
            first=places[0] + 1 if places else 0,
        )

    def title(self, places: Sequence[int]) -> str:
        """A name for the columns at `places`."""
        return " + ".join(self._header[place] for place in places)

    def _places(self, column: str) -> list[int]:
        plain = same(column)
        return [place for place, other in enumerate(self._plain) if plain and other == plain]

    def _found(self, column: str) -> tuple[int, ...]:
        return self._one(column) or self._joined(column)

    def _one(self, column: str) -> tuple[int, ...]:
        places = self._places(column)
        if len(places) == 1:
            return (places[0],)
        if found := _BY_PLACE.fullmatch(column):
            places = self._places(found[1]) if found[1] else list(range(len(self._header)))
            return tuple(places[int(found[2]) - 1 : int(found[2])]) if int(found[2]) else ()
        return ()

    def _joined(self, column: str) -> tuple[int, ...]:
        parts = [part.strip() for part in column.split("+")]
        if len(parts) > 1:
            found = [self._one(part) for part in parts]
            return tuple(place for one in found for place in one) if all(found) else ()
        return self._split(column.split())

    def _split(self, words: Sequence[str]) -> tuple[int, ...]:
        """Splits words into column names, some of which may have two words."""
        for end in range(len(words) - 1, 0, -1):
            first = self._one(" ".join(words[:end]))
            rest = first and (self._one(" ".join(words[end:])) or self._split(words[end:]))
            if first and rest:
                return first + rest
        return ()


def _looks(cell: str) -> Term | None:
    form = next((what for what, form in _LOOKS if form.fullmatch(cell.strip())), None)
    return Term(f"looks.{form}") if form else None
