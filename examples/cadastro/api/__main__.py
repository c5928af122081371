"""Starts one copy of the API: `python -m examples.cadastro.api`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import uvicorn

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.api.aplicacao import criar
from examples.cadastro.api.rele import Rele
from examples.cadastro.documentos import Alunos
from examples.cadastro.processos import filho
from messaging.aws import connect
from messaging.publishing.publisher import Publisher

MORRA = "morra-depois-de-inserir"


def main() -> None:
    """Serve until SIGTERM."""
    filho("api")
    ajustes = Ajustes.do_ambiente()
    alunos = Alunos(ajustes.exigir("mongo"), ajustes.mongo_banco)
    alunos.preparar()
    publisher = Publisher(connect().topic(), source="/cadastro")
    app = criar(
        alunos,
        Rele(alunos, publisher),
        origens=ajustes.origens_permitidas,
        segredo=ajustes.exigir("segredo"),
        por_segundo=ajustes.api_por_segundo,
        depois_de_inserir=_morrer_se_pedido(ajustes.pasta) if ajustes.controle else lambda: None,
    )
    uvicorn.run(
        app, host=ajustes.api_host, port=ajustes.api_porta, log_config=None, access_log=False
    )


def _morrer_se_pedido(pasta: Path) -> Callable[[], None]:
    """On one machine: kill the process at the worst moment, to see that nothing is lost."""
    pedido = pasta / "controle" / MORRA

    def morrer() -> None:
        if pedido.exists():
            pedido.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    return morrer


if __name__ == "__main__":
    main()
