"""The monthly cost of the school's system, by part: `python -m examples.cadastro.custo`.

Prices of US East (N. Virginia) in US dollars, without free tiers and taxes, as third parties quoted
AWS in 2026 (README.md names them). São Paulo costs more: change `PRECOS` and print the table again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["ESCOLAS", "PRECOS", "parcelas", "tabela"]

HORAS: Final = 730
"""Hours per month."""
ESCOLAS: Final = (1_000, 100_000, 10_000_000)
"""Students per year."""

PRECOS: Final[Mapping[str, float]] = {
    "fargate_vcpu_hora": 0.03238,
    "fargate_gb_hora": 0.00356,
    "balanceador_hora": 0.0225,
    "balanceador_lcu_hora": 0.008,
    "nat_hora": 0.045,
    "nat_gb": 0.045,
    "ip_hora": 0.005,
    "documentos_hora": 0.074,
    "documentos_gb": 0.10,
    "documentos_io_milhao": 0.20,
    "lambda_milhao": 0.20,
    "lambda_gb_segundo": 0.0000133334,
    "sqs_milhao": 0.40,
    "sns_milhao": 0.50,
    "s3_put_mil": 0.005,
    "logs_gb": 0.50,
    "alarme": 0.10,
    "segredo": 0.40,
}
"""Per unit."""

# Usage per student, half of them from the form and half from files.
COPIAS = 3.7
"""Copies on the topic: four services, of which marketing only for students with consent."""
IO = 40
"""DocumentDB reads and writes: look up, insert and mark as published, with their indexes."""
KB_LOG, KB_DOCUMENTO = 1.5, 3.0


def parcelas(alunos: int) -> dict[str, float]:
    """Dollars per month by part, for a number of students per year."""
    mes = alunos / 12
    # One API process takes 200 enrolments a second; a school's arrive in a tenth of the hours.
    copias = max(2, round(mes / (HORAS * 3600 * 0.1) / 100 + 0.5))
    vcpu, gb = copias * 0.5 + 0.25, copias * 1.0 + 0.5
    p = PRECOS
    sqs = mes * (COPIAS * (1 / 5 + 1 / 5) + 0.5 * (1 / 10 + 2 / 5)) + 5 * 129_600
    return {
        "API and secretary's page (Fargate)": HORAS
        * (vcpu * p["fargate_vcpu_hora"] + gb * p["fargate_gb_hora"]),
        "load balancer": HORAS * (p["balanceador_hora"] + 2 * p["ip_hora"])
        + HORAS * p["balanceador_lcu_hora"] * max(0.1, mes / (HORAS * 3600) / 25),
        "network (one NAT gateway)": HORAS * (p["nat_hora"] + p["ip_hora"])
        + mes * 20e-6 * p["nat_gb"],
        "DocumentDB (two instances)": 2 * HORAS * p["documentos_hora"]
        + alunos * KB_DOCUMENTO / 1e6 * p["documentos_gb"]
        + mes * IO / 1e6 * p["documentos_io_milhao"],
        "functions": mes * 0.5 / 10 / 1e6 * p["lambda_milhao"]
        + mes * 0.5 * 0.05 * 0.5 * p["lambda_gb_segundo"],
        "topic and queues": mes * 1 / 1e6 * p["sns_milhao"] + sqs / 1e6 * p["sqs_milhao"],
        "files (S3, CloudFront)": 1.0 + mes / 500 / 1000 * 10 * p["s3_put_mil"],
        "logs, alarms, secrets": mes * KB_LOG / 1e6 * p["logs_gb"] + 4 * p["alarme"] + p["segredo"],
    }


def tabela() -> str:
    """A Markdown table: a row for each part, a column for each school."""
    colunas = [parcelas(alunos) for alunos in ESCOLAS]
    cabeca = " | ".join(f"{alunos:,} a year" for alunos in ESCOLAS)
    linhas = [f"| part, USD a month | {cabeca} |", "|---|" + "--:|" * len(ESCOLAS)]
    linhas += [
        f"| {parte} | " + " | ".join(f"{uma[parte]:,.2f}" for uma in colunas) + " |"
        for parte in colunas[0]
    ]
    somas = " | ".join(f"**{sum(uma.values()):,.2f}**" for uma in colunas)
    return "\n".join([*linhas, f"| **together** | {somas} |"])


if __name__ == "__main__":
    print(tabela())
