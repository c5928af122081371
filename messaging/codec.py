"""Codecs convert an envelope to a message body and back. A codec may wrap another one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Protocol, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json
from pydantic_core.core_schema import ErrorType

from messaging.envelope import Envelope
from messaging.errors import CodecError
from messaging.foreign import broken, document_kind, other_kind
from messaging.subtyping import classes_of

__all__ = ["Codec", "JsonCodec", "first_mistake", "mistake_told"]

_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)
_CONTEXT = frozenset(
    {
        *(
            "specversion",
            "id",
            "source",
            "type",
            "time",
            "subject",
            "datacontenttype",
            "data",
            "data_base64",
        ),
        *("dataversion", "traceparent"),
    }
)
_MAX_VERSION = 2_147_483_647
"""CloudEvents' Integer has 32 bits. https://github.com/cloudevents/spec (spec.md, Type System)"""
_SNS_NOTIFICATION = frozenset({"Type", "MessageId", "TopicArn", "Message"})


class Codec(Protocol):
    """Converts an envelope to a message body, and back."""

    def encode(self, envelope: Envelope, data: bytes) -> str:
        """The body. `data` is the view as JSON, or empty: then the body has no data.

        `envelope.data` is ignored.

        Args:
            envelope: the context of the data.
            data: the view as JSON; empty: the body has no data.
        """
        ...

    def decode(self, body: str) -> Envelope:
        """The envelope with its data.

        Args:
            body: the received text.

        Raises:
            CodecError: if it can never be read.
        """
        ...


class JsonCodec:
    """CloudEvents 1.0, structured JSON: the library's own wire format.

    It also reads messages of foreign producers: plain CloudEvents (without `dataversion`, which is
    then 1; with `data_base64` if the data is JSON text) and SNS's own notification around either,
    as sent by a subscription without raw delivery; also with a byte order mark. Anything else is a
    `CodecError` that says what it is, as far as `messaging.foreign` recognizes it.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md

    Example:
        ```python
        from messaging.codec import JsonCodec

        publisher.publish(ana, id="matricula-2026-0042")
        (message,) = broker.messages("marketing")
        assert JsonCodec().decode(message.body).id == "matricula-2026-0042"
        ```
    """

    __slots__ = ()

    def encode(self, envelope: Envelope, data: bytes) -> str:
        """See `Codec.encode`."""
        head: dict[str, Any] = {
            "specversion": "1.0",
            "id": envelope.id,
            "source": envelope.source,
            "type": envelope.type,
            "dataversion": envelope.version,
            "datacontenttype": "application/json",
        }
        if envelope.time is not None:
            head["time"] = envelope.time
        if envelope.subject is not None:
            head["subject"] = envelope.subject
        if envelope.traceparent is not None:
            head["traceparent"] = envelope.traceparent
        head.update(envelope.extensions)
        # The data is JSON already: it is inserted as it is, not parsed and written again.
        return (to_json(head)[:-1] + (b',"data":' + data if data else b"") + b"}").decode()

    def decode(self, body: str) -> Envelope:
        """See `Codec.decode`."""
        document, name = _object(body, "body"), "body"
        if document.keys() >= _SNS_NOTIFICATION and document["Type"] == "Notification":
            document, name = _object(document["Message"], "Message"), "Message"
        return _envelope(document, name)


def _object(text: object, name: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise CodecError(f"{name}: a JSON text was expected")
    try:
        # Windows programs start UTF-8 text with a byte order mark.
        document = from_json(text.removeprefix("\ufeff"), allow_inf_nan=False)
    except TypeError:  # a lone surrogate, which is invalid in UTF-8
        raise CodecError(f"{name}: not JSON (not text in UTF-8)") from None
    except ValueError as error:
        # pydantic-core names error and position ("expected value at line 1 column 1"), without
        # content.
        raise CodecError(f"{name}: {broken(text, error)}") from None
    if not isinstance(document, dict):
        raise CodecError(f"{name}: {other_kind(document, name)}")
    return document


def _envelope(document: dict[str, Any], name: str) -> Envelope:
    if document.get("specversion") != "1.0":
        if "specversion" not in document and (kind := document_kind(document)):
            raise CodecError(f"{name}: {kind}")
        said = '"1.0" was expected' if "specversion" in document else "missing"
        raise CodecError(f"specversion: {said}; this is not a CloudEvents 1.0 document")
    return Envelope(
        id=_text(document, "id"),
        source=_text(document, "source"),
        type=_text(document, "type"),
        version=_version(document),
        time=_time(document),
        subject=_optional(document, "subject"),
        traceparent=_optional(document, "traceparent"),
        extensions={name: value for name, value in document.items() if name not in _CONTEXT}
        if not document.keys() <= _CONTEXT
        else {},
        data=_data(document),
    )


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise CodecError(f"{name}: {'missing' if value is None else 'a text was expected'}")
    return value


def _optional(document: Mapping[str, Any], name: str) -> str | None:
    return None if document.get(name) is None else _text(document, name)


def _version(document: Mapping[str, Any]) -> int:
    value = document.get("dataversion", 1)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)  # CloudEvents allows extensions as strings in other bindings
    if type(value) is not int or not 1 <= value <= _MAX_VERSION:
        raise CodecError(f"dataversion: a whole number from 1 to {_MAX_VERSION} was expected")
    return value


