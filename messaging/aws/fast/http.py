"""HTTP responses: plain ones are read here, all others by Python's http.client."""

from __future__ import annotations

import io
import re
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer

__all__ = ["Reply", "read"]

CHUNK = 65_536
"""Bytes to read from the kernel: ten messages of a few KiB arrive in one piece."""
LONGEST_HEAD = 65_536

_USUAL = b"HTTP/1.1 200 "
_PLAIN = re.compile(rb"HTTP/1\.1 (?!204|304)[2-5][0-9][0-9][ \r]").match
_TOLD = re.compile(
    rb"\r\n(?:content-length:[ \t]*(?:([0-9]{1,10})[ \t]*(?=\r\n))?"
    rb"|transfer-encoding|connection:[^\r\n]*close)",
    re.IGNORECASE,
).findall
"""The headers that determine where a response ends. The plainest has one Content-Length."""


class Reply(NamedTuple):
    """One response. `head` is its header lines; `keep` says that the connection may be reused."""

    status: int
    head: bytes
    body: bytes
    keep: bool

    def __repr__(self) -> str:  # the body contains messages
        return f"Reply(status={self.status}, {len(self.body)} bytes)"


class Source(Protocol):
    """The part of a socket's interface that is needed to read from it."""

    def recv(self, size: int, /) -> bytes: ...

    def recv_into(self, buffer: WriteableBuffer, /) -> int: ...


class NoReply(ConnectionError):
    """The connection ended before a response."""


def read(first: Source, rest: Source | None = None) -> Reply:
    """The response that starts with `first`; the remainder is read from `rest`.

    Raises `NoReply` and other `OSError`s if the connection ends before the response, and
    `HTTPException` if it is not HTTP or is cut off.
    """
    data = first.recv(CHUNK)
    if not data:
        raise NoReply("closed without an answer")
    sock = rest or first
    try:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            data, end = _headed(sock, data)
        told = _TOLD(data, 0, end + 2)
        lines = data.count(b"\r\n", 0, end + 2)
        if (
            len(told) != 1
            or not told[0]
            or not (data.startswith(_USUAL) or _PLAIN(data))
            # No characters that could be mistaken for the end of a line.
            or not lines == data.count(b"\n", 0, end + 2) == data.count(b"\r", 0, end + 2)
        ):
            return _by_the_book(sock, data)
        start = end + 4
        whole = start + int(told[0])
        if len(data) < whole:
            data = _filled(sock, data, whole)
        head = data[data.find(b"\n") + 1 : end + 2]
        # More data than the response: the connection must not be reused.
        return Reply(int(data[9:12]), head, data[start:whole], len(data) == whole)
    except TimeoutError:
        raise
    except OSError as error:
        raise HTTPException(f"the answer broke off: {type(error).__name__}") from None


def _headed(sock: Source, data: bytes) -> tuple[bytes, int]:
    """`data` and what follows, with at least a complete head, and where the head ends."""
    end = -1
    while end < 0:
        more = sock.recv(CHUNK)
        if not more or len(data) > LONGEST_HEAD:
            raise HTTPException("the answer has no whole head")
        data += more
        end = data.find(b"\r\n\r\n", max(0, len(data) - len(more) - 3))
    return data, end


def _filled(sock: Source, data: bytes, whole: int) -> bytes:
    """`data` and what follows, `whole` bytes in total."""
    parts = [data]
    missing = whole - len(data)
    while missing > 0:
        more = sock.recv(min(missing, 4 * CHUNK))
        if not more:
            raise HTTPException("the answer broke off")
        parts.append(more)
        missing -= len(more)
    return b"".join(parts)


def _by_the_book(sock: Source, data: bytes) -> Reply:
    """Read chunked bodies, bodies that end with the connection, interim responses, and anything
    that is not HTTP."""
    response = HTTPResponse(cast("socket.socket", _Stream(sock, data)), method="POST")
    response.begin()
    body = response.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in response.getheaders())
    # The stream may have read further: the connection is not reused.
    return Reply(response.status, head.encode("latin-1", "replace"), body, keep=False)


class _Stream(io.RawIOBase):
    """What was read of a socket already, and then the rest: as much of one as http.client needs."""

    def __init__(self, sock: Source, data: bytes) -> None:
        self._socket = sock
        self._data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        if not self._data:
            return self._socket.recv_into(view)
        taken, self._data = self._data[: len(view)], self._data[len(view) :]
        view[: len(taken)] = taken
        return len(taken)

    def makefile(self, _mode: str) -> io.BufferedReader[_Stream]:
        return io.BufferedReader(self)
