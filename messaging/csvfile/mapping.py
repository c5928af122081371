"""Maps a file's columns to an event's fields."""

from __future__ import annotations

import tomllib
from collections import abc
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, cast, get_args
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from messaging.csvfile.cells import DecimalComma, same
from messaging.csvfile.dates import DateOrder
from messaging.errors import ConfigurationError

__all__ = ["Mapping"]


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """How a file's columns become an event's fields.

    Args:
        columns: {"nome_completo": "nome"}: the file's column to the event's field. A column with
            the name of a field needs no entry; only letters and digits count, so "E-mail" matches
            `email`. "#3" is the third column, "Nome#2" the second one with that name; {"nome":
            "Nome Sobrenome"} joins two columns with a space.
        defaults: {"origem": "csv"}: for a field whose column is missing, or whose cell is empty.
            Written as in a cell, or generated: "@now", "@today" (when the file was opened), "@line"
            (the row's line), "@uuid" (a new one for each row) and "@uuid:email+nome" (derived from
            these cells, trimmed and in lower case: the same person gets the same one each time).
            "@@" starts a text that begins with "@".
        timezone: the IANA name, for dates and times without an offset.
        decimal_comma: True: 1.234,56. False: 1,234.56. "auto": either; a row with an ambiguous
            number ("1.234") is a bad row.
        date_order: "dmy" or "mdy", or {"nascimento": "mdy"} for some columns; "auto" uses a day
            above 12 to decide for all rows of its column, else "dmy" with a notice.
        years: the first and last accepted year of a date; by default from 1900 to twenty years from
            now.
        empty: texts that mean an empty cell, like "-" or "não tem".
        header: False: the file has none, and its columns are "#1", "#2", ...
        event_ids: "data": derived from the type and the published data. "cells": derived from the
            row's cells, as in 0.1.0, to finish a run that was started with it.

    Raises:
        ConfigurationError: if a value is not one of these, or `timezone` is unknown.

    Example:
        ```python
        from messaging.csvfile import Mapping

        mapping = Mapping(
            columns={"Nome completo": "nome"}, defaults={"origem": "csv"}, date_order="dmy"
        )
        ```
    """

    columns: abc.Mapping[str, str] = field(default_factory=dict)
    defaults: abc.Mapping[str, Any] = field(default_factory=dict)
    timezone: str = "America/Sao_Paulo"
    decimal_comma: DecimalComma = "auto"
    date_order: str | abc.Mapping[str, str] = "auto"
    years: Sequence[int] | None = None
    empty: Collection[str] = ()
    header: bool = True
    event_ids: Literal["data", "cells"] = "data"

    def __post_init__(self) -> None:
        if self.decimal_comma not in (True, False, "auto"):
            raise ConfigurationError(
                f'decimal_comma={self.decimal_comma!r}: use true, false or "auto"'
            )
        for name in ("columns", "defaults"):
            object.__setattr__(self, name, _texts(getattr(self, name), name))
        if self.event_ids not in ("data", "cells"):
            raise ConfigurationError(f'event_ids={self.event_ids!r}: use "data" or "cells"')
        if not isinstance(self.header, bool):
            raise ConfigurationError(f"header={self.header!r}: use true or false")
        if isinstance(self.empty, str) or not all(isinstance(one, str) for one in self.empty):
            raise ConfigurationError("empty: a list of texts was expected")
        object.__setattr__(self, "empty", tuple(self.empty))
        orders = self.date_order
        orders = {"": orders} if isinstance(orders, str) else _texts(orders, "date_order")
        for one in orders.values():
            if one not in get_args(DateOrder):
                raise ConfigurationError(f'date_order={one!r}: use "dmy", "mdy" or "auto"')
        if self.years is not None:
            if len(self.years) != 2 or not all(type(year) is int for year in self.years):
                raise ConfigurationError("years: two years were expected, as in [1900, 2040]")
            object.__setattr__(self, "years", tuple(self.years))
        _ = self.zone

    def order_of(self, *names: str) -> DateOrder:
        """The date order of a column with these names.

        Args:
            *names: the names of one column: the file's, and the field's.
        """
        if isinstance(self.date_order, str):
            return cast(DateOrder, self.date_order)
        plain = {same(name) for name in names if name}
        orders = (order for name, order in self.date_order.items() if same(name) in plain)
        return cast(DateOrder, next(orders, "auto"))

    @property
    def zone(self) -> ZoneInfo:
        """The `ZoneInfo` of `timezone`."""
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigurationError(
                f"timezone={self.timezone!r} is not known here: use an IANA name like "
                '"America/Sao_Paulo"; where the system has none at all, run: pip install tzdata'
            ) from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a small TOML file with these names; `columns` and `defaults` are tables.

        Args:
            path: the file.

        Raises:
            ConfigurationError: if the file cannot be read or used; the message names the file and
                the place.
        """
        name = Path(path).name
        try:
            with Path(path).open("rb") as file:
                given = tomllib.load(file, parse_float=str)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{name}: not TOML: {error}") from None
        known = [one.name for one in fields(cls)]
        if unknown := [key for key in given if key not in known]:
            raise ConfigurationError(
                f"{name}: nobody reads {', '.join(unknown)}; known are {', '.join(known)}"
            )
        if not isinstance(given.get("timezone", ""), str):
            raise ConfigurationError(f"{name}: timezone: a text was expected")
        try:
            return cls(**given)
        except ConfigurationError as error:
            raise ConfigurationError(f"{name}: {error}") from None

    def merged(
        self,
        *,
        columns: abc.Mapping[str, str] | None = None,
        defaults: abc.Mapping[str, Any] | None = None,
        timezone: str | None = None,
        decimal_comma: DecimalComma | None = None,
        date_order: str | abc.Mapping[str, str] | None = None,
        empty: Collection[str] = (),
        header: bool | None = None,
        event_ids: Literal["data", "cells"] | None = None,
    ) -> Self:
        """This mapping with other options, such as the command line's, applied on top.

        A column given here for a field replaces the earlier one.

        Args:
            columns: added before this mapping's.
            defaults: added before this mapping's.
            timezone: instead of this mapping's, if it is given.
            decimal_comma: instead of this mapping's, if it is given.
            date_order: instead of this mapping's, if it is given.
            empty: added to this mapping's.
            header: instead of this mapping's, if it is given.
            event_ids: instead of this mapping's, if it is given.
        """
        later = dict(columns or {})
        gone = {same(name) for name in later}
        kept = {
            name: field
            for name, field in self.columns.items()
            if field not in later.values() and same(name) not in gone
        }
        return replace(
            self,
            columns=kept | later,
            defaults={**self.defaults, **(defaults or {})},
            timezone=self.timezone if timezone is None else timezone,
            decimal_comma=self.decimal_comma if decimal_comma is None else decimal_comma,
            date_order=self.date_order if date_order is None else date_order,
            empty=(*self.empty, *empty),
            header=self.header if header is None else header,
            event_ids=self.event_ids if event_ids is None else event_ids,
        )


def _texts(table: Any, place: str) -> abc.Mapping[str, str]:
    if not isinstance(table, abc.Mapping):
        raise ConfigurationError(f"{place}: a table of names and values was expected")
    return MappingProxyType({key: _text(value, f"{place}.{key}") for key, value in table.items()})


def _text(value: Any, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, str | int | float | Decimal | UUID):
        return str(value)
    raise ConfigurationError(f"{place}: a text, a number, true, false or a date was expected")
