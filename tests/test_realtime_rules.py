"""The rules of BitMEX's WebSocket tables, held to every frame of a busy time and to those that others recorded."""
import json
import os
import random
import re
import socket
import struct
import time
import zlib

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import websocket  # noqa: E402
from local_client import Client, Socket, auth_headers  # noqa: E402

from market_maker.auth.signing import generate_signature  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.simulator import schema  # noqa: E402

BOOKS = ('orderBookL2', 'orderBookL2_25', 'orderBookL2_100', 'orderBook10')
ALWAYS = {   # columns of every update of a table, whatever changed
    'order': ('orderID', 'clOrdID', 'account', 'symbol', 'timestamp'),
    'position': ('account', 'symbol', 'strategy', 'currency', 'currentQty', 'timestamp'),
    'margin': ('account', 'currency', 'timestamp'), 'instrument': ('symbol', 'timestamp'),
    'orderBookL2': ('symbol', 'id', 'side', 'size', 'price', 'timestamp', 'transactTime'),
    'orderBookL2_25': ('symbol', 'id', 'side', 'size', 'price', 'timestamp', 'transactTime'),
    'orderBookL2_100': ('symbol', 'id', 'side', 'size', 'price', 'timestamp', 'transactTime'),
    'orderBook10': ('symbol', 'bids', 'asks', 'timestamp')}
