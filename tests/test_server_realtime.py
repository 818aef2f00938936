"""The WebSocket over real sockets: commands, images, deltas, errors, and clients that do not read."""
import asyncio
import json
import socket
import threading
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import aiohttp  # noqa: E402
import websocket  # noqa: E402
from local_client import Client, Socket, auth_headers, refused_upgrade  # noqa: E402

from market_maker.auth.signing import generate_signature  # noqa: E402
from market_maker.server import realtime  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.simulator import schema  # noqa: E402

ORDER = {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 59000}
DOCS = 'https://www.bitmex.com/app/wsAPI'


@pytest.fixture(scope='module')
def testnet():
    with running(bid=60000, ask=60000.1, symbols=('XBTUSD', 'ETHUSD')) as testnet:
        yield testnet


@pytest.fixture
def client(testnet):
    client = Client(testnet)
    yield client
    client.send('DELETE', '/order/all', {})


def private(testnet, query=''):
    return Socket(testnet.ws_url + query, auth_headers(testnet.key, testnet.secret))


def test_the_welcome_comes_first(testnet):
    with Socket(testnet.ws_url) as ws:
        welcome = ws.recv()

    assert welcome['info'] == 'Welcome to the BitMEX Realtime API.'
    assert {'version', 'timestamp', 'docs', 'heartbeatEnabled', 'limit'} <= set(welcome)
    assert welcome['heartbeatEnabled'] is False and welcome['limit'] == {}


def test_an_order_is_seen_on_rest_and_websocket_alike(testnet, client):
    with private(testnet, '?subscribe=order:XBTUSD,execution:XBTUSD,margin,position') as ws:
        for table in ('order', 'execution', 'margin', 'position'):
            ws.partial(table)
        placed = client.place(clOrdID='seen', **ORDER)
        order = ws.change('order', 'insert', orderID=placed['orderID'])

    assert order['clOrdID'] == 'seen'
    assert {name: order.get(name) for name in ('ordStatus', 'price', 'orderQty', 'leavesQty', 'account')} == {
        name: placed.get(name) for name in ('ordStatus', 'price', 'orderQty', 'leavesQty', 'account')}


def test_one_ack_and_then_the_image_for_each_topic(testnet):
    request = {'op': 'subscribe', 'args': ['trade:XBTUSD', 'instrument', 'quote:*', 'settlement']}
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send(request)
        frames = [ws.recv() for _ in range(8)]

    for number, topic in enumerate(request['args']):
        ack, image = frames[2 * number:2 * number + 2]
        table = topic.partition(':')[0]
        pool = {'pool': 'Aggregated'} if table in ('trade', 'quote') else {}
        assert ack == dict({'success': True, 'subscribe': topic, 'request': request}, **pool)
        assert (image['table'], image['action']) == (table, 'partial')
        assert image['keys'] == list(schema.TABLES[table][0])
        assert image['types'] and isinstance(image['data'], list)
    assert frames[1]['filter'] == {'symbol': 'XBTUSD'} and frames[3]['filter'] == {}
    assert {row['symbol'] for row in frames[1]['data']} <= {'XBTUSD'}
    assert {'XBTUSD', 'ETHUSD'} <= {row['symbol'] for row in frames[3]['data']}
    assert frames[7]['data'] == []


def test_a_single_argument_may_stand_alone(testnet):
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send({'op': 'subscribe', 'args': 'trade:xbtusd'})
        ack = ws.recv()
        assert ack['subscribe'] == 'trade:xbtusd' and ack['request']['args'] == 'trade:xbtusd'
        assert ws.recv()['filter'] == {'symbol': 'XBTUSD'}


def test_every_table_of_the_schema_has_an_image(testnet):
    with private(testnet) as ws:
        ws.recv()
        for table, (keys, types, _, _) in schema.TABLES.items():
            ws.send({'op': 'subscribe', 'args': [table]})
            frames = iter(ws.recv, None)
            ack = next(frame for frame in frames if 'action' not in frame)   # tables subscribed before move on
            assert ack.get('success') is True, table
            image = next(frame for frame in frames if frame.get('action') == 'partial')
            assert (image['table'], image['keys'], image['types']) == (table, list(keys), dict(types))


