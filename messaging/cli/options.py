"""Options shared by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["CodecName", "Json", "Target", "TopologyName", "flag"]


def flag(name: str, help: str) -> Any:
    """An option without a value, and without typer's `--no-...` counterpart."""
    return typer.Option(name, metavar="", help=help)


Json = Annotated[bool, flag("--json", "Print data as JSON, for scripts.")]

TopologyName = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:NAME",
        help="The Topology; by default MESSAGING_TOPOLOGY, or the project's file.",
    ),
]

CodecName = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:NAME",
        help="How bodies are written and read (a ClaimCheck, say). Else the project's file.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Target:
    """The file that a document is written to or compared with."""

    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there, not to standard output."),
    ] = None
    check: Annotated[
        bool, flag("--check", "Write nothing: exit 1 if --output differs from the code.")
    ] = False
