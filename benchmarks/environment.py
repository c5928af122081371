"""The environment of the other libraries; they are left out where it cannot be made.

python -m benchmarks.environment       makes .venv-bench out of benchmarks/requirements.txt
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["OTHERS", "compiled", "others"]

ROOT = Path(__file__).resolve().parent.parent
OTHERS = ROOT / ".venv-bench"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
NEWEST = ("python3.14", "python3.13", "python3.12")
"""fanferro needs 3.12; without one of these the others run on the Python that runs this."""


def others() -> Path | None:
    """The Python of the others' environment, if it is there and complete."""
    python = OTHERS / "bin" / "python"
    return python if _stamp().exists() and python.exists() else None


def compiled(folder: str) -> dict[str, str]:
    """The environment of a process that finds its modules compiled, from the second one on.

    Where PYTHONDONTWRITEBYTECODE is set, as in many containers, this library would be compiled from
    its source at each start, and what pip has installed would not.
    """
    mine = {name: said for name, said in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**mine, "PYTHONPYCACHEPREFIX": folder}


def prepare() -> str:
    """Make the environment unless it stands; returns what is to be told."""
    python = _python()
    wanted = hashlib.sha256(f"{python}{REQUIREMENTS.read_text()}".encode()).hexdigest()
    if _stamp().exists() and _stamp().read_text() == wanted:
        return f"{OTHERS.name} stands"
    shutil.rmtree(OTHERS, ignore_errors=True)
    made = subprocess.run([python, "-m", "venv", OTHERS], check=False)
    install: list[str | Path] = [
        OTHERS / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "-r",
        REQUIREMENTS,
    ]
    if made.returncode or subprocess.run(install, check=False).returncode:
        return f"{OTHERS.name} could not be made with {python}: measuring without the others"
    _stamp().write_text(wanted)
    return f"{OTHERS.name} was made with {python}"


def _stamp() -> Path:
    return OTHERS / ".installed-bench"


def _python() -> str:
    for name in NEWEST:
        # A version manager's shim is found, too, and may have no such Python behind it.
        found = shutil.which(name)
        works = found and subprocess.run(
            [found, "-c", "import venv, ensurepip"], capture_output=True, check=False
        )
        if found and works and works.returncode == 0:
            return found
    return sys.executable


if __name__ == "__main__":
    print(prepare(), file=sys.stderr)
