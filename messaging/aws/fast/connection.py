"""The room of connections: HTTP/1.1 over sockets that stay open, one request at a time on each.

What a server may do with a connection that it kept open is the one difficult thing here. It may
close it at any moment, and a request that meets that moment gets no answer. Such a request is
sent again, once and on a new connection, if it cannot do harm: when it could not be sent whole,
for then nobody can have carried it out, or when it is one that may be carried out twice.

A request is a generator of two steps: it has been sent when it yields, and what it returns is the
answer. So several can be under way in one thread, each on a connection of its own. One that is
closed in between (an interrupt, a caller that gave up) takes its connection with it: the answer is
still to come there, and would be taken for another's.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Generator
from http.client import HTTPException
from typing import NamedTuple, TypeVar

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

from messaging.aws.fast.reading import Reply, read
from messaging.clock import SYSTEM_CLOCK

__all__ = ["Address", "Line", "Reply", "Steps", "answered"]

_Answer = TypeVar("_Answer")
Steps = Generator[None, None, _Answer]
"""A request: sent when it yields, answered when it returns."""


def answered(steps: Steps[_Answer]) -> _Answer:
    """Go through `steps` to their end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # StopIteration's value is untyped


FRESH = 1.0
"""Seconds for which nobody looks whether a kept connection is still good, where the request may be
sent again on another: servers close what has been idle for longer."""


class Address(NamedTuple):
    """Where a service answers. `tls` is None for http; timeouts are seconds."""

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_timeout: float
    read_timeout: float


class _Closed(Exception):
    """The server closed the connection. `whole` says that the request had been sent whole."""

    def __init__(self, *, whole: bool, cause: object = "no answer") -> None:
        super().__init__(str(cause))
        self.whole = whole


class Line:
    """All connections to one address: as many as are needed at once, at most `keep` kept idle.

    Safe to share between threads, not with a forked child.
    """

    def __init__(self, address: Address, *, keep: int) -> None:
        self._address = address
        self._keep = keep
        # Appending and popping are atomic; the connection used last is used first, so that those
        # not needed any more grow old and are closed by the server.
        self._idle: deque[_Connection] = deque()
        self._closed = False

    def exchange(self, request: bytes, *, repeatable: bool) -> Reply:
        """Send `request`, and wait for the answer to it.

        `repeatable` says that it may be carried out twice. Raises what boto3 raises when nobody
        answers: `EndpointConnectionError`, `ConnectTimeoutError`, `SSLError`,
        `ReadTimeoutError`, `ConnectionClosedError`.
        """
        return answered(self.steps(request, repeatable=repeatable))

    def steps(self, request: bytes, *, repeatable: bool) -> Steps[Reply]:
        """`exchange` in its two steps. The read timeout counts from the second."""
        connection = self._kept(FRESH if repeatable else 0.0)
        if connection is not None:
            try:
                return (yield from self._on(connection, request))
            except _Closed as error:
                if error.whole and not repeatable:
                    raise self._lost(error) from None
        try:
            return (yield from self._on(self._open(), request))
        except _Closed as error:
            raise self._lost(error) from None

    def close(self) -> None:
        """Close what is idle; what is in use is closed when its answer has come."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()

    def _on(self, connection: _Connection, request: bytes) -> Steps[Reply]:
        try:
            connection.send(request)
            yield
            reply = connection.receive()
        except TimeoutError as error:
            connection.close()
            raise ReadTimeoutError(endpoint_url=self._address.url, error=error) from None
        except HTTPException as error:
            connection.close()
            raise self._lost(error) from None
        except BaseException:  # an interrupt, too, or the end of a generator left half-way
            connection.close()
            raise
        if reply.keep and not self._closed and len(self._idle) < self._keep:
            connection.since = SYSTEM_CLOCK.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _kept(self, fresh: float) -> _Connection | None:
        """A kept connection, looked at if it has been idle for `fresh` seconds or more."""
        while (connection := self._pop()) is not None:
            if SYSTEM_CLOCK.monotonic() - connection.since < fresh or not connection.spoiled():
                return connection
            connection.close()
        return None

    def _pop(self) -> _Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _open(self) -> _Connection:
        url = self._address.url
        try:
            return _Connection(self._address)
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from None
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=url, error=error) from None
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from None

    def _lost(self, error: Exception) -> ConnectionClosedError:
        return ConnectionClosedError(endpoint_url=self._address.url, error=error)


class _Connection:
    __slots__ = ("_poll", "_socket", "since")

    def __init__(self, address: Address) -> None:
        there = (address.host, address.port)
        plain = socket.create_connection(there, address.connect_timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket = plain
            if address.tls is not None:
                self._socket = address.tls.wrap_socket(plain, server_hostname=address.host)
        except BaseException:
            plain.close()
            raise
        self.since = 0.0
        """When it was kept, by the monotonic clock."""
        self._socket.settimeout(address.read_timeout)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def spoiled(self) -> bool:
        """Nobody was asked, so whatever can be read is the end, or nothing that we want."""
        return bool(self._poll.poll(0))

    def send(self, request: bytes) -> None:
        try:
            self._socket.sendall(request)
        except TimeoutError:
            raise
        except OSError as error:
            raise _Closed(whole=False, cause=error) from None

    def receive(self) -> Reply:
        try:
            return read(self._socket)
        except TimeoutError:
            raise
        except OSError as error:
            raise _Closed(whole=True, cause=error) from None

    def close(self) -> None:
        self._socket.close()
