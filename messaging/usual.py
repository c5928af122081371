"""The room of the usual message: this library's own envelope, read without taking its data apart.

`JsonCodec.encode` writes the data as the last member, and as it is. So the text can be cut in two
at the first `,"data":`, which cannot stand within a JSON string, whose quotes are escaped: if what
is before it, closed with a brace, is an object, and what is after it is one value, then the whole
is an object and the value its data. The head is checked and made an `Envelope` in one call of
pydantic-core, and the data goes straight to the validator of the view.

Whatever is not as usual is None here, and read by the codec, which also says what is wrong. Both
give the same for whatever both can read (`tests/test_usual.py`).
"""

from __future__ import annotations

from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from messaging.envelope import Envelope

__all__ = ["usual"]

_MIDDLE = ',"data":'
_MAX_VERSION = 2_147_483_647
_UTC = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"


def _head() -> SchemaValidator:
    text = cs.str_schema(strict=True, min_length=1)
    # By its form first: pydantic would take seconds since the epoch, too, in a text or not.
    time = cs.chain_schema([cs.str_schema(strict=True, pattern=_UTC), cs.datetime_schema()])
    version = cs.int_schema(strict=True, ge=1, le=_MAX_VERSION)
    fields = [
        cs.dataclass_field("specversion", cs.literal_schema(["1.0"]), init_only=True),
        cs.dataclass_field("id", text),
        cs.dataclass_field("source", text),
        cs.dataclass_field("type", text),
        cs.dataclass_field("version", version, validation_alias="dataversion"),
        cs.dataclass_field(
            "datacontenttype", cs.literal_schema(["application/json"]), init_only=True
        ),
        cs.dataclass_field("time", cs.with_default_schema(time, default=None)),
        cs.dataclass_field("subject", cs.with_default_schema(text, default=None)),
        cs.dataclass_field("traceparent", cs.with_default_schema(text, default=None)),
    ]
    # Extensions are not usual.
    arguments = cs.dataclass_args_schema(
        "Envelope", fields, collect_init_only=True, extra_behavior="forbid"
    )
    return SchemaValidator(
        cs.dataclass_schema(Envelope, arguments, [field["name"] for field in fields])
    )


_read = _head().validate_json


def usual(body: str) -> tuple[Envelope, str] | None:
    """The envelope, without its data, and the data as JSON, whose syntax nobody has checked yet.

    None: not as this library writes it.
    """
    before, found, after = body.partition(_MIDDLE)
    # pydantic-core reads NaN and Infinity, which are no JSON, where it validates.
    if not found or after[-1:] != "}" or "NaN" in after or "Infinity" in after:
        return None
    try:
        envelope: Envelope = _read(before + "}")
    except ValidationError:
        return None
    envelope.__dict__.update(extensions={}, data=None, audience=())
    return envelope, after[:-1]
