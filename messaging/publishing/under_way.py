"""Requests that were sent and wait for their answers, and which of them is answered first."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from messaging.publishing.sender import Again, Answer, Begun
from messaging.readiness import readable
from messaging.window import FIRST

__all__ = ["LOOKS_UP", "RequestUnderWay", "UnderWay", "abandon", "first_answered"]

LOOKS_UP = 1.0
"""Seconds of waiting for whichever answer comes first, until the oldest is waited for alone."""

UnderWay = Begun | Future[Answer] | Future[Answer | Again]

_Batch = TypeVar("_Batch")


class RequestUnderWay(Generic[_Batch]):
    """One of them: its entries, what waits for its answer, when it was sent, and how many were
    under way then, itself included."""

    __slots__ = ("batch", "out", "sent", "under_way")

    def __init__(self, batch: _Batch, under_way: UnderWay, sent: float, out: int) -> None:
        self.batch = batch
        self.under_way = under_way
        self.sent = sent
        self.out = out


def abandon(window: deque[RequestUnderWay[_Batch]]) -> None:
    """Let go of all in `window`: nobody will wait for their answers."""
    while window:
        under_way = window.pop().under_way
        if isinstance(under_way, Begun):
            under_way.close()


def first_answered(
    window: Sequence[RequestUnderWay[_Batch]],
) -> tuple[Sequence[RequestUnderWay[_Batch]], bool]:
    """Requests to settle now, the oldest first in `window`: of a few the oldest, of many one that
    has an answer. And whether that had come before anybody waited for it."""
    oldest = window[0].under_way
    if len(window) <= FIRST or not isinstance(oldest, Begun) or oldest.file is None:
        return [window[0]], False
    if readable([oldest.file], 0):
        return [window[0]], True
    files = {
        one.under_way.file: one
        for one in window
        if isinstance(one.under_way, Begun) and one.under_way.file is not None
    }
    found = readable(tuple(files), min(LOOKS_UP, oldest.deadline.left()))
    return [files[file] for file in found] or [window[0]], False
