"""Servers on this machine, and their life cycle: one that answers SNS and SQS, and RabbitMQ.

    with LocalServer() as server:
        settings = server.settings(topic="alunos")
        server.apply(TOPOLOGY, settings)
        broker = server.connect(settings)

The server is a child process. It ends with this one, however this one ends, and it listens on
127.0.0.1 only. `messaging.local.child` is what runs in it. `LocalRabbitMQ` is a node of RabbitMQ.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from messaging.errors import ConfigurationError
from messaging.local.installation import install, interpreter
from messaging.local.lifecycle import ServerProcess
from messaging.local.process import CREDENTIALS, HOST, REGION, answers, bind, environment, spawn
from messaging.local.rabbitmq import LocalRabbitMQ
from messaging.settings import Settings

__all__ = ["HOST", "REGION", "Engine", "LocalRabbitMQ", "LocalServer", "install"]

Engine = Literal["ministack", "moto"]

_HEALTH: Mapping[Engine, str] = {"ministack": "/_ministack/health", "moto": "/moto-api/"}


class LocalServer(ServerProcess):
    """A server on 127.0.0.1 that speaks SNS and SQS. Start it with `start()` or `with`.

    Without `state`, what it holds is in memory and gone at `stop()`. A server that
    stopped can be started again, on the same port; empty, if it has no `state`. It may be used from
    any thread; a forked child process may talk to it, and does not stop it.

    Args:
        engine: "ministack" (fast) or "moto" (known to many). Neither needs to be installed: `start`
            makes an environment for it once, apart from yours (`messaging.local.installation`).
        port: 0 takes a free one.
        log: a file to which the server's log is appended, requests and all; None keeps warnings
            only, in a folder that is removed at the end.
        state: a folder in which ministack keeps what it holds, from one stop to the next start;
            queues are written when it ends in order (`stop()`, SIGTERM, this process's end) and not
            when it is killed, files of S3 at once. Two servers must not share one.

    Raises:
        MissingExtra: by `start`, when the engine could not be installed.
        ConfigurationError: by `start`, when the port cannot be had.

    Example:
        ```python
        # Not run: starts a server of its own, which tests/test_local.py does.
        from messaging import connect
        from messaging.aws import apply
        from messaging.local import LocalServer

        with LocalServer() as server:
            settings = server.settings(topic="alunos")
            apply(topology, settings)
            publisher = Publisher(connect(settings).topic(), source="/cadastro")
        ```
    """

    def __init__(
        self,
        *,
        engine: Engine = "ministack",
        port: int = 0,
        log: str | Path | None = None,
        state: str | Path | None = None,
    ) -> None:
        if engine not in _HEALTH:
            raise ConfigurationError(f"engine={engine!r}: use one of {', '.join(_HEALTH)}")
        if state is not None and engine != "ministack":
            raise ConfigurationError(f"engine={engine!r} keeps no state: only ministack does")
        super().__init__(engine, port, log, state)
        self.engine: Engine = engine

    @property
    def url(self) -> str:
        """Where SNS and SQS answer: what boto3 calls the endpoint URL."""
        return f"http://{HOST}:{self._port}"

    @property
    def credentials(self) -> dict[str, str]:
        """For code in this process: `boto3.Session(**server.credentials)`."""
        return {
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
            "region_name": REGION,
        }

    @property
    def environment(self) -> dict[str, str]:
        """For other processes: with these variables set, boto3 and this library come here."""
        return {"AWS_ENDPOINT_URL": self.url, **CREDENTIALS, "AWS_REGION": REGION}

    def settings(self, **fields: Any) -> Settings:
        """Settings that lead here; `fields` are those of `Settings` (topic, prefix, ...).

        Args:
            **fields: fields of `Settings`.
        """
        return Settings(**{"endpoint_url": self.url, "region": REGION, **fields})

    def _session(self) -> Any:
        from messaging.aws.sessions import new_session

        return new_session(**self.credentials)

    def _spawn(self, scratch: Path) -> subprocess.Popen[bytes]:
        python = interpreter(self.engine)
        listener = bind(self._port)
        self._port = listener.getsockname()[1]
        level = "WARNING" if self._log is None else "INFO"
        variables = environment(self._port, scratch, level, self._state)
        with closing(listener), self._open_log(scratch) as log:
            return spawn(python, self.engine, listener.fileno(), scratch, log, variables)

    def _answers(self) -> bool:
        # The socket is ours and listens already: a request waits in its backlog until the server
        # takes it, and nobody else can answer it.
        return answers(self._port, _HEALTH[self.engine])
