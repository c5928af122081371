"""The school's four services, each in a process of its own.

    python -m examples.cadastro.servicos financeiro

Two middlewares make sure that each event is handled once, and record it for the painel.
"""

from __future__ import annotations

import sys

from consumers import SERVICES
from consumers.banco import Banco
from examples.cadastro.ajustes import Ajustes
from examples.cadastro.processos import filho
from examples.cadastro.recebidos import Recebidos
from messaging.aws import connect
from messaging.idempotency import Idempotency, SqliteStore
from messaging.runtime import Worker

__all__ = ["main"]


def main(nome: str) -> None:
    """Work until SIGTERM."""
    filho(nome)
    pasta = Ajustes.do_ambiente().pasta
    classe = {uma.service: uma for uma in SERVICES}[nome]
    esquema = sys.modules[classe.__module__].ESQUEMA
    banco = Banco(pasta / f"{nome}.sqlite3", esquema)
    recebidos = Recebidos(pasta, nome)
    (pasta / "idempotencia").mkdir(exist_ok=True)
    uma_vez = Idempotency(SqliteStore(pasta / "idempotencia" / f"{nome}.sqlite3"))
    worker = Worker(
        classe(banco),  # type: ignore[call-arg]  # each of the four takes its database
        broker=connect(),
        wait=2,  # a stop waits for the pending poll
        middleware=[uma_vez, recebidos],
    )
    worker.run()
    recebidos.close()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in {uma.service for uma in SERVICES}:
        sys.exit(__doc__)
    main(sys.argv[1])
