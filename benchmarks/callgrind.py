"""Counts the instructions of a subject's turns with valgrind: a busy machine does not change them.

They are those of user space; what the kernel does is not among them. A subject calls `mark` where a
turn begins and where it ends, and valgrind writes down how many there were since the last mark.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["available", "counted", "mark"]

T = TypeVar("T")
_MARK = "getppid"
"""A function of the C library that nothing else here calls."""
_TOTAL = re.compile(r"^summary: (\d+)$", re.MULTILINE)


def mark() -> None:
    """A turn begins or ends here."""
    os.getppid()


def available() -> bool:
    """Whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def counted(run: Callable[[tuple[str, ...]], T]) -> tuple[T, list[int]]:
    """What `run` returns, which starts a program behind the words that it is given, and how many
    instructions there were between each mark and the next."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        found = run(
            (
                "valgrind",
                "--quiet",
                "--tool=callgrind",
                f"--dump-before={_MARK}",
                f"--callgrind-out-file={out}",
            )
        )
        counts: list[int] = []
        number = 2  # the first is of what was before any mark
        while (dump := Path(f"{out}.{number}")).exists():
            counts += [int(one) for one in _TOTAL.findall(dump.read_text())]
            number += 1
    return found, counts
