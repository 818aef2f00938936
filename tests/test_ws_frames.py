"""Messages are found in a stream of bytes, however it is cut into pieces."""
import random
import socket
import struct

import pytest

from market_maker.ws.frames import BINARY, CLOSE, PING, TEXT, Frames, ProtocolError
from ws_server import frame


def pieces(data, sizes):
    """Return a receive() that hands out ``data`` in pieces of these sizes, and b'' at the end."""
    sizes = iter(sizes)
    state = [0]

    def receive(size):
        begin = state[0]
        state[0] = min(len(data), begin + min(size, next(sizes)))
        return data[begin:state[0]]
    return receive


def everything(frames):
    """Return all messages up to the end of the stream."""
    found = []
    while True:
        try:
            found.append(frames.next())
        except EOFError:
            return found


@pytest.mark.parametrize('seed', range(25))
def test_any_cut_of_the_stream_gives_the_same_messages(seed):
    """Lengths of all three encodings, fragments with control frames between them, pieces of any size."""
    rng = random.Random(seed)
    stream, wanted = b'', []
    for _ in range(rng.randint(1, 30)):
        payload = bytes(rng.getrandbits(8) for _ in range(rng.choice([0, 1, 5, 125, 126, 127, 300])))
        payload += b'x' * rng.choice([0, 0, 0, 65410, 70000])
        kind = rng.choice([TEXT, TEXT, BINARY])
        if rng.random() < 0.7:
            stream += frame(payload, kind)
        else:
            cut = rng.randint(0, len(payload))
            stream += frame(payload[:cut], kind, fin=False)
            if rng.random() < 0.5:
                stream += frame(b'there?', PING)
                wanted.append((PING, b'there?'))
            stream += frame(b'', 0, fin=False) + frame(payload[cut:], 0)
        wanted.append((kind, payload))
    stream += frame(struct.pack('!H', 1000), CLOSE)
    wanted.append((CLOSE, b'\x03\xe8'))

    sizes = iter(lambda: rng.choice([1, 2, 3, 7, 100, 5000, 10 ** 6]) if len(stream) < 10 ** 4 else 10 ** 5, None)
    assert everything(Frames(pieces(stream, sizes))) == wanted


def test_a_timeout_in_the_middle_loses_nothing():
    """Whatever the receiver raises passes through, and the next call goes on from there."""
    whole = frame(b'a' * 70000) + frame(b'{}')
    parts = [whole[:1], None, whole[1:3], None, whole[3:40000], None, None, whole[40000:]]

    def receive(size):
        part = parts.pop(0) if parts else b''
        if part is None:
            raise socket.timeout('timed out')
        return part

    frames, timeouts, found = Frames(receive), 0, []
    while len(found) < 2:
        try:
            found.append(frames.next())
        except socket.timeout:
            timeouts += 1

    assert found == [(TEXT, b'a' * 70000), (TEXT, b'{}')] and timeouts == 4
    with pytest.raises(EOFError):
        frames.next()


@pytest.mark.parametrize('data, said', [
    (b'\x81\x82abcdef', 'masked'), (b'\xc1\x01a', 'extension'), (b'\x80\x01a', 'order'), (b'\x83\x01a', 'order'),
    (b'\x01\x01a\x81\x01b', 'order'), (b'\x09\x01a', 'control'), (b'\x8b\x01a', 'control'),
    (b'\x89\x7e\x00\x7e' + b'x' * 126, 'control'), (b'\x82\x7f' + b'\x01' * 8, 'bytes')])
def test_what_no_server_may_send(data, said):
    """A stream that breaks the protocol is not guessed at."""
    frames = Frames(pieces(data, iter(lambda: 1000, None)))

    with pytest.raises(ProtocolError, match=said):
        everything(frames)
