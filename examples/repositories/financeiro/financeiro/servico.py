"""The consumer, and its part of the topology."""

from escola_contrato import ParaFinanceiro

from financeiro.contas import Contas
from messaging import Consumer, Topology, handles

__all__ = ["TOPOLOGY", "Financeiro"]


class Financeiro(Consumer):
    """Opens an account for each enrolled student."""

    def __init__(self, contas: Contas | None = None) -> None:
        self.contas = contas or Contas("contas.sqlite3")

    @handles
    def matriculado(self, aluno: ParaFinanceiro) -> None:
        """The account has the student's number as its key: a second copy changes nothing."""
        self.contas.abrir(aluno.id, aluno.turma, aluno.mensalidade)


TOPOLOGY = Topology.of(Financeiro, topic="alunos", owner="equipe-financeiro")
