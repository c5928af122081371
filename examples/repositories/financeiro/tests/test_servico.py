"""The service alone: no queue, no AWS."""

from decimal import Decimal
from pathlib import Path

from escola_contrato import AlunoMatriculado
from financeiro.contas import Contas
from financeiro.servico import Financeiro

from messaging.testing import deliver


def test_an_account_is_opened_once(tmp_path: Path) -> None:
    contas = Contas(tmp_path / "contas.sqlite3")
    onde = "curso" if "curso" in AlunoMatriculado.model_fields else "turma"
    aluno = AlunoMatriculado.model_validate(
        {"id": "2026-0001", "nome": "Ana", onde: "ENEM", "mensalidade": Decimal(900)}
    )
    for _ in range(2):
        assert deliver(Financeiro(contas), aluno).acknowledged
    assert contas.cursos() == {"2026-0001": "ENEM"}
