"""The code in the documentation runs: a page's Python blocks, one after another, as one program.

Before a block that needs what a test has not (an account, a terminal), the page says so in a
comment, `<!-- not run: why -->`. Such a block must still compile, and find what it imports.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from messaging.cli.app import app

ROOT = Path(__file__).parents[1]
# What stands in the Portuguese pages is the English pages' code: tests/test_translations.py.
ENGLISH = {*(ROOT / "docs").rglob("*.md")} - {*(ROOT / "docs" / "pt").rglob("*.md")}
PAGES = [ROOT / "README.md", ROOT / "messaging" / "AGENTS.md", *sorted(ENGLISH)]
BLOCK = re.compile(
    r"^(?P<comment><!-- not run: (?P<why>[^\n]+) -->\n\n?)?"
    r"(?P<indent> *)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```",
    flags=re.S | re.M,
)


def blocks(page: Path) -> Iterator[tuple[int, str, str | None]]:
    """First line, code, and the reason for not running it, of each Python block of a page."""
    text = page.read_text()
    for found in BLOCK.finditer(text):
        code = re.sub(rf"(?m)^{found['indent']}", "", found["code"])
        yield text.count("\n", 0, found.start("code")), code, found["why"]


WITH_CODE = [page for page in PAGES if page.exists() and any(blocks(page))]


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    """A module of its own for the page: its classes look up their annotations there."""
    made = types.ModuleType("page")
    sys.modules["page"] = made
    yield made
    del sys.modules["page"]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(
    page: Path, module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line, code, why in blocks(page):
        # The line numbers of the page, so that a traceback leads there.
        compiled = compile("\n" * line + code, page, "exec")
        if why is None:
            exec(compiled, module.__dict__)
        else:
            _check_imports(code)


def _check_imports(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("messaging"):
            found = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(found, alias.name), f"{node.module} has no {alias.name}"


def test_a_block_is_found_wherever_it_stands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# T\n\n```python\na = 1\n```\n\n1. x\n\n    ```python title='t'\n    b = 2\n    ```\n\n"
        "<!-- not run: needs AWS -->\n```python\nc\n```\n\n```console\n$ d\n```\n"
    )
    assert list(blocks(page)) == [
        (3, "a = 1\n", None),
        (9, "b = 2\n", None),
        (14, "c\n", "needs AWS"),
    ]


def test_the_site_is_not_empty() -> None:
    assert len(WITH_CODE) >= 2


COMMANDS = [
    (page.relative_to(ROOT).as_posix(), line)
    for page in PAGES
    if page.exists()
    for line in re.findall(r"^\$ (?:\w+=\S+ )*(messaging .*)$", page.read_text(), flags=re.M)
    if "[OPTIONS]" not in line  # a usage line of the generated page
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_has_the_options_that_the_page_gives_it(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, f"{page}: {line}: which command?"
        assert words[0] in command.commands, f"{page}: there is no `{words[0]}`"
        command = command.commands[words.pop(0)]
    # Parses the options, and runs nothing.
    context = command.make_context(command.name, words)
    context.close()
