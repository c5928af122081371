"""The cost page's calculator and its table say the same, each computed by what a reader sees."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/explanation/cost.md").read_text()
ROWS = re.findall(
    r"^\| ([\d,]+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$",
    PAGE,
    flags=re.M,
)


def computed(folder: Path, **fields: str) -> list[str]:
    """The four sums that the form shows in Chromium when its fields have these values."""
    result = said(folder, PAGE, "en", fields)
    return [sum_.replace(",", "") for sum_ in re.findall(r"\$([\d,.]+\d)", result)]


def said(folder: Path, text: str, language: str, fields: Mapping[str, str]) -> str:
    """The sentence that the form of a page shows."""
    found = re.search(r'<form id="cost".*?</form>', text, flags=re.S)
    assert found is not None
    form = found.group()
    for name, value in fields.items():
        form, changed = re.subn(rf'(name="{name}"[^>]*? value=)"[^"]*"', rf'\1"{value}"', form)
        assert changed == 1, name
    script = (ROOT / "docs/assets/cost.js").read_text()
    # The browser is asked for its DOM, and an output's value is text in it.
    page = folder / "cost.html"
    head = f"<!doctype html><html lang={language}><meta charset=utf-8>"
    page.write_text(f"{head}{form}<script>{script}</script>")
    chromium = shutil.which("chromium")
    assert chromium, "this test needs: apt-get install chromium"
    dom = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={folder / 'profile'}", page.as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    shown = re.search(r"<output[^>]*>(.*?)</output>", dom, flags=re.S)
    assert shown is not None
    return html.unescape(shown[1]).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_calculator_says_what_the_table_says(row: tuple[str, ...], tmp_path: Path) -> None:
    events, services, copies, *sums = row
    fields = {"events": events.replace(",", ""), "services": services, "copies": copies}
    assert computed(tmp_path, **fields) == sums


def test_the_portuguese_page_answers_in_portuguese(tmp_path: Path) -> None:
    page = (ROOT / "docs/pt/explanation/cost.md").read_text()
    assert said(tmp_path, page, "pt-BR", {"events": "10000000"}) == (
        "Publicar: US$ 150,00; receber e apagar: US$ 192,00; polls ociosos, no máximo: US$ 0,41. "
        "Ao todo, US$ 342,41 em 30 dias."
    )


def test_the_table_is_there() -> None:
    assert len(ROWS) == 4


def test_a_request_of_more_than_64_kb_is_billed_as_several(tmp_path: Path) -> None:
    small = computed(tmp_path, size="60", together="1", batch="1")
    large = computed(tmp_path, size="70", together="1", batch="1")
    assert float(large[0]) == 2 * float(small[0])
