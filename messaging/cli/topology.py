"""`messaging topology`: compares the broker with the desired topology, and applies the changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from messaging.cli import screen
from messaging.cli.help import add, group
from messaging.cli.options import Json, TopologyName, flag
from messaging.cli.project import deployment
from messaging.errors import MessagingError, TopicNotFound
from messaging.printable import printable

if TYPE_CHECKING:
    from messaging.changes import Action, Change, Plan
    from messaging.settings import Settings
    from messaging.topology import Topology

__all__ = ["app"]

app = group("Compare, create and remove the topic, the queues and the subscriptions.")

_LOOK: Mapping[str, str] = {
    "create": "[green]+ create[/]",
    "change": "[yellow]~ change[/]",
    "delete": "[red]- delete[/]",
    "keep": "[magenta]! keep[/]",
    "drift": "[magenta]! drift[/]",
    "leave": "[dim]= leave[/]",
    "other": "[dim]. other[/]",
}

TakeOver = Annotated[bool, flag("--take-over", "Take what is another owner's by its tags.")]


def plan_command(
    topology: TopologyName = None,
    take_over: TakeOver = False,
    detailed_exitcode: Annotated[
        bool,
        flag(
            "--detailed-exitcode",
            "Exit 0: nothing to do, 1: error, 2: apply would change, 4: no topic yet.",
        ),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Compare an exported CloudFormation or Terraform file. Makes no request.",
        ),
    ] = None,
    details: Annotated[
        bool, flag("--details", "Every attribute of what would be created.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what apply would do. Changes nothing.

    "create": it is missing. "change": it is ours and differs. "leave": it is as it should be.
    "other": another topology's, not managed here. "drift": ours, but changed by someone else; apply
    leaves it alone.

    With --against, shows how the consumers now differ from an exported file. In CI: messaging
    topology plan --against topology.json --detailed-exitcode

    [bold]Example:[/bold] messaging topology plan --topology consumers:TOPOLOGY
    """
    from messaging.connecting import plan

    try:
        wanted, settings = deployment(topology)
        if against is not None:
            found = _drift(wanted, settings, against)
        else:
            found = plan(wanted, settings, take_over=take_over)
    except MessagingError as error:
        if not detailed_exitcode or isinstance(error, TopicNotFound):
            raise
        screen.error(str(error))  # 2 would mean that there are changes to apply
        raise typer.Exit(1) from None
    todo = "messaging topology apply"
    if against is not None:
        form = "terraform" if against.name.endswith(".tf.json") else "cloudformation"
        todo = f"messaging export {form} -o {against}"
    _show(found, json, todo=todo, details=details)
    if detailed_exitcode and found.pending:
        raise typer.Exit(2)


def apply_command(
    topology: TopologyName = None,
    take_over: TakeOver = False,
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait for a topic that its owner has not created yet."),
    ] = 0,
    json: Json = False,
) -> None:
    """Create what is missing and update what differs. Safe to repeat, and to run concurrently.

    Changes only the resources of the topology's services, and the topic if the topology owns it.
    Deletes nothing. Exits with 4, without changing anything, if the topic does not exist yet.

    [bold]Example:[/bold] messaging topology apply --topology consumers:TOPOLOGY
    """
    from messaging.connecting import apply

    wanted, settings = deployment(topology)
    try:
        done = apply(wanted, settings, take_over=take_over)
    except TopicNotFound as error:
        if not wait:
            raise
        screen.note(f"{printable(str(error))}. Waiting for up to {wait:g} s")
        done = apply(wanted, settings, take_over=take_over, wait=wait)
    _show(done, json)


