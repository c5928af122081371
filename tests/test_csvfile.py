"""Rows of a CSV file to events: files as they come, and bad rows that say where and why."""

from __future__ import annotations

import csv
import io
import stat
import tracemalloc
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, AwareDatetime, EmailStr, Field, NaiveDatetime

from messaging.csvfile import BadRow, BadRows, EventRow, Mapping, Row, events_from, read_rows
from messaging.errors import ConfigurationError
from messaging.event import Event


def _even(value: int) -> int:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value


class Pessoa(Event, type="pessoa.vista", version=1):
    nome: Annotated[str, Field(min_length=1)]
    email: EmailStr | None = None


class Tudo(Event, type="tudo", version=1):
    nome: str | None = None
    quando: AwareDatetime | None = None
    local: NaiveDatetime | None = None
    dia: Annotated[date, Field(description="a day")] | None = None
    valor: Annotated[Decimal, Field(decimal_places=2)] | None = None
    taxa: float | None = None
    par: Annotated[int, AfterValidator(_even)] | None = None
    sim: bool | None = None
    id: UUID | None = None
    origem: Literal["csv", "formulario"] | None = None


class Clock:
    def now(self) -> float:
        return 1_769_742_000.0  # 2026-01-30 03:00 UTC, midnight in São Paulo

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


def rows(content: bytes | str) -> list[Row]:
    return list(read_rows(io.BytesIO(content.encode() if isinstance(content, str) else content)))


def cells(content: bytes | str) -> list[tuple[str, ...]]:
    found = rows(content)
    assert not [row for row in found if row.fault]
    return [row.cells for row in found]


def table(content: bytes | str, event: type[Event] = Pessoa, **mapping: Any) -> list[Any]:
    source = io.BytesIO(content.encode() if isinstance(content, str) else content)
    return list(events_from(source, event, Mapping(**mapping), clock=Clock()))


def value(field: str, text: str, **mapping: Any) -> Any:
    (row,) = table(f'{field};nome\n"{text}";x\n', Tudo, **mapping)
    assert isinstance(row, EventRow), row
    return getattr(row.event, field)


def reason(field: str, text: str, **mapping: Any) -> str:
    (row,) = table(f'{field};nome\n"{text}";x\n', Tudo, **mapping)
    assert isinstance(row, BadRow)
    assert (row.line, row.column) == (2, field)
    assert text not in row.reason
    return row.reason


# Files as they come


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_the_delimiter_is_counted_in_the_header(delimiter: str) -> None:
    other = "," if delimiter == ";" else ";"
    content = f'nome#"a{other}{other}{other}b"#c\nAna#1{other}5#2\n'
    assert cells(content.replace("#", delimiter)) == [("Ana", f"1{other}5", "2")]


def test_excels_own_line_names_the_delimiter() -> None:
    assert rows("sep=|\nnome|valor;x,y;z\nAna|2\n") == [Row(3, ("Ana", "2"))]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_of_every_system(end: str, last: bool) -> None:
    content = end.join(["nome;email", "Ana;a", "Bia;b"]) + (end if last else "")
    assert rows(content) == [Row(2, ("Ana", "a")), Row(3, ("Bia", "b"))]


def test_each_line_has_its_own_encoding() -> None:
    lines = [
        b"\xef\xbb\xbfnome;curso",
        "João;Inglês".encode(),
        "Conceição;Técnico – ENEM €".encode("cp1252"),
        b"Ana;x",
    ]
    assert cells(b"\r\n".join(lines)) == [
        ("João", "Inglês"),
        ("Conceição", "Técnico – ENEM €"),
        ("Ana", "x"),
    ]


def test_a_quoted_cell_holds_line_breaks_in_either_encoding() -> None:
    content = b'nome;obs\n"Jo\xc3\xa3o";"Rua A\r\nn\xba 5"\nAna;x\n'
    assert rows(content) == [Row(2, ("João", "Rua A\r\nnº 5")), Row(4, ("Ana", "x"))]


def test_blank_lines_and_lines_of_delimiters_are_passed_over_and_counted() -> None:
    content = "\n\nnome;email\n\nAna;a\n;\n  ; \nBia;b\n\n"
    assert rows(content) == [Row(5, ("Ana", "a")), Row(8, ("Bia", "b"))]


