"""Finds the header and the delimiter, and reads the rows one by one."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO, NamedTuple

from messaging.closing import Closing
from messaging.csvfile.cells import same
from messaging.csvfile.lines import Lines
from messaging.csvfile.notices import Notices
from messaging.csvfile.source import Source, opened
from messaging.csvfile.wording import CellError, Language, said
from messaging.errors import ConfigurationError

__all__ = ["Row", "Rows", "Source", "read_rows"]

_DELIMITERS = ";,\t|"
_ABOVE = 20  # maximum rows above a header
_SEP = re.compile(r'"?sep=(.)"?[;,|\s]*', re.IGNORECASE)
_BY_CODEPAGE = frozenset(["cp850", "mac_roman"])


class Row(NamedTuple):
    """One row: the file's line (from 1) on which it begins, its cells, and its fault, if any.

    With a `fault`, `cells` has what could be read: all cells, or the line as one cell.

    Args:
        line: the file's line, from 1, on which the row begins.
        cells: its cells.
        fault: what is wrong with it, or "".

    Example:
        ```python
        from pathlib import Path

        from messaging.csvfile import read_rows

        Path("alunos.csv").write_text("nome;email\\nAna;ana@example.com\\n")
        with read_rows("alunos.csv") as rows:
            (row,) = rows
        assert (row.line, row.cells, row.fault) == (2, ("Ana", "ana@example.com"), "")
        ```
    """

    line: int
    cells: tuple[str, ...]
    fault: str = ""

    def __repr__(self) -> str:  # cells are personal data
        return f"Row(line={self.line}, {len(self.cells)} cells, fault={self.fault!r})"


class Rows(Closing, Iterator[Row]):
    """The rows below the header. Blank rows are skipped; see `read_rows`.

    header     the names of the columns, trimmed; an empty name at the end is dropped.
    delimiter  the delimiter between cells.
    name       the file's name, for messages.
    size       the file's size in bytes, if known.
    typed      True for a workbook, whose numbers are written with a decimal point.
    notices    the notices about the file.
    least      a row with fewer cells is bad; one with fewer than the header is padded.

    Args:
        source: a path, or a file opened for reading bytes.
        known: names by which a header is told apart from titles above it.
        headed: False: the file has no header.
        language: the language of notices and errors: "en" or "pt".

    Example:
        ```python
        from pathlib import Path

        from messaging.csvfile import read_rows

        Path("alunos.csv").write_text("nome;email\\nAna;ana@example.com\\n")
        with read_rows("alunos.csv") as rows:
            assert (rows.header, rows.delimiter) == (("nome", "email"), ";")
        ```
    """

    def __init__(
        self,
        source: Source,
        *,
        known: Collection[str] = (),
        headed: bool = True,
        language: Language = "en",
    ) -> None:
        found = opened(source, language)
        self._ours = found.ours
        self._language: Language = language
        self.name = found.name
        self.typed = found.sheets > 0
        self.notices = Notices(language)
        for note in found.notes:
            self.notices.add(note, sheets=found.sheets)
        self._lines = Lines(found.stream)
        self.size = _size(found.stream)
        try:
            names = frozenset(map(same, known))
            self.delimiter = self._delimiter(names if headed else None)
            self._reader = self._new_reader()
            self.header = self._header(names) if headed else self._numbered()
        except BaseException:
            self.close()
            raise
        self.least = len(self.header)
        self._initial = self.header[0][:1].casefold()
        self._plain_header = [same(name) for name in self.header] if len(self.header) > 1 else []

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._lines.position

    def __next__(self) -> Row:
        try:
            row = self._next()
        except StopIteration:
            self.close()
            raise
        for line, what in self._lines.told:
            if what in _BY_CODEPAGE:
                self.notices.add("codepage", line=line, codepage=what)
            else:
                self.notices.add(what, line=line)
        if row.fault:
            return row
        width, cells = len(self.header), row.cells
        if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            cells = cells[:width]  # a trailing delimiter
        # Possibly with a UTF-8 BOM in front, if two files were concatenated.
        first = cells[0].strip().removeprefix("\ufeff")[:1].casefold()
        if first == self._initial and self._is_header(cells):
            return Row(row.line, cells, said("repeated", self._language))
        if len(cells) == width:
            return Row(row.line, cells)
        if self.least <= len(cells) < width and not (len(cells) == 1 and self._unsplit(cells[0])):
            self.notices.add("short", line=row.line)
            return Row(row.line, cells + ("",) * (width - len(cells)))
        return Row(row.line, cells, self._misfit(cells))

    def ahead(self, look: Callable[[Row], None]) -> None:
        """Call `look` with every remaining row; then continue from here.

        A file that can be read only once, like a pipe, is copied to a temporary one.

        Args:
            look: called with each remaining row.
        """
        mark = self._lines.mark()
        self._reader = self._new_reader()
        try:
            while True:
                look(self._next())
        except StopIteration:
            pass
        self._lines.go_to(mark)
        self._reader = self._new_reader()

    def close(self) -> None:
        """Close the file, if it was given by its path."""
        self._lines.close(self._ours)

    def _next(self) -> Row:
        while True:
            line = self._lines.begin()
            try:
                cells = next(self._reader)
            except (csv.Error, CellError) as error:
                # Only the row's first line is rejected. Those swallowed by an open quotation mark
                # are read again, as separate rows.
                text = self._lines.give_back()
                self._reader = self._new_reader()
                fault = error if isinstance(error, CellError) else CellError("quotes")
                return Row(line, (text,), fault.told(self._language))
            if any(cell.strip() for cell in cells):
                return Row(line, tuple(cells))

    def _new_reader(self, delimiter: str = "") -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=delimiter or self.delimiter, strict=True)

    def _is_header(self, cells: tuple[str, ...]) -> bool:
        return [same(cell) for cell in cells] == self._plain_header

    def _misfit(self, cells: tuple[str, ...]) -> str:
        width = len(self.header)
        if len(cells) == 1:
            return self._unsplit(cells[0]) or said("cell", self._language, width=width)
        return said("cells", self._language, found=len(cells), width=width)

    def _unsplit(self, cell: str) -> str:
        """Why a row's only cell seems to contain the whole row; empty if it does not."""
        if self.delimiter in cell:
            return said("wrapped", self._language)
        found = max(_DELIMITERS, key=cell.count)
        if cell.count(found) < len(self.header) - 1:
            return ""
        wanted = self._named(self.delimiter)
        return said("delimiter", self._language, found=self._named(found), wanted=wanted)

    def _named(self, delimiter: str) -> str:
        return said("tab", self._language) if delimiter == "\t" else delimiter

    def _delimiter(self, known: frozenset[str] | None) -> str:
        """Find the header, and leave `begin` there. `known` is None if the file has no header."""
        first = self._skip_blank()
        if separated := _SEP.fullmatch(first):  # Excel's own notation
            self._skip_blank()
            return separated[1]
        if known:
            start = self._lines.number
            at, delimiter = self._find(known, start)
            if delimiter:
                if at != start:
                    self.notices.add("title", at=at + 1)
                return delimiter
        # Counted in the header, which contains no free text: csv.Sniffer examines the data, and
        # mistakes a comma in a name or a price for a delimiter.
        bare = re.sub(r'"[^"]*"', "", first)
        return max(_DELIMITERS, key=bare.count)

    def _skip_blank(self) -> str:
        """The first line that is not blank; it will be read again."""
        try:
            while True:
                self._lines.begin()
                line = next(self._lines)
                if line.strip():
                    if not _SEP.fullmatch(line):
                        self._lines.rewind(self._lines.number - 1)
                    return line
        except StopIteration:
            raise ConfigurationError(said("file.empty", self._language, name=self.name)) from None
        except CellError as error:
            raise self._bad_header(self._lines.number, error.told(self._language)) from None

    def _find(self, known: frozenset[str], start: int) -> tuple[int, str]:
        """The number of the line above the header, and the delimiter; empty if it is not found."""
        first = ""
        for at in range(start, start + _ABOVE):
            found = [
                (len({same(cell) for cell in cells} & known), len(cells))
                for cells in (self._cells(at, one) for one in _DELIMITERS)
            ]
            hits, _ = best = max(found)
            delimiter = _DELIMITERS[found.index(best)]
            self._lines.rewind(at)
            # A title may have the name of one field; a header further down has more of them.
            if hits > 1:
                self._lines.begin()
                return at, delimiter
            if at == start and hits:
                first = delimiter
            try:
                next(self._lines)
            except (StopIteration, CellError):
                break
        self._lines.rewind(start)
        self._lines.begin()
        return start, first

    def _cells(self, at: int, delimiter: str) -> list[str]:
        self._lines.rewind(at)
        try:
            return next(self._new_reader(delimiter))
        except (csv.Error, CellError, StopIteration):
            return []

    def _header(self, known: Collection[str]) -> tuple[str, ...]:
        try:
            row = self._next()
        except StopIteration:
            raise ConfigurationError(said("file.empty", self._language, name=self.name)) from None
        if row.fault:
            raise self._bad_header(row.line, row.fault)
        names = [cell.strip() for cell in row.cells]
        while not names[-1]:
            names.pop()
        if len(names) == 1 and same(names[0]) not in known:
            inside = max(_DELIMITERS, key=names[0].count)
            parts = {same(part) for part in names[0].split(inside)}
            if len(parts) > 1 and (not known or parts.intersection(known)):
                raise self._bad_header(row.line, said("wrapped", self._language))
        return tuple(names)

    def _numbered(self) -> tuple[str, ...]:
        """#1, #2, ...: the first row is data, and will be read again."""
        row = self._next()
        self._lines.rewind(row.line - 1)
        self._reader = self._new_reader()
        return tuple(f"#{place}" for place in range(1, len(row.cells) + 1))

    def _bad_header(self, line: int, why: str) -> ConfigurationError:
        return ConfigurationError(
            said("file.header", self._language, name=self.name, line=line, why=why)
        )


def read_rows(source: Source, *, language: Language = "en") -> Rows:
    """The rows of a CSV file, one at a time; the header has been read when this returns.

    Args:
        source: a path, or a file opened for reading bytes.
        language: the language of notices and errors: "en" or "pt".

    Raises:
        ConfigurationError: if the file has no header, or is not a CSV file (an HTML page, an old
            workbook).
        OSError: if it cannot be read.

    Example:
        ```python
        from pathlib import Path

        from messaging.csvfile import read_rows

        Path("alunos.csv").write_text("nome;email\\nAna;ana@example.com\\n")
        with read_rows("alunos.csv") as rows:
            assert [row.cells for row in rows] == [("Ana", "ana@example.com")]
        ```
    """
    return Rows(source, language=language)


def _size(stream: BinaryIO) -> int | None:
    try:
        return os.fstat(stream.fileno()).st_size or None
    except (OSError, AttributeError):
        return None
