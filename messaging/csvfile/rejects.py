"""The side file: rows that were not published, for a person to correct."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from messaging.closing import Closing
from messaging.csvfile.table import BadRow

__all__ = ["BadRows"]

_HEADER = ("linha", "coluna", "motivo")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class BadRows(Closing):
    """Writes bad rows to a CSV file: line, column and reason, then the original cells.

    A cell that a spreadsheet would run as a formula is prefixed with `'`, which `events_from`
    removes again, so the corrected side file can be published as it is.

    Args:
        path: the file, created when the first row is written, and readable by its owner only,
            because it holds personal data; an earlier file is overwritten.
        header: the columns of the file that was read (`Table.header`).
        delimiter: the delimiter to write; the file is UTF-8 with a BOM, which Excel needs.

    Example:
        ```python
        from messaging.csvfile import BadRows

        assert BadRows.beside("alunos.csv").name == "alunos.rejeitados.csv"
        ```
    """

    def __init__(
        self, path: str | os.PathLike[str], header: Sequence[str], *, delimiter: str = ";"
    ) -> None:
        self.path = Path(path)
        self.count = 0
        self._header = tuple(header)
        self._delimiter = delimiter
        self._file: IO[str] | None = None
        self._writer: Any = None

    @staticmethod
    def beside(path: str | os.PathLike[str]) -> Path:
        """The usual name of the side file: alunos.rejeitados.csv for alunos.csv.

        Args:
            path: the file that is read.
        """
        given = Path(path)
        suffix = given.suffix if given.suffix.lower() in (".csv", ".txt", ".tsv") else ".csv"
        return given.with_name(f"{given.stem}.rejeitados{suffix}")

    @staticmethod
    def free(path: str | os.PathLike[str]) -> Path:
        """`path`, or if it exists (a user may have corrected it), the first of
        alunos.rejeitados-2.csv, alunos.rejeitados-3.csv, ... that does not.

        Args:
            path: the preferred side file.
        """
        given = free = Path(path)
        number = 1
        while free.exists() or free.is_symlink():
            number += 1
            free = given.with_name(f"{given.stem}-{number}{given.suffix}")
        return free

    def write(self, bad: BadRow) -> None:
        """Add one row.

        Args:
            bad: the row, with its reason.

        Raises:
            OSError: if the file cannot be written.
        """
        if self._file is None:
            self._open()
        cells = [str(bad.line), bad.column, bad.reason, *bad.row]
        self._writer.writerow([_harmless(cell) for cell in cells])
        self.count += 1

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        # Never through a link planted by somebody else, and never readable by others meanwhile.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self.path, flags, 0o600)
        os.fchmod(descriptor, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._file, delimiter=self._delimiter)
        self._writer.writerow([_harmless(cell) for cell in (*_HEADER, *self._header)])


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
