"""The examples: each runs by itself, away from AWS, and prints what it says that it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
OTHERS = ("demo.py", "observability.py")  # they have tests of their own
PROMISED = {
    "publish_and_consume.py",
    "fewer_fields.py",
    "retry_and_reject.py",
    "change_an_event.py",
    "matriculas_from_csv.py",
    "test_your_consumer.py",
}
SCRIPTS = sorted(
    path.name
    for path in EXAMPLES.glob("*.py")
    if path.name not in ("__init__.py", *OTHERS) and not path.name.startswith("_")
)


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # No credentials, no region, a folder of its own: whatever it needs it must bring along.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MESSAGING_", "PYTEST_", "COV_"))
    }
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(EXAMPLES / name)],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def promised_output(name: str) -> str:
    source = (EXAMPLES / name).read_text(encoding="utf-8")
    _, found, block = source.partition("\n# Output:\n")
    assert found, f"{name} does not end with `# Output:` and its output"
    assert all(line.startswith("#") for line in block.splitlines()), f"{name}: code after # Output:"
    return re.sub(r"(?m)^# ?", "", block)


def test_what_was_promised_is_there() -> None:
    assert set(SCRIPTS) >= PROMISED


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    ended = run(name, tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == promised_output(name).splitlines()
    # test_your_consumer.py runs pytest, which keeps a cache where its rootdir is: not here.
    assert list(tmp_path.iterdir()) == []
