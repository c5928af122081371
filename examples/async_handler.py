"""Async and sync handlers in one service.

python examples/async_handler.py
"""

from __future__ import annotations

import asyncio
from threading import Semaphore

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, Worker, handles


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1):
    nome: str


class MatriculaCancelada(Event, type="matricula.cancelada", version=1):
    nome: str


class Plataforma(Consumer):
    def __init__(self) -> None:
        self.everyone_is_here = asyncio.Barrier(3)
        self.done = Semaphore(0)

    @handles
    async def open_access(self, aluno: AlunoCadastrado) -> None:
        # Async handlers share one event loop. Here each waits for the other two, as it would for a
        # network response; run one after another, they would wait for ever.
        await self.everyone_is_here.wait()
        self.done.release()

    @handles
    def close_access(self, matricula: MatriculaCancelada) -> None:
        # A plain method runs in a thread, so it may block without holding up the others.
        self.done.release()


def main() -> None:
    broker = MemoryBroker(Topology.of(Plataforma, topic="alunos"))
    service = Plataforma()
    with Worker(service, broker=broker, concurrency=4) as worker:
        publisher = Publisher(broker.topic(), source="/secretaria")
        publisher.publish_many([AlunoCadastrado(nome=nome) for nome in ("Ana", "Bia", "Caio")])
        publisher.publish(MatriculaCancelada(nome="Davi"))
        for _ in range(4):
            service.done.acquire(timeout=10)

    print(f"{worker.stats.acknowledged} of {worker.stats.received} acknowledged")


if __name__ == "__main__":
    main()

# Output:
# 4 of 4 acknowledged
