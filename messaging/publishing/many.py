"""One `publish_many`: several requests under way, and the tally of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from messaging.batching import Packer
from messaging.clock import SYSTEM_CLOCK
from messaging.deadline import Deadline, within
from messaging.envelope import new_ids
from messaging.errors import PublishError, TransportError
from messaging.event import Event
from messaging.publishing.encoder import Encoder
from messaging.publishing.results import Entry, PublishProgress, Tally
from messaging.publishing.sender import Again, Answer, Begun, Sender
from messaging.publishing.under_way import RequestsUnderWay, RequestUnderWay, UnderWay
from messaging.transport import Outgoing

__all__ = ["PublishRun"]

_now = SYSTEM_CLOCK.monotonic


@dataclass(kw_only=True, eq=False, repr=False)
class PublishRun:
    """Packs events into requests, keeps several under way, and settles them as they are answered.

    encode, sender     turn an event into messages, and send them.
    packer             fills the requests.
    window             how many may be under way.
    threads            returns the pool for requests that need a thread, at most `most_threads`.
    in_callers_thread  requests are made in the calling thread, one at a time.
    on_progress        called after answers, in the calling thread.
    deadline           of the whole run; None for none.
    """

    encode: Encoder
    sender: Sender
    packer: Packer[Entry]
    window: RequestsUnderWay[list[Entry]]
    threads: Callable[[], ThreadPoolExecutor]
    in_callers_thread: bool
    most_threads: int
    on_progress: Callable[[PublishProgress], None] | None
    deadline: Deadline | None
    tally: Tally = field(default_factory=Tally)
    _news: bool = False
    _in_threads: bool = False
    """Whether a request was made in a thread, or is retried in one."""
    _sent: float = field(default_factory=_now)

    def take(self, events: Iterable[Event], id: Callable[[Event], str | None] | None) -> None:
        """Send `events` in full requests, until they end or the topic stops answering."""
        tally, add = self.tally, self.packer.add
        # The method, because calling the object itself costs a dict of keywords each time.
        encode: Callable[..., list[Outgoing]] = self.encode.__call__
        if self.encode.may_wait:
            encode = self._limited
        fresh_id = new_ids().__next__
        for event in events:
            chosen = None if id is None else id(event)
            try:
                messages = encode(event, id=chosen, fresh_id=fresh_id)
            except PublishError as error:
                tally.refuse(event, chosen or "", error)
                continue
            owner = tally.take(event, messages[0].id if messages else "", len(messages))
            sent = False
            for message in messages:
                if batch := add((message, owner)):
                    self._send(batch)
                    sent = True
            if sent:
                self._tell()
                if tally.broken is not None:
                    return

    def _limited(
        self, event: Event, *, id: str | None, fresh_id: Callable[[], str]
    ) -> list[Outgoing]:
        """The messages of `event`, with a codec that may store large data."""
        deadline = self.sender.deadline()
        return within(deadline, self.encode, event, id=id, fresh_id=fresh_id)

    def finish(self, *, quietly: bool = False) -> None:
        """Send the packed messages, unless the topic stopped answering, and wait for all
        requests."""
        if quietly:
            self.on_progress = None  # it may have raised
        if batch := self.packer.rest():
            self._send(batch)
        self._tell()
        while self.window:
            self.window.settle(self._settle, made=0.0)
            self._tell()

    def abandon(self) -> None:
        """After an interrupt: abandon the pending requests."""
        self.window.abandon()

    def _send(self, batch: list[Entry]) -> None:
        made = _now() - self._sent
        window, limit = self.window, self.window.limit
        while len(window) >= limit.limit:
            window.settle(self._settle, made=made)
        while self._in_threads and self._has_answer():
            self._settle(self.window[0])
        if self.deadline is not None and not self.deadline.left():
            self.tally.broken = self.tally.broken or TransportError(
                f"the run was not done in its {self.deadline.seconds:g} s: go on with the rest, "
                "or allow more time (publish_many(timeout=...))",
                code="Timeout",
                unknown=False,
            )
        if self.tally.broken is not None:
            self.tally.unanswered(batch, self.tally.broken)
            return
        under_way = self._submit(batch)
        # From here on, only the answer counts, without a new connection's handshakes.
        self._sent = self.window.sent(batch, under_way)
        if not isinstance(under_way, Begun):
            self._in_threads = True
            limit.most = min(limit.most, self.most_threads)

    def _submit(self, batch: list[Entry]) -> UnderWay:
        deadline, run = self.sender.deadline(), self.deadline
        if run is not None and run.left() < deadline.left():
            deadline = run
        if self.in_callers_thread:
            answer: Future[Answer | Again] = Future()
            answer.set_result(self.sender.send(batch, deadline))
            return answer
        # A thread for each request costs more than the request itself; most topics need none.
        return self.sender.begin(batch, deadline) or self.threads().submit(
            self.sender.send, batch, deadline
        )

    def _has_answer(self) -> bool:
        """Whether the oldest request in a thread is done: an unavailable topic gets no more
        requests."""
        oldest = self.window[0].under_way if self.window else None
        return isinstance(oldest, Future) and oldest.done()

    def _settle(self, request: RequestUnderWay[list[Entry]]) -> None:
        answer = self.window.taken(request)
        if isinstance(answer, Again):
            # Still under way, in a thread: the others continue while it waits for its next attempt.
            again = self.threads().submit(answer.run)
            self._in_threads = True
            self.window.append(RequestUnderWay(request.batch, again, request.sent, request.out))
            return
        self.tally.settle(*answer, batch=request.batch)
        self._news = True

    def _tell(self) -> None:
        # Between batches, because it is the caller's and may raise.
        if self._news and self.on_progress is not None:
            self._news = False
            self.on_progress(self.tally.progress())
