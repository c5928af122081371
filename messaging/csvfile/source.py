"""Detects a file's format from its first bytes: CSV, UTF-16, a zip, a workbook, or unreadable."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, cast

from messaging.csvfile.wording import Language, said
from messaging.errors import ConfigurationError

__all__ = ["Opened", "Source", "opened", "spooled"]

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a file opened for reading bytes."""

_HEAD = 4096
_UNPACKED = 2 * 1024**3  # maximum bytes from a zip
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Opened:
    """A file of CSV lines in bytes. `ours`: the reader must close it."""

    stream: BinaryIO
    name: str
    ours: bool
    notes: tuple[str, ...] = ()
    sheets: int = 0
    """Number of sheets if it was a workbook, with numbers written with a decimal point; else 0."""


def opened(source: Source, language: Language) -> Opened:
    """Open `source`. Raises `ConfigurationError`, saying what the file is, if it is unreadable."""
    with ExitStack() as on_failure:
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            found = Opened(on_failure.enter_context(path.open("rb")), path.name, ours=True)
        else:
            found = Opened(source, said("file", language), ours=False)
        found = _Unwrapping(language, on_failure).unwrapped(found)
        on_failure.pop_all()
    return found


def spooled(stream: IO[bytes], most: int | None = None) -> BinaryIO:
    """The rest of `stream`, in an anonymous file that can be read more than once.

    Raises `ValueError` if it is more than `most` bytes.
    """
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
    try:
        if most is None:
            shutil.copyfileobj(stream, spool)
        else:
            while piece := stream.read(1 << 20):
                if spool.tell() + len(piece) > most:
                    raise ValueError("more than it may be")
                spool.write(piece)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return cast(BinaryIO, spool)


class _Unwrapping:
    """Opens what a file is packed in or written as; `on_failure` closes every stream on the way."""

    def __init__(self, language: Language, on_failure: ExitStack) -> None:
        self._language: Language = language
        self._on_failure = on_failure

    def unwrapped(self, found: Opened) -> Opened:
        head, found = self._head(found)
        if head.startswith(b"PK\x03\x04"):
            return self._unzipped(found)
        if kind := _kind(head):
            raise self._not_csv(found, *kind)
        if encoding := _wide(head):
            text = io.TextIOWrapper(found.stream, encoding=encoding, errors="replace", newline="")
            spool = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
            while piece := text.read(1 << 16):
                spool.write(piece.encode("utf-8", "replace"))
            spool.seek(0)
            text.detach()
            return self._instead(found, cast(BinaryIO, spool))
        return found

    def _head(self, found: Opened) -> tuple[bytes, Opened]:
        """The first bytes, which can be read again."""
        stream = found.stream
        if _seekable(stream):
            at = stream.tell()
            head = stream.read(_HEAD)
            stream.seek(at)
            return head, found
        if isinstance(stream, io.BufferedReader):
            return stream.peek(_HEAD)[:_HEAD], found
        return self._head(self._instead(found, spooled(stream)))

    def _unzipped(self, found: Opened) -> Opened:
        if not _seekable(found.stream):
            found = self._instead(found, spooled(found.stream))
        try:
            with zipfile.ZipFile(found.stream) as archive:
                names = set(archive.namelist())
                if names & {"xl/workbook.xml", "xl/workbook.bin"}:
                    return self._sheet(found)
                if "content.xml" in names and "mimetype" in names:
                    raise self._not_csv(found, "kind.ods", "how.save")
                files = [
                    info
                    for info in archive.infolist()
                    if not info.is_dir()
                    and not info.filename.startswith("__MACOSX/")
                    and not Path(info.filename).name.startswith(".")
                ]
                if len(files) != 1:
                    raise self._refused("zip.many", found, count=len(files))
                if files[0].flag_bits & 1:
                    raise self._refused("zip.password", found)
                with archive.open(files[0]) as packed:
                    unpacked = spooled(packed, _UNPACKED)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError):
            raise self._refused("zip.broken", found) from None
        except ValueError:
            raise self._refused("zip.big", found, most=_UNPACKED) from None
        inner = self._instead(found, unpacked, "zip")
        if unpacked.read(4) == b"PK\x03\x04" and "zip" in found.notes:
            raise self._refused("zip.many", found, count=1)
        unpacked.seek(0)
        return self.unwrapped(inner)

    def _sheet(self, found: Opened) -> Opened:
        from messaging.csvfile.workbook import first_sheet

        found.stream.seek(0)
        rows, sheets = first_sheet(found.stream, found.name, self._language)
        return self._instead(found, rows, *(("sheet",) if sheets > 1 else ()), sheets=sheets)

    def _instead(self, found: Opened, new: BinaryIO, *notes: str, sheets: int = 0) -> Opened:
        self._on_failure.callback(new.close)
        if found.ours:
            found.stream.close()
        return replace(
            found,
            stream=new,
            ours=True,
            notes=(*found.notes, *notes),
            sheets=sheets or found.sheets,
        )

    def _not_csv(self, found: Opened, kind: str, how: str) -> ConfigurationError:
        what, advice = said(kind, self._language), said(how, self._language)
        return self._refused("file.kind", found, kind=what, how=advice)

    def _refused(self, code: str, found: Opened, **values: object) -> ConfigurationError:
        return ConfigurationError(said(code, self._language, name=found.name, **values))


def _seekable(stream: BinaryIO) -> bool:
    return bool(getattr(stream, "seekable", lambda: False)())


_MAGIC: Mapping[bytes, tuple[str, str]] = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("kind.xls", "how.save"),
    b"\x1f\x8b": ("kind.gzip", "how.unpack"),
    b"Rar!": ("kind.rar", "how.unpack"),
    b"7z\xbc\xaf\x27\x1c": ("kind.rar", "how.unpack"),
    b"%PDF": ("kind.pdf", "how.export"),
    b"{\\rtf": ("kind.rtf", "how.export"),
    b"\xff\xfe\x00\x00": ("kind.utf32", "how.save"),
    b"\x00\x00\xfe\xff": ("kind.utf32", "how.save"),
}
_HTML = re.compile(
    rb"<(!doctype\s+html|!--|(html|head|body|table|meta|style|script|div|title|tr|p|br)\b)"
    rb"|MIME-Version:",
    re.IGNORECASE,
)
_XML = re.compile(rb"<(\?xml|[A-Za-z][\w:-]*[\s>/])")
_JSON = re.compile(rb"\[\s*[\[{\"\]]|\{\s*[\"}]|\[\s*$")


def _kind(head: bytes) -> tuple[str, str] | None:
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if len(head) > 8 and head.count(0) > len(head) * 0.6:
        return "kind.utf32", "how.save"
    wide = _wide(head)
    begin = head.decode(wide, "ignore").encode() if wide else head
    begin = begin.removeprefix(_BOM).removeprefix("\ufeff".encode()).lstrip()
    if _HTML.match(begin) or (_XML.match(begin) and b"<html" in begin.lower()):
        return "kind.html", "how.save"
    if _XML.match(begin):
        return "kind.xml", "how.save"
    return ("kind.json", "how.export") if _JSON.match(begin) else None


def _wide(head: bytes) -> str | None:
    """UTF-16, detected by its byte order mark or by every other byte being zero."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    half = len(head) // 2
    if half < 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > half * 0.6 and even < half * 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > half * 0.6 and odd < half * 0.05 else None
