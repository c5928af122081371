"""The relay: publishes the events that documents still owe, and clears each once SNS has it.

Several relays may run: each takes documents that no other has. A relay killed at any point loses
nothing: the documents it had reserved are free again after `RESERVA` seconds, and their events are
published under the same ids.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from examples.cadastro.documentos import Alunos, Devido, SemDocumentos
from messaging.errors import MessagingError, TransportError
from messaging.logs import logger
from messaging.publishing.publisher import Publisher

__all__ = ["Rele"]

log = logger("cadastro.rele")

RESERVA = 30.0
"""Seconds for which documents are reserved."""
QUANTOS = 100
"""Documents reserved at a time."""


class Rele:
    """A thread that sleeps until `acordar`, or `olhar` seconds; `with` starts and stops it.

    `vencida` is how many seconds a reservation lasts: shorter in tests.
    """

    def __init__(
        self,
        alunos: Alunos,
        publisher: Publisher,
        *,
        olhar: float = 0.5,
        vencida: float = RESERVA,
    ) -> None:
        self._alunos = alunos
        self._publisher = publisher
        self._olhar = olhar
        self._vencida = vencida
        self._novidade = threading.Event()
        self._fim = threading.Event()
        self._maos = ThreadPoolExecutor(4, thread_name_prefix="rele-publica")
        self._thread = threading.Thread(target=self._correr, name="rele", daemon=True)

    def acordar(self) -> None:
        """Wake the relay: something was inserted."""
        self._novidade.set()

    def start(self) -> None:
        """Start; a relay can only be started once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop once the reserved events are published or refused."""
        self._fim.set()
        self._novidade.set()
        self._thread.join()
        self._maos.shutdown()

    def uma_vez(self) -> int:
        """Publish pending events of at most `QUANTOS` documents; returns how many were published.

        Raises `SemDocumentos` if the store is unavailable, `TransportError` if the topic is.
        """
        devidos = self._alunos.reservar(QUANTOS, self._vencida)
        if not devidos:
            return 0
        erros = list(self._maos.map(self._publicar, devidos))
        feitos = [um for um, erro in zip(devidos, erros, strict=True) if erro is None]
        outros = [um for um, erro in zip(devidos, erros, strict=True) if erro is not None]
        self._alunos.publicados(feitos)
        if outros:
            self._alunos.soltar(outros)
            raise TransportError(f"{len(outros)} events were not published", code="rele")
        return len(feitos)

    def _publicar(self, devido: Devido) -> MessagingError | None:
        try:
            # With its own time too: published again, the event is identical in every field.
            self._publisher.publish(devido.evento, id=devido.id, time=devido.momento)
        except MessagingError as erro:
            log.warning("event %s is not published yet: %s", devido.id, type(erro).__name__)
            return erro
        return None

    def _correr(self) -> None:
        pausa = self._olhar
        while not self._fim.is_set():
            self._novidade.wait(pausa)
            self._novidade.clear()
            pausa = self._esvaziar(min(10.0, pausa * 2))

    def _esvaziar(self, depois_de_erro: float) -> float:
        """Publish until nothing is pending; returns the seconds until the next check."""
        try:
            while not self._fim.is_set() and self.uma_vez():
                pass
        except (SemDocumentos, TransportError) as erro:
            # The store or topic will come back; pending events wait in the documents.
            log.warning("the relay waits %.1f s: %s", depois_de_erro, type(erro).__name__)
            self._fim.wait(depois_de_erro)
            return depois_de_erro
        except Exception as erro:  # noqa: BLE001 - a relay that has died would be noticed by nobody
            log.error("the relay waits %.1f s: %s", depois_de_erro, type(erro).__name__)
            self._fim.wait(depois_de_erro)
            return depois_de_erro
        return self._olhar
