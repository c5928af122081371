"""What arrives on the socket is read in the same way, wherever a piece of it ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from messaging.rabbitmq.frames import QuickConnection

MOST = 64
"""Bytes that one frame of a body holds here, so that two of three bodies are in several."""


def frames_of(message_id: str, headers: dict[str, Any], body: bytes, tag: int) -> bytes:
    """A message as the broker sends it to the consumer "known" of channel 1."""
    properties = pika.BasicProperties(message_id=message_id, headers=headers, delivery_mode=2)
    parts = [body[at : at + MOST] for at in range(0, len(body), MOST)]
    return b"".join(
        one.marshal()
        for one in (
            frame.Method(1, spec.Basic.Deliver("known", tag, False, "exchange", "key")),
            frame.Header(1, len(body), properties),
            *(frame.Body(1, part) for part in parts),
        )
    )


class Reading(QuickConnection):
    """Only what reads. What the client is left is put together as its channel does."""

    def __init__(self) -> None:
        self._frame_buffer = b""
        self.bytes_received = self.frames_received = 0
        self.params = SimpleNamespace(frame_max=MOST + 8)
        channel = SimpleNamespace(_cancelled=set(), _consumers={"known": self._arrived})
        self._channels = {1: channel}
        self.read: list[object] = []
        self._open: list[Any] = []

    def _arrived(self, channel: object, arrived: Any, found: Any, body: bytes) -> None:
        self.read.append((arrived.delivery_tag, found.message_id, found.headers, body))

    def _process_frame(self, one: Any) -> None:
        if isinstance(one, frame.Heartbeat):
            self.read.append("heartbeat")
        elif isinstance(one, frame.Method):
            self._open = [one.method.delivery_tag]
        elif isinstance(one, frame.Header):
            self._open += [one.properties, one.body_size, b""]
        else:
            self._open[3] += one.fragment
        if len(self._open) == 4 and self._open[2] == len(self._open[3]):
            tag, properties, _, body = self._open
            self.read.append((tag, properties.message_id, properties.headers or None, body))
            self._open = []


MESSAGES = st.lists(
    st.one_of(
        st.none(),  # a heartbeat
        st.tuples(
            st.text(max_size=20),
            st.dictionaries(
                st.text(st.characters(codec="ascii"), min_size=1, max_size=8),
                st.one_of(st.text(max_size=8), st.integers(-(2**40), 2**40), st.booleans()),
                max_size=3,
            ),
            st.binary(max_size=3 * MOST + 1),
        ),
    ),
    min_size=1,
    max_size=6,
)


@given(MESSAGES, st.lists(st.integers(1, 120), min_size=1, max_size=8))
def test_messages_arrive_wherever_the_stream_is_cut(messages: list[Any], cuts: list[int]) -> None:
    sent, expected = b"", []
    for tag, one in enumerate(messages, start=1):
        if one is None:
            sent += frame.Heartbeat().marshal()
            expected.append("heartbeat")
        else:
            id, headers, body = one
            sent += frames_of(id, headers, body, tag)
            expected.append((tag, id, headers or None, body))
    reading, at, turn = Reading(), 0, 0
    while at < len(sent):
        stop = at + cuts[turn % len(cuts)]
        reading._on_data_available(sent[at:stop])
        at, turn = stop, turn + 1
    assert [normal(one) for one in reading.read] == expected
    assert reading._frame_buffer == b""
    assert reading.bytes_received == len(sent)


def normal(one: Any) -> Any:
    return one if isinstance(one, str) else (*one[:2], one[2] or None, one[3])


@pytest.mark.parametrize("left", [1, 2])
def test_a_body_that_ends_with_a_short_frame_waits_for_nothing_behind_it(left: int) -> None:
    reading = Reading()
    body = b"x" * (MOST + left)
    reading._on_data_available(frames_of("m1", {}, body, 1))
    assert [one[3] for one in reading.read] == [body]


def test_a_heartbeat_counts_at_once() -> None:
    reading = Reading()
    reading._on_data_available(frame.Heartbeat().marshal())
    assert (reading.read, reading.bytes_received) == (["heartbeat"], 8)
