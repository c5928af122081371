"""Makes foreign text safe to print and log: on one line, without control characters."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""`text` with every non-printable character written as its escape: "a\nb".

    Line breaks (including U+2028) would forge log lines, escape sequences would control a terminal,
    and direction marks would show text in a different order.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
