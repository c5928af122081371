"""Everything on one machine: starts each part, watches them, and stops them in order.

python -m examples.cadastro.local [--porta 8080] [--pasta DIR] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from consumers import TOPOLOGY
from examples.cadastro.ajustes import Ajustes
from examples.cadastro.nuvem import TOPICO, Nuvem
from examples.cadastro.processos import Parte, porta_livre
from messaging.local import LocalServer

__all__ = ["Sistema", "main"]

PRONTO = 90.0
"""Seconds within which every part must answer after its start."""
OLHAR = 0.1
FUNCOES = ("url_assinada", "cadastro_batch", "chamada_api")


class ParteMorreu(Exception):
    """A part did not start; the text is its last output."""


class Sistema:
    """All parts, started and stopped by `with`. Call `cuidar` regularly.

    pasta   for databases, logs, and orders.
    guarda  whether `pasta` also keeps queues and uploaded files for the next start.
    porta   port of the page; 0 picks a free one.
    mais    additional environment variables for every part.
    """

    def __init__(
        self,
        pasta: Path,
        *,
        porta: int = 0,
        guarda: bool = False,
        mais: dict[str, str] | None = None,
    ) -> None:
        self.pasta = pasta
        self.nuvem = Nuvem(pasta / "aws" if guarda else None)
        self._porta = porta
        self._mais = mais or {}
        self._estados: dict[str, str] = {}
        self._pilha = ExitStack()
        self.ajustes = Ajustes()
        self.ambiente: dict[str, str] = {}
        self.documentos: Parte
        self.partes: dict[str, Parte] = {}
        """By name; the document store is separate because it ends last."""

    @property
    def servidor(self) -> LocalServer:
        """The stand-in for AWS."""
        return self.nuvem.servidor

    @property
    def url(self) -> str:
        """The page's URL."""
        return f"http://127.0.0.1:{self.ajustes.porta}"

    @property
    def pids(self) -> dict[str, int | None]:
        """The process ids of the whole system."""
        return {
            "aws": self.servidor.pid,
            "documentos": self.documentos.pid,
            **{nome: parte.pid for nome, parte in self.partes.items()},
        }

    def __enter__(self) -> Self:
        with ExitStack() as pilha:
            pilha.enter_context(self.servidor)
            self._compor()
            pilha.callback(self._parar)
            self.nuvem.montar(self.ajustes)
            self.documentos.cuidar()
            self._esperar(self.documentos, lambda: _ouve(self._porta_documentos))
            for parte in self.partes.values():
                parte.cuidar()
            self._esperar(self.partes["api"], lambda: _responde(self.ajustes.api_url, "/saude"))
            self._esperar(
                self.partes["url_assinada"], lambda: _ouve(self.ajustes.url_assinada_porta)
            )
            self._esperar(self.partes["painel"], lambda: _responde(self.url, "/config.json"))
            self._esperar(
                self.partes["login"],
                lambda: _responde(self.ajustes.oidc_emissor, "/.well-known/openid-configuration"),
            )
            self.cuidar()
            self._pilha = pilha.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pilha.close()

    def cuidar(self) -> None:
        """Carry out the orders, restart what died, and inform the painel."""
        for servico in TOPOLOGY.services:
            parado = (self.pasta / "controle" / f"parado-{servico}").exists()
            self.partes[servico].ligada = not parado
        self.nuvem.cuidar(self.ajustes)
        for parte in (self.documentos, *self.partes.values()):
            mortes = parte.mortes
            parte.cuidar()
            if parte.mortes > mortes:
                print(f"cadastro: {parte.nome} ended, it comes again", file=sys.stderr, flush=True)
        estados = {nome: parte.estado for nome, parte in self.partes.items()}
        if estados != self._estados:
            self._estados = estados
            novo = self.pasta / "estado.json.novo"
            novo.write_text(json.dumps(estados), encoding="utf-8")
            novo.replace(self.pasta / "estado.json")  # atomically

    @contextmanager
    def cuidado(self) -> Iterator[None]:
        """Call `cuidar` in a thread, for tests that do something else."""
        fim = threading.Event()

        def laco() -> None:
            while not fim.wait(OLHAR):
                self.cuidar()

        thread = threading.Thread(target=laco, name="cuidado")
        thread.start()
        try:
            yield
        finally:
            fim.set()
            thread.join()

    def _compor(self) -> None:
        (self.pasta / "controle").mkdir(parents=True, exist_ok=True)
        portas = [porta_livre() for _ in range(4)]
        self._porta_documentos = portas[0]
        porta = porta_livre(self._porta)
        enderecos = [f"http://127.0.0.1:{porta}", f"http://localhost:{porta}"]
        ditos = {
            "mongo": f"mongodb://127.0.0.1:{portas[0]}/?retryWrites=false",
            "segredo": secrets.token_urlsafe(32),
            "segredo_sessao": secrets.token_urlsafe(32),
            "segredo_passes": secrets.token_urlsafe(32),
            "oidc_emissor": f"http://127.0.0.1:{portas[3]}",
            "oidc_segredo": secrets.token_urlsafe(32),
            "api_porta": portas[1],
            "api_url": f"http://127.0.0.1:{portas[1]}",
            "url_assinada_porta": portas[2],
            "url_assinada_url": f"http://127.0.0.1:{portas[2]}",
            "s3_url": self.servidor.url,
            "porta": porta,
            "origens": " ".join(enderecos),
            "pasta": str(self.pasta),
            "controle": "true",
        }
        ambiente = {f"CADASTRO_{nome.upper()}": str(valor) for nome, valor in ditos.items()}
        self.ambiente = {
            **self.servidor.environment, "MESSAGING_TOPIC": TOPICO, **ambiente, **self._mais
        }  # fmt: skip
        self.ajustes = Ajustes.do_ambiente(self.ambiente)
        self.documentos = self._parte(
            "documentos",
            None,
            *_documentos(portas[0], self.pasta / "documentos"),
        )
        modulos: dict[str, tuple[str, ...]] = {
            "api": ("api",), "painel": ("painel",), "login": ("login_local", str(portas[3])),
        }  # fmt: skip
        modulos |= {nome: ("lambda_local", nome) for nome in FUNCOES}
        modulos |= {nome: ("servicos", nome) for nome in TOPOLOGY.services}
        self.partes = {
            nome: self._parte(nome, f"examples.cadastro.{onde[0]}", *onde[1:])
            for nome, onde in modulos.items()
        }

    def _parte(self, nome: str, modulo: str | None, *argumentos: str) -> Parte:
        return Parte(nome, modulo, *argumentos, pasta=self.pasta, ambiente=self.ambiente)

    def _esperar(self, parte: Parte, pronta: Callable[[], bool]) -> None:
        fim = time.monotonic() + PRONTO
        while not pronta():
            if parte.pid is None or time.monotonic() > fim:
                raise ParteMorreu(f"{parte.nome} did not start:\n{parte.ultimas_linhas()}")
            time.sleep(0.05)

    def _parar(self) -> None:
        # First those that accept work, then those that pass it on, the documents last.
        for nomes in (("painel", "login", *FUNCOES), ("api",), TOPOLOGY.services):
            partes = [self.partes[nome] for nome in nomes]
            for parte in partes:
                parte.pedir_fim()
            for parte in partes:
                parte.parar()
        self.documentos.parar()
        self.nuvem.despedir()


