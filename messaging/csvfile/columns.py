"""Finds the columns that a name means: one, one of several of that name, or some to be joined."""

from __future__ import annotations

import re
from collections.abc import Sequence

from messaging.csvfile.cells import same
from messaging.csvfile.mapping import Mapping
from messaging.csvfile.wording import Language, said
from messaging.errors import ConfigurationError
from messaging.event import Event

__all__ = ["Columns", "known_names"]

_BY_PLACE = re.compile(r"(.*?)\s*#(\d{1,4})")


def known_names(event: type[Event], mapping: Mapping) -> set[str]:
    """The names that a header may have: the fields, and what is mapped to them."""
    known = set(event.model_fields)
    for column in _mapped(event, mapping).values():
        known |= {column, *column.split("+"), *column.split()}
    return known


def _mapped(event: type[Event], mapping: Mapping) -> dict[str, str]:
    """Field to column. `nome = "firstname lastname"` may be written the other way round, too."""
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
    """The header of one file. `told` are its names, as far as they may be shown."""

    def __init__(self, header: Sequence[str], *, name: str, told: str, language: Language) -> None:
        self._header = header
        self._plain = [same(column) for column in header]
        self._name = name
        self.told = told
        self._language: Language = language

    def fields(self, event: type[Event], mapping: Mapping) -> dict[str, tuple[int, ...]]:
        """Each field that has columns, and which; a mapped one goes before one called alike."""
        found: dict[str, tuple[int, ...]] = {}
        for field, column in _mapped(event, mapping).items():
            if mapping.columns.get(field) == column and not self._found(column):
                raise _no_field(field, column, event)  # no columns to be joined into it
            found[field] = self.of(column, field)
        taken = {place for places in found.values() for place in places}
        for field in event.model_fields:
            if field in found or not self._places(field):
                continue
            places = self._places(field)
            if len(places) > 1 and taken.intersection(places):
                places = [place for place in places if place not in taken]
            if len(places) != 1:
                self.of(field, field)  # says that there are two
            elif places[0] not in taken:
                found[field] = (places[0],)
        return found

    def of(self, column: str, field: str) -> tuple[int, ...]:
        """The places of what `column` names: "Nome", "#3", "Nome#2", or "Nome Sobrenome", to be
        joined by a space. Raises `ConfigurationError`."""
        if found := self._found(column):
            return found
        places = self._places(column)
        code = "column.twice" if places else "column.none"
        raise ConfigurationError(
            said(
                code,
                self._language,
                name=self._name,
                column=column,
                field=field,
                places=", ".join(str(place + 1) for place in places),
                first=places[0] + 1 if places else 0,
                told=self.told,
            )
        )

    def title(self, places: Sequence[int]) -> str:
        """What to call the columns at `places`."""
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
        """Words to columns, some of which may have two words."""
        for end in range(len(words) - 1, 0, -1):
            first = self._one(" ".join(words[:end]))
            rest = first and (self._one(" ".join(words[end:])) or self._split(words[end:]))
            if first and rest:
                return first + rest
        return ()
