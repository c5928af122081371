"""The command line's commands for manage.py: with the same options, configured by MESSAGING."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.cli.app import command, run
from messaging.cli.project import Host, Project
from messaging.consuming.dispatch import Middleware
from messaging.django.handling import CloseConnections
from messaging.django.setup import FILE, current
from messaging.settings import Settings

__all__ = ["CliCommand", "DjangoHost", "manage_py", "refuse"]


class DjangoHost(Host):
    """The configuration of the command line's commands when Django runs them: MESSAGING."""

    def __init__(self, *, database: str | None = None, child: Sequence[str] = ()) -> None:
        self._setup = current()
        self._database = database
        self.child = tuple(child)

    def settings(self) -> Settings:
        """MESSAGING, overridden by the environment; the database is Django's."""
        return self._setup.deployment().model_copy(update={"database": self._database})

    def project(self) -> Project:
        """The names in MESSAGING."""
        setup = self._setup
        return Project(
            file=FILE,
            topology=setup.topology_name,
            event=setup.event_name,
            codec=setup.codec_name,
            csv=setup.csv,
        )

    def middleware(self) -> Sequence[Middleware]:
        """Django's connections first, then the middleware in MESSAGING."""
        return [CloseConnections(), *self._setup.middleware]


class CliCommand(BaseCommand):
    """A manage.py command that runs a `messaging ...` command, with its options.

    words     the words of that command.
    left_out  options that Django provides.
    """

    words: Sequence[str] = ()
    left_out: Sequence[str] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of the command."""
        for one in self._parameters():
            about = re.sub(r"\[/?\w+\]", "", one.help or "").replace("%", "%%")
            if one.param_type_name == "argument":
                many = "+" if one.nargs == -1 and one.required else "*" if one.nargs == -1 else None
                parser.add_argument(one.name, nargs=many, metavar=_shown(one), help=about)
                continue
            kind: dict[str, Any] = {"action": "append" if one.multiple else "store"}
            if one.is_flag:
                kind = {"action": "store_true"}
            elif one.default is not None:
                about += f" (default: {getattr(one.default, 'value', one.default)})"
            if not one.is_flag:
                kind["metavar"] = _shown(one)
            parser.add_argument(*one.opts, dest=one.name, help=about, **kind)

    def handle(self, *arguments: Any, **options: Any) -> None:
        """Run it, and exit with its code if that is not 0."""
        if code := run(self.command_line(options), self.host(options)):
            sys.exit(code)  # it has already reported why it failed

    def command_line(self, options: dict[str, Any]) -> list[str]:
        """The command line's arguments for `options`."""
        line, behind = [*self.words], ["--"]
        for one in self._parameters():
            value = options.get(one.name)
            values = value if isinstance(value, list | tuple) else [value]
            given = [str(each) for each in values if each is not None and each is not False]
            if one.param_type_name == "argument":
                behind += given
            elif one.is_flag:
                line += [one.opts[0]] if given else []
            else:
                line += [f"{one.opts[0]}={each}" for each in given]
        return [*line, *behind]

    def host(self, options: dict[str, Any]) -> Host:
        """Additional arguments that the options do not provide."""
        return DjangoHost()

    def _parameters(self) -> list[Any]:
        found = command(*self.words).params
        return [one for one in found if one.name not in (*self.left_out, "help")]


def manage_py(name: str, options: dict[str, Any]) -> list[str]:
    """Python's arguments to run the command `name` in the same way as this process."""
    script = Path(sys.argv[0])
    if script.suffix != ".py" or script.name == "__main__.py" or not script.is_file():
        found = ["-m", "django", name]
    else:
        found = [str(script), name]
    if options.get("pythonpath"):
        found.append(f"--pythonpath={options['pythonpath']}")
    return found if not options.get("skip_checks") else [*found, "--skip-checks"]


def refuse(said: str) -> NoReturn:
    """Raise the error that Django prints in red, with exit code 2."""
    raise CommandError(said, returncode=2)


def _shown(one: Any) -> str:
    return str(one.metavar or one.name.upper())
