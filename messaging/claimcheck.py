"""The claim check: a codec around another one, for data that is too large for one message.

Such data goes to a store, and the message carries a claim to it, in CloudEvents extensions:

    dataref     where the data is stored: "s3://escola/claims/for.bi.marketing.view/<digest>.json"
    datasha256  SHA-256 of its bytes, in hexadecimal
    datasize    how many bytes it has

The stored object is exactly the view that the message would have carried, one object for each
distinct view. Its name says who it is for, so that the store's access policy can use it.
https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/dataref.md
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic_core import from_json

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec, JsonCodec
from messaging.envelope import Envelope, new_id
from messaging.errors import CodecError, ConfigurationError, NotFound, TransportError
from messaging.foreign import OffloadedPayload
from messaging.projection import EVERYONE
from messaging.stores import BlobStore

__all__ = ["ClaimCheck", "DirectoryBlobStore", "MemoryBlobStore"]

DATAREF, DATASHA256, DATASIZE = "dataref", "datasha256", "datasize"

FRESH = 3600.0
"""Seconds before the same data is stored again. A lifecycle rule counts from the last upload, and a
new message must not point at an object that is about to expire."""
REMEMBERED = 10_000
"""Maximum number of keys that one codec remembers as fresh."""
LONGEST_FOLDER = 200
"""Characters. A file name has at most 255."""

_KEY = re.compile(r"for\.[A-Za-z0-9._-]{1,250}\.view/[0-9a-f]{64}\.json")
_DIGEST = re.compile("[0-9a-f]{64}")
_STEP = re.compile(r"[A-Za-z0-9._-]+")


class ClaimCheck:
    """A `Codec` that stores large data outside the message. Pass the same to both sides.

    It never deletes anything, because another service may still need it: see the store's lifecycle.
    Reading raises `CodecError` if retrying will not help (the digest differs, the object is gone),
    which dead-letters the message. It passes on the store's errors if the store is unavailable; the
    consumer's `RetryPolicy` decides then. Writing passes on the store's errors: then nothing was
    published.

    Args:
        store: where the data goes: `S3BlobStore`, or any `BlobStore`.
        max_bytes: the topic's maximum message size: `Settings.max_bytes`, `Topic.max_bytes`.
        threshold: a body with more bytes (UTF-8) goes to the store; by default 15/16 of
            `max_bytes`, which leaves room for attributes and for the reason of a dead letter. 0
            stores all data.
        codec: writes the message; by default `JsonCodec`. A codec that encrypts must wrap this one,
            so that the stored data is encrypted too.
        uri: the prefix of `dataref` before the key: "s3://escola/claims", for programs that do not
            use this library. Ignored when reading: a message cannot send a service to another
            store.
        offloaded: the store for the pointers of AWS's extended client; by default `store`.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: if `threshold` is not from 0 to `max_bytes`.

    Example:
        ```python
        from messaging.claimcheck import ClaimCheck, DirectoryBlobStore

        codec = ClaimCheck(
            DirectoryBlobStore("claims"), threshold=0
        )  # in production: S3BlobStore(...)
        with Publisher(broker.topic(), source="/cadastro", codec=codec) as publisher:
            publisher.publish(ana)  # Worker(..., codec=codec) reads it

        (message,) = broker.messages("marketing")
        assert "dataref" in message.body
        ```
    """

    def __init__(
        self,
        store: BlobStore,
        *,
        max_bytes: int = 262_144,
        threshold: int | None = None,
        codec: Codec | None = None,
        uri: str = "",
        offloaded: BlobStore | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._threshold = max_bytes - max_bytes // 16 if threshold is None else threshold
        if not 0 <= self._threshold <= max_bytes:
            raise ConfigurationError(
                f"ClaimCheck(threshold={threshold}): from 0 to max_bytes={max_bytes}, which is "
                "what the topic takes"
            )
        self._store = store
        self._codec = codec or JsonCodec()
        self._uri = f"{uri.rstrip('/')}/" if uri else ""
        self._offloaded = offloaded or store
        self._offloaded_uri = _location(self._offloaded, "" if offloaded else uri)
        self._clock = clock
        self._fresh: dict[str, float] = {}

    def encode(self, envelope: Envelope, data: bytes) -> str:
        """The body, with `data` in it or, if that makes it too large, with a claim to `data`.

        See `Codec.encode`.
        """
        body = self._codec.encode(envelope, data)
        if (len(body) if body.isascii() else len(body.encode())) <= self._threshold:
            return body
        digest = hashlib.sha256(data).hexdigest()
        key = f"{_folder(envelope.audience)}/{digest}.json"
        self._keep(key, data)
        claim = {DATAREF: self._uri + key, DATASHA256: digest, DATASIZE: len(data)}
        # Without data, as CloudEvents prescribes for an event whose data is stored elsewhere.
        return self._codec.encode(
            replace(envelope, extensions={**envelope.extensions, **claim}), b""
        )

    def decode(self, body: str) -> Envelope:
        """The envelope with its data, which is fetched and verified if the body only has a claim,
        or a pointer of AWS's extended client.

        See `Codec.decode`.

        Raises:
            CodecError: if the stored data is gone or not what was sent, or the body can never be
                read. If the store is unavailable, its own error is raised.
        """
        try:
            envelope = self._codec.decode(body)
        except OffloadedPayload as pointer:
            envelope = self._codec.decode(self._fetched(pointer))
        claim = envelope.extensions
        if claim.get(DATAREF) is None or envelope.data is not None:
            return envelope
        key, digest = _key(claim[DATAREF]), _digest(claim.get(DATASHA256))
        try:
            data = self._store.get(key)
        except NotFound:
            raise CodecError(
                f"{DATAREF}: the data is not in the store: its lifecycle ended before the message "
                "was handled, or this service reads another store than the producer writes"
            ) from None
        if DATASIZE in claim and claim[DATASIZE] != len(data):
            raise CodecError(
                f"{DATASIZE}: the stored data has {len(data):,} bytes, which is not what was sent"
            )
        if hashlib.sha256(data).hexdigest() != digest:
            raise CodecError(f"{DATASHA256}: the stored data is not what was sent")
        return replace(envelope, data=_parsed(data))

    def _fetched(self, pointer: OffloadedPayload) -> str:
        """The body that the pointer refers to. Like a claim, it is only read from the service's own
        store."""
        there = f"s3://{pointer.bucket}/{pointer.key}"
        key = there.removeprefix(self._offloaded_uri)
        if not self._offloaded_uri or key == there:
            raise pointer
        try:
            return self._offloaded.get(key).decode()
        except UnicodeDecodeError:
            raise CodecError("body: what its pointer leads to is not text in UTF-8") from None
        except ConfigurationError:
            raise CodecError("body: its pointer holds a key that this store cannot have") from None
        except NotFound:
            raise CodecError("body: the object that its pointer leads to is gone") from None

    def _keep(self, key: str, data: bytes) -> None:
        now = self._clock.monotonic()
        stored = self._fresh.get(key)
        if stored is not None and now - stored < FRESH:
            return
        self._store.put(key, data)
        if len(self._fresh) >= REMEMBERED:
            # Forgetting a key costs one more upload. A new dict, because other threads read the old
            # one.
            self._fresh = {}
        self._fresh[key] = now


class MemoryBlobStore:
    """A `BlobStore` in this process, for tests.

    Example:
        ```python
        from messaging.claimcheck import ClaimCheck, MemoryBlobStore

        codec = ClaimCheck(MemoryBlobStore(), threshold=0)  # for tests
        ```
    """

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    @property
    def blobs(self) -> Mapping[str, bytes]:
        """The stored objects, by key."""
        return MappingProxyType(self._blobs)

    def put(self, key: str, data: bytes) -> None:
        """Store `data`.

        See `BlobStore.put`.
        """
        self._blobs[key] = bytes(data)

    def get(self, key: str) -> bytes:
        """Return the stored data.

        See `BlobStore.get`.

        Raises:
            NotFound: if nothing was stored under `key`.
        """
        try:
            return self._blobs[key]
        except KeyError:
            raise NotFound(f"no blob {key!r} in this store", code="NoSuchKey") from None

    def remove(self, key: str) -> None:
        """Delete it, as a lifecycle rule would.

        Args:
            key: the key under which it was stored.
        """
        self._blobs.pop(key, None)


class DirectoryBlobStore:
    """A `BlobStore` in a directory, for one machine. Files are readable by their owner only.

    Keys are names joined by "/", of letters, digits, ".", "_" and "-".

    Args:
        path: the directory; it is created if it is missing.

    Example:
        ```python
        from messaging.claimcheck import DirectoryBlobStore

        store = DirectoryBlobStore("claims")
        store.put("historico.json", b"{}")
        assert store.get("historico.json") == b"{}"
        ```
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def put(self, key: str, data: bytes) -> None:
        """Store `data`: all of it or nothing, even if the machine stops meanwhile.

        See `BlobStore.put`.

        Raises:
            TransportError: if the directory or the file cannot be written.
        """
        target = self._file(key)
        beside = target.with_name(f".{new_id()}")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.touch(mode=0o600, exist_ok=False)
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise self._away("write", error) from None

    def get(self, key: str) -> bytes:
        """Return the stored data.

        See `BlobStore.get`.

        Raises:
            NotFound: if nothing was stored under `key`.
            TransportError: if the directory is not available, or the file cannot be read.
        """
        try:
            return self._file(key).read_bytes()
        except FileNotFoundError as error:
            if self._path.is_dir():
                raise NotFound(f"no file {key!r} in {self._path}", code="NoSuchKey") from None
            raise self._away("read", error) from None
        except OSError as error:
            raise self._away("read", error) from None

    def prune(self, older_than: float) -> int:
        """Delete data last stored more than `older_than` seconds ago; returns how many files.

        Args:
            older_than: seconds.
        """
        oldest, pruned = SYSTEM_CLOCK.now() - older_than, 0
        for file in self._path.rglob("*"):
            with suppress(FileNotFoundError):  # another process prunes too
                if file.is_file() and file.stat().st_mtime < oldest:
                    file.unlink()
                    pruned += 1
        return pruned

    def _file(self, key: str) -> Path:
        steps = key.split("/")
        if not all(_STEP.fullmatch(step) and step.strip(".") for step in steps):
            raise ConfigurationError(
                f'key {key!r}: names joined by "/", of letters, digits, ".", "_" and "-"'
            )
        return self._path.joinpath(*steps)

    def _away(self, action: str, error: OSError) -> TransportError:
        code = type(error).__name__
        return TransportError(f"cannot {action} in {self._path}: {error.strerror}", code=code)


