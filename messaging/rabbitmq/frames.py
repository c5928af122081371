"""A subclass of the client's connection that parses messages from the socket's data in one pass.

The client takes one frame at a time from its buffer, copies the remaining bytes, and examines each
frame several times; a message is three frames. Here the three are parsed in place. Anything other
than a whole message for an existing consumer is left to the client.

A message whose headers cannot be parsed still arrives, without them: the client would close the
connection, and so would each client that the broker gives the message to next.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import pika
from pika import data as tables
from pika import frame as frames

__all__ = ["Arrived", "Found", "QuickConnection", "read_message"]

READ_BYTES = 65_536
"""Bytes read from the socket at a time. The client reads 4,096."""
HEAD, END = 7, 1
"""Bytes before and after a frame's payload."""
END_MARK = 0xCE
METHOD, HEADER, BODY = 1, 2, 3
DELIVER = 60 << 16 | 60

_method = struct.Struct(">BHII").unpack_from
_header = struct.Struct(">BHIHHQH").unpack_from
_body = struct.Struct(">BHI").unpack_from
_long = struct.Struct(">I").unpack_from
_longlong = struct.Struct(">q").unpack_from
_tag = struct.Struct(">Q").unpack_from

CONTENT_TYPE, HEADERS, DELIVERY_MODE, MESSAGE_ID = 0x8000, 0x2000, 0x1000, 0x0080
USUAL = CONTENT_TYPE | HEADERS | DELIVERY_MODE | MESSAGE_ID | 0x0040
"""The properties of messages that this library sends; the last is the timestamp."""


class Arrived(NamedTuple):
    """The consumer that received the message, and its delivery tag."""

    consumer_tag: str
    delivery_tag: int


class Found(NamedTuple):
    """The properties that are read from a message."""

    message_id: Any = None
    headers: Any = None


class WholeMessage(NamedTuple):
    """One message, and the offset of the next frame."""

    channel: int
    arrived: Arrived
    found: Any
    body: bytes
    stop: int

    def __repr__(self) -> str:
        return f"WholeMessage({self.arrived.delivery_tag} on channel {self.channel})"


def read_message(data: bytes, at: int, most: int) -> WholeMessage | int | None:
    """The message that begins at `at`, or the number of bytes needed to parse it.

    None if it is another frame, or a message whose body is empty or longer than `most` bytes, the
    maximum of one frame.
    """
    end = len(data)
    if at < end and data[at] != METHOD:
        return None  # checked first: the shortest frames have fewer bytes than are needed below
    if end < at + HEAD + 4:
        return at + HEAD + 4
    _, channel, size, name = _method(data, at)
    if name != DELIVER:
        return None
    header: int = at + HEAD + size + END
    if end < header + HEAD + 14:
        return header + HEAD + 14
    kind, owner, header_size, _, _, length, flags = _header(data, header)
    if kind != HEADER or owner != channel or not 0 < length <= most:
        return None
    body: int = header + HEAD + header_size + END
    stop: int = body + HEAD + length + END
    if end < stop:
        return stop
    if _body(data, body) != (BODY, channel, length):
        return None
    if not data[header - 1] == data[body - 1] == data[stop - 1] == END_MARK:
        return None
    cut = at + HEAD + 5 + data[at + HEAD + 4]
    arrived = Arrived(data[at + HEAD + 5 : cut].decode(), _tag(data, cut)[0])
    found = _properties(data, header + HEAD + 12, body - END, flags)
    return WholeMessage(channel, arrived, found, data[body + HEAD : stop - END], stop)


def _properties(data: bytes, at: int, end: int, flags: int) -> Any:
    try:
        if flags & ~USUAL:
            return pika.BasicProperties().decode(data[at:end])
        at += 2
        if flags & CONTENT_TYPE:
            at += 1 + data[at]
        headers: Any = None
        if flags & HEADERS:
            headers, at = _table(data, at)
        if flags & DELIVERY_MODE:
            at += 1
        message_id = None
        if flags & MESSAGE_ID:
            message_id = data[at + 1 : at + 1 + data[at]].decode(errors="ignore")
        return Found(message_id, headers)
    except Exception:  # noqa: BLE001 - anyone may have sent it, and others wait behind it
        return Found()


def _table(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
    end = at + 4 + _long(data, at)[0]
    at += 4
    found: dict[Any, Any] = {}
    while at < end:
        cut = at + 1 + data[at]
        name, at = data[at + 1 : cut].decode(errors="replace"), cut
        kind = data[at]
        if kind == 0x53:  # "S": a string
            size = _long(data, at + 1)[0]
            text, at = data[at + 5 : at + 5 + size], at + 5 + size
            try:
                found[name] = text.decode()
            except UnicodeDecodeError:
                found[name] = text
        elif kind == 0x6C:  # "l": a 64-bit integer
            found[name], at = _longlong(data, at + 1)[0], at + 9
        else:
            found[name], at = tables.decode_value(data, at)
    return found, end


_Connection: Any = pika.SelectConnection  # the client has no types


class QuickConnection(_Connection):  # type: ignore[misc]  # an untyped base, as above
    """The client's connection, which parses whole messages with `read_message`."""

    _frame_buffer: bytes
    _needed = 0
    """Number of bytes without which nothing more can be parsed."""

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = READ_BYTES
        super()._proto_connection_made(transport)

    def _on_data_available(self, data_in: bytes) -> None:
        data: bytes = self._frame_buffer + data_in if self._frame_buffer else data_in
        self._frame_buffer = data
        if len(data) < self._needed:
            return
        self._needed = at = 0
        most = self.params.frame_max - HEAD - END
        while at < len(data):
            read = read_message(data, at, most)
            if isinstance(read, int):
                stop = -read
            elif read is None or not self._deliver(read):
                stop = self._pass_on(data, at)
            else:
                stop = read.stop
            if stop < 0:
                self._needed = -stop - at
                break
            self.bytes_received += stop - at
            if self._frame_buffer is not data:
                return  # the data ended the connection
            at = stop
        self._frame_buffer = data[at:]

    def _deliver(self, read: WholeMessage) -> bool:
        channel, tag = self._channels.get(read.channel), read.arrived.consumer_tag
        if channel is None or tag in channel._cancelled or tag not in channel._consumers:
            return False
        self.frames_received += 3
        channel._consumers[tag](channel, read.arrived, read.found, read.body)
        return True

    def _pass_on(self, data: bytes, at: int) -> int:
        """Let the client handle one frame: the offset of the next, or, negative, the bytes that it
        needs."""
        if data.startswith(b"AMQP", at):
            stop = at + 8
        elif len(data) < at + HEAD:
            return -at - HEAD
        else:
            stop = at + HEAD + _body(data, at)[2] + END
        if len(data) < stop:
            return -stop
        self._process_frame(_decoded(data[at:stop]))
        return stop


def _decoded(data: bytes) -> Any:
    try:
        return frames.decode_frame(data)[1]
    except Exception:
        if data[0] != HEADER or data[-1] != END_MARK:
            raise
        channel, length = _header(data, 0)[1], _header(data, 0)[5]
        return frames.Header(channel, length, pika.BasicProperties())
