"""First steps: one event, one service, and everything between them.

python examples/publish_and_consume.py
"""

from __future__ import annotations

from threading import Event as Flag

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, Worker, handles


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1):
    """A fact: what happened, in the producer's words."""

    nome: str
    email: str


class BoasVindas(Consumer):
    """A service: the type of the argument decides what it receives; returning acknowledges it."""

    def __init__(self) -> None:
        self.done = Flag()

    @handles
    def greet(self, aluno: AlunoCadastrado) -> None:
        print(f"Welcome, {aluno.nome}!")
        self.done.set()


def main() -> None:
    # The topology follows from the services: a topic, and a queue and a filter for each service.
    topology = Topology.of(BoasVindas, topic="alunos")

    # SNS and SQS in this process. On AWS this one line becomes `broker = connect()`.
    broker = MemoryBroker(topology)

    service = BoasVindas()
    with Worker(service, broker=broker) as worker:
        publisher = Publisher(broker.topic(), source="/secretaria")
        publisher.publish(AlunoCadastrado(nome="Ana", email="ana@example.com"))
        service.done.wait(timeout=10)

    # Leaving the `with` stopped the worker and deleted the handled message from the queue.
    print(f"{worker.stats.received} received, {worker.stats.acknowledged} acknowledged")


if __name__ == "__main__":
    main()

# Output:
# Welcome, Ana!
# 1 received, 1 acknowledged
