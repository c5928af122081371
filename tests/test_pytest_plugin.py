"""The fixtures, as a user's test suite would meet them: in a pytest of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCHOOL = """
from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.topology import Topology

class Enrolled(Event, type="student.enrolled", version=1):
    name: str

class Mail(Consumer):
    def __init__(self):
        self.sent, self.loops = [], set()

    @handles
    async def welcome(self, student: Enrolled) -> None:
        import asyncio
        self.loops.add(asyncio.get_running_loop())
        self.sent.append(student.name)

TOPOLOGY = Topology.of(Mail, topic="students")
"""

TESTS = """
from messaging.publishing.publisher import Publisher
from messaging.testing import drain
from school import TOPOLOGY, Enrolled, Mail

def test_deliver(deliver, messaging_clock):
    mail = Mail()
    result = deliver(mail, Enrolled(name="Ana"))
    assert result.acknowledged and mail.sent == ["Ana"]
    assert result.envelope.time.timestamp() == messaging_clock.now()
    deliver(mail, Enrolled(name="Bia"))
    assert len(mail.loops) == 1

def test_topic(messaging_topic):
    Publisher(messaging_topic, source="/office").publish(Enrolled(name="Ana"))
    assert [one.data for one in messaging_topic.published(Enrolled)] == [{"name": "Ana"}]

def test_broker(messaging_broker, messaging_clock):
    broker = messaging_broker()
    Publisher(broker.topic(), source="/office").publish(Enrolled(name="Ana"))
    mail = Mail()
    assert drain(broker, mail, clock=messaging_clock).acknowledged == 1
    assert messaging_broker(TOPOLOGY).queue("mail").depth().visible == 0

def test_server(messaging_server):
    assert messaging_server.url.startswith("http://127.0.0.1:")
    assert messaging_server.pid
"""


PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "test-your-consumer.md"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "school.py").write_text(SCHOOL)
    (tmp_path / "test_school.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npythonpath = .\nmessaging_topology = school:TOPOLOGY\n"
    )
    return tmp_path


def test_the_fixtures_serve_a_suite_of_its_own(suite: Path) -> None:
    done = run(suite)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_the_how_to_page_is_a_suite_that_passes(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    done = run(tmp_path)
    assert f"{''.join(blocks).count('def test_')} passed" in done.stdout, done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", "messaging_broker() needs a topology"),
        ("messaging_topology = school:NOTHING", "has no attribute 'NOTHING'"),
        ("messaging_topology = school:Mail", "a Topology was expected"),
        ("messaging_topology = schule:TOPOLOGY", "No module named 'schule'"),
    ],
)
def test_a_wrong_topology_is_told(suite: Path, said: str, expected: str) -> None:
    (suite / "pytest.ini").write_text(f"[pytest]\npythonpath = .\n{said}\n")
    done = run(suite, "-k", "broker")
    assert expected in done.stdout + done.stderr
    assert done.returncode != 0


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys, messaging.pytest_plugin; "
        "print([m for m in ('boto3', 'ministack', 'typer', 'rich.console', 'messaging.memory') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
