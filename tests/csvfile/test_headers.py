"""Headers as people write them, and rows as programs cut them."""

from __future__ import annotations

import io

import pytest

from messaging.csvfile import read_rows
from messaging.errors import ConfigurationError
from tests.csvfile.files import codes, names, opened, read


@pytest.mark.parametrize(
    "header", ["E-mail", "e_mail", "E-MAIL:", "E mail *", "É-mail", "\u00a0E-mail\u00a0"]
)
def test_a_column_is_the_field_of_the_same_letters(header: str) -> None:
    good, _, _ = read(f"Nome:;{header}\nAna;ana@example.com\n")
    assert good[0].event.email == "ana@example.com"


@pytest.mark.parametrize(
    "columns",
    [
        {"nome": "firstname lastname"},
        {"firstname lastname": "nome"},
        {"First Name + Last-Name": "nome"},
        {"nome": "#1+#2"},
    ],
)
def test_first_and_last_name_are_joined(columns: dict[str, str]) -> None:
    content = "FirstName;Last name;curso\nAna;Teste;x\nBia;;y\n ;Souza;z\n"
    assert names(content, columns=columns) == ["Ana Teste", "Bia", "Souza"]


def test_names_of_two_words_are_joined_as_well() -> None:
    content = "Primeiro nome;Nome do meio;Sobrenome\nAna;Maria;Teste\n"
    columns = {"nome": "Primeiro nome Nome do meio Sobrenome"}
    assert names(content, columns=columns) == ["Ana Maria Teste"]


def test_a_joined_column_that_is_empty_is_named() -> None:
    _, (bad,), _ = read("a;b\n;\n;x\n".replace("x", "\ufffd"), columns={"nome": "a b"})
    assert (bad.line, bad.column) == (3, "b")


def test_titles_above_the_header_are_passed_over_and_told() -> None:
    content = "Escola Municipal;;\nRelatório de alunos, 2026;;\n\nNome;E-mail;Curso\nAna;;x\n"
    good, bad, notices = read(content)
    assert not bad
    assert [(row.line, row.event.nome) for row in good] == [(5, "Ana")]
    assert [notice.text for notice in notices] == [
        "the header is line 4: the lines above it were skipped"
    ]


def test_a_title_may_be_called_like_one_field() -> None:
    content = "Curso\nInglês\nNome,E-mail,Curso\nAna,ana@example.com,x\n"
    (row,), _, _ = read(content, columns={"Nome": "nome"})
    assert row.event.email == "ana@example.com"


def test_a_title_with_another_delimiter_in_it_does_not_decide() -> None:
    assert names("Alunos, turmas, cursos, e-mails\nnome;email\nAna;\n") == ["Ana"]


def test_two_columns_of_one_name_are_told_apart_by_their_place() -> None:
    content = "nome;email;nome;fone;fone\nAna;;Mãe;1;2\n"
    with pytest.raises(ConfigurationError, match=r"'nome' twice \(columns 1, 3\).*'#1=nome'"):
        opened(content)
    assert names(content, columns={"#1": "nome"}) == ["Ana"]
    assert names(content, columns={"nome#2": "nome"}) == ["Mãe"]
    (row,), _, _ = read(content, columns={"#1": "nome", "fone#2": "curso"})
    assert row.event.curso == "2"


@pytest.mark.parametrize("place", ["#0", "#6", "nome#3", "#"])
def test_a_place_that_is_not_there_is_told(place: str) -> None:
    with pytest.raises(ConfigurationError, match="has no column"):
        opened("nome;email;nome\nAna;;Mãe\n", columns={place: "curso", "#1": "nome"})


def test_a_file_without_header_is_mapped_by_place() -> None:
    content = "Ana;ana@example.com;Inglês\nBia;;x\n"
    good, _, _ = read(content, header=False, columns={"#1": "nome", "#2": "email"})
    assert [(row.line, row.event.nome, row.event.email) for row in good] == [
        (1, "Ana", "ana@example.com"),
        (2, "Bia", None),
    ]
    with pytest.raises(ConfigurationError, match="no column for nome"):
        opened(content, header=False)
    with pytest.raises(ConfigurationError, match=r"is no header.*--no-header") as caught:
        opened(content, columns={"#1": "nome"})
    assert "ana@" not in str(caught.value)


@pytest.mark.parametrize("said", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;", "\ufeffsep=;"])
def test_excels_own_line_names_the_delimiter_in_quotes_or_not(said: str) -> None:
    (row,), _, _ = read(f"{said}\r\nnome;curso\r\nAna;a,b\r\n")
    assert (row.line, row.event.curso) == (3, "a,b")


def test_short_rows_that_excel_cut_are_filled_up_and_told() -> None:
    good, (bad,), notices = read("curso;nome;email;aceita\nx;Ana\ny;Bia;\nz\n")
    assert [row.event.nome for row in good] == ["Ana", "Bia"]
    assert (bad.line, bad.reason) == (4, "1 cell where the header has 4")
    assert codes(notices) == [("short", (2, 3))]
    with read_rows(io.BytesIO(b"a;b\n1\n")) as rows:
        assert [row.fault for row in rows] == ["1 cell where the header has 2"]


def test_long_rows_are_bad_and_say_how_long() -> None:
    _, (bad,), _ = read("nome;email;fone;\nAna;;1;;\nBia;;1;2;3\n")
    assert (bad.line, bad.reason) == (3, "5 cells where the header has 3")


def test_the_header_once_more_is_a_bad_row_by_its_name() -> None:
    good, bad, _ = read("Nome;E-mail\nAna;\nNome;E-mail\nNOME ; e-mail\nBia;\n")
    assert [row.line for row in good] == [2, 5]
    assert [(row.line, row.reason) for row in bad] == [
        (3, "the header, once more"),
        (4, "the header, once more"),
    ]


def test_two_files_that_were_put_together_have_their_headers_once_more() -> None:
    content = "\ufeffnome;email\nAna;a@example.com\n"
    good, (bad,), _ = read(content + content)
    assert [row.line for row in good] == [2, 4]
    assert (bad.line, bad.reason) == (3, "the header, once more")


def test_rows_with_another_delimiter_than_the_header_say_so() -> None:
    _, bad, _ = read("nome,email\nAna;ana@example.com\n")
    assert bad[0].reason == "its cells are separated by ;, and the header's by ,"
    _, bad, _ = read("nome;email;curso\nAna\tana@example.com\tx\n", language="pt")
    assert bad[0].reason == (
        "as células desta linha são separadas por tabulação, e as do cabeçalho por ;"
    )


def test_lines_that_are_quoted_as_a_whole_say_how_it_came() -> None:
    with pytest.raises(ConfigurationError, match=r"whole line is in quotation marks.*Excel"):
        opened('"nome;email"\n"Ana;ana@example.com"\n')
    _, (bad,), _ = read('nome;email\n"Ana;ana@example.com"\n')
    assert "whole line is in quotation marks" in bad.reason


def test_cells_of_two_delimiters_make_no_address() -> None:
    with pytest.raises(ConfigurationError):
        opened("nome\temail;x\nAna\tana@example.com;1\n", columns={"e-mail": "email"})
