"""Converts the first sheet of an .xlsx workbook to CSV lines, using openpyxl, an extra."""

from __future__ import annotations

import csv
import io
import tempfile
import warnings
from datetime import date, datetime, time
from typing import Any, BinaryIO, cast

from messaging.csvfile.wording import Language, said
from messaging.errors import ConfigurationError

__all__ = ["first_sheet"]


def first_sheet(stream: BinaryIO, name: str, language: Language) -> tuple[BinaryIO, int]:
    """The lines, one for each row of the sheet, in UTF-8; and the number of sheets.

    Raises `ConfigurationError` if the extra is missing or the workbook cannot be read.
    """
    try:
        import openpyxl  # type: ignore[import-untyped]  # it ships no types
    except ImportError:
        raise ConfigurationError(said("file.workbook", language, name=name)) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # about styles and menus that it cannot read
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            shown = [one for one in workbook.worksheets if one.sheet_state == "visible"]
            return _lines((shown or workbook.worksheets)[0]), len(shown)
    except Exception as error:  # noqa: BLE001 - a broken workbook makes it fail in many ways
        why = type(error).__name__
        raise ConfigurationError(said("file.unreadable", language, name=name, why=why)) from None


def _lines(sheet: Any) -> BinaryIO:
    sheet.reset_dimensions()  # some programs write wrong dimensions
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
    text = io.TextIOWrapper(spool, encoding="utf-8", newline="")
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\n")
    width = 0
    for row in sheet.iter_rows(values_only=True):
        # The header is the widest row, or nearly; cells that Excel omits at the end are empty.
        width = max(width, len(row))
        cells = [_text(cell) for cell in row]
        writer.writerow(cells + [""] * (width - len(cells)) or [""])
    text.flush()
    text.detach()
    spool.seek(0)
    return cast(BinaryIO, spool)


def _text(cell: Any) -> str:
    """The cell as a person would type it, on one line, so that row and line numbers agree."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return " ".join(cell.splitlines()) if "\n" in cell or "\r" in cell else cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        if cell.is_integer() and abs(cell) < 1e15:
            return str(int(cell))
        # Four digits after the point: "1.234" could be read as a thousand.
        whole, _, part = repr(cell).partition(".")
        return f"{whole}.{part:0<4}" if part.isdigit() else repr(cell)
    if isinstance(cell, datetime):
        day = cell.time() == time()
        return cell.date().isoformat() if day else cell.isoformat(" ", "seconds")
    return cell.isoformat() if isinstance(cell, date | time) else str(cell)
