"""Big data goes to a store, once for each view, and comes back as it was or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from messaging.claimcheck import ClaimCheck, DirectoryBlobStore, MemoryBlobStore
from messaging.codec import Codec, JsonCodec
from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.envelope import Envelope
from messaging.errors import (
    CodecError,
    ConfigurationError,
    EventTooLarge,
    InvalidCharacters,
    NotFound,
    TransportError,
)
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Ack, Outcome, Reject, Retry
from messaging.projection import Projection
from messaging.publishing.publisher import Publisher
from messaging.stores import BlobStore
from messaging.testing import FakeClock
from messaging.topology import Topic, Topology
from messaging.transport import Delivery

BIG = "segredo " * 40_000


class Essay(Event, type="essay.written", version=1):
    title: str
    text: str
    grade: int | None = None


class EssayForPrint(Projection, of=Essay, audience="print"):
    title: str
    text: str


class EssayForShelf(Projection, of=Essay, audience="shelf"):
    title: str
    text: str


class EssayForOffice(Projection, of=Essay, audience="office"):
    title: str
    grade: int | None


class Print(Consumer):
    def __init__(self) -> None:
        self.printed: list[EssayForPrint] = []

    @handles
    def essay(self, essay: EssayForPrint) -> None:
        self.printed.append(essay)


class Shelf(Consumer):
    @handles
    def essay(self, essay: EssayForShelf) -> None: ...


class Office(Consumer):
    @handles
    def essay(self, essay: EssayForOffice) -> None: ...


TOPOLOGY = Topology.of(Print, Shelf, Office, topic="essays")
ENVELOPE = Envelope(id="e1", source="/s", type="essay.written", audience=("shelf", "print"))
DATA = json.dumps({"title": "Olá", "text": BIG}, ensure_ascii=False).encode()
DIGEST = hashlib.sha256(DATA).hexdigest()
KEY = f"for.print.shelf.view/{DIGEST}.json"


class Counting(MemoryBlobStore):
    """Counts, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0
        self.away: Exception | None = None

    def put(self, key: str, data: bytes) -> None:
        if self.away is not None:
            raise self.away
        self.puts += 1
        super().put(key, data)

    def get(self, key: str) -> bytes:
        if self.away is not None:
            raise self.away
        return super().get(key)


def claim(**changes: Any) -> str:
    """The body of a message whose data stands in the store, with some of it changed."""
    document = json.loads(ClaimCheck(MemoryBlobStore()).encode(ENVELOPE, DATA)) | changes
    return json.dumps({name: value for name, value in document.items() if value is not None})


def dispatched(codec: Codec, body: str, consumer: Consumer | None = None) -> Outcome:
    delivery = Delivery(queue="q", message_id="m", receipt="r", body=body)
    outcome = Dispatcher(consumer or Print(), codec=codec)(delivery)
    assert isinstance(outcome, Outcome)
    return outcome


def test_small_data_stays_in_the_message() -> None:
    store = Counting()
    body = ClaimCheck(store).encode(ENVELOPE, b'{"title":"t"}')

    assert body == JsonCodec().encode(ENVELOPE, b'{"title":"t"}')
    assert store.puts == 0
    assert ClaimCheck(store).decode(body).data == {"title": "t"}


def test_big_data_goes_to_the_store_and_comes_back() -> None:
    store = MemoryBlobStore()
    codec = ClaimCheck(store, uri="s3://school/claims/")
    body = codec.encode(ENVELOPE, DATA)

    assert dict(store.blobs) == {KEY: DATA}
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/s",
        "type": "essay.written",
        "dataversion": 1,
        "datacontenttype": "application/json",
        "dataref": f"s3://school/claims/{KEY}",
        "datasha256": DIGEST,
        "datasize": len(DATA),
    }
    assert codec.decode(body).data == {"title": "Olá", "text": BIG}
    assert ClaimCheck(store).decode(body).data == {"title": "Olá", "text": BIG}, "reader's own uri"


def test_the_claim_is_a_cloudevent() -> None:
    read = JSONFormat().read(CloudEvent, claim())

    assert read.get_data() is None
    assert read.get_extension("dataref") == KEY
    assert read.get_extension("datasha256") == DIGEST
    assert read.get_extension("datasize") == len(DATA)