FORMS = {'timestamp': r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$', 'timespan': r'2000-01-0\dT\d\d:\d\d:\d\d\.\d{3}Z$',
         'guid': r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'}
KINDS = {'long': int, 'float': (int, float), 'boolean': bool, 'symbol': str, 'string': str}


def fits(value, kind):
    """Tell whether a value is of the type that its partial gave for the column."""
    if kind in FORMS:
        return isinstance(value, str) and bool(re.match(FORMS[kind], value))
    if kind not in KINDS:
        return isinstance(value, (str, list))
    return isinstance(value, KINDS[kind]) and (kind == 'boolean' or not isinstance(value, bool))


class Rules:
    """Reads frames one after the other and raises AssertionError at the first that breaks a rule of the tables."""

    def __init__(self):
        self.images = {}    # table -> its last partial
        self.seen = {}      # (table, action) -> rows

    def read(self, frame):
        """Hold one frame against the rules."""
        table, action, rows = frame['table'], frame['action'], frame['data']
        self.seen[table, action] = self.seen.get((table, action), 0) + len(rows)
        if action == 'partial':
            assert set(frame) == {'table', 'action', 'keys', 'types', 'filter', 'data'}
            assert set(frame['keys']) <= set(frame['types'])
            self.images[table] = frame
        else:
            assert set(frame) == {'table', 'action', 'data'} and rows
            assert table in self.images, 'a change before its image'
        keys, types = self.images[table]['keys'], self.images[table]['types']
        assert action == 'partial' or action == 'insert' or keys, 'a table without keys only grows'
        if table in BOOKS and action != 'partial':
            assert len({row['symbol'] for row in rows}) == 1
        for row in rows:
            self._read_row(table, action, row, keys, types)

    @staticmethod
    def _read_row(table, action, row, keys, types):
        assert set(keys) <= set(row), (table, action, row)
        assert action != 'update' or set(ALWAYS.get(table, ())) <= set(row), (table, row)
        for name, value in row.items():
            assert name in types, (table, name)
            if value is None:
                # The only way to say that a field has become empty.
                assert action == 'update', (table, action, name)
            else:
                assert fits(value, types[name]), (table, name, value, types[name])
                # Empty text is left out as well; an order without clOrdID says so, for bitmex-ws reads it of every row.
                assert value != '' or name == 'clOrdID' or table == 'announcement', (table, action, name)


# What the local exchange sends

@pytest.fixture(scope='module')
def lively():
    with running('lively', symbols=('XBTUSD', 'ETHUSD'), seed=5) as testnet:
        yield testnet


def test_every_frame_keeps_the_rules(lively):
    """While an account quotes, trades, amends, stops and cancels, each frame of each table is as it should be."""
    client = Client(lively)
    rules = Rules()
    wanted = [('order', 'insert'), ('order', 'update'), ('execution', 'insert'), ('position', 'update'),
              ('margin', 'update'), ('wallet', 'update'), ('trade', 'insert'), ('quote', 'insert'),
              ('instrument', 'update'), ('orderBookL2', 'delete'), ('orderBookL2_25', 'delete'),
              ('orderBook10', 'update'), ('transact', 'insert')]
    with Socket(lively.ws_url, auth_headers(lively.key, lively.secret)) as ws:
        ws.recv()
        ws.send({'op': 'subscribe', 'args': list(schema.TABLES)})
        deadline, turn = time.time() + 60, 0
        while not all(rules.seen.get(one) for one in wanted):
            assert time.time() < deadline, [one for one in wanted if not rules.seen.get(one)]
            touch = client.get('/quote?symbol=XBTUSD&count=1&reverse=true')[0]
            client.place(symbol='XBTUSD', side='Buy', orderQty=100, price=touch['bidPrice'], clOrdID='r{}'.format(turn))
            client.place(symbol='XBTUSD', side='Sell', orderQty=200, price=touch['askPrice'])
            client.place(symbol='XBTUSD', side='Buy' if turn % 2 else 'Sell', orderQty=100, ordType='Market')
            client.place(symbol='XBTUSD', side='Sell', orderQty=100, ordType='Stop', stopPx=touch['bidPrice'] - 5000)
            client.send('PUT', '/order', {'origClOrdID': 'r{}'.format(turn), 'orderQty': 300})
            if not turn:
                client.send('POST', '/user/requestWithdrawal', {
                    'currency': 'XBt', 'network': 'btc', 'amount': 100000, 'address': 'somewhere'})
            client.send('DELETE', '/order/all', {})
            turn += 1
            ws.send('ping')
            for frame in iter(ws.recv, 'pong'):
                if 'table' in frame:
                    rules.read(frame)

    assert set(rules.images) == set(schema.TABLES)


@pytest.mark.parametrize('table, depth', [('orderBookL2_25', 25), ('orderBookL2_100', 100)])
def test_a_short_book_grows_from_its_image(lively, table, depth):
    """Whoever joins early, late or again holds the best levels of the whole book, each level once."""
    def apply(rows, frame):
        if frame['action'] == 'partial':
            rows.clear()
        for row in frame['data']:
            key = row['side'], row['id']
            if frame['action'] in ('partial', 'insert'):
                assert key not in rows
                rows[key] = dict(row)
            elif frame['action'] == 'update':
                rows[key].update(row)
            else:
                del rows[key]

    def best():
        exchange = lively.exchange
        exchange._tell_short_views(exchange.now)
        lively.server.hub.flush()
        return {(side, size, price) for side in ('Buy', 'Sell') for price, size in
                [(lively.exchange.instruments['XBTUSD'].price_of(ticks), size)
                 for ticks, size in exchange.depth('XBTUSD', side, depth)]}

    with Socket(lively.ws_url + '?subscribe={}:XBTUSD'.format(table)) as early:
        early.partial(table)
        early.send({'op': 'unsubscribe', 'args': [table + ':XBTUSD']})
        early.send({'op': 'subscribe', 'args': [table + ':XBTUSD']})
        held, seen = {}, 0
        while seen < 50:
            frame = early.recv()
            if frame.get('table') == table:
                seen += frame['action'] != 'partial'
                apply(held, frame)
        wanted = lively.call(best)
        while {(row['side'], row['size'], row['price']) for row in held.values()} != wanted:
            frame = early.recv()
            if frame.get('table') == table:
                apply(held, frame)
    assert len([key for key in held if key[0] == 'Buy']) == depth


# What others recorded

def recorded(path):
    """Yield the frames of a recording, in order."""
    with open(path, encoding='utf-8') as file:
        for line in file:
            row = json.loads(line)
            frame = row.get('msg') or row.get('message')
            if isinstance(frame, dict) and 'table' in frame:
                yield frame


def test_keys_and_types_are_those_of_the_last_recordings(recordings):
    """The images of 2025 name the same keys, and for each column that we have the same type."""
    compared = set()
    for frame in recorded(os.path.join(recordings, 'ws', 'embedded_roq_2025_a.jsonl')):
        if frame['action'] == 'partial' and frame.get('types'):
            keys, types, _, _ = schema.TABLES[frame['table']]
            assert frame['keys'] == list(keys)
            assert {name: kind for name, kind in frame['types'].items() if types.get(name, kind) != kind} == {}
            compared.add(frame['table'])
    assert {'execution', 'instrument', 'margin', 'position', 'settlement', 'trade'} <= compared


def test_recorded_updates_carry_what_ours_always_carry(recordings):
    """What every update of an order carried when BitMEX sent it, and every row of a book since prices came with all."""
    found = set()
    for name in ('embedded_roq_2025_a.jsonl', 'embedded_jkorf_2025.jsonl', 'embedded_mstrade_2021-2022.jsonl'):
        for frame in recorded(os.path.join(recordings, 'ws', name)):
            if frame['action'] == 'update' and frame['table'] in ('order', 'margin', 'instrument'):
                for row in frame['data']:
                    # Until 2023 an order's empty clOrdID was sent, from then on it is left out.
                    assert set(ALWAYS[frame['table']]) - {'clOrdID'} <= set(row), (name, frame['table'])
                    found.add(frame['table'])
    assert 'margin' in found or 'instrument' in found


# Commands

@pytest.fixture(scope='module')
def still():
    with running(bid=60000, ask=60000.5) as testnet:
        yield testnet


def login(testnet, expires, upper=False, op='authKeyExpires'):
    """Return a signed login command."""
    signature = generate_signature(testnet.secret, 'GET', '/realtime', expires, '')
    return {'op': op, 'args': [testnet.key, expires, signature.upper() if upper else signature]}


def test_several_topics_of_one_command_are_refused_once(still):
    """As recorded: three topics that are subscribed to already give one error, which names the first of them."""
    request = {'op': 'subscribe', 'args': ['trade', 'quote', 'instrument']}
    with Socket(still.ws_url + '?subscribe=trade,quote,instrument:XBTUSD') as ws:
        ws.partial('instrument')
        ws.send(request)
        assert ws.until(lambda frame: 'table' not in frame) == {
            'success': True, 'subscribe': 'instrument', 'request': request}
        assert ws.until(lambda frame: 'table' not in frame) == {
            'status': 400, 'error': 'You are already subscribed to this topic: trade:*', 'meta': {},
            'request': request}
        ws.send('ping')
        assert [frame for frame in iter(ws.recv, 'pong') if 'table' not in frame] == []


@pytest.mark.parametrize('expires, upper, op', [
    (lambda: int(time.time()) + 60, False, 'authKeyExpires'), (lambda: int(time.time()) + 60, True, 'authKeyExpires'),
    (lambda: int(time.time() * 1000), False, 'authKeyExpires'),
    (lambda: str(int(time.time()) + 60), False, 'authKeyExpires'),
    (lambda: int(time.time() * 1000), False, 'authKey'), (lambda: int(time.time()) + 60, False, 'authExpires'),
])
def test_a_connection_logs_in_once(still, expires, upper, op):
    """Seconds and milliseconds, either case of the signature, the old names of the command; then no second time."""
    request = login(still, expires(), upper, op)
    with Socket(still.ws_url) as ws:
        ws.recv()
        ws.send(request)
        assert ws.recv() == {'success': True, 'request': request}
        ws.send(request)
        assert ws.recv() == {'status': 400, 'error': 'This connection is already authenticated.', 'meta': {},
                             'request': request}
        ws.send({'op': 'subscribe', 'args': ['margin']})
        assert ws.recv()['success'] is True


@pytest.mark.parametrize('change, status', [
    (lambda query: query.replace('api-signature=', 'api-signature=00'), 401),
    (lambda query: query.replace('api-key=', 'api-key=x'), 401), (lambda query: query.split('&api-signature')[0], 401),
])
def test_a_bad_login_by_query_string_is_refused_at_the_upgrade(still, change, status):
    expires = int(time.time()) + 60
    query = '?subscribe=margin&api-expires={}&api-key={}&api-signature={}'.format(
        expires, still.key, generate_signature(still.secret, 'GET', '/realtime', expires, ''))
    Socket(still.ws_url + query).close()

    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Socket(still.ws_url + change(query))
    assert caught.value.status_code == status


def test_cancel_all_after_counts_as_a_request():
    """It draws on the account's requests a minute, and is refused when none is left."""
    with running(rate_limits=True) as testnet:
        with Socket(testnet.ws_url, auth_headers(testnet.key, testnet.secret)) as ws:
            ws.recv()
            request = {'op': 'cancelAllAfter', 'args': 60000}
            for _ in range(125):
                ws.send(request)
            answers = [ws.recv() for _ in range(125)]
    assert answers[0]['now'] < answers[0]['cancelTime'] and answers[0]['request'] == request
    refused = answers[-1]
    assert (refused['status'], refused['error']) == (429, 'Rate limit exceeded, retry in 1 seconds.')
    assert refused['meta'] == {'retryAfter': 1} and refused['request'] == request


# Compression

def shake_hands(testnet, offer):
    """Return a raw connection that subscribed to instrument, and the extension that the exchange agreed to."""
    connection = socket.create_connection(('127.0.0.1', testnet.port), timeout=20)
    connection.sendall((
        'GET /realtime?subscribe=instrument HTTP/1.1\r\nHost: 127.0.0.1\r\n'
        'Upgrade: websocket\r\nConnection: Upgrade\r\n'
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
        'Sec-WebSocket-Extensions: {}\r\n\r\n'.format(offer)).encode())
    reader = connection.makefile('rb')
    lines = [line.strip().decode() for line in iter(reader.readline, b'\r\n')]
    assert lines[0].startswith('HTTP/1.1 101')
    agreed = [line.partition(':')[2].strip() for line in lines if line.lower().startswith('sec-websocket-extensions')]
    return connection, reader, agreed[0] if agreed else ''


def read_frames(reader, count):
    """Return the first byte and the payload of some frames of a server."""
    frames = []
    for _ in range(count):
        first, length = struct.unpack('!BB', reader.read(2))
        if length == 126:
            length = struct.unpack('!H', reader.read(2))[0]
        elif length == 127:
            length = struct.unpack('!Q', reader.read(8))[0]
        frames.append((first, reader.read(length)))
    return frames


@pytest.mark.parametrize('offer, window', [
    ('permessage-deflate', 15), ('permessage-deflate; client_max_window_bits', 15),
    ('permessage-deflate; server_no_context_takeover; client_no_context_takeover', 15),
    ('permessage-deflate; server_max_window_bits=15', 15), ('permessage-deflate; server_max_window_bits=10', 10),
    ('x-webkit-deflate-frame', None), ('permessage-deflate; nonsense=1', None),
])
def test_whatever_compression_is_agreed_on_can_be_read(still, offer, window):
    """Large messages come compressed to whoever can read them, with the window that was agreed on; all are JSON."""
    connection, reader, agreed = shake_hands(still, offer)
    with connection:
        frames = read_frames(reader, 3)

    inflate = zlib.decompressobj(-(window or 15))
    messages = []
    for first, payload in frames:
        assert first in (0x81, 0xC1) and (agreed or first == 0x81)
        if first == 0xC1:
            payload = inflate.decompress(payload + b'\x00\x00\xff\xff')
        messages.append(json.loads(payload.decode()))
    assert [message.get('table') for message in messages] == [None, None, 'instrument']
    if window == 15:
        assert agreed.startswith('permessage-deflate') and frames[2][0] == 0xC1


# Frames that no client should send

def masked(first, payload, mask=b'\x01\x02\x03\x04'):
    """Return a frame as clients send it."""
    length = len(payload)
    head = struct.pack('!BB', first, 0x80 | length) if length < 126 else (
        struct.pack('!BBH', first, 0x80 | 126, length) if length < 65536 else
        struct.pack('!BBQ', first, 0x80 | 127, length))
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


SUBSCRIBE = json.dumps({'op': 'subscribe', 'args': ['trade:XBTUSD']}).encode()


@pytest.mark.parametrize('data', [
    masked(0x81, SUBSCRIBE), masked(0x01, SUBSCRIBE[:20]) + masked(0x80, SUBSCRIBE[20:]),
    masked(0x01, SUBSCRIBE[:20]) + masked(0x89, b'ping') + masked(0x80, SUBSCRIBE[20:]),
], ids=['one frame', 'two frames', 'a ping between two frames'])
def test_a_command_in_pieces_is_one_command(still, data):
    """However a command is cut into frames, and its frames into packets."""
    connection, reader, _ = shake_hands(still, 'x')
    with connection:
        read_frames(reader, 3)
        for at in range(0, len(data), 7):
            connection.sendall(data[at:at + 7])
        answers = [payload for first, payload in read_frames(reader, 3 if b'ping' in data else 2) if first == 0x81]
    assert json.loads(answers[0].decode())['subscribe'] == 'trade:XBTUSD'


@pytest.mark.parametrize('data', [
    struct.pack('!BB', 0x81, 5) + b'hello',            # not masked
    masked(0xF1, b'hello'), masked(0x83, b'hello'),    # reserved bits, an unknown kind of frame
    masked(0x80, b'hello'), masked(0x81, b'\xff\xfe'), masked(0x09, b'ping'), masked(0x89, b'x' * 126),
    struct.pack('!BBQ', 0x81, 0xFF, 2 ** 40),          # a frame of a terabyte
    masked(0x81, b'x' * (1024 * 1024 + 1)), masked(0x88, b'\x00'), masked(0x88, struct.pack('!H', 1000) + b'\xff'),
    b'\x00' * 100, b'GET / HTTP/1.1\r\n\r\n', bytes(random.Random(1).getrandbits(8) for _ in range(200)),
], ids=range(14))
def test_what_is_no_frame_ends_its_own_connection_alone(still, data, caplog):
    """The exchange hangs up on whoever does not speak the protocol, logs no traceback, and goes on for the others."""
    with Socket(still.ws_url + '?subscribe=trade:XBTUSD') as other:
        other.partial('trade')
        connection, reader, _ = shake_hands(still, 'x')
        with connection:
            try:
                connection.sendall(data)
                # It ends in any case: some of these are the beginning of a frame that never comes.
                connection.shutdown(socket.SHUT_WR)
                reader.read()
            except OSError as error:   # it may be gone before all is said
                assert not isinstance(error, socket.timeout)
        still.call(lambda: still.exchange.take('XBTUSD', 'Buy', 100))
        assert other.change('trade', 'insert')['size'] == 100
    assert [record for record in caplog.records if record.exc_info] == []
