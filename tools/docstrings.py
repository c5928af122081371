"""For the reference: shows the house's way of listing things in a docstring as a definition list.

A paragraph whose lines are a name, two spaces or more, and its meaning, with further lines of a
meaning set in, is easy to read in the source, and one long line in Markdown.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ITEM = re.compile(r"(?P<name>[\w.*]+) {2,}(?P<text>\S.*)")


class DefinitionLists(Extension):
    """Rewrites each docstring as it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            paragraphs = re.split(r"\n\n+", obj.docstring.value)
            obj.docstring.value = "\n\n".join(map(definition_list, paragraphs))


def definition_list(paragraph: str) -> str:
    """The paragraph as it is, or as a Markdown definition list if it is one in the house's way."""
    items: list[tuple[str, list[str]]] = []
    for line in paragraph.splitlines():
        found = _ITEM.fullmatch(line)
        if found:
            items.append((found["name"], [found["text"]]))
        elif items and line.startswith("  "):
            items[-1][1].append(line.strip())
        else:
            return paragraph
    return "\n\n".join(f"`{name}`\n:   " + "\n    ".join(text) for name, text in items)
