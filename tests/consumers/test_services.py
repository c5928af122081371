"""The four services: what each does with each fact, once, and in whatever order they come."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from consumers import (
    BI,
    SERVICES,
    TOPOLOGY,
    Financeiro,
    Marketing,
    Plataforma,
    bi,
    financeiro,
    marketing,
    plataforma,
)
from consumers.banco import Banco
from consumers.events import AlunoAtualizado, AlunoCadastrado, AlunoEsquecido, MatriculaCancelada
from messaging.consuming.consumer import Consumer
from messaging.event import Event
from messaging.testing import Result, deliver

ANA = UUID(int=1)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEMAS = {
    Plataforma: plataforma.ESQUEMA,
    Financeiro: financeiro.ESQUEMA,
    Marketing: marketing.ESQUEMA,
    BI: bi.ESQUEMA,
}
TABLES = {Plataforma: "acessos", Financeiro: "contas", Marketing: "lista", BI: "matriculas"}
Open = Callable[[type[Any]], Any]


@pytest.fixture
def service() -> Iterator[Open]:
    opened: list[Consumer] = []

    def open_one(kind: type[Any]) -> Any:
        opened.append(kind(Banco(":memory:", SCHEMAS[kind])))
        return opened[-1]

    yield open_one
    for consumer in opened:
        consumer.close()


def aluno(**fields: Any) -> dict[str, Any]:
    return {
        "aluno_id": ANA,
        "nome": "Ana Sá",
        "email": "ana@example.com",
        "origem": "formulario",
        "data_matricula": START,
        "curso": "ENEM",
        **fields,
    }


def cadastrado(**fields: Any) -> AlunoCadastrado:
    return AlunoCadastrado.model_validate(aluno(**fields))


def atualizado(**fields: Any) -> AlunoAtualizado:
    return AlunoAtualizado.model_validate(aluno(**fields))


CANCELADA, ESQUECIDO = MatriculaCancelada(aluno_id=ANA), AlunoEsquecido(aluno_id=ANA)


def tell(consumer: Consumer, *facts: Event) -> list[Result]:
    """The facts happened one minute after the other and arrive in that order."""
    return [_tell(consumer, minute, fact) for minute, fact in enumerate(facts)]


def _tell(consumer: Consumer, minute: int, fact: Event) -> Result:
    result = deliver(consumer, fact, id=f"e{minute}", time=START + timedelta(minutes=minute))
    assert not result.received or result.acknowledged or result.rejected, result
    return result


def rows(consumer: Any) -> list[dict[str, Any]]:
    sql = f"select * from {TABLES[type(consumer)]}"
    return [
        {name: value for name, value in dict(row).items() if name != "aluno_id"}
        for row in consumer.banco.ler(sql)
    ]


def test_plataforma_opens_and_closes_access(service: Open) -> None:
    consumer = service(Plataforma)
    tell(consumer, cadastrado())
    assert rows(consumer) == [
        {"nome": "Ana Sá", "email": "ana@example.com", "curso": "ENEM", "aberto": 1}
    ]

    tell(service(Plataforma), cadastrado(), CANCELADA)
    consumer = service(Plataforma)
    tell(consumer, cadastrado(), CANCELADA, atualizado(email="nova@example.com"))
    assert [(row["email"], row["aberto"]) for row in rows(consumer)] == [("nova@example.com", 0)]


def test_who_enrols_again_has_access_again(service: Open) -> None:
    consumer = service(Plataforma)
    tell(consumer, cadastrado(), CANCELADA, cadastrado())

    assert [row["aberto"] for row in rows(consumer)] == [1]


@pytest.mark.parametrize(
    ("fee", "cents", "state"),
    [
        ("1350.50", 135050, "aberta"),
        ("0", 0, "aberta"),
        ("0.29", 29, "aberta"),
        (None, None, "pendente"),
    ],
)
def test_financeiro_opens_an_account(
    service: Open, fee: str | None, cents: int | None, state: str
) -> None:
    consumer = service(Financeiro)
    tell(consumer, cadastrado(valor_mensalidade=fee, cpf="497.501.283-97"))

    assert [(r["centavos"], r["situacao"], r["cpf"]) for r in rows(consumer)] == [
        (cents, state, "49750128397")
    ]


def test_a_pending_account_opens_when_the_fee_is_known(service: Open) -> None:
    consumer = service(Financeiro)
    tell(consumer, cadastrado(), atualizado(valor_mensalidade="99.90"))

    assert [(row["centavos"], row["situacao"]) for row in rows(consumer)] == [(9990, "aberta")]


def test_an_account_ends_with_its_enrolment(service: Open) -> None:
    consumer = service(Financeiro)
    tell(consumer, cadastrado(valor_mensalidade="10"), CANCELADA)

    assert [row["situacao"] for row in rows(consumer)] == ["encerrada"]


@pytest.mark.parametrize("event", [cadastrado, atualizado])
def test_financeiro_rejects_a_negative_fee_and_does_nothing(
    service: Open, event: Callable[..., Event]
) -> None:
    consumer = service(Financeiro)
    [result] = tell(consumer, event(valor_mensalidade="-0.01"))

    assert result.rejected
    assert result.why == "valor_mensalidade: negative"
    assert rows(consumer) == []


def test_marketing_lists_who_agreed_and_nobody_else(service: Open) -> None:
    consumer = service(Marketing)
    results = tell(consumer, cadastrado(), cadastrado(aceita_marketing=True))

    assert [result.received for result in results] == [False, True]
    assert rows(consumer) == [{"nome": "Ana Sá", "email": "ana@example.com", "curso": "ENEM"}]


def test_marketing_follows_address_and_consent(service: Open) -> None:
    consumer = service(Marketing)
    tell(consumer, cadastrado(aceita_marketing=True))
    _tell(consumer, 1, atualizado(aceita_marketing=True, email="nova@example.com"))
    assert [row["email"] for row in rows(consumer)] == ["nova@example.com"]
    _tell(consumer, 2, atualizado(aceita_marketing=False))
    assert rows(consumer) == []
    _tell(consumer, 3, atualizado(aceita_marketing=True))
    assert len(rows(consumer)) == 1
    _tell(consumer, 4, CANCELADA)
    assert rows(consumer) == []


def test_a_consent_that_comes_after_its_withdrawal_does_not_count(service: Open) -> None:
    consumer = service(Marketing)
    _tell(consumer, 5, atualizado(aceita_marketing=False))
    _tell(consumer, 1, cadastrado(aceita_marketing=True))

    assert rows(consumer) == []


def test_bi_counts_by_the_schools_day(service: Open) -> None:
    consumer = service(BI)
    late = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)  # 22:30 of the day before, in São Paulo
    tell(
        consumer,
        cadastrado(),
        cadastrado(aluno_id=UUID(int=2), data_matricula=late),
        cadastrado(aluno_id=UUID(int=3), curso=None, origem="csv"),
    )
    assert consumer.contagem() == {
        ("2026-03-01", "ENEM", "formulario"): 2,
        ("2026-03-01", None, "csv"): 1,
    }


def test_bi_takes_a_cancelled_enrolment_out_of_the_count(service: Open) -> None:
    consumer = service(BI)
    tell(consumer, cadastrado(), CANCELADA)

    assert consumer.contagem() == {}


@pytest.mark.parametrize("kind", SERVICES)
def test_a_fact_told_twice_counts_once(service: Open, kind: type[Consumer]) -> None:
    once, twice = service(kind), service(kind)
    facts = (cadastrado(aceita_marketing=True), atualizado(aceita_marketing=True, curso="ENEM II"))
    tell(once, *facts)
    tell(twice, *facts)
    tell(twice, *facts)

    assert rows(twice) == rows(once) != []


@pytest.mark.parametrize("kind", SERVICES)
def test_the_order_of_arrival_does_not_matter(service: Open, kind: type[Consumer]) -> None:
    facts = list(
        enumerate(
            [
                cadastrado(aceita_marketing=True, valor_mensalidade="10"),
                atualizado(aceita_marketing=True, valor_mensalidade="12", curso="ENEM II"),
                CANCELADA,
                atualizado(aceita_marketing=True, email="nova@example.com"),
            ]
        )
    )
    ends = []
    for order in itertools.permutations(facts):
        consumer = service(kind)
        for minute, fact in order:
            _tell(consumer, minute, fact)
        ends.append(rows(consumer))

    assert ends[0] != []
    assert all(end == ends[0] for end in ends)


@pytest.mark.parametrize("kind", SERVICES)
def test_the_forgotten_leave_nothing_behind_in_any_order(
    service: Open, kind: type[Consumer]
) -> None:
    facts = list(enumerate([cadastrado(aceita_marketing=True), CANCELADA, ESQUECIDO]))
    for order in itertools.permutations(facts):
        consumer = service(kind)
        for minute, fact in order:
            _tell(consumer, minute, fact)
        assert rows(consumer) == []


@pytest.mark.parametrize("kind", SERVICES)
def test_a_service_needs_no_arguments(
    kind: type[Consumer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    consumer = kind()
    consumer.close()
    consumer.close()

    assert (tmp_path / "dados" / f"{kind.service}.sqlite3").is_file()


def test_the_map_has_a_queue_for_each() -> None:
    assert TOPOLOGY.topic.name == "alunos"
    assert TOPOLOGY.services == ("plataforma", "financeiro", "marketing", "bi")
    assert TOPOLOGY.queue("marketing").name == "alunos-marketing"
