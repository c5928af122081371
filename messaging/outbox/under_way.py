"""The requests of a relay that are under way: as many as answers take long for."""

from __future__ import annotations

from collections import deque

from messaging.clock import SYSTEM_CLOCK
from messaging.outbox.rows import OutboxRow
from messaging.publishing.sender import Again, Answer, Sender
from messaging.publishing.under_way import RequestUnderWay, abandon, first_answered
from messaging.transport import Outgoing
from messaging.window import RequestWindow

__all__ = ["RelayRequests", "Sending"]

Sending = tuple[Outgoing, OutboxRow]

_now = SYSTEM_CLOCK.monotonic


class RelayRequests:
    """Sends requests without waiting for the one before, as `publish_many` does.

    A topic that cannot send and wait apart is asked for one request at a time.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._limit = RequestWindow()
        self._window: deque[RequestUnderWay[list[Sending]]] = deque()
        self._answer: tuple[list[Sending], Answer] | None = None
        self._made = 0.0
        self._looked = 0.0
        """When it was last waited for an answer: what came later may have been there since."""

    def __len__(self) -> int:
        return len(self._window) + (self._answer is not None)

    @property
    def full(self) -> bool:
        """Whether an answer is to be looked at before the next request."""
        return self._answer is not None or len(self._window) >= self._limit.limit

    @property
    def one_at_a_time(self) -> bool:
        """Whether the last request was sent by a topic that waits for its answer itself."""
        return self._answer is not None

    def send(self, entries: list[Sending]) -> None:
        """Send a request; its answer is among those of `answered` some time."""
        began = _now()
        begun = self._sender.begin(entries)
        if begun is None:
            self._answer = entries, self._sender.send(entries)
            return
        sent = _now()
        self._window.append(RequestUnderWay(entries, begun, sent, len(self._window) + 1))
        self._made = sent - began

    def answered(self, *, again: bool) -> list[tuple[list[Sending], Answer]]:
        """Wait for an answer; what became of requests.

        again  send once more what was not taken for now, with the waits between attempts.
        """
        if self._answer is not None:
            answer, self._answer = self._answer, None
            return [answer]
        full, began = self.full, _now()
        found, at_hand = first_answered(self._window)
        answers = [(one.batch, self._settled(one, again)) for one in found]
        now = _now()
        waited = 0.0 if at_hand else now - began
        if waited > self._made:
            self._looked = now
        if full:  # otherwise there was nothing to send, and a wider window would not help
            for one in found:
                self._limit.answered(
                    took=now - one.sent,
                    unseen=now - self._looked,
                    waited=waited,
                    made=self._made,
                    out=one.out,
                )
        return answers

    def abandon(self) -> None:
        """Nobody will wait for those that are under way."""
        self._answer = None
        abandon(self._window)

    def _settled(self, request: RequestUnderWay[list[Sending]], again: bool) -> Answer:
        self._window.remove(request)
        answer = request.under_way.result()
        if isinstance(answer, Again):
            self._limit.refused()
            return answer.run() if again else answer.left()
        return answer
