"""The project's own defaults: `[tool.messaging]` in pyproject.toml, or messaging.toml.

    [tool.messaging]
    topology = "consumers:TOPOLOGY"
    event = "consumers.events:AlunoCadastrado"
    source = "/cadastro"
    codec = "school.wire:CODEC"      # only if bodies are not the library's own JSON

    [tool.messaging.csv]             # as in the file that `publish --map` takes
    defaults = { origem = "csv" }

The command line takes precedence over the environment, and the environment over this file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from messaging.cli import names
from messaging.errors import ConfigurationError

if TYPE_CHECKING:
    from messaging.codec import Codec
    from messaging.connecting import ServiceBroker
    from messaging.consuming.consumer import Consumer
    from messaging.consuming.dispatch import Middleware
    from messaging.runtime import Worker
    from messaging.settings import Settings
    from messaging.topology import Topology

__all__ = [
    "HOST",
    "Host",
    "Project",
    "chosen_codec",
    "connected",
    "deployment",
    "deployment_if_any",
    "read_project",
    "require_topic",
]

_TEXTS = ("topology", "event", "source", "codec")


@dataclass(frozen=True, kw_only=True)
class Project:
    """The contents of the project's file; `file` is None if there is none."""

    file: str | None = None
    topology: str | None = None
    event: str | None = None
    source: str | None = None
    codec: str | None = None
    csv: Mapping[str, Any] = field(default_factory=dict)


class Host:
    """Provides what a command's options leave out, from the environment and the project's file.

    A framework that runs our commands as its own passes another one to `messaging.cli.app.run`.
    """

    child: Sequence[str] = ("-m", "messaging", "run")
    """Arguments with which Python is started for each process of `run --processes`."""

    def settings(self) -> Settings:
        """The settings of the deployment."""
        from messaging.settings import Settings

        return Settings.from_environment()

    def project(self) -> Project:
        """The project's own defaults."""
        return read_project(Path.cwd())

    def middleware(self) -> Sequence[Middleware]:
        """Middleware around every handler, outside that of `--middleware`."""
        return ()

    def made(self, worker: Worker, consumers: Sequence[Consumer]) -> None:
        """Called with the worker that `run` is about to start, and with its consumers."""


HOST: ContextVar[Host] = ContextVar("host", default=Host())  # noqa: B039 - it holds no state
"""The host of the current command."""


def read_project(folder: Path) -> Project:
    """The defaults in `folder`: messaging.toml, else `[tool.messaging]` in pyproject.toml."""
    for name, keys in (("messaging.toml", ()), ("pyproject.toml", ("tool", "messaging"))):
        path = folder / name
        if not path.is_file():
            continue
        table = _toml(path)
        for key in keys:
            table = table.get(key, {})
        if table or not keys:
            return _project(name, table)
    return Project()


def deployment(said: str | None) -> tuple[Topology, Settings]:
    """The topology and its settings.

    `said` is the value of `--topology`. The topic is the topology's; MESSAGING_TOPIC may give its
    ARN, and `SettingsError` is raised if it names another topic.
    """
    topology, settings = deployment_if_any(said)
    if topology is None:
        raise ConfigurationError(
            "which topology? Give --topology module:NAME, or MESSAGING_TOPOLOGY, or in "
            'pyproject.toml: [tool.messaging] topology = "module:NAME"'
        )
    return topology, settings


def deployment_if_any(said: str | None) -> tuple[Topology | None, Settings]:
    """Like `deployment`, for a command that works without a topology."""
    from messaging.aws.naming import topic_of

    settings = HOST.get().settings()
    project = HOST.get().project()
    for name, where in (
        (said, "--topology"),
        (settings.topology, "MESSAGING_TOPOLOGY"),
        (project.topology, f"topology in {project.file}:"),
    ):
        if name is not None:
            topology = names.topology(name, where)
            topic_of(topology, settings)
            if settings.topic is None:
                settings = settings.model_copy(update={"topic": topology.topic.name})
            return topology, settings
    return None, settings


def require_topic(settings: Settings) -> None:
    """Raise `ConfigurationError` if neither the environment nor a topology names the topic."""
    if settings.topic is None:
        raise ConfigurationError(
            "which topic? Give MESSAGING_TOPIC, or a topology: --topology module:NAME"
        )


def connected(settings: Settings) -> AbstractContextManager[ServiceBroker]:
    """The broker for `settings`, closed at the end of the block."""
    from messaging.connecting import connect

    return closing(connect(settings))


def chosen_codec(said: str | None) -> Codec | None:
    """The codec of `--codec`, otherwise the project's; None means the library's own JSON."""
    project = HOST.get().project()
    for name, where in ((said, "--codec"), (project.codec, f"codec in {project.file}:")):
        if name is not None:
            return names.codec(name, where)
    return None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path.name}: not TOML: {error}") from None


def _project(file: str, table: Mapping[str, Any]) -> Project:
    unknown = sorted(set(table) - {*_TEXTS, "csv"})
    if unknown:
        raise ConfigurationError(
            f"{file}: unknown: {', '.join(unknown)}; known are {', '.join(_TEXTS)} and csv"
        )
    for name in _TEXTS:
        if not isinstance(table.get(name, ""), str):
            raise ConfigurationError(f"{file}: {name} must be a text")
    if not isinstance(table.get("csv", {}), Mapping):
        raise ConfigurationError(f"{file}: csv must be a table, [csv]")
    return Project(file=file, **table)
