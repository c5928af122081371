"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["Check", "CodecName", "Json", "Output", "TopologyName", "flag"]


def flag(name: str, help: str) -> Any:
    """An option without a value, and without typer's own `--no-...` beside it."""
    return typer.Option(name, metavar="", help=help)


Json = Annotated[bool, flag("--json", "Print data as JSON, for scripts.")]

TopologyName = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:NAME",
        help="The Topology. Else MESSAGING_TOPOLOGY, else the project's file.",
    ),
]

CodecName = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:NAME",
        help="How bodies are written and read (a ClaimCheck, say). Else the project's file.",
    ),
]

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write there, not to standard output."),
]

Check = Annotated[bool, flag("--check", "Write nothing: exit 1 if --output differs from the code.")]
