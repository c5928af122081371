"""The local server's own environment: apart from the caller's, and made once."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from messaging.errors import ConfigurationError, MissingExtra
from messaging.local import LocalServer, installation
from messaging.local.installation import environment_of, install

PATIENCE = 60.0


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one package, `engine`, which is all that the lock of ministack asks for."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "engine-1.0-py3-none-any.whl"
    files = {
        "engine.py": b"ANSWER = 42\n",
        "engine-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: engine\nVersion: 1.0\n",
        "engine-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        record = ""
        for name, text in files.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        archive.writestr("engine-1.0.dist-info/RECORD", record + "engine-1.0.dist-info/RECORD,,\n")
    lock = tmp_path / "lock.txt"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"engine==1.0 --hash=sha256:{digest}\n")
    monkeypatch.setattr(installation, "_lock", lambda _engine: lock)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def said(folder: Path) -> str:
    command = [folder / "bin" / "python", "-c", "import engine; print(engine.ANSWER)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_server_runs_in_an_environment_that_is_not_mine() -> None:
    with LocalServer() as server:
        assert server.pid is not None
        command = psutil.Process(server.pid).cmdline()
    assert command[0] == str(environment_of("ministack") / "bin" / "python")
    assert command[1] == "-I"  # nor does it import what is in mine


def test_a_folder_of_wheels_is_enough_where_there_is_no_index(cache: Path, wheels: Path) -> None:
    told: list[str] = []
    folder = install("ministack", lambda text, *words: told.append(text % words))
    assert folder.parent == cache / "messaging"
    assert said(folder) == "42"
    assert told == [
        f"installing the local server ministack into {folder}: once, with pip, in a minute or less"
    ]


def test_the_second_time_nothing_is_installed(
    cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install("ministack", lambda *_: None)
    monkeypatch.setenv("PIP_FIND_LINKS", "nowhere")
    told: list[object] = []
    assert install("ministack", told.append) == folder
    assert told == []


def test_my_pip_settings_do_not_send_the_packages_elsewhere(
    cache: Path, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "pip.py").write_text("raise RuntimeError('not the pip that was meant')")
    assert said(install("ministack", lambda *_: None)) == "42"


def test_another_package_of_the_same_name_is_refused_by_its_hash(cache: Path, wheels: Path) -> None:
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more.py", "")
    with pytest.raises(MissingExtra, match="HASHES"):
        install("ministack", lambda *_: None)


def test_without_index_and_wheels_the_error_says_how_to_bring_them(
    cache: Path, wheels: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for wheel in wheels.iterdir():
        wheel.unlink()
    with caplog.at_level(logging.WARNING), pytest.raises(MissingExtra) as caught:
        LocalServer().start()
    text = str(caught.value)
    assert "pip ended with 1" in text
    assert "pip download --require-hashes -r" in text
    assert "PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels messaging local --install" in text
    assert "No matching distribution found for engine==1.0" in text
    assert "installing the local server ministack into" in caplog.text


def test_a_cache_that_cannot_be_written_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="set XDG_CACHE_HOME"):
        LocalServer().start()


PROGRAM = """
import sys
from pathlib import Path
from messaging.local import installation
installation._lock = lambda _engine: Path(sys.argv[1])
def say(text, *words): print(text % words, flush=True)
installation.install("ministack", say)
print("done", flush=True)
"""


def test_one_that_is_killed_in_the_middle_is_made_again(
    cache: Path, wheels: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM, tmp_path / "lock.txt"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as first:
        folder = environment_of("ministack")
        deadline = time.monotonic() + PATIENCE
        while not (folder / "pyvenv.cfg").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGKILL)
    assert not (folder / ".complete").exists()
    assert said(install("ministack", lambda *_: None)) == "42"


def test_of_two_at_once_one_installs_and_both_have_it(
    cache: Path, wheels: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM, tmp_path / "lock.txt"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=PATIENCE)[0].splitlines() for process in both]
    assert [lines[-1] for lines in told] == ["done", "done"]
    assert sorted(len(lines) for lines in told) == [1, 2]
