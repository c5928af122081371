"""A file that is published once more with a corrected mapping reaches the books."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consumers import TOPOLOGY, Financeiro, financeiro
from consumers.banco import Banco
from consumers.events import AlunoCadastrado
from messaging.cli.sending import send
from messaging.csvfile import Mapping
from messaging.memory import MemoryBroker
from messaging.testing import FakeClock, drain

DEFAULTS = {"aluno_id": "@uuid:email", "origem": "csv", "data_matricula": "@now"}


def test_a_fee_that_was_not_mapped_arrives_when_the_mapping_is_corrected(tmp_path: Path) -> None:
    file = tmp_path / "alunos.csv"
    file.write_text("nome;email;Mensalidade\nAna Sá;ana@example.com;890,00\n")
    clock = FakeClock()
    broker = MemoryBroker(TOPOLOGY, clock=clock)
    service = Financeiro(Banco(":memory:", financeiro.ESQUEMA))

    def fee_after(**mapping: Any) -> int | None:
        send(
            file,
            AlunoCadastrado,
            Mapping(defaults=DEFAULTS, **mapping),
            broker.topic(),
            source="/secretaria",
            rejects=None,
            resume_from=1,
        )
        clock.sleep(1)
        drain(broker, service, clock=clock)
        ((centavos,),) = service.banco.ler("select centavos from contas")
        return None if centavos is None else int(centavos)

    assert fee_after() is None
    assert fee_after(columns={"Mensalidade": "valor_mensalidade"}) == 89_000
    service.close()
