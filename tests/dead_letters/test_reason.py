"""Reasons beside dead letters: written within SQS's limits, and read back whole."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.codec import JsonCodec
from messaging.dead_letters.letter import letter_of
from messaging.dead_letters.reason import MAX_ATTRIBUTES, MAX_REASON, OUTSIDE_XML, attributes, read
from messaging.transport import Attribute, DeadLetter, DeadLetterReason, Delivery

TEXT = st.text(min_size=1).filter(lambda text: not OUTSIDE_XML.search(text))
ATTRIBUTE = st.one_of(
    st.builds(Attribute.string, TEXT),
    st.builds(Attribute.array, st.lists(TEXT)),
    st.builds(Attribute, st.just("Number"), st.integers().map(str)),
    st.builds(Attribute, st.just("Binary"), st.binary(min_size=1)),
)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.]{0,20}", fullmatch=True)
ORIGINALS = st.dictionaries(
    st.one_of(st.sampled_from(["type", "audience"]), NAMES), ATTRIBUTE, max_size=MAX_ATTRIBUTES
)


def letter(
    original: Mapping[str, Attribute],
    reason: str = "nome: required",
    error: str | None = None,
    *,
    queue: str = "alunos-bi",
) -> DeadLetter:
    delivery = Delivery(queue=queue, message_id="1", receipt="1", body="{}", attributes=original)
    return DeadLetter(
        delivery=delivery, reason=reason, error=error, attempts=3, time=0.5, queue=queue
    )


def many(count: int) -> dict[str, Attribute]:
    more = {f"a{number}": Attribute.string("x") for number in range(count - 2)}
    return {**more, "type": Attribute.string("t"), "audience": Attribute.array(["*"])}


@given(ORIGINALS, st.text(), st.one_of(st.none(), TEXT))
def test_whatever_is_written_is_read_back(
    original: dict[str, Attribute], reason: str, error: str | None
) -> None:
    written = attributes(letter(original, reason, error))

    found, note = read(written)

    assert found == original
    assert note is not None
    assert (note.attempts, note.time, note.queue) == (3, 0.5, "alunos-bi")
    assert (note.error is None) == (error is None)
    assert len(written) <= MAX_ATTRIBUTES
    for _, value in written.values():
        assert value
        assert isinstance(value, bytes) or not OUTSIDE_XML.search(value)


def test_the_facts_of_a_dead_letter_are_one_value_from_the_worker_to_the_workbench() -> None:
    sent = letter({"type": Attribute.string("t")}, "nome: required", "KeyError")

    written = attributes(sent)
    _, note = read(written)
    arrived = Delivery(queue="dlq", message_id="2", receipt="2", body="{}", attributes=written)

    assert note == DeadLetterReason(**sent.facts())
    assert letter_of(arrived, "dead", JsonCodec()).facts() == sent.facts()


@given(ORIGINALS)
def test_second_reason_replaces_the_first(original: dict[str, Attribute]) -> None:
    once = attributes(letter(original, "first", "KeyError"))

    twice = attributes(letter(once, "second", queue="alunos-marketing"))

    found, note = read(twice)
    assert found == original
    assert note is not None
    assert (note.reason, note.error, note.queue) == ("second", None, "alunos-marketing")


def test_reason_stands_in_attributes_that_one_can_read_in_a_console() -> None:
    written = attributes(letter(many(2), error="KeyError"))

    assert written == {
        **many(2),
        "dead-letter-reason": ("String", "nome: required"),
        "dead-letter-error": ("String", "KeyError"),
        "dead-letter-attempts": ("Number", "3"),
        "dead-letter-time": ("String", "1970-01-01T00:00:00.500Z"),
        "dead-letter-queue": ("String", "alunos-bi"),
    }


@pytest.mark.parametrize(
    ("originals", "error", "forms"),
    [
        (5, "KeyError", "apart"),
        (6, None, "apart"),
        (6, "KeyError", "together"),
        (9, None, "together"),
        (10, None, "moved"),
    ],
)
def test_form_follows_from_the_room_there_is(originals: int, error: str | None, forms: str) -> None:
    written = attributes(letter(many(originals), error=error))

    assert ("dead-letter-reason" in written) == (forms == "apart")
    assert ("dead-letter" in written) == (forms != "apart")
    if forms != "apart":
        content = json.loads(written["dead-letter"].value)
        assert ("attributes" in content) == (forms == "moved")
    assert {"type", "audience"} <= set(written)


def test_reason_is_cut_and_cleaned() -> None:
    written = attributes(letter({}, "é\x00\ud800" + "x" * 2000))

    reason = written["dead-letter-reason"].value
    assert isinstance(reason, str)
    assert len(reason) == MAX_REASON
    assert reason.startswith("é\ufffd\ufffdx")


def test_missing_reason_is_not_an_empty_attribute() -> None:
    _, note = read(attributes(letter({}, "")))

    assert note is not None
    assert note.reason == "none given"


def test_message_that_sqs_moved_has_no_note() -> None:
    assert read(many(3)) == (many(3), None)


@pytest.mark.parametrize(
    "foreign",
    [
        "no JSON",
        "[]",
        '{"other": 1}',
        '{"reason": "x", "attributes": [1]}',
        '{"reason": "x", "attributes": {"a": {"type": "String"}}}',
        '{"reason": "x", "attributes": {"a": {"type": "Binary", "base64": "?"}}}',
    ],
)
def test_foreign_attribute_of_that_name_is_left_alone(foreign: str) -> None:
    mine = {"dead-letter": Attribute.string(foreign)}

    assert read(mine) == (mine, None)


def test_note_that_somebody_edited_is_read_as_far_as_it_goes() -> None:
    _, note = read(
        {
            "dead-letter-reason": Attribute.string("by hand"),
            "dead-letter-attempts": Attribute.string("many"),
            "dead-letter-time": Attribute.string("yesterday"),
        }
    )

    assert note is not None
    assert (note.reason, note.error, note.attempts, note.time, note.queue) == (
        "by hand",
        None,
        None,
        0.0,
        None,
    )
