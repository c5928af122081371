"""`messaging local`: SNS and SQS on this machine, for as long as the command runs."""

from __future__ import annotations

import enum
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from messaging.cli import screen
from messaging.cli.options import Json, TopologyName
from messaging.cli.project import deployment_if_any

if TYPE_CHECKING:
    from messaging.local import LocalServer

__all__ = ["local"]


class EngineName(enum.StrEnum):
    """What answers: ministack is fast, moto is known to many."""

    ministack = "ministack"
    moto = "moto"


def local(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")
    ] = 4566,
    engine: Annotated[
        EngineName, typer.Option(help="Who answers; made ready at its first start.")
    ] = EngineName.ministack,
    topology: TopologyName = None,
    only_install: Annotated[
        bool,
        typer.Option("--install", help="Only make the engine ready: for CI and images."),
    ] = False,
    json: Json = False,
) -> None:
    """Start SNS and SQS on this machine, with the topology, until Ctrl-C.

    Prints the environment that leads there: set it in the shells where you run and publish.
    What the server holds is in memory, and gone when it ends. The first start installs the server
    into an environment of its own, apart from yours, below ~/.cache/messaging.

    [bold]Example:[/bold] messaging local --topology consumers:TOPOLOGY
    """
    from messaging.local import LocalServer, install

    wanted, settings = deployment_if_any(topology)
    folder = install(engine.value, _say)
    if only_install:
        screen.line(str(folder))
        return
    with screen.EndedBySignals(), LocalServer(engine=engine.value, port=port) as server:
        topic = None
        if wanted is not None:
            from messaging.aws import apply
            from messaging.aws.sessions import new_session

            here = settings.model_copy(update=server.settings().model_dump(exclude_unset=True))
            # Whoever owns the topic elsewhere, this server's is made here.
            session = new_session(**server.credentials)
            topic = apply(wanted, here, session=session, create_topic=True).topic
        environment = dict(server.environment)
        if topic is not None:
            # Without the prefix, which a program that has one in its environment adds again.
            environment["MESSAGING_TOPIC"] = topic.removeprefix(settings.prefix)
        services = wanted.services if wanted else ()
        _tell(server, engine, topic, services, environment, as_json=json)
        server.wait()
        # Not by our doing: `stop` has not been called.
        screen.error(f"the local server ({engine.value}) ended by itself")
        raise typer.Exit(1)
    screen.note("stopped; nothing is left behind")


def _say(text: str, *words: object) -> None:
    screen.note(text % words)


def _tell(
    server: LocalServer,
    engine: EngineName,
    topic: str | None,
    services: tuple[str, ...],
    environment: dict[str, str],
    *,
    as_json: bool,
) -> None:
    what = f"topic {topic}, queues for {', '.join(services)}" if topic else "no topology, empty"
    screen.note(f"{engine.value} answers at {server.url} ({what}). Ctrl-C ends it.")
    if as_json:
        screen.data(
            {
                "url": server.url,
                "pid": server.pid,
                "engine": engine.value,
                "topic": topic,
                "services": services,
                "environment": environment,
            }
        )
    else:
        for name, value in environment.items():
            screen.line(f"export {name}={shlex.quote(value)}")
