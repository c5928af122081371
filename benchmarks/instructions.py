"""Counts instructions with the processor's own counter, where the system allows it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

__all__ = ["HARDWARE_INSTRUCTIONS", "SOFTWARE_TASK_CLOCK", "Instructions"]

HARDWARE_INSTRUCTIONS = (0, 1)
SOFTWARE_TASK_CLOCK = (1, 1)  # nanoseconds; no machine lacks it, so the way in can be tested
_CALL = {"x86_64": 298, "aarch64": 241}
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6


class Instructions:
    """Instructions of this process and of threads started from now on; user space only.

    Virtual machines mostly have no counter: `read` then says None.
    https://man7.org/linux/man-pages/man2/perf_event_open.2.html
    """

    def __init__(self, event: tuple[int, int] = HARDWARE_INSTRUCTIONS) -> None:
        self._file = -1
        call = _CALL.get(platform.machine())
        if sys.platform != "linux" or call is None:
            return
        kind, config = event
        flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
        # type, size, config, sample period, sample type, read format, flags; the rest is zero.
        wanted = struct.pack("=IIQQQQQ", kind, 112, config, 0, 0, 0, flags).ljust(112, b"\0")
        system = ctypes.CDLL(None, use_errno=True).syscall
        self._file = system(call, ctypes.c_char_p(wanted), 0, -1, -1, 8)  # closed at an exec

    def read(self) -> int | None:
        """The count so far; None where nobody counts."""
        if self._file < 0:
            return None
        return int(struct.unpack("=q", os.read(self._file, 8))[0])

    def close(self) -> None:
        """Stop counting."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
