"""The routes of the API: one enrolment in, and an answer that can be relied on."""

from __future__ import annotations

import hmac
import json
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Annotated, Any
from uuid import UUID

from argon2 import PasswordHasher
from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from examples.cadastro.api.docs import SEM_SCRIPT, pagina
from examples.cadastro.api.limites import Corpo, Ritmo, Vagas, recusa
from examples.cadastro.api.modelos import (
    AlunoConhecido,
    AlunoCriado,
    Erros,
    NovoAluno,
    Saude,
    erros_de,
)
from examples.cadastro.api.rele import Rele
from examples.cadastro.documentos import Alunos, SemDocumentos
from examples.cadastro.identidade import Conflito
from examples.cadastro.linhas import LINHA, Decisao, Linha
from messaging.logs import logger

__all__ = ["criar"]

log = logger("cadastro.api")

CORPO = 16_384
"""Maximum bytes of a request: the longest enrolment has about 1,500."""
DE_UMA_VEZ = 24
"""Enrolments in progress in one process. The server has 40 threads, so `/saude` always finds one.
"""
_RECUSAS: dict[int | str, dict[str, Any]] = {
    200: {"model": AlunoConhecido, "description": "Known already: nothing to do, or updated"},
    409: {"model": Erros, "description": "It may be another student: a person must decide"},
    408: {"model": Erros, "description": "The body took too long"},
    413: {"model": Erros, "description": "The body is too big"},
    422: {"model": Erros, "description": "Fields are wrong; each is named"},
    429: {"model": Erros, "description": "Too many at once: see Retry-After"},
    503: {"model": Erros, "description": "The document store does not answer; try again"},
}
_DE_LEITURA: dict[int | str, dict[str, Any]] = {
    422: {"model": Erros, "description": "That is no id of a reading"},
    503: _RECUSAS[503],
}


