"""The room of the options that several commands share."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

__all__ = ["CodecName", "Json", "TopologyName", "help_of"]

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


def help_of(function: Callable[..., Any]) -> str:
    """The function's docstring with each paragraph on one line: typer keeps line ends."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(re.sub(r"\s*\n\s*", " ", paragraph) for paragraph in paragraphs)
