"""The requests of a relay under way: as many as the latency of answers requires."""

from __future__ import annotations

from messaging.clock import SYSTEM_CLOCK
from messaging.outbox.rows import OutboxRow
from messaging.publishing.sender import Again, Answer, Sender
from messaging.publishing.under_way import RequestsUnderWay, RequestUnderWay
from messaging.transport import Outgoing
from messaging.window import RequestWindow

__all__ = ["RelayRequests", "Sending"]

Sending = tuple[Outgoing, OutboxRow]

_now = SYSTEM_CLOCK.monotonic


class RelayRequests:
    """Sends requests without waiting for the previous one, like `publish_many`.

    A topic that cannot send without waiting gets one request at a time.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._window: RequestsUnderWay[list[Sending]] = RequestsUnderWay(RequestWindow())
        self._answer: tuple[list[Sending], Answer] | None = None
        self._made = 0.0

    def __len__(self) -> int:
        return len(self._window) + (self._answer is not None)

    @property
    def full(self) -> bool:
        """Whether an answer must be processed before the next request."""
        return self._answer is not None or self._window.full

    @property
    def one_at_a_time(self) -> bool:
        """Whether the last request was made by a topic that waits for its answer itself."""
        return self._answer is not None

    def send(self, entries: list[Sending]) -> None:
        """Send a request; `answered` will return its answer at some point."""
        began = _now()
        begun = self._sender.begin(entries)
        if begun is None:
            self._answer = entries, self._sender.send(entries)
        else:
            self._made = self._window.sent(entries, begun) - began

    def answered(self, *, again: bool) -> list[tuple[list[Sending], Answer]]:
        """Wait for an answer; returns the results of requests.

        again  resend entries that were refused temporarily, with the waits between attempts.
        """
        if self._answer is not None:
            answer, self._answer = self._answer, None
            return [answer]

        def settle(request: RequestUnderWay[list[Sending]]) -> tuple[list[Sending], Answer]:
            answer = self._window.taken(request)
            if isinstance(answer, Again):
                answer = answer.run() if again else answer.left()
            return request.batch, answer

        # Where it is not full there was nothing to send: a wider window would not help.
        return self._window.settle(settle, made=self._made, wanted=self._window.full)

    def abandon(self) -> None:
        """Abandon the requests under way."""
        self._answer = None
        self._window.abandon()