def _location(store: BlobStore, otherwise: str) -> str:
    said = getattr(store, "uri", None)
    uri = said if isinstance(said, str) and said else otherwise
    return f"{uri.rstrip('/')}/" if uri else ""


def _folder(audience: tuple[str, ...]) -> str:
    # ".marketing." is in the name of each folder that marketing may read, and in no other. No
    # service is called EVERYONE: their names are in lower case.
    names = sorted(audience) if audience and audience != (EVERYONE,) else ["EVERYONE"]
    joined = ".".join(names)
    if len(joined) > LONGEST_FOLDER:
        joined = f"MANY.{hashlib.sha256(joined.encode()).hexdigest()}"
    return f"for.{joined}.view"


def _key(reference: Any) -> str:
    # Only the last two parts: wherever the rest points to, this service reads its own store.
    key = "/".join(reference.split("/")[-2:]) if isinstance(reference, str) else ""
    if not _KEY.fullmatch(key):
        raise CodecError(f"{DATAREF}: not a reference that this library writes")
    return key


def _digest(said: Any) -> str:
    if not isinstance(said, str) or not _DIGEST.fullmatch(said):
        raise CodecError(f"{DATASHA256}: missing, or not a SHA-256 in hexadecimal")
    return said


def _parsed(data: bytes) -> Any:
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        # pydantic-core names the error and its position, without content.
        raise CodecError(f"{DATAREF}: the stored data is not JSON ({error})") from None
