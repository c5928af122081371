"""Dates as people write them: a column has one order, and nothing is guessed in silence."""

from __future__ import annotations

import os
import threading
from datetime import date
from pathlib import Path

import pytest

from messaging.csvfile import EventRow, Mapping, events_from
from messaging.errors import ConfigurationError
from tests.csvfile.files import Pupil, codes, read


def column(*cells: str, field: str = "nascimento") -> str:
    return f"nome;{field}\n" + "".join(f"A{n};{cell}\n" for n, cell in enumerate(cells))


def births(*cells: str, **options: object) -> list[date | None]:
    good, bad, _ = read(column(*cells), **options)
    assert not bad, bad
    return [row.event.nascimento for row in good]


def test_a_day_above_twelve_decides_for_every_row_before_and_behind_it() -> None:
    cells = ["05/03/2011", "03/25/2011", "07/04/2011"]
    assert births(*cells) == [date(2011, 5, 3), date(2011, 3, 25), date(2011, 7, 4)]
    _, _, (notice,) = read(column(*cells))
    assert notice.text == ("nascimento: dates are read as mm/dd/yyyy: no other order fits line 3")
    assert births("05/03/2011", "25/03/2011") == [date(2011, 3, 5), date(2011, 3, 25)]
    assert read(column("05/03/2011", "25/03/2011"))[2] == ()


def test_a_column_that_proves_nothing_is_told_and_the_order_can_be_said() -> None:
    good, _, (notice,) = read(column("05/03/2011", "06/06/2011"))
    assert good[0].event.nascimento == date(2011, 3, 5)
    assert (notice.code, notice.column) == ("unproved", "nascimento")
    assert "--date-order dmy or mdy" in notice.text
    assert births("05/03/2011", date_order="mdy") == [date(2011, 5, 3)]
    assert read(column("05/03/2011"), date_order="dmy")[2] == ()
    # Where day and month are the same number, the order does not matter.
    assert read(column("06/06/2011"))[2] == ()


def test_two_orders_in_one_column_are_told_and_what_may_be_either_is_a_bad_row() -> None:
    content = column("28/09/2023", "05-11-2023", "06-14-2023", "07-22-2023", "08-08-2023")
    good, (bad,), notices = read(content)
    assert [row.event.nascimento for row in good] == [
        date(2023, 9, 28),
        date(2023, 6, 14),
        date(2023, 7, 22),
        date(2023, 8, 8),
    ]
    assert (bad.line, bad.column) == (3, "nascimento")
    assert "cannot be told apart" in bad.reason
    assert codes(notices) == [("both", ())]
    assert "line 2 is dd/mm, line 4 mm/dd" in notices[0].text
    good, bads, notices = read(content, date_order="mdy")
    assert [row.event.nascimento for row in good][:1] == [date(2023, 5, 11)]
    assert [row.line for row in bads] == [2]
    assert notices == ()


@pytest.mark.parametrize("sign", ["/", "-"])
def test_a_year_that_is_followed_by_a_day_makes_the_column_unclear(sign: str) -> None:
    content = column(*(text.replace("/", sign) for text in ("2011/05/03", "2011/25/03")))
    good, bad, _ = read(content)
    assert not good
    assert "line 3 has year, day and month in that order" in bad[0].reason
    assert "there is no such date" in bad[1].reason


