"""Makes uv.lock anew, and from it the requirements that `make` installs. Standard library only.

    python3 tools/lock.py              keep what is locked, add and remove what pyproject.toml says
    python3 tools/lock.py --upgrade    take the newest of everything (any argument of `uv lock`)
    python3 tools/lock.py --export     only write requirements/ again, from the lock that stands

The lock names no registry: where packages come from is the business of the machine that installs
them (a mirror, a proxy), and their hashes say that they are the same packages. uv reads such a
lock; what it does not find out from it is a host, so it asks the one that the machine names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "uv.lock"
REQUIREMENTS = ROOT / "requirements"
GROUPS = ("test", "lint", "docs", "cadastro", "mutants", "validators")
# What runs in an environment of its own, which `messaging local` makes.
ENGINES = {"ministack": "ministack>=1.5.33", "moto": "moto[server]>=5.2"}

HEADER = """\
# The dependency group `{group}` of pyproject.toml, as locked in uv.lock, with hashes.
# Written by `make lock`; do not edit.
"""

ENGINE_HEADER = """\
# What the local server {engine} runs on, with hashes; installed by `messaging local`.
# Written by `make lock`; do not edit.
"""


def without_hosts(lock: str) -> str:
    """The text of a uv.lock with every registry's address taken out."""
    lock = re.sub(r'\{ registry = "https?://[^"]*" \}', '{ registry = "." }', lock)
    return re.sub(r'\{ url = "https?://[^"]*/([^"/]+)"', r'{ path = "\1"', lock)


def uv(*arguments: str) -> str:
    """Run uv in the project's folder; what it prints. Its progress goes to stderr."""
    command = [find_uv(), *arguments, "--project", str(ROOT), "--no-python-downloads"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def find_uv() -> str:
    """The uv beside this interpreter (make installs one), else the one on the PATH."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else "uv"


def export(group: str) -> None:
    """Write requirements/<group>.txt from the lock, without asking a registry."""
    pinned = uv(
        *("export", "--frozen", "--quiet", "--no-emit-project", "--no-default-groups"),
        *("--group", group, "--no-annotate", "--no-header"),
    )
    REQUIREMENTS.mkdir(exist_ok=True)
    (REQUIREMENTS / f"{group}.txt").write_text(HEADER.format(group=group) + pinned)


def compile_engine(engine: str, arguments: list[str]) -> None:
    """Write messaging/local/<engine>.txt, keeping what it pins already."""
    command = [find_uv(), "pip", "compile", "-", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--quiet", *arguments]
    lock = ROOT / "messaging" / "local" / f"{engine}.txt"
    command += ["--output-file", str(lock)]
    subprocess.run(command, check=True, input=ENGINES[engine], stdout=subprocess.DEVNULL, text=True)
    pinned = "".join(line for line in lock.open() if not line.startswith("#"))
    lock.write_text(ENGINE_HEADER.format(engine=engine) + pinned)


def main(arguments: list[str]) -> None:
    if arguments != ["--export"]:
        uv("lock", *arguments)
        LOCK.write_text(without_hosts(LOCK.read_text()))
        for engine in ENGINES:
            compile_engine(engine, arguments)
    for group in GROUPS:
        export(group)


if __name__ == "__main__":
    main(sys.argv[1:])
