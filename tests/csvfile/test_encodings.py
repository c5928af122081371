"""Encodings as files have them: read right, refused or told, and never garbled in silence."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.csvfile import EventRow, Mapping, events_from
from messaging.errors import ConfigurationError
from tests.csvfile.files import Pupil, codes, names, read

SCHOOL = (
    "João Conceição",
    "CONCEIÇÃO DE MARIA",
    "Márcia Araújo",
    "José Antônio",
    "Camões Simões",
    "LÚCIA ÂNGELA",
    "IRMÃ JOANA",
    "Ítalo Índio",
    "Paraná",
    "avô à tarde",
    "MARÍLIA",
    "Müller",
)


def lines(encoding: str, *texts: str, header: str = "nome") -> bytes:
    return "".join(f"{text}\r\n" for text in (header, *texts)).encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "cp850", "mac_roman"])
def test_a_file_in_one_encoding_keeps_every_accent(encoding: str) -> None:
    assert names(lines(encoding, *SCHOOL)) == list(SCHOOL)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_text_of_excel_is_read_with_and_without_its_mark(encoding: str) -> None:
    text = "nome\tcurso\r\nJoão Teste\tInglês\r\nZoë Teste\t5º Ano\r\n"
    raw = text.encode(encoding)
    good, bad, _ = read(raw)
    assert not bad
    assert [(row.event.nome, row.event.curso) for row in good] == [
        ("João Teste", "Inglês"),
        ("Zoë Teste", "5º Ano"),
    ]
    if encoding == "utf-16-be":
        assert names(b"\xfe\xff" + raw) == ["João Teste", "Zoë Teste"]


def test_half_a_character_of_utf_16_is_a_letter_lost() -> None:
    raw = "\ufeffnome\nAna\n".encode("utf-16-le") + b"\x00\xd8B\x00\n\x00"
    good, (bad,), _ = read(raw)
    assert [row.event.nome for row in good] == ["Ana"]
    assert (bad.line, bad.column) == (3, "nome")
    assert "a letter was lost" in bad.reason


def test_two_encodings_in_one_line_are_read_part_by_part() -> None:
    raw = b"nome;curso\n" + "João;".encode("cp1252") + "5º Ano B\nAna;5º Ano B\n".encode()
    good, _, notices = read(raw)
    assert [(row.event.nome, row.event.curso) for row in good] == [
        ("João", "5º Ano B"),
        ("Ana", "5º Ano B"),
    ]
    assert codes(notices) == [("mixed", (2,))]


def test_each_line_may_have_its_own_encoding() -> None:
    raw = lines("utf-8", "João") + "Zoé\n".encode("cp1252") + "Conceição\n".encode("cp850")
    assert names(raw) == ["João", "Zoé", "Conceição"]


def test_an_old_dos_file_is_told() -> None:
    good, _, notices = read(lines("cp850", "João Conceição", "Ana"))
    assert [row.event.nome for row in good] == ["João Conceição", "Ana"]
    assert codes(notices) == [("codepage", (2,))]
    assert notices[0].text == "read as cp850 (line 2)"


def test_what_one_line_proves_decides_for_those_that_prove_nothing() -> None:
    # Alone, "Paraná" in code page 850 is "Paran" and a hard space.
    assert names(lines("cp850", "Paraná", "MARÍLIA", "João")) == ["Paraná", "MARÍLIA", "João"]
    assert names(lines("cp1252", "Schäfer", "Märzhäuser", "João")) == [
        "Schäfer",
        "Märzhäuser",
        "João",
    ]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("wrongly", ["cp1252", "latin-1"])
def test_text_that_was_encoded_again_is_put_right_and_told(wrongly: str, times: int) -> None:
    text = "João Conceição, avó, à noite, Índia"
    garbled = text
    for _ in range(times):
        garbled = "".join(
            bytes([byte]).decode(wrongly, "ignore") or chr(byte) for byte in garbled.encode()
        )
    good, _, notices = read(lines("utf-8", garbled))
    assert [row.event.nome for row in good] == [text]
    assert codes(notices) == [("double", (2,))]


def test_a_hard_space_that_may_be_a_letter_is_told() -> None:
    _, _, notices = read(lines("cp850", "Ana Sá"))  # alone it proves nothing
    assert codes(notices) == [("doubtful", (2,))]
    assert names(lines("cp850", "Ana Sá", "João")) == ["Ana Sá", "João"]


def test_what_only_looks_garbled_stays_as_it_is() -> None:
    for name in ("IRMÃ\u00a0JOANA", "“IRMÔ", "AMANHÃ – NÃO", "m² de pátio", "Ângela Âncora"):
        assert names(lines("utf-8", name)) == [name.replace("\u00a0", " ")]


def test_letters_that_another_program_spoiled_are_told() -> None:
    _, _, notices = read(lines("utf-8", "JoÆo", "Ana", "Jo?o"))
    assert codes(notices) == [("doubtful", (2,)), ("question", (4,))]


def test_a_letter_that_is_lost_is_a_bad_row() -> None:
    good, (bad,), _ = read("nome;curso\nJo\ufffdo;x\nAna;x\n")
    assert [row.line for row in good] == [3]
    assert (bad.line, bad.column) == (2, "nome")
    assert "export it again as CSV UTF-8" in bad.reason


def test_bytes_that_mean_nothing_are_a_bad_row() -> None:
    good, (bad,), _ = read(b"nome\nJo\x81o\nAna\n")
    assert [row.line for row in good] == [3]
    assert bad.reason == "neither UTF-8 nor Windows-1252"


@pytest.mark.parametrize("encoding", ["cp1252", "cp850"])
def test_a_header_in_an_old_encoding(encoding: str) -> None:
    raw = lines(encoding, "João;5º A", header="Nome do aluno;Série/ação")
    good, _, _ = read(raw, columns={"Nome do aluno": "nome", "Série/Ação": "curso"})
    assert [row.event.curso for row in good] == ["5º A"]


def test_letters_are_composed_before_ids_are_made() -> None:
    mapping = {"defaults": {"id": "@uuid:nome"}}
    (composed,), _, _ = read("nome\nJo\u00e3o\n", **mapping)
    (combining,), _, _ = read("nome\nJoa\u0303o\n", **mapping)
    assert combining.event.nome == "Jo\u00e3o"
    assert combining == composed


def test_invisible_characters_and_hard_spaces_do_not_stay() -> None:
    good, bad, _ = read(
        "nome;email\n\u200bAna\u00a0 Teste\u200b;\u200bana@example.com\u200b\n"
        'Ga\u00adbi;\u202agabi@example.com\u202c\n"Caio\r\nTeste";\n'
    )
    assert not bad
    assert [(row.event.nome, row.event.email) for row in good] == [
        ("Ana Teste", "ana@example.com"),
        ("Gabi", "gabi@example.com"),
        ("Caio Teste", None),
    ]


@given(st.text("áàâãéêíóôõúçÁÀÂÃÉÊÍÓÔÕÚÇabAB' ", min_size=1, max_size=20))
def test_no_words_of_ours_in_utf_8_are_taken_for_something_else(words: str) -> None:
    assert names(f"nome\nx {words} x\n") == [f"x {words} x"]


def test_a_pipe_of_an_old_encoding_is_read_as_it_comes(tmp_path: Path) -> None:
    fifo = tmp_path / "alunos.csv"
    os.mkfifo(fifo)

    def write() -> None:
        with fifo.open("wb") as pipe:
            pipe.write(lines("cp850", "João", "Paraná"))

    writer = threading.Thread(target=write)
    writer.start()
    with events_from(fifo, Pupil) as table:
        rows = list(table)
    writer.join()
    assert isinstance(rows[0], EventRow)
    assert rows[0].event.nome == "João"


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le"])
def test_utf_32_is_named_or_refused(encoding: str) -> None:
    with pytest.raises(ConfigurationError):
        events_from(io.BytesIO("nome\nAna\n".encode(encoding)), Pupil, Mapping())
