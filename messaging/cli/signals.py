"""Handling of SIGINT (Ctrl-C) and SIGTERM in commands."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

__all__ = ["ENDING", "EndedBySignals", "asked_by_signals"]

ENDING = (signal.SIGINT, signal.SIGTERM)


class _Ended(BaseException):
    pass


class EndedBySignals:
    """Makes the signals end the `with` block gracefully: for a command that waits."""

    def __enter__(self) -> None:
        self._before = {each: signal.signal(each, self._end) for each in ENDING}

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        _put_back(self._before)
        return isinstance(error, _Ended)

    def _end(self, number: int, frame: object) -> NoReturn:
        # A second one must not interrupt the cleanup that follows.
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise _Ended


@contextmanager
def asked_by_signals(
    stop: Callable[[], None], signals: tuple[signal.Signals, ...] = ENDING
) -> Iterator[None]:
    """The first of `signals` calls `stop`; a second one interrupts immediately. For a command that
    does work and reports its results."""

    def first(number: int, frame: object) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    before = {each: signal.signal(each, first) for each in signals}
    try:
        yield
    finally:
        _put_back(before)


def _put_back(handlers: Mapping[signal.Signals, Any]) -> None:
    for each, handler in handlers.items():
        signal.signal(each, handler)
