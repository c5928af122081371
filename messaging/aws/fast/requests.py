"""PublishBatch requests in SNS's query protocol, with exactly the bytes that botocore would send.

A form escapes about twenty of a hundred characters of a JSON body, and urllib processes each of
them in Python. Here the bodies of a batch are escaped together, with one search-and-replace for
each special byte that occurs, in an eighth of the time.

https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import quote_plus

from messaging.transport import BATCH_ENTRIES, Attribute, Outgoing

__all__ = ["RequestForms"]

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
_BYTES = tuple(bytes([byte]) for byte in range(256))
_ESCAPED = tuple(
    _BYTES[byte] if byte in _UNRESERVED else b"+" if byte == 0x20 else b"%%%02X" % byte
    for byte in range(256)
)
_BETWEEN = b"\0"
"""Separates texts that are escaped together."""
_USUAL = b'%+ "{}[]:,/@\\'
"""Bytes that are always replaced: JSON's own. First those that escaping itself introduces."""
_FORESEEN = _UNRESERVED + _USUAL + _BETWEEN
_MANY = 40
"""Number of special bytes beyond which one pass over all bytes is faster than a replacement for
each."""
_ENTRY = tuple(b"&PublishBatchRequestEntries.member.%d" % (n + 1) for n in range(BATCH_ENTRIES))
_BODY = tuple(b"%b.Id=%d%b.Message=" % (entry, place, entry) for place, entry in enumerate(_ENTRY))
_KNOWN = 256

_Items = tuple[tuple[str, Attribute], ...]


class RequestForms:
    """Writes the bodies of PublishBatch requests. Thread-safe.

    Attributes are few and the same for each event of a type: their text is cached for the last few
    hundred different ones.
    """

    def __init__(self) -> None:
        self._known: dict[_Items, tuple[bytes, ...]] = {}
        self._head = ("", b"")

    def __call__(self, arn: str, batch: Sequence[Outgoing]) -> bytes:
        """The Ids of the entries are their indexes in `batch`, which has at most
        `BATCH_ENTRIES`."""
        if self._head[0] != arn:
            start = b"Action=PublishBatch&Version=2010-03-31&TopicArn="
            self._head = (arn, start + quote_plus(arn).encode())
        parts = [self._head[1]]
        attributes: Mapping[str, Attribute] | None = None
        texts: tuple[bytes, ...] = ()
        bodies = _escaped([message.body for message in batch])
        for place, message in enumerate(batch):
            if message.attributes is not attributes:  # usually all have the same ones
                attributes = message.attributes
                texts = self._attributes(tuple(attributes.items()))
            parts += _BODY[place], bodies[place], texts[place]
            if message.group is not None:
                parts += _ENTRY[place], b".MessageGroupId=", *_escaped([message.group])
            if message.deduplication is not None:
                name = b".MessageDeduplicationId="
                parts += _ENTRY[place], name, *_escaped([message.deduplication])
        return b"".join(parts)

    def _attributes(self, items: _Items) -> tuple[bytes, ...]:
        """Their form fields for the entry at each index."""
        texts = self._known.get(items)
        if texts is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            texts = self._known[items] = tuple(_fields(entry, items) for entry in _ENTRY)
        return texts


def _fields(entry: bytes, items: _Items) -> bytes:
    parts: list[bytes] = []
    for number, (name, (kind, value)) in enumerate(items, 1):
        field = b"BinaryValue" if isinstance(value, bytes) else b"StringValue"
        text = b64encode(value).decode() if isinstance(value, bytes) else value
        at = b"%b.MessageAttributes.entry.%d." % (entry, number)
        name_, kind_, text_ = _escaped([name, kind, text])
        parts.append(
            b"%bName=%b%bValue.DataType=%b%bValue.%b=%b" % (at, name_, at, kind_, at, field, text_)
        )
    return b"".join(parts)


def _escaped(values: Sequence[str]) -> Sequence[bytes]:
    """`quote_plus` of each of `values`, of which there is at least one."""
    text = "\0".join(values).encode()
    odd = set(text.translate(None, _FORESEEN))  # before the text grows
    if len(odd) <= _MANY:
        for byte in _USUAL:
            text = text.replace(_BYTES[byte], _ESCAPED[byte])
        for byte in odd:
            text = text.replace(_BYTES[byte], _ESCAPED[byte])
        escaped = text.split(_BETWEEN)
        if len(escaped) == len(values):  # or one of them contains the separator
            return escaped
    return [_one_by_one(value) for value in values]


def _one_by_one(value: str) -> bytes:
    return b"".join([_ESCAPED[byte] for byte in value.encode()])
