"""Several processes for one consumer: real children, really signalled, crashed and orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from messaging.backoff import Backoff
from messaging.errors import ConfigurationError
from messaging.runtime.processes import run_processes

ROOT = Path(__file__).resolve().parents[2]

PARENT = """
import logging, sys
from messaging.runtime.processes import run_processes
logging.basicConfig(level="INFO", stream=sys.stderr)
sys.exit(run_processes(sys.argv[2:], int(sys.argv[1]), grace=1.0))
"""

PATIENT = """
import os, signal, sys, time
def stop(*_):
    open(f"{sys.argv[1]}/{os.getpid()}.stopped", "a").write("x")
    if sys.argv[2] == "obedient":
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open(f"{sys.argv[1]}/{os.getpid()}.started", "w").close()
while True:
    time.sleep(0.1)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def parent() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(count: int, *argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(count), *argv],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def pids(where: Path, what: str) -> set[int]:
    return {int(path.stem) for path in where.glob(f"*.{what}")}


def test_children_are_stopped_by_one_signal_each(parent, until, tmp_path):
    process = parent(3, "-c", PATIENT, str(tmp_path), "obedient")
    until(lambda: len(pids(tmp_path, "started")) == 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert pids(tmp_path, "stopped") == pids(tmp_path, "started")
    assert {path.read_text() for path in tmp_path.glob("*.stopped")} == {"x"}


def test_ctrl_c_in_a_terminal_is_one_signal_for_each_child(parent, until, tmp_path):
    process = parent(2, "-c", PATIENT, str(tmp_path), "obedient")
    until(lambda: len(pids(tmp_path, "started")) == 2)
    os.killpg(process.pid, signal.SIGINT)  # a terminal signals the whole group
    assert process.wait(10) == 0
    assert {path.read_text() for path in tmp_path.glob("*.stopped")} == {"x"}
    assert pids(tmp_path, "stopped") == pids(tmp_path, "started")


def test_a_child_that_waits_to_be_started_again_is_not_waited_for(monkeypatch, until, caplog):
    monkeypatch.setattr("messaging.runtime.processes.BACKOFF", Backoff(first=600, longest=600))

    def stop() -> None:
        until(lambda: "process 1 ended with 7" in caplog.text)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert run_processes(["-c", "raise SystemExit(7)"], 1) == 0
    thread.join()


def test_a_child_that_will_not_stop_is_killed(parent, until, tmp_path):
    process = parent(1, "-c", PATIENT, str(tmp_path), "stubborn")
    until(lambda: pids(tmp_path, "started"))
    process.send_signal(signal.SIGINT)
    until(lambda: pids(tmp_path, "stopped"))
    assert process.wait(10) == 128 + signal.SIGKILL
    assert not any(psutil.pid_exists(pid) for pid in pids(tmp_path, "started"))


def test_a_child_that_is_killed_is_started_again(parent, until, tmp_path):
    process = parent(2, "-c", PATIENT, str(tmp_path), "obedient")
    until(lambda: len(pids(tmp_path, "started")) == 2)
    psutil.Process(min(pids(tmp_path, "started"))).kill()
    until(lambda: len(pids(tmp_path, "started")) == 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_children_end_with_a_parent_that_is_killed(parent, until, tmp_path):
    process = parent(2, "-c", PATIENT, str(tmp_path), "obedient")
    until(lambda: len(pids(tmp_path, "started")) == 2)
    process.kill()
    until(lambda: pids(tmp_path, "stopped") == pids(tmp_path, "started"))
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids(tmp_path, "started")))


def test_crashes_at_once_end_it_with_the_code_of_the_crash(monkeypatch):
    monkeypatch.setattr("messaging.runtime.processes.BACKOFF", Backoff(first=0.01, longest=30))
    began = time.monotonic()
    assert run_processes(["-c", "import sys; sys.exit(7)"], 2, most_crashes=3) == 7
    assert time.monotonic() - began < 20


def test_children_that_end_well_are_not_started_again(tmp_path):
    code = f"import os; open(f'{tmp_path}/{{os.getpid()}}.ran', 'w').close()"
    assert run_processes(["-c", code], 3) == 0
    assert len(pids(tmp_path, "ran")) == 3


def test_no_processes_is_refused():
    with pytest.raises(ConfigurationError, match="count=0"):
        run_processes(["-c", ""], 0)
