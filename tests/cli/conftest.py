"""What the tests of the command line share: real processes, and a server that is theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from messaging.local import LocalServer

ROOT = Path(__file__).parents[2]

SCHOOL = '''
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from messaging.codec import JsonCodec
from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Call
from messaging.envelope import Envelope
from messaging.event import Event
from messaging.outcome import RateLimit, Reject
from messaging.projection import Projection
from messaging.topology import Topology


class Enrolled(Event, type="student.enrolled", version=1):
    name: str
    email: str
    fee: int | None = None


class EnrolledForMail(Projection, of=Enrolled, audience="mail"):
    name: str


class EnrolledForBooks(Projection, of=Enrolled, audience="books"):
    name: str
    fee: int | None


class Mail(Consumer):
    @handles
    def welcome(self, student: EnrolledForMail) -> None:
        # One write: handlers run in several threads.
        sys.stdout.write(f"handled {student.name}\\n")
        sys.stdout.flush()

    def close(self) -> None:
        # One write here, too: of several processes each comes by.
        sys.stdout.write("closed\\n")
        sys.stdout.flush()


class AsyncMail(Mail):
    service = "mail"

    async def close(self) -> None:
        sys.stdout.write("closed in a loop\\n")


class OpenedMail(AsyncMail):
    service = "mail"
    pool = None

    async def open(self) -> None:
        self.pool = ["connection"]

    async def close(self) -> None:
        sys.stdout.write(f"closed {self.pool.pop()}\\n")


class SlowMail(Mail):
    service = "mail"
    rate = RateLimit(50, shared=True)


class Books(Consumer):
    @handles
    def open_account(self, student: EnrolledForBooks) -> None:
        if student.fee is not None and student.fee < 0:
            raise Reject("fee: negative")


class Left(Event, type="student.left", version=1):
    name: str


class Post(Consumer):
    """A service of another topology."""

    @handles
    def send(self, student: Left) -> None: ...


class Choosy(Consumer):
    service = "mail"

    def __init__(self, mailing: str) -> None: ...


MAIL = Mail()


def make_mail() -> Mail:
    return Mail()


@contextmanager
def NOTED(call: Call) -> Iterator[None]:
    sys.stdout.write(f"around {call.handler.name}\\n")
    sys.stdout.flush()
    yield


def make_noted() -> object:
    return NOTED


class Reversed(JsonCodec):
    """Bodies from back to front: unknown: them without it."""

    __slots__ = ()

    def encode(self, envelope: Envelope, data: bytes) -> str:
        return super().encode(envelope, data)[::-1]

    def decode(self, body: str) -> Envelope:
        return super().decode(body[::-1])


TOPOLOGY = Topology.of(Mail, Books, topic="students", owns_topic=True)
OFFICE = Topology.producer("students", owner="office")
LETTERS = Topology.of(Mail, topic="students", owner="letters")
LEDGER = Topology.of(Books, topic="students", owner="ledger")
'''


def load_school() -> ModuleType:
    """The module itself, under no name that another test would find."""
    module = ModuleType("school")
    sys.modules["school"] = module  # annotations are looked up there while classes are made
    try:
        exec(compile(SCHOOL, "school.py", "exec"), module.__dict__)
    finally:
        del sys.modules["school"]
    return module


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "school.py").write_text(SCHOOL)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.messaging]\ntopology = "school:TOPOLOGY"\nevent = "school:Enrolled"\n'
        'source = "/office"\n'
    )
    return tmp_path


@pytest.fixture
def environment(server: LocalServer, project: Path) -> dict[str, str]:
    """Leads to the server, with topic and queues of this test's own."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MESSAGING_"))
    }
    prefix = "t" + "".join(filter(str.isalnum, project.name))[-20:] + "-"
    return clean | server.environment | {"MESSAGING_PREFIX": prefix, "COLUMNS": "80"}


@pytest.fixture
def messaging(project: Path, environment: dict[str, str]) -> Run:
    """Runs `messaging ...` to its end, as a user would."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "messaging", *arguments],
            cwd=project,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def started(
    project: Path, environment: dict[str, str]
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `messaging ...` and lets the test stop it."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "messaging", *arguments],
            cwd=project,
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