def test_a_delimiter_at_the_end_of_the_line_is_tolerated() -> None:
    assert cells("nome;email;\nAna;a;\nBia;b\nCaio;c;;;\n") == [
        ("Ana", "a"),
        ("Bia", "b"),
        ("Caio", "c"),
    ]


def test_rows_of_another_width_are_bad() -> None:
    assert rows("nome;email\nAna\nBia;b;x\nCaio;c\n") == [
        Row(2, ("Ana",), "1 cell where the header has 2"),
        Row(3, ("Bia", "b", "x"), "3 cells where the header has 2"),
        Row(4, ("Caio", "c")),
    ]


def test_an_open_quotation_mark_costs_its_own_row_only() -> None:
    many = "".join(f"Ana {number};a\n" for number in range(300))
    found = rows(f'nome;email\n"Bia;b\n{many}Caio;"c" x\nDora;d\n"Eva;e\nFlora;f')
    bad = [(row.line, row.cells) for row in found if row.fault]
    assert bad == [(2, ('"Bia;b',)), (303, ('Caio;"c" x',)), (305, ('"Eva;e',))]
    assert all("quotation mark" in row.fault for row in found if row.fault)
    good = [(row.line, row.cells[0]) for row in found if not row.fault]
    assert good == [
        *((number + 3, f"Ana {number}") for number in range(300)),
        (304, "Dora"),
        (306, "Flora"),
    ]


def test_bytes_that_mean_nothing_cost_their_own_row_only() -> None:
    found = rows(b"nome;email\nA\x81;a\nBia;b\n")
    assert found == [
        Row(2, ("A\ufffd;a",), "neither UTF-8 nor Windows-1252"),
        Row(3, ("Bia", "b")),
    ]


def test_a_line_without_end_is_a_bad_row_in_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        """Forty megabytes in one line, then a good row."""

        def __init__(self) -> None:
            self.left = [b"nome;email\n", *[b"x" * 65_536] * 640, b"\nBia;b\n"]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if not self.left:
                return 0
            part, rest = self.left[0][: len(buffer)], self.left[0][len(buffer) :]
            self.left[:1] = [rest] if rest else []
            buffer[: len(part)] = part
            return len(part)

    tracemalloc.start()
    try:
        found = list(read_rows(io.BufferedReader(Endless())))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found[0].line, found[0].fault) == (2, "longer than 65,536 characters")
    assert found[1:] == [Row(3, ("Bia", "b"))]
    assert peak < 4_000_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    with path.open("w") as file:
        file.write("nome;email\n")
        file.writelines(f"Ana {number};ana{number}@example.com\n" for number in range(20_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path)) == 20_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300_000 < path.stat().st_size


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"PK\x03\x04\x14\x00", "zip file that is damaged"),
        (b'nome;"email\nAna;a\n', "quotation mark"),
        (b"nome;\x81\nAna;a\n", "neither UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused_before_the_first_row(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "alunos.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"^alunos\.csv.*{said}"):
        read_rows(path)


def test_it_tells_how_far_it_has_read(tmp_path: Path) -> None:
    path = tmp_path / "alunos.csv"
    path.write_bytes("\ufeffnome;email\r\nJoão;a\r\nBia;b".encode())
    with read_rows(path) as found:
        assert found.size == path.stat().st_size
        assert found.position == len("\ufeffnome;email\r\n".encode())
        assert len(list(found)) == 2
        assert found.position == found.size
    assert read_rows(io.BytesIO(b"nome\n")).size is None


def test_a_file_of_the_caller_stays_open() -> None:
    stream = io.BytesIO(b"nome\nAna\n")
    with read_rows(stream) as found:
        assert list(found) == [Row(2, ("Ana",))]
    assert not stream.closed


_CELL = st.text(
    st.characters(
        codec="utf-8", exclude_characters="\x00\x85\u2028\u2029", exclude_categories=["Cs"]
    )
)


