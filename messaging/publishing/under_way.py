"""Sent requests that wait for their answers, and which of them is answered first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from messaging.clock import SYSTEM_CLOCK
from messaging.publishing.sender import Again, Answer, Begun
from messaging.readiness import readable
from messaging.window import FIRST, RequestWindow

__all__ = ["LOOKS_UP", "RequestUnderWay", "RequestsUnderWay", "UnderWay"]

LOOKS_UP = 1.0
"""Seconds of waiting for any answer, before only the oldest is waited for."""

UnderWay = Begun | Future[Answer] | Future[Answer | Again]

_Batch = TypeVar("_Batch")
_Settled = TypeVar("_Settled")

_now = SYSTEM_CLOCK.monotonic


@dataclass(slots=True, eq=False, repr=False)
class RequestUnderWay(Generic[_Batch]):
    """One request: its entries, its pending answer, when it was sent, and how many were in flight
    then, including itself."""

    batch: _Batch
    under_way: UnderWay
    sent: float
    out: int


class RequestsUnderWay(deque[RequestUnderWay[_Batch]]):
    """All of them, the oldest first.

    limit  how many there may be; it is told how long answers take.
    """

    def __init__(self, limit: RequestWindow) -> None:
        super().__init__()
        self.limit = limit
        self._looked = 0.0
        """When it was last waited for an answer: what came later may have been there since."""

    @property
    def full(self) -> bool:
        """Whether an answer is to be looked at before the next request."""
        return len(self) >= self.limit.limit

    def sent(self, batch: _Batch, under_way: UnderWay) -> float:
        """One more was sent, at the moment that is returned."""
        now = _now()
        self.append(RequestUnderWay(batch, under_way, now, len(self) + 1))
        return now

    def taken(self, request: RequestUnderWay[_Batch]) -> Answer | Again:
        """Take `request` out, and wait for its answer."""
        self.remove(request)
        answer = request.under_way.result()
        if isinstance(answer, Again):
            self.limit.refused()
        return answer

    def settle(
        self,
        settle: Callable[[RequestUnderWay[_Batch]], _Settled],
        *,
        made: float,
        wanted: bool = True,
    ) -> list[_Settled]:
        """`settle` one at least: the oldest, or whichever is answered first.

        made    seconds that it took to make the last request.
        wanted  whether there would be more requests, if the limit allowed them.
        """
        began = _now()
        answered, at_hand = self._first_answered()
        settled = [settle(request) for request in answered]
        now = _now()
        waited = 0.0 if at_hand else now - began
        if waited > made:
            self._looked = now
        for request in answered if wanted else ():
            self.limit.answered(
                took=now - request.sent,
                unseen=now - self._looked,
                waited=waited,
                made=made,
                out=request.out,
            )
        return settled

    def abandon(self) -> None:
        """Let go of all: nobody will wait for their answers."""
        while self:
            under_way = self.pop().under_way
            if isinstance(under_way, Begun):
                under_way.close()

    def _first_answered(self) -> tuple[Sequence[RequestUnderWay[_Batch]], bool]:
        """Requests to settle now: of a few the oldest, of many one that has an answer. And whether
        that had come before anybody waited for it."""
        oldest = self[0].under_way
        if len(self) <= FIRST or not isinstance(oldest, Begun) or oldest.file is None:
            return [self[0]], False
        if readable([oldest.file], 0):
            return [self[0]], True
        files = {
            one.under_way.file: one
            for one in self
            if isinstance(one.under_way, Begun) and one.under_way.file is not None
        }
        found = readable(tuple(files), min(LOOKS_UP, oldest.deadline.left()))
        return [files[file] for file in found] or [self[0]], False
