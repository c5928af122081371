"""`messaging local`: runs a broker on this machine until the command ends."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from messaging.cli import screen
from messaging.cli.options import Json, TopologyName
from messaging.cli.project import deployment_if_any
from messaging.cli.signals import EndedBySignals

if TYPE_CHECKING:
    from messaging.local.lifecycle import ServerProcess
    from messaging.settings import Settings
    from messaging.topology import Topology

__all__ = ["local"]


_PORT = 4566
_ENGINE: Literal["ministack"] = "ministack"


def local(
    broker: Annotated[
        Literal["sqs", "rabbitmq"],
        typer.Option(help="What is started; RabbitMQ must be installed."),
    ] = "sqs",
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help=f"On 127.0.0.1; 0 takes a free one. Else {_PORT}, for RabbitMQ a free one.",
        ),
    ] = None,
    engine: Annotated[
        Literal["ministack", "moto"] | None,
        typer.Option(help="Who answers SNS and SQS; made ready at its first start: ministack."),
    ] = None,
    topology: TopologyName = None,
    only_install: Annotated[
        bool,
        typer.Option("--install", help="Only make the engine ready: for CI and images."),
    ] = False,
    json: Json = False,
) -> None:
    """Start SNS and SQS, or RabbitMQ, on this machine, with the topology, until Ctrl-C.

    Prints the environment variables for it: set them in the shells where you run and publish. The
    server's contents are lost when it ends. The first start installs the server of SNS and SQS into
    its own Python environment, separate from yours, below ~/.cache/messaging. A RabbitMQ node uses
    the installed rabbitmq-server, with its own data, name and port.

    [bold]Example:[/bold] messaging local --topology consumers:TOPOLOGY
    """
    if broker == "rabbitmq" and (engine is not None or only_install):
        raise typer.BadParameter(
            "--engine and --install are of SNS and SQS; RabbitMQ comes with the system: "
            "apt-get install rabbitmq-server"
        )
    wanted, settings = deployment_if_any(topology)
    if broker == "sqs":
        from messaging.local import install

        folder = install(engine or _ENGINE, _say)
        if only_install:
            screen.line(str(folder))
            return
    with EndedBySignals(), _server(broker, engine or _ENGINE, port) as server:
        topic = None
        environment = dict(server.environment)
        if wanted is not None:
            topic = _applied(server, wanted, settings)
            # Without the prefix: a program with a prefix in its environment adds it again.
            environment["MESSAGING_TOPIC"] = topic.removeprefix(settings.prefix)
        if settings.broker_url:
            environment.setdefault("MESSAGING_BROKER_URL", "sqs:")
        _tell(server, topic, wanted.services if wanted else (), environment, as_json=json)
        server.wait()
        # We have not called `stop`, so the server ended unexpectedly.
        screen.error(f"the local server ({server.name}) stopped unexpectedly")
        raise typer.Exit(1)
    screen.note("stopped; nothing is left behind")


def _applied(server: ServerProcess, topology: Topology, settings: Settings) -> str:
    """Create the topology on the server, including its topic; returns the topic's name."""
    here = server.settings().model_dump(exclude_unset=True)
    return server.apply(topology, settings.model_copy(update={"broker_url": None, **here})).topic


def _server(broker: str, engine: Literal["ministack", "moto"], port: int | None) -> ServerProcess:
    from messaging.local import LocalRabbitMQ, LocalServer

    if broker == "rabbitmq":
        screen.note("starting a node of RabbitMQ, which takes some seconds")
        return LocalRabbitMQ(port=port or 0)
    return LocalServer(engine=engine, port=_PORT if port is None else port)


def _say(text: str, *words: object) -> None:
    screen.note(text % words)


def _tell(
    server: ServerProcess,
    topic: str | None,
    services: tuple[str, ...],
    environment: dict[str, str],
    *,
    as_json: bool,
) -> None:
    what = f"topic {topic}, queues for {', '.join(services)}" if topic else "no topology, empty"
    screen.note(f"{server.name} answers at {server.url} ({what}). Ctrl-C ends it.")
    if as_json:
        screen.data(
            {
                "url": server.url,
                "pid": server.pid,
                "engine": server.name,
                "topic": topic,
                "services": services,
                "environment": environment,
            }
        )
    else:
        for name, value in environment.items():
            screen.line(f"export {name}={shlex.quote(value)}")
