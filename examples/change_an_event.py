"""Changes an event's shape while producers of the old one are still running.

python examples/change_an_event.py
"""

from __future__ import annotations

import logging
import textwrap
from typing import Any

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, handles, upcast
from messaging.testing import FakeClock, drain


class AlunoCadastradoV1(Event, type="aluno.cadastrado", version=1):
    """What the producer knows that nobody has deployed since spring."""

    nome: str
    turma: str  # "ENEM / noite"


class AlunoCadastrado(Event, type="aluno.cadastrado", version=2):
    """What it is today: two fields in the place of one, so the version went up.

    A new optional field would not have needed that.
    """

    nome: str
    curso: str
    turno: str

    @upcast(1)  # from version 1 to version 2; from 2 to 3 would be a second function
    @staticmethod
    def _turma_was_both(data: dict[str, Any]) -> dict[str, Any]:
        data["curso"], _, data["turno"] = data.pop("turma").partition(" / ")
        return data


class AlunoCadastradoV3(Event, type="aluno.cadastrado", version=3):
    """What a producer publishes that was deployed too early."""

    nome: str
    matriculas: list[str]


class Plataforma(Consumer):
    @handles
    def open_access(self, aluno: AlunoCadastrado) -> None:
        print(f"{aluno.nome}: {aluno.curso}, {aluno.turno}")


def main() -> None:
    logging.disable()  # the library logs what it refuses; here it is printed below
    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Plataforma, topic="alunos"), clock=clock)
    publisher = Publisher(broker.topic(), source="/secretaria")
    publisher.publish(AlunoCadastradoV1(nome="Ana", turma="ENEM / noite"))
    publisher.publish(AlunoCadastrado(nome="Bia", curso="Inglês", turno="manhã"))
    publisher.publish(AlunoCadastradoV3(nome="Caio", matriculas=["Inglês"]))

    drained = drain(broker, Plataforma(), clock=clock)

    # Newer than the code: kept as a dead letter, to be sent back when the service is deployed.
    for reason in drained.reasons:
        print(textwrap.fill(f"dead letter: {reason}", 80))


if __name__ == "__main__":
    main()

# Output:
# Ana: ENEM, noite
# Bia: Inglês, manhã
# dead letter: dataversion: aluno.cadastrado version 3 is newer than version 2
# that this service knows; deploy the newer events first
