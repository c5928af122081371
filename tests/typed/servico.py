"""A service as a team writes it in a repository of its own: no line of it may be an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from messaging import (
    Batch,
    Circuit,
    Consumer,
    Delivery,
    Envelope,
    Event,
    MemoryBroker,
    Projection,
    Published,
    Publisher,
    PublishResult,
    Reject,
    Retry,
    RetryPolicy,
    Topology,
    Worker,
    connect,
    handles,
    upcast,
)
from messaging.idempotency import Idempotency, MemoryStore
from messaging.outcome import Outcome
from messaging.testing import FakeClock, RecordingTopic, deliver, drain


class AlunoCadastrado(Event, type="aluno.cadastrado", version=2):
    aluno_id: UUID
    nome: str
    email: str
    aceita_marketing: bool = False

    @upcast(1)
    @staticmethod
    def _with_consent(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"aceita_marketing": False}


class AlunoParaMarketing(Projection, of=AlunoCadastrado, audience="marketing"):
    nome: str
    email: str

    @classmethod
    def wanted(cls, event: AlunoCadastrado) -> bool:
        return event.aceita_marketing


class AlunoParaBI(Projection, of=AlunoCadastrado, audience="bi"):
    aluno_id: UUID


class Marketing(Consumer):
    retry = RetryPolicy(max_attempts=5, never=(KeyError,))
    circuit = Circuit(failures=3)
    handler_timeout = 30.0

    def __init__(self, mailing: set[str]) -> None:
        self.mailing = mailing

    @handles
    def welcome(self, aluno: AlunoParaMarketing, envelope: Envelope, delivery: Delivery) -> None:
        if delivery.receive_count > 3:
            raise Reject("three times are enough")
        if not envelope.id:
            raise Retry(delay=5)
        self.mailing.add(aluno.email)


class BI(Consumer):
    total = 0

    @handles
    async def count(self, aluno: AlunoParaBI) -> Retry | None:
        self.total += 1
        return Retry(3) if aluno.aluno_id.int == 0 else None


class Loads(Consumer):
    service = "bi"

    @handles(batch=100, wait=1.0)
    def load(self, alunos: Batch[AlunoParaBI]) -> dict[int, Outcome] | None:
        rows: list[UUID] = [aluno.aluno_id for aluno in alunos]
        seen: list[int] = [delivery.receive_count for delivery in alunos.deliveries]
        return {0: Reject("twice")} if len(rows) != len(seen) else None


class LoadsAsync(Consumer):
    service = "bi"

    @handles
    async def load(self, alunos: Batch[AlunoParaBI]) -> Retry | None:
        return Retry(3) if alunos[0].aluno_id.int == 0 else None


def new_aluno() -> AlunoCadastrado:
    return AlunoCadastrado(aluno_id=uuid4(), nome="Ana", email="ana@example.com")


def publish() -> tuple[Published, PublishResult]:
    publisher = Publisher(connect().topic(), source="/cadastro")
    return publisher.publish(new_aluno()), publisher.publish_many([new_aluno()])


def run() -> Mapping[str, int]:
    broker = MemoryBroker(Topology.of(Marketing, BI, topic="alunos"))
    with Worker(
        Marketing(set()), BI(), broker=broker, middleware=[Idempotency(MemoryStore())]
    ) as worker:
        return {"received": worker.stats.received}


def test_marketing(messaging_clock: FakeClock) -> None:
    topic = RecordingTopic()
    Publisher(topic, source="/cadastro").publish(new_aluno())
    mailing: set[str] = set()
    deliver(Marketing(mailing), new_aluno())
    broker = MemoryBroker(Topology.of(Marketing, topic="alunos"), clock=messaging_clock)
    drained = drain(broker, Marketing(mailing), clock=messaging_clock)
    assert drained
    with pytest.raises(TypeError):
        len(mailing)
