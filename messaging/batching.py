"""Divides entries into requests, by count and by bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from messaging.transport import BATCH_ENTRIES, Attribute

__all__ = ["Packer", "Weight", "batches", "size_of"]

_T = TypeVar("_T")


class Sized(Protocol):
    """Anything with a size in bytes."""

    @property
    def size(self) -> int: ...


_Entry = TypeVar("_Entry", bound=tuple[Sized, object])


class Weight(NamedTuple):
    """The size in bytes of an entry that has no `size` of its own."""

    size: int


class Packer(Generic[_Entry]):
    """Fills requests with at most `BATCH_ENTRIES` entries and `max_bytes` in total.

    An entry is a tuple whose first member has a `size` in bytes: a message, or a `Weight`. One that
    is larger than `max_bytes` gets a request of its own.

    SNS bills each started 64 KiB of a request, so full requests are the cheapest.
    https://aws.amazon.com/sns/pricing/

    ordered  for messages to a FIFO topic: two events of one group never share a request, because
             the first may be refused temporarily and the second accepted.
    """

    __slots__ = ("_bytes", "_entries", "_groups", "_max_bytes", "_ordered")

    def __init__(self, max_bytes: int, *, ordered: bool = False) -> None:
        self._max_bytes = max_bytes
        self._ordered = ordered
        self._groups: dict[str | None, str] = {}
        self._entries: list[_Entry] = []
        self._bytes = 0

    def add(self, entry: _Entry) -> list[_Entry] | None:
        """Add `entry`; returns the request that is now full, if any."""
        size = self._bytes + entry[0].size
        full: list[_Entry] | None = None
        if size > self._max_bytes or self._ordered:  # hardly ever, for most topics
            full = self._before(entry[0], size)
            size = self._bytes + entry[0].size
        entries = self._entries
        entries.append(entry)
        self._bytes = size
        return self.rest() if len(entries) == BATCH_ENTRIES else full

    def rest(self) -> list[_Entry]:
        """Return the entries added since the last full request; may be empty."""
        self._groups = {}
        entries, self._entries, self._bytes = self._entries, [], 0
        return entries

    def all(self, entries: Iterable[_Entry]) -> Iterator[list[_Entry]]:
        """Divide `entries` into requests."""
        for entry in entries:
            if full := self.add(entry):
                yield full
        if rest := self.rest():
            yield rest

    def _before(self, message: Any, size: int) -> list[_Entry] | None:
        """The current request, which is full because adding `message` would make its size
        `size`."""
        full: list[_Entry] | None = None
        if self._entries and (size > self._max_bytes or (self._ordered and self._follows(message))):
            full = self.rest()
        if self._ordered:
            self._groups[message.group] = message.id
        return full

    def _follows(self, message: Any) -> bool:
        # The copies of one event go to different queues, so their order does not matter.
        follows: bool = self._groups.get(message.group, message.id) != message.id
        return follows


def batches(entries: Sequence[_T]) -> list[list[_T]]:
    """`entries` in batches of at most `BATCH_ENTRIES`."""
    starts = range(0, len(entries), BATCH_ENTRIES)
    return [list(entries[start : start + BATCH_ENTRIES]) for start in starts]


def size_of(body: str, attributes: Mapping[str, Attribute]) -> int:
    """The size of a message in bytes, as SNS and SQS count it: its body in UTF-8, and its
    attributes.

    Args:
        body: the message's body.
        attributes: its attributes by name.
    """
    text = len(body) if body.isascii() else len(body.encode(errors="surrogatepass"))
    return text + sum(value.size(name) for name, value in attributes.items())
