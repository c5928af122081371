"""The page about the command line says what the command line says."""

from __future__ import annotations

import subprocess
import sys

from tests.cli.conftest import ROOT


def test_the_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "cli_page.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_an_example() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    topology = ("topology plan", "topology apply", "topology remove")
    for command in ("local", "run", "publish", "status", *topology):
        section = page.split(f"`messaging {command}`\n", 1)[1].split("\n## ")[0]
        assert f"$ messaging {command.split()[0]}" in section.split("**Usage**")[0]
