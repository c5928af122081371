"""Cells: converts text written by people to text that the event's field accepts."""

from __future__ import annotations

import re
import types
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic

from messaging.csvfile.dates import DateReader
from messaging.csvfile.wording import CellError, Term

__all__ = [
    "Convert",
    "broken",
    "DecimalComma",
    "clean",
    "converter",
    "doubt",
    "is_date",
    "is_email",
    "is_text",
    "plain",
    "same",
]

Convert = Callable[[str], str]
"""Converts a trimmed cell to the text for pydantic. Raises `CellError`."""
DecimalComma = bool | Literal["auto"]


def converter(
    annotation: Any, *, dates: DateReader, zone: tzinfo, decimal_comma: DecimalComma
) -> Convert:
    """The converter from cells to a field of type `annotation`, ignoring Optional and Annotated.

    A datetime without offset is in `zone`, and a date alone means midnight there. Types without a
    converter here are left to pydantic.
    """
    kind = _kind(annotation)
    if kind is bool:
        return _boolean
    if kind in (Decimal, float):
        return lambda text: _number(text, decimal_comma)
    if kind is date:
        return lambda text: _date(dates.read(text))
    if kind is pydantic.NaiveDatetime:
        return lambda text: _naive(dates.read(text)).isoformat()
    if kind is datetime:
        return lambda text: _aware(dates.read(text), zone).isoformat()
    if is_email(annotation):
        return _email
    return _text if is_text(annotation) else lambda text: text


def is_date(annotation: Any) -> bool:
    """True for a date or a datetime, alone or as part of `annotation`."""
    return _kind(annotation) in (date, datetime, pydantic.NaiveDatetime)


def is_text(annotation: Any) -> bool:
    """True for free text, alone or as part of `annotation`."""
    return any(issubclass(one, str) for one in _types(annotation))


def is_email(annotation: Any) -> bool:
    """True for `EmailStr`, alone or as part of `annotation`."""
    return annotation is pydantic.EmailStr or any(map(is_email, get_args(annotation)))


def plain(cell: str) -> str:
    """A cell without surrounding spaces, and without the `'` that disables a formula."""
    text = cell.strip()
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def clean(cell: str) -> str:
    """`plain`, normalized to what a reader sees: letters composed (NFC), nothing invisible, and one
    space for a line break, a tab or a non-breaking space.

    Raises `CellError` for a control character, and for a replacement character.
    """
    if cell.isascii() and cell.isprintable():
        return plain(cell)
    if found := _REFUSED.search(cell):
        if found[0] == "\ufffd":
            raise CellError("lost")
        raise CellError("control", which=f"U+{ord(found[0]):04X}")
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", cell))
    return plain(_SPACE.sub(" ", text))


def same(name: str) -> str:
    """A column's name for comparison: its letters and digits, without case and accents."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(filter(str.isalnum, letters))


# Characters outside XML 1.0, which SNS and SQS refuse, and C1 controls, which nobody types.
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd-\uffff]")
_INVISIBLE = re.compile(
    "[\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_SPACE = re.compile(r"\s*[^\S ]\s*")
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
    return next((_KINDS[one] for one in _types(annotation) if one in _KINDS), None)


def _types(annotation: Any) -> Iterator[type]:
    """The types that `annotation` is made of; Optional and Annotated are looked through."""
    if not isinstance(annotation, type):
        annotation = getattr(annotation, "__value__", annotation)  # `type X = ...`
    if get_origin(annotation) is Annotated:
        yield from _types(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _types(member)
    elif isinstance(annotation, type):
        yield annotation


_ERRORS = re.compile(
    r"#\s?(N/[AD]|REF!?|VALOR!?|VALUE!?|NOME\?|NAME\?|DIV/0!?|NÚM!?|NUM!?|NULO!?|NULL!?|#+"
    r"|DESPEJAR!|SPILL!|CALC!|CÁLC!)",
    re.IGNORECASE,
)
_PLACEHOLDERS = frozenset(
    "nan none null nil undefined nat <na> <null> (null) (vazio) n/a n/d n.a. n.d. - -- ---".split()
)
_DASHES = frozenset("\u2013\u2014")
_SHORTENED = re.compile(r"\d[.,]?\d*E\+\d{1,3}", re.ASCII | re.IGNORECASE)
_HARMLESS = re.compile(r"[+-][\d\s().,/-]*", re.ASCII)
_DOUBTED = re.compile(r"[^\W\d_]\?[^\W\d_]")


def broken(text: str) -> bool:
    """True for text that a spreadsheet shows when a formula failed."""
    return text[0] == "#" and _ERRORS.fullmatch(text) is not None


def _text(text: str) -> str:
    if text[0] in _FORMULA and not _HARMLESS.fullmatch(text):
        raise CellError("formula")
    if len(text) < 12:
        if text.lower() in _PLACEHOLDERS or text in _DASHES:
            raise CellError("placeholder")
        if "+" in text and _SHORTENED.fullmatch(text):
            raise CellError("shortened")
    return text


def _email(text: str) -> str:
    text = text.replace("\u200c", "").replace("\u200d", "")  # invisible joiners
    if not text.isascii() and not text.rpartition("@")[0].isascii():
        raise CellError("email.accent")
    return text


def doubt(text: str) -> str:
    """A possible mistake in a text that is accepted nevertheless: a notice's code, or ""."""
    if text[0] in "+-":
        return "plus"
    return "question" if "?" in text and "://" not in text and _DOUBTED.search(text) else ""


_TRUE = frozenset("sim s true verdadeiro v yes y 1".split())
_FALSE = frozenset("nao n false falso f no 0".split())


def _boolean(text: str) -> str:
    word = text.lower() if text.isalnum() and text.isascii() else same(text)
    if word in _TRUE:
        return "true"
    if word in _FALSE:
        return "false"
    raise CellError("boolean")


_WANTED: Mapping[DecimalComma, str] = {
    True: "1.234,56",
    False: "1,234.56",
    "auto": Term("number.either"),
}
_COMMA = re.compile(r"(?P<whole>[1-9]\d{0,2}(\.\d{3})+|\d+)(,(?P<part>\d+))?", re.ASCII)
_DOT = re.compile(r"(?P<whole>[1-9]\d{0,2}(,\d{3})+|\d+)(\.(?P<part>\d+))?", re.ASCII)


def _number(text: str, decimal_comma: DecimalComma) -> str:
    sign, digits = _sign(text)
    comma = _read(_COMMA, digits) if decimal_comma in (True, "auto") else None
    dot = _read(_DOT, digits) if decimal_comma in (False, "auto") else None
    if comma is not None and dot is not None and Decimal(comma) != Decimal(dot):
        # Off by a factor of a thousand if guessed wrong, so this must not be guessed.
        raise CellError("number.thousand")
    found = comma if comma is not None else dot
    if found is None or sign is None:
        raise CellError("number", wanted=_WANTED[decimal_comma])
    return sign + found


_SIGNS = frozenset(["", "R$", "+", "-", "+R$", "-R$", "R$+", "R$-"])


def _sign(text: str) -> tuple[str | None, str]:
    """The sign (None if the text before the digits is not one), and the digits after it."""
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


def _date(moment: datetime) -> str:
    if moment.time() != time():
        raise CellError("date.time")
    return moment.date().isoformat()


def _aware(moment: datetime, timezone: tzinfo) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone)


def _naive(moment: datetime) -> datetime:
    if moment.tzinfo is not None:
        raise CellError("date.naive")
    return moment
