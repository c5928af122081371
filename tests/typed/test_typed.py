"""The package is typed for those who install it: checked on the built wheel, as a service sees it.

Run by `make lint`, which has the type checkers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from messaging.contract.generate import module_of
from tests.contract.test_generate import SCHOOL, WIDE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GOOD, WRONG = "servico.py", "errado.py"


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two services, and an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("typed")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # What the library depends on; a folder in a .pth file has no .pth files of its own, so the
    # checkout does not come along.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in (GOOD, WRONG):
        (folder / name).write_text((HERE / name).read_text())
    return folder


def mypy(project: Path, name: str) -> dict[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--show-error-codes",
         "--python-executable", project / "env" / "bin" / "python", name],
        cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, "MYPY_CACHE_DIR": os.devnull},
    )  # fmt: skip
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = re.findall(rf"^{name}:(\d+): error: (.*)$", run.stdout, re.MULTILINE)
    return {int(line): text for line, text in found}


def pyright(project: Path, name: str) -> dict[int, str]:
    settings = {"typeCheckingMode": "strict", "include": [name]}
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    run = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson",
         "--pythonpath", project / "env" / "bin" / "python"],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return {
        one["range"]["start"]["line"] + 1: one["message"]
        for one in json.loads(run.stdout)["generalDiagnostics"]
        if one["severity"] == "error"
    }


CHECKERS = [mypy, pyright]


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_service_in_a_folder_of_its_own_is_clean_in_strict_mode(checker, project: Path) -> None:
    assert checker(project, GOOD) == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_uses_are_errors_where_they_stand(checker, project: Path) -> None:
    marked = {
        number
        for number, line in enumerate((HERE / WRONG).read_text().splitlines(), 1)
        if "# wrong: " in line
    }
    assert len(marked) >= 12
    found = checker(project, WRONG)
    assert found.keys() == marked, "\n".join(f"{line}: {text}" for line, text in found.items())


def test_the_wheel_says_that_it_is_typed(project: Path) -> None:
    (marker,) = (project / "env").glob("lib/python*/site-packages/messaging/py.typed")
    assert marker.read_text() == ""


def test_what_messaging_new_writes_is_clean_in_strict_mode(project: Path, tmp_path: Path) -> None:
    python = project / "env" / "bin" / "python"
    folder = tmp_path / "new"
    subprocess.run(
        [python, "-m", "messaging", "new", "service", "biblioteca", "--into", folder], check=True
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", python],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_what_contract_generate_writes_is_clean_in_strict_mode(tmp_path: Path) -> None:
    for service in (*SCHOOL.services, "anyone"):
        (tmp_path / f"{service}.py").write_text(module_of(SCHOOL, service), encoding="utf-8")
    (tmp_path / "wide.py").write_text(module_of(WIDE, "anyone"), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text("[mypy]\nplugins = pydantic.mypy\nstrict = true\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "."],
        cwd=tmp_path,
        env={"PATH": "", "MYPYPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