def test_the_threshold_counts_the_whole_body_in_bytes() -> None:
    data = json.dumps({"title": "ã" * 500}, ensure_ascii=False).encode()
    size = len(JsonCodec().encode(ENVELOPE, data).encode())
    at, below = MemoryBlobStore(), MemoryBlobStore()

    assert "dataref" not in ClaimCheck(at, threshold=size).encode(ENVELOPE, data)
    assert "dataref" in ClaimCheck(below, threshold=size - 1).encode(ENVELOPE, data)
    assert (len(at.blobs), len(below.blobs)) == (0, 1)


def test_threshold_0_keeps_all_data_out_of_messages() -> None:
    assert "dataref" in ClaimCheck(MemoryBlobStore(), threshold=0).encode(ENVELOPE, b"{}")


@pytest.mark.parametrize("threshold", [-1, 262_145])
def test_a_threshold_that_the_topic_does_not_take_is_refused(threshold: int) -> None:
    with pytest.raises(ConfigurationError, match=f"threshold={threshold}.*max_bytes=262144"):
        ClaimCheck(MemoryBlobStore(), threshold=threshold)


def test_a_topic_that_takes_more_is_used() -> None:
    big = Topology.of(Print, Shelf, Office, topic=Topic(name="essays", max_bytes=1_048_576))
    event = Essay(title="t", text="x" * 900_000)
    store = MemoryBlobStore()
    with MemoryBroker(big) as broker:
        codec = ClaimCheck(store, max_bytes=big.topic.max_bytes)
        with Publisher(broker.topic(), source="/s", codec=codec) as publisher:
            publisher.publish(event)
            assert not store.blobs
            publisher.publish(Essay(title="t", text="x" * 1_000_000))
        [direct, claimed] = broker.messages("print")
    assert len(direct.body) > 900_000
    assert len(claimed.body) < 1000
    assert len(store.blobs) == 1


def test_one_object_for_each_view_and_none_for_who_sees_little() -> None:
    store = Counting()
    with MemoryBroker(TOPOLOGY) as broker:
        with Publisher(broker.topic(), source="/s", codec=ClaimCheck(store)) as publisher:
            assert publisher.publish(Essay(title="t", text=BIG, grade=7)).copies == 2
        office = broker.messages("office")[0].body
    [key] = store.blobs

    assert re.fullmatch(r"for\.print\.shelf\.view/[0-9a-f]{64}\.json", key)
    assert json.loads(store.blobs[key]) == {"title": "t", "text": BIG}
    assert json.loads(office)["data"] == {"title": "t", "grade": 7}


@pytest.mark.parametrize(
    ("audience", "folder"),
    [
        (("shelf", "print"), "for.print.shelf.view"),
        (("view",), "for.view.view"),
        (("*",), "for.EVERYONE.view"),
        ((), "for.EVERYONE.view"),
    ],
)
def test_the_key_says_for_whom_it_is(audience: tuple[str, ...], folder: str) -> None:
    store = MemoryBlobStore()
    codec = ClaimCheck(store, threshold=0)
    body = codec.encode(Envelope(id="e", source="/s", type="t", audience=audience), b"{}")

    assert list(store.blobs) == [f"{folder}/{hashlib.sha256(b'{}').hexdigest()}.json"]
    assert codec.decode(body).data == {}


def test_very_many_services_still_make_a_file_name() -> None:
    audience = tuple(f"service-{number}" for number in range(60))
    store = MemoryBlobStore()
    codec = ClaimCheck(store, threshold=0)
    body = codec.encode(Envelope(id="e", source="/s", type="t", audience=audience), b"{}")

    [key] = store.blobs
    assert re.fullmatch(r"for\.MANY\.[0-9a-f]{64}\.view/[0-9a-f]{64}\.json", key)
    assert codec.decode(body).data == {}


def test_the_same_data_is_stored_once_and_again_when_it_ages() -> None:
    store, clock = Counting(), FakeClock()
    codec = ClaimCheck(store, clock=clock)
    for _ in range(3):
        codec.encode(ENVELOPE, DATA)
    assert store.puts == 1

    clock.advance(3599)
    codec.encode(ENVELOPE, DATA)
    assert store.puts == 1

    clock.advance(2)  # its lifecycle counts from now on
    codec.encode(ENVELOPE, DATA)
    assert store.puts == 2
    assert len(store.blobs) == 1


