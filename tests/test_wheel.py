"""What is in the wheel, and that it works outside the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    outside = [name for name in names if not re.match(r"messaging/|messaging_sns_sqs-", name)]
    assert outside == []
    assert "messaging/py.typed" in names


def test_what_only_the_tests_of_the_library_use_is_not_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    kit = {Path(name).stem for name in names if name.startswith("messaging/testing/chaos/")}
    tests = {path.stem for path in (ROOT / "tests" / "chaos").glob("*.py")}
    assert "simulation" in kit
    assert not kit & tests


def test_the_wheel_says_who_made_it_and_where_to_ask(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
    said = archive.read(name).decode()
    for line in ("Author: ", "Project-URL: Issues, ", "Requires-Python: >=3.11", "Typing :: Typed"):
        assert line in said
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", said, re.MULTILINE)
    assert required == ["boto3", "pydantic", "tenacity"]


def test_a_service_works_from_the_wheel_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from release import SERVICE  # type: ignore[import-not-found]  # a script, not a package
    finally:
        sys.path.remove(str(ROOT / "tools"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "servico.py").write_text(SERVICE)
    subprocess.run([tmp_path / "env" / "bin" / "python", "servico.py"], cwd=tmp_path, check=True)


def test_the_changelog_has_a_dated_section_for_the_version() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "tools" / "release.py", "--notes"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "###" in said.stdout
