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
    """One accepted event: its id, and its number of copies (0: every view declined).

    Args:
        id: the event's id.
        copies: the number of copies sent; 0 if every view declined.

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

    `index` is its position among the given events, from 0; for an event in a buffer it is 0. `code`
    is the service's error code, "NoAnswer" (the answer did not mention it) or "Timeout" (the
    publisher's `timeout` ended). `unknown` means that it may have been accepted anyway: a request
    that contained it got no conclusive answer. In any case some of its copies may have been
    accepted: publish it again with the same `id`.

    Args:
        index: its position among the given events.
        id: its id.
        code: an error code.
        reason: the cause in words, without personal data.
        event: the event itself.
        unknown: whether it may have been accepted anyway.

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
    """The progress of a `publish_many`, in events.

    Args:
        consumed: events consumed so far.
        accepted: events that the topic accepted.
        failed: events that it did not accept.

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
    """The result of `publish_many`, counted in events.

    Args:
        consumed: events taken from the iterable. The first `consumed` events are accounted for
            here; continue with the next one.
        accepted: events of which the topic accepted every copy.
        declined: events that no service wants (each view's `wanted` declined): nothing was sent.
        copies: accepted messages.
        failed: the others, each with its position and reason. Every event below `consumed` that is
            not listed here was accepted or declined.

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
    """An event with messages in flight."""

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
    """The accounts of one run. Not thread-safe: only the publishing thread uses it."""

    consumed: int = 0
    declined: int = 0
    copies: int = 0
    accepted: int = 0
    failed: list[NotPublished] = field(default_factory=list)
    broken: TransportError | None = None
    """Why the topic no longer answers."""

    def take(self, event: Event, id: str, copies: int) -> Owner:
        """Add an event with so many copies; 0 means that every view declined it."""
        owner = Owner(self.consumed, id, event, copies)
        self.consumed += 1
        if not copies:
            self.declined += 1
        return owner

    def refuse(self, event: Event, id: str, error: PublishError) -> None:
        """Add an event that cannot be sent at all."""
        refusal = Failure(0, type(error).__name__, str(error), retryable=False)
        self._settle(self.take(event, id, 1), refusal)

    def settle(
        self,
        failures: Sequence[Failure],
        broken: TransportError | None = None,
        *,
        batch: Sequence[Entry],
    ) -> None:
        """Record the answer to one batch: all accepted except `failures`."""
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
        """Record a batch that was not sent, because `error` had ended the run."""
        self.broken = error
        refusal = Failure(0, error.code or "NoAnswer", str(error), error.retryable)
        for _, owner in batch:
            self._settle(owner, refusal)

    def _accept(self, batch: Sequence[Entry]) -> None:
        # Usually all are accepted, and each is its event's only message.
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
        """The accounts, when nothing is in flight any more."""
        return PublishResult(
            consumed=self.consumed,
            accepted=self.accepted,
            declined=self.declined,
            copies=self.copies,
            failed=tuple(sorted(self.failed, key=lambda one: one.index)),
        )

    def close(self) -> PublishResult:
        """Return the result; raises `PublishError` if any event was not accepted."""
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
