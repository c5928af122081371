"""Encodes an event as its copies: one message for each distinct view."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from messaging.clock import SYSTEM_CLOCK, Clock, utc
from messaging.codec import Codec, JsonCodec
from messaging.dead_letters.reason import OUTSIDE_XML
from messaging.envelope import Envelope, TraceContext, new_id
from messaging.errors import EventError
from messaging.event import Event, as_text
from messaging.projection import Copy, views, wanted_by_all
from messaging.publishing.limits import check_texts, too_large, unwritable
from messaging.publishing.roundtrip import RoundTrip, pinned_data
from messaging.transport import Attribute, Outgoing

__all__ = ["Encoder", "EnvelopeFrame"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html, for both FIFO ids
_FIFO_ID = re.compile("[!-~]{1,128}")
_CONTROL = re.compile(r"\\[bfu]")
"""JSON's escape of a control character; after an escaped backslash it is only a letter."""
_MOST: Mapping[str, tuple[int, str]] = {
    "tracestate": (512, "W3C Trace Context"),
    "baggage": (8192, "W3C Baggage"),
}
"""Characters, and who says so."""
_KNOWN = 1000


class Encoder:
    """Encodes events for one topic; an event that cannot be sent raises here, before any request.

    source     the CloudEvents source, a URI reference: "/cadastro".
    max_bytes  maximum size of a message: UTF-8 bytes of body and attributes.
    """

    def __init__(
        self,
        *,
        source: str,
        max_bytes: int,
        codec: Codec | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if not source or OUTSIDE_XML.search(source):
            raise EventError(f"source={source!r}: a URI reference, like '/cadastro'")
        self._source = source
        self._max_bytes = max_bytes
        self._codec = codec or JsonCodec()
        self._clock = clock
        self._plans: dict[type, _Layout] = {}
        self._producing: Callable[..., Any] | None = None
        """In a `TracedEncoder` what begins a span for an event, or says that there is none."""
        self._topic = self._system = ""
        self._trusted = self._checked = False
        """Whether the traceparents that it returns are well-formed, and need no check; whether
        those that are given to this encoder are."""
        self.may_wait = type(self._codec) is not JsonCodec
        """True if the codec may store large data elsewhere, and wait for that."""

    def __call__(
        self,
        event: Event,
        *,
        id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
        fresh_id: Callable[[], str] = new_id,
    ) -> list[Outgoing]:
        """The messages of `event`: one per distinct view, none if every view declined it.

        fresh_id  creates the id if none is given.

        Raises `EventTooLarge`, `InvalidCharacters` and `RoundTripError`, which name the field.
        """
        sound = self._checked and type(traceparent) is str
        producing = self._producing
        if producing is not None and not isinstance(traceparent, TraceContext):
            around = producing(
                self._topic, type(event), traceparent, alone=False, system=self._system
            )
            if type(around) is str:  # as nearly always, with 1 % recorded
                sound = self._trusted and around is not traceparent
            elif around is not None and not isinstance(around, str):
                return self._within(around, event, id, time, fresh_id)
            traceparent = around
        plan = self._plans.get(type(event))
        # A module loaded or reloaded since then may have declared other views.
        if plan is None or plan.views != plan.kind.__projections__:
            plan = self._plan(type(event))
        fresh = id is None and time is None
        if not (fresh and (traceparent is None or sound)):
            _check_context(id, time, traceparent)
        parts = plan.always if plan.always is not None else plan.parts(event)
        if not parts:
            return []
        id, now = id or fresh_id(), self._clock.now()
        if not plan.framed:
            time = time or utc(now)
            return [self._by_codec(event, plan, part, id, time, traceparent) for part in parts]
        frame: EnvelopeFrame | None = None
        head = ""
        messages: list[Outgoing] = []
        for part in parts:
            if part.frame is not frame:  # the first, or a view of another version
                frame = part.frame
                head = frame.fresh(id, now) if fresh else frame.head(id, time or utc(now))
            subject = part.subject and as_text(getattr(event, part.subject))
            body = part.frame.around(head, _data(event, part), subject, traceparent, sound)
            # JSON escapes control characters, which SNS would accept; but a consumer that forwards
            # or stores the text would fail. Of the characters outside XML 1.0, JSON only leaves
            # U+FFFE and U+FFFF unescaped.
            if ("\\" in body and _CONTROL.search(body)) or "\ufffe" in body or "\uffff" in body:
                check_texts(event, part.fields)
            size = part.size + (len(body) if body.isascii() else len(body.encode()))
            if part.grouped or size > self._max_bytes:
                messages.append(self._sealed(event, part, id, body, size))
            else:
                messages.append(Outgoing(id, body, part.attributes, size))
        return messages

    def _within(
        self,
        around: Any,
        event: Event,
        id: str | None,
        time: datetime | None,
        fresh_id: Callable[[], str],
    ) -> list[Outgoing]:
        """The messages of an event that is published in a span."""
        raise NotImplementedError

    def _by_codec(
        self,
        event: Event,
        plan: _Layout,
        part: _Part,
        id: str,
        time: datetime,
        traceparent: str | None,
    ) -> Outgoing:
        """The copy as another codec writes it, which may store the data elsewhere."""
        data = _data(event, part)
        envelope = Envelope(
            id=id,
            source=self._source,
            type=plan.kind.event_type,
            version=part.version,
            time=time,
            subject=part.subject and as_text(getattr(event, part.subject)),
            traceparent=traceparent and str(traceparent),
            extensions=_extensions(traceparent),
            audience=part.audience,
        )
        body = self._codec.encode(envelope, data)
        # Data that is stored elsewhere is read back as well.
        for text in (body, data.decode()) if len(body) < len(data) else (body,):
            if "\\" in text or not (text.isascii() or not OUTSIDE_XML.search(text)):
                check_texts(event, part.fields)
        return self._sealed(event, part, id, body, part.size + len(body.encode()))

    def _sealed(self, event: Event, part: _Part, id: str, body: str, size: int) -> Outgoing:
        if size > self._max_bytes:
            raise too_large(event, part.audience, part.fields, size, self._max_bytes)
        if not part.grouped:
            return Outgoing(id, body, part.attributes, size)
        group = str(type(event).group_of(event))
        # Every service can read the MessageGroupId, so it is a digest if some may not see the
        # field.
        group = _fifo_id(group) if part.shows_group else _digest(group)
        # The copies of one event must not count as duplicates of each other.
        only = _fifo_id(f"{id}:{part.audience[0]}")
        return Outgoing(id, body, part.attributes, size, group, only)

    def _plan(self, kind: type[Any]) -> _Layout:
        if not issubclass(kind, Event) or not kind.event_type:
            raise EventError(
                f"{kind.__qualname__} cannot be published: declare it with "
                "`class Name(Event, type=..., version=...)`"
            )
        if len(self._plans) >= _KNOWN:  # classes are created without end
            self._plans.clear()
        # A subclass of JsonCodec may write something else.
        framed = type(self._codec) is JsonCodec
        plan = self._plans[kind] = _Layout(kind, self._source if framed else None)
        return plan


class EnvelopeFrame:
    """Writes the same text around the data of one type's events as `JsonCodec`, but faster.

    Such heads only differ in id, time, subject and trace context. The rest is written once, by
    `JsonCodec` itself, and combined with them in a fifth of the time.

    source   the publisher's source.
    version  the version of the copies.
    """

    __slots__ = ("_after_id", "_before_id", "_second")

    def __init__(self, source: str, type: str, version: int) -> None:
        blank = Envelope(id="", source=source, type=type, version=version)
        before, _, after = JsonCodec().encode(blank, b"").partition('""')
        self._before_id = before
        self._after_id = f'{after[:-1]},"time":'
        self._second = (-1, "")

    def head(self, id: str, time: datetime) -> str:
        """The part of the head that the copies of one event share."""
        written = to_json(id).decode()
        return f"{self._before_id}{written}{self._after_id}{to_json(time).decode()}"

    def fresh(self, id: str, now: float) -> str:
        """`head` of an event at `now`, seconds since the epoch, with an id like a UUID.

        There may be thousands of events per second, so its text is kept until the next second.
        """
        second = int(now)
        micros = round((now - second) * 1_000_000)
        if not 0 < micros < 1_000_000:  # a whole second is written without a dot
            return self.head(id, utc(now))
        known, text = self._second
        if known != second:
            text = to_json(utc(second)).decode().removesuffix('Z"')
            self._second = (second, text)
        return f'{self._before_id}"{id}"{self._after_id}{text}.{micros:06d}Z"'

    @staticmethod
    def around(
        head: str,
        data: bytes,
        subject: str | None,
        traceparent: str | None,
        sound: bool = False,
    ) -> str:
        """The whole body. `data` is JSON already, and inserted as it is, and so is a `traceparent`
        that is `sound`: well-formed, without tracestate and baggage."""
        if subject is not None:
            head = f'{head},"subject":{to_json(subject).decode()}'
        if traceparent is not None:
            if sound:
                return f'{head},"traceparent":"{traceparent}","data":{data.decode()}}}'
            head = f'{head},"traceparent":{to_json(str(traceparent)).decode()}'
            for name, said in _extensions(traceparent).items():
                head = f'{head},"{name}":{to_json(said).decode()}'
        return f'{head},"data":{data.decode()}}}'


class _Layout:
    """Everything that is the same for all events of a class, computed once."""

    __slots__ = ("_frames", "_known", "_source", "always", "framed", "kind", "views")

    def __init__(self, kind: type[Event], source: str | None) -> None:
        self.kind = kind
        self.views = list(kind.__projections__)
        self._source = source
        self._known: dict[tuple[str, ...], _Part] = {}
        self._frames: dict[int, EnvelopeFrame] = {}
        self.framed = source is not None
        """False if another codec writes the head."""
        copies = wanted_by_all(kind)
        self.always = None if copies is None else [self._part(copy) for copy in copies]

    def _frame(self, version: int) -> EnvelopeFrame:
        if version not in self._frames:
            self._frames[version] = EnvelopeFrame(self._source or "", self.kind.event_type, version)
        return self._frames[version]

    def parts(self, event: Event) -> Sequence[_Part]:
        """The copies in which `event` is sent, if they are not `always` the same."""
        return [self._part(copy) for copy in views(event)]

    def _part(self, copy: Copy) -> _Part:
        # A service has one view of an event, so the audience determines the fields.
        part = self._known.get(copy.audience)
        if part is None:
            part = _Part(self.kind, copy, self._frame(copy.version))
            self._known[copy.audience] = part
        return part


class _Part:
    """Everything that is the same for all copies of a class's events for one audience."""

    __slots__ = (
        *("attributes", "audience", "fields", "frame", "grouped", "include", "pinned"),
        *("round_trip", "shows_group", "size", "subject", "version"),
    )

    def __init__(self, kind: type[Event], copy: Copy, frame: EnvelopeFrame) -> None:
        self.audience, self.version = copy.audience, copy.version
        self.frame = frame
        self.pinned = copy.pinned
        # A pinned view's fields are not the event's, any of which may be in them.
        self.fields = copy.fields if copy.pinned is None else None
        self.include = None if self.fields is None else set(self.fields)
        self.attributes = {
            "type": Attribute.string(kind.event_type),
            "audience": Attribute.array(copy.audience),
        }
        self.size = sum(value.size(name) for name, value in self.attributes.items())
        # A field that a view does not declare must not reach its service in another way.
        name = kind.event_subject
        self.subject = name if copy.fields is None or name in copy.fields else None
        self.grouped = kind.event_group is not None
        self.shows_group = copy.fields is None or kind.event_group in copy.fields
        self.round_trip = RoundTrip(kind, copy)


def _data(event: Event, part: _Part) -> bytes:
    if part.pinned is not None:
        return pinned_data(event, part.pinned)
    try:
        # A value of the wrong type (model_copy and model_construct allow it) would cause a warning
        # that quotes it, and a dead letter in every queue.
        data = event.__pydantic_serializer__.to_json(
            event, include=part.include, by_alias=False, warnings="error"
        )
    except PydanticSerializationError as error:
        raise unwritable(event, error) from None
    round_trip = part.round_trip
    due = round_trip.due
    if due and not (round_trip.nan and b"null" in data):  # as nearly always
        round_trip.due = due - 1
    else:
        round_trip(event, data)
    return data


def _check_context(id: str | None, time: datetime | None, traceparent: str | None) -> None:
    if id is not None and (not id or len(id) > 100 or not id.isprintable()):
        raise EventError("id: 1 to 100 printable characters, the same whenever the event is sent")
    if time is not None and time.tzinfo is None:
        raise EventError("time: an aware datetime is needed; use datetime.now(UTC)")
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        raise EventError("traceparent: not of the form of W3C Trace Context (00-<32>-<16>-01)")
    for name, said in _extensions(traceparent).items():
        most, spec = _MOST[name]
        if len(said) > most or not (said.isascii() and said.isprintable()):
            raise EventError(f"{name}: at most {most} printable ASCII characters ({spec})")


def _extensions(traceparent: str | None) -> dict[str, str]:
    if not isinstance(traceparent, TraceContext):
        return {}
    said = {"tracestate": traceparent.tracestate, "baggage": traceparent.baggage}
    return {name: one for name, one in said.items() if one}


def _fifo_id(text: str) -> str:
    return text if _FIFO_ID.fullmatch(text) else _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
