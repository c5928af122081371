"""The page's own server: its files, its configuration, and its stream of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.painel.vista import SERVICOS, Vista

__all__ = ["criar"]

FRONT = Path(__file__).parents[1] / "front"
OLHAR = 0.3
"""Seconds between two looks of a stream."""
VIVO = 10.0
"""Seconds after which a stream that has nothing to say says that it is there."""


def criar(ajustes: Ajustes, vista: Vista) -> Starlette:
    """The application of the page."""

    @asynccontextmanager
    async def vida(_app: Starlette) -> AsyncIterator[None]:
        vista.start()
        yield
        vista.stop()

    async def config(_pedido: Request) -> Response:
        return JSONResponse(
            {
                "api": ajustes.api_url,
                "uploads": ajustes.url_assinada_url,
                "limite_csv": ajustes.limite_csv,
                "controle": ajustes.controle,
            }
        )

    async def servicos(_pedido: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_filas, vista))

    async def aluno(pedido: Request) -> Response:
        onde = pedido.path_params
        achado = await run_in_threadpool(vista.aluno, onde["servico"], onde["aluno_id"])
        return JSONResponse(achado or {"erros": []}, 200 if achado else 404)

    async def ao_vivo(pedido: Request) -> Response:
        return StreamingResponse(
            _corrente(pedido, vista),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def mandar(pedido: Request) -> Response:
        # A page of another origin cannot send this header without asking, and is not answered.
        if not ajustes.controle or pedido.headers.get("x-cadastro") != "1":
            return JSONResponse({"erros": [{"campo": "", "motivo": "só aqui"}]}, 403)
        servico, ordem = pedido.path_params["servico"], pedido.path_params["ordem"]
        if not _mandar(ajustes.pasta / "controle", servico, ordem):
            return JSONResponse({"erros": [{"campo": "", "motivo": "não há"}]}, 404)
        return Response(status_code=202)

    rotas = [
        Route("/config.json", config),
        Route("/servicos", servicos),
        Route("/servicos/{servico}/alunos/{aluno_id}", aluno),
        Route("/servicos/{servico}/{ordem}", mandar, methods=["POST"]),
        Route("/api/{ordem}", _para_api(mandar), methods=["POST"]),
        Route("/ao-vivo", ao_vivo),
        Mount("/", StaticFiles(directory=FRONT, html=True, check_dir=False)),
    ]
    return Starlette(
        routes=rotas,
        lifespan=vida,
        middleware=[
            # A name that somebody else's DNS sends here is not ours.
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
            Middleware(_Cabecalhos, csp=_csp(ajustes)),
        ],
    )


def _para_api(mandar: Any) -> Any:
    async def com_servico(pedido: Request) -> Response:
        pedido.path_params["servico"] = "api"
        resposta: Response = await mandar(pedido)
        return resposta

    return com_servico


def _mandar(pasta: Path, servico: str, ordem: str) -> bool:
    """Orders are files, which `local.py` and the API look at; False for one that is none."""
    pasta.mkdir(parents=True, exist_ok=True)
    if servico == "api" and ordem == "matar":
        (pasta / "morra-depois-de-inserir").touch()
    elif servico in SERVICOS and ordem == "parar":
        (pasta / f"parado-{servico}").touch()
    elif servico in SERVICOS and ordem == "iniciar":
        (pasta / f"parado-{servico}").unlink(missing_ok=True)
    else:
        return False
    return True


async def _corrente(pedido: Request, vista: Vista) -> AsyncIterator[str]:
    cursores: dict[str, int] = {}
    antes: Any = None
    calado = 0.0
    while not await pedido.is_disconnected():
        partes = []
        agora = await run_in_threadpool(_filas, vista)
        if agora != antes:
            antes = agora
            partes.append(_evento("servicos", agora))
        novidades = await run_in_threadpool(vista.novidades, cursores)
        partes += [_evento("recebidos", uma) for uma in novidades]
        calado = 0.0 if partes else calado + OLHAR
        if calado >= VIVO:
            partes.append(": \n\n")
            calado = 0.0
        if partes:
            yield "".join(partes)
        await asyncio.sleep(OLHAR)


def _filas(vista: Vista) -> dict[str, Any]:
    return {"servicos": vista.servicos(), "fila_alunos": vista.fila_alunos()}


def _evento(nome: str, dados: Mapping[str, Any]) -> str:
    return f"event: {nome}\ndata: {json.dumps(dados, ensure_ascii=False)}\n\n"


def _csp(ajustes: Ajustes) -> str:
    fora = {_origem(uma) for uma in (ajustes.api_url, ajustes.url_assinada_url, ajustes.s3_url)}
    ligar = " ".join(["'self'", *sorted(fora - {""})])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"font-src 'self'; connect-src {ligar}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def _origem(url: str) -> str:
    partes = urlsplit(url)
    return f"{partes.scheme}://{partes.netloc}" if partes.netloc else ""


class _Cabecalhos:
    """ASGI middleware: the same headers on every answer."""

    def __init__(self, app: ASGIApp, *, csp: str) -> None:
        self._app = app
        self._ditos = {
            "content-security-policy": csp,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def enviar(mensagem: Message) -> None:
            if mensagem["type"] == "http.response.start":
                MutableHeaders(scope=mensagem).update(self._ditos)
            await send(mensagem)

        await self._app(scope, receive, enviar)
