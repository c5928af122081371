"""Connections: HTTP/1.1 over sockets that stay open, with one request at a time on each.

The one difficulty is that a server may close a kept-alive connection at any moment, and a request
sent at that moment gets no answer. Such a request is sent again, once and on a new connection, if
that cannot do harm: if it could not be sent completely, so that it cannot have been executed, or if
it may be executed twice.

A request has two halves, which `exchange` combines: `send`, and `answer` for its result. So several
can be in flight in one thread, each on its own connection. A request that is given up in between
(by an interrupt, or because it is no longer wanted) must be `drop`ped together with its connection:
its answer is still to come, and would be mistaken for another request's.
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
"""Seconds for which a kept connection is used without a check, if the request may be sent again on
another: servers close connections that have been idle for longer."""


class Address(NamedTuple):
    """The address of a service. `tls` is None for http; timeouts are in seconds."""

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
    """A request in flight: its connection, and the data to send on a new one if the server closes
    it without an answer; None if it must not be executed twice."""

    connection: _Connection
    again: bytes | None
    deadline: Deadline | None


class ConnectionPool:
    """All connections to one address: as many as needed, with at most `keep` kept idle.

    A request takes no longer than its timeouts, or than `messaging.deadline.CURRENT` at the time of
    sending. Thread-safe, but not to be shared with a forked child.
    """

    def __init__(self, address: Address, *, keep: int, bounded: Bounded | None = None) -> None:
        self._address = address
        self._bounded = bounded or Bounded()
        self._keep = keep
        # Appending and popping are atomic; the most recently used connection is used first, so that
        # unneeded ones grow old and are closed by the server.
        self._idle: deque[_Connection] = deque()
        self._closed = False

    def exchange(self, request: bytes, *, repeatable: bool) -> Reply:
        """Send `request`, and wait for its answer.

        `repeatable` means that it may be executed twice. If there is no answer, it raises boto3's
        errors: `EndpointConnectionError`, `ConnectTimeoutError`, `SSLError`, `ReadTimeoutError`,
        `ConnectionClosedError`.
        """
        return self.answer(self.send(request, repeatable=repeatable))

    def send(self, request: bytes, *, repeatable: bool) -> SentRequest:
        """The first half, after which the request has been sent. The read timeout starts with the
        second."""
        deadline = CURRENT.get()
        connection = self._kept(FRESH if repeatable else 0.0)
        if connection is not None:
            try:
                self._put(connection, request, deadline)
            except _Closed:  # an incompletely sent request cannot have been executed
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
        """The answer; or the request, sent again on a new connection, whose answer is pending."""
        try:
            return self._hear(sent.connection, sent.deadline)
        except _Closed as error:
            if sent.again is None:
                raise self._lost(error) from None
        return self._send_anew(sent.again, sent.deadline)

    def drop(self, sent: SentRequest) -> None:
        """Instead of the second half, if the answer is not wanted."""
        sent.connection.socket.close()

    def close(self) -> None:
        """Close idle connections; the others are closed when their answer has arrived."""
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
        except BaseException:  # also for an interrupt
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
        """Close `connection`, and translate `error` for the caller."""
        connection.socket.close()
        if isinstance(error, TimeoutError):
            return ReadTimeoutError(endpoint_url=self._address.url, error=error)
        if isinstance(error, HTTPException):
            return self._lost(error)
        return _Closed(str(error))

    def _kept(self, fresh: float) -> _Connection | None:
        """A kept connection, checked if it has been idle for `fresh` seconds or more."""
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
            # As a whole: a name may have several addresses, and looking it up has no limit.
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
        """When it became idle, by the monotonic clock."""
        self._longest = address.read_timeout
        self._deadline: Deadline | None = None
        self.timeout = address.read_timeout
        """The socket's timeout, in seconds."""
        self.socket.settimeout(address.read_timeout)
        # Made once: each publish asks. Eventlet takes `select.poll` away, and Windows has none.
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(self.socket, select.POLLIN)

    def limit(self, deadline: Deadline | None) -> None:
        """Wait for the next data at most for the read timeout, and never beyond `deadline`."""
        self._deadline = deadline
        left = self._longest
        if deadline is not None:
            rest = deadline.left()
            if not rest:
                raise TimeoutError("the time was over")
            if rest < left:
                left = rest
            # Setting the socket's timeout is a system call. Successive requests have nearly the
            # same limit, each a little shorter: a difference of a fiftieth is ignored.
            if left * 0.9 < self.timeout < left * 1.02:
                return
        self.socket.settimeout(left)
        self.timeout = left

    def recv(self, size: int) -> bytes:
        """Like the socket's, but within the limit: the socket's own timeout restarts with each
        byte."""
        self.limit(self._deadline)
        return self.socket.recv(size)

    def recv_into(self, buffer: WriteableBuffer) -> int:
        self.limit(self._deadline)
        return self.socket.recv_into(buffer)

    def close(self) -> None:
        self.socket.close()

    def spoiled(self) -> bool:
        """Nothing was requested, so anything readable is the end of the connection, or unwanted."""
        poll = self._poll
        return bool(readable([self.socket.fileno()], 0) if poll is None else poll.poll(0))