def test_what_was_not_stored_is_not_taken_for_stored() -> None:
    store = Counting()
    codec = ClaimCheck(store)
    store.away = TransportError("away")
    with pytest.raises(TransportError):
        codec.encode(ENVELOPE, DATA)
    store.away = None

    codec.encode(ENVELOPE, DATA)
    assert store.puts == 1


def test_the_memory_of_what_is_fresh_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("messaging.claimcheck.REMEMBERED", 3)
    store = Counting()
    codec = ClaimCheck(store, threshold=0)
    for number in (1, 2, 3, 4, 1):
        codec.encode(ENVELOPE, b"%d" % number)
    assert store.puts == 5
    assert len(codec._fresh) <= 3


def test_publishing_while_the_store_is_away_publishes_nothing() -> None:
    store = Counting()
    store.away = TransportError("nobody answers")
    with MemoryBroker(TOPOLOGY) as broker:
        with (
            Publisher(broker.topic(), source="/s", codec=ClaimCheck(store)) as publisher,
            pytest.raises(TransportError, match="nobody answers"),
        ):
            publisher.publish(Essay(title="t", text=BIG))
        assert [len(broker.messages(one)) for one in TOPOLOGY.services] == [0, 0, 0]


def test_the_attributes_count_after_the_codec() -> None:
    codec = ClaimCheck(MemoryBlobStore(), threshold=1024, max_bytes=1024)
    with MemoryBroker(TOPOLOGY) as broker:
        topic = broker.topic()
        topic._state.max_bytes = 300  # less than the claim itself
        with (
            Publisher(topic, source="/s", codec=codec) as publisher,
            pytest.raises(EventTooLarge),
        ):
            publisher.publish(Essay(title="t", text="x" * 2000))


def test_characters_that_sns_refuses_are_refused_in_the_store_too() -> None:
    with (
        MemoryBroker(TOPOLOGY) as broker,
        Publisher(broker.topic(), source="/s", codec=ClaimCheck(MemoryBlobStore())) as publisher,
        pytest.raises(InvalidCharacters, match=r"Essay\.text holds U\+000B"),
    ):
        publisher.publish(Essay(title="t", text=BIG + "\x0b"))


def test_it_reaches_the_handler() -> None:
    codec, consumer = ClaimCheck(MemoryBlobStore()), Print()
    with MemoryBroker(TOPOLOGY) as broker:
        with Publisher(broker.topic(), source="/s", codec=codec) as publisher:
            publisher.publish(Essay(title="t", text=BIG))
        [delivery] = broker.queue("print").receive(1, 0)

    assert isinstance(Dispatcher(consumer, codec=codec)(delivery), Ack)
    assert consumer.printed == [EssayForPrint(title="t", text=BIG)]


def test_nothing_is_deleted_when_it_was_read() -> None:
    store = MemoryBlobStore()
    codec = ClaimCheck(store)
    body = codec.encode(ENVELOPE, DATA)
    assert isinstance(dispatched(codec, body), Ack)
    assert isinstance(dispatched(codec, body), Ack)
    assert list(store.blobs) == [KEY]


def test_data_beside_a_dataref_is_taken() -> None:
    body = claim(data={"title": "here"})
    assert ClaimCheck(MemoryBlobStore()).decode(body).data == {"title": "here"}


