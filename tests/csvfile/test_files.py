"""Files that are no CSV file: read through what wraps them, or named for what they are."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from messaging.csvfile import EventRow, Mapping, Table, events_from
from messaging.errors import ConfigurationError
from tests.csvfile.files import Pupil, codes, names, read

CSV = "nome;email\nJoão Teste;joao@example.com\n"


def zipped(**files: str | bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return packed.getvalue()


def sheet(*rows: str, more: str = "") -> bytes:
    """A workbook of which each row is cells in SpreadsheetML, as small as readers take it."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    data = "".join(f'<row r="{n}">{row}</row>' for n, row in enumerate(rows, 1) if row)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" '
            'ContentType="application/xml"/>'
            + "".join(
                f'<Override PartName="/xl/{part}.xml" ContentType="application/vnd.'
                f'openxmlformats-officedocument.spreadsheetml.{kind}+xml"/>'
                for part, kind in (
                    ("workbook", "sheet.main"),
                    ("worksheets/sheet1", "worksheet"),
                    ("styles", "styles"),
                )
            )
            + "</Types>",
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
            f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="Alunos" '
            f'sheetId="1" r:id="r1"/>{more}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
            f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" '
            f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r3" '
            f'Type="{office}/styles" Target="styles.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/styles.xml",
            f'<styleSheet xmlns="{main}"><cellXfs count="2"><xf numFmtId="0"/>'
            '<xf numFmtId="14"/></cellXfs></styleSheet>',
        )
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f'<worksheet xmlns="{main}"><sheetData>{data}</sheetData></worksheet>',
        )
    return packed.getvalue()


def text(place: str, value: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'


def test_the_zip_that_google_forms_sends_is_read() -> None:
    good, _, notices = read(zipped(Respostas_csv=CSV.encode("cp1252")))
    assert [row.event.nome for row in good] == ["João Teste"]
    assert codes(notices) == [("zip", ())]
    assert names(zipped(a_csv=CSV.encode("utf-16"))) == ["João Teste"]


def test_the_rubbish_that_a_mac_adds_to_a_zip_is_not_counted() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("alunos/", "")
        archive.writestr("alunos/lista.csv", CSV)
        archive.writestr("__MACOSX/alunos/._lista.csv", b"\x00\x05\x16\x07")
        archive.writestr("alunos/.DS_Store", b"\x00")
    assert names(packed.getvalue()) == ["João Teste"]


def test_a_zip_with_several_files_or_none_is_refused() -> None:
    for content, count in ((zipped(a_csv=CSV, b_csv=CSV), 2), (zipped(), 0)):
        if not content.startswith(b"PK\x03\x04"):
            continue
        with pytest.raises(ConfigurationError, match=f"a zip file with {count} files"):
            read(content)


def test_a_zip_that_is_cut_or_locked_is_refused() -> None:
    whole = zipped(a_csv=CSV * 100)
    with pytest.raises(ConfigurationError, match="damaged or cut off"):
        read(whole[:-40])
    spoiled = bytearray(whole)
    spoiled[60:70] = b"0123456789"
    with pytest.raises(ConfigurationError, match="damaged or cut off"):
        read(bytes(spoiled))
    locked = bytearray(whole)
    locked[6] |= 1  # the flag of a password, here and in the directory
    locked[whole.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ConfigurationError, match="with a password"):
        read(bytes(locked))


def test_a_zip_through_a_pipe_is_read() -> None:
    script = (
        "import sys\n"
        "from messaging.csvfile import events_from\n"
        "from tests.csvfile.files import Pupil\n"
        "print([row.line for row in events_from(sys.stdin.buffer, Pupil)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=zipped(a_csv=CSV),
        capture_output=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == b"[2]\n"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), r"a workbook \(\.xls"),
        (b"<html><body><table><tr><td>nome</td></tr></table></body></html>", "an HTML page"),
        (b"\xef\xbb\xbf \r\n<!DOCTYPE HTML>\n<meta>", "an HTML page"),
        (b"<table border=1><tr><td>nome;email</td></tr></table>", "an HTML page"),
        ("\ufeff<html>nome</html>".encode("utf-16-le"), "an HTML page"),
        (b"MIME-Version: 1.0\r\nX-Document-Type: Workbook\r\n", "an HTML page"),
        (b'<?xml version="1.0"?><Workbook/>', "an XML document"),
        (b'[{"nome":"Ana","email":"ana@example.com"}]', "a JSON document"),
        (b'{"alunos": []}', "a JSON document"),
        (b"%PDF-1.7 nome;email\n", "a PDF document"),
        (b"{\\rtf1 nome;email}", "an RTF document"),
        (gzip.compress(CSV.encode(), mtime=0), r"compressed \(gzip\)"),
        (b"Rar!\x1a\x07\x00", "an archive"),
        (CSV.encode("utf-32"), "text in UTF-32"),
    ],
)
def test_what_is_no_table_is_named_for_what_it_is(content: bytes, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^the file is {kind}") as caught:
        read(content)
    assert "Ana" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"^o arquivo é .*, não um CSV: "):
        read(content, language="pt")


