"""Publishes a CSV file like the ones schools really export, row by row.

python examples/matriculas_from_csv.py
"""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, handles
from messaging.csvfile import Mapping, events_from
from messaging.testing import FakeClock, drain

# `;`, a decimal comma, dd/mm/aaaa, the school's own column names, a line pasted from an old program
# (Windows-1252), and one that cannot be right.
EXPORTED = b"\r\n".join(
    [
        "\ufeffNome completo;E-mail;Data de matrícula;Mensalidade".encode(),
        "Ana Sá;ana@example.com;03/02/2026;R$ 1.350,50".encode(),
        "João Conceição;joao@example.com;04/02/2026;489,90".encode("cp1252"),
        "Bia Ávila;bia@example.com;31/02/2026;310,00".encode(),
        "Caio Frazão;caio@example.com;05/02/2026;".encode(),
    ]
)


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1):
    nome: str
    email: str
    data_matricula: date
    valor_mensalidade: Decimal | None = None  # an empty cell is None: unknown, not zero
    origem: str


class Financeiro(Consumer):
    @handles
    def open_account(self, aluno: AlunoCadastrado) -> None:
        fee = "pending" if aluno.valor_mensalidade is None else f"R$ {aluno.valor_mensalidade}"
        print(f"{aluno.nome}, from {aluno.data_matricula}: {fee}")


def main() -> None:
    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Financeiro, topic="alunos"), clock=clock)
    publisher = Publisher(broker.topic(), source="/secretaria")

    # A column with the name of a field needs no entry. See also data/mapeamento.toml.
    mapping = Mapping(
        columns={
            "Nome completo": "nome",
            "E-mail": "email",
            "Mensalidade": "valor_mensalidade",
            "Data de matrícula": "data_matricula",
        },
        defaults={"origem": "csv"},
    )

    # The file is read while it is published, so it may have any length. The ids are derived from
    # the rows: publish it again, and every service recognizes them.
    with events_from(io.BytesIO(EXPORTED), AlunoCadastrado, mapping) as table:
        result = publisher.publish_many(
            table.events(on_bad=lambda bad: print(f"line {bad.line}, {bad.column}: {bad.reason}")),
            id=table.id_of,
        )
    print(f"{result.accepted} published")

    drain(broker, Financeiro(), clock=clock)


if __name__ == "__main__":
    main()

# Output:
# line 4, Data de matrícula: there is no such date or time (dd/mm/yyyy was read)
# 3 published
# Ana Sá, from 2026-02-03: R$ 1350.50
# João Conceição, from 2026-02-04: R$ 489.90
# Caio Frazão, from 2026-02-05: pending
