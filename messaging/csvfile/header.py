"""What may be told of a file's first line, which is somebody's data where the header is missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from messaging.csvfile.cells import same
from messaging.csvfile.wording import Language, Term, said
from messaging.errors import ConfigurationError
from messaging.printable import printable

__all__ = ["check_header", "columns_told"]

_LOOKS: Mapping[str, re.Pattern[str]] = {
    "email": re.compile(r"\S+@\S+\.\S+"),
    "date": re.compile(r"(\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4})([T ,].*)?", re.ASCII),
    "cpf": re.compile(r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", re.ASCII),
    "uuid": re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE),
    "phone": re.compile(r"\+?[\d() -]{8,}", re.ASCII),
    "number": re.compile(r"[+-]?(R\$)?\s*[+-]?\d[\d.,]*", re.ASCII | re.IGNORECASE),
}


def check_header(
    header: Sequence[str],
    known: Collection[str],
    name: str,
    event: str,
    language: Language = "en",
) -> None:
    """Raise `ConfigurationError` if the first line of the file `name` looks like data.

    known  the names that a column may have: the fields of `event`, and what is mapped to them.
    """
    if _is_known(header, known):
        return
    seen = [(place, looks) for place, cell in enumerate(header, 1) if (looks := _looks(cell))]
    if not seen:
        return
    like = ", ".join(
        said("header.like", language, place=place, looks=looks) for place, looks in seen[:3]
    )
    raise ConfigurationError(said("header.data", language, name=name, event=event, like=like))


def columns_told(header: Sequence[str], known: Collection[str], language: Language = "en") -> str:
    """The columns' names for a message; none where nothing shows that they are names."""
    if not _is_known(header, known):
        return said("header.unshown", language, count=len(header))
    return ", ".join(
        said("header.one_like", language, looks=looks)
        if (looks := _looks(cell))
        else printable(cell)
        for cell in header
    )


def _is_known(header: Sequence[str], known: Collection[str]) -> bool:
    return not {same(cell) for cell in header}.isdisjoint(map(same, known))


def _looks(cell: str) -> Term | None:
    form = next((what for what, form in _LOOKS.items() if form.fullmatch(cell.strip())), None)
    return Term(f"looks.{form}") if form else None
