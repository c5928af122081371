"""The help pages: rendered here, because typer's own rendering loads most of rich.

typer can render Markdown and tracebacks, and imports the modules for that before the first line of
a help page; that took half of the time of `messaging --help`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from messaging.cli import screen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Command", "Group", "add", "group", "help_of"]

_OPTION = r"(?<![\w-])--?[a-zA-Z][\w-]*"
_ARGUMENTS, _OPTIONS, _COMMANDS = "Arguments", "Options", "Commands"


class Command(TyperCommand):
    """A command whose help page is rendered here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Render the page for `--help`."""
        _draw(self, ctx, {})


class Group(TyperGroup):
    """A group of commands whose help page is rendered here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the group's own options; without arguments, render the help page and exit with
        2."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            _draw(self, ctx, self.abouts())
            raise typer.Exit(2)
        for option in self.get_params(ctx):
            # typer's own options, --help and the two for completion, have no default, and to turn
            # that into a boolean it would load pydantic.
            if getattr(option, "is_flag", False) and option.default is None:
                option.default = False
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Render the page for `--help`."""
        _draw(self, ctx, self.abouts())

    def abouts(self) -> dict[str, str]:
        """The purpose of each command by name: the first paragraph of its help."""
        return {name: _paragraphs(command)[0] for name, command in self.commands.items()}


def group(about: str) -> typer.Typer:
    """A group of commands, to be filled by `add`."""
    return typer.Typer(cls=Group, no_args_is_help=True, add_completion=False, help=about)


def add(app: typer.Typer, name: str, function: Callable[..., Any]) -> None:
    """Add `function` to `app` as the command `name`; its docstring is the help."""
    app.command(name, cls=Command, help=help_of(function))(_spread(function))


def _spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` in the form that typer needs: a dataclass parameter becomes one option per field,
    so that options shared by several commands, or the many of one, are defined in one place."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(function, eval_str=True).parameters.values():
        if not is_dataclass(one.annotation):
            parameters.append(one)
            continue
        groups[one.name] = one.annotation
        hints = get_type_hints(one.annotation, include_extras=True)
        parameters += [
            inspect.Parameter(own.name, one.kind, default=own.default, annotation=hints[own.name])
            for own in fields(one.annotation)
        ]

    def command(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
        function(**given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    return command


def help_of(function: Callable[..., Any]) -> str:
    """The function's docstring with each paragraph on one line, because typer keeps line breaks."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(re.sub(r"\s*\n\s*", " ", paragraph) for paragraph in paragraphs)


def _paragraphs(command: Any) -> list[str]:
    said: str = command.help or ""
    return said.split("\n\n")


def _draw(command: Any, ctx: Any, abouts: dict[str, str]) -> None:
    """Print the page of one command to stdout; `abouts` describes the commands of a group."""
    from rich.text import Text

    console = screen.console()
    usage = Text(command.get_usage(ctx), style="bold")
    usage.highlight_regex("^Usage: ", "yellow")
    _print(console, usage)
    first, *others = _paragraphs(command)
    if first:
        _print(console, _marked(first))
    for paragraph in others:
        _print(console, _marked(paragraph, "dim"))
    panels: dict[str, list[tuple[Text, Text]]] = {_ARGUMENTS: [], _OPTIONS: [], _COMMANDS: []}
    for one in command.get_params(ctx):
        if (record := one.get_help_record(ctx)) is not None:
            title = _ARGUMENTS if one.param_type_name == "argument" else _OPTIONS
            panels[title].append(_row(one, *record))
    panels[_COMMANDS] = [(Text(name, "bold cyan"), _marked(said)) for name, said in abouts.items()]
    console.print()
    for title, rows in panels.items():
        _panel(console, title, rows)
    if command.epilog:
        _print(console, _marked(command.epilog))


def _row(parameter: Any, name: str, said: str) -> tuple[Text, Text]:
    """A parameter's name and its description; `said` ends with default, range and [required]."""
    from rich.text import Text

    left = Text(name)
    left.highlight_regex(_OPTION, "bold cyan")
    left.highlight_regex(r"(?<= )(?!-)\S.*$|^(?!-)\S+", "bold yellow")
    about = parameter.help or ""
    right = _marked(about)
    # Some versions of typer escape it as markup.
    if rest := said.removeprefix(about).strip().replace("\\[", "["):
        right.append(" " if about else "")
        right.append(Text(rest, "red" if "required" in rest else "dim"))
    return left, right


def _marked(text: str, style: str = "") -> Text:
    from rich.text import Text

    marked = Text.from_markup(text, style=style)
    marked.highlight_regex(_OPTION, "bold cyan")
    return marked


def _print(console: Console, text: Text) -> None:
    from rich.padding import Padding

    console.print()
    console.print(Padding(text, (0, 1), expand=False))


def _panel(console: Console, title: str, rows: Sequence[tuple[Text, Text]]) -> None:
    from rich.panel import Panel
    from rich.table import Table

    if not rows:
        return
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    # Names are never cut off: one that does not fit into half of the screen is wrapped.
    width = min(max(left.cell_len for left, _ in rows), console.width // 2)
    table.add_column(width=width, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    for left, right in rows:
        table.add_row(left, right)
    console.print(Panel(table, title=title, title_align="left", border_style="dim"))
