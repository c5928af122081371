"""What a type checker must refuse: every line marked with "wrong", and no other."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

from messaging import (
    Batch,
    Consumer,
    Event,
    Publisher,
    Retry,
    RetryPolicy,
    Topology,
    Worker,
    handles,
)
from messaging.testing import RecordingTopic


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1):
    aluno_id: int
    nome: str


class Marketing(Consumer):
    retry = RetryPolicy(attempts=5)  # wrong: no such option
    handler_timeout = "30 s"  # wrong: seconds are a number

    @handles  # wrong: it takes nothing
    def nothing(self) -> None: ...

    @handles  # wrong: a generator never runs
    def some(self, aluno: AlunoCadastrado) -> Iterator[int]:
        yield aluno.aluno_id

    @handles  # wrong: True is no outcome
    def yes(self, aluno: AlunoCadastrado) -> bool:
        return True

    @handles(batch=10)  # wrong: one message is no batch
    def one(self, aluno: AlunoCadastrado) -> None: ...

    @handles(batch="10")  # wrong: a size is a number
    def many(self, alunos: Batch[AlunoCadastrado]) -> None: ...

    @handles(batch=10)  # wrong: True is no outcome
    def sure(self, alunos: Batch[AlunoCadastrado]) -> dict[int, bool]:
        return {0: alunos[0].aluno_id == 1}

    @handles(batch=10)
    def names(self, alunos: Batch[AlunoCadastrado]) -> None:
        self.nome = alunos.nome  # wrong: a batch has no field of its views

    @handles
    def later(self, aluno: AlunoCadastrado) -> None:
        self.nome = aluno.sobrenome  # wrong: no such field
        raise Retry(delay="5 s")  # wrong: seconds are a number


publisher = Publisher(RecordingTopic(), source="/cadastro")
publisher.publish("aluno.cadastrado")  # wrong: not an event
publisher.publish_many(AlunoCadastrado(aluno_id=1, nome="Ana"))  # wrong: one event, not many
publisher.publish(AlunoCadastrado(aluno_id=uuid4(), nome="Ana"))  # wrong: a UUID is no int
Topology.of(Marketing(), topic="alunos")  # wrong: an object, not its class
Worker(Marketing)  # wrong: a class, and no broker
