"""Prints the Pythons of this machine on which the tests can run: the newest of each minor version.

    python3 tools/pythons.py            every one, oldest first
    python3 tools/pythons.py --others   all but the version of the Python that runs this

Looks for `python3.N` on the path and in pyenv's folder, and asks each for its version, since a
shim may be there without the Python behind it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)


def main(arguments):
    found = {}
    for path in candidates():
        version = version_of(path)
        if version is not None and version[:2] >= OLDEST:
            known = found.get(version[:2])
            if known is None or version > known[0]:
                found[version[:2]] = (version, path)
    if "--others" in arguments:
        found.pop(sys.version_info[:2], None)
    for minor in sorted(found):
        print(found[minor][1])


def candidates():
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders += sorted((pyenv / "versions").glob("*/bin"))
    for folder in folders:
        if folder.is_dir():
            yield from (
                path
                for path in sorted(folder.iterdir())
                if re.fullmatch(r"python3\.\d+", path.name)
            )


def version_of(path):
    """(3, 12, 1), or None if it does not start."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:3])"
    try:
        run = subprocess.run([str(path), "-c", code], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(map(int, run.stdout.split())) if run.returncode == 0 else None


if __name__ == "__main__":
    main(sys.argv[1:])