def test_private_images_name_the_account(testnet, client):
    account = client.get('/user')['id']
    with private(testnet, '?subscribe=order:XBTUSD,margin') as ws:
        assert ws.partial('order')['filter'] == {'account': account, 'symbol': 'XBTUSD'}
        assert ws.partial('margin')['filter'] == {'account': account}


def test_the_url_subscribes_like_a_command(testnet):
    with Socket(testnet.ws_url + '?subscribe=trade:XBTUSD,nonsense') as ws:
        ws.recv()
        assert ws.recv() == {'success': True, 'subscribe': 'trade:XBTUSD', 'pool': 'Aggregated',
                             'request': {'op': 'subscribe', 'args': ['trade:XBTUSD', 'nonsense']}}
        assert ws.recv()['action'] == 'partial'
        assert ws.recv()['status'] == 400


@pytest.mark.parametrize('request_, status, error', [
    ({'op': 'subscribe', 'args': ['orderBook']}, 400,
     'Unknown table: orderBook. Please see the documentation at {}.'.format(DOCS)),
    ({'op': 'subscribe', 'args': ['trade:NOPE']}, 400, 'Unknown or expired symbol.'),
    ({'op': 'subscribe', 'args': ['order']}, 401,
     'User requested an account-locked subscription but no authorization was provided.'),
    ({'op': 'dance', 'args': []}, 400, None), ({'args': ['trade']}, 400, None), ({'op': 'subscribe'}, 400, None),
    ({}, 400, None),
    ({'op': ['subscribe'], 'args': ['trade']}, 400, None),
    ({'op': 'subscribe', 'args': [None]}, 400, 'Unknown table: None. Please see the documentation at {}.'.format(DOCS)),
    ({'op': 'subscribe', 'args': [['trade']]}, 400, None), ({'op': 'subscribe', 'args': [{'a': 1}]}, 400, None),
    ({'op': 'unsubscribe', 'args': ['trade']}, 400, 'You are not subscribed to this topic: trade:*'),
    ({'op': 'cancelAllAfter', 'args': 1000}, 401, 'Authorization Required'),
    ({'op': 'authKeyExpires', 'args': ['x']}, 400, None),
])
def test_a_command_that_is_refused_is_answered(testnet, request_, status, error):
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send(request_)
        frame = ws.recv()

    assert set(frame) == {'status', 'error', 'meta', 'request'}
    assert frame['status'] == status and frame['request'] == request_
    if error:
        assert frame['error'] == error
    if status == 401 and request_['op'] == 'subscribe':
        assert frame['meta'] == {'notes': 'Account-locked tables include the following: account,affiliate,'
                                          'execution,margin,order,position,privateNotifications,transact,wallet'}


@pytest.mark.parametrize('text', ['', 'hello', '[1]', '5', '{"op":', 'pong', '"ping"', '{"a":' * 3000])
def test_what_is_no_command_is_unrecognized(testnet, text):
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send(text)
        frame = ws.recv()

    assert frame == {'status': 400, 'meta': {}, 'request': {},
                     'error': "Unrecognized request. See the docs or send 'help' for more details. "
                              "Please see the documentation at {}.".format(DOCS)}


def test_a_topic_is_followed_once(testnet):
    with Socket(testnet.ws_url + '?subscribe=trade:XBTUSD') as ws:
        ws.partial('trade')
        request = {'op': 'subscribe', 'args': ['trade:XBTUSD']}
        ws.send(request)
        assert ws.recv() == {'status': 400, 'error': 'You are already subscribed to this topic: trade:XBTUSD',
                             'meta': {},
                             'request': request}


def test_ping_and_help_are_bare_words(testnet):
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send('ping')
        assert ws.recv() == 'pong'
        ws.send('help')
        said = ws.recv()
        assert 'subscribe' in said['ops'] and 'trade' in said['subscriptionSubjects']['public']
        assert said == Client(testnet).get('/schema/websocketHelp')
        ws.socket.ping('hi')
        assert ws.socket.recv_data(control_frame=True)[0] == websocket.ABNF.OPCODE_PONG


def test_too_many_errors_end_the_session(testnet):
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        with pytest.raises((websocket.WebSocketException, OSError)):
            for _ in range(realtime.MOST_ERRORS + 1):
                ws.send('nonsense')
            while True:
                ws.recv()
        assert len(ws.frames) == 1 + realtime.MOST_ERRORS


# Authentication

