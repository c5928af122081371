"""Cells that people and programs spoiled, ids of what is published, reasons in two languages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, EmailStr, TypeAdapter, ValidationError

from messaging.codec import first_mistake
from messaging.csvfile import EventRow, Mapping, events_from
from messaging.event import Event, refusal
from tests.csvfile.files import Pupil, codes, opened, read
from tests.test_addresses import REMEMBERS

# Placeholders, errors and formulas


@pytest.mark.parametrize(
    "text", ["nan", "NaN", "None", "NULL", "n/a", "N/D", "<NA>", "-", "--", "—", "(vazio)"]
)
@pytest.mark.parametrize("field", ["nome", "curso"])
def test_a_word_that_means_nothing_is_not_published(text: str, field: str) -> None:
    other = "curso" if field == "nome" else "nome"
    good, (bad,), _ = read(f"{field};{other}\n{text};x\n")
    assert not good
    assert bad.column == field
    assert "means nothing: leave the cell empty" in bad.reason


def test_what_means_empty_can_be_said() -> None:
    content = "nome;curso;email;nascimento\nAna;-;NÃO TEM;não tem\n"
    (row,), bad, _ = read(content, empty=["-", "não tem"])
    assert not bad
    assert row.event.model_fields_set == {"nome"}
    _, (bad_row,), _ = read("nome;curso\n-;x\n", empty=["-"])
    assert bad_row.reason == "empty"


@pytest.mark.parametrize(
    "text", ["#N/D", "#REF!", "#N/A", "#VALOR!", "#NOME?", "#DIV/0!", "#NÚM!", "####", "#ref!"]
)
@pytest.mark.parametrize("field", ["curso", "mensalidade", "nascimento", "email", "aceita", "id"])
def test_an_error_of_the_spreadsheet_is_named_whatever_the_field(text: str, field: str) -> None:
    _, (bad,), _ = read(f"nome;{field}\nAna;{text}\n")
    assert bad.reason == "an error of the spreadsheet: correct the formula there"


@pytest.mark.parametrize(
    "text",
    ['=HYPERLINK("http://x.example")', "=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd", "'=1"],
)
def test_a_formula_is_a_bad_row(text: str) -> None:
    quoted = text.replace('"', '""')
    _, (bad,), _ = read(f'nome;curso\n"{quoted}";x\n')
    assert (bad.column, bad.reason) == ("nome", "a formula of a spreadsheet: write the text itself")


def test_a_telephone_number_is_no_formula_and_is_told() -> None:
    good, _, notices = read("nome;curso;mensalidade\nAna;'+55 (11) 91234-5678;-10,00\n")
    assert good[0].event.curso == "+55 (11) 91234-5678"
    assert codes(notices) == [("plus", (2,))]
    assert notices[0].column == "curso"


@pytest.mark.parametrize("text", ["1,23457E+10", "1.23457E+10", "1E+10", "1,2e+9"])
def test_a_number_that_excel_shortened_says_so(text: str) -> None:
    _, (bad,), _ = read(f'nome;curso\nAna;"{text}"\n')
    assert "Excel shortened a long number" in bad.reason
    assert text not in bad.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("joão@example.com", "an accented letter before the @"),
        ("ana@example.com, b@example.com", "not an e-mail address"),
        ("nao tem", "not an e-mail address"),
        ("ana@example", "not an e-mail address"),
    ],
)
def test_an_address_that_nobody_can_send_to_is_a_bad_row(text: str, said: str) -> None:
    _, (bad,), _ = read(f'nome;email\nAna;"{text}"\n')
    assert said in bad.reason
    assert text not in bad.reason


# Repeated rows and ids


def test_repeated_rows_are_told_and_keep_one_id() -> None:
    content = (
        "nome;email\nAna;a@example.com\nAna;A@example.com\nAna ;a@EXAMPLE.com\nAna;a@example.com\n"
    )
    good, _, notices = read(content)
    assert good[0].id == good[3].id
    assert codes(notices) == [("repeated", (5,))]
    assert "with the same data" in notices[0].text


def ids(content: str, **options: Any) -> list[str]:
    good, bad, _ = read(content, **options)
    assert not bad
    return [row.id for row in good]


def test_the_id_changes_when_what_is_published_changes() -> None:
    content = "nome;email;Mensalidade mensal\nAna;ana@example.com;890,00\n"
    without = ids(content)
    mapped = ids(content, columns={"Mensalidade mensal": "mensalidade"})
    assert without != mapped
    assert ids(content.replace("890,00", "900,00")) == without
    assert (
        ids(content.replace("890,00", "900,00"), columns={"Mensalidade mensal": "mensalidade"})
        != mapped
    )
    assert ids(content, defaults={"curso": "x"}) != without
    assert ids("nome;nascimento\nAna;05/03/2011\n", date_order="dmy") != ids(
        "nome;nascimento\nAna;05/03/2011\n", date_order="mdy"
    )
    assert ids("nome;curso\nx;Ana\n", columns={"nome": "curso", "curso": "nome"}) != ids(
        "nome;curso\nx;Ana\n"
    )


def test_the_same_data_has_the_same_id_however_it_is_written() -> None:
    one = ids("nome;email;mensalidade;x\nAna Sá;ana@example.com;1.890,50;1\n")
    assert one == ids(
        'E-mail,Nome,Mensalidade\nana@example.com,"Ana  Sá",1890.50\n'.replace("  ", " ")
    )
    assert one == ids("x;nome;email;mensalidade\n2; Ana Sa\u0301 ;ana@example.com;R$ 1.890,50\n")


def test_what_is_new_in_each_run_does_not_change_the_id() -> None:
    content = "nome\nAna\nBia\n"
    defaults = {"matricula": "@now", "id": "@uuid", "nascimento": "@today"}
    first, again = ids(content, defaults=defaults), ids(content, defaults=defaults)
    assert first == again
    assert len(set(first)) == 2
    assert ids(content, defaults={"curso": "@line"}) != ids(
        "\n" + content, defaults={"curso": "@line"}
    )


def test_ids_of_0_1_0_finish_a_run_that_was_begun_with_it() -> None:
    content = "nome;email\nAna;ana@example.com\nBia;\n"
    # As messaging 0.1.0 made them: of the type and of the trimmed cells, whatever they fill.
    assert ids(content, event_ids="cells") == [
        "4c815e32-c5cd-5eef-99ea-29bc9373749d",
        "8449c5c9-0b0a-5cba-9237-193402b38d47",
    ]
    with_more = ids(content, event_ids="cells", defaults={"curso": "x"})
    assert with_more == ids(content, event_ids="cells")


# Reasons


def _even(text: str) -> str:
    if len(text) % 2:
        raise refusal("even", "an even number of letters was expected", pt="esperado um número par")
    if text == "xxxx":
        raise ValueError(f"{text} is not wanted")
    return text


class Told(Event, type="told.things", version=1):
    par: Annotated[str, AfterValidator(_even)]
    origem: Literal["csv", "formulario"] | None = None
    quantos: int | None = None


def reason(content: str, language: Any) -> str:
    import io

    (row,) = events_from(io.BytesIO(content.encode()), Told, language=language)
    assert not isinstance(row, EventRow)
    return row.reason


def test_a_validators_message_is_told_where_it_is_declared_free_of_values() -> None:
    assert reason("par\nabc\n", "en") == "an even number of letters was expected"
    assert reason("par\nabc\n", "pt") == "esperado um número par"
    assert reason("par\nxxxx\n", "en") == "refused by its validator (value_error)"
    assert reason("par\nxxxx\n", "pt") == "recusado pelas regras deste campo"
    with pytest.raises(ValidationError) as caught:
        Told(par="abc")
    assert first_mistake(caught.value) == "data.par: an even number of letters was expected"


def test_reasons_are_in_the_readers_language() -> None:
    assert reason("par;origem\nab;fax\n", "pt") == "esperado 'csv' ou 'formulario'"
    assert reason("par;quantos\nab;x\n", "pt") == "não é um número inteiro"
    assert reason("par;quantos\n;x\n", "pt") == "vazio"
    content = "nome;email;nascimento;mensalidade;aceita\nAna;x;31/02/2011;dez;talvez\n"
    _, (bad,), _ = read(content, language="pt")
    assert bad.reason == (
        "essa data ou hora não existe (lida como dd/mm/aaaa) (também errado: mensalidade, aceita)"
    )
    _, (bad,), _ = read("nome;mensalidade\n" + "A" * 61 + ";1,234\n", language="pt")
    assert "1.234 pode ser um ou mil" in bad.reason
    _, (bad,), _ = read("nome\n" + "A" * 61 + "\n", language="pt")
    assert bad.reason == "longo demais: no máximo 60 caracteres"


def test_every_text_is_there_in_both_languages_with_the_same_values() -> None:
    import re

    from messaging.csvfile.file_texts import FILE_TEXTS
    from messaging.csvfile.row_texts import ROW_TEXTS

    for code, (english, portuguese) in {**ROW_TEXTS, **FILE_TEXTS}.items():
        values = [set(re.findall(r"\{(\w+)", text)) for text in (english, portuguese)]
        assert values[0] == values[1], code
        assert english
        assert portuguese


# The same validation, not done twice

_LOCAL = st.text("abcXYZ019._+-é\"' ", max_size=8)
_DOMAIN = st.sampled_from(
    "example.com EXAMPLE.com exa_mple.com x exämple.com xn--exmple-cua.com a..com -a.com a.com. "
    "localhost test a.invalid 1.2.3.4 [1.2.3.4]".split(" ")
)


@given(
    st.lists(st.tuples(_LOCAL | st.sampled_from(["Info", "info", "ABUSE"]), _DOMAIN), max_size=6)
)
def test_remembered_domains_change_nothing(addresses: list[tuple[str, str]]) -> None:
    validate = Pupil.model_validate_strings
    plain = TypeAdapter(EmailStr)
    for local, domain in addresses * 2:
        text = f"{local}@{domain}"
        try:
            expected: Any = plain.validate_strings(text)
        except ValidationError as error:
            expected = [one["msg"] for one in error.errors()]
        try:
            found: Any = validate({"nome": "x", "email": text}).email
        except ValidationError as error:
            found = [one["msg"] for one in error.errors()]
        assert found == expected


def test_a_domain_is_looked_at_once() -> None:
    import cProfile
    import pstats

    content = "nome;email\n" + "".join(f"A;a{n}@once.example.com\n" for n in range(200))
    with opened(content) as table, cProfile.Profile() as profile:
        assert sum(1 for _ in table) == 200
    calls = {
        name: count
        for (_, _, name), (count, *_) in pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]  # it has no types
    }
    assert calls["validate_email_domain_name"] == (1 if REMEMBERS else 200)
    assert calls["clean"] == 400


def test_the_mapping_is_checked_early() -> None:
    for wrong in ({"event_ids": "rows"}, {"header": "no"}, {"empty": "-"}):
        with pytest.raises(Exception, match=next(iter(wrong))):
            Mapping(**wrong)  # type: ignore[arg-type]  # that is what is tried
