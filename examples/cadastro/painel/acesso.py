"""Login through an OpenID Connect provider, sessions in a signed cookie, and permissions."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from html import escape
from urllib.parse import quote

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from examples.cadastro.ajustes import Ajustes
from messaging.logs import logger

__all__ = ["PAGINAS", "Acesso", "Rota"]

log = logger("cadastro.acesso")

SESSAO = 8 * 3600
"""Seconds for which a login lasts: a working day."""
PAGINAS = {"secretaria": "/secretaria.html", "plantao": "/plantao.html"}
"""The page of each role."""

Rota = Callable[[Request], Awaitable[Response]]


class Acesso:
    """Identifies the user of a request. `ajustes` must have `segredo_sessao` and the provider."""

    def __init__(self, ajustes: Ajustes) -> None:
        self._ajustes = ajustes
        emissor = ajustes.exigir("oidc_emissor").rstrip("/")
        self._cliente = OAuth().register(
            "escola",
            client_id=ajustes.oidc_cliente,
            client_secret=ajustes.oidc_segredo,
            server_metadata_url=f"{emissor}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile",
                "code_challenge_method": "S256",
                "timeout": 5,
            },
        )
        self.sessao = Middleware(
            SessionMiddleware,
            secret_key=ajustes.exigir("segredo_sessao"),
            session_cookie="cadastro",
            max_age=SESSAO,
            # Not "strict": the provider redirects from its own site.
            same_site="lax",
            https_only=ajustes.pagina_url.startswith("https:"),
        )
        """The middleware that reads and writes the cookie, which no script can see."""

    def rotas(self) -> list[Route]:
        """`/entrar`, `/volta`, `/quem` and `/sair`."""
        return [
            Route("/entrar", self._entrar),
            Route("/volta", self._volta, name="volta"),
            Route("/quem", self._quem),
            Route("/sair", self.so("", self._sair, ordem=True), methods=["POST"]),
        ]

    def so(self, papel: str, rota: Rota, *, ordem: bool = False) -> Rota:
        """`rota` for users with `papel` ("": any logged-in user); 401 and 403 for others.

        ordem  it changes something: the header `X-CSRF` must hold the token from `/quem`, which a
               page of another origin cannot read.
        """

        async def guardada(pedido: Request) -> Response:
            if "quem" not in pedido.session:
                return _nao(401, "entre primeiro")
            if papel and papel not in pedido.session["papeis"]:
                return _nao(403, "a sua conta não tem acesso a isto")
            if ordem and not secrets.compare_digest(
                pedido.headers.get("x-csrf", "").encode(), pedido.session["csrf"].encode()
            ):
                return _nao(403, "o pedido não veio desta página")
            return await rota(pedido)

        return guardada

    def pagina(self, papel: str, rota: Rota) -> Rota:
        """A page for users with `papel`: others are sent to the login, or refused."""

        async def guardada(pedido: Request) -> Response:
            if "quem" not in pedido.session:
                return RedirectResponse(f"/entrar?para={quote(PAGINAS[papel])}", 303)
            if papel not in pedido.session["papeis"]:
                return _aviso(403, "A sua conta não tem acesso a esta página.", "/")
            return await rota(pedido)

        return guardada

    async def _entrar(self, pedido: Request) -> Response:
        # Only to one of our pages: an external address would be an open redirect.
        para = pedido.query_params.get("para", "")
        if para not in PAGINAS.values():
            para = PAGINAS["secretaria"]
        base = self._ajustes.pagina_url or str(pedido.base_url).rstrip("/")
        pedido.session["para"] = para
        try:
            resposta: Response = await self._cliente.authorize_redirect(pedido, f"{base}/volta")
        except (httpx2.HTTPError, AuthlibBaseError, ValueError) as erro:
            log.error("the provider of logins does not answer: %s", type(erro).__name__)
            return _aviso(503, "O serviço de login não responde agora.", _de_novo(para))
        return resposta

    async def _volta(self, pedido: Request) -> Response:
        para = pedido.session.get("para", PAGINAS["secretaria"])
        try:
            token = await self._cliente.authorize_access_token(pedido)
        except (httpx2.HTTPError, AuthlibBaseError, ValueError) as erro:
            # Its text may contain the provider's data about the person.
            log.warning("a login was not concluded: %s", type(erro).__name__)
            return _aviso(400, "O login não foi concluído.", _de_novo(para))
        dito = token["userinfo"]
        papeis = dito.get(self._ajustes.oidc_papeis) or []
        if isinstance(papeis, str):
            papeis = papeis.split()
        # A new session, against session fixation.
        pedido.session.clear()
        pedido.session.update(
            quem=str(dito["sub"]),
            nome=str(dito.get("name") or dito["sub"])[:80],
            papeis=[um for um in papeis if um in PAGINAS],
            csrf=secrets.token_urlsafe(24),
        )
        return RedirectResponse(para, 303)

    async def _quem(self, pedido: Request) -> Response:
        sessao = pedido.session
        if "quem" not in sessao:
            return JSONResponse({"nome": None, "papeis": [], "csrf": None})
        dito = {nome: sessao[nome] for nome in ("nome", "papeis", "csrf")}
        return JSONResponse(dito, headers={"cache-control": "no-store"})

    async def _sair(self, pedido: Request) -> Response:
        pedido.session.clear()
        return Response(status_code=204)


def _de_novo(para: str) -> str:
    return f"/entrar?para={quote(para)}"


def _nao(status: int, motivo: str) -> JSONResponse:
    return JSONResponse({"erros": [{"campo": "", "motivo": motivo}]}, status)


def _aviso(status: int, texto: str, caminho: str) -> HTMLResponse:
    """A page with one sentence and one link."""
    rotulo = "Ir para o início" if caminho == "/" else "Tentar de novo"
    return HTMLResponse(
        '<!doctype html><html lang="pt-BR"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><title>Cadastro de alunos</title>'
        '<link rel="stylesheet" href="/style.css">'
        f'<main class="largura so"><h1>{escape(texto)}</h1>'
        f'<p><a class="botao" href="{escape(caminho)}">{rotulo}</a></p></main></html>',
        status,
        headers={"cache-control": "no-store"},
    )