def test_each_column_has_an_order_of_its_own() -> None:
    content = "nome;nascimento;Início\nA;03/25/2011;25/03/2024\nB;02/01/2011;02/01/2024\n"
    mapping = {"columns": {"Início": "matricula"}}
    good, _, _ = read(content, **mapping)
    assert good[1].event.nascimento == date(2011, 2, 1)
    assert good[1].event.matricula is not None
    assert good[1].event.matricula.date() == date(2024, 1, 2)
    said, _, _ = read(content, date_order={"inicio": "dmy", "nascimento": "mdy"}, **mapping)
    assert said == good


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026/03/17 7:19:17 PM GMT-3", "2026-03-17T19:19:17-03:00"),
        ("2026/02/05 12:01:02 AM GMT-3", "2026-02-05T00:01:02-03:00"),
        ("2026/02/05 12:01 p.m. GMT+05:30", "2026-02-05T12:01:00+05:30"),
        ("3/17/2026 19:19:17", "2026-03-17T19:19:17-03:00"),
        ("17/03/2026 7:19 pm", "2026-03-17T19:19:00-03:00"),
        ("17/03/2026 às 14h30", "2026-03-17T14:30:00-03:00"),
        ("17/03/2026, 14h", "2026-03-17T14:00:00-03:00"),
        ("17.03.2026 14:30", "2026-03-17T14:30:00-03:00"),
        ("2026/03/17", "2026-03-17T00:00:00-03:00"),
        ("2026-3-7", "2026-03-07T00:00:00-03:00"),
        ("2026-03-17T14:30:00.123Z", "2026-03-17T14:30:00.123000+00:00"),
        ("2026-03-17 14:30:00 UTC", "2026-03-17T14:30:00+00:00"),
    ],
)
def test_moments_of_forms_and_spreadsheets(text: str, expected: str) -> None:
    (row,), bad, _ = read(column(f'"{text}"', field="matricula"))
    assert not bad
    assert row.event.matricula is not None
    assert row.event.matricula.isoformat() == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("05/03/11", "a year of two digits: write it with four"),
        ("5-3-91 10:00", "a year of two digits"),
        ("36955", "a date as Excel counts it"),
        ("46023,5", "a date as Excel counts it"),
        ("01/01/0001", "an unlikely year: 1900 to 2046"),
        ("05/03/2091", "an unlikely year"),
        ("0001-01-01", "an unlikely year"),
        ("31/02/2011", "there is no such date"),
        ("17/03/2026 13:00 PM", "there is no such date or time"),
        ("17/03/2026 25:00", "there is no such date or time"),
        ("17/03/2026 10:00 BRT", "an offset from UTC that is not known"),
        ("17/03/2026 10", "not a date"),
        ("março de 2011", "not a date"),
        ("2011", "not a date"),
        ("00/00/0000", "there is no such date"),
    ],
)
def test_what_is_refused_says_the_way_out(text: str, said: str) -> None:
    good, (bad,), _ = read(column(text, field="matricula"))
    assert not good
    assert (bad.line, bad.column) == (2, "matricula")
    assert said in bad.reason
    assert text not in bad.reason


def test_the_years_that_are_right_can_be_said() -> None:
    assert births("05/03/2091", "13/03/1850", years=[1800, 2100]) == [
        date(2091, 3, 5),
        date(1850, 3, 13),
    ]


@pytest.mark.parametrize(
    "wrong", [{"date_order": "ymd"}, {"date_order": {"x": "y"}}, {"years": [1900]}, {"years": "ab"}]
)
def test_an_order_that_cannot_be_is_told_early(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Mapping(**wrong)  # type: ignore[arg-type] - that is what is tried


def test_a_pipe_is_looked_through_as_well(tmp_path: Path) -> None:
    fifo = tmp_path / "alunos.csv"
    os.mkfifo(fifo)
    content = "Lista de 2026;\n" + column(
        *["01/02/2011"] * 3000, "03/25/2011", "x" * 70_000, "01/02/2011"
    )

    def write() -> None:
        fifo.write_text(content)

    writer = threading.Thread(target=write)
    writer.start()
    with events_from(fifo, Pupil) as table:
        rows = list(table)
    writer.join()
    good = [row for row in rows if isinstance(row, EventRow)]
    assert len(good) == 3002
    assert {row.event.nascimento for row in good} == {date(2011, 1, 2), date(2011, 3, 25)}
    assert [row.line for row in rows][-2:] == [3004, 3005]
