"""The room of HTTP answers: the plain one is read here, any other by Python's own http.client."""

from __future__ import annotations

import io
import re
import socket
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Reply", "read"]

CHUNK = 65_536
"""Bytes to ask the kernel for: ten messages of a few KiB arrive in one go."""
LONGEST_HEAD = 65_536

_PLAIN = re.compile(rb"http/1\.1 (?!204|304)[2-5][0-9][0-9][ \r]")
_LENGTH = b"\r\ncontent-length:"


class Reply(NamedTuple):
    """One answer. `head` is its header lines; `keep` says that the connection may be used again."""

    status: int
    head: bytes
    body: bytes
    keep: bool


class NoReply(ConnectionError):
    """The connection ended where an answer was to begin."""


def read(sock: socket.socket) -> Reply:
    """The answer that comes on `sock`.

    Raises `NoReply` and other `OSError`s when the connection ends before it begins, and
    `HTTPException` for what is no HTTP or ends before it is whole.
    """
    data = sock.recv(CHUNK)
    if not data:
        raise NoReply("closed without an answer")
    try:
        end = data.find(b"\r\n\r\n")
        while end < 0:
            more = sock.recv(CHUNK)
            if not more or len(data) > LONGEST_HEAD:
                raise HTTPException("the answer has no whole head")
            data += more
            end = data.find(b"\r\n\r\n", max(0, len(data) - len(more) - 3))
        lower = data[: end + 2].lower()
        length = _plain_length(lower)
        if length is None:
            return _by_the_book(sock, data)
        # A wish to close, wherever it is said; too careful does no harm.
        return _rest(sock, data, end + 4, length, keep=b"close" not in lower)
    except TimeoutError:
        raise
    except OSError as error:
        raise HTTPException(f"the answer broke off: {type(error).__name__}") from None


def _plain_length(head: bytes) -> int | None:
    """The body's length if `head`, in lower case, is HTTP/1.1's plainest: a final status and one
    Content-Length."""
    if not _PLAIN.match(head) or b"transfer-encoding" in head or head.count(_LENGTH) != 1:
        return None
    start = head.find(_LENGTH) + len(_LENGTH)
    digits = head[start : head.find(b"\r\n", start)].strip(b" \t")
    return int(digits) if digits.isdigit() and len(digits) <= 10 else None


def _rest(sock: socket.socket, data: bytes, start: int, length: int, *, keep: bool) -> Reply:
    """The answer whose head ends before `start`: with what is still to come of its body."""
    missing = start + length - len(data)
    if missing > 0:
        parts = [data]
        while missing > 0:
            more = sock.recv(min(missing, 4 * CHUNK))
            if not more:
                raise HTTPException("the answer broke off")
            parts.append(more)
            missing -= len(more)
        data = b"".join(parts)
    head = data[data.find(b"\n") + 1 : start - 2]
    # More than the answer: not to be used again.
    return Reply(int(data[9:12]), head, data[start : start + length], keep=keep and missing == 0)


def _by_the_book(sock: socket.socket, data: bytes) -> Reply:
    """Chunks, bodies that end with the connection, interim answers, and what is no HTTP at all."""
    stream = io.BufferedReader(_Stream(sock, data))
    response = HTTPResponse(cast("socket.socket", _File(stream)), method="POST")
    response.begin()
    body = response.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in response.getheaders())
    # The stream may have read on: the connection is not used again.
    return Reply(response.status, head.encode("latin-1", "replace"), body, keep=False)


class _Stream(io.RawIOBase):
    """What was read of a socket already, and then the rest."""

    def __init__(self, sock: socket.socket, data: bytes) -> None:
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


class _File:
    """As much of a socket as http.client asks for."""

    def __init__(self, stream: io.BufferedReader[_Stream]) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader[_Stream]:
        return self._stream
