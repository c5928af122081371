"""Limits of the API: bytes in one request, and enrolments in one second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Ritmo", "TamanhoMaximo"]


class TamanhoMaximo:
    """ASGI middleware: a body over `maximo` bytes is 413, whether it says its length or not."""

    def __init__(self, app: ASGIApp, *, maximo: int) -> None:
        self._app = app
        self._maximo = maximo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        dito = Headers(scope=scope).get("content-length", "0")
        if not dito.isdigit() or int(dito) > self._maximo:
            await self._recusa()(scope, receive, send)
            return
        # Read before the application sees it: a body in chunks tells its length at its end.
        corpo = bytearray()
        mais = True
        while mais:
            parte = await receive()
            if parte["type"] != "http.request":
                return  # the caller has gone
            corpo += parte.get("body", b"")
            mais = parte.get("more_body", False)
            if len(corpo) > self._maximo:
                await self._recusa()(scope, receive, send)
                return
        lido = False

        async def receber() -> Message:
            nonlocal lido
            if lido:
                return await receive()
            lido = True
            return {"type": "http.request", "body": bytes(corpo), "more_body": False}

        await self._app(scope, receber, send)

    def _recusa(self) -> JSONResponse:
        motivo = f"o corpo tem mais de {self._maximo} bytes"
        return JSONResponse({"erros": [{"campo": "", "motivo": motivo}]}, 413)


class Ritmo:
    """At most `por_segundo` on average, and one second's worth at once; 0 is no limit."""

    def __init__(
        self, por_segundo: float, *, relogio: Callable[[], float] = time.monotonic
    ) -> None:
        self._por_segundo = por_segundo
        self._relogio = relogio
        self._trava = threading.Lock()
        self._fichas = max(1.0, por_segundo)
        self._visto = relogio()

    def espera(self) -> float:
        """0.0 and one is taken; else the seconds after which to ask again."""
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
