"""The first sheet of an .xlsx workbook as CSV lines; python-calamine, an extra, reads it."""

from __future__ import annotations

import csv
import io
import tempfile
from datetime import date, datetime, time
from typing import Any, BinaryIO, cast

from messaging.csvfile.wording import Language, said
from messaging.errors import ConfigurationError

__all__ = ["first_sheet"]


def first_sheet(stream: BinaryIO, name: str, language: Language) -> tuple[BinaryIO, int]:
    """The lines, one for each row of the sheet, in UTF-8; and how many sheets there are.

    Raises `ConfigurationError` where the extra is missing or the workbook cannot be read.
    """
    try:
        import python_calamine as calamine
    except ImportError:
        raise ConfigurationError(said("file.workbook", language, name=name)) from None
    try:
        workbook = calamine.CalamineWorkbook.from_filelike(stream)
        shown = [
            one.name
            for one in workbook.sheets_metadata
            if one.typ == calamine.SheetTypeEnum.WorkSheet
            and one.visible == calamine.SheetVisibleEnum.Visible
        ]
        sheet = workbook.get_sheet_by_name((shown or workbook.sheet_names)[0])
        return _lines(sheet), len(shown)
    except (calamine.CalamineError, IndexError, ValueError) as error:
        why = type(error).__name__
        raise ConfigurationError(said("file.unreadable", language, name=name, why=why)) from None


def _lines(sheet: Any) -> BinaryIO:
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
    text = io.TextIOWrapper(cast(BinaryIO, spool), encoding="utf-8", newline="")
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\n")
    for row in sheet.to_python(skip_empty_area=False):
        writer.writerow([_text(cell) for cell in row])
    text.flush()
    text.detach()
    spool.seek(0)
    return cast(BinaryIO, spool)


def _text(cell: Any) -> str:
    """As a person would write it: the row's number is the line's, so a cell is one line."""
    if isinstance(cell, str):
        return " ".join(cell.splitlines()) if "\n" in cell or "\r" in cell else cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        if cell.is_integer() and abs(cell) < 1e15:
            return str(int(cell))
        # Four digits behind the point: "1.234" alone might be a thousand.
        whole, _, part = repr(cell).partition(".")
        return f"{whole}.{part:0<4}" if part.isdigit() else repr(cell)
    if isinstance(cell, datetime):
        day = cell.time() == time()
        return cell.date().isoformat() if day else cell.isoformat(" ", "seconds")
    return cell.isoformat() if isinstance(cell, date | time) else str(cell)
