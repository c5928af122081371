"""SIGTERM and Ctrl-C, in a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from messaging.runtime.threads import on_signals

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import logging, signal, sys, time
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.topology import Topology

logging.basicConfig(level="INFO", stream=sys.stderr)

class Happened(Event, type="happened", version=1):
    n: int

class Service(Consumer):
    @handles
    def happened(self, event: Happened) -> None:
        print("started", flush=True)
        time.sleep(float(sys.argv[1]))
        print("handled", flush=True)

broker = MemoryBroker(Topology.of(Service, topic="t"))
Publisher(broker.topic(), source="/t").publish(Happened(n=1))
before = signal.getsignal(signal.SIGTERM)
report = Worker(Service(), broker=broker, drain=float(sys.argv[2])).run()
assert signal.getsignal(signal.SIGTERM) is before
assert report.stats.balanced
print(report.stats.acknowledged, report.stats.expired, len(report.unfinished), flush=True)
"""


@contextmanager
def program(handler: float, drain: float) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(handler), str(drain)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_handlers_finish_and_ends_with_0(number):
    with program(handler=0.3, drain=10) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (out, process.returncode) == ("handled\n1 0 0\n", 0), err
        assert "worker stopping polls (SIGTERM or SIGINT)" in err


def test_a_second_signal_waits_for_nobody():
    with program(handler=60, drain=60) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        # Two signals that are pending at once are one.
        assert any("worker stopping polls" in ready_queue for ready_queue in process.stderr)
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert (out, process.returncode) == ("0 1 1\n", 0), err
        assert time.monotonic() - began < 15
        assert "asked to stop a second time" in err


def test_signals_are_heard_inside_and_put_back_afterwards():
    heard: list[int] = []
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with on_signals(lambda: heard.append(1)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert heard == [1, 1]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_in_another_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def look() -> None:
        with on_signals(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
