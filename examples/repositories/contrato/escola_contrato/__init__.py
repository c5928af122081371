"""The school's contract: its events, and the view that each service has of them."""

from escola_contrato.eventos import AlunoMatriculado, ParaBiblioteca, ParaFinanceiro

__all__ = ["AlunoMatriculado", "ParaBiblioteca", "ParaFinanceiro"]
