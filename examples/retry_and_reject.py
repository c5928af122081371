"""What can go wrong: retry, reject, discard, and an unexpected exception.

python examples/retry_and_reject.py
"""

from __future__ import annotations

import logging
from decimal import Decimal

from messaging import (
    Consumer,
    Delivery,
    Discard,
    Event,
    MemoryBroker,
    Publisher,
    Reject,
    Retry,
    RetryPolicy,
    Topology,
    handles,
)
from messaging.testing import FakeClock, drain


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1):
    nome: str
    valor_mensalidade: Decimal


class Financeiro(Consumer):
    # For all other exceptions: three attempts, then the dead-letter queue.
    retry = RetryPolicy(max_attempts=3)

    @handles
    def open_account(self, aluno: AlunoCadastrado, delivery: Delivery) -> None:
        print(f"{aluno.nome}, receive {delivery.receive_count}")
        if aluno.nome == "Ana" and delivery.receive_count == 1:
            raise Retry(delay=60, reason="the bank is closed")  # hidden for a minute
        if aluno.valor_mensalidade < 0:
            raise Reject("valor_mensalidade: negative")  # no retry will fix it: a human must look
        if aluno.nome == "Test":
            raise Discard("a row that somebody made to try the form")  # deleted, no dead letter
        if aluno.nome == "Davi":
            raise ConnectionError("the database is away")  # decided by `retry` above


def main() -> None:
    logging.disable()  # the library logs each failure; here the prints are enough
    clock = FakeClock()  # the waits below take no real time
    broker = MemoryBroker(Topology.of(Financeiro, topic="alunos"), clock=clock)
    publisher = Publisher(broker.topic(), source="/secretaria")
    for nome, fee in (("Ana", "489.90"), ("Bia", "-1"), ("Test", "0"), ("Davi", "310.00")):
        publisher.publish(AlunoCadastrado(nome=nome, valor_mensalidade=Decimal(fee)))

    drained = drain(broker, Financeiro(), clock=clock)

    print(f"{drained.acknowledged} acknowledged, {drained.discarded} discarded")
    for reason in drained.reasons:
        print(f"dead letter: {reason}")


if __name__ == "__main__":
    main()

# Output:
# Ana, receive 1
# Bia, receive 1
# Test, receive 1
# Davi, receive 1
# Davi, receive 2
# Davi, receive 3
# Ana, receive 2
# 1 acknowledged, 1 discarded
# dead letter: valor_mensalidade: negative
# dead letter: ConnectionError after 3 attempts
