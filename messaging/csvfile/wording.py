"""Messages about a file, a column or a cell, each in English and in Portuguese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from messaging.csvfile.file_texts import FILE_TEXTS
from messaging.csvfile.row_texts import ROW_TEXTS

__all__ = ["CellError", "Language", "Term", "said"]

Language = Literal["en", "pt"]


class Term(str):
    """A message of this module inside another, also shown in the reader's language."""

    __slots__ = ()


class CellError(Exception):
    """Why a cell cannot be read; the message never shows the cell."""

    def __init__(self, code: str, **values: Any) -> None:
        super().__init__(said(code, "en", **values))
        self.code = code
        self.values = values

    def told(self, language: Language) -> str:
        """The reason in `language`."""
        return said(self.code, language, **self.values)


def said(code: str, language: Language, **values: Any) -> str:
    """The message `code`; only names, numbers and places in `values` ever come from a file."""
    english, portuguese = _TEXTS[code]
    terms = {
        name: said(value, language) if isinstance(value, Term) else value
        for name, value in values.items()
    }
    return (portuguese if language == "pt" else english).format_map(terms)


_TEXTS: Mapping[str, tuple[str, str]] = {**ROW_TEXTS, **FILE_TEXTS}
