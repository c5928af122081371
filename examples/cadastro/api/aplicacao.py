"""The room of the routes: one enrolment in, and an answer that holds."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from argon2 import PasswordHasher
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware

from examples.cadastro.api.limites import Ritmo, TamanhoMaximo
from examples.cadastro.api.modelos import AlunoCriado, Erro, Erros, NovoAluno, Saude, erros_de
from examples.cadastro.api.rele import Rele
from examples.cadastro.documentos import Alunos, JaCadastrado, SemDocumentos
from messaging.logs import logger

__all__ = ["criar"]

log = logger("cadastro.api")

CORPO = 16_384
"""Bytes of one request: the longest enrolment has about 1,500."""
_RECUSAS: dict[int | str, dict[str, Any]] = {
    409: {"model": Erros, "description": "E-mail or CPF is enrolled already"},
    413: {"model": Erros, "description": "The body is too big"},
    422: {"model": Erros, "description": "Fields are wrong; each is named"},
    429: {"model": Erros, "description": "Too many at once: see Retry-After"},
    503: {"model": Erros, "description": "The document store does not answer; try again"},
}


def criar(
    alunos: Alunos,
    rele: Rele | None = None,
    *,
    origens: Sequence[str] = (),
    por_segundo: float = 200,
    depois_de_inserir: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application. `rele`, if given, lives as long as it; else it runs elsewhere."""

    @asynccontextmanager
    async def vida(_app: FastAPI) -> AsyncIterator[None]:
        if rele is not None:
            rele.start()
        yield
        if rele is not None:
            rele.stop()

    app = FastAPI(title="API REST cadastro", version="1.0", lifespan=vida)
    app.add_middleware(TamanhoMaximo, maximo=CORPO)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origens),
        allow_methods=["GET", "POST"],
        allow_headers=["content-type"],
        expose_headers=["retry-after"],
    )
    app.add_exception_handler(RequestValidationError, _errado)
    app.add_exception_handler(Exception, _quebrado)
    senhas = _Senhas()
    ritmo = Ritmo(por_segundo)

    @app.post("/alunos", status_code=201, response_model=AlunoCriado, responses=_RECUSAS)
    def cadastrar(novo: NovoAluno) -> Response | AlunoCriado:
        """Enrol a student. 201: inserted, and its event is sure to be published."""
        if espera := ritmo.espera():
            segundos = str(math.ceil(espera))
            return _recusa(429, "", "muitos cadastros de uma vez", {"Retry-After": segundos})
        aluno = novo.cadastrado()
        try:
            # Hashing takes a tenth of a second: not for somebody who is enrolled already.
            senha = None if novo.senha is None else senhas.hash(novo.senha.get_secret_value())
            evento_id = alunos.inserir(aluno, senha=senha)
        except JaCadastrado as erro:
            return _recusa(409, erro.campo, "já cadastrado")
        except SemDocumentos as erro:
            log.error("the document store: %s", erro)
            return _recusa(503, "", "tente de novo em instantes", {"Retry-After": "2"})
        depois_de_inserir()
        if rele is not None:
            rele.acordar()
        log.info("aluno %s inserted, owes event %s", aluno.aluno_id, evento_id)
        return AlunoCriado(aluno_id=aluno.aluno_id, nome=aluno.nome, email=aluno.email)

    @app.get("/saude", responses={503: {"model": Saude}})
    def saude(resposta: Response) -> Saude:
        """Whether the document store answers, and how many events wait to be published."""
        try:
            return Saude(estado="ok", pendentes=alunos.pendentes())
        except SemDocumentos:
            resposta.status_code = 503
            return Saude(estado="sem documentos", pendentes=0)

    return app


class _Senhas:
    """argon2id, few at a time: each needs 19 MiB, and forty threads would need 760."""

    def __init__(self) -> None:
        # The least that OWASP's Password Storage Cheat Sheet recommends.
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._vez = threading.BoundedSemaphore(4)

    def hash(self, senha: str) -> str:
        with self._vez:
            return self._hasher.hash(senha)


def _recusa(
    status: int, campo: str, motivo: str, cabecalhos: dict[str, str] | None = None
) -> JSONResponse:
    erros = Erros(erros=[Erro(campo=campo, motivo=motivo)])
    return JSONResponse(erros.model_dump(), status, cabecalhos)


async def _errado(_pedido: Request, erro: Exception) -> Response:
    assert isinstance(erro, RequestValidationError)
    # FastAPI's own answer repeats what was sent, the password with it.
    return JSONResponse(erros_de(erro.errors()).model_dump(), 422)


async def _quebrado(_pedido: Request, erro: Exception) -> Response:
    return _recusa(500, "", "algo deu errado aqui")