@given(st.lists(st.tuples(_CELL, _CELL, st.just("x")), max_size=8), st.sampled_from(";,\t|"))
def test_what_a_csv_writer_writes_is_read_back(
    written: list[tuple[str, str, str]], delimiter: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([("a", "b", "c"), *written])
    assert cells(text.getvalue()) == written


# Cells


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15/03/2024", "2024-03-15T00:00:00-03:00"),
        ("5/3/2024", "2024-03-05T00:00:00-03:00"),
        ("15-03-2024", "2024-03-15T00:00:00-03:00"),
        ("15.03.2024 9:05", "2024-03-15T09:05:00-03:00"),
        ("15/03/2024 14:30:59", "2024-03-15T14:30:59-03:00"),
        ("2024-03-15", "2024-03-15T00:00:00-03:00"),
        ("2024-03-15 14:30", "2024-03-15T14:30:00-03:00"),
        ("2024-03-15T14:30:00Z", "2024-03-15T14:30:00+00:00"),
        ("2024-03-15T14:30:00+05:30", "2024-03-15T14:30:00+05:30"),
        ("15/01/2018 12:00", "2018-01-15T12:00:00-02:00"),  # daylight saving time, as it was
    ],
)
def test_moments(text: str, expected: str) -> None:
    moment = value("quando", text)
    assert isinstance(moment, datetime)
    assert moment.isoformat() == expected


def test_moments_are_in_the_zone_of_the_mapping() -> None:
    assert value("quando", "15/03/2024", timezone="America/Manaus").utcoffset().total_seconds() == (
        -4 * 3600
    )
    assert value("local", "15/03/2024 10:00") == datetime.fromisoformat("2024-03-15T10:00")
    assert "without an offset" in reason("local", "2024-03-15T10:00:00Z")


@pytest.mark.parametrize("text", ["15/03/2024", "2024-03-15", "15/03/2024 00:00"])
def test_days(text: str) -> None:
    assert value("dia", text) == date(2024, 3, 15)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("31/02/2024", "no such date"),
        ("13/13/2024", "no such date"),
        ("15/03/24", "a year of two digits"),
        ("2024", "not a date"),
        ("45366", "as Excel counts it"),
        ("15/03-2024", "not a date"),
        ("15/03/2024 10:00", "without a time"),
        ("2024-03-15T25:00", "no such date"),
        ("hoje", "not a date"),
        ("١٥/٠٣/٢٠٢٤", "not a date"),
    ],
)
def test_what_is_no_day(text: str, said: str) -> None:
    assert said in reason("dia", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.234,56", "1234.56"),
        ("1234,56", "1234.56"),
        ("1,234.56", "1234.56"),
        ("1234.56", "1234.56"),
        ("R$ 1.234,56", "1234.56"),
        ("R$\u00a0450,00", "450"),
        ("r$450", "450"),
        ("-10,00", "-10"),
        ("R$ -10,00", "-10"),
        ("-R$ 10,00", "-10"),
        ("\u221210,00", "-10"),
        ("+10", "10"),
        ("1.234.567,8", "1234567.8"),
        ("0,5", "0.5"),
        ("0.125", "0.125"),
        ("450", "450"),
    ],
)
def test_numbers(text: str, expected: str) -> None:
    if expected == "0.125":
        assert value("taxa", text) == float(expected)
    else:
        assert value("valor", text) == Decimal(expected)
        assert value("taxa", text) == float(expected)


@pytest.mark.parametrize(
    "text", ["1.2.3,4", "1.23,4", "a combinar", "--1", "1-", "R$", "1e5", "NaN"]
)
def test_what_is_no_number(text: str) -> None:
    assert "not a number" in reason("valor", text)
    assert "not a number" in reason("taxa", text)


@pytest.mark.parametrize("text", ["1.234", "1,234", "-R$ 1.234"])
def test_a_number_that_may_be_a_thousand_times_another_is_not_guessed(text: str) -> None:
    (row,) = table(f'valor\n"{text}"\n', Tudo)
    assert "may be one or a thousand" in row.reason
    comma, dot = (value("taxa", text, decimal_comma=said) for said in (True, False))
    assert {abs(comma), abs(dot)} == {1234.0, 1.234}


