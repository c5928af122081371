"""Limits of the API: bytes and seconds per body, enrolments at a time and per second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Corpo", "Ritmo", "Vagas", "recusa"]


def recusa(
    status: int, campo: str, motivo: str, cabecalhos: Mapping[str, str] | None = None
) -> JSONResponse:
    """The format of all refusals."""
    return JSONResponse({"erros": [{"campo": campo, "motivo": motivo}]}, status, cabecalhos)


class Corpo:
    """ASGI middleware: a body over `maximo` bytes gets 413, with or without a Content-Length, and
    one that is not complete after `prazo` seconds gets 408."""

    def __init__(self, app: ASGIApp, *, maximo: int, prazo: float = 10.0) -> None:
        self._app = app
        self._maximo = maximo
        self._prazo = prazo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        dito = Headers(scope=scope).get("content-length", "0")
        if not dito.isdigit() or int(dito) > self._maximo:
            await self._recusa()(scope, receive, send)
            return
        # Read before the application sees it: the length of a chunked body is only known at its
        # end.
        try:
            async with asyncio.timeout(self._prazo):
                corpo = await self._ler(receive)
        except TimeoutError:
            # The rest of it may still arrive, so this connection cannot be reused.
            demorou = recusa(408, "", "o corpo demorou demais a chegar", {"Connection": "close"})
            await demorou(scope, receive, send)
            return
        if corpo is None:
            return  # the caller disconnected
        if len(corpo) > self._maximo:
            await self._recusa()(scope, receive, send)
            return
        lido = False

        async def receber() -> Message:
            nonlocal lido
            if lido:
                return await receive()
            lido = True
            return {"type": "http.request", "body": corpo, "more_body": False}

        await self._app(scope, receber, send)

    async def _ler(self, receive: Receive) -> bytes | None:
        corpo = bytearray()
        while len(corpo) <= self._maximo:
            parte = await receive()
            if parte["type"] != "http.request":
                return None
            corpo += parte.get("body", b"")
            if not parte.get("more_body", False):
                break
        return bytes(corpo)

    def _recusa(self) -> JSONResponse:
        return recusa(413, "", f"o corpo tem mais de {self._maximo} bytes")


class Vagas:
    """ASGI middleware: at most `maximo` enrolments in progress; the next gets 429 immediately.

    Each takes one of the server's threads, and `/saude` needs one too. It comes after `Corpo`, so a
    slow sender takes no place.
    """

    def __init__(self, app: ASGIApp, *, maximo: int) -> None:
        self._app = app
        self._vagas = threading.BoundedSemaphore(maximo)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if not self._vagas.acquire(blocking=False):
            cheio = recusa(429, "", "muitos cadastros de uma vez", {"Retry-After": "1"})
            await cheio(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._vagas.release()


class Ritmo:
    """At most `por_segundo` on average, with bursts of one second's worth; 0 means no limit."""

    def __init__(
        self, por_segundo: float, *, relogio: Callable[[], float] = time.monotonic
    ) -> None:
        self._por_segundo = por_segundo
        self._relogio = relogio
        self._trava = threading.Lock()
        self._fichas = max(1.0, por_segundo)
        self._visto = relogio()

    def espera(self) -> float:
        """Take one token and return 0.0, or return the seconds after which to try again."""
        if not self._por_segundo:
            return 0.0
        with self._trava:
            agora = self._relogio()
            ganhas = (agora - self._visto) * self._por_segundo
            self._fichas = min(max(1.0, self._por_segundo), self._fichas + ganhas)
            self._visto = agora
            if self._fichas >= 1:
                self._fichas -= 1
                return 0.0
            return (1 - self._fichas) / self._por_segundo
