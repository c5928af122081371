"""Tells by its first bytes what a file is: CSV, UTF-16, a zip, a workbook, or unreadable."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, cast

from messaging.csvfile.wording import Language, said
from messaging.errors import ConfigurationError

__all__ = ["Opened", "Source", "opened", "spooled"]

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a file that is open for reading bytes."""

_HEAD = 4096
_UNPACKED = 2 * 1024**3  # bytes that may come out of a zip
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Opened:
    """A file of CSV lines in bytes. `ours`: to be closed by whoever reads it."""

    stream: BinaryIO
    name: str
    ours: bool
    notes: tuple[str, ...] = ()
    sheets: int = 0
    """Of the workbook that it was, whose numbers are written with a point; 0 if it was none."""


def opened(source: Source, language: Language) -> Opened:
    """Raises `ConfigurationError` that says what the file is, where it is none that can be read."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        found = Opened(path.open("rb"), path.name, ours=True)
    else:
        found = Opened(source, said("file", language), ours=False)
    try:
        return _unwrapped(found, language)
    except BaseException:
        if found.ours:
            found.stream.close()
        raise


def spooled(stream: IO[bytes], most: int | None = None) -> BinaryIO:
    """What is left of `stream`, in a file without a name that can be read more than once.

    Raises `ValueError` where it is more than `most` bytes.
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


def _unwrapped(found: Opened, language: Language) -> Opened:
    head, again = _head(found)
    try:
        return _known(head, again, language)
    except BaseException:
        if again is not found:
            again.stream.close()
        raise


def _known(head: bytes, found: Opened, language: Language) -> Opened:
    if head.startswith(b"PK\x03\x04"):
        return _unzipped(found, language)
    if kind := _kind(head):
        what, how = (said(code, language) for code in kind)
        raise ConfigurationError(said("file.kind", language, name=found.name, kind=what, how=how))
    if encoding := _wide(head):
        text = io.TextIOWrapper(found.stream, encoding=encoding, errors="replace", newline="")
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
        while piece := text.read(1 << 16):
            spool.write(piece.encode("utf-8", "replace"))
        spool.seek(0)
        return _instead(found, text.detach(), cast(BinaryIO, spool))
    return found


def _instead(found: Opened, old: BinaryIO, new: BinaryIO, *notes: str, sheets: int = 0) -> Opened:
    if found.ours:
        old.close()
    return replace(
        found, stream=new, ours=True, notes=(*found.notes, *notes), sheets=sheets or found.sheets
    )


def _head(found: Opened) -> tuple[bytes, Opened]:
    """The first bytes, which are there to be read again."""
    stream = found.stream
    if _seekable(stream):
        at = stream.tell()
        head = stream.read(_HEAD)
        stream.seek(at)
        return head, found
    if isinstance(stream, io.BufferedReader):
        return stream.peek(_HEAD)[:_HEAD], found
    spool = spooled(stream)
    return _head(_instead(found, stream, spool))


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
    """UTF-16, by its byte order mark or by every other byte being zero."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    half = len(head) // 2
    if half < 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > half * 0.6 and even < half * 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > half * 0.6 and odd < half * 0.05 else None


def _unzipped(found: Opened, language: Language) -> Opened:
    stream = found.stream
    if not _seekable(stream):
        spool = spooled(stream)
        try:
            return _unzipped(_instead(found, stream, spool), language)
        except BaseException:
            spool.close()
            raise
    told = {"name": found.name, "most": _UNPACKED}
    try:
        with zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
            if names & {"xl/workbook.xml", "xl/workbook.bin"}:
                return _sheet(found, stream, language)
            if "content.xml" in names and "mimetype" in names:
                what, how = said("kind.ods", language), said("how.save", language)
                raise ConfigurationError(
                    said("file.kind", language, name=found.name, kind=what, how=how)
                )
            files = [
                info
                for info in archive.infolist()
                if not info.is_dir()
                and not info.filename.startswith("__MACOSX/")
                and not Path(info.filename).name.startswith(".")
            ]
            if len(files) != 1:
                raise ConfigurationError(said("zip.many", language, count=len(files), **told))
            if files[0].flag_bits & 1:
                raise ConfigurationError(said("zip.password", language, **told))
            with archive.open(files[0]) as packed:
                unpacked = spooled(packed, _UNPACKED)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError):
        raise ConfigurationError(said("zip.broken", language, **told)) from None
    except ValueError:
        raise ConfigurationError(said("zip.big", language, **told)) from None
    inner = _instead(found, stream, unpacked, "zip")
    try:
        if unpacked.read(4) == b"PK\x03\x04" and "zip" in found.notes:
            raise ConfigurationError(said("zip.many", language, count=1, **told))
        unpacked.seek(0)
        return _unwrapped(inner, language)
    except BaseException:
        unpacked.close()
        raise


def _sheet(found: Opened, stream: BinaryIO, language: Language) -> Opened:
    from messaging.csvfile.workbook import first_sheet

    stream.seek(0)
    rows, sheets = first_sheet(stream, found.name, language)
    return _instead(found, stream, rows, *(("sheet",) if sheets > 1 else ()), sheets=sheets)
