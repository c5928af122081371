"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Check", "CodecName", "Json", "Output", "TopologyName"]

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print data as JSON, for scripts.")]

TopologyName = Annotated[
    str | None,
    typer.Option(
        "--topology",
        metavar="MODULE:NAME",
        help="The Topology. Else MESSAGING_TOPOLOGY, else the project's file.",
    ),
]

CodecName = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="MODULE:NAME",
        help="How bodies are written and read (a ClaimCheck, say). Else the project's file.",
    ),
]

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write there, not to standard output."),
]

Check = Annotated[
    bool,
    typer.Option(
        "--check", metavar="", help="Write nothing: exit 1 if --output differs from the code."
    ),
]
