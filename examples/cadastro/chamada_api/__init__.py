"""The call: has the API enrol each student from the queue, however long that takes.

A consumer like any other, so it runs in a `Worker`, in a test, and here as an AWS Lambda handler.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.eventos import MatriculaRecebida
from examples.cadastro.linhas import LINHA, Linha
from messaging.consuming.consumer import Consumer, handles
from messaging.lambda_handler import Handler, lambda_handler
from messaging.logs import logger
from messaging.outcome import MAX_DELAY, Reject, Retry
from messaging.transport import Delivery

__all__ = ["ChamadaAPI", "novo_handler"]

log = logger("cadastro.chamada")

ESPERA = 10.0
"""Seconds to wait for one response."""
MAIOR_PAUSA = 1800
"""Maximum seconds between two calls while the API is down."""
_CAMPOS = frozenset((*MatriculaRecebida.model_fields, "senha", "origem"))


class ChamadaAPI(Consumer):
    """POSTs each student to the API.

    2xx        done: enrolled now or before, or corrected.
    408, 429   again after Retry-After.
    5xx, down  again, after a pause that doubles up to half an hour.
    other 4xx  never: to the dead-letter queue, with the status and the invalid fields. 409 is one
               of them: it may be another student, and a person must decide.

    The row's position in its file is sent in a header, so that the API records the row's result.

    No student is lost while the API is down for a week: `max_receives` times the usual pause is
    longer than the 14 days for which SQS keeps a message.
    """

    service = "chamada-api"
    visibility_timeout = 60
    max_receives = 1000

    def __init__(
        self, url: str, *, segredo: str = "", transporte: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = f"{url.rstrip('/')}/alunos"
        self._cabecalhos = {"authorization": f"Bearer {segredo}"} if segredo else {}
        self._transporte = transporte
        self._cliente: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient] | None = None

    @handles
    async def cadastrar(self, matricula: MatriculaRecebida, delivery: Delivery) -> None:
        corpo = matricula.model_dump(mode="json", exclude_none=True) | {"origem": "csv"}
        linha = corpo.pop("posicao_no_upload", "")
        try:
            resposta = await self._http().post(
                self._url, json=corpo, headers={LINHA: linha, **self._cabecalhos}
            )
        except httpx.HTTPError as erro:
            raise Retry(_pausa(delivery.receive_count), type(erro).__name__) from None
        status = resposta.status_code
        if resposta.is_success:
            return
        if status in (408, 429):
            raise Retry(_depois(resposta, delivery.receive_count), f"the API answered {status}")
        if 400 <= status < 500:
            onde = f" (row {linha})" if Linha.lida(linha) else ""
            log.warning("message %s%s: the API answered %d", delivery.message_id, onde, status)
            raise Reject(f"the API answered {status}{_campos(resposta)}{onde}")
        raise Retry(_pausa(delivery.receive_count), f"the API answered {status}")

    def _http(self) -> httpx.AsyncClient:
        """One client for each event loop, because its connections belong to the loop."""
        laco = asyncio.get_running_loop()
        if self._cliente is None or self._cliente[0] is not laco:
            cliente = httpx.AsyncClient(timeout=ESPERA, transport=self._transporte, trust_env=False)
            self._cliente = (laco, cliente)
        return self._cliente[1]


def _pausa(recebida: int) -> float:
    """Doubles with each receive, and half of it is random, so the API is not flooded when it
    returns."""
    maior = min(float(MAIOR_PAUSA), 2.0 ** min(recebida, 20))
    return random.uniform(maior / 2, maior)


def _depois(resposta: httpx.Response, recebida: int) -> float:
    """Retry-After, in seconds or as a date. https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3"""
    dito = resposta.headers.get("retry-after", "")
    if dito.isdigit():
        return float(min(MAX_DELAY, int(dito)))
    try:
        quando = parsedate_to_datetime(dito)
    except ValueError:
        return _pausa(recebida)
    quando = quando if quando.tzinfo else quando.replace(tzinfo=UTC)
    return min(float(MAX_DELAY), max(0.0, (quando - datetime.now(UTC)).total_seconds()))


def _campos(resposta: httpx.Response) -> str:
    """Names of the fields that the API refused, if they are known names; never a value."""
    try:
        erros = resposta.json()["erros"]
        ditos = [um["campo"] for um in erros if um["campo"] in _CAMPOS]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {', '.join(ditos)}" if ditos else ""


def novo_handler(ajustes: Ajustes | None = None) -> Handler:
    """The handler, configured by the environment: the function's module calls this once, when it
    starts."""
    from messaging.aws import connect

    ditos = ajustes or Ajustes.do_ambiente()
    consumidor = ChamadaAPI(ditos.api_url, segredo=ditos.exigir("segredo"))
    return lambda_handler(consumidor, queue=connect().queue(consumidor.service))
