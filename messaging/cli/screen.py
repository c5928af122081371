"""Output: data goes to stdout, everything meant for people to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from messaging.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "console",
    "data",
    "error",
    "line",
    "log_to_stderr",
    "marked",
    "note",
    "plain",
    "table",
    "text",
]

_UNSEEN = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""Control characters that JSON leaves as they are."""


def line(text: str) -> None:
    """One line of data to stdout, at once. Foreign text comes through `printable`."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def text(whole: str) -> None:
    """A document of our own making to stdout, as it is."""
    sys.stdout.write(whole)
    sys.stdout.flush()


def data(value: Any) -> None:
    """One line of JSON to stdout."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    # The same value for a program, and one line for a person.
    line(_UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text))


def console(*, stderr: bool = False) -> Console:
    """A rich console; it honours NO_COLOR and knows whether a terminal is there."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def note(text: str) -> None:
    """Print a note for people, on stderr."""
    _say(_lines(text))


def error(text: str) -> None:
    """Why the command failed, on stderr."""
    from rich.text import Text

    _say(Text.assemble(("error: ", "bold red"), _lines(text)))


def _lines(text: str) -> str:
    # Our own messages may have several lines; what is foreign in them is made printable there.
    return "\n".join(map(printable, text.split("\n")))


def _say(text: str | Text) -> None:
    people = console(stderr=True)
    # Words are kept whole in a terminal; a file or a pipe gets whole lines.
    people.print(text, markup=False, soft_wrap=not people.is_terminal)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table to stdout; columns that start with ">" hold numbers, and cells what is told of them,
    whatever brackets and control characters that has. A cell with markup is made by `marked`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=Text(printable(title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in columns:
        # A name that is cut off cannot be copied: it goes on in the next line instead.
        drawn.add_column(
            name.lstrip(">"),
            justify="right" if name.startswith(">") else "left",
            overflow="fold",
        )
    for row in rows:
        cells = (one if isinstance(one, Text) else Text(printable(str(one))) for one in row)
        drawn.add_row(*cells)
    console().print(drawn)


def marked(*lines: str) -> Text:
    """A cell of several lines, which hold markup; foreign text in them comes through `plain`."""
    from rich.text import Text

    return Text.from_markup("\n".join(lines))


def plain(text: str) -> str:
    """`text` within markup, whatever brackets and control characters it holds."""
    from rich.markup import escape

    return escape(printable(text))


def log_to_stderr(level: str, *, json_lines: bool = False) -> None:
    """Send the log of the library and of the services to stderr."""
    import logging

    if json_lines:
        from messaging.log_context import JsonLines, LogContext

        output = logging.StreamHandler(sys.stderr)
        output.addFilter(LogContext())
        output.setFormatter(JsonLines())
        logging.basicConfig(handlers=[output], level=level)

    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    # Not ours to tell at INFO: botocore tells where it found its credentials.
    logging.getLogger("botocore").setLevel(max(logging.WARNING, logging.getLevelName(level)))
