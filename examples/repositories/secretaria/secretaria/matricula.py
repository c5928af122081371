"""Enrols one student: python -m secretaria.matricula 2026-0001 "Ana Sá" ENEM 900.00"""

import sys
from decimal import Decimal

from escola_contrato import AlunoMatriculado

from messaging import Publisher, connect

__all__ = ["matricular"]


def matricular(
    publisher: Publisher, matricula: str, nome: str, curso: str, mensalidade: Decimal
) -> None:
    """Publish an enrolment. Its id is derived from the student's number, so repeating it is
    harmless."""
    # Release 1 of the contract calls it turma, release 2 curso: this program is built with either.
    onde = "curso" if "curso" in AlunoMatriculado.model_fields else "turma"
    evento = AlunoMatriculado.model_validate(
        {"id": matricula, "nome": nome, onde: curso, "mensalidade": mensalidade}
    )
    publisher.publish(evento, id=f"matricula-{matricula}")


def main(arguments: list[str]) -> None:
    """Enrol the student given on the command line."""
    matricula, nome, curso, mensalidade = arguments
    with Publisher(connect().topic(), source="/secretaria") as publisher:
        matricular(publisher, matricula, nome, curso, Decimal(mensalidade))


if __name__ == "__main__":
    main(sys.argv[1:])
