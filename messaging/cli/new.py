"""`messaging new`: the first files of a service or a producer in its own repository."""

from __future__ import annotations

import keyword
import re
import string
import sys
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from messaging.cli import screen
from messaging.cli.help import add, group
from messaging.errors import ConfigurationError
from messaging.projection import SERVICE_NAME

__all__ = ["app"]

_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+")
_SUFFIX = ".txt"


EventType = Annotated[str, typer.Option(metavar="TYPE", help="The event's type.")]
TopicName = Annotated[str, typer.Option(help="The topic that it is published to.")]
Into = Annotated[Path | None, typer.Option(metavar="FOLDER", help="The folder; by default NAME.")]


def service(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the service: biblioteca.")],
    event: EventType = "aluno.cadastrado",
    topic: TopicName = "alunos",
    into: Into = None,
) -> None:
    """Write a service with its test, pyproject.toml and Dockerfile into a new folder.

    They pass pytest and mypy as generated. Existing files are not overwritten.

    [bold]Example:[/bold] messaging new service biblioteca --event aluno.cadastrado
    """
    _begin("service", name, event, topic, into)


def producer(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the producer: secretaria.")],
    event: EventType = "aluno.cadastrado",
    topic: TopicName = "alunos",
    into: Into = None,
) -> None:
    """Write a producer with its event, its topic, a test and pyproject.toml into a new folder.

    They pass pytest and mypy as generated. Existing files are not overwritten.

    [bold]Example:[/bold] messaging new producer secretaria --event aluno.cadastrado
    """
    _begin("producer", name, event, topic, into)


def _begin(kind: str, name: str, event: str, topic: str, into: Path | None) -> None:
    package = _checked(name, event)
    folder = into if into is not None else Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(
            f"{folder} is there already and not an empty folder; remove it, or choose another "
            "place with --into"
        )
    written = _write(
        kind,
        folder,
        {
            "name": name,
            "package": package,
            "consumer": _camel(name),
            "event": _camel(event),
            "handler": re.sub(r"[.-]", "_", event),
            "type": event,
            "topic": topic,
            "version": version("messaging-sns-sqs"),
        },
    )
    for path in written:
        screen.line(str(path))
    screen.note(f"next: cd {folder}, and see README.md")


def _checked(name: str, event: str) -> str:
    """The name of the Python package; raises `BadParameter` for an invalid name or event type."""
    if not SERVICE_NAME.fullmatch(name):
        raise typer.BadParameter(
            f'{name!r} is not a name for it; use 1 to 50 of a to z, 0 to 9, "-" and "_"',
            param_hint="NAME",
        )
    package = name.replace("-", "_")
    if not package.isidentifier() or keyword.iskeyword(package):
        raise typer.BadParameter(
            f"{package!r} cannot be a Python package; begin with a letter", param_hint="NAME"
        )
    if package in sys.stdlib_module_names or package in {"messaging", "tests"}:
        raise typer.BadParameter(
            f"{package!r} is a module that Python imports already; choose another name",
            param_hint="NAME",
        )
    if not _EVENT_TYPE.fullmatch(event):
        raise typer.BadParameter(
            f"{event!r} is not an event type; write dotted words, like aluno.cadastrado",
            param_hint="--event",
        )
    return package


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[._-]", name))


def _write(kind: str, folder: Path, words: dict[str, str]) -> list[Path]:
    written: list[Path] = []
    with as_file(files("messaging.cli") / "templates" / kind) as templates:
        for source in sorted(path for path in templates.rglob("*") if path.is_file()):
            place = str(source.relative_to(templates)).removesuffix(_SUFFIX)
            target = folder / place.replace("package/", f"{words['package']}/", 1)
            text = string.Template(source.read_text(encoding="utf-8")).substitute(words)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            written.append(target)
    return written


app = group("Write the first files of a service or a producer in a repository of its own.")
add(app, "service", service)
add(app, "producer", producer)
