"""Makes .venv what a `make` target needs, and does nothing when it is that already.

    python3 tools/environment.py test | lint | docs | cadastro | mutants
                                        the packages of requirements/*.txt
    python3 tools/environment.py uv     the tool that makes the lock
    python3 tools/environment.py validators
                                        what checks files, beside it: in .venv-validators

Standard library only, and pip does the installing: it obeys the index, proxy and certificates
that this machine's owner configured. Written for any Python 3, so that an old one can say so.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
FILES = {
    "test": ("test",),
    "lint": ("test", "lint"),
    "docs": ("test", "docs"),
    "cadastro": ("cadastro",),
    "mutants": ("test", "mutants"),
    "validators": ("validators",),
}
APART = {"validators": "-validators"}  # what follows the environment's name; without the project
UV = "uv==0.13.9"


def main(group):
    check_python()
    venv = ROOT / (os.environ.get("VENV", ".venv") + APART.get(group, ""))
    python = venv / "bin" / "python"
    with only_one(venv):
        create(venv)
        if group == "uv":
            ensure(venv, group, UV, [python, "-m", "pip", "install", "--quiet", UV])
            return
        files = [ROOT / "requirements" / (name + ".txt") for name in FILES[group]]
        wanted = fingerprint(*[path.read_text() for path in files])
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        for path in files:
            install += ["-r", path]
        ensure(venv, group, wanted, install)
        if group in APART:
            return
        # The project itself: editable, and built by the locked hatchling rather than a fresh one.
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        install += ["-e", ROOT]
        ensure(venv, "project", fingerprint((ROOT / "pyproject.toml").read_text()), install)


def check_python():
    if sys.version_info < OLDEST:
        sys.exit(
            "messaging needs Python %d.%d or newer, and %s is %s. "
            "Name a newer one: make PYTHON=python3.12 ..."
            % (*OLDEST, sys.executable, sys.version.split()[0])
        )
    try:
        import ensurepip  # noqa: F401 - only whether it is there
        import venv  # noqa: F401 - only whether it is there
    except ImportError:
        sys.exit(
            "This Python cannot make virtual environments (no venv or ensurepip). "
            "On Debian and Ubuntu: apt-get install python3-venv"
        )


def create(venv):
    made_by = fingerprint(sys.version, str(venv))
    unfinished = venv / ".unfinished"
    if read(venv / ".made-by") == made_by and not unfinished.exists():
        return
    if venv.exists() and not (venv / ".made-by").exists() and not unfinished.exists():
        sys.exit(
            "%s was not made by make, so it stays as it is. "
            "Remove it, or choose another folder: make VENV=.venv-make ..." % venv
        )
    say("making %s with Python %s" % (venv.name, sys.version.split()[0]))
    # Of another Python, moved here from another folder, or half installed: start from nothing.
    shutil.rmtree(str(venv), ignore_errors=True)
    venv.mkdir(parents=True)
    unfinished.touch()
    run([sys.executable, "-m", "venv", venv])
    (venv / ".made-by").write_text(made_by)
    unfinished.unlink()


def ensure(venv, name, wanted, command):
    """Run `command` unless its stamp says that just this was installed."""
    stamp = venv / (".installed-" + name)
    if read(stamp) == wanted:
        return
    say("installing %s into %s (half a minute or so)" % (name, venv.name))
    # Whoever comes after an interrupted install finds this and starts from nothing.
    (venv / ".unfinished").touch()
    run(command)
    stamp.write_text(wanted)
    (venv / ".unfinished").unlink()


@contextmanager
def only_one(venv):
    """`make demo` and `make test` in two terminals: the second waits for the first."""
    try:
        import fcntl
    except ImportError:  # no such lock on this system; then start one at a time
        yield
        return
    with open(str(venv) + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(command):
    result = subprocess.run([str(part) for part in command])
    if result.returncode:
        sys.exit("could not install: %s ended with %d" % (command[2], result.returncode))


def read(path):
    return path.read_text() if path.exists() else None


def fingerprint(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in (*FILES, "uv"):
        sys.exit(__doc__)
    main(sys.argv[1])
