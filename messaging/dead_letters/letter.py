"""One dead letter, described without showing its content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from messaging.clock import utc
from messaging.codec import Codec
from messaging.dead_letters import reason as dead_letter_reason
from messaging.envelope import Envelope
from messaging.errors import CodecError, ConfigurationError
from messaging.logs import logger
from messaging.transport import Attribute, DeadLetterReason, Delivery

__all__ = ["Kind", "Letter", "Where", "letter_of", "without_note"]

log = logger("messaging.dead_letters")

Kind = Literal["dead", "undelivered"]
"""dead         the service, or SQS after too many receives, gave it up
undelivered  SNS could not deliver it to the service's queue"""

MOVED_BY_SQS = "received too often without an outcome: SQS moved it"
NOT_DELIVERED = "SNS could not deliver it to the queue"

_SNS_NOTE = frozenset(("RequestID", "ErrorCode", "ErrorMessage"))
"""The attributes that SNS adds to a message that it could not deliver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter(DeadLetterReason):
    """One dead letter in its queue. Its body, in `delivery`, is personal data and never printed.

    id        the message's id in this queue.
    event_id  the event's id, and `type` its type; None if the body cannot be read.
    time      when it was given up, or if that is unknown, when it was sent.

    The other fields are those of `DeadLetterReason`.

    Args:
        id: the message's id in its dead-letter queue.
        kind: "dead": the service gave it up; "undelivered": SNS could not deliver it.
        event_id: the id of its event; "" if the body does not say.
        type: the type of its event; "" if the body does not say.
        delivery: the message itself.

    Example:
        ```python
        from messaging.dead_letters import Workbench
        from messaging.transport import DeadLetter

        publisher.publish(ana)
        queue = broker.queue("marketing")
        (delivery,) = queue.receive(1, wait=0)
        queue.dead_letter([DeadLetter(delivery=delivery, reason="no such course")])
        (letter,) = Workbench(broker.letters("marketing")).letters()
        assert (letter.type, letter.reason) == ("aluno.cadastrado", "no such course")
        ```
    """

    id: str
    kind: Kind
    event_id: str | None
    type: str | None
    delivery: Delivery = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for `--json`: without the body."""
        shown = ("id", "kind", "type", "event_id", "reason", "error", "attempts")
        when = utc(self.time).isoformat(timespec="seconds")
        return {name: getattr(self, name) for name in shown} | {"time": when}


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Selects letters that meet all given conditions.

    Args:
        ids: ids of letters, or of their events.
        types: types of events.
        reason: a regular expression, searched for in the reason and in the error's name, ignoring
            case.
        since: seconds since the epoch: given up at that time or later.
        until: seconds since the epoch: given up before that time.

    Raises:
        ConfigurationError: if `reason` is not a regular expression, or `ids` or `types` is a single
            string.

    Example:
        ```python
        from messaging.dead_letters import Where

        where = Where(types={"aluno.cadastrado"}, reason="timeout")
        assert Where().everything
        assert not where.everything
        ```
    """

    ids: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    reason: str | None = None
    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        # A set or a list is fine, so a caller need not write frozenset(...).
        object.__setattr__(self, "ids", _names("ids", self.ids))
        object.__setattr__(self, "types", _names("types", self.types))
        try:
            re.compile(self.reason or "")
        except re.error as error:
            raise ConfigurationError(
                f"reason {self.reason!r} is no regular expression: {error}"
            ) from None

    @property
    def everything(self) -> bool:
        """Whether there is no condition, so every letter is selected."""
        return self == Where()

    def __call__(self, letter: Letter) -> bool:
        """Whether `letter` is selected."""
        told = (letter.reason, letter.error or "")
        return (
            (not self.ids or letter.id in self.ids or letter.event_id in self.ids)
            and (not self.types or letter.type in self.types)
            and (
                self.reason is None
                or any(re.search(self.reason, text, re.IGNORECASE) for text in told)
            )
            and (self.since is None or letter.time >= self.since)
            and (self.until is None or letter.time < self.until)
        )


def letter_of(delivery: Delivery, kind: Kind, codec: Codec) -> Letter:
    """Describe `delivery`, whose body `codec` may be unable to read."""
    original, note = dead_letter_reason.read(delivery.attributes)
    why = note or DeadLetterReason(reason=_reason(kind, original))
    envelope = _envelope(delivery, codec)
    said = original.get("type")
    return Letter(
        id=delivery.message_id,
        kind=kind,
        event_id=envelope.id if envelope else None,
        type=_text(said) or (envelope.type if envelope else None),
        delivery=delivery,
        **replace(why, time=why.time or delivery.sent_at).facts(),
    )


def without_note(letter: Letter) -> Mapping[str, Attribute]:
    """The attributes that the message had before it became a letter."""
    original, _ = dead_letter_reason.read(letter.delivery.attributes)
    if letter.kind == "dead":
        return original
    return {name: one for name, one in original.items() if name not in _SNS_NOTE}


def _envelope(delivery: Delivery, codec: Codec) -> Envelope | None:
    try:
        return codec.decode(delivery.body)
    except CodecError:
        return None  # which may be why it is here
    except Exception as error:  # noqa: BLE001 - one letter must not hide the others
        log.warning(
            "the body of letter %s cannot be read now: %s",
            delivery.message_id,
            type(error).__qualname__,
        )
        return None


def _reason(kind: Kind, attributes: Mapping[str, Attribute]) -> str:
    if kind == "dead":
        return MOVED_BY_SQS
    said = filter(None, (_text(attributes.get(name)) for name in ("ErrorCode", "ErrorMessage")))
    told = ", ".join(said)
    return f"{NOT_DELIVERED}: {told}" if told else NOT_DELIVERED


def _text(attribute: Attribute | None) -> str | None:
    if attribute is None or not isinstance(attribute.value, str):
        return None  # a type is never bytes
    return attribute.value[: dead_letter_reason.MAX_REASON] or None


def _names(field: str, given: Iterable[str]) -> frozenset[str]:
    if isinstance(given, str):
        raise ConfigurationError(f"Where({field}={given!r}): a set of them, even if it is one")
    return frozenset(given)
