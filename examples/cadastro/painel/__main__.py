"""Starts the page's server: `python -m examples.cadastro.painel`."""

from __future__ import annotations

import uvicorn

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.painel.aplicacao import criar
from examples.cadastro.painel.vista import Vista
from examples.cadastro.processos import filho
from messaging.aws import connect


def main() -> None:
    """Serve until SIGTERM; open streams are cut after a second."""
    filho("painel")
    ajustes = Ajustes.do_ambiente()
    # Only the on-call page reads queues: the others need no access to AWS.
    plantao = "plantao" in ajustes.paginas.split()
    uvicorn.run(
        criar(ajustes, Vista(ajustes.pasta, connect() if plantao else None)),
        host=ajustes.host,
        port=ajustes.porta,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