def _documentos(porta: int, pasta: Path) -> list[str]:
    """SecantusDB speaks MongoDB's protocol. It is GPL-2.0, so it runs as a separate program, for
    development only."""
    programa = Path(sys.executable).with_name("secantusd-py")
    if not programa.exists():
        sys.exit("secantusd-py is not installed here: run `make cadastro`, which installs it")
    return [
        *(sys.executable, str(programa), "--host", "127.0.0.1", "--port", str(porta)),
        *("--storage-path", str(pasta), "--log-level", "WARNING"),
    ]


def _ouve(porta: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", porta), timeout=1):
        return True
    return False


def _responde(url: str, caminho: str) -> bool:
    conexao = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    with contextlib.closing(conexao), suppress(OSError, http.client.HTTPException):
        conexao.request("GET", caminho)
        return conexao.getresponse().status == 200
    return False


def main() -> None:
    """Start, print the URL, and run until Ctrl-C or SIGTERM."""
    dados = _argumentos()
    fim = threading.Event()
    for sinal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sinal, lambda *_: fim.set())
    pasta = Path(dados.pasta or tempfile.mkdtemp(prefix="cadastro-")).absolute()
    try:
        with Sistema(pasta, porta=dados.porta, guarda=bool(dados.pasta)) as sistema:
            _dizer(sistema, em_json=dados.json)
            while not fim.wait(OLHAR):
                sistema.cuidar()
            print("cadastro: stopping", file=sys.stderr, flush=True)
    except (ParteMorreu, OSError) as erro:
        sys.exit(f"cadastro: {erro}")
    finally:
        if not dados.pasta:
            shutil.rmtree(pasta, ignore_errors=True)


def _argumentos() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--porta", type=int, default=8080, help="of the page; 0: a free one")
    parser.add_argument("--pasta", help="keep everything here; else a temporary folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def _dizer(sistema: Sistema, *, em_json: bool) -> None:
    if not em_json:
        print(f"cadastro: {sistema.url}   (Ctrl-C stops it)", flush=True)
        return
    dito = {
        "url": sistema.url,
        "api": sistema.ajustes.api_url,
        "uploads": sistema.ajustes.url_assinada_url,
        "aws": sistema.servidor.url,
        "pasta": str(sistema.pasta),
        "pids": sistema.pids,
    }
    print(json.dumps(dito), flush=True)


if __name__ == "__main__":
    main()
