"""A server that does to its connections exactly what a test tells it to."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

Step = bytes | tuple[bytes, ...] | Callable[[socket.socket], None] | None
"""What follows a request: these bytes; these pieces, one by one; what a function does; the end."""

ACCEPTED = (
    b'<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishBatchResult>'
    b"<Failed/><Successful><member><MessageId>m</MessageId><Id>0</Id></member></Successful>"
    b"</PublishBatchResult></PublishBatchResponse>"
)


def answer(body: bytes, status: int = 200, *lines: str) -> bytes:
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Close so that the other side gets a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Scripted:
    """Accepts one connection for each script; a script has a step for each request on it.

    A connection whose script is over is closed at once, or at the next request if the script
    ends in None.
    """

    def __init__(self, *scripts: Sequence[Step], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[int, bytes]] = []
        """The number of the connection and the bytes, of each request."""
        self.accepted = 0
        self.ended = threading.Semaphore(0)
        """Released when a script has ended."""
        self._scripts = scripts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def asked(self) -> list[int]:
        """Of each request, the number of its connection."""
        return [number for number, _ in self.requests]

    def close(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        for number, script in enumerate(self._scripts):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.accepted += 1
            thread = threading.Thread(
                target=self._play, args=(number, connection, script), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _play(self, number: int, connection: socket.socket, script: Sequence[Step]) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            for step in script:
                request = _request(connection)
                if request is None:
                    return
                self.requests.append((number, request))
                if callable(step):
                    step(connection)
                elif step is not None:
                    for piece in (step,) if isinstance(step, bytes) else step:
                        connection.sendall(piece)
                        time.sleep(0.01 if isinstance(step, tuple) else 0)
        except OSError:
            pass
        finally:
            connection.close()
            self.ended.release()


def _request(connection: socket.socket) -> bytes | None:
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(body) >= length:
                return data
        more = connection.recv(65_536)
        if not more:
            return None
        data += more


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def make(*scripts: Sequence[Step], **more: Any) -> Scripted:
        servers.append(Scripted(*scripts, **more))
        return servers[-1]

    yield make
    for server in servers:
        server.close()
