"""The quick look at a message and the thorough one: the same for whatever the quick one takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, field_validator
from pydantic_core import to_json

from messaging import Consumer, Envelope, Event, handles
from messaging.codec import JsonCodec
from messaging.consuming.decoder import Decoder, Read
from messaging.consuming.fast_decoder import (
    MOST_HEADS,
    FastDecoder,
    KnownHead,
    decoder_for,
    envelope,
    envelope_of,
    traceparent_in,
    usual,
)
from messaging.errors import CodecError
from messaging.transport import Delivery


class Endereco(BaseModel):
    """Inside of another."""

    model_config = ConfigDict(extra="forbid")

    rua: str
    numero: int | None = None


class Matricula(Event, type="matricula.feita", version=2):
    """A field of each kind."""

    aluno_id: UUID | None = None
    nome: str = ""
    quando: AwareDatetime | None = None
    valor: Decimal | None = None
    nota: float | None = None
    quantos: int | None = None
    livre: Any = None
    endereco: Endereco | None = None

    @field_validator("nome")
    @classmethod
    def _no_shouting(cls, nome: str) -> str:
        if nome.isupper():
            raise ValueError("shouted")
        return nome


class Secretaria(Consumer):
    """Sees the envelope."""

    service = "secretaria"

    @handles
    def matricula(self, matricula: Matricula, envelope: Envelope) -> None:
        """Does nothing."""


HEAD = {
    "specversion": "1.0",
    "id": "1",
    "source": "/s",
    "type": "matricula.feita",
    "dataversion": 2,
    "datacontenttype": "application/json",
    "time": "2026-11-24T12:00:00.5Z",
}
CONSUMER = Secretaria()
QUICK = FastDecoder(CONSUMER, watched=True)


class Portaria(Consumer):
    """Sees views only."""

    service = "portaria"

    @handles
    def matricula(self, matricula: Matricula) -> None:
        """Does nothing."""


KNOWN = HEAD | {
    "id": "0b3c2d1e-4f5a-4b6c-8d7e-9f0a1b2c3d4e",
    "time": "2026-11-24T12:00:00.123456Z",
}


class Thorough(JsonCodec):
    """The same codec under another name, so that nothing is taken for granted."""

    __slots__ = ()


THOROUGH = decoder_for(CONSUMER, Thorough(), watched=True)
PLAIN = Portaria()
PLAIN_THOROUGH = Decoder(PLAIN, Thorough())


Reader = Callable[[Delivery], Read]


def read(reader: Reader, body: str) -> object:
    delivery = Delivery(queue="q", message_id="1", receipt="1", body=body)
    try:
        read = reader(delivery)
    except CodecError as error:
        return error.reason
    _, view, _, _ = read
    return vars(envelope(read)), view.model_dump(), repr(view)


def text(head: dict[str, Any], data: str) -> str:
    written = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return written[:-1] + f',"data":{data}}}'


ODD = st.sampled_from(
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "-0", "0.10", "1.0", "00", "1e2", "null"),
        *('"\\ud800"', '"\\u0000"', '"a,\\"data\\":b"', '{"nome":"x"},"data":{"nome":"y"}'),
        *('{"nome":"a","nome":"b"}', '{"nome":"AA"}', '{"outro":1,"nome":"b"}', "", "[]", "{}"),
        *('{"endereco":{"rua":"x","numero":"7","mais":1}}', '{"valor":0.1}', '{"valor":1e400}'),
        *('{"quando":1764000000}', '{"quando":"1764000000"}', '{"quantos":1.0}', '{"livre":NaN}'),
        *(
            '{"quantos":' + "9" * 30 + "}",
            '{"livre":' + "[" * 210 + "]" * 210 + "}",
            '{"nota":"1"}',
        ),
        *("{} ", ' {"nome":"x"}\n', '{"nome":"x"}}', '{"nome":"x"},"extra":1', '{"aluno_id":1}'),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
).map(lambda value: json.dumps(value))
DATA = st.one_of(
    ODD,
    JSON,
    st.tuples(st.sampled_from(list(Matricula.model_fields)), ODD | JSON).map(
        lambda pair: f'{{"{pair[0]}":{pair[1]}}}'
    ),
)
MEMBERS: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.sampled_from([*HEAD, "subject", "traceparent", "extra", "dataref", "audience"]),
              st.none() | st.text(max_size=5) | st.integers(-1, 3) | st.floats() | st.just({})),
    st.tuples(st.just("time"), st.sampled_from([
        "2026-11-24T12:00:00", "2026-13-24T12:00:00Z", "2026-11-24T12:00:00+03:00", "1764000000",
        "2026-11-24 12:00:00Z", "2026-11-24T12:00:00.123456789Z", "0000-01-01T00:00:00Z",
        "2026-11-24T24:00:00Z", "2026-11-24T23:59:60Z", "9999-12-31T23:59:59.999999Z",
    ])),
    st.tuples(st.just("datacontenttype"), st.sampled_from(["text/plain", "application/a+json"])),
    st.tuples(st.just("data_base64"), st.just("e30=")),
)  # fmt: skip


@given(data=DATA, changed=st.lists(MEMBERS, max_size=2), dropped=st.sets(st.sampled_from([*HEAD])))
@settings(max_examples=400, deadline=None)
@example(data='{"nome":"x"}', changed=[("data", {"a": 1})], dropped=set())
def test_the_same(data: str, changed: list[tuple[str, Any]], dropped: set[str]) -> None:
    head = {name: value for name, value in HEAD.items() if len(dropped) > 2 or name not in dropped}
    body = text(head | dict(changed), data)
    assert read(QUICK, body) == read(THOROUGH, body)


@given(DATA)
@settings(max_examples=200, deadline=None)
def test_the_same_around_any_data(data: str) -> None:
    assert read(QUICK, text(HEAD, data)) == read(THOROUGH, text(HEAD, data))


@pytest.mark.parametrize("wrap", [lambda body: body, lambda body: json.dumps({"x": body})])
def test_a_mistake_keeps_its_reason(wrap: Any) -> None:
    body = wrap(text(HEAD, '{"nome":3}'))
    assert isinstance(read(QUICK, body), str)
    assert read(QUICK, body) == read(THOROUGH, body)


def test_what_the_codec_writes_is_usual() -> None:
    """Else everything would be right, and slow."""
    written = Envelope(
        id="1", source="/s", type="a.b", version=3, time=datetime.now(UTC), subject="s",
        traceparent="t",
    )  # fmt: skip
    data = to_json({"nome": 'aspas, "data": {}'})
    found = usual(JsonCodec().encode(written, data))
    assert found is not None
    type, version, read, head = found
    assert (type, version, read) == ("a.b", "3", data.decode())
    assert envelope_of(head, None) == written
    assert usual(text(HEAD, "{}")) is not None, "the other tests compare something"


@pytest.mark.parametrize(
    ("head", "data"),
    [
        (HEAD | {"tenant": "x"}, "{}"),
        (HEAD | {"dataversion": "2"}, "{}"),
        ({"id": "0", **HEAD}, "{}"),
        (HEAD | {"id": "a\\b"}, "{}"),
        (HEAD | {"id": "\ud800"}, "{}"),
        (HEAD | {"time": "2026-02-30T12:00:00Z"}, "{}"),
        (HEAD | {"time": 1764000000}, "{}"),
        (HEAD | {"time": "1764000000"}, "{}"),
        (HEAD, '{"nota":NaN}'),
    ],
)
def test_what_is_not_usual(head: dict[str, Any], data: str) -> None:
    body = text(head, data)
    assert read(QUICK, body) == read(THOROUGH, body)
    assert usual(body) is None
    assert usual(text(HEAD, data) + " ") is None


# -- a known head


def knowing() -> FastDecoder:
    """It has read one message, and knows the next by it."""
    reader = FastDecoder(PLAIN, watched=False)
    assert not isinstance(read(reader, text(KNOWN, "{}")), str)
    return reader


def seen(reader: Reader, body: str) -> object:
    """As `read`; but nobody was said to look at the envelope's data."""
    found = read(reader, body)
    return found if isinstance(found, str) else ({**found[0], "data": None}, *found[1:])  # type: ignore[index]


