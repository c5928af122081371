"""`messaging contract`: writes, compares and reads the catalogue of a producer's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from messaging.cli import screen
from messaging.cli.help import add, group
from messaging.cli.options import Json, Target
from messaging.errors import ConfigurationError

if TYPE_CHECKING:
    from messaging.contract.catalogue import Catalogue
    from messaging.contract.check import Finding
    from messaging.contract.needs import Needs
    from messaging.event import Event

__all__ = ["Events", "WhatServicesRead", "app", "events_at", "needs_at", "put", "tell"]

app = group("Write down what each service receives, and say who breaks when it changes.")

Events = Annotated[
    str, typer.Argument(metavar="MODULE[:EVENT]", help="The module of the events, or one event.")
]
CatalogueName = Annotated[
    str,
    typer.Argument(
        metavar="CATALOGUE", help="A file, s3://..., or the module of the events itself."
    ),
]
WhatServicesRead = Annotated[
    list[str] | None,
    typer.Option(metavar="WHERE", help="What services read: a file, a folder or s3://..."),
]
Topic = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The topic's name. Else that of the project's topology."),
]


def export_command(
    target: Events,
    topic: Topic = None,
    format: Annotated[
        Literal["asyncapi", "markdown", "html"],
        typer.Option(metavar="FORMAT", help="asyncapi, markdown or html."),
    ] = "asyncapi",
    title: Annotated[str, typer.Option(metavar="TEXT", help="Its title.")] = "",
    to: Target = Target(),
) -> None:
    """Write the catalogue: which service receives which fields of which event.

    The same code always gives the same text, so it can be committed and compared.

    [bold]Example:[/bold] messaging contract export consumers.events -o catalogue.json
    """
    from messaging.contract.asyncapi import write_document
    from messaging.contract.files import written
    from messaging.contract.page import html_page, markdown_page
    from messaging.topology import queue_name

    catalogue = _from_code(target, topic)
    if format == "asyncapi":
        queues = {one: queue_name(catalogue.topic, one) for one in catalogue.services}
        text = written(write_document(catalogue, queues=queues, title=title))
    else:
        text = markdown_page(catalogue) if format == "markdown" else html_page(catalogue)
    put(text, to, f"messaging contract export {target}")
    _tell_unsent(target)


def check_command(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="The catalogue that is in use: a file or s3://...")
    ],
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="[NEW]", help="What is to replace it: a file, or the events' module."
        ),
    ] = None,
    mode: Annotated[
        Literal["backward", "forward", "full"],
        typer.Option(metavar="MODE", help="backward, forward or full."),
    ] = "full",
    needs: WhatServicesRead = None,
    topic: Topic = None,
    json: Json = False,
) -> None:
    """Show which services break, and why, when NEW replaces OLD. Exits with 1 if any does.

    backward: readers of NEW read what OLD wrote. forward: readers of OLD read what NEW writes.
    With --needs alone, one catalogue is compared with what services read.

    [bold]Example:[/bold] messaging contract check catalogue.json consumers.events --needs needs/
    """
    from messaging.contract import check as rules

    if new is None and not needs:
        raise ConfigurationError("compare with what? Give NEW, or --needs, or both")
    before = _catalogue(old, topic)
    after = before if new is None else _catalogue(new, topic)
    found = [] if new is None else rules.check(before, after, mode)
    if new is not None and not _is_file(new):
        _tell_unsent(new)
    found += rules.check_needs(needs_at(needs or ()), after)
    tell(found, json)


def needs_command(
    service: Annotated[
        str, typer.Argument(metavar="MODULE:SERVICE", help="The consumer class of the service.")
    ],
    to: Target = Target(),
) -> None:
    """Write the fields that a service reads, for the producer to check against.

    [bold]Example:[/bold] messaging contract needs consumers.bi:BI -o needs/bi.json
    """
    from messaging.cli import names
    from messaging.contract.files import written
    from messaging.contract.needs import needs_of, write_needs

    found = names.consumer_class(service, "the service")
    put(written(write_needs(needs_of(found))), to, f"messaging contract needs {service}")


def generate_command(
    catalogue: CatalogueName,
    service: Annotated[str, typer.Option(metavar="NAME", help="Whose views.")],
    topic: Topic = None,
    to: Target = Target(),
) -> None:
    """Write a Python module of one service's views, for a repository without the contract.

    [bold]Example:[/bold] messaging contract generate catalogue.json --service bi -o eventos.py
    """
    from messaging.contract.generate import module_of

    text = module_of(_catalogue(catalogue, topic), service)
    put(text, to, f"messaging contract generate {catalogue} --service {service}")


def schema_command(
    catalogue: CatalogueName,
    service: Annotated[str, typer.Option(metavar="NAME", help="Whose view.")],
    type: Annotated[str, typer.Option(metavar="TYPE", help="Of which event.")],
    topic: Topic = None,
    to: Target = Target(),
) -> None:
    """Write the JSON Schema of the message bodies that one service receives of one event.

    [bold]Example:[/bold] messaging contract schema catalogue.json --service bi
    --type aluno.cadastrado
    """
    from messaging.contract.asyncapi import body_schema
    from messaging.contract.files import written

    found = _catalogue(catalogue, topic)
    view = found.view(service, type)
    if view is None:
        raise ConfigurationError(
            f"{service} receives no {type}; in this catalogue it receives "
            f"{', '.join(one for one in found.types if found.view(service, one)) or 'nothing'}"
        )
    put(written(body_schema(view)), to, "messaging contract schema")


def tell(found: list[Finding], json: bool) -> None:
    """Show which services are affected, and exit with 1 if any breaks."""
    breaking = [one for one in found if one.breaks]
    if json:
        for one in found:
            screen.data(one.to_dict())
    elif found:
        screen.table(
            "Who is affected",
            ["service", "finding"],
            [
                [
                    "every service" if one.service == "*" else one.service,
                    # Names are long, and a wrapped name cannot be copied, so each gets its own
                    # line.
                    screen.marked(
                        screen.plain(f"{one.type}: {one.place or one.view}"),
                        f"{_LOOK[one.breaks]} {screen.plain(f'{one.way}: {one.said}')}",
                        screen.plain(f"remedy: {one.remedy}"),
                    ),
                ]
                for one in found
            ],
        )
    services = sorted({one.service for one in breaking})
    if breaking:
        named = ", ".join("every service" if one == "*" else one for one in services)
        screen.error(f"breaks {named} (findings: {len(breaking)})")
        raise typer.Exit(1)
    screen.note("nobody breaks" + (f"; notes: {len(found)}" if found else ""))


_LOOK: Mapping[bool, str] = {True: "[red]breaks[/]", False: "[yellow]note[/]"}


def _catalogue(where: str, topic: str | None) -> Catalogue:
    from messaging.contract.asyncapi import read_document
    from messaging.contract.files import document_at

    if not _is_file(where):
        return _from_code(where, topic)
    return read_document(document_at(where, _s3), where)


def _is_file(where: str) -> bool:
    # "consumers.events" names a module; "catalogue.json" and "./contract" do not.
    named = where.partition(":")[0].split(".")
    is_module = all(map(str.isidentifier, named)) and named[-1] not in ("json", "yaml", "yml")
    return "://" in where or Path(where).exists() or not is_module


def _s3(url: str) -> Mapping[str, bytes]:
    from messaging.aws.s3_documents import read_documents
    from messaging.settings import Settings

    return read_documents(url, Settings.from_environment())


def needs_at(places: Sequence[str]) -> list[Needs]:
    """The needs that services have declared, read from files, folders and buckets."""
    from messaging.contract.files import documents_at
    from messaging.contract.needs import read_needs

    return [read_needs(one, name) for where in places for name, one in documents_at(where, _s3)]


def _from_code(target: str, topic: str | None) -> Catalogue:
    from messaging.contract.catalogue import catalogue_of

    return catalogue_of(events_at(target), topic=_topic(topic))


def events_at(target: str) -> list[type[Event]]:
    """The events that MODULE[:EVENT] names."""
    from messaging.cli import names
    from messaging.contract.catalogue import events_of

    if ":" in target:
        return [names.event(target, "the event")]
    events = events_of(names.module(target, "the module"))
    if not events:
        raise ConfigurationError(
            f"the module {target!r} has no event; give the module that declares them, like "
            "consumers.events"
        )
    return events


def _tell_unsent(target: str) -> None:
    """Note fields that are in no view: adding one breaks no service, but none receives it."""
    from messaging.contract.catalogue import unsent_fields

    for event in events_at(target):
        if fields := unsent_fields(event):
            screen.note(f"{event.event_type}: in no view, so never sent: {', '.join(fields)}")


def _topic(said: str | None) -> str:
    from messaging.cli import names
    from messaging.cli.project import read_project

    if said is not None:
        return said
    project = read_project(Path.cwd())
    if project.topology is None:
        raise ConfigurationError(
            "which topic? Give --topic NAME, or in pyproject.toml: [tool.messaging] topology = "
            '"module:NAME"'
        )
    return names.topology(project.topology, f"topology in {project.file}:").topic.name


def put(text: str, to: Target, command: str) -> None:
    """Write a document to a file or standard output, or compare it; `command` regenerates it."""
    output = to.output
    if output is None:
        if to.check:
            raise ConfigurationError("--check: compare with what? Give --output FILE")
        screen.text(text)
        return
    try:
        if to.check:
            standing = output.read_text(encoding="utf-8") if output.exists() else ""
            if standing == text:
                screen.note(f"{output} is as the code says")
                return
            screen.error(f"{output} differs from the code; write it again: {command} -o {output}")
            raise typer.Exit(1)
        output.write_text(text, encoding="utf-8", newline="\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text in UTF-8"
        raise ConfigurationError(f"{output}: {why}") from None
    screen.note(f"wrote {output}")


add(app, "export", export_command)
add(app, "check", check_command)
add(app, "needs", needs_command)
add(app, "generate", generate_command)
add(app, "schema", schema_command)
