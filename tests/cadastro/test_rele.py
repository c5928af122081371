"""The relay: what a document owes is published, whoever dies, and always under the same id."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pymongo
import pytest

from consumers.events import AlunoCadastrado
from examples.cadastro.api.rele import Rele
from examples.cadastro.documentos import Alunos, Devido, SemDocumentos
from messaging.codec import JsonCodec
from messaging.envelope import Envelope
from messaging.errors import TransportError
from messaging.publishing.publisher import Publisher
from messaging.transport import Failure, Outgoing


class Topico:
    """Keeps what it is given; refuses everything while `fora`. A `TopicTransport`."""

    max_bytes = 262_144

    def __init__(self) -> None:
        self.fora = False
        self._trava = threading.Lock()
        self.mensagens: list[Outgoing] = []

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        if self.fora:
            raise TransportError("nobody answers", retryable=False)
        with self._trava:
            self.mensagens += batch
        return ()

    def close(self) -> None: ...

    @property
    def para_bi(self) -> list[Envelope]:
        """The copies that one service would have."""
        return [
            JsonCodec().decode(uma.body)
            for uma in self.mensagens
            if "bi" in uma.attributes["audience"].strings
        ]


@pytest.fixture
def topico() -> Topico:
    return Topico()


@pytest.fixture
def reles(alunos: Alunos, topico: Topico) -> Iterator[Any]:
    feitos: list[Publisher] = []

    def novo(guardados: Alunos = alunos, **dito: Any) -> Rele:
        feitos.append(Publisher(topico, source="/cadastro", max_attempts=1))
        return Rele(guardados, feitos[-1], **dito)

    yield novo
    for um in feitos:
        um.close()


def inserir(alunos: Alunos, quantos: int = 1) -> list[str]:
    return [
        alunos.cadastrar(
            AlunoCadastrado(
                aluno_id=uuid4(),
                nome="Ana",
                email=f"{uuid4().hex}@example.com",
                origem="formulario",
                data_matricula=datetime.now(UTC),
            ),
            senha=None,
        ).evento_id
        for _ in range(quantos)
    ]


def test_what_is_owed_is_published_once_and_taken_out(
    alunos: Alunos, topico: Topico, reles: Any, mongo: str, banco: str
) -> None:
    ids = inserir(alunos, 3)

    assert reles().uma_vez() == 3
    assert reles().uma_vez() == 0

    assert sorted(um.id for um in topico.para_bi) == sorted(ids)
    assert alunos.pendentes() == 0
    with pymongo.MongoClient[dict[str, Any]](mongo) as cliente:
        for documento in cliente[banco]["alunos"].find():
            assert not {"deve", "deve_desde", "vez"} & set(documento)


def test_several_copies_publish_each_event_once(alunos: Alunos, topico: Topico, reles: Any) -> None:
    ids = inserir(alunos, 150)
    todos = [reles() for _ in range(3)]
    barreira = threading.Barrier(3)

    def correr(rele: Rele) -> None:
        barreira.wait()
        while rele.uma_vez():
            pass

    threads = [threading.Thread(target=correr, args=(um,)) for um in todos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(um.id for um in topico.para_bi) == sorted(ids)
    assert alunos.pendentes() == 0


def test_a_topic_that_is_away_loses_nothing(alunos: Alunos, topico: Topico, reles: Any) -> None:
    ids = inserir(alunos, 2)
    topico.fora = True
    with pytest.raises(TransportError):
        reles().uma_vez()
    assert alunos.pendentes() == 2

    topico.fora = False
    assert reles().uma_vez() == 2  # at once: what could not be published was let go
    assert sorted(um.id for um in topico.para_bi) == sorted(ids)


def test_who_dies_before_publishing_is_followed_by_another(
    alunos: Alunos, topico: Topico, reles: Any
) -> None:
    [evento] = inserir(alunos)
    assert len(alunos.reservar(10, 0.3)) == 1  # and dies
    assert reles().uma_vez() == 0  # somebody has it

    time.sleep(0.35)
    assert reles().uma_vez() == 1
    assert [um.id for um in topico.para_bi] == [evento]


class MorreDepoisDePublicar(Alunos):
    """SNS has the event, and nobody will note it."""

    def publicados(self, devidos: Sequence[Devido]) -> None:
        raise SemDocumentos("died here")


def test_who_dies_after_publishing_leaves_a_repetition_with_the_same_id_and_time(
    alunos: Alunos, topico: Topico, reles: Any, mongo: str, banco: str
) -> None:
    [evento] = inserir(alunos)
    morto = MorreDepoisDePublicar(mongo, banco)
    with pytest.raises(SemDocumentos):
        reles(morto, vencida=0.2).uma_vez()
    morto.close()

    time.sleep(0.25)
    assert reles().uma_vez() == 1

    primeira, segunda = topico.para_bi
    assert primeira == segunda
    assert primeira.id == evento


def test_who_dies_between_the_two_notes_leaves_nothing_owed(
    alunos: Alunos, topico: Topico, reles: Any, mongo: str, banco: str
) -> None:
    inserir(alunos)
    with pymongo.MongoClient[dict[str, Any]](mongo) as cliente:
        cliente[banco]["alunos"].update_many({}, {"$set": {"deve": []}})

    assert reles().uma_vez() == 0
    assert alunos.pendentes() == 0
    assert topico.mensagens == []


def test_an_event_that_cannot_be_read_keeps_no_other_back(
    alunos: Alunos, topico: Topico, reles: Any, mongo: str, banco: str
) -> None:
    inserir(alunos)
    with pymongo.MongoClient[dict[str, Any]](mongo) as cliente:
        cliente[banco]["alunos"].update_many({}, {"$set": {"deve.0.tipo": "aluno.do.futuro"}})
    [evento] = inserir(alunos)

    assert reles().uma_vez() == 1
    assert [um.id for um in topico.para_bi] == [evento]
    assert alunos.pendentes() == 1  # for a copy that can read it


def test_the_thread_is_woken_and_ends(alunos: Alunos, topico: Topico, reles: Any) -> None:
    rele = reles(olhar=60)
    rele.start()
    try:
        [evento] = inserir(alunos)
        rele.acordar()
        fim = time.monotonic() + 20
        while not topico.para_bi and time.monotonic() < fim:
            time.sleep(0.01)
    finally:
        rele.stop()

    assert [um.id for um in topico.para_bi] == [evento]
    assert alunos.pendentes() == 0


def test_the_thread_outlives_a_topic_that_is_away(
    alunos: Alunos, topico: Topico, reles: Any
) -> None:
    topico.fora = True
    inserir(alunos)
    rele = reles(olhar=0.02)
    rele.start()
    try:
        time.sleep(0.2)
        assert alunos.pendentes() == 1
        topico.fora = False
        fim = time.monotonic() + 20
        while alunos.pendentes() and time.monotonic() < fim:
            time.sleep(0.02)
    finally:
        rele.stop()
    assert len(topico.para_bi) == 1
