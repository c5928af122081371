"""The help pages: what they show, and what is loaded to draw them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from messaging.cli.app import app, run
from messaging.cli.menu import COMMANDS
from tests.cli.conftest import Run

HEAVY = (
    "boto3 botocore pydantic messaging.runtime messaging.local messaging.aws logging "
    "typer.rich_utils rich.markdown rich.traceback"
).split()


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it, groups included."""
    menu: Any = typer.main.get_command(app)
    context = menu.context_class(menu)
    yield "", menu
    for name in menu.list_commands(context):
        command = menu.get_command(context, name)
        yield name, command
        yield from (
            (f"{name} {under}", one) for under, one in getattr(command, "commands", {}).items()
        )


ALL = dict(commands())


def loaded_by(*arguments: str) -> list[str]:
    code = (
        "import sys\nfrom messaging.cli.app import run\n"
        f"code = run({[*arguments]!r})\n"
        f"names = {[*HEAVY, *(module for module, _ in COMMANDS.values())]!r}\n"
        "print(code, *(name for name in names if name.partition(':')[0] in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], [], ["--version"]])
def test_the_first_page_loads_no_command_and_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_by(*arguments) == ["0" if arguments else "2"]


@pytest.mark.parametrize("name", ["dlq", "dlq redrive", "run"])
def test_a_commands_page_loads_that_command_only(name: str) -> None:
    module, _ = COMMANDS[name.split()[0]]
    assert loaded_by(*name.split(), "--help") == ["0", module]


def test_the_list_says_what_the_commands_say() -> None:
    # It is written down a second time so that nobody has to load them.
    said = {name: ALL[name].help.split("\n\n")[0] for name in COMMANDS}
    assert {name: about for name, (_, about) in COMMANDS.items()} == said


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_page_names_everything_and_fits(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run([*name.split(), "--help"]) == 0
    page, said = capsys.readouterr()
    assert said == ""
    assert max(map(len, page.splitlines())) <= width
    assert "…" not in page
    words = page.replace("│", " ").replace(",", " ").split()
    options = [one for option in ALL[name].params for one in option.opts if one.startswith("--")]
    missing = {*options, "-h", "--help", *getattr(ALL[name], "commands", ())} - {*words}
    # In 40 columns a long name may go on in the next line.
    assert {one for one in missing if len(one) <= width // 2 - 2} == set()


def test_defaults_ranges_and_what_is_required_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    run(["run", "--help"])
    page = capsys.readouterr().out
    assert "Number of processes. [default: 1; 1<=x<=64]" in page
    assert "functions that give one. [required]" in page
    run(["local", "--help"])
    assert "What is started; RabbitMQ must be installed. [default: sqs]" in capsys.readouterr().out


def test_a_misspelt_command_is_told_which_was_meant(messaging: Run) -> None:
    for words, meant in ((["pubish"], "publish"), (["dlq", "lst"], "list")):
        done = messaging(*words)
        assert done.returncode == 2
        assert f"Did you mean '{meant}'?" in done.stderr


def test_the_shell_is_told_how_words_go_on(messaging: Run) -> None:
    for words, goes_on in (
        ("o", ["outbox"]),
        ("dlq re", ["redrive"]),
        ("run --pr", ["--processes"]),
    ):
        done = messaging(
            _MESSAGING_COMPLETE="complete_bash",
            COMP_WORDS=f"messaging {words}",
            COMP_CWORD=str(len(words.split())),
        )
        assert done.stdout.split() == goes_on
