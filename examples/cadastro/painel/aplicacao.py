"""The server of the pages: their files, configuration, permissions, and the stream.

Three pages, each of which may be served alone: the student's form (`aluno`, which is public and may
also be served by any static host), the secretary's page (`secretaria`), and the on-call page
(`plantao`), where personal data is hidden.
"""

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
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.painel.acesso import Acesso, Rota
from examples.cadastro.painel.vista import SERVICOS, Vista
from examples.cadastro.passes import VALE, Passes

__all__ = ["criar"]

FRONT = Path(__file__).parents[1] / "front"
OLHAR = 0.3
"""Seconds between two checks of a stream."""
VIVO = 10.0
"""Seconds after which an idle stream sends a keep-alive."""


def criar(ajustes: Ajustes, vista: Vista) -> Starlette:
    """The application of the pages that `ajustes.paginas` names. Raises `AjustesErrados` if one
    with a login lacks its provider or its secrets."""
    paginas = set(ajustes.paginas.split())
    acesso = Acesso(ajustes) if paginas & {"secretaria", "plantao"} else None

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
                "escola": "/secretaria.html" if "secretaria" in paginas else "",
            }
        )

    rotas: list[Route | Mount] = [Route("/config.json", config)]
    if acesso is not None:
        rotas += acesso.rotas()
    if acesso is not None and "secretaria" in paginas:
        rotas += _da_secretaria(ajustes, acesso)
    if acesso is not None and "plantao" in paginas:
        rotas += _do_plantao(ajustes, acesso, vista)
    arquivos = StaticFiles(directory=FRONT, html="aluno" in paginas, check_dir=False)
    rotas += [
        Route(f"/{um}.html", _nada)
        for um, nome in (("index", "aluno"), ("secretaria", "secretaria"), ("plantao", "plantao"))
        if nome not in paginas
    ]
    rotas.append(Mount("/", arquivos))
    # Refuse foreign host names that resolve to this server (DNS rebinding).
    nomes = Middleware(TrustedHostMiddleware, allowed_hosts=ajustes.nomes.split())
    return Starlette(
        routes=rotas,
        lifespan=vida,
        middleware=[
            nomes,
            Middleware(_Cabecalhos, csp=_csp(ajustes)),
            *([acesso.sessao] if acesso is not None else []),
        ],
    )


def _da_secretaria(ajustes: Ajustes, acesso: Acesso) -> list[Route]:
    passes = Passes(ajustes.exigir("segredo_passes"))

    async def passe(pedido: Request) -> Response:
        dito = {"passe": passes.novo(pedido.session["quem"]), "vale": VALE}
        return JSONResponse(dito, headers={"cache-control": "no-store"})

    return [
        Route("/secretaria.html", acesso.pagina("secretaria", _arquivo("secretaria.html"))),
        Route("/passe", acesso.so("secretaria", passe)),
    ]


def _do_plantao(ajustes: Ajustes, acesso: Acesso, vista: Vista) -> list[Route]:
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
        if not ajustes.controle:
            return JSONResponse({"erros": [{"campo": "", "motivo": "só aqui"}]}, 403)
        servico, ordem = pedido.path_params.get("servico", "api"), pedido.path_params["ordem"]
        if not _mandar(ajustes.pasta / "controle", servico, ordem):
            return JSONResponse({"erros": [{"campo": "", "motivo": "não há"}]}, 404)
        return Response(status_code=202)

    def so(rota: Rota, *, ordem: bool = False) -> Rota:
        return acesso.so("plantao", rota, ordem=ordem)

    return [
        Route("/plantao.html", acesso.pagina("plantao", _arquivo("plantao.html"))),
        Route("/servicos", so(servicos)),
        Route("/servicos/{servico}/alunos/{aluno_id}", so(aluno)),
        Route("/servicos/{servico}/{ordem}", so(mandar, ordem=True), methods=["POST"]),
        Route("/api/{ordem}", so(mandar, ordem=True), methods=["POST"]),
        Route("/ao-vivo", so(ao_vivo)),
    ]


def _arquivo(nome: str) -> Rota:
    async def arquivo(_pedido: Request) -> Response:
        # Always revalidated: a cached page must not be shown after logout.
        return FileResponse(FRONT / nome, headers={"cache-control": "no-store"})

    return arquivo


async def _nada(_pedido: Request) -> Response:
    return Response("Not Found", 404)


def _mandar(pasta: Path, servico: str, ordem: str) -> bool:
    """Orders are files that `local.py` and the API read; returns False for an unknown order."""
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
    """ASGI middleware: adds the same headers to every response."""

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
