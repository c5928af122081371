"""Forms: the very bytes that botocore would send, for any text."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.serialize import create_serializer
from hypothesis import example, given
from hypothesis import strategies as st

from messaging.aws.calls import _entry
from messaging.aws.fast.requests import RequestForms
from messaging.transport import Attribute, Outgoing

CLIENT: Any = boto3.Session("a", "b", region_name="us-east-1").client("sns")  # type: ignore[call-overload]  # positional keys
MODEL = CLIENT.meta.service_model.operation_model("PublishBatch")
# Every byte that UTF-8 has, so that all escapes and the way for many of them are taken.
EVERYTHING = "".join(map(chr, range(0x700))) + "\u2028\ud7ff\uffff\U0001f393\U0010ffff"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
attributes = st.dictionaries(
    texts.filter(bool),
    st.builds(Attribute, st.sampled_from(["String", "String.Array", "Number.int"]), texts)
    | st.builds(Attribute, st.just("Binary"), st.binary(max_size=9)),
    max_size=3,
)
messages = st.builds(
    Outgoing,
    id=st.just("e"),
    body=texts,
    attributes=attributes,
    size=st.just(1),
    group=st.none() | texts,
    deduplication=st.none() | texts,
)

FORMS = RequestForms()  # one for all: what it keeps of one batch must not show in another


def botocores(arn: str, batch: list[Outgoing]) -> bytes:
    entries = [_entry(place, one) for place, one in enumerate(batch)]
    parameters = {"TopicArn": arn, "PublishBatchRequestEntries": entries}
    made = create_serializer("query", include_validation=False).serialize_to_request(
        parameters, MODEL
    )
    return urlencode(made["body"], doseq=True).encode()


def message(body: str) -> Outgoing:
    return Outgoing(id="e", body=body, attributes={"type": Attribute.string(body)}, size=1)


@given(arn=texts, batch=st.lists(messages, min_size=1, max_size=10))
@example(arn="a", batch=[message(EVERYTHING), message("")])
@example(arn="a", batch=[message("a\0b"), message("\0")])
@example(arn="a", batch=[message("100% + 1 %2B&="), message("%25 %+")])
def test_any_batch_is_the_form_that_botocore_makes(arn: str, batch: list[Outgoing]) -> None:
    assert FORMS(arn, batch) == botocores(arn, batch)


def test_entries_that_share_their_attributes_get_them_all() -> None:
    shared = {"type": Attribute.string("a b"), "audience": Attribute.array(["*"])}
    batch = [Outgoing(id="e", body=str(n), attributes=shared, size=1) for n in range(10)]
    batch[4] = message("another")
    assert FORMS("arn", batch) == botocores("arn", batch)


def test_the_attributes_of_the_last_256_kinds_are_kept_and_no_more() -> None:
    forms, kept = RequestForms(), []
    for number in range(1000):
        batch = [message(str(number))]
        assert forms("arn", batch) == botocores("arn", batch)
        kept.append(len(forms._known))
    assert max(kept) == 256


def test_attributes_that_were_changed_meanwhile_are_sent_as_they_are_now() -> None:
    forms, mine = RequestForms(), {"type": Attribute.string("a")}
    batch = [Outgoing(id="e", body="b", attributes=mine, size=1)]
    assert b"StringValue=a" in forms("arn", batch)
    mine["type"] = Attribute.string("c")
    assert forms("arn", batch) == botocores("arn", batch)
