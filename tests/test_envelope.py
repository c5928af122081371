"""What stands around the data."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from itertools import islice
from uuid import RFC_4122, UUID

import pytest

from messaging.envelope import Envelope, new_id, new_ids


def test_an_id_is_random_and_unique() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(UUID(one).version == 4 for one in ids)


def test_ids_drawn_several_at_once_are_random_and_unique_and_no_two_draws_share_them() -> None:
    ids = [*islice(new_ids(), 100), *islice(new_ids(), 100)]
    assert len(set(ids)) == 200
    assert all(UUID(one).version == 4 and UUID(one).variant == RFC_4122 for one in ids)
    assert {one[19] for one in ids} == set("89ab")


def test_an_envelope_shows_ids_and_types_but_no_personal_data() -> None:
    envelope = Envelope(
        id="1", source="/s", type="t", subject="Ana", data={"nome": "Ana"}, extensions={"x": "Ana"}
    )
    assert "id='1'" in repr(envelope)
    assert "Ana" not in repr(envelope)


def test_an_envelope_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Envelope(id="1", source="/s", type="t").id = "2"  # type: ignore[misc]


def test_what_a_foreign_producer_leaves_out_has_an_honest_default() -> None:
    envelope = Envelope(id="1", source="/s", type="t")
    assert (envelope.version, envelope.time, envelope.subject, envelope.data) == (
        1,
        None,
        None,
        None,
    )
