"""Writes what `messaging --help` says into docs/reference/cli.md, below its marker.

python tools/cli_page.py            write the page anew
python tools/cli_page.py --check    only say whether it is as it should be
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "cli.md"
MARKER = "<!-- Below: made of the help texts by tools/cli_page.py -->\n"


def generated() -> str:
    """The help of every command, as Markdown."""
    command = ["-m", "typer", "messaging.cli.app", "utils", "docs", "--name", "messaging"]
    text = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    text = re.sub(
        r'<span style="font-weight: bold">Example:</span> (.*)', r"```console\n$ \1\n```", text
    )
    text = re.sub(r"^#+ `messaging`\n", "## `messaging`\n", text, flags=re.M)
    # The list of commands is cut off at a terminal's width: each has its first sentence instead.
    about = dict(re.findall(r"^##+ `messaging ([a-z ]+)`\n\n([^\n]+)", text, flags=re.M))
    parent = ""
    lines: list[str] = []
    for line in text.splitlines():
        if heading := re.match(r"#+ `messaging ?([a-z ]*)`", line):
            parent = heading[1]
        listed = re.match(r"\* `([a-z]+)`: ", line)
        name = f"{parent} {listed[1]}".strip() if listed else ""
        lines.append(f"* `{listed[1]}`: {about[name]}" if listed and name in about else line)
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Write or check the page; the exit code."""
    before = PAGE.read_text(encoding="utf-8")
    head, marker, _ = before.partition(MARKER)
    if not marker:
        sys.exit(f"{PAGE.relative_to(ROOT)} has lost its marker: {MARKER.strip()}")
    page = f"{head}{MARKER}\n{generated()}"
    if "--check" in sys.argv[1:]:
        if page != before:
            sys.stderr.write("docs/reference/cli.md is old: run python tools/cli_page.py\n")
        return int(page != before)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
