"""JSON and WebSocket frames as bytes, each made once however many clients get it.

Pure but for its choice of library: ``orjson`` where it is installed (the ``speed`` extra), the standard library
otherwise.  Both give the same JSON but for spaces and the spelling of very large and very small floats.
"""
import csv
import io
import json
import struct
import zlib
from typing import Any, Dict, List, Optional  # noqa: F401

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

TEXT, DEFLATED_TEXT = 0x81, 0xC1   # first byte of a whole text frame, plain and compressed (RFC 6455, RFC 7692)
CLOSE, PONG = 0x88, 0x8A
GOING_AWAY = b'\x03\xe9'           # 1001, the payload of a close frame
DEFLATE_FROM = 1024                # bytes; compressing a shorter message costs more than it saves
FULL_WINDOW = 15                   # a client that asked for a smaller deflate window gets its frames uncompressed


def _refuse_constant(name: str) -> float:
    raise ValueError('{} is not JSON'.format(name))


def loads(text: str) -> Any:
    """Return the value of a JSON text; raise ValueError for anything else, however deep, huge or odd it is."""
    try:
        if orjson is not None:
            return orjson.loads(text)
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError('too deeply nested')


def _dumps_plain(value: Any) -> bytes:
    return json.dumps(value, separators=(',', ':')).encode('ascii')


def dumps(value: Any) -> bytes:
    """Return ``value`` as JSON without spaces."""
    if orjson is None:
        return _dumps_plain(value)
    try:
        return orjson.dumps(value)  # type: ignore[no-any-return]
    except TypeError:
        # An integer beyond 64 bits or half a surrogate pair: JSON all the same, which the standard library can write.
        return _dumps_plain(value)


def to_csv(rows: List[Dict[str, Any]]) -> bytes:
    """Return rows as CSV with one header line: the columns of all rows in the order in which they first appear."""
    columns = {}  # type: Dict[str, None]
    for row in rows:
        columns.update(dict.fromkeys(row))
    text = io.StringIO(newline='')
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return text.getvalue().encode('utf-8')


def _cell(value: Any) -> Any:
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, (dict, list)):
        return dumps(value).decode('utf-8')
    return value


def frame(first: int, payload: bytes) -> bytes:
    """Return an unmasked WebSocket frame, which a server may send to every client alike."""
    length = len(payload)
    if length < 126:
        return struct.pack('!BB', first, length) + payload
    if length < 65536:
        return struct.pack('!BBH', first, 126, length) + payload
    return struct.pack('!BBQ', first, 127, length) + payload


class Message(object):
    """One text message: framed when made, compressed when the first client that understands it needs it."""

    __slots__ = ('payload', 'plain', '_deflated')

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.plain = frame(TEXT, payload)
        self._deflated = None  # type: Optional[bytes]

    def deflated(self) -> bytes:
        """Return the frame for a client that negotiated permessage-deflate with the full window.

        Each message is compressed without the context of earlier ones: that is what lets all clients share it.
        """
        if len(self.payload) < DEFLATE_FROM:
            return self.plain
        if self._deflated is None:
            compressor = zlib.compressobj(1, zlib.DEFLATED, -FULL_WINDOW)
            data = compressor.compress(self.payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
            self._deflated = frame(DEFLATED_TEXT, data[:-4])
        return self._deflated