GLANCING = knowing()
TRACED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02"
BODIES = tuple(
    text(KNOWN | more, '{"nome":"Ana"}')
    for more in (
        {},
        {"subject": "aluno/7"},
        {"subject": "s", "traceparent": "t"},
        {"traceparent": TRACED},
        {"subject": "s", "traceparent": TRACED},
        {"traceparent": TRACED, "tracestate": "k=v"},
    )
)
CHARACTERS = st.sampled_from([*'"\\{}:,-.TZWaf09 \x00\x7fé٣', "\ud800", "\u2028", "NaN", ""])


@given(st.sampled_from(BODIES), st.integers(0, 320), CHARACTERS, st.integers(0, 2))
@settings(max_examples=1000, deadline=None)
def test_the_same_whatever_is_changed(body: str, at: int, put: str, cut: int) -> None:
    body = body[:at] + put + body[at + cut :]
    assert seen(GLANCING, body) == seen(PLAIN_THOROUGH, body)


@pytest.mark.parametrize(
    "subject", [None, "aluno/7", "é", "a b", "\u00a0", 'a"b', "a\\b", "", "\u2028"]
)
@pytest.mark.parametrize("data", ["{}", '{"nome":"x\\",\\"data\\":"}', '{"nota":NaN}', "[", ""])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"id": "0B3C2D1E-4f5a-4b6c-8d7e-9f0a1b2c3d4e"},
        {"id": "0b3c2d1e-4f5a-4b6c-8d7e-9f0a1b2c3d4"},
        {"id": "0b3c2d1e4f5a-4b6c-8d7e-9f0a1b2c3d4e-"},
        {"time": "2026-02-30T12:00:00.123456Z"},
        {"time": "2026-W48-2T12:00:00.123456Z"},
        {"time": "2026-11-24T12:00:00.1234a6Z"},
        {"time": "2026-11-24T12:00:00.123+01Z"},
        {"time": "2026-11-24T12:00:60.123456Z"},
        {"type": "matricula.Feita"},
        {"dataversion": 1},
        {"dataversion": 12},
        {"traceparent": TRACED},
        {"traceparent": TRACED.upper()},
        {"traceparent": TRACED[:-1] + '"'},
        {"traceparent": TRACED + "0"},
        {"traceparent": TRACED, "tracestate": "k=v"},
    ],
)
def test_the_same_at_a_glance(more: dict[str, Any], data: str, subject: str | None) -> None:
    head = KNOWN | more | ({} if subject is None else {"subject": subject})
    body = text(head, data)
    assert seen(GLANCING, body) == seen(PLAIN_THOROUGH, body)


