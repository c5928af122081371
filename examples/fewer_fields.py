"""One event: each service receives only the fields that its view names.

python examples/fewer_fields.py
"""

from __future__ import annotations

import json
import textwrap
from decimal import Decimal

from messaging import Consumer, Event, MemoryBroker, Projection, Publisher, Topology, handles


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1):
    nome: str
    email: str
    cpf: str
    valor_mensalidade: Decimal
    aceita_marketing: bool


# The views are defined next to the event, so this file alone shows who sees what.
class ParaFinanceiro(Projection, of=AlunoCadastrado, audience="financeiro"):
    nome: str
    cpf: str
    valor_mensalidade: Decimal


class ParaMarketing(Projection, of=AlunoCadastrado, audience="marketing"):
    nome: str
    email: str

    @classmethod
    def wanted(cls, event: AlunoCadastrado) -> bool:
        return event.aceita_marketing  # no consent, no copy


class Financeiro(Consumer):
    @handles
    def open_account(self, aluno: ParaFinanceiro) -> None: ...


class Marketing(Consumer):
    @handles
    def add_to_list(self, aluno: ParaMarketing) -> None: ...


def main() -> None:
    broker = MemoryBroker(Topology.of(Financeiro, Marketing, topic="alunos"))
    publisher = Publisher(broker.topic(), source="/secretaria")
    for nome, agrees in (("Ana", True), ("Bia", False)):
        publisher.publish(
            AlunoCadastrado(
                nome=nome,
                email=f"{nome.lower()}@example.com",
                cpf="497.501.283-97",
                valor_mensalidade=Decimal("489.90"),
                aceita_marketing=agrees,
            )
        )

    # No worker here: we look into the queues themselves. A field that is not there was never sent.
    for service in ("financeiro", "marketing"):
        for delivery in broker.queue(service).receive(limit=10, wait=0):
            print(f"{service:10} {json.loads(delivery.body)['data']}")

    # A view for another service is refused when the class is defined, not in production.
    try:

        class Curioso(Consumer):
            @handles
            def look(self, aluno: ParaFinanceiro) -> None: ...

    except TypeError as error:
        print(textwrap.fill(f"refused: {error}", 80))


if __name__ == "__main__":
    main()

# Output:
# financeiro {'nome': 'Ana', 'cpf': '497.501.283-97', 'valor_mensalidade': '489.90'}
# financeiro {'nome': 'Bia', 'cpf': '497.501.283-97', 'valor_mensalidade': '489.90'}
# marketing  {'nome': 'Ana', 'email': 'ana@example.com'}
# refused: main.<locals>.Curioso.look takes ParaFinanceiro, which is for
# financeiro, not for curioso; ask for a view with audience='curioso'
