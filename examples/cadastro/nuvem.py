"""The stand-in for AWS on one machine: watched like the other parts, and it reports its losses.

With a folder, it keeps queues, dead letters and files from one stop to the next start. Without one,
they are in memory, and it reports what a stop loses. If its process is killed, it restarts on the
same port, with the state of its last start, and reports that too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from consumers import TOPOLOGY
from examples.cadastro.ajustes import Ajustes
from examples.cadastro.chamada_api import ChamadaAPI
from examples.cadastro.infra import montar
from messaging.aws import connect
from messaging.aws.sessions import new_session
from messaging.errors import MessagingError
from messaging.local import LocalServer

__all__ = ["Nuvem"]

TOPICO = "alunos"
BATCH = "cadastro-batch"
DE_NOVO = 1.0
"""Seconds between two attempts to start it."""

_MORREU = "the stand-in for AWS ended: messages and files that stood in it are lost"
_MORREU_COM_PASTA = (
    "the stand-in for AWS ended: messages that came since the start are lost, those that stood in "
    "it then come again"
)
_PERDE = "lost with the stand-in for AWS, messages that nobody had taken"
_FICA = "kept for the next start with this folder, messages that nobody had taken"


class Nuvem:
    """Used by one thread. `mortes`: how often it died.

    estado  the folder for its state; None keeps nothing.
    """

    def __init__(self, estado: Path | None = None) -> None:
        self.servidor = LocalServer(log=None, state=estado)
        self._guarda = estado is not None
        self.mortes = 0
        self.montada = False
        """Whether topic, subscriptions, queues and buckets exist. After a crash, an event published
        before that finds a topic without subscriptions."""
        self._de_novo = 0.0

    def montar(self, ajustes: Ajustes) -> None:
        """Topic, queues and buckets."""
        sessao = new_session(**self.servidor.credentials)
        montar(sessao, self.servidor.settings(topic=TOPICO), ajustes)
        self.montada = True

    def cuidar(self, ajustes: Ajustes) -> None:
        """Start it again if it died."""
        if self.servidor.pid is not None or time.monotonic() < self._de_novo:
            return
        self.mortes += 1
        self.montada = False
        self._de_novo = time.monotonic() + DE_NOVO
        _dizer(_MORREU_COM_PASTA if self._guarda else _MORREU)
        try:
            self.servidor.start()
            self.montar(ajustes)
        except Exception as erro:  # noqa: BLE001 - boto3's, the library's; the next look tries again
            self.servidor.stop()
            _dizer(f"the stand-in for AWS did not come again: {type(erro).__name__}")
        else:
            _dizer("the stand-in for AWS is there again")

    def em_pe(self) -> Mapping[str, int]:
        """Messages in each queue, by its reader; queues that do not answer are left out."""
        achados: dict[str, int] = {}
        if self.servidor.pid is None:
            return achados
        sessao = new_session(**self.servidor.credentials)
        with closing(connect(self.servidor.settings(topic=TOPICO), session=sessao)) as broker:
            for nome in (*TOPOLOGY.services, ChamadaAPI.service, BATCH):
                with suppress(MessagingError):
                    fila = broker.queue(nome)
                    if nome == BATCH:
                        # The test event that S3 sends at the start names no file.
                        lidas = fila.receive(10, 0)
                        fila.delete([uma for uma in lidas if "s3:TestEvent" in uma.body])
                        outras = [uma for uma in lidas if "s3:TestEvent" not in uma.body]
                        fila.change_visibility(outras, [0] * len(outras))
                    fundo = fila.depth()
                    if quantas := fundo.visible + fundo.in_flight + fundo.delayed:
                        achados[nome] = quantas
        return achados

    def despedir(self) -> None:
        """Called when the parts have stopped: reports what will be lost, or is kept."""
        if achados := self.em_pe():
            ditos = ", ".join(f"{nome} {quantas}" for nome, quantas in achados.items())
            _dizer(f"{_FICA if self._guarda else _PERDE}: {ditos}")


def _dizer(texto: str) -> None:
    print(f"cadastro: {texto}", file=sys.stderr, flush=True)