def test_the_decimal_comma_can_be_said() -> None:
    assert value("valor", "1.234", decimal_comma=True) == 1234
    assert reason("valor", "1234.5", decimal_comma=True) == "not a number: write 1.234,56"
    assert reason("valor", "1.234,5", decimal_comma=False) == "not a number: write 1,234.56"


@pytest.mark.parametrize("text", ["sim", "S", "Verdadeiro", "TRUE", "yes", "1", " sim "])
def test_yes(text: str) -> None:
    assert value("sim", text) is True


@pytest.mark.parametrize("text", ["não", "NAO", "Não", "n", "falso", "false", "0", "na\u0303o"])
def test_no(text: str) -> None:
    assert value("sim", text) is False


@pytest.mark.parametrize("text", ["talvez", "2", "-", "ok"])
def test_neither_yes_nor_no(text: str) -> None:
    assert "neither yes nor no" in reason("sim", text)


def test_an_empty_cell_is_absent() -> None:
    (row,) = table('nome;quando;valor;sim\nx; ;" ";\u00a0\n', Tudo)
    assert row.event.model_fields_set == {"nome"}


def test_a_formula_that_was_disarmed_is_itself_again() -> None:
    found = table("nome;valor\n'+55 10;'-10,00\n'+55 11;5\n'Ana';5\n", Tudo)
    assert [(row.event.nome, row.event.valor) for row in found] == [
        ("+55 10", -10),
        ("+55 11", 5),
        ("'Ana'", 5),
    ]


def test_a_control_character_is_a_bad_row_rather_than_a_refusal_by_sns() -> None:
    (row,) = table("nome;email\nA\x0bna;\n")
    assert (row.column, row.reason) == ("nome", "holds the control character U+000B")


# Columns


def test_columns_match_without_case_accents_and_kind_of_space() -> None:
    (row,) = table("  NÔME ;E-mail\nAna;a@example.com\n", columns={"e mail": "email"})
    assert row.event == Pessoa(nome="Ana", email="a@example.com")


def test_a_mapped_column_goes_before_one_that_is_called_like_the_field() -> None:
    source = io.BytesIO(b"nome;nome social\nAna;Bia\n")
    found = events_from(source, Pessoa, Mapping(columns={"Nome Social": "nome"}))
    assert found.ignored == ("nome",)
    (row,) = found
    assert isinstance(row, EventRow)
    assert row.event.nome == "Bia"


def test_columns_that_fill_nothing_are_told() -> None:
    source = io.BytesIO(b"nome;sexo;turma;cidade\nAna;f;1;X\n")
    found = events_from(source, Pessoa, Mapping(defaults={"nome": "@uuid:turma"}))
    assert found.ignored == ("sexo", "cidade")
    assert (found.header, found.delimiter) == (("nome", "sexo", "turma", "cidade"), ";")


