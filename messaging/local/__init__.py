"""Servers on this machine, and their life cycle: one for SNS and SQS, and RabbitMQ.

    with LocalServer() as server:
        settings = server.settings(topic="alunos")
        server.apply(TOPOLOGY, settings)
        broker = server.connect(settings)

The server is a child process. It ends with this process, however that ends, and listens on
127.0.0.1 only. It runs `messaging.local.child`. `LocalRabbitMQ` is a RabbitMQ node.
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

    Without `state`, its contents are in memory and lost at `stop()`. A stopped server can be
    started again, on the same port; without `state`, it is then empty. Thread-safe; a forked child
    process may use it, and does not stop it.

    Args:
        engine: "ministack" (fast) or "moto" (widely known). Neither needs to be installed: `start`
            creates an environment for it once, separate from yours
            (`messaging.local.installation`).
        port: 0 chooses a free one.
        log: a file to which the server's log is appended, including requests; None logs warnings
            only, in a folder that is removed at the end.
        state: a folder in which ministack keeps its contents from one stop to the next start;
            queues are written when it ends gracefully (`stop()`, SIGTERM, this process's end) but
            not when it is killed, S3 files immediately. Two servers must not share a folder.

    Raises:
        MissingExtra: by `start`, if the engine could not be installed.
        ConfigurationError: by `start`, if the port is not available.

    Example:
        ```python
        # Not run: it starts its own server, which tests/test_local.py does.
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
        """The URL of SNS and SQS: boto3's endpoint URL."""
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
        """Variables for other processes: they make boto3 and this library use this server."""
        return {"AWS_ENDPOINT_URL": self.url, **CREDENTIALS, "AWS_REGION": REGION}

    def settings(self, **fields: Any) -> Settings:
        """Settings for this server; `fields` are those of `Settings` (topic, prefix, ...).

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
        # The socket is ours and already listening: a request waits in its backlog until the server
        # accepts it, and no other process can answer it.
        return answers(self._port, _HEALTH[self.engine])
