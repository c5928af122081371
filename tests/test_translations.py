"""Each Portuguese page translates an English one as it is today, with its headings and code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.docsite.sources import DOCS
from tools.docsite.translations import Docs, blocks, headings, split
from tools.pictures import drawn

ENGLISH = """# A queue

It waits.

## Look

```python
depth = 1  # the first
```

```text
topic --> queue
```
"""
PORTUGUESE = """---
description: Uma fila.
---

# Uma fila

Ela espera.

## Olhe

```python
depth = 1  # a primeira
```

```text
tópico --> fila
```
"""


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    """A site of two pages, of which one is translated and one waits."""
    made = Docs(tmp_path / "docs", ("reference/api/",))
    (made.folder / "reference" / "api").mkdir(parents=True)
    made.portuguese.mkdir()
    (made.folder / "queue.md").write_text(ENGLISH)
    (made.folder / "later.md").write_text("# Later\n")
    (made.folder / "reference" / "api" / "names.md").write_text("# Names\n")
    (made.portuguese / "queue.md").write_text(PORTUGUESE)
    made.untranslated.write_text("# Start\n\nlater.md\nqueue.md\n")
    made.stamp("queue.md")
    return made


def test_every_translation_is_one_of_its_page_as_it_is_today() -> None:
    found = list(DOCS.complaints())
    assert not found, "\n".join(found)


def test_a_stamped_page_is_in_order_and_no_longer_listed(docs: Docs) -> None:
    assert list(docs.complaints()) == []
    assert docs.listed() == ["later.md"]
    fields, body = split((docs.portuguese / "queue.md").read_text())
    assert fields["description"] == "Uma fila."
    assert body.startswith("# Uma fila\n")


def test_a_page_that_changed_since_its_translation_is_named_with_the_remedy(docs: Docs) -> None:
    (docs.folder / "queue.md").write_text(ENGLISH.replace("waits", "waits for you"))
    (complaint,) = docs.complaints()
    assert complaint.startswith("docs/pt/queue.md: docs/queue.md has changed since")
    assert complaint.endswith("python tools/docs.py stamp docs/pt/queue.md")


def test_a_translation_without_a_stamp_is_named(docs: Docs) -> None:
    (docs.portuguese / "queue.md").write_text(PORTUGUESE)
    (complaint,) = docs.complaints()
    assert "says of no English text that it translates it" in complaint


def test_a_new_page_is_translated_or_listed(docs: Docs) -> None:
    (docs.folder / "new.md").write_text("# New\n")
    (complaint,) = docs.complaints()
    assert complaint.startswith("docs/new.md has no translation: write docs/pt/new.md")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("queue.md", "which has a translation"),
        ("gone.md", "there is no such page"),
        ("reference/api/names.md", "which stays in English"),
    ],
)
def test_the_list_of_untranslated_pages_holds_nothing_else(docs: Docs, line: str, why: str) -> None:
    with docs.untranslated.open("a") as file:
        file.write(f"{line}\n")
    (complaint,) = docs.complaints()
    assert complaint.startswith(f"docs/pt/untranslated.txt: lists {line}")
    assert why in complaint


def test_a_translation_of_nothing_is_named(docs: Docs) -> None:
    (docs.portuguese / "fila.md").write_text("# Fila\n")
    (complaint,) = docs.complaints()
    assert complaint.startswith("docs/pt/fila.md: translates no page")


@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        ("depth = 1", "depth = 2", "the block of line 12 differs"),
        ("## Olhe\n", "", "where the English page has '## Look'"),
        ("## Olhe\n", "### Olhe\n", "where the English page has '## Look'"),
        ("```text\ntópico --> fila\n```\n", "", "no block where the English page has ```text"),
        ("```python", "```console", "has ```console"),
    ],
)
def test_a_translation_has_the_headings_and_the_code_of_its_page(
    docs: Docs, was: str, becomes: str, why: str
) -> None:
    path = docs.portuguese / "queue.md"
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, becomes))
    (complaint,) = docs.complaints()
    assert why in complaint


def test_the_readme_is_translated_and_leads_to_portuguese_pages(docs: Docs) -> None:
    english, portuguese = (docs.folder.parent / name for name in ("README.md", "README.pt-BR.md"))
    english.write_text("# It\n\n[Queue](docs/queue.md)\n")
    assert [*docs.complaints()] == ["README.md has no translation: write README.pt-BR.md"]
    portuguese.write_text("# Ela\n\n[Fila](docs/pt/queue.md)\n")
    docs.stamp("README.md")
    docs.stamp("README.md")  # once more, and there is still one stamp
    assert portuguese.read_text().count("translates") == 1
    assert [*docs.complaints()] == []
    portuguese.write_text(portuguese.read_text().replace("docs/pt/", "docs/"))
    (complaint,) = docs.complaints()
    assert complaint.startswith("README.pt-BR.md: links to docs/queue.md")


def test_the_home_page_shows_figures_of_the_performance_page() -> None:
    home = (DOCS.folder / "index.md").read_text()
    measured = (DOCS.folder / "explanation" / "performance.md").read_text()
    figures = re.findall(r"([\d.]+) µs", home)
    assert len(figures) == 4
    assert all(f"| {figure} (" in measured for figure in figures)


def test_the_pictures_are_as_they_are_drawn() -> None:
    old = [path.name for path, text in drawn().items() if path.read_text() != text]
    assert not old, "run python tools/pictures.py"


def test_a_heading_is_none_in_code_and_a_longer_fence_holds_a_shorter_one() -> None:
    page = "# T\n\n````md\n```python\n# not a heading\n```\n````\n\n## U\n"
    assert [heading.text for heading in headings(page)] == ["T", "U"]
    assert [block.language for block in blocks(page)] == ["md"]