def criar(
    alunos: Alunos,
    rele: Rele | None = None,
    *,
    origens: Sequence[str] = (),
    segredo: str | None = None,
    por_segundo: float = 200,
    prazo: float = 10.0,
    depois_de_inserir: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application.

    rele     if given, runs as long as the application; otherwise it runs elsewhere.
    segredo  a caller without it is a stranger, who does not learn the reason for a 409 and cannot
             report on a row of a file; None: there are no strangers.
    prazo    seconds within which a body must have arrived.
    """
    da_casa = _da_casa(segredo)

    @asynccontextmanager
    async def vida(_app: FastAPI) -> AsyncIterator[None]:
        if rele is not None:
            rele.start()
        yield
        if rele is not None:
            rele.stop()

    app = FastAPI(
        title="API REST cadastro", version="1.0", lifespan=vida, docs_url=None, redoc_url=None
    )
    # The middleware added last is the first that a request reaches.
    app.add_middleware(Vagas, maximo=DE_UMA_VEZ)
    app.add_middleware(Corpo, maximo=CORPO, prazo=prazo)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origens),
        allow_methods=["GET", "POST"],
        allow_headers=["content-type"],
        expose_headers=["retry-after"],
    )
    app.add_exception_handler(RequestValidationError, _errado(alunos, da_casa))
    app.add_exception_handler(HTTPException, _negado)
    app.add_exception_handler(Exception, _quebrado)
    senhas = _Senhas()
    ritmo = Ritmo(por_segundo)

    @app.post("/alunos", status_code=201, response_model=AlunoCriado, responses=_RECUSAS)
    def cadastrar(
        novo: NovoAluno,
        x_cadastro_linha: Annotated[str, Header()] = "",
        authorization: Annotated[str, Header()] = "",
    ) -> Response | AlunoCriado:
        """Enrol a student. 201: inserted, and the event is certain to be published. 200: already
        known, with the same data (`igual`) or with new data (`atualizado`). A stranger gets 201 for
        repeating the same data, and 409 for different data of a known student."""
        if espera := ritmo.espera():
            segundos = str(math.ceil(espera))
            return recusa(429, "", "muitos cadastros de uma vez", {"Retry-After": segundos})
        conhecido = da_casa(authorization)
        linha = Linha.lida(x_cadastro_linha) if conhecido else None
        try:
            try:
                decisao = alunos.cadastrar(
                    novo.cadastrado(),
                    ditos=novo.ditos,
                    senha=senhas.de(novo),
                    linha=linha,
                    corrige=conhecido,
                )
            except Conflito as erro:
                if linha is not None:
                    alunos.recusar(linha, erro.campo, erro.motivo)
                return _conflito(erro.campo, erro.motivo, conhecido)
        except SemDocumentos as erro:
            return _sem_documentos(erro)
        if decisao.situacao == "recusado":  # the same row again
            return _conflito(decisao.campo, decisao.motivo, conhecido)
        if decisao.situacao == "novo":
            depois_de_inserir()
        if rele is not None and decisao.situacao != "igual":
            rele.acordar()
        log.info("aluno %s %s %s", decisao.aluno_id, _DITO[decisao.situacao], decisao.evento_id)
        return _resposta(novo, decisao, conhecido)

    @app.get("/leituras/{leitura}", responses=_DE_LEITURA)
    def contas(leitura: UUID) -> Response:
        """The results of one file's rows: counts, and the first refused rows."""
        try:
            return JSONResponse(alunos.contas(str(leitura)))
        except SemDocumentos as erro:
            return _sem_documentos(erro)

    @app.get("/leituras/{leitura}/linhas", responses=_DE_LEITURA)
    def linhas(leitura: UUID) -> Response:
        """Every decided row, one JSON object per line (NDJSON)."""
        try:
            quem = alunos.decididas(str(leitura))
            # The first row is fetched here, while the status can still change.
            todas = chain([next(quem)], quem)
        except StopIteration:
            todas = chain([])
        except SemDocumentos as erro:
            return _sem_documentos(erro)
        textos = (json.dumps(uma, ensure_ascii=False) + "\n" for uma in todas)
        return StreamingResponse(textos, media_type="application/x-ndjson")

    @app.get("/saude", responses={503: {"model": Saude}})
    def saude(resposta: Response) -> Saude:
        """Whether the document store answers, and how many events are waiting to be published."""
        try:
            return Saude(estado="ok", pendentes=alunos.pendentes())
        except SemDocumentos:
            resposta.status_code = 503
            return Saude(estado="sem documentos", pendentes=0)

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        """The contract as a page without scripts or external resources."""
        return HTMLResponse(pagina(app.openapi()), headers=SEM_SCRIPT)

    return app


class _Senhas:
    """argon2id, a few at a time: each needs 19 MiB and a core."""

    def __init__(self) -> None:
        # The minimum that OWASP's Password Storage Cheat Sheet recommends.
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._vez = threading.BoundedSemaphore(4)

    def de(self, novo: NovoAluno) -> Callable[[], str] | None:
        """Computes the hash when called: it takes a tenth of a second, and an enrolled student
        needs none."""
        if novo.senha is None:
            return None
        senha = novo.senha.get_secret_value()
        return lambda: self.hash(senha)

    def hash(self, senha: str) -> str:
        with self._vez:
            return self._hasher.hash(senha)


_DITO = {
    "novo": "inserted, owes event",
    "atualizado": "updated, owes event",
    "igual": "is enrolled already",
}


def _resposta(novo: NovoAluno, decisao: Decisao, conhecido: bool) -> Response | AlunoCriado:
    """A stranger cannot tell from the answer who was already enrolled."""
    dito = {"aluno_id": decisao.aluno_id, "nome": novo.nome, "email": novo.email}
    if decisao.situacao == "novo" or not conhecido:
        return AlunoCriado.model_validate(dito)
    conhecido = AlunoConhecido.model_validate({**dito, "situacao": decisao.situacao})
    return JSONResponse(conhecido.model_dump(mode="json"))


def _sem_documentos(erro: SemDocumentos) -> JSONResponse:
    log.error("the document store: %s", erro)
    return recusa(503, "", "tente de novo em instantes", {"Retry-After": "2"})


def _da_casa(segredo: str | None) -> Callable[[str], bool]:
    """Whether an Authorization header belongs to chamada_api."""
    if segredo is None:
        return lambda _dito: True
    esperado = f"Bearer {segredo}".encode()
    return lambda dito: hmac.compare_digest(dito.encode(), esperado)


def _conflito(campo: str, motivo: str, conhecido: bool) -> JSONResponse:
    """A stranger does not learn whose CPF, e-mail or birth date is stored."""
    if conhecido:
        return recusa(409, campo, motivo)
    return recusa(409, "", "não foi possível concluir por aqui: fale com a secretaria")


def _errado(
    alunos: Alunos, da_casa: Callable[[str], bool]
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def errado(pedido: Request, erro: Exception) -> Response:
        assert isinstance(erro, RequestValidationError)
        # FastAPI's own answer repeats the input, including the password.
        erros = erros_de(erro.errors())
        linha = Linha.lida(pedido.headers.get(LINHA, ""))
        if linha is not None and da_casa(pedido.headers.get("authorization", "")):
            um = erros.erros[0]
            try:
                await run_in_threadpool(alunos.recusar, linha, um.campo, um.motivo)
            except SemDocumentos as fora:
                return _sem_documentos(fora)
        return JSONResponse(erros.model_dump(), 422)

    return errado


async def _negado(_pedido: Request, erro: Exception) -> Response:
    """Errors of Starlette and FastAPI themselves, which are in English and another format."""
    assert isinstance(erro, HTTPException)
    if erro.status_code == 400:
        # A body that could not be parsed: too deeply nested, or not UTF-8.
        return recusa(422, "", "o corpo não é JSON que se possa ler")
    motivo = {404: "não há nada neste endereço", 405: "este método não serve aqui"}
    return recusa(erro.status_code, "", motivo.get(erro.status_code, "recusado"), erro.headers)


async def _quebrado(_pedido: Request, erro: Exception) -> Response:
    return recusa(500, "", "algo deu errado aqui")