def remove_command(
    service: Annotated[str, typer.Argument(help="The service, as its consumer calls it.")],
    topology: TopologyName = None,
    yes: Annotated[bool, flag("--yes", "Do it.")] = False,
    lose_messages: Annotated[
        bool, flag("--lose-messages", "Even if its queues hold messages.")
    ] = False,
    take_over: TakeOver = False,
    json: Json = False,
) -> None:
    """Delete a service's subscription, queue and dead letters. Without --yes, only show them.

    Stop its workers first. Refuses, with exit code 1, to delete another owner's resources, or a
    queue that holds messages. The service need not be in the topology any more.

    [bold]Example:[/bold] messaging topology remove biblioteca --yes
    """
    from messaging.connecting import remove

    wanted, settings = deployment(topology)
    found = remove(
        wanted,
        service,
        settings,
        dry_run=not yes,
        lose_messages=lose_messages,
        take_over=take_over,
    )
    if json:
        screen.data(found.to_dict())
    elif found.changes:
        _draw(found, details=True)
    if found.kept:
        holding = ", ".join(one.name for one in found.kept if "holds" in one.details[0])
        screen.error(
            f"{'not everything' if found.pending else 'nothing'} was removed: {holding} would lose "
            f"messages. Let {service} handle them (dead letters: messaging dlq list {service}), or "
            "say --lose-messages"
        )
        raise typer.Exit(1)
    if not found.changes:
        screen.note(f"nothing of a service {service} stands at topic {found.topic}")
    elif not yes:
        screen.note("nothing was removed; --yes does it")
    else:
        screen.note(f"{service} is removed")


def show_command(topology: TopologyName = None, json: Json = False) -> None:
    """Print the topology as your code declares it. Makes no requests.

    [bold]Example:[/bold] messaging topology show --topology consumers:TOPOLOGY
    """
    wanted, settings = deployment(topology)
    named = wanted.prefixed(settings.prefix)
    if json:
        screen.data(named.to_dict())
        return
    whose = f"owned by {named.owner_of('')}" if named.owns_topic else "of another topology"
    screen.table(
        f"Topic {named.topic.name} ({whose})",
        ["service", "owner", "queue", "receives"],
        [
            [
                queue.service,
                named.owner_of(queue.service),
                queue.name,
                ", ".join(named.subscription(queue.service).types),
            ]
            for queue in named.queues
        ],
    )


def _drift(wanted: Topology, settings: Settings, against: Path) -> Plan:
    import json

    from messaging.aws.naming import topic_of
    from messaging.errors import ConfigurationError
    from messaging.export.drift import drift

    try:
        document = json.loads(against.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--against {against}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigurationError(
            f"{against} is no JSON ({type(error).__name__}): give what `messaging export "
            "cloudformation` or `terraform` wrote"
        ) from None
    named = wanted.prefixed(settings.prefix)
    arn = topic_of(wanted, settings).arn
    return drift(named, document, file=str(against), others_topic=arn)


def _show(plan: Plan, json: bool, *, todo: str = "", details: bool = False) -> None:
    """Show the plan. `todo` is the command that applies pending changes; empty once they are
    applied."""
    if json:
        screen.data(plan.to_dict())
        return
    _draw(plan, details=details)
    _summarise(plan, todo)


def _draw(plan: Plan, *, details: bool) -> None:
    screen.table(
        f"Topic {plan.topic} ({plan.where})",
        ["action", "what", "name"],
        [
            [screen.marked(_LOOK[one.action]), one.kind, _named(one, details)]
            for one in plan.changes
        ],
    )


def _named(change: Change, details: bool) -> object:
    # A created resource lists all its attributes, which are shown on request only.
    lines = change.details if details or change.action != "create" else ()
    told = (f"[dim]  {screen.plain(one)}[/]" for one in lines)
    return screen.marked(screen.plain(change.name), *told)


def _summarise(plan: Plan, todo: str) -> None:
    def count(action: Action) -> int:
        return sum(one.action == action for one in plan.changes)

    steps: tuple[Action, ...] = ("create", "change", "delete")
    counted = ", ".join(f"{count(action)} to {action}" for action in steps if count(action))
    drift = f"; {count('drift')} drifted, left alone" if count("drift") else ""
    if not plan.pending:
        said = "nothing to do"
    elif not todo:
        said = f"done ({counted})"
    else:
        said = f"{counted}; do it with: {todo}"
    screen.note(said + drift)


add(app, "plan", plan_command)
add(app, "apply", apply_command)
add(app, "show", show_command)
add(app, "remove", remove_command)
