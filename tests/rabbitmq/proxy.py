"""A TCP proxy that stands between a program and RabbitMQ, and does what networks do."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Cutter"]


class Cutter:
    """A TCP proxy in front of the node: resets all its connections on demand, or freezes them.

    at  bytes of a client; a connection is reset when they come by for the first time.
    """

    def __init__(self, target: int, *, at: bytes | None = None) -> None:
        self._target = target
        self._at = at
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Nothing passes any more on what is open: nobody is told."""
        self._flowing.clear()

    def thaw(self) -> None:
        """What is open, or opened from now on, flows again."""
        self._flowing.set()

    def close(self) -> None:
        self._flowing.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for one in self._threads:
            one.join(10)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=(one, other))
                self._threads.append(thread)
                thread.start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                self._flowing.wait()
                if self._at is not None and self._at in data:
                    self._at = None
                    break
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        one.close()
