"""Bytes on the wire: JSON, CSV and frames that every client can read."""
import json
import zlib

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from market_maker.server import rest, wire  # noqa: E402
from market_maker.simulator.refusal import Refusal  # noqa: E402


@pytest.fixture(params=['orjson', 'json'])
def library(request, monkeypatch):
    """Run with the fast library and with the standard one."""
    if request.param == 'json':
        monkeypatch.setattr(wire, 'orjson', None)
    elif wire.orjson is None:
        pytest.skip('orjson is not installed')


@pytest.mark.parametrize('text',
                         ['', '{', 'NaN', '{"a":Infinity}', '[' * 100000, '{"a":' * 100000, "{'a':1}", '1 2', '\x00'])
def test_what_is_not_json_is_a_value_error(library, text):
    with pytest.raises(ValueError):
        wire.loads(text)


@pytest.mark.parametrize('value', [
    {'price': 0.1, 'orderQty': 100, 'text': 'é"\\\u2028', 'none': None,
     'on': True}, [], 'text', 2 ** 80, {'n': -2 ** 70},
])
def test_json_survives_a_round_trip(library, value):
    assert json.loads(wire.dumps(value).decode('utf-8')) == value


@pytest.mark.parametrize('length', [0, 1, 125, 126, 65535, 65536])
def test_a_frame_says_how_long_it_is(length):
    frame = wire.frame(wire.TEXT, b'x' * length)

    assert frame[0] == 0x81
    if length < 126:
        header, said = 2, frame[1]
    elif length < 65536:
        header, said = 4, int.from_bytes(frame[2:4], 'big')
    else:
        header, said = 10, int.from_bytes(frame[2:10], 'big')
    assert said == length and len(frame) == header + length


def test_long_messages_are_compressed_on_their_own():
    payload = wire.dumps([{'price': number} for number in range(1000)])

    first, second = wire.Message(payload).deflated(), wire.Message(payload).deflated()

    assert first == second and len(first) < len(payload) / 3
    body = first[4:]
    assert zlib.decompressobj(-15).decompress(body + b'\x00\x00\xff\xff') == payload
    short = wire.Message(b'{}')
    assert short.deflated() == short.plain


def test_csv_has_every_column_once_and_quotes_what_needs_it():
    text = wire.to_csv([{'a': 1, 'b': 'x,"y'}, {'b': None, 'c': [1], 'd': True}]).decode('utf-8')

    assert text == 'a,b,c,d\n1,"x,""y",,\n,,[1],true\n'


@pytest.mark.parametrize('text, kind, expected', [
    ('', 'application/json', {}),
    ('{"symbol":"XBTUSD","orderQty":"100"}', 'application/json; charset=utf-8',
     {'symbol': 'XBTUSD', 'orderQty': '100'}),
    ('{"a":1}', '', {'a': 1}),
    ('symbol=XBTUSD&price=1.5&text=a+b%26c', 'application/x-www-form-urlencoded',
     {'symbol': 'XBTUSD', 'price': '1.5', 'text': 'a b&c'}),
    ('orderID=%5B%22a%22%2C%22b%22%5D', 'application/x-www-form-urlencoded', {'orderID': ['a', 'b']}),
    ('orderID=[a', 'application/x-www-form-urlencoded', {'orderID': '[a'}),
    ('text=%5B1%5D&empty=', 'application/x-www-form-urlencoded', {'text': '[1]', 'empty': ''}),
])
def test_bodies_are_json_or_forms(text, kind, expected):
    assert rest.body_of(text, kind) == expected


@pytest.mark.parametrize('text', ['[1]', '"a"', 'null', '{"a":1', '{"a":NaN}', '{"a":' * 5000])
def test_a_body_that_is_no_object_is_a_400(library, text):
    with pytest.raises(Refusal) as caught:
        rest.body_of(text, 'application/json')
    assert caught.value.status == 400
