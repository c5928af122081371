"""What is in the wheel, and that it works outside the checkout."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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
    assert {"messaging/py.typed", "messaging/AGENTS.md"} <= {*names}


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


@pytest.mark.parametrize("way", ["index", "folder"])
def test_a_service_installs_it_from_a_private_index_or_a_folder(
    wheel: Path, tmp_path: Path, way: str
) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    index = tmp_path / "index" / "messaging-sns-sqs"
    index.mkdir(parents=True)
    shutil.copy(wheel, index)
    pip = [tmp_path / "env" / "bin" / "python", "-I", "-m", "pip", "install"]
    pip += ["--no-deps", "--quiet", "--disable-pip-version-check"]
    with serving(tmp_path / "index") as url:
        pip += {"index": ["--index-url", url], "folder": ["--no-index", "-f", index]}[way]
        subprocess.run([*pip, "messaging-sns-sqs[cli]"], check=True)
    # The dependencies are on another index in real life; here they are those of this environment.
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    said = subprocess.run(
        [tmp_path / "env" / "bin" / "messaging", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split()[-1] in wheel.name


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The folder as a simple package index: a listing for each project."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_changelog_has_a_dated_section_for_the_version() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "tools" / "release.py", "--notes"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "###" in said.stdout