def test_a_key_may_log_in_by_command(testnet):
    expires = int(time.time()) + 5
    request = {'op': 'authKeyExpires',
               'args': [testnet.key, expires, generate_signature(testnet.secret, 'GET', '/realtime', expires, '')]}
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send(request)
        assert ws.recv() == {'success': True, 'request': request}
        ws.send({'op': 'subscribe', 'args': ['order']})
        assert ws.partial('order')['data'] == []
        ws.send({'op': 'logout'})
        assert ws.recv()['success'] is True
        ws.send({'op': 'subscribe', 'args': ['order']})
        assert ws.recv()['status'] == 401


def test_a_key_may_log_in_by_query_string(testnet):
    expires = int(time.time()) + 5
    query = '?api-expires={}&api-signature={}&api-key={}&subscribe=margin'.format(
        expires, generate_signature(testnet.secret, 'GET', '/realtime', expires, ''), testnet.key)
    with Socket(testnet.ws_url + query) as ws:
        assert ws.partial('margin')['data']


def test_milliseconds_are_far_away_and_fine(testnet):
    expires = int(time.time() * 1000)
    with Socket(testnet.ws_url + '?subscribe=margin', auth_headers(testnet.key, testnet.secret, expires)) as ws:
        assert ws.partial('margin')['data']


@pytest.mark.parametrize('headers, status', [
    (lambda t: auth_headers(t.key, 'wrong'), 401), (lambda t: auth_headers('nobody', t.secret), 401),
    (lambda t: auth_headers(t.key, t.secret, int(time.time()) - 60), 400),
    (lambda t: auth_headers(t.key, t.secret)[:1], 401), (lambda t: auth_headers(t.key, t.secret, 'soon'), None),
])
def test_a_bad_login_is_refused_at_the_upgrade(testnet, headers, status):
    answered, body = refused_upgrade(testnet.ws_url, headers(testnet))
    assert answered in ([status] if status else [400, 401])
    assert set(body['error']) == {'message', 'name'}


def test_a_bad_login_by_command_is_answered(testnet):
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        expires = int(time.time()) + 60
        for args, status in [([testnet.key, expires, 'ff'], 401), (['nobody', expires, 'ff'], 401),
                             ([None, None, None], None),
                             ([testnet.key, [], {}], None),
                             ([testnet.key, 5, generate_signature(testnet.secret, 'GET', '/realtime', 5, '')], 400)]:
            ws.send({'op': 'authKeyExpires', 'args': args})
            frame = ws.recv()
            assert frame['status'] in ([status] if status else [400, 401]) and frame['request']['args'] == args


def test_an_address_that_a_key_excludes_is_refused():
    with running(accounts=[{'key': 'far', 'secret': 's', 'cidr': '10.0.0.0/8'}]) as other:
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            Socket(other.ws_url, auth_headers('far', 's'))
        assert caught.value.status_code == 403


def test_accounts_see_their_own_orders_only(testnet, client):
    testnet.call(lambda: testnet.exchange.account_of('second') or testnet.exchange.open_account('second', 'secret'))
    mine = private(testnet, '?subscribe=order')
    other = Socket(testnet.ws_url + '?subscribe=order', auth_headers('second', 'secret'))
    with mine, other:
        mine.partial('order')
        other.partial('order')
        placed = client.place(**ORDER)
        second = Client(testnet, 'second', 'secret').place(clOrdID='theirs', **ORDER)
        assert other.recv()['data'][0]['orderID'] == second['orderID']
        assert mine.recv()['data'][0]['orderID'] == placed['orderID']
    Client(testnet, 'second', 'secret').send('DELETE', '/order/all', {})


def test_cancel_all_after_arms_and_cancels(testnet, client):
    with private(testnet, '?subscribe=order') as ws:
        ws.partial('order')
        placed = client.place(**ORDER)
        request = {'op': 'cancelAllAfter', 'args': 100}
        ws.send(request)
        said = ws.until(lambda frame: 'cancelTime' in frame)
        assert said['request'] == request and said['now'] < said['cancelTime']
        ws.change('order', 'update', orderID=placed['orderID'], ordStatus='Canceled')


def test_a_key_that_may_only_read_cancels_nothing():
    with running(accounts=[{'key': 'reader', 'secret': 's', 'permissions': []}]) as other:
        with Socket(other.ws_url, auth_headers('reader', 's')) as ws:
            ws.recv()
            ws.send({'op': 'cancelAllAfter', 'args': 1000})
            frame = ws.recv()
            assert (frame['status'], frame['error']) == (403, 'Access Denied')


