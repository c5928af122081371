"""The page that writes the wire format down says what the code does, and what CloudEvents is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from consumers import TOPOLOGY
from consumers.events import AlunoCadastrado, AlunoParaMarketing
from messaging.claimcheck import ClaimCheck, MemoryBlobStore
from messaging.codec import JsonCodec
from messaging.dead_letters.reason import attributes as dead_letter_attributes
from messaging.dead_letters.reason import read as read_dead_letter
from messaging.envelope import Envelope
from messaging.memory import MemoryBroker
from messaging.publishing.publisher import Publisher
from messaging.transport import Attribute, DeadLetter, Delivery

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "wire-format.md"
TEXT = PAGE.read_text()
SAMPLE, FILTER_POLICY, WRAPPED = re.findall(r"```json[^\n]*\n(.*?)```", TEXT, flags=re.S)
CODEC = JsonCodec()
ALUNO = UUID("5f2b7c1e-53b4-4d0b-8c55-0a4d8e1f9b21")


def section(title: str) -> str:
    """The text of the page below a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, flags=re.S | re.M)
    assert found, f"the page has no section {title!r}"
    return found[1]


def table(text: str) -> dict[str, list[str]]:
    """Rows of the first table in `text`, by the name in their first column."""
    rows = [re.split(r"\s*(?<!\\)\|\s*", line.strip("| ")) for line in text.splitlines()]
    return {row[0].strip("`"): row[1:] for row in rows if row[0].startswith("`") and row[1:]}


def test_the_sample_is_what_the_codec_reads() -> None:
    envelope = CODEC.decode(SAMPLE)

    assert (envelope.id, envelope.type, envelope.version, envelope.source) == (
        "0b0e7a4c-8d5f-4a57-9a0e-3f1d2c6b7a88",
        "aluno.cadastrado",
        1,
        "/cadastro",
    )
    assert envelope.time == datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
    assert envelope.subject == str(ALUNO)
    assert envelope.extensions == {}
    aluno = AlunoParaMarketing.model_validate_json(json.dumps(envelope.data))
    assert (aluno.aluno_id, aluno.nome) == (ALUNO, "Inês Conceição")


def test_the_sample_is_what_a_publisher_sends() -> None:
    sample = json.loads(SAMPLE)
    event = AlunoCadastrado(
        **sample["data"],
        origem="formulario",
        data_matricula=datetime(2026, 11, 24, tzinfo=UTC),
        aceita_marketing=True,
    )
    broker = MemoryBroker(TOPOLOGY)
    with Publisher(broker.topic(), source="/cadastro") as publisher:
        publisher.publish(
            event,
            id=sample["id"],
            time=datetime(2026, 11, 24, 12, 30, tzinfo=UTC),
            traceparent=sample["traceparent"],
        )
    (copy,) = broker.queue("marketing").receive(limit=10, wait=0)
    broker.close()

    assert json.loads(copy.body) == sample
    assert copy.attributes == {
        "type": Attribute("String", "aluno.cadastrado"),
        "audience": Attribute("String.Array", '["plataforma", "marketing"]'),
    }


def test_the_sample_is_what_the_cloudevents_sdk_reads() -> None:
    theirs = JSONFormat().read(CloudEvent, SAMPLE)
    ours = CODEC.decode(SAMPLE)

    assert theirs.get_specversion() == "1.0"
    assert (theirs.get_id(), theirs.get_source(), theirs.get_type(), theirs.get_subject()) == (
        ours.id,
        ours.source,
        ours.type,
        ours.subject,
    )
    assert theirs.get_time() == ours.time
    assert theirs.get_extension("dataversion") == ours.version
    assert theirs.get_extension("traceparent") == ours.traceparent
    assert theirs.get_data() == ours.data


def test_the_cloudevents_sdk_reads_what_the_codec_writes() -> None:
    ours = CODEC.decode(SAMPLE)
    theirs = JSONFormat().read(CloudEvent, CODEC.encode(ours, json.dumps(ours.data).encode()))

    assert (theirs.get_id(), theirs.get_time(), theirs.get_data()) == (
        ours.id,
        ours.time,
        ours.data,
    )


def test_every_name_of_the_sample_is_explained_and_the_other_way_round() -> None:
    assert set(table(section("The body"))) == set(json.loads(SAMPLE))


@pytest.mark.parametrize(
    "name",
    [name for name, row in table(section("The body")).items() if row[1].startswith("no")],
)
def test_what_is_not_required_may_be_missing(name: str) -> None:
    rest = {key: value for key, value in json.loads(SAMPLE).items() if key != name}

    envelope = CODEC.decode(json.dumps(rest))

    assert envelope.id == rest["id"]
    assert envelope.version == 1


def test_sns_own_notification_holds_the_same() -> None:
    inner = CODEC.decode(WRAPPED)

    assert inner == replace(CODEC.decode(SAMPLE), traceparent=None)
    sent = json.loads(WRAPPED)["MessageAttributes"]
    assert set(sent) == set(table(section("The attributes")))
    assert sent["type"]["Value"] == inner.type
    assert sent["audience"]["Value"] in table(section("The attributes"))["audience"][1]


def test_the_filter_policy_is_that_of_marketing() -> None:
    policy = TOPOLOGY.subscription("marketing").filter_policy

    assert json.loads(FILTER_POLICY) == {**policy, "type": sorted(policy["type"])}


def test_the_attributes_of_a_dead_letter() -> None:
    letter = DeadLetter(
        delivery=Delivery(queue="q", message_id="m", receipt="r", body="{}"),
        reason="data.email: value is not a valid email address",
        error="CodecError",
        attempts=1,
        time=0.0,
        queue="alunos-marketing",
    )
    written = dead_letter_attributes(letter)

    rows = table(section("Dead letters"))
    assert {name: value.type for name, value in written.items()} == {
        name: row[0].strip("`") for name, row in rows.items()
    }
    _, note = read_dead_letter(written)
    assert note is not None
    assert note.reason == letter.reason
    assert letter.reason in rows["dead-letter-reason"][1]


def test_the_claim_is_what_the_page_says() -> None:
    store = MemoryBlobStore()
    codec = ClaimCheck(store, threshold=0)
    body = codec.encode(
        Envelope(id="e", source="/s", type="t", audience=("bi", "plataforma")), b"{}"
    )
    claim = json.loads(body).keys() - json.loads(SAMPLE).keys()

    rows = table(section("Data that stands elsewhere"))
    assert set(rows) == claim
    [key] = store.blobs
    shape = rows["dataref"][1].split("`")[1]
    assert re.fullmatch(
        re.escape(shape.replace("<datasha256>", "@")).replace("@", "[0-9a-f]{64}"),
        key,
    )