def test_the_next_message_of_a_type_is_known_by_the_last() -> None:
    """Else everything would be right, and slow."""
    found = usual(text(KNOWN, "{}"))
    assert found is not None
    known_head = KnownHead.like(found[3])
    assert known_head is not None
    other = KNOWN | {"id": "7" * 8 + "-ffff-4fff-8fff-" + "0" * 12}
    late = other | {"time": "2031-01-01T00:00:00.000000Z"}
    assert known_head(text(late, '{"a":1}')) == ('{"a":1}', "")
    assert known_head(text(other | {"subject": "s"}, "{}")) == ("{}", "")
    assert known_head(text(other | {"traceparent": TRACED}, "{}")) == ("{}", TRACED)
    assert known_head(text(other | {"subject": "s", "traceparent": TRACED}, "{}")) == ("{}", TRACED)
    assert known_head(text(other | {"source": "/t"}, "{}")) is None
    assert len(knowing()._known_heads) == 1


def test_heads_are_not_learned_without_end() -> None:
    reader = knowing()
    for number in range(50):
        head = KNOWN | {
            "source": f"/{number}",
            "id": str(number) if number % 2 else KNOWN["id"],
        }
        assert not isinstance(read(reader, text(head, "{}")), str)
    assert len(reader._known_heads) == MOST_HEADS


def test_who_sees_envelopes_is_told_all_of_them() -> None:
    reader = FastDecoder(PLAIN, watched=True)
    for _ in range(3):
        assert read(reader, BODIES[1]) == read(PLAIN_THOROUGH, BODIES[1])


@pytest.mark.parametrize(
    "body",
    [
        BODIES[0][:-1],
        BODIES[0][:-1] + "]",
        BODIES[0][:-1] + '}"',
        BODIES[0] + "}",
        BODIES[1].replace("aluno/7", r"a\q"),
        BODIES[1].replace("aluno/7", "a\\"),
        BODIES[1].replace("aluno/7", r"a\u00e9"),
    ],
)
def test_the_same_for_what_is_no_json(body: str) -> None:
    assert seen(GLANCING, body) == seen(PLAIN_THOROUGH, body)


@pytest.mark.parametrize(
    ("more", "data", "said"),
    [
        ({}, "{}", None),
        ({"traceparent": TRACED}, "{}", TRACED),
        ({"subject": "s", "traceparent": TRACED}, "{}", TRACED),
        ({"traceparent": "t"}, "{}", None),
        ({"traceparent": TRACED, "tracestate": "k=v"}, "{}", None),
        ({"traceparent": TRACED, "baggage": "k=v"}, "{}", None),
        ({}, '{"a":1,"traceparent":"' + TRACED + '","data":{}}', None),
        ({"source": "/" + "s" * 2_000, "traceparent": TRACED}, "[]", TRACED),
        ({"source": "/" + "s" * 2_000, "traceparent": TRACED}, "{}", TRACED),
        ({"traceparent": TRACED}, "[1]", TRACED),
        ({"subject": "a{b", "traceparent": TRACED}, "{}", TRACED),
        ({"source": "/" + "s" * 2_000}, '["x","traceparent":"' + TRACED + '"]', None),
    ],
)
def test_the_traceparent_is_that_of_the_head(
    more: dict[str, Any], data: str, said: str | None
) -> None:
    """Where it is not found, or tracestate or baggage comes with it, the envelope says it."""
    body = text(KNOWN | more, data)
    found, first = usual(body), usual(text(KNOWN, "{}"))
    assert found is not None
    assert first is not None
    assert traceparent_in(found[3]) == (said or "")
    known_head = KnownHead.like(first[3])
    assert known_head is not None
    assert known_head(body) in (None, (data, said or ""))
