"""The room of the menu: what each command is called and is for, without loading any of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer

from messaging.cli.help import Command, Group, add

__all__ = ["COMMANDS", "Menu"]

# Name: the function or the group of commands, and the first paragraph of its help. A test holds
# the second against what the command itself says.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "local": (
        "messaging.cli.local:local",
        "Start SNS and SQS on this machine, with the topology, until Ctrl-C.",
    ),
    "run": (
        "messaging.cli.worker:run",
        "Run services: receive, handle, acknowledge, until Ctrl-C or SIGTERM.",
    ),
    "publish": ("messaging.cli.publish:publish", "Publish each row of a CSV file as an event."),
    "status": (
        "messaging.cli.status:status",
        "Show each queue: visible, in flight, delayed, oldest, dead letters, undelivered.",
    ),
    "topology": (
        "messaging.cli.topology:app",
        "Compare and create the topic, the queues and the subscriptions.",
    ),
    "dlq": (
        "messaging.cli.dlq:app",
        "Dead letters: look at them, send them back to their queue, or drop.",
    ),
    "outbox": (
        "messaging.cli.outbox:app",
        "Send what your transactions left in the outbox, and look after it.",
    ),
}


class Menu(Group):
    """The group of all commands: one is loaded when it is called, or its own help is asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # Their names alone: to propose one for a misspelt one, typer reads them here.
        self.commands = {name: Command(name) for name in COMMANDS}
        self._loaded: dict[str, Any] = {}

    def abouts(self) -> dict[str, str]:
        """What each command is for, by its name."""
        return {name: about for name, (_, about) in COMMANDS.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command called `cmd_name`, loaded; None when there is no such command."""
        if cmd_name in COMMANDS and cmd_name not in self._loaded:
            self._loaded[cmd_name] = _load(cmd_name)
        return self._loaded.get(cmd_name)


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        add(alone, name, found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command
