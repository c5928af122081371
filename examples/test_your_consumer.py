"""How to test a consumer: it is a class, so you need no queue, server or sleep.

python -m pytest examples/test_your_consumer.py
"""

from __future__ import annotations

import subprocess
import sys

from messaging import (
    Consumer,
    Event,
    MemoryBroker,
    Projection,
    Publisher,
    Reject,
    Topology,
    handles,
)
from messaging.testing import FakeClock, deliver, drain


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1):
    nome: str
    email: str
    aceita_marketing: bool = False


class ParaMarketing(Projection, of=AlunoCadastrado, audience="marketing"):
    nome: str
    email: str

    @classmethod
    def wanted(cls, event: AlunoCadastrado) -> bool:
        return event.aceita_marketing


class Marketing(Consumer):
    def __init__(self, lista: set[str]) -> None:  # its dependencies are passed in: yours, in a test
        self.lista = lista

    @handles
    def add(self, aluno: ParaMarketing) -> None:
        if aluno.email.endswith("@example.invalid"):
            raise Reject("email: nobody is there")
        self.lista.add(aluno.email)


ANA = AlunoCadastrado(nome="Ana", email="ana@example.com", aceita_marketing=True)


def test_who_agreed_is_on_the_list() -> None:
    lista: set[str] = set()

    # `deliver` converts the event into the copy that this service's queue would hold.
    result = deliver(Marketing(lista), ANA)

    assert result.acknowledged
    assert lista == {"ana@example.com"}


def test_who_did_not_agree_is_never_heard_of() -> None:
    result = deliver(Marketing(set()), ANA.model_copy(update={"aceita_marketing": False}))

    assert not result.received


def test_a_dead_address_is_rejected() -> None:
    result = deliver(Marketing(set()), ANA.model_copy(update={"email": "ana@example.invalid"}))

    assert result.rejected
    assert result.why == "email: nobody is there"


def test_the_whole_way() -> None:
    lista: set[str] = set()
    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Marketing, topic="alunos"), clock=clock)

    Publisher(broker.topic(), source="/tests").publish_many([ANA, ANA])
    drained = drain(broker, Marketing(lista), clock=clock)

    assert drained.acknowledged == 2
    assert lista == {"ana@example.com"}


if __name__ == "__main__":
    # This makes `python examples/test_your_consumer.py` work too; normally you run `pytest`.
    sys.exit(subprocess.run([sys.executable, "-m", "pytest", "-qq", __file__]).returncode)

# Output:
# ....                                                                     [100%]
