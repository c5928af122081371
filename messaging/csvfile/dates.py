"""Reads dates as people write them; the order of day and month is decided once per column."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

from messaging.csvfile.notices import Notices
from messaging.csvfile.wording import CellError, Term

__all__ = ["DateOrder", "DateReader"]

DateOrder = Literal["auto", "dmy", "mdy"]

_MOMENT = re.compile(
    r"(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4})(?:(?:\s*[,T]\s*|\s+(?:[aà]s\s+)?)(.+))?", re.ASCII
)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?", re.ASCII)
_TIME = re.compile(
    r"(\d{1,2})(?:[:h](\d{2})(?::(\d{2})(?:[.,]\d{1,9})?)?h?|h)?\s*([ap]\.?\s?m\.?)?(?:\s*(\S.*))?",
    re.ASCII | re.IGNORECASE,
)
_ZONE = re.compile(
    r"\(?(?:(?:GMT|UTC)\s*)?([+-])(\d{1,2})(?::?(\d{2}))?\)?|GMT|UTC|Z", re.ASCII | re.IGNORECASE
)
_SERIAL = re.compile(r"\d{5}([.,]\d+)?", re.ASCII)
_EITHER = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2\d{4}(?!\d)", re.ASCII)
_YEAR_DAY = re.compile(r"\d{4}([/.-])(\d{1,2})\1\d{1,2}(?!\d)", re.ASCII)


class DateReader:
    """Reads the dates of one column.

    order  "dmy" or "mdy"; "auto" is decided from the cells passed to `see`.
    years  the first and the last year that are accepted.
    """

    def __init__(self, order: DateOrder, years: tuple[int, int]) -> None:
        self.auto = order == "auto"
        self._years = years
        self._order: str = "dmy" if order == "auto" else order
        self._day_first = self._month_first = self._either = self._year_day = 0

    def see(self, text: str, line: int) -> None:
        """Examine a cell before any is read: a number above 12 must be a day."""
        found = _EITHER.match(text.strip())
        if found is None:
            odd = _YEAR_DAY.match(text.strip())
            if odd is not None and 12 < int(odd[2]) < 32:
                self._year_day = self._year_day or line
            return
        one, other = int(found[1]), int(found[3])
        if one > 12 >= other and one < 32:
            self._day_first = self._day_first or line
        elif other > 12 >= one and other < 32:
            self._month_first = self._month_first or line
        elif one != other and one < 13:
            self._either += 1

    def settle(self, column: str, notices: Notices) -> None:
        """Decide from the examined cells, and add notices for the user."""
        if self._day_first and self._month_first:
            self._order = "both"
            proof, other = self._day_first, self._month_first
            notices.add("both", column=column, proof=proof, other=other)
        elif self._month_first:
            self._order = "mdy"
            order = Term("order.mdy")
            notices.add("order", column=column, order=order, proof=self._month_first)
        elif self._either and not self._day_first:
            notices.add("unproved", column=column, order=Term("order.dmy"))

    def read(self, text: str) -> datetime:
        """The datetime, with an offset only if the text has one. Raises `CellError`."""
        if not self._year_day and _ISO.fullmatch(text):
            with suppress(ValueError):
                return self._possible(datetime.fromisoformat(text))
        found = _MOMENT.fullmatch(text)
        if found is None:
            raise CellError("date.serial" if _SERIAL.fullmatch(text) else "date")
        first, _, second, third, time = found.groups()
        day, month, year, order = self._parts(first, second, third)
        try:
            moment = datetime(year, month, day)  # noqa: DTZ001 - the caller knows the zone
            return self._possible(moment if time is None else _at(moment, time))
        except ValueError:
            raise CellError("date.none", order=Term(f"order.{order}")) from None

    def _parts(self, first: str, second: str, third: str) -> tuple[int, int, int, str]:
        if len(first) == 4 and len(third) < 3:
            if self._year_day and second != third and int(second) < 13 and int(third) < 13:
                raise CellError("date.odd", line=self._year_day)
            return int(third), int(second), int(first), "ymd"
        if len(third) != 4 or len(first) > 2:
            raise CellError("date.century" if len(third) == 2 and len(first) < 3 else "date")
        one, other, order = int(first), int(second), self._order
        if order == "both":
            if one != other and one < 13 and other < 13:
                raise CellError("date.both")
            order = "mdy" if other > 12 else "dmy"
        day, month = (other, one) if order == "mdy" else (one, other)
        return day, month, int(third), order

    def _possible(self, moment: datetime) -> datetime:
        first, last = self._years
        if not first <= moment.year <= last:
            raise CellError("date.year", first=first, last=last)
        return moment


def _at(day: datetime, text: str) -> datetime:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise CellError("date")
    hour, half, zone = int(found[1]), found[4], found[5]
    if half is None and found[2] is None and not text.strip().lower().endswith("h"):
        raise CellError("date")  # a bare number is not a time
    if half is not None:
        if not 1 <= hour <= 12:
            raise ValueError("no hour of a clock with two halves")
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    moment = day.replace(hour=hour, minute=int(found[2] or 0), second=int(found[3] or 0))
    return moment if zone is None else moment.replace(tzinfo=_offset(zone.strip()))


def _offset(text: str) -> timezone:
    found = _ZONE.fullmatch(text)
    if found is None:
        raise CellError("date.zone")
    if found[1] is None:
        return UTC
    offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    return timezone(-offset if found[1] == "-" else offset)
