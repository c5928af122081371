"""The results of publishing: which events were accepted, which were not, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from messaging.errors import PublishError, TransportError
from messaging.event import Event
from messaging.printable import printable
from messaging.transport import Failure, Outgoing

__all__ = [
    "Entry",
    "NotPublished",
    "Owner",
    "PublishProgress",
    "PublishResult",
    "Published",
    "Tally",
]


@dataclass(frozen=True, slots=True)
class Published:
    """One accepted event: its id, and in how many copies it went out (0: every view declined).

    Args:
        id: the event's id.
        copies: in how many copies it went out; 0: every view declined.

    Example:
        ```python
        published = publisher.publish(ana, id="matricula-2026-0042")
        assert (published.id, published.copies) == ("matricula-2026-0042", 1)
        ```
    """

    id: str
    copies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPublished:
    """One event that was not accepted.

    `index` is its place among the events given, from 0; an event in a buffer is given alone, and
    its place is 0. `code` is the service's error code,
    "NoAnswer" (the answer did not say what became of it) or "Timeout" (the publisher's `timeout`
    was over). `unknown` says that it may have been accepted all the same: a request that held it
    got no answer that tells. Some of its copies may have been accepted in any case: publish it
    again with the same `id`.

    Args:
        index: its place among the events that were given.
        id: its id.
        code: why, in one word.
        reason: why, for people, without personal data.
        event: the event itself.
        unknown: whether it may have been accepted all the same.

    Example:
        ```python
        from messaging import PublishError

        broker.fail_next("publish", code="InvalidParameter", retryable=False)
        try:
            publisher.publish_many([ana])
        except PublishError as error:
            (failed,) = error.result.failed
        assert (failed.index, failed.code) == (0, "InvalidParameter")
        ```
    """

    index: int
    id: str
    code: str
    reason: str
    event: Event = field(repr=False)
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishProgress:
    """How far a `publish_many` has come, in events.

    Args:
        consumed: events that were taken so far.
        accepted: those that the topic accepted.
        failed: those that it did not.

    Example:
        ```python
        from messaging.publishing.results import PublishProgress

        seen: list[PublishProgress] = []
        publisher.publish_many([ana, ana], on_progress=seen.append)
        assert (seen[-1].consumed, seen[-1].accepted, seen[-1].failed) == (2, 2, 0)
        ```
    """

    consumed: int
    accepted: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishResult:
    """What became of the events given to `publish_many`, in events.

    Args:
        consumed: taken out of the iterable. The first `consumed` events are accounted for here; go
            on with the next one.
        accepted: accepted by the topic, every copy.
        declined: wanted by no service (each view's `wanted` said no): nothing was sent.
        copies: messages accepted.
        failed: the others, each with its place and reason. Every event below `consumed` that is not
            listed here was accepted or declined.

    Example:
        ```python
        result = publisher.publish_many([ana, ana])
        assert (result.consumed, result.accepted, result.copies) == (2, 2, 2)
        assert not result.failed
        ```
    """

    consumed: int
    accepted: int
    declined: int
    copies: int
    failed: tuple[NotPublished, ...] = ()


@dataclass(slots=True)
class Owner:
    """An event with messages under way."""

    index: int
    id: str
    event: Event
    left: int
    refusal: Failure | None = None
    """Of the first copy that was not accepted."""
    unknown: bool = False


Entry = tuple[Outgoing, Owner]


@dataclass(slots=True)
class Tally:
    """Counts one run. Not for several threads: the thread that publishes keeps it."""

    consumed: int = 0
    declined: int = 0
    copies: int = 0
    accepted: int = 0
    failed: list[NotPublished] = field(default_factory=list)
    broken: TransportError | None = None
    """Why the topic no longer answers."""

    def take(self, event: Event, id: str, copies: int) -> Owner:
        """One more event, in so many copies; none means that every view declined it."""
        owner = Owner(self.consumed, id, event, copies)
        self.consumed += 1
        if not copies:
            self.declined += 1
        return owner

    def refuse(self, event: Event, id: str, error: PublishError) -> None:
        """One more event, which cannot be sent at all."""
        refusal = Failure(0, type(error).__name__, str(error), retryable=False)
        self._settle(self.take(event, id, 1), refusal)

    def settle(
        self,
        failures: Sequence[Failure],
        broken: TransportError | None = None,
        *,
        batch: Sequence[Entry],
    ) -> None:
        """The answer to one batch: all accepted but for `failures`."""
        self.broken = self.broken or broken
        if not failures:
            self._accept(batch)
            return
        why = {failure.index: failure for failure in failures}
        for index, (_, owner) in enumerate(batch):
            failure = why.get(index)
            self.copies += failure is None
            self._settle(owner, failure)

    def unanswered(self, batch: Sequence[Entry], error: TransportError) -> None:
        """One batch that was not sent any more, for `error` had ended the run."""
        self.broken = error
        refusal = Failure(0, error.code or "NoAnswer", str(error), error.retryable)
        for _, owner in batch:
            self._settle(owner, refusal)

    def _accept(self, batch: Sequence[Entry]) -> None:
        # As a rule all are accepted, and each was its event's only message.
        done = 0
        for _, owner in batch:
            if owner.left == 1 and owner.refusal is None:
                done += 1
            else:
                self._settle(owner)
        self.copies += len(batch)
        self.accepted += done

    def _settle(self, owner: Owner, refusal: Failure | None = None) -> None:
        owner.left -= 1
        if refusal is not None:
            owner.refusal = owner.refusal or refusal
            owner.unknown = owner.unknown or refusal.unknown
        if owner.left:
            return
        if owner.refusal is None:
            self.accepted += 1
            return
        _, code, reason, *_ = owner.refusal
        self.failed.append(
            NotPublished(
                index=owner.index,
                id=owner.id,
                code=code,
                reason=reason,
                event=owner.event,
                unknown=owner.unknown,
            )
        )

    def progress(self) -> PublishProgress:
        return PublishProgress(
            consumed=self.consumed, accepted=self.accepted, failed=len(self.failed)
        )

    def result(self) -> PublishResult:
        """The accounts, when nothing is under way any more."""
        return PublishResult(
            consumed=self.consumed,
            accepted=self.accepted,
            declined=self.declined,
            copies=self.copies,
            failed=tuple(sorted(self.failed, key=lambda one: one.index)),
        )

    def close(self) -> PublishResult:
        """The result; raises `PublishError` if any event was not accepted."""
        result = self.result()
        if not result.failed:
            return result
        first = result.failed[0]
        unknown = sum(one.unknown for one in result.failed)
        doubt = f" ({unknown} of them may have been)" if unknown else ""
        raise PublishError(
            f"{len(result.failed)} of {result.consumed} events were not accepted{doubt}; the first "
            f"is number {first.index} ({type(first.event).__qualname__}, id {first.id or 'none'}): "
            f"{printable(f'{first.code}: {first.reason}')}",
            result=result,
        ) from self.broken