def _time(document: Mapping[str, Any]) -> datetime | None:
    value = document.get("time")
    if value is None:
        return None
    try:
        time = _TIME.validate_python(_text(document, "time"))
    except ValidationError:
        raise CodecError("time: an RFC 3339 date and time was expected") from None
    if time.tzinfo is None:
        raise CodecError("time: the offset from UTC is missing (RFC 3339)")
    return time


def _data(document: Mapping[str, Any]) -> Any:
    if document.get("data_base64") is not None:
        return _base64(document)
    content = document.get("datacontenttype") or "application/json"
    if content != "application/json" and not (isinstance(content, str) and _is_json(content)):
        raise CodecError("datacontenttype: only JSON can be read (application/json)")
    return document.get("data")


def _is_json(content: str) -> bool:
    kind = content.partition(";")[0].strip().lower()
    return kind.endswith(("/json", "+json"))


def _base64(document: Mapping[str, Any]) -> Any:
    from base64 import b64decode

    text = _text(document, "data_base64")
    try:
        return from_json(b64decode(text, validate=True), allow_inf_nan=False)
    except ValueError:
        raise CodecError("data_base64: JSON in base64 was expected") from None


def first_mistake(
    error: ValidationError, prefix: str = "data", *, model: type[BaseModel] | None = None
) -> str:
    """pydantic's first error, with the field's path and without its value.

    "data.nome: input should be a valid string (1 of 2 mistakes)"

    With `model`, the names of nested fields are shown too; without it they are shown as "[key]",
    since they may be keys of a mapping, which are data.

    Args:
        error: the pydantic error.
        prefix: put before the field's path.
        model: the model that was validated, for the names of its fields.

    Example:
        ```python
        from messaging.codec import first_mistake
        from pydantic import ValidationError

        try:
            AlunoParaMarketing.model_validate({"nome": 7, "email": "ana@example.com"})
        except ValidationError as error:
            told = first_mistake(error, model=AlunoParaMarketing)
        assert told == "data.nome: input should be a valid string"
        ```
    """
    mistakes = error.errors(include_url=False, include_input=False)
    first = mistakes[0]
    known = _names(model) if model is not None else frozenset(map(str, first["loc"][:1]))
    place = ".".join([prefix, *(_step(part, known) for part in first["loc"])])
    more = f" (1 of {len(mistakes)} mistakes)" if len(mistakes) > 1 else ""
    return f"{place}: {mistake_told(first)}{more}"


def mistake_told(mistake: ErrorDetails, language: str = "en") -> str:
    """One error in words, without the value: pydantic's own text, or that of a validator that
    raised `messaging.event.refusal`, which may have translations.

    Args:
        mistake: one of `error.errors()`.
        language: "en" or "pt".

    Example:
        ```python
        from messaging.codec import mistake_told
        from pydantic import ValidationError

        try:
            AlunoParaMarketing.model_validate({"nome": "Ana"})
        except ValidationError as error:
            told = [mistake_told(mistake) for mistake in error.errors()]
        assert told == ["field required"]
        ```
    """
    kind, message = mistake["type"], mistake["msg"]
    # Most of pydantic's own messages quote no values; those of custom validators may.
    if kind not in _PYDANTICS_OWN:
        context = mistake.get("ctx", {})
        if context.get("free_of_values") is not True:
            return f"refused by its validator ({kind})"
        return str(context.get(language, message))
    if kind in _QUOTING:
        return f"refused ({kind})"
    # Except for an abbreviation: "UUID input should be ..."
    return message if message[1:2].isupper() else message[:1].lower() + message[1:]


def _step(part: int | str, known: Collection[str]) -> str:
    # The key of a mapping is data; a field is a name.
    return str(part) if isinstance(part, int) or part in known else "[key]"


def _names(model: type[BaseModel]) -> frozenset[str]:
    """The names of the fields of `model` and of all nested models."""
    fields = (getattr(kind, "model_fields", {}) for kind in classes_of(model))
    return frozenset(name for some in fields for name in some)


_PYDANTICS_OWN = frozenset(get_args(ErrorType)) - {
    "assertion_error",
    "value_error",
}
_QUOTING = frozenset(
    {
        "bytes_invalid_encoding",
        "get_attribute_error",
        "iteration_error",
        "mapping_type",
        "union_tag_invalid",
        "uuid_parsing",
    }
)
"""pydantic's own errors whose messages contain part of the value, or another error's text."""
