"""Waits until any of several sockets is readable."""

from __future__ import annotations

import math
import select
from collections.abc import Sequence

__all__ = ["readable"]


def readable(files: Sequence[int], seconds: float) -> list[int]:
    """The readable or closed ones among `files` (file numbers).

    Waits for the first for at most `seconds`, then returns an empty list. Returns all of them if
    the system cannot tell: reading will then block.
    """
    # Looked up at each call: eventlet removes `select.poll` when it patches, and Windows has none.
    if hasattr(select, "poll"):
        poll = select.poll()
        for file in files:
            poll.register(file, select.POLLIN)
        return [file for file, _ in poll.poll(math.ceil(seconds * 1000))]
    try:
        return select.select(files, (), (), seconds)[0]
    except (OSError, ValueError):  # closed, or its number is too high for select
        return list(files)