@pytest.mark.parametrize(
    ("stored", "changes", "reason"),
    [
        (None, {}, "dataref: the data is not in the store"),
        (b'{"segredo":1}', {}, "datasize: the stored data has 13 bytes"),
        (DATA[:-1] + b" ", {}, "datasha256: the stored data is not what was sent"),
        (DATA, {"datasha256": None}, "datasha256: missing"),
        (DATA, {"datasha256": 7}, "datasha256: missing, or not"),
        (DATA, {"datasha256": "0" * 64}, "datasha256: the stored data is not what"),
        (DATA, {"datasize": str(len(DATA))}, "datasize: the stored data has"),
        (DATA, {"dataref": 7}, "dataref: not a reference"),
        (DATA, {"dataref": f"s3://x/../{DIGEST}.json"}, "dataref: not a reference"),
        (DATA, {"dataref": "file:///etc/passwd"}, "dataref: not a reference"),
        (DATA, {"dataref": f"{KEY}\n"}, "dataref: not a reference"),
    ],
)
def test_what_can_never_be_read_is_dead_lettered(
    stored: bytes | None, changes: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = MemoryBlobStore()
    if stored is not None:
        store.put(KEY, stored)
    outcome = dispatched(ClaimCheck(store), claim(**changes))

    assert isinstance(outcome, Reject)
    assert outcome.reason.startswith(reason)
    assert outcome.error == "CodecError"
    assert "segredo" not in caplog.text + outcome.reason


def test_stored_data_that_is_no_json_is_told_without_what_it_holds() -> None:
    store = MemoryBlobStore()
    data = b"segredo" * 10
    digest = hashlib.sha256(data).hexdigest()
    store.put(KEY, data)
    with pytest.raises(CodecError, match="dataref: the stored data is not JSON") as error:
        ClaimCheck(store).decode(claim(datasha256=digest, datasize=len(data)))
    assert "segredo" not in str(error.value)


def test_a_size_is_not_asked_of_other_producers() -> None:
    store = MemoryBlobStore()
    store.put(KEY, DATA)
    assert ClaimCheck(store).decode(claim(datasize=None)).data["title"] == "Olá"


def test_a_store_that_is_away_is_a_matter_of_the_retry_policy() -> None:
    store = Counting()
    codec = ClaimCheck(store)
    body = codec.encode(ENVELOPE, DATA)
    store.away = TransportError("nobody answers")

    outcome = dispatched(codec, body)

    assert isinstance(outcome, Retry)
    assert outcome.error == "TransportError"


def test_a_service_without_the_codec_says_what_it_lacks() -> None:
    outcome = dispatched(JsonCodec(), claim())
    assert isinstance(outcome, Reject)
    assert outcome.reason == (
        "dataref: the data stands in a store that print was not given; "
        "give its worker codec=ClaimCheck(store)"
    )


def test_it_goes_around_another_codec() -> None:
    class Backwards:
        """Stands for one that compresses, or signs."""

        def encode(self, envelope: Envelope, data: bytes) -> str:
            return JsonCodec().encode(envelope, data)[::-1]

        def decode(self, body: str) -> Envelope:
            return JsonCodec().decode(body[::-1])

    store = MemoryBlobStore()
    codec = ClaimCheck(store, codec=Backwards())
    body = codec.encode(ENVELOPE, DATA)

    assert body.startswith("}")
    assert codec.decode(body).data["text"] == BIG


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return MemoryBlobStore() if request.param == "memory" else DirectoryBlobStore(tmp_path / "b")


def test_a_store_keeps_and_replaces(store: BlobStore) -> None:
    store.put("a/b.json", b"\x00\xff")
    assert store.get("a/b.json") == b"\x00\xff"
    store.put("a/b.json", b"2")
    assert store.get("a/b.json") == b"2"


def test_a_store_says_what_is_not_there(store: BlobStore) -> None:
    store.put("a/b.json", b"1")
    with pytest.raises(NotFound, match=r"a/c\.json"):
        store.get("a/c.json")


def test_what_is_removed_is_gone() -> None:
    store = MemoryBlobStore()
    store.put("k", b"1")
    store.remove("k")
    store.remove("k")
    with pytest.raises(NotFound):
        store.get("k")


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    DirectoryBlobStore(tmp_path / "blobs").put("a/b", b"1")
    assert (tmp_path / "blobs" / "a" / "b").stat().st_mode & 0o077 == 0
    assert (tmp_path / "blobs" / "a").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/.", "a b", "á"])
def test_a_key_does_not_leave_the_directory(key: str, tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    with pytest.raises(ConfigurationError, match="names joined by"):
        store.put(key, b"1")
    with pytest.raises(ConfigurationError):
        store.get(key)


def test_a_directory_that_is_away_is_no_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="cannot read") as error:
        DirectoryBlobStore(tmp_path / "unmounted").get("a/b")
    assert not isinstance(error.value, NotFound)

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TransportError, match="cannot write"):
        DirectoryBlobStore(tmp_path / "file").put("a/b", b"1")


def test_prune_deletes_what_is_old_and_a_new_put_keeps_it_young(tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path)
    for name in ("old", "again", "new"):
        store.put(f"a/{name}", b"1")
    for name in ("old", "again"):
        os.utime(tmp_path / "a" / name, (1, 1))
    store.put("a/again", b"1")

    assert store.prune(3600) == 1
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["again", "new"]
