"""Asks the API for its decisions about the rows of a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from messaging.logs import logger

__all__ = ["Decisoes", "SemDecisoes"]

log = logger("cadastro.url_assinada")

ESPERA = 5.0
"""Seconds to wait for a response: less than the function's timeout, so that the page gets one too.
"""


class SemDecisoes(Exception):
    """The API does not answer, or its answer is invalid."""


class Decisoes:
    """A thread-safe client of the API."""

    def __init__(self, url: str, *, transporte: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(
            base_url=url, timeout=ESPERA, transport=transporte, trust_env=False
        )

    def contas(self, leitura: str) -> dict[str, Any] | None:
        """Counts and the first refused rows; None if they are unknown."""
        try:
            resposta = self._http.get(f"/leituras/{leitura}").raise_for_status()
            dito: dict[str, Any] = resposta.json()
        except (httpx.HTTPError, ValueError) as erro:
            log.warning("the API does not say what it decided: %s", type(erro).__name__)
            return None
        return dito

    def linhas(self, leitura: str) -> Iterator[tuple[int, str, str, str]]:
        """Line, result, column and reason of each row. Raises `SemDecisoes`."""
        try:
            with self._http.stream("GET", f"/leituras/{leitura}/linhas") as resposta:
                for uma in resposta.raise_for_status().iter_lines():
                    dito = json.loads(uma)
                    yield dito["linha"], dito["situacao"], dito["coluna"], dito["motivo"]
        except (httpx.HTTPError, ValueError) as erro:
            raise SemDecisoes(type(erro).__name__) from None
