"""The contract: who a student is, and what each service may see of them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from consumers.events import (
    AlunoAtualizado,
    AlunoCadastrado,
    AlunoEsquecido,
    AlunoParaBI,
    AlunoParaFinanceiro,
    AtualizadoParaMarketing,
    MatriculaCancelada,
)
from messaging.codec import first_mistake
from messaging.event import Event
from messaging.projection import views

ANA = UUID(int=1)


def cadastrado(**fields: Any) -> AlunoCadastrado:
    return AlunoCadastrado.model_validate(_aluno(fields))


def atualizado(**fields: Any) -> AlunoAtualizado:
    return AlunoAtualizado.model_validate(_aluno(fields))


def _aluno(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "aluno_id": ANA,
        "nome": "Ana Sá",
        "email": "ana@example.com",
        "origem": "csv",
        "data_matricula": datetime(2026, 2, 3, tzinfo=UTC),
        **fields,
    }


def audiences(event: Event) -> dict[str, frozenset[str] | None]:
    return {name: copy.fields for copy in views(event) for name in copy.audience}


def born(years_ago: int) -> str:
    today = datetime.now(UTC).date()
    return f"{today.year - years_ago:04}-{today.month:02}-{min(today.day, 28):02}"


def test_name_and_email_are_enough() -> None:
    ana = cadastrado()

    assert (ana.curso, ana.cpf, ana.valor_mensalidade, ana.data_nascimento) == (None,) * 4
    assert ana.aceita_marketing is False


@pytest.mark.parametrize("field", ["nome", "email"])
def test_without_name_or_email_nobody_is_a_student(field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        cadastrado(**{field: "  "})

    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("given", "kept"), [("497.501.283-97", "49750128397"), ("49750128397", "49750128397")]
)
def test_a_cpf_is_kept_as_its_digits(given: str, kept: str) -> None:
    assert cadastrado(cpf=given).cpf == kept


@pytest.mark.parametrize(
    "cpf", ["497.501.283-98", "123", "", "abc", "111.111.111-11", "00000000000"]
)
def test_a_cpf_that_cannot_be_is_refused_without_being_repeated(cpf: str) -> None:
    with pytest.raises(ValidationError) as caught:
        cadastrado(cpf=cpf)

    assert first_mistake(caught.value).startswith("data.cpf: ")
    assert cpf == "" or cpf not in first_mistake(caught.value)


@pytest.mark.parametrize("fee", ["10.505", "NaN", "Infinity"])
def test_a_fee_has_whole_centavos(fee: str) -> None:
    with pytest.raises(ValidationError):
        cadastrado(valor_mensalidade=fee)


def test_a_negative_fee_may_be_published() -> None:
    assert cadastrado(valor_mensalidade="-10.00").valor_mensalidade == Decimal("-10.00")


def test_a_date_of_enrolment_needs_its_offset() -> None:
    with pytest.raises(ValidationError):
        cadastrado(data_matricula="2026-02-03T10:00:00")


def test_bi_sees_no_name_no_address_and_no_cpf() -> None:
    assert set(AlunoParaBI.model_fields) == {"aluno_id", "data_matricula", "curso", "origem"}
    assert not {"nome", "email", "cpf", "contato"} & (audiences(atualizado())["bi"] or set())


def test_only_financeiro_sees_fee_and_cpf() -> None:
    seen = audiences(cadastrado(aceita_marketing=True))

    assert {"cpf", "valor_mensalidade"} <= set(AlunoParaFinanceiro.model_fields)
    assert [name for name, fields in seen.items() if fields and "cpf" in fields] == ["financeiro"]
    assert [name for name, fields in seen.items() if fields and "valor_mensalidade" in fields] == [
        "financeiro"
    ]


@pytest.mark.parametrize("event", [cadastrado(), atualizado()])
def test_consent_and_birthday_never_leave_the_producer(event: Event) -> None:
    assert not any(
        {"aceita_marketing", "data_nascimento"} & (fields or set())
        for fields in audiences(event).values()
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, False),
        ({"aceita_marketing": False}, False),
        ({"aceita_marketing": True}, True),
        ({"aceita_marketing": True, "data_nascimento": born(18)}, True),
        ({"aceita_marketing": True, "data_nascimento": born(30)}, True),
        ({"aceita_marketing": True, "data_nascimento": born(17)}, False),
        ({"aceita_marketing": True, "data_nascimento": "2020-02-29"}, False),
        ({"aceita_marketing": True, "data_nascimento": "2000-02-29"}, True),
    ],
)
def test_marketing_is_told_of_adults_who_agreed(fields: dict[str, Any], told: bool) -> None:
    assert ("marketing" in audiences(cadastrado(**fields))) is told
    assert (atualizado(**fields).contato is not None) is told


def test_a_withdrawn_consent_reaches_marketing_without_the_address() -> None:
    event = atualizado(aceita_marketing=False)
    view = AtualizadoParaMarketing.from_event(event)

    assert "marketing" in audiences(event)
    assert view.contato is None
    assert "ana" not in view.model_dump_json().replace("aluno_id", "").lower()


def test_a_contact_cannot_be_slipped_in_without_consent() -> None:
    contact = {"nome": "Ana Sá", "email": "ana@example.com"}

    assert atualizado(aceita_marketing=False, contato=contact).contato is None


def test_a_contact_is_the_student_as_known_now() -> None:
    contact = atualizado(aceita_marketing=True, email="nova@example.com", curso="ENEM").contato

    assert contact is not None
    assert contact.model_dump() == {"nome": "Ana Sá", "email": "nova@example.com", "curso": "ENEM"}


@pytest.mark.parametrize(
    ("event", "when"),
    [
        (MatriculaCancelada(aluno_id=ANA), "cancelada_em"),
        (AlunoEsquecido(aluno_id=ANA), "pedido_em"),
    ],
)
def test_what_everyone_hears_holds_whom_and_when_only(event: Event, when: str) -> None:
    assert audiences(event) == {"*": None}
    assert set(type(event).model_fields) == {"aluno_id", when}
    assert getattr(event, when).tzinfo is not None