@pytest.mark.parametrize(
    ("content", "mapping", "said"),
    [
        (
            "email\n",
            {},
            "no column for nome, which Pessoa needs: map a column .* columns are email",
        ),
        (
            "fone\n",
            {"defaults": {"email": "@uuid:nome"}},
            "no column for nome, which Pessoa needs",
        ),
        ("nome\n", {"columns": {"fone": "nome"}}, "has no column 'fone'.* are nome"),
        ("nome\n", {"columns": {"nome": "name"}}, "'name', which is not a field of Pessoa.* nome"),
        ("a;b\n", {"columns": {"a": "nome", "b": "nome"}}, "two columns .* 'nome'"),
        ("nome;Nome\n", {}, "the column 'nome' twice"),
        ("nome\n", {"defaults": {"curso": "x"}}, "default is given for 'curso', which is not"),
        ("nome\n", {"defaults": {"email": "@hoje"}}, "default of email: '@hoje' is not known"),
        ("nome\n", {"defaults": {"email": "@uuid:cpf"}}, "made of 'cpf', which is not one column"),
    ],
)
def test_a_header_that_does_not_fit_is_told_before_the_first_row(
    content: str, mapping: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "alunos.csv"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        events_from(path, Pessoa, Mapping(**mapping))


def test_a_default_that_cannot_be_is_told_before_the_first_row() -> None:
    with pytest.raises(ConfigurationError, match="default of valor: not a number"):
        table("nome\nAna\n", Tudo, defaults={"valor": "caro"})
    with pytest.raises(ConfigurationError, match=r"defaults\.nome: a text"):
        Mapping(defaults={"nome": ["x"]})


# Defaults


def test_a_default_fills_what_is_missing_or_empty() -> None:
    defaults = {"valor": "1.000,50", "sim": True}
    one, other = table("nome;valor\na;5\nb; \n", Tudo, defaults=defaults)
    assert (one.event.valor, one.event.sim) == (5, True)
    assert (other.event.valor, other.event.sim) == (Decimal("1000.50"), True)


def test_generated_defaults() -> None:
    defaults = {"quando": "@now", "dia": "@today", "nome": "@line", "id": "@uuid"}
    one, other = table("par\n2\n\n4\n", Tudo, defaults=defaults)
    assert one.event.quando.isoformat() == "2026-01-30T00:00:00-03:00"
    assert one.event.dia == date(2026, 1, 30)
    assert (one.event.nome, other.event.nome) == ("2", "4")
    assert one.event.id.version == 4
    assert one.event.id != other.event.id
    (row,) = table("par\n2\n", Tudo, defaults={"nome": "@@home"})
    assert row.event.nome == "@home"


def test_the_same_person_gets_the_same_id() -> None:
    content = (
        "E-mail;n;par\nAna@Example.com;Ana;2\n ana@example.com ;ANA;4\nbia@example.com;Ana;6\n"
    )
    mapping: dict[str, Any] = {"columns": {"e-mail": "nome"}}
    first = table(content, Tudo, **mapping, defaults={"id": "@uuid:e-mail+n"})
    again = table(content, Tudo, **mapping, defaults={"id": "@uuid:nome + n"})
    ids = [row.event.id for row in first]
    assert ids == [row.event.id for row in again]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].version == 5


def test_an_id_is_never_made_of_nothing() -> None:
    (row,) = table("nome;par\n;2\n", Tudo, defaults={"id": "@uuid:nome"})
    assert (row.column, row.reason) == ("id", "nothing to make an id of: nome is empty")


# Rows


def test_publishing_the_file_twice_gives_the_same_event_ids() -> None:
    content = "nome;email\nAna;a@example.com\nBia;\n"
    first, second = table(content)
    in_windows = table(content.replace("\n", "\r\n").replace(";", ","))
    assert first.id != second.id
    assert [first.id, second.id] == [row.id for row in in_windows]
    (other,) = table("nome\nAna\n", Tudo)
    (same_cells,) = table("nome\nAna\n")
    assert other.id != same_cells.id
    assert [UUID(row.id).version for row in (first, second)] == [5, 5]


def test_a_bad_row_names_line_column_and_reason_and_never_the_value() -> None:
    found = table(
        "Nome;Correio;par;x\nAna;a@example.com;2;\n;secreto;3;\nBia;secreto;2;\n",
        type(
            "Mais",
            (Pessoa,),
            {"__annotations__": {"par": Annotated[int, AfterValidator(_even)]}},
            type="mais",
            version=1,
        ),
        columns={"Correio": "email"},
    )
    good, empty, bad = found
    assert good.line == 2
    assert empty == BadRow(3, "Nome", "empty", ("", "secreto", "3", ""))
    assert bad == BadRow(4, "Correio", "not an e-mail address", ("Bia", "secreto", "2", ""))
    assert "secreto" not in repr(bad)
    assert "Ana" not in repr(good)


def test_every_column_that_is_wrong_is_named() -> None:
    (row,) = table("valor;dia;sim\nx;x;x\n", Tudo)
    assert row.column == "valor"
    assert row.reason.endswith("(also wrong: dia, sim)")
    (row,) = table("valor;origem;par\n1,999;fax;3\n", Tudo, decimal_comma=True)
    assert row.column == "valor"
    assert "2 decimal places (also wrong: par, origem)" in row.reason


def test_the_text_of_a_validators_exception_is_not_told() -> None:
    assert reason("par", "30001") == "refused by its validator (value_error)"
    assert reason("origem", "fax") == "input should be 'csv' or 'formulario'"


