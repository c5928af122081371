"""Messages are read from the socket's data as the client would read them, whoever sent them."""

from __future__ import annotations

import calendar
import random
from datetime import datetime
from typing import Any

import pika
import pytest
from pika import frame, spec

from messaging.rabbitmq import apply, connect
from messaging.rabbitmq.frames import WholeMessage, read_message
from messaging.settings import Settings
from tests.contracts.conftest import TOPOLOGY, message, receive_all

MOST = 131_064


def headers(chance: random.Random) -> dict[str, Any]:
    values: list[Any] = ["text", "ação", b"\xff\x00", 7, -1, 2**40, True, None, ["a", 1], {}]
    return {f"h{number}": chance.choice(values) for number in range(chance.randrange(5))}


def properties(chance: random.Random) -> pika.BasicProperties:
    given = {
        "content_type": "application/json",
        "headers": headers(chance),
        "delivery_mode": 2,
        "message_id": "id-ção",
        "timestamp": 1_700_000_000,
        "priority": 3,
        "reply_to": "who",
        "user_id": "guest",
    }
    return pika.BasicProperties(**{k: v for k, v in given.items() if chance.random() < 0.6})


@pytest.mark.parametrize("seed", range(20))
def test_a_message_is_read_as_the_client_reads_it_however_it_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    given = properties(chance)
    body = chance.randbytes(chance.randrange(1, 300))
    sent = spec.Basic.Deliver(f"ctag{seed}", seed + 1, False, "alunos", "key")
    raw = frame.Method(3, sent).marshal() + frame.Header(3, len(body), given).marshal()
    raw += frame.Body(3, body).marshal()
    client = spec.BasicProperties().decode(b"".join(given.encode()))
    for before in (b"", b"\x01" * 9):
        data = before + raw
        for end in range(len(before), len(data)):
            needed = read_message(data[:end], len(before), MOST)
            assert isinstance(needed, int)
            assert end < needed <= len(data)
        read = read_message(data + raw, len(before), MOST)
        assert isinstance(read, WholeMessage)
        assert (read.channel, read.body, read.stop) == (3, body, len(data))
        assert tuple(read.arrived) == (f"ctag{seed}", seed + 1)
        assert read.found.headers == client.headers
        assert read.found.message_id == client.message_id


@pytest.mark.parametrize("size", [0, MOST + 1])
def test_other_frames_are_left_to_the_client(size: int) -> None:
    sent = frame.Method(3, spec.Basic.Deliver("ctag", 1, False, "alunos", "key")).marshal()
    head = frame.Header(3, size, pika.BasicProperties()).marshal()
    assert read_message(sent + head + b"\x00" * 20, 0, MOST) is None
    other = frame.Method(3, spec.Basic.CancelOk("ctag")).marshal()
    assert read_message(other + b"\x00" * 20, 0, MOST) is None
    spoilt = sent[:-1] + b"\x00" + frame.Header(3, 1, pika.BasicProperties()).marshal()
    assert read_message(spoilt + frame.Body(3, b"x").marshal(), 0, MOST) is None


def test_bodies_of_all_sizes_arrive_byte_for_byte(settings: Settings) -> None:
    sizes = [1, 4_000, MOST - 1, MOST, MOST + 1, 2 * MOST, 500_000, 1, 0, 2]
    apply(TOPOLOGY, settings, create_topic=True)
    broker = connect(settings)
    queue = broker.queue("depot")
    foreign = pika.BlockingConnection(pika.URLParameters(str(settings.broker_url)))
    for number, size in enumerate(sizes):
        body = f"{number} ".encode() + b"x" * size if size else b""
        foreign.channel().basic_publish("", queue.name, body)
    foreign.close()
    found = receive_all(queue, len(sizes))
    broker.close()
    assert sorted(len(one.body) for one in found) == sorted(s + 2 if s else 0 for s in sizes)


class Never(datetime):
    """A time that AMQP can write and Python cannot read."""

    def utctimetuple(self) -> Any:
        return (9999, 12, 31, 24 * 366 * 90_000, 0, 0)


def test_a_message_whose_headers_nobody_can_read_harms_no_other(settings: Settings) -> None:
    # The client gives up the connection: so did each worker that was sent it, one after the other,
    # and all that they had in hand was received once more.
    apply(TOPOLOGY, settings, create_topic=True)
    broker = connect(settings)
    queue = broker.queue("depot")
    never = Never(2026, 11, 29)
    assert calendar.timegm(never.utctimetuple()) > 10**12
    foreign = pika.BlockingConnection(pika.URLParameters(str(settings.broker_url)))
    for body in (b"short", b"x" * (MOST + 1)):
        odd = pika.BasicProperties(headers={"when": never})
        foreign.channel().basic_publish("", queue.name, body, odd)
    foreign.close()
    assert not broker.topic().publish([message("good")])

    found = receive_all(queue, 3)

    assert [one.receive_count for one in found] == [1, 1, 1]
    assert {len(one.body) for one in found} == {4, 5, MOST + 1}
    assert not queue.delete(found)
    broker.close()