# Deltas

def test_no_delta_repeats_what_the_image_holds(testnet, client):
    """A client that joins late starts from an image that holds everything before it, and gets everything after it,
    once.
    """
    client.place(clOrdID='before', **ORDER)
    with private(testnet, '?subscribe=order') as ws:
        assert [row['clOrdID'] for row in ws.partial('order')['data'] if row['leavesQty']] == ['before']
        client.place(clOrdID='after', **ORDER)
        assert [row['clOrdID'] for row in ws.recv()['data']] == ['after']


def test_an_unsubscribed_topic_is_silent(testnet, client):
    with private(testnet, '?subscribe=order,execution') as ws:
        ws.partial('execution')
        ws.send({'op': 'unsubscribe', 'args': ['order']})
        assert ws.recv() == {'success': True, 'unsubscribe': 'order',
                             'request': {'op': 'unsubscribe', 'args': ['order']}}
        client.place(**ORDER)
        assert ws.recv()['table'] == 'execution'


def test_symbols_are_filtered(testnet):
    some = Socket(testnet.ws_url + '?subscribe=trade:ETHUSD,quote:XBTUSD')
    every = Socket(testnet.ws_url + '?subscribe=trade')
    with some, every:
        some.partial('quote')
        every.partial('trade')
        testnet.call(lambda: testnet.exchange.take('XBTUSD', 'Buy', 300))
        testnet.call(lambda: testnet.exchange.take('ETHUSD', 'Buy', 5))
        assert every.change('trade', 'insert', symbol='XBTUSD')['size'] == 300
        assert every.change('trade', 'insert', symbol='ETHUSD')['size'] == 5
        assert some.change('trade', 'insert')['symbol'] == 'ETHUSD'
        assert {row['symbol'] for frame in some.frames for row in frame.get('data', [])
                if frame.get('table') == 'quote'} == {'XBTUSD'}


def test_who_follows_a_table_twice_gets_each_row_once(testnet):
    with Socket(testnet.ws_url + '?subscribe=trade,trade:XBTUSD') as ws:
        ws.partial('trade')
        ws.partial('trade')
        for size in (400, 500):
            testnet.call(lambda size=size: testnet.exchange.take('XBTUSD', 'Buy', size))
        assert [ws.change('trade', 'insert')['size'] for _ in range(2)] == [400, 500]


def apply(rows, keys, frame):
    """Keep rows by key as a client does."""
    if frame['action'] == 'partial':
        rows.clear()
    for row in frame['data']:
        key = tuple(row[name] for name in keys)
        if frame['action'] == 'delete':
            del rows[key]
        elif frame['action'] == 'update':
            rows[key].update(row)
        else:
            rows[key] = dict(row)


def present(row):
    return {name: value for name, value in row.items() if value not in (None, '')}


def test_tables_of_both_worlds_agree(testnet, client):
    """After some trading the tables that grew from images and deltas equal the images of REST, and those of a late
    comer.
    """
    topics = ['order', 'position', 'margin', 'instrument', 'orderBookL2:XBTUSD']
    tables = {topic.partition(':')[0]: {} for topic in topics}
    keys = {}
    with private(testnet, '?subscribe=' + ','.join(topics)) as ws:
        for name in tables:
            image = ws.partial(name)
            keys[name] = image['keys']
            apply(tables[name], keys[name], image)
        for number in range(12):
            client.place(symbol='XBTUSD', side='Buy', orderQty=100 * (number + 1), price=59990 - number)
            client.place(symbol='XBTUSD', side='Sell', orderQty=100 * (number + 1), price=60010 + number)
        working = [row for row in client.get('/order') if row['leavesQty']]
        client.send('PUT', '/order', {'orderID': working[0]['orderID'], 'price': working[0]['price'] + 0.5})
        client.send('DELETE', '/order', {'orderID': working[1]['orderID']})
        client.place(symbol='XBTUSD', side='Buy', orderQty=1000, ordType='Market')
        client.place(symbol='ETHUSD', side='Sell', orderQty=7, ordType='Market')
        end = client.place(clOrdID='the end', **ORDER)
        with private(testnet, '?subscribe=' + ','.join(topics)) as late:
            images = {name: late.partial(name) for name in tables}
            testnet.call(testnet.exchange.drain)
        ws.send('ping')
        for frame in iter(ws.recv, 'pong'):
            if frame.get('table'):
                apply(tables[frame['table']], keys[frame['table']], frame)
        rest = {'order': client.get('/order?count=500'), 'position': client.get('/position'),
                'margin': client.get('/user/margin?currency=all'),
                'orderBookL2': client.get('/orderBook/L2?symbol=XBTUSD&depth=0')}
    volatile = ('timestamp', 'indicativeSettlePrice', 'execID', 'execType')

    def comparable(name, row):
        return {field: value for field, value in present(row).items() if field not in volatile}

    assert any(row['orderID'] == end['orderID'] for row in tables['order'].values())
    for name in tables:
        grown = {key: comparable(name, row) for key, row in tables[name].items()}
        fresh = {tuple(row[field] for field in keys[name]): comparable(name, row) for row in images[name]['data']}
        if name == 'order':
            grown = {key: row for key, row in grown.items() if key in fresh}
        assert grown == fresh, name
        if name in rest:
            asked = {tuple(row[field] for field in keys[name]): comparable(name, row) for row in rest[name]}
            assert {key: asked[key] for key in fresh} == fresh, name


