"""The command line: its commands, and the exit codes of their failures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextvars import copy_context
from typing import Annotated, Any

import typer

from messaging.cli import screen
from messaging.cli.menu import Menu
from messaging.cli.project import HOST, Host
from messaging.errors import ConfigurationError, MessagingError, TopicNotFound
from messaging.printable import printable

__all__ = ["app", "command", "run"]

app = typer.Typer(
    name="messaging",
    cls=Menu,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A traceback with local variables would show personal data.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 4 the topic does not "
    "exist yet, 130 Ctrl-C.",
)


TOPIC_MISSING = 4
"""Exit code of a command whose topic has not been created by its owner yet: retry later."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        screen.line(f"messaging-sns-sqs {version('messaging-sns-sqs')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, metavar="", help="Print the version."
        ),
    ] = False,
) -> None:
    """One event published, several services told: one SNS topic, one SQS queue per service."""


def command(*words: str) -> Any:
    """Typer's command object for these words: `command("outbox", "relay")`."""
    found: Any = typer.main.get_command(app)
    for word in words:
        found = found.commands[word]
    return found


def run(arguments: Sequence[str], host: Host | None = None) -> int:
    """Run one command and return its exit code. `host` is the framework that runs it, if any."""
    context = copy_context()
    if host is not None:
        context.run(HOST.set, host)
    return context.run(_run, arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        app(list(arguments), prog_name="messaging")
    except SystemExit as ended:  # typer returns the exit code this way
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except ConfigurationError as error:
        screen.error(str(error))
        return 2
    except TopicNotFound as error:
        screen.error(printable(str(error)))
        return TOPIC_MISSING
    except MessagingError as error:
        screen.error(printable(str(error)))  # it may quote an AWS response
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone (`| head`), so an error message would reach nobody.
        sys.stderr.close()
        return 1
    return 0
