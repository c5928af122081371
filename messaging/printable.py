"""Makes foreign text safe to print and log: on one line, without control characters."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""`text` with every character that does not show itself written as its escape: "a\nb".

    Line ends (U+2028 among them) would forge a line of a log, escape sequences would drive a
    terminal, and marks of direction would show a text in another order than it has.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
