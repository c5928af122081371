"""A client for an ASGI application in this process: no socket, and no lifespan."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

__all__ = ["Cliente"]


class Cliente:
    """`get`, `post`, `options`: each a request of its own. Close-free."""

    def __init__(
        self, app: Any, base: str = "http://127.0.0.1", headers: dict[str, str] | None = None
    ) -> None:
        self._app = app
        self._base = base
        self._headers = headers or {}

    def get(self, caminho: str, **dito: Any) -> httpx.Response:
        return self._pedir("GET", caminho, dito)

    def post(self, caminho: str, **dito: Any) -> httpx.Response:
        return self._pedir("POST", caminho, dito)

    def options(self, caminho: str, **dito: Any) -> httpx.Response:
        return self._pedir("OPTIONS", caminho, dito)

    def _pedir(self, metodo: str, caminho: str, dito: Any) -> httpx.Response:
        async def pedir() -> httpx.Response:
            dito["headers"] = self._headers | dito.get("headers", {})
            transporte = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transporte, base_url=self._base) as cliente:
                return await cliente.request(metodo, caminho, **dito)

        return asyncio.run(pedir())
