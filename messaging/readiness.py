"""Waits for whichever of several sockets has something to read first."""

from __future__ import annotations

import math
import select
from collections.abc import Sequence

__all__ = ["readable"]


def readable(files: Sequence[int], seconds: float) -> list[int]:
    """Those of `files` (file numbers) that have something to read, or have ended.

    Waits for the first for at most `seconds`, then returns an empty list. All of them where the
    system cannot tell: whoever reads then waits there.
    """
    # Looked up at each call: eventlet takes `select.poll` away where it patches, Windows has none.
    if hasattr(select, "poll"):
        poll = select.poll()
        for file in files:
            poll.register(file, select.POLLIN)
        return [file for file, _ in poll.poll(math.ceil(seconds * 1000))]
    try:
        return select.select(files, (), (), seconds)[0]
    except (OSError, ValueError):  # closed, or its number is too high for select
        return list(files)
