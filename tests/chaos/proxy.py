"""An HTTP proxy before a local server that hurts what passes.

    with LocalServer() as server, FaultyProxy(server.url, seed=7) as proxy:
        settings = Settings(topic="alunos", endpoint_url=proxy.url, region=REGION)

For the tests of whole processes, which no simulation can hurt.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from random import Random
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from messaging.errors import ConfigurationError
from tests.chaos.rewriting import (
    entries_of,
    nothing_done,
    operation_of,
    some_of,
    with_failed,
    without,
)

__all__ = ["RATES", "FaultyProxy", "ProxyThread", "reset"]

RATES: Mapping[str, float] = MappingProxyType(
    {
        "reset before": 0.01,
        "reset after": 0.015,
        "error": 0.01,
        "unavailable": 0.01,
        "throttled": 0.015,
        "slow": 0.02,
        "refused": 0.02,
        "lied": 0.02,
    }
)
"""How often each fault happens, of all requests that move messages."""

_MOVING = frozenset(
    "Publish PublishBatch ReceiveMessage DeleteMessage DeleteMessageBatch ChangeMessageVisibility "
    "ChangeMessageVisibilityBatch SendMessage SendMessageBatch".split()
)
_SLOWEST = 1.5
_BATCH = ("refused", "lied")


class _Message(NamedTuple):
    """A request or a response: its first line, its headers as they came, and its body."""

    line: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    def encoded(self) -> bytes:
        kept = [
            f"{key}: {value}\r\n"
            for key, value in self.headers
            if key.lower() not in ("content-length", "transfer-encoding")
        ]
        head = "".join([*kept, f"Content-Length: {len(self.body)}\r\n\r\n"])
        return self.line + head.encode("latin-1") + self.body


class ProxyThread(ABC):
    """Forwards what comes to a port of 127.0.0.1 to `target`, in a thread of its own.

    seed   of the faults; which request meets which depends on the order in which they come.

    `calm()` ends the faults.
    """

    def __init__(self, target: str, *, seed: int) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._chance = Random(seed)
        self._calm = False
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="messaging-proxy", daemon=True)
        self._serving: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self.injected: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it listens."""

    @abstractmethod
    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        """One client's connection, until either side ends it."""

    def calm(self) -> None:
        """From now on everything passes."""
        self._calm = True

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        loop = self._loop
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            loop.run_forever()
        finally:
            # Accept no more, but close only when what was being accepted has begun and ended.
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
            loop.run_until_complete(self._end_all())
            server.close()
            loop.close()

    async def _end_all(self) -> None:
        """Each task closes its two connections; a socket is closed a turn after its transport.

        What is being accepted takes some turns to become a task, and must not be cancelled before
        it has begun: then nobody would close it.
        """
        quiet = 0
        while quiet < 8:
            await asyncio.sleep(0)
            serving = list(self._serving)
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            quiet = 0 if serving else quiet + 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        upstream: asyncio.StreamWriter | None = None
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            answers, upstream = await asyncio.open_connection(*self._target)
            await self._converse(reader, writer, answers, upstream)
        for one in (upstream, writer):
            if one is not None:
                one.close()
                with suppress(OSError, asyncio.CancelledError):
                    await one.wait_closed()


class FaultyProxy(ProxyThread):
    """Forwards HTTP/1.1 to `target` from a port of 127.0.0.1, in a thread of its own.

    seed   of the faults; which request meets which depends on the order in which they come.
    rates  how often each fault happens (`RATES`).

    Requests that move no messages (queue URLs, attributes) pass unhurt. `calm()` ends the faults.
    """

    def __init__(self, target: str, *, seed: int, rates: Mapping[str, float] = RATES) -> None:
        unknown = rates.keys() - RATES.keys()
        if unknown:
            raise ConfigurationError(f"no such fault: {', '.join(sorted(unknown))}")
        super().__init__(target, seed=seed)
        self._rates = rates

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        """As many requests as it sends, one after the other."""
        while True:
            request = await _read(reader)
            fault, response = await self._answered(request, answers, upstream)
            if fault.startswith("reset"):
                reset(writer)
                break
            writer.write(response.encoded())
            await writer.drain()

    async def _answered(
        self, request: _Message, answers: asyncio.StreamReader, upstream: asyncio.StreamWriter
    ) -> tuple[str, _Message]:
        operation = operation_of(request.header("x-amz-target"), request.body)
        entries = entries_of(operation, request.body)
        fault = self._fault(operation, bool(entries))
        if fault in ("reset before", "error", "unavailable", "throttled"):
            return fault, _refusal(fault, request)
        chosen = some_of(entries, self._chance) if fault in _BATCH else ()
        if fault == "slow":
            await asyncio.sleep(self._chance.uniform(0.05, _SLOWEST))
        if fault == "refused":
            left = without(request.body, chosen)
            if left is None:
                body = with_failed(nothing_done(operation), chosen)
                return fault, _Message(b"HTTP/1.1 200 OK\r\n", _type_of(request), body)
            request = request._replace(body=left)
        upstream.write(request.encoded())
        await upstream.drain()
        response = await _read(answers)
        if chosen and b" 200 " in response.line:
            response = response._replace(body=with_failed(response.body, chosen))
        return fault, response

    def _fault(self, operation: str, batch: bool) -> str:
        self.requests[operation] += 1
        if self._calm or operation not in _MOVING:
            return ""
        throw = self._chance.random()
        for fault, rate in self._rates.items():
            throw -= rate
            if throw < 0:
                if fault in _BATCH and not batch:
                    return ""
                self.injected[fault] += 1
                return fault
        return ""


def _refusal(fault: str, request: _Message) -> _Message:
    """What the services say when they do nothing."""
    status, code = {
        "error": ("500 Internal Server Error", "InternalFailure"),
        "unavailable": ("503 Service Unavailable", "ServiceUnavailable"),
        "throttled": ("400 Bad Request", "ThrottlingException"),
    }.get(fault, ("500 Internal Server Error", ""))
    if request.header("x-amz-target"):
        body = f'{{"__type": "com.amazonaws.sqs#{code}", "message": "chaos"}}'
    else:
        body = (
            '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error>'
            f"<Type>Receiver</Type><Code>{code}</Code><Message>chaos</Message></Error>"
            "<RequestId>chaos</RequestId></ErrorResponse>"
        )
    line = f"HTTP/1.1 {status}\r\n".encode()
    return _Message(line, _type_of(request), body.encode())


def _type_of(request: _Message) -> tuple[tuple[str, str], ...]:
    json = request.header("x-amz-target")
    return (("Content-Type", "application/x-amz-json-1.0" if json else "text/xml"),)


async def _read(reader: asyncio.StreamReader) -> _Message:
    head = await reader.readuntil(b"\r\n\r\n")
    line, _, rest = head.partition(b"\r\n")
    headers = tuple(
        (name.strip(), value.strip())
        for name, _, value in (one.partition(":") for one in rest.decode("latin-1").split("\r\n"))
        if name
    )
    message = _Message(line + b"\r\n", headers, b"")
    if message.header("transfer-encoding").lower() == "chunked":
        return message._replace(body=await _read_chunks(reader))
    length = int(message.header("content-length") or 0)
    return message._replace(body=await reader.readexactly(length) if length else b"")


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: the client sees a broken connection and no end of file."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