def test_a_header_that_begins_like_json_or_html_is_one() -> None:
    assert names("[turma];nome\n1;Ana\n") == ["Ana"]
    assert names("<turma;nome\n1;Ana\n") == ["Ana"]


def test_an_opendocument_sheet_is_named() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", "<x/>")
    with pytest.raises(ConfigurationError, match=r"a workbook \(\.ods\)"):
        read(content.getvalue())


def test_a_workbook_is_read_with_its_types() -> None:
    header = "".join(
        text(f"{column}3", name)
        for column, name in zip(
            "ABCDE", ["Nome", "E-mail", "Nascimento", "Mensalidade", "Aceita"], strict=True
        )
    )
    row = (
        f"{text('A4', 'João &amp; Cia')}{text('B4', 'joao@example.com')}"
        '<c r="C4" s="1"><v>36955</v></c><c r="D4"><v>1.234</v></c><c r="E4" t="b"><v>1</v></c>'
    )
    cheap = f'{text("A6", "Bia")}<c r="D6"><v>890</v></c>'
    content = sheet(text("A1", "Escola Modelo"), "", header, row, "", cheap)
    with events_from(io.BytesIO(content), Pupil, Mapping(decimal_comma=True)) as table:
        rows = list(table)
    assert [row.line for row in rows] == [4, 6]
    first, second = rows
    # Three places are no thousands in a number of a workbook, and too many for money.
    assert not isinstance(first, EventRow)
    assert "2 decimal places" in first.reason
    assert isinstance(second, EventRow)
    assert str(second.event.mensalidade) == "890"
    (good, _), _, _ = read(sheet("", "", header, row.replace("1.234", "1350.5"), "", cheap))
    assert good.event.nascimento is not None
    assert good.event.nascimento.isoformat() == "2001-03-05"
    assert good.event.mensalidade == 1350.5  # type: ignore[comparison-overlap] - equal as numbers
    assert (good.event.nome, good.event.aceita) == ("João & Cia", True)


def test_a_number_that_excel_made_of_a_cpf_has_all_its_digits_but_the_zero() -> None:
    content = sheet(
        text("A1", "nome") + text("B1", "curso"),
        text("A2", "x") + "<c r='B2'><v>1234567890</v></c>",
    )
    (row,), _, _ = read(content)
    assert row.event.curso == "1234567890"


def test_the_first_sheet_is_read_and_the_others_are_told() -> None:
    more = '<sheet name="Outra" sheetId="2" r:id="r2"/>'
    _, _, notices = read(sheet(text("A1", "nome"), text("A2", "Ana"), more=more))
    assert [notice.text for notice in notices] == [
        "the first sheet of 2 was read; the others were not"
    ]


def test_an_error_in_a_cell_of_a_workbook_is_a_bad_row() -> None:
    row = text("A2", "Ana") + '<c r="B2" t="e"><v>#REF!</v></c>'
    _, bad, _ = read(sheet(text("A1", "nome") + text("B1", "curso"), row))
    assert [(row.line, row.column) for row in bad] == [(2, "curso")]
    assert "an error of the spreadsheet" in bad[0].reason


def test_a_workbook_that_is_broken_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    with pytest.raises(ConfigurationError, match=r"a workbook \(\.xlsx\) that cannot be read"):
        read(packed.getvalue())


def test_without_the_extra_a_workbook_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)  # as where it is not installed
    with pytest.raises(ConfigurationError, match=r"pip install 'messaging-sns-sqs\[xlsx\]'"):
        read(sheet(text("A1", "nome")))


def test_files_are_closed_whatever_they_are(tmp_path: Path) -> None:
    for content in (CSV.encode(), CSV.encode("utf-16"), zipped(a_csv=CSV), b"<html></html>"):
        path = tmp_path / "alunos.csv"
        path.write_bytes(content)
        try:
            table: Table[Pupil] = events_from(path, Pupil)
        except ConfigurationError:
            continue
        with table:
            assert len(list(table)) == 1
