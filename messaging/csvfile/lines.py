"""Lines of a file as text, in bounded memory; some can be given back, and all can be read again."""

from __future__ import annotations

import codecs
import io
import tempfile
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, cast

from messaging.csvfile.encoding import NotText, codepage_of, decoded
from messaging.csvfile.wording import CellError

__all__ = ["MOST_LINES", "Lines"]

_LINE = 65_536  # maximum characters of a line
_PIECE = 1 << 16
MOST_LINES = 100
"""Maximum lines of one row: beyond that, a quotation mark must have been left open."""
_UTF8_BOM = "\ufeff".encode().decode("latin-1")


class Lines(Iterator[str]):
    """The lines; keeps those of the current row, so that some can be given back.

    number     the number of the last line read, from 1.
    position   bytes read so far.
    told       (line, remark from `decoded`) for the current row.

    `__next__` raises `CellError` for a line that is not text or far too long.
    """

    def __init__(self, stream: BinaryIO) -> None:
        # latin-1 keeps each byte as one character; their encoding is decided line by line.
        self._source = stream
        self._wrapper = io.TextIOWrapper(stream, encoding="latin-1", newline="")
        self._begin = stream.tell() if stream.seekable() else None
        self._open = True
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self._preferred: str | None = None
        self.number = 0
        self.position = 0
        self.told: list[tuple[int, str]] = []
        if self._begin is not None:
            self._preferred = self._proved((0, 0))
        first = self._read()
        if first := first.removeprefix(_UTF8_BOM):
            self._again.append(first)

    def begin(self) -> int:
        """Start a row, and return the number of its first line, which is the next one."""
        self._taken.clear()
        self.told.clear()
        return self.number + 1

    def __next__(self) -> str:
        if len(self._taken) == MOST_LINES:
            raise CellError("quotes")
        line = self._again.popleft() if self._again else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self._taken.append(line)
        if len(line) > _LINE:
            raise CellError("long", most=_LINE)
        return line if line.isascii() else self._decoded(line)

    def give_back(self) -> str:
        """Return the row's first line as text; the others will be read again."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        self.number -= len(others)
        raw = first.encode("latin-1")
        try:
            return decoded(raw, self._preferred)[0].rstrip("\r\n")
        except NotText:
            return raw.decode("cp1252", errors="replace").rstrip("\r\n")

    def rewind(self, number: int) -> None:
        """Go back to just after line `number`, but not to before the last `begin`."""
        while self.number > number:
            self._again.appendleft(self._taken.pop())
            self.number -= 1
        self.told.clear()

    def mark(self) -> tuple[int, int]:
        """The current position, for `go_to`; a file that cannot be read twice is copied first."""
        if self._begin is None:
            self._copy()
        return self.position - sum(map(len, self._again)), self.number

    def go_to(self, mark: tuple[int, int]) -> None:
        """Continue reading from `mark`."""
        self.position, self.number = mark
        stream = self._wrapper.detach()
        stream.seek((self._begin or 0) + self.position)
        self._wrapper = io.TextIOWrapper(stream, encoding="latin-1", newline="")
        self._again.clear()
        self.begin()

    def close(self, ours: bool) -> None:
        """Release the file: close it if it is `ours`, and always close a copy."""
        if not self._open:
            return
        self._open = False
        stream = self._wrapper.detach()
        if ours:
            self._source.close()
        if stream is not self._source:
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

    def _decoded(self, line: str) -> str:
        try:
            text, told = decoded(line.encode("latin-1"), self._preferred)
        except NotText:
            raise CellError("bytes") from None
        if told:
            self.told.append((self.number, told))
        return text

    def _proved(self, mark: tuple[int, int]) -> str | None:
        """The code page established by the data after `mark`, where reading then continues."""
        stream = self._wrapper.detach()
        whole = codecs.getincrementaldecoder("utf-8")()
        try:
            while piece := stream.read(_PIECE):
                whole.decode(piece)
            page = None
        except UnicodeDecodeError:
            page = ""
        self._wrapper = io.TextIOWrapper(stream, encoding="latin-1", newline="")
        self.go_to(mark)
        if page is not None:
            page = codepage_of(self._raw_lines())
            self.go_to(mark)
        return page

    def _raw_lines(self) -> Iterator[bytes]:
        while line := self._read():
            if not line.isascii():
                yield line.encode("latin-1")

    def _copy(self) -> None:
        """Continue with a copy of the unread data, which can be read again."""
        read = self.position - sum(map(len, self._again))
        spool = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - close() closes it
        while line := self._again.popleft() if self._again else self._read():
            ended = line.endswith(("\n", "\r")) or len(line) <= _LINE
            spool.write(line.encode("latin-1") + (b"" if ended else b"\n"))
        spool.seek(0)
        self._wrapper.detach()
        self._wrapper = io.TextIOWrapper(spool, encoding="latin-1", newline="")
        self._begin = -read
        self._preferred = self._proved((read, self.number))
