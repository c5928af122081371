"""The envelope: the CloudEvents 1.0 document around one view of an event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from os import urandom
from typing import Any, Self

__all__ = [
    "PROBE",
    "Envelope",
    "SoundTraceparent",
    "TraceContext",
    "new_id",
    "new_ids",
    "time_of",
]

PROBE = "messaging.probe"
"""The type of what `messaging doctor --send` sends: it is discarded, and no handler sees it."""


_VARIANTS: Mapping[str, str] = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""The hexadecimal digit of a UUID that holds its variant has four possible values: two bits are
random."""


def new_id() -> str:
    """A fresh event id, random and unique.

    Example:
        ```python
        from messaging.envelope import new_id

        assert new_id() != new_id()
        ```
    """
    return _version_4(urandom(16).hex())


def new_ids() -> Iterator[str]:
    """Fresh event ids without end, for one call in one thread.

    The system is asked for the randomness of several at once: to ask costs half of an id. They must
    not be kept for later: what a fork or a snapshot of the process copies would come twice.
    """
    while True:
        drawn = urandom(16 * _AT_ONCE)
        for begin in range(0, len(drawn), 16):
            yield _version_4(drawn[begin : begin + 16].hex())


_AT_ONCE = 16


def _version_4(text: str) -> str:
    # In half the time that uuid4() takes.
    variant = _VARIANTS[text[16]]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def time_of(body: str) -> float | None:
    """When the event of a message happened, in seconds since the epoch; None where its body is no
    JSON that says so.

    Args:
        body: the text of a message.
    """
    from pydantic_core import from_json

    try:
        return datetime.fromisoformat(from_json(body)["time"]).timestamp()
    except (ValueError, TypeError, KeyError, IndexError):
        return None


class TraceContext(str):
    """A W3C traceparent that takes its tracestate and W3C Baggage along; `publish(traceparent=)`
    takes it, too.

    Example:
        ```python
        from messaging.envelope import TraceContext

        traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        publisher.publish(ana, traceparent=TraceContext(traceparent, tracestate="vendor=1"))
        (message,) = broker.messages("marketing")
        assert traceparent in message.body and "vendor=1" in message.body
        ```
    """

    __slots__ = ("baggage", "tracestate")

    tracestate: str
    baggage: str

    def __new__(cls, traceparent: str, tracestate: str = "", baggage: str = "") -> Self:
        made = super().__new__(cls, traceparent)
        made.tracestate = tracestate
        made.baggage = baggage
        return made


class SoundTraceparent(str):
    """A W3C traceparent that its maker knows to be well-formed: nobody need look at it again."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True, init=False)
class Envelope:
    """What stands around the data: CloudEvents 1.0 context attributes, by their meaning.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md

    Args:
        id: the event's id, the same in every copy; remember it to handle an event once.
        source: who published, a URI reference: "/cadastro".
        type: the event's type: "aluno.cadastrado".
        version: `dataversion` on the wire: the version of the data's shape.
        time: when it happened, aware; None when a foreign producer did not say.
        subject: whom it is about; None when the view does not declare that field.
        traceparent: W3C trace context, passed through.
        extensions: other CloudEvents extensions, as they came; `tracestate` and `baggage` are two.
        data: the view as JSON has it. Left out of `repr`: it is personal data.
        audience: the services that this copy is for, while it is written: a codec may need to know.
            Not on the wire (it is an attribute of the message), so empty when read.

    Example:
        ```python
        from messaging import Envelope


        class Plataforma(Consumer):
            @handles
            def cancel(self, matricula: MatriculaCancelada, envelope: Envelope) -> None:
                print(envelope.id, envelope.source, envelope.time)
        ```
    """

    id: str
    source: str
    type: str
    version: int = 1
    time: datetime | None = None
    subject: str | None = field(default=None, repr=False)
    traceparent: str | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict, repr=False)
    data: Any = field(default=None, repr=False)
    audience: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        id: str,
        source: str,
        type: str,
        version: int = 1,
        time: datetime | None = None,
        subject: str | None = None,
        traceparent: str | None = None,
        extensions: Mapping[str, Any] | None = None,
        data: Any = None,
        audience: tuple[str, ...] = (),
    ) -> None:
        # As dataclass would, which sets each field of a frozen class by a call of its own: a
        # third of the time, and one is made for every message, both ways.
        self.__dict__.update(
            id=id,
            source=source,
            type=type,
            version=version,
            time=time,
            subject=subject,
            traceparent=traceparent,
            extensions={} if extensions is None else extensions,
            data=data,
            audience=audience,
        )
