"""Queue policies: ours are put in, and what others wrote stays to the letter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.aws.policies import MAY_SEND, ONLY_TLS, merge, same_json, statements

QUEUE = "arn:aws:sqs:sa-east-1:123456789012:alunos-marketing"
TOPIC = "arn:aws:sns:sa-east-1:123456789012:alunos"
OURS = statements(QUEUE, TOPIC)
FOREIGN: dict[str, Any] = {
    "Sid": "Backoffice",
    "Effect": "Allow",
    "Principal": {"AWS": ["arn:aws:iam::123456789012:role/backoffice"]},
    "Action": ["sqs:SendMessage", "sqs:ReceiveMessage"],
    "Resource": QUEUE,
}


def policy(*found: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", **more, "Statement": list(found)})


def test_the_topic_may_send_and_nobody_else_for_us():
    may_send, only_tls = OURS
    assert may_send == {
        "Sid": MAY_SEND,
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": QUEUE,
        "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}},
    }
    assert only_tls["Effect"] == "Deny"
    assert only_tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert [one["Sid"] for one in statements(QUEUE, None)] == [ONLY_TLS]


@pytest.mark.parametrize("nothing", [None, "", "{}"])
def test_where_there_is_no_policy_ours_is_the_policy(nothing):
    merged = merge(nothing, OURS)
    assert json.loads(merged.policy)["Statement"] == OURS
    assert merged.changed == (MAY_SEND, ONLY_TLS)
    assert merged.foreign == ()


def test_a_policy_that_is_ours_already_is_not_changed():
    assert merge(policy(*OURS), OURS).changed == ()
    assert merge(merge(None, OURS).policy, OURS).changed == ()


def test_what_aws_gives_back_in_other_words_is_not_a_change():
    may_send, only_tls = (dict(one) for one in OURS)
    may_send["Action"] = ["sqs:SendMessage"]
    may_send["Principal"] = {"Service": ["sns.amazonaws.com"]}
    only_tls["Principal"] = {"AWS": "*"}
    only_tls["Condition"] = {"Bool": {"aws:SecureTransport": ["false"]}}
    assert merge(policy(only_tls, may_send), OURS).changed == ()


def test_statements_of_others_stay_as_they_are_and_where_they_are():
    unnamed = {key: value for key, value in FOREIGN.items() if key != "Sid"}
    stale = {**OURS[0], "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC + "-old"}}}
    merged = merge(policy(FOREIGN, stale, unnamed, Id="theirs"), OURS)
    document = json.loads(merged.policy)
    assert document["Id"] == "theirs"
    assert document["Statement"] == [FOREIGN, OURS[0], unnamed, OURS[1]]
    assert merged.changed == (MAY_SEND, ONLY_TLS)
    assert merged.foreign == ("Backoffice", "without a Sid")


def test_a_statement_that_stands_alone_is_kept():
    # IAM allows one statement without a list around it.
    existing = json.dumps({"Version": "2012-10-17", "Statement": FOREIGN})
    assert json.loads(merge(existing, OURS).policy)["Statement"] == [FOREIGN, *OURS]


def test_the_version_of_others_is_not_raised():
    # It would change what their policy variables mean.
    assert json.loads(merge(policy(FOREIGN, Version="2008-10-17"), OURS).policy)["Version"] == (
        "2008-10-17"
    )
    assert "Version" not in json.loads(merge(json.dumps({"Statement": [FOREIGN]}), OURS).policy)


def test_ours_that_is_there_twice_or_not_wanted_any_more_goes():
    merged = merge(policy(OURS[0], OURS[0], OURS[1]), OURS)
    assert json.loads(merged.policy)["Statement"] == OURS
    assert merged.changed == (MAY_SEND,)
    merged = merge(policy(*OURS, FOREIGN), statements(QUEUE, None))
    assert json.loads(merged.policy)["Statement"] == [OURS[1], FOREIGN]


_NAMES = st.text("abc", min_size=1, max_size=4)
_FOREIGN = st.lists(
    st.dictionaries(st.sampled_from(["Sid", "Effect", "Action", "Resource"]), _NAMES), max_size=5
)


@given(_FOREIGN, st.permutations([*OURS, {**OURS[0], "Effect": "Deny"}]), st.integers(0, 3))
def test_merging_keeps_others_and_settles_at_once(foreign, ours, count):
    standing = [*foreign[:2], *ours[:count], *foreign[2:]]
    merged = merge(policy(*standing), OURS)
    found = json.loads(merged.policy)["Statement"]
    sids = [one["Sid"] for one in OURS]
    assert [one for one in found if one.get("Sid") not in sids] == foreign
    assert sorted(one["Sid"] for one in found if one.get("Sid") in sids) == sorted(sids)
    assert merge(merged.policy, OURS).changed == ()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a": ["x", "y"]}', '{"a": ["y", "x"]}', True),
        ('{"maxReceiveCount": 3}', '{"maxReceiveCount": "3"}', True),
        ('{"a": ["x"]}', '{"a": ["z"]}', False),
        ("", None, True),
        (None, "{}", False),
        ("not json", "{}", False),
    ],
)
def test_attributes_that_hold_json_are_compared_by_what_they_say(one, other, same):
    assert same_json(one, other) is same
