"""The list of commands with their descriptions, without loading any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer

from messaging.cli.help import Group, add

__all__ = ["COMMANDS", "Menu"]

# Name: the function or the group of commands, and the first paragraph of its help. A test holds
# the second against what the command itself says.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "new": (
        "messaging.cli.new:app",
        "Write the first files of a service or a producer in a repository of its own.",
    ),
    "local": (
        "messaging.cli.local:local",
        "Start SNS and SQS, or RabbitMQ, on this machine, with the topology, until Ctrl-C.",
    ),
    "run": (
        "messaging.cli.worker:run",
        "Run services: receive, handle, acknowledge, until Ctrl-C or SIGTERM.",
    ),
    "publish": ("messaging.cli.publish:publish", "Publish each row of a CSV file as an event."),
    "try": (
        "messaging.cli.attempt:try_service",
        "Publish a test event that reaches one service and no other.",
    ),
    "status": (
        "messaging.cli.status:status",
        "Show each queue: visible, in flight, delayed, oldest, dead letters, undelivered.",
    ),
    "topology": (
        "messaging.cli.topology:app",
        "Compare, create and remove the topic, the queues and the subscriptions.",
    ),
    "export": (
        "messaging.cli.export:app",
        "Write the topology as infrastructure as code: CloudFormation, IAM and more.",
    ),
    "dlq": (
        "messaging.cli.dlq:app",
        "Dead letters: inspect them, send them back to their queue, or drop them.",
    ),
    "contract": (
        "messaging.cli.contract:app",
        "Write down what each service receives, and say who breaks when it changes.",
    ),
    "doctor": (
        "messaging.cli.doctor:doctor",
        "Say what would go wrong between the topic and the services, with the remedy.",
    ),
    "canary": (
        "messaging.cli.canary:canary",
        "Send a marked message to services; their workers report how long it took.",
    ),
    "explain": (
        "messaging.cli.explain:explain",
        "Show who receives an event, which fields each service gets, and what a month of it costs.",
    ),
    "where": (
        "messaging.cli.where:where",
        "Find an event: in the outbox, in the marks of services, among dead letters.",
    ),
    "outbox": (
        "messaging.cli.outbox:app",
        "Send what your transactions wrote to the outbox, and maintain it.",
    ),
}


class Menu(Group):
    """The group of all commands: each is loaded when it is called or its own help is requested."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands()  # type: ignore[assignment] # nobody adds one later

    def abouts(self) -> dict[str, str]:
        """The description of each command, by name."""
        return {name: about for name, (_, about) in COMMANDS.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        """Return their names; typer's own implementation would load the commands."""
        return list(COMMANDS)


class _Commands(Mapping[str, Any]):
    """The commands by their names, each loaded when it is first looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, COMMANDS[name][0])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _load(name: str, where: str) -> Any:
    module, _, attribute = where.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        add(alone, name, found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command
