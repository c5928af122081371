"""`messaging topology`: what stands on AWS, what should, and the step between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from messaging.cli import screen
from messaging.cli.help import add, group
from messaging.cli.options import Json, TopologyName
from messaging.cli.project import deployment

if TYPE_CHECKING:
    from messaging.aws import Change, Plan
    from messaging.aws.changes import Action

__all__ = ["app"]

app = group("Compare and create the topic, the queues and the subscriptions.")

_LOOK: Mapping[str, str] = {
    "create": "[green]+ create[/]",
    "change": "[yellow]~ change[/]",
    "delete": "[red]- delete[/]",
    "drift": "[magenta]! drift[/]",
    "leave": "[dim]= leave[/]",
}

Delete = Annotated[
    bool,
    typer.Option("--delete", metavar="", help="Delete what we made and no service needs any more."),
]


def plan_command(
    topology: TopologyName = None,
    delete: Delete = False,
    detailed_exitcode: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode",
            metavar="",
            help="Exit 0: nothing to do, 1: error, 2: apply would change.",
        ),
    ] = False,
    details: Annotated[
        bool,
        typer.Option("--details", metavar="", help="Every attribute of what would be created."),
    ] = False,
    json: Json = False,
) -> None:
    """Show what apply would do. Changes nothing.

    "create": it is missing. "change": it is ours and differs. "leave": it is as it should be.
    "drift": others did it, or nobody needs it any more; apply leaves it alone.

    [bold]Example:[/bold] messaging topology plan --topology consumers:TOPOLOGY
    """
    from messaging.aws import plan
    from messaging.errors import MessagingError

    try:
        wanted, settings = deployment(topology)
        found = plan(wanted, settings, delete=delete)
    except MessagingError as error:
        if not detailed_exitcode:
            raise
        screen.error(str(error))  # 2 would say that there is something to apply
        raise typer.Exit(1) from None
    _show(found, json, applied=False, details=details)
    if detailed_exitcode and found.pending:
        raise typer.Exit(2)


def apply_command(
    topology: TopologyName = None,
    delete: Delete = False,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="With --delete: do it.")] = False,
    json: Json = False,
) -> None:
    """Create what is missing and set what differs. Safe to repeat, and to run twice at once.

    Nothing is deleted without --delete --yes.

    [bold]Example:[/bold] messaging topology apply --topology consumers:TOPOLOGY
    """
    from messaging.aws import apply, plan

    wanted, settings = deployment(topology)
    if delete and not yes:
        found = plan(wanted, settings, delete=True)
        if any(change.action == "delete" for change in found.changes):
            _show(found, json, applied=False)
            screen.error("nothing was done: deleting needs --yes beside --delete")
            raise typer.Exit(2)
    # Without --yes not even what has become deletable since that look.
    _show(apply(wanted, settings, delete=delete and yes), json, applied=True)


def show_command(topology: TopologyName = None, json: Json = False) -> None:
    """Print the topology as your code says it. Asks nobody.

    [bold]Example:[/bold] messaging topology show --topology consumers:TOPOLOGY
    """
    wanted, settings = deployment(topology)
    named = wanted.prefixed(settings.prefix)
    if json:
        screen.data(named.to_dict())
        return
    screen.table(
        f"Topic {named.topic.name}",
        ["service", "queue", "receives"],
        [
            [queue.service, queue.name, ", ".join(named.subscription(queue.service).types)]
            for queue in named.queues
        ],
    )


def _show(plan: Plan, json: bool, *, applied: bool, details: bool = False) -> None:
    if json:
        screen.data(plan.to_dict())
        return
    screen.table(
        f"Topic {plan.topic} ({plan.where})",
        ["action", "what", "name"],
        [[_LOOK[one.action], one.kind, _named(one, details)] for one in plan.changes],
    )
    _summarise(plan, applied=applied)


def _named(change: Change, details: bool) -> str:
    # What is created has every attribute: that is shown on demand only.
    lines = change.details if details or change.action != "create" else ()
    return "\n".join(
        [screen.plain(change.name), *(f"[dim]  {screen.plain(one)}[/]" for one in lines)]
    )


def _summarise(plan: Plan, *, applied: bool) -> None:
    def count(action: Action) -> int:
        return sum(one.action == action for one in plan.changes)

    steps: tuple[Action, ...] = ("create", "change", "delete")
    counted = ", ".join(f"{count(action)} to {action}" for action in steps if count(action))
    drift = f"; {count('drift')} drifted, left alone" if count("drift") else ""
    if not plan.pending:
        said = "nothing to do"
    elif applied:
        said = f"done ({counted})"
    else:
        said = f"{counted}; do it with: messaging topology apply"
    screen.note(said + drift)


add(app, "plan", plan_command)
add(app, "apply", apply_command)
add(app, "show", show_command)
