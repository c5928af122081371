"""Cells: what a person wrote, to the text that the event's field understands."""

from __future__ import annotations

import re
import types
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic

__all__ = ["CellError", "Convert", "DecimalComma", "converter", "is_email", "plain", "same"]

Convert = Callable[[str], str]
"""A trimmed cell in, the text for pydantic out. Raises `CellError`."""
DecimalComma = bool | Literal["auto"]


class CellError(ValueError):
    """Why a cell cannot be read; it never shows the cell."""


def converter(annotation: Any, *, timezone: tzinfo, decimal_comma: DecimalComma) -> Convert:
    """How cells become a field of type `annotation`; Optional and Annotated are looked through.

    Dates are dd/mm/aaaa or ISO 8601, with or without a time. A datetime without offset is in
    `timezone`, and a date alone is midnight there. What has no reader here is left to pydantic.
    """
    kind = _kind(annotation)
    if kind is bool:
        return _boolean
    if kind in (Decimal, float):
        return lambda text: _number(text, decimal_comma)
    if kind is date:
        return _date
    if kind is pydantic.NaiveDatetime:
        return lambda text: _naive(_moment(text)).isoformat()
    if kind is datetime:
        return lambda text: _aware(_moment(text), timezone).isoformat()
    return lambda text: text


def is_email(annotation: Any) -> bool:
    """True for `EmailStr`, alone or as a part of `annotation`."""
    return annotation is pydantic.EmailStr or any(map(is_email, get_args(annotation)))


def plain(cell: str) -> str:
    """A cell without the spaces around it, and without the `'` that disarms a formula."""
    text = cell.strip()
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def same(name: str) -> str:
    """A column's name for comparing: without case, accents, and kind of space."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[\s_.-]+", "_", bare).strip("_")


_FORMULA = ("=", "+", "-", "@")
_KINDS: Mapping[Any, Any] = {
    pydantic.AwareDatetime: datetime,
    pydantic.PastDatetime: datetime,
    pydantic.FutureDatetime: datetime,
    pydantic.NaiveDatetime: pydantic.NaiveDatetime,
    pydantic.PastDate: date,
    pydantic.FutureDate: date,
    **{kind: kind for kind in (bool, Decimal, float, date, datetime)},
}


def _kind(annotation: Any) -> Any:
    if not isinstance(annotation, type):
        annotation = getattr(annotation, "__value__", annotation)  # `type X = ...`
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = (_kind(member) for member in get_args(annotation))
        return next((kind for kind in kinds if kind is not None), None)
    return _KINDS.get(annotation) if isinstance(annotation, type) else None


_TRUE = frozenset("sim s true verdadeiro v yes y 1".split())
_FALSE = frozenset("nao n false falso f no 0".split())


def _boolean(text: str) -> str:
    word = same(text)
    if word in _TRUE:
        return "true"
    if word in _FALSE:
        return "false"
    raise CellError("neither yes nor no: write sim or não (s/n, true/false, 1/0)")


_COMMA = re.compile(r"(?P<whole>[1-9]\d{0,2}(\.\d{3})+|\d+)(,(?P<part>\d+))?", re.ASCII)
_DOT = re.compile(r"(?P<whole>[1-9]\d{0,2}(,\d{3})+|\d+)(\.(?P<part>\d+))?", re.ASCII)


def _number(text: str, decimal_comma: DecimalComma) -> str:
    sign, digits = _sign(text)
    wanted = "1.234,56" if decimal_comma else "1,234.56"
    wanted = "1.234,56 or 1234.56" if decimal_comma == "auto" else wanted
    comma = _read(_COMMA, digits) if decimal_comma in (True, "auto") else None
    dot = _read(_DOT, digits) if decimal_comma in (False, "auto") else None
    if comma is not None and dot is not None and Decimal(comma) != Decimal(dot):
        # A thousandth of a fee, or a thousand times it: nobody should guess.
        raise CellError(
            "1.234 may be one or a thousand: write 1234,00, or say decimal_comma = true or false"
        )
    found = comma if comma is not None else dot
    if found is None or sign is None:
        raise CellError(f"not a number: write {wanted}")
    return sign + found


_SIGNS = frozenset(["", "R$", "+", "-", "+R$", "-R$", "R$+", "R$-"])


def _sign(text: str) -> tuple[str | None, str]:
    """The sign (None: what stands in front is none), and the digits behind it."""
    bare = re.sub(r"\s", "", text).replace("\u2212", "-").upper()
    digits = bare.lstrip("+-R$")
    before = bare.removesuffix(digits)
    if before not in _SIGNS:
        return None, digits
    return ("-" if "-" in before else ""), digits


def _read(pattern: re.Pattern[str], digits: str) -> str | None:
    found = pattern.fullmatch(digits)
    if found is None:
        return None
    whole = re.sub(r"[.,]", "", found["whole"])
    return f"{whole}.{found['part']}" if found["part"] else whole


_BRAZILIAN = re.compile(
    r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?:(?:\s+|\s*[,T]\s*)(\d{1,2})[:h](\d{2})(?::(\d{2}))?)?",
    re.ASCII,
)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T\s].*)?", re.ASCII)


def _moment(text: str) -> datetime:
    try:
        if found := _BRAZILIAN.fullmatch(text):
            day, _, month, year, hour, minute, second = (
                int(part) if part and part.isdigit() else 0 for part in found.groups()
            )
            return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the caller knows the zone
        if _ISO.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        raise CellError("there is no such date or time (dd/mm/yyyy was read)") from None
    raise CellError("not a date: write dd/mm/yyyy, dd/mm/yyyy hh:mm or yyyy-mm-dd")


def _date(text: str) -> str:
    moment = _moment(text)
    if moment.time().isoformat() != "00:00:00":
        raise CellError("a date was expected, without a time")
    return moment.date().isoformat()


def _aware(moment: datetime, timezone: tzinfo) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone)


def _naive(moment: datetime) -> datetime:
    if moment.tzinfo is not None:
        raise CellError("a time without an offset from UTC was expected")
    return moment
