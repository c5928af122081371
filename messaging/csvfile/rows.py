"""Rows: bytes to text line by line, and lines to cells, in bounded memory."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from messaging.errors import ConfigurationError

__all__ = ["Row", "Rows", "Source", "read_rows"]

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a file that is open for reading bytes."""

_DELIMITERS = ";,\t|"
_LINE = 65_536  # characters of one line
_LINES = 100  # lines of one row: beyond them a quotation mark was left open
_UTF8_BOM = "\ufeff".encode().decode("latin-1")


class Row(NamedTuple):
    """One row: the file's line (from 1) on which it begins, its cells, and what is wrong with it.

    With a `fault`, `cells` are what could be read: all of them, or the line as one cell.
    """

    line: int
    cells: tuple[str, ...]
    fault: str = ""

    def __repr__(self) -> str:  # cells are personal data
        return f"Row(line={self.line}, {len(self.cells)} cells, fault={self.fault!r})"


class _Fault(Exception):
    """Why a line cannot be read."""


class Rows(Iterator[Row]):
    """The rows below the header. Blank rows are passed over; see `read_rows`.

    header     the names of the columns, trimmed; an empty name at the end is dropped.
    delimiter  what separates cells.
    name       of the file, for messages.
    size       bytes that it has, where that can be known.
    """

    def __init__(self, source: Source) -> None:
        self._ours = isinstance(source, str | os.PathLike)
        self.name = "the file"
        if isinstance(source, str | os.PathLike):
            self.name = Path(source).name
            source = Path(source).open("rb")  # noqa: SIM115 - closed by close()
        stream = source
        self._lines = _Lines(stream)
        self.size = _size(stream)
        try:
            self.delimiter = self._delimiter()
            self._reader = self._new_reader()
            self.header = self._header()
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._lines.position

    def __next__(self) -> Row:
        row = self._next()
        width, cells = len(self.header), row.cells
        if row.fault:
            return row
        if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            cells = cells[:width]  # a delimiter at the end of the line
        if len(cells) != width:
            return Row(row.line, cells, f"{len(cells)} cells where the header has {width}")
        return Row(row.line, cells)

    def close(self) -> None:
        """Close the file, if it was given by its path."""
        self._lines.close(self._ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self) -> Row:
        while True:
            line = self._lines.begin()
            try:
                cells = next(self._reader)
            except StopIteration:
                self.close()
                raise
            except (csv.Error, _Fault) as error:
                # Only the row's first line is given up. Those that an open quotation mark has
                # swallowed are read again, as rows of their own.
                text = self._lines.give_back()
                self._reader = self._new_reader()
                fault = str(error) if isinstance(error, _Fault) else _QUOTES
                return Row(line, (text,), fault)
            if any(cell.strip() for cell in cells):
                return Row(line, tuple(cells))

    def _new_reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=self.delimiter, strict=True)

    def _delimiter(self) -> str:
        # Counted in the header, which holds no free text: csv.Sniffer looks at the data, and
        # takes a comma in a name or a price for a delimiter.
        first = self._lines.first_line(self.name)
        if said := re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE):
            self._lines.begin()
            next(self._lines)  # Excel's own way to say it
            return said[1]
        bare = re.sub(r'"[^"]*"', "", first)
        return max(_DELIMITERS, key=bare.count)

    def _header(self) -> tuple[str, ...]:
        try:
            row = self._next()
        except StopIteration:
            raise ConfigurationError(
                f"{self.name} is empty: its first line must name the columns"
            ) from None
        if row.fault:
            raise ConfigurationError(f"{self.name}, line {row.line}, the header: {row.fault}")
        names = [cell.strip() for cell in row.cells]
        while not names[-1]:
            names.pop()
        return tuple(names)


def read_rows(source: Source) -> Rows:
    """The rows of a CSV file, one at a time; the header has been read when this returns.

    Raises `ConfigurationError` for a file without a header or that is no CSV file (a workbook,
    UTF-16), and `OSError` when it cannot be read.
    """
    return Rows(source)


_QUOTES = (
    'a quotation mark (") opens a cell and is not closed as it should be; inside a quoted cell '
    "write it twice"
)


class _Lines(Iterator[str]):
    """Lines as text, which remembers those of the row being read, and takes some back."""

    def __init__(self, stream: BinaryIO) -> None:
        # latin-1 keeps each byte as one character; what they mean is decided line by line.
        self._wrapper = io.TextIOWrapper(stream, encoding="latin-1", newline="")
        self._open = True
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self._number = 0
        self.position = 0

    def begin(self) -> int:
        """The number of the line that comes next; a row begins there."""
        self._taken.clear()
        return self._number + 1

    def __next__(self) -> str:
        if len(self._taken) == _LINES:
            raise _Fault(_QUOTES)
        line = self._again.popleft() if self._again else self._read()
        if not line:
            raise StopIteration
        self._number += 1
        self._taken.append(line)
        if len(line) > _LINE:
            raise _Fault(f"longer than {_LINE:,} characters")
        return _decoded(line)

    def give_back(self) -> str:
        """The first line of the row as text; the others will come again."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        self._number -= len(others)
        text = first.encode("latin-1")
        try:
            return _decoded(first).rstrip("\r\n")
        except _Fault:
            return text.decode("cp1252", errors="replace").rstrip("\r\n")

    def first_line(self, name: str) -> str:
        """The first line that is not blank, which will come again."""
        line = self._read().removeprefix(_UTF8_BOM)
        if line.startswith(("\xff\xfe", "\xfe\xff")):
            raise ConfigurationError(f"{name} is UTF-16: save it as CSV UTF-8")
        if line.startswith("PK\x03\x04"):
            raise ConfigurationError(f"{name} is a workbook, not a CSV file: save it as CSV")
        while line and not line.strip():
            self._number += 1
            line = self._read()
        if line:
            self._again.append(line)
        try:
            return _decoded(line)
        except _Fault as fault:
            raise ConfigurationError(f"{name}, its header: {fault}") from None

    def close(self, ours: bool) -> None:
        if not self._open:
            return
        self._open = False
        stream = self._wrapper.detach()
        if ours:
            stream.close()

    def _read(self) -> str:
        if not self._open:
            return ""
        line = self._wrapper.readline(_LINE + 1)
        self.position += len(line)
        more = line
        while len(more) > _LINE and not more.endswith(("\n", "\r")):
            more = self._wrapper.readline(_LINE + 1)  # the rest of a line that is too long
            self.position += len(more)
        return line


def _decoded(line: str) -> str:
    if line.isascii():
        return line
    raw = line.encode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        raise _Fault("neither UTF-8 nor Windows-1252") from None


def _size(stream: BinaryIO) -> int | None:
    try:
        return os.fstat(stream.fileno()).st_size or None
    except (OSError, AttributeError):
        return None