# Clients of every kind

def test_limits_of_connections(testnet):
    with running(rate_limits=True) as limited:
        testnet_limit = limited.server.limits
        limited.call(lambda: setattr(testnet_limit, '_connections', 2))
        with Socket(limited.ws_url) as first:
            assert first.recv()['limit'] == {'remaining': 1}
        with Socket(limited.ws_url):
            pass
        status, said = refused_upgrade(limited.ws_url)
        assert status == 429
        assert said == {'error': 'Rate limit exceeded, retry in 30 minutes.'}


def test_a_client_with_compression_reads_the_same(testnet):
    async def read():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(testnet.ws_url + '?subscribe=instrument', compress=15) as ws:
                assert ws.compress == 15
                frames = [json.loads((await ws.receive(10)).data) for _ in range(3)]
                await ws.send_str('ping')
                frames.append((await ws.receive(10)).data)
                return frames
    frames = asyncio.run(read())

    assert frames[2]['table'] == 'instrument' and len(json.dumps(frames[2])) > 1024
    assert frames[3] == 'pong' or frames[3].startswith('{')


def test_a_plain_request_is_told_to_upgrade(testnet):
    answer = Client(testnet).session.get(testnet.ws_url.replace('ws://', 'http://'))

    assert answer.status_code == 400 and 'WebSocket' in answer.json()['error']


def test_who_does_not_read_is_dropped_and_nobody_else_notices(testnet, monkeypatch, caplog):
    monkeypatch.setattr(realtime, 'UNREAD_LIMIT', 200000)
    stalled = websocket.create_connection(testnet.ws_url + '?subscribe=orderBookL2,trade,quote', http_no_proxy=['*'],
                                          sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    padding = {'table': 'trade', 'action': 'insert', 'data': [{'symbol': 'XBTUSD', 'text': 'x' * 10000}]}
    with Socket(testnet.ws_url + '?subscribe=trade:XBTUSD') as healthy:
        healthy.partial('trade')
        sessions = len(testnet.server.hub.sessions)
        got = []

        def read():
            while len(got) < 1000:
                frame = healthy.recv()
                if frame.get('table') == 'trade' and frame['data'][0].get('text'):
                    got.append(frame['data'][0]['n'])
        reader = threading.Thread(target=read, daemon=True)
        reader.start()

        def burst(first):
            for number in range(first, first + 5):
                row = dict(padding['data'][0], n=number)
                testnet.server.hub._send('trade', 'insert', [row], None, 'XBTUSD')
            testnet.server.hub.send_queued()

        for first in range(0, 1000, 5):
            testnet.call(lambda first=first: burst(first))
            # The healthy reader shares the interpreter with the exchange, so it is waited for.
            while first - len(got) > 10 and reader.is_alive():
                time.sleep(0.0005)
        reader.join(20)
        assert got == list(range(1000))
        assert len(testnet.server.hub.sessions) == sessions - 1
    stalled.close()
    assert 'Dropped a WebSocket client' in caplog.text


def test_sockets_can_be_cut(testnet):
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        assert testnet.drop_sockets() >= 1
        with pytest.raises((websocket.WebSocketException, OSError)):
            ws.recv()
