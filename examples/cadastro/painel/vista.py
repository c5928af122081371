"""The painel's data: the services' state, counts and newest students, and their queues."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consumers import TOPOLOGY
from examples.cadastro.chamada_api import ChamadaAPI
from examples.cadastro.painel.mascara import mascarados
from examples.cadastro.recebidos import contagem, novos, recebido
from messaging.errors import MessagingError
from messaging.logs import logger
from messaging.transport import Broker

__all__ = ["Vista"]

log = logger("cadastro.painel")

SERVICOS = TOPOLOGY.services
DE_INICIO, DE_UMA_VEZ = 20, 50
"""Maximum number of students per service at a stream's start, and per message."""


class Vista:
    """Reads the services' records and the state that `local.py` writes. Thread-safe."""

    def __init__(self, pasta: Path, broker: Broker | None = None) -> None:
        self._pasta = pasta
        nomes = (*SERVICOS, ChamadaAPI.service)
        self._filas = {} if broker is None else {um: broker.queue(um) for um in nomes}
        self._na_fila: Mapping[str, int | None] = {}
        self._mortas: Mapping[str, int | None] = {}
        self._fim = threading.Event()
        self._thread = threading.Thread(target=self._medir, name="filas", daemon=True)

    def start(self) -> None:
        """Start reading the queues, once a second."""
        self._thread.start()

    def stop(self) -> None:
        self._fim.set()
        self._thread.join()

    def servicos(self) -> list[dict[str, Any]]:
        """Each service's state, and how many events it has received and has yet to receive."""
        estados = self._estados()
        linhas = []
        for nome in SERVICOS:
            contado = contagem(self._pasta, nome)
            linhas.append(
                {
                    "servico": nome,
                    "estado": estados.get(nome, "ligado"),
                    "recebidos": contado.recebidos,
                    "na_fila": self._na_fila.get(nome),
                    "repetidos": contado.repetidos,
                }
            )
        return linhas

    def fila_alunos(self) -> dict[str, int | None]:
        """The queue between the file and the API; None for unknown numbers."""
        nome = ChamadaAPI.service
        return {"esperando": self._na_fila.get(nome), "mortas": self._mortas.get(nome)}

    def novidades(self, cursores: dict[str, int]) -> list[dict[str, Any]]:
        """One message for each service that received something since `cursores`, which it moves."""
        mensagens = []
        for nome in SERVICOS:
            de = cursores.get(nome)
            ate, alunos = novos(self._pasta, nome, de or 0, DE_INICIO if de is None else DE_UMA_VEZ)
            if alunos or de is None:
                cursores[nome] = ate
                total = contagem(self._pasta, nome).recebidos
                ditos = [mascarados(um) for um in alunos]
                mensagens.append({"servico": nome, "recebidos": total, "alunos": ditos})
        return mensagens

    def aluno(self, servico: str, aluno_id: str) -> dict[str, Any] | None:
        """A student's data as one service received it, personal values hidden."""
        achado = recebido(self._pasta, servico, aluno_id) if servico in SERVICOS else None
        return achado and mascarados(achado)

    def _estados(self) -> Mapping[str, str]:
        try:
            dito: Mapping[str, str] = json.loads((self._pasta / "estado.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return dito

    def medir(self) -> None:
        """Ask each queue once; one that does not answer has no known numbers."""
        medidos: dict[str, int | None] = {}
        mortas: dict[str, int | None] = {}
        for nome, fila in self._filas.items():
            try:
                fundo = fila.depth()
                medidos[nome] = fundo.visible + fundo.in_flight + fundo.delayed
                mortas[nome] = fundo.dead_letters
            except MessagingError as erro:
                log.warning("the queue of %s does not answer: %s", nome, type(erro).__name__)
                medidos[nome] = None
        self._na_fila, self._mortas = medidos, mortas

    def _medir(self) -> None:
        while not self._fim.wait(1):
            self.medir()