def test_bad_rows_do_not_keep_the_good_ones_back() -> None:
    found = table(b'nome;email\n"Ana;x\nBia;b@example.com\nC\x81;\nDora\nEva;\n')
    assert [type(row).__name__ for row in found] == [
        "BadRow",
        "EventRow",
        "BadRow",
        "EventRow",
        "EventRow",
    ]
    assert [row.line for row in found] == [2, 3, 4, 5, 6]


def test_the_events_alone_with_their_ids_for_publish_many(tmp_path: Path) -> None:
    path = tmp_path / "alunos.csv"
    path.write_text("nome;email\nAna;\nBia;x\nCaio;\n")
    bad: list[BadRow] = []
    with events_from(path, Pessoa) as found:
        seen = [(event.nome, found.id_of(event)) for event in found.events(on_bad=bad.append)]
        with pytest.raises(ConfigurationError, match="gave last"):
            found.id_of(Pessoa(nome="Ana"))
    expected = [row for row in events_from(path, Pessoa) if isinstance(row, EventRow)]
    assert seen == [(row.event.nome, row.id) for row in expected]
    assert [row.line for row in bad] == [3]


# The map


def test_a_map_from_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "mapeamento.toml"
    path.write_text(
        'timezone = "America/Manaus"\ndecimal_comma = true\n'
        '[columns]\n"Nome completo" = "nome"\n'
        "[defaults]\nsim = false\npar = 2\nvalor = 1.50\nquando = 2024-03-15\n"
    )
    assert Mapping.load(path) == Mapping(
        columns={"Nome completo": "nome"},
        defaults={"sim": "false", "par": "2", "valor": "1.50", "quando": "2024-03-15"},
        timezone="America/Manaus",
        decimal_comma=True,
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[columns\n", "not TOML: .*line 1"),
        ("[colunas]\n", "nobody reads colunas; known are columns, defaults, timezone"),
        ("columns = 3\n", "columns: a table"),
        ("[columns]\nnome = ['x']\n", r"columns\.nome: a text"),
        ("timezone = 'Brasil'\n", "timezone='Brasil' is not known"),
        ("timezone = 3\n", "timezone: a text"),
        ("decimal_comma = 'talvez'\n", "decimal_comma='talvez'"),
    ],
)
def test_a_map_that_cannot_be_names_file_and_mistake(
    content: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "mapeamento.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"^mapeamento\.toml: {said}"):
        Mapping.load(path)


def test_the_command_line_goes_before_the_file() -> None:
    given = Mapping(columns={"Nome": "nome", "Fone": "fone"}, defaults={"a": "1", "b": "2"})
    merged = given.merged(
        columns={"nome social": "nome", "FONE": "celular"}, defaults={"b": "3"}, timezone="UTC"
    )
    assert merged == Mapping(
        columns={"nome social": "nome", "FONE": "celular"},
        defaults={"a": "1", "b": "3"},
        timezone="UTC",
    )
    assert given.merged() == given


# The side file


def test_the_side_file_is_made_for_the_first_bad_row_and_for_its_owner_only(
    tmp_path: Path,
) -> None:
    path = BadRows.beside(tmp_path / "alunos.csv")
    assert path.name == "alunos.rejeitados.csv"
    path.write_text("of an earlier run, and longer than what is written now")
    path.chmod(0o644)
    with BadRows(path, ("nome", "email")) as rejected:
        assert path.read_text().startswith("of an earlier run")
        rejected.write(BadRow(3, "email", "not an e-mail address", ("João", "x;y", "a mais")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rejected.count == 1
    assert (
        path.read_bytes()
        == (
            "\ufefflinha;coluna;motivo;nome;email\r\n"
            '3;email;not an e-mail address;João;"x;y";a mais\r\n'
        ).encode()
    )
    with BadRows(tmp_path / "none.csv", ("nome",)):
        pass
    assert not (tmp_path / "none.csv").exists()


def test_it_is_not_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("as it was")
    (tmp_path / "bad.csv").symlink_to(target)
    with pytest.raises(OSError, match=r"bad\.csv"), BadRows(tmp_path / "bad.csv", ()) as rejected:
        rejected.write(BadRow(1, "", "x", ()))
    assert target.read_text() == "as it was"


@pytest.mark.parametrize("cell", ["=1+1", "+55 11", "-10,00", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_is_a_formula_to_a_spreadsheet(cell: str, tmp_path: Path) -> None:
    with BadRows(tmp_path / "bad.csv", ("=nome",)) as rejected:
        rejected.write(BadRow(2, cell, "x", (cell,)))
    with (tmp_path / "bad.csv").open(encoding="utf-8-sig", newline="") as file:
        header, row = csv.reader(file, delimiter=";")
    assert header[3] == "'=nome"
    assert (row[1], row[3]) == ("'" + cell, "'" + cell)


def test_the_corrected_side_file_can_be_published(tmp_path: Path) -> None:
    source = io.BytesIO(b"nome;valor;dia\n+55 11;-10,00;31/02/2024\n")
    found = events_from(source, Tudo)
    path = tmp_path / "bad.csv"
    with BadRows(path, found.header, delimiter=found.delimiter) as rejected:
        assert list(found.events(on_bad=rejected.write)) == []
    path.write_bytes(path.read_bytes().replace(b"31/02", b"29/02"))
    with events_from(path, Tudo) as corrected:
        assert corrected.ignored == ("linha", "coluna", "motivo")
        (row,) = corrected
    assert isinstance(row, EventRow)
    assert row.event == Tudo(nome="+55 11", valor=Decimal(-10), dia=date(2024, 2, 29))


PERSON = (
    "Zuleica Souza;zuleica@example.org;497.501.283-97;01/02/2003;1.234,56;"
    "2b1f8e6c-0d3c-4a57-9d0a-3a1f9b5c7e11"
)


@pytest.mark.parametrize(
    ("first", "like"),
    [
        (PERSON, "column 2 looks like an e-mail address, column 3 looks like a CPF, column 4"),
        ("Ana;49750128397", "column 2 looks like a CPF"),
        ("Ana;+55 (11) 91234-5678", "column 2 looks like a telephone number"),
        ("Ana;R$ 450,00", "column 2 looks like a number"),
        ("Ana;2026-02-03", "column 2 looks like a date"),
        ("Ana;2b1f8e6c-0d3c-4a57-9d0a-3a1f9b5c7e11", "column 2 looks like a UUID"),
    ],
)
def test_a_file_without_header_is_refused_and_its_first_person_stays_unnamed(
    first: str, like: str, tmp_path: Path
) -> None:
    file = tmp_path / "alunos.csv"
    file.write_text(f"{first}\n{first}\n")
    with pytest.raises(ConfigurationError) as caught:
        events_from(file, Pessoa)
    said = str(caught.value)
    assert said.startswith("alunos.csv: its first line is no header")
    assert like in said
    assert "write the names of the columns as the first line of the file" in said
    for cell in first.split(";"):
        assert cell not in said


@pytest.mark.parametrize(
    "mapping",
    [
        Mapping(),
        Mapping(columns={"Nome": "nome"}),
        Mapping(columns={"Aluno": "nome"}),
        Mapping(defaults={"nome": "@uuid:cpf"}),
    ],
    ids=["nothing", "columns", "more columns", "a default"],
)
def test_names_that_may_be_somebodys_are_not_told(mapping: Mapping, tmp_path: Path) -> None:
    file = tmp_path / "alunos.csv"
    file.write_text("Zuleica Souza;Direito\nBia Lima;Letras\n")
    with pytest.raises(ConfigurationError) as caught:
        events_from(file, Pessoa, mapping)
    assert "Zuleica" not in str(caught.value)
    assert "columns are not shown (2, and none has a name that is known" in str(caught.value)


def test_a_header_with_dates_for_names_is_one_where_another_name_is_known() -> None:
    source = io.BytesIO(b"nome;01/02/2026;08/02/2026\nAna;x;\n")
    with events_from(source, Pessoa) as found:
        assert found.ignored == ("01/02/2026", "08/02/2026")
        assert isinstance(next(found), EventRow)
    with pytest.raises(ConfigurationError, match=r"are email, \(one that looks like a date"):
        events_from(io.BytesIO(b"email;01/02/2026\na@b.org;x\n"), Pessoa)
