"""Connections: HTTP/1.1 over sockets that stay open, one request at a time on each.

What a server may do with a connection that it kept open is the one difficult thing here. It may
close it at any moment, and a request that meets that moment gets no answer. Such a request is
sent again, once and on a new connection, if it cannot do harm: when it could not be sent whole,
for then nobody can have carried it out, or when it is one that may be carried out twice.

A request has two halves, which `exchange` puts together: `send`, and `answer` for what that gave.
So several can be under way in one thread, each on a connection of its own. One that is given up in
between (an interrupt, a caller that does not want it any more) is to be `drop`ped, which takes its
connection along: the answer is still to come there, and would be taken for another's.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

from messaging.aws.bounded import Bounded
from messaging.aws.fast.http import Reply, read
from messaging.clock import SYSTEM_CLOCK
from messaging.deadline import CURRENT, Deadline
from messaging.readiness import readable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Address", "ConnectionPool", "Reply", "SentRequest"]

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
    """The server closed the connection."""


@dataclass(slots=True, eq=False, repr=False)
class SentRequest:
    """A request under way: on which connection, and what is to be sent on a new one if the server
    closes it without an answer; None for what must not be carried out twice."""

    connection: _Connection
    again: bytes | None
    deadline: Deadline | None


class ConnectionPool:
    """All connections to one address: as many as are needed at once, at most `keep` kept idle.

    A request takes no longer than its timeouts, nor than `messaging.deadline.CURRENT` said when
    it was sent. Safe to share between threads, not with a forked child.
    """

    def __init__(self, address: Address, *, keep: int, bounded: Bounded | None = None) -> None:
        self._address = address
        self._bounded = bounded or Bounded()
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
        return self.answer(self.send(request, repeatable=repeatable))

    def send(self, request: bytes, *, repeatable: bool) -> SentRequest:
        """The first half: it has been sent. The read timeout counts from the second."""
        deadline = CURRENT.get()
        connection = self._kept(FRESH if repeatable else 0.0)
        if connection is not None:
            try:
                self._put(connection, request, deadline)
            except _Closed:  # nobody can have carried out what was not sent whole
                pass
            else:
                return SentRequest(connection, request if repeatable else None, deadline)
        return self._send_anew(request, deadline)

    def answer(self, sent: SentRequest) -> Reply:
        """The second half: the answer."""
        heard = self.hear(sent)
        while isinstance(heard, SentRequest):
            heard = self.hear(heard)
        return heard

    def hear(self, sent: SentRequest) -> Reply | SentRequest:
        """The answer; or the request, sent again on a new connection, whose answer is to come."""
        try:
            return self._hear(sent.connection, sent.deadline)
        except _Closed as error:
            if sent.again is None:
                raise self._lost(error) from None
        return self._send_anew(sent.again, sent.deadline)

    def drop(self, sent: SentRequest) -> None:
        """In place of the second half: nobody wants the answer."""
        sent.connection.socket.close()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when its answer has come."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.socket.close()

    def _send_anew(self, request: bytes, deadline: Deadline | None) -> SentRequest:
        try:
            connection = self._open(deadline)
            self._put(connection, request, deadline)
        except _Closed as error:
            raise self._lost(error) from None
        return SentRequest(connection, None, deadline)

    def _put(self, connection: _Connection, request: bytes, deadline: Deadline | None) -> None:
        try:
            if deadline is not None or connection.timeout != self._address.read_timeout:
                connection.limit(deadline)
            connection.socket.sendall(request)
        except OSError as error:
            raise self._broken(connection, error) from None
        except BaseException:  # an interrupt, too
            connection.socket.close()
            raise

    def _hear(self, connection: _Connection, deadline: Deadline | None) -> Reply:
        try:
            if deadline is None:
                reply = read(connection.socket)
            else:
                reply = read(connection.socket, connection)
        except (OSError, HTTPException) as error:
            raise self._broken(connection, error) from None
        except BaseException:
            connection.socket.close()
            raise
        if reply.keep and not self._closed and len(self._idle) < self._keep:
            connection.since = SYSTEM_CLOCK.monotonic()
            self._idle.append(connection)
        else:
            connection.socket.close()
        return reply

    def _broken(self, connection: _Connection, error: Exception) -> Exception:
        """What `error`, which `connection` does not survive, is to the caller."""
        connection.socket.close()
        if isinstance(error, TimeoutError):
            return ReadTimeoutError(endpoint_url=self._address.url, error=error)
        if isinstance(error, HTTPException):
            return self._lost(error)
        return _Closed(str(error))

    def _kept(self, fresh: float) -> _Connection | None:
        """A kept connection, looked at if it has been idle for `fresh` seconds or more."""
        while (connection := self._pop()) is not None:
            if fresh and SYSTEM_CLOCK.monotonic() - connection.since < fresh:
                return connection
            if not connection.spoiled():
                return connection
            connection.socket.close()
        return None

    def _pop(self) -> _Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _open(self, deadline: Deadline | None) -> _Connection:
        url, address = self._address.url, self._address
        try:
            if deadline is None or deadline.left() == math.inf:
                return _Connection(address)
            # As a whole: a name may have several addresses, and to look it up has no limit.
            return self._bounded(lambda: _Connection(address), forget=lambda late: late.close())
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from None
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=url, error=error) from None
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from None

    def _lost(self, error: Exception) -> ConnectionClosedError:
        return ConnectionClosedError(endpoint_url=self._address.url, error=error)


class _Connection:
    __slots__ = ("_deadline", "_longest", "_poll", "since", "socket", "timeout")

    def __init__(self, address: Address) -> None:
        there = (address.host, address.port)
        plain = socket.create_connection(there, address.connect_timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.socket = plain
            if address.tls is not None:
                self.socket = address.tls.wrap_socket(plain, server_hostname=address.host)
        except BaseException:
            plain.close()
            raise
        self.since = 0.0
        """When it was kept, by the monotonic clock."""
        self._longest = address.read_timeout
        self._deadline: Deadline | None = None
        self.timeout = address.read_timeout
        """Seconds, as the socket has it."""
        self.socket.settimeout(address.read_timeout)
        # Made once: each publish asks. Eventlet takes `select.poll` away, and Windows has none.
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(self.socket, select.POLLIN)

    def limit(self, deadline: Deadline | None) -> None:
        """Wait for the read timeout at most for what comes next, and never beyond `deadline`."""
        self._deadline = deadline
        left = self._longest
        if deadline is not None:
            rest = deadline.left()
            if not rest:
                raise TimeoutError("the time was over")
            if rest < left:
                left = rest
            # To tell the socket is a system call. Requests with the same limit follow each other,
            # each with a little less left by now: for a fiftieth more it is not told.
            if left * 0.9 < self.timeout < left * 1.02:
                return
        self.socket.settimeout(left)
        self.timeout = left

    def recv(self, size: int) -> bytes:
        """As the socket's, but within the limit: its own timeout begins anew with each byte."""
        self.limit(self._deadline)
        return self.socket.recv(size)

    def recv_into(self, buffer: WriteableBuffer) -> int:
        self.limit(self._deadline)
        return self.socket.recv_into(buffer)

    def close(self) -> None:
        self.socket.close()

    def spoiled(self) -> bool:
        """Nobody was asked, so whatever can be read is the end, or nothing that we want."""
        poll = self._poll
        return bool(readable([self.socket.fileno()], 0) if poll is None else poll.poll(0))
