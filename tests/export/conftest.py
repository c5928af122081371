"""What the tests of the exports share: topologies, a server, and cfn-lint."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.local import LocalServer
from messaging.topology import Topic, Topology


class Aconteceu(Event, type="teste.aconteceu", version=1):
    numero: int


class Mudou(Event, type="teste.mudou", version=1):
    numero: int


class Um(Consumer):
    visibility_timeout = 45
    max_receives = 7

    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...


class Dois(Consumer):
    service = "meia-entrada"

    @handles
    def ouvir(self, evento: Aconteceu) -> None: ...

    @handles
    def mudar(self, evento: Mudou) -> None: ...


class Tres(Consumer):
    """In CloudFormation it would have the other's name."""

    service = "meia_entrada"

    @handles
    def ouvir(self, evento: Mudou) -> None: ...


TOPOLOGIES = {
    "the whole map": Topology.of(Um, Dois, topic="alunos", owns_topic=True),
    "one service": Topology.of(Um, topic="alunos", owner="equipe um"),
    "FIFO": Topology.of(Um, Dois, topic="alunos.fifo", owns_topic=True),
    "the topic alone": Topology.producer(Topic(name="alunos", max_bytes=1_048_576)),
    "a key of one's own": Topology.of(
        Um, topic="alunos", owns_topic=True, kms_key="alias/escola/alunos"
    ),
    "names that are nearly the same": Topology.of(Dois, Tres, topic="alunos", owns_topic=True),
}

Lint = Callable[[Any], None]


@pytest.fixture
def lint(tmp_path: Path) -> Lint:
    """cfn-lint has nothing to say of a template."""

    def run(template: Any) -> None:
        path = tmp_path / "template.json"
        path.write_text(json.dumps(template, indent=2))
        said = subprocess.run(
            [Path(sys.executable).with_name("cfn-lint"), "--regions", "sa-east-1", "--", path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")

    return run


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    with LocalServer(engine="ministack") as started:
        yield started
