"""Every injected fault as its victim sees it, over real sockets; the board; the profiles."""
import collections
import email.utils
import inspect
import json
import logging
import os
import random
import re
import socket
import threading
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import requests  # noqa: E402
import websocket  # noqa: E402
from engine_world import check_laws  # noqa: E402
from local_client import Client, Socket, auth_headers, is_about  # noqa: E402

from market_maker.server import faults  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.simulator import laws  # noqa: E402
from market_maker.simulator.timestamps import seconds_of  # noqa: E402
from market_maker.utils.errors import LocalExchangeError, SettingsError  # noqa: E402

LIMIT = {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 59000}
OPEN = '/order?filter=%7B%22open%22%3A+true%7D'
GONE = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)


@pytest.fixture(scope='module')
def shared():
    people = [{'key': 'alice', 'secret': 'hers'}, {'key': 'bob', 'secret': 'his'}]
    with running(bid=60000, ask=60000.1, accounts=people) as testnet:
        yield testnet


@pytest.fixture
def testnet(shared):
    yield shared
    shared.faults.clear()
    shared.drop_sockets()
    for key, secret in (('alice', 'hers'), ('bob', 'his')):
        Client(shared, key, secret).send('DELETE', '/order/all', {})


@pytest.fixture
def client(testnet):
    return Client(testnet)


def opened(client):
    """Return the open orders."""
    return client.get(OPEN)


def wait_for(what, seconds=20.0):
    """Return the first true value of what()."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError('nothing came of it within {} s'.format(seconds))


def private(testnet, tables):
    ws = Socket(testnet.ws_url + '?subscribe=' + ','.join(tables), auth_headers(testnet.key, testnet.secret))
    for table in tables:
        ws.partial(table.partition(':')[0])
    return ws


# Requests

JSON_REFUSALS = [
    ('internal-error', 500, 'Internal Server Error'),
    ('overloaded', 503, 'The system is currently overloaded. Please try again later.'),
    ('unavailable', 503, 'Service unavailable'), ('unknown-error', 418, 'The exchange is a teapot'),
    ('not-found', 404, 'Not Found'), ('unauthorized', 401, 'Invalid API Key.'), ('forbidden', 403, 'Access Denied'),
    ('duplicate-clordid', 400, 'Duplicate clOrdID'), ('outage', 503, 'Service unavailable'),
]


@pytest.mark.parametrize('name,status,message', JSON_REFUSALS)
def test_an_error_has_the_shape_of_the_exchange_and_nothing_is_carried_out(testnet, client, name, status, message):
    with testnet.faults(name) as fault:
        answer = client.send('POST', '/order', LIMIT)

    assert (answer.status_code, answer.json()['error']['message'], fault.hits) == (status, message, 1)
    assert opened(client) == []


@pytest.mark.parametrize('name,status', [
    ('bad-gateway', 502), ('unavailable-html', 503), ('gateway-timeout', 504), ('ban', 403),
])
def test_an_error_of_the_gateway_is_a_page(testnet, client, name, status):
    with testnet.faults(name):
        answer = client.send('POST', '/order', LIMIT)

    assert (answer.status_code, answer.headers['Content-Type'].partition(';')[0]) == (status, 'text/html')
    assert answer.text.startswith('<html>') and 'x-ratelimit-limit' not in answer.headers
    assert opened(client) == []


@pytest.mark.parametrize('name', ['internal-error', 'unavailable', 'duplicate-clordid', 'bad-gateway', 'not-json',
                                  'rotating-errors'])
def test_a_request_may_be_carried_out_and_answered_with_an_error(testnet, client, name):
    with testnet.faults(name, executed=True):
        answer = client.send('POST', '/order', dict(LIMIT, clOrdID='done'))

    assert '"ordStatus"' not in answer.text
    assert [order['clOrdID'] for order in opened(client)] == ['done']


def test_errors_rotate(testnet, client):
    with testnet.faults('rotating-errors'):
        answers = [client.send('GET', '/position') for _ in range(7)]

    assert [answer.status_code for answer in answers] == [500, 502, 503, 503, 503, 504, 500]
    assert ['html' in answer.text for answer in answers] == [False, True, False, False, True, True, False]


def test_cancels_pass_when_the_exchange_is_overloaded(testnet, client):
    row = client.place(**LIMIT)

    with testnet.faults('overloaded'):
        assert client.send('PUT', '/order', {'orderID': row['orderID'], 'orderQty': 200}).status_code == 503
        assert client.send('POST', '/position/leverage', {'symbol': 'XBTUSD', 'leverage': 5}).status_code == 503
        assert client.send('GET', '/position').status_code == 200
        assert client.send('DELETE', '/order', {'orderID': row['orderID']}).status_code == 200


def test_too_early_is_said_by_one_header_alone(testnet, client):
    with testnet.faults('rate-limited', retry_after=7):
        answer = client.send('POST', '/order', LIMIT)
    with testnet.faults('rate-limited', headers=True):
        other = client.send('POST', '/order', LIMIT)

    assert (answer.status_code, answer.headers['Retry-After'], 'x-ratelimit-remaining' in answer.headers) == (
        429, '7', False)
    assert answer.json()['error'] == {'message': 'Rate limit exceeded, retry in 7 seconds.', 'name': 'RateLimitError'}
    assert other.headers['x-ratelimit-remaining'] == '0'


@pytest.mark.parametrize('name,carried_out', [
    ('lost-request', False), ('lost-reply', True), ('reset-before', False), ('reset-after', True),
])
def test_an_answer_gets_lost(testnet, client, name, carried_out):
    with testnet.faults(name), pytest.raises(GONE):
        client.send('POST', '/order', LIMIT)

    assert len(opened(client)) == carried_out


def test_a_truncated_answer_ends_in_the_middle(testnet, client):
    """New versions of requests notice it by themselves, old ones hand on what has come."""
    with testnet.faults('truncated'):
        try:
            text = client.send('POST', '/order', LIMIT).text
        except GONE:
            text = ''

    with pytest.raises(ValueError):
        json.loads(text)
    assert len(opened(client)) == 1


def test_a_stalled_request_is_never_answered(testnet, client):
    with testnet.faults('stall'), pytest.raises(requests.exceptions.ReadTimeout):
        client.session.post(testnet.url + 'order', timeout=0.1)


@pytest.mark.parametrize('name', ['slow-reply', 'slow-request'])
def test_an_answer_comes_late(testnet, client, name):
    with testnet.faults(name, delay=0.2):
        began = time.monotonic()
        row = client.place(**LIMIT)

    assert time.monotonic() - began >= 0.2
    assert [order['orderID'] for order in opened(client)] == [row['orderID']]


def test_an_order_appears_late(testnet, client):
    sent = time.time()
    with testnet.faults('late-create', delay=0.3), pytest.raises(GONE):
        client.send('POST', '/order', dict(LIMIT, clOrdID='late'))
    order, = wait_for(lambda: opened(client))

    assert order['clOrdID'] == 'late' and seconds(order['transactTime']) - sent > 0.29


def test_a_cut_text_may_come_as_a_whole_body(testnet, client):
    with testnet.faults('truncated', complete=True):
        answer = client.send('POST', '/order', LIMIT)

    assert answer.status_code == 200
    with pytest.raises(ValueError):
        answer.json()


def test_amends_are_refused_for_the_state_of_the_order(testnet, client):
    row = client.place(**LIMIT)
    with testnet.faults('invalid-ordstatus', message='Invalid ordStatus: Filled'):
        answer = client.send('PUT', '/order', {'orderID': row['orderID'], 'orderQty': 200})

    assert (answer.status_code, answer.json()['error']['message']) == (400, 'Invalid ordStatus: Filled')
    assert opened(client)[0]['orderQty'] == 100


def test_some_items_of_a_cancel_fail(testnet, client):
    ids = [client.place(**LIMIT)['orderID'] for _ in range(4)]
    with testnet.faults('cancel-errors', share=0.5):
        rows = client._good(client.send('DELETE', '/order', {'orderID': ids}))

    failed = [row['orderID'] for row in rows if 'error' in row]
    assert [row['orderID'] for row in rows] == ids and len(failed) == 2
    assert sorted(order['orderID'] for order in opened(client)) == sorted(failed)


@pytest.mark.parametrize('executed', [False, True])
def test_one_unknown_order_makes_a_cancel_fail_as_a_whole(testnet, client, executed):
    row = client.place(**LIMIT)
    with testnet.faults('cancel-not-found', executed=executed):
        answer = client.send('DELETE', '/order', {'orderID': [row['orderID'], 'nobody-knows-it']})

    assert (answer.status_code, answer.json()['error']['message']) == (404, 'Not Found')
    assert len(opened(client)) == (not executed)


@pytest.mark.parametrize('name,state,cum', [('canceled-at-once', 'Canceled', 0), ('filled-at-once', 'Filled', 100)])
def test_an_order_is_over_when_it_is_answered(testnet, client, name, state, cum):
    with testnet.faults(name):
        row = client.place(**LIMIT)

    assert (row['ordStatus'], row['cumQty'], row['leavesQty']) == (state, cum, 0)
    assert opened(client) == []


# Whom it strikes, and how often

def test_a_fault_strikes_one_account_alone(testnet, client):
    with testnet.faults('internal-error', account='bob'):
        assert client.send('GET', '/position').status_code == 200
        assert Client(testnet, 'bob', 'his').send('GET', '/position').status_code == 500


def test_no_key_reaches_the_log(testnet, caplog):
    caplog.set_level(logging.INFO)
    with testnet.faults('lost-reply', account='a-key-that-is-nobodys-business'):
        told = testnet.faults.rows()

    assert told[0]['options']['account'] == 'a-ke...'
    assert 'lost-reply' in caplog.text and 'nobodys-business' not in caplog.text


def test_a_fault_strikes_the_verbs_and_routes_that_it_is_told(testnet, client):
    with testnet.faults('internal-error', verbs='GET+PUT', routes='/position+/user/*'):
        seen = [client.send(verb, path).status_code for verb, path in (
            ('GET', '/position'), ('GET', '/user/margin'), ('GET', '/order'), ('POST', '/position/isolate'))]

    assert seen == [500, 500, 200, 400]


def test_a_fault_strikes_so_many_times_after_so_many_were_let_through(testnet, client):
    with testnet.faults('internal-error', skip=2, count=3) as fault:
        seen = [client.send('GET', '/position').status_code for _ in range(7)]

    assert seen == [200, 200, 500, 500, 500, 200, 200]
    assert fault.hits == 3


def test_the_same_seed_strikes_the_same_requests():
    def struck():
        with running(bid=60000, ask=60000.1, seed=5) as testnet:
            testnet.faults.on('internal-error', rate=0.5)
            return [Client(testnet).send('GET', '/position').status_code for _ in range(20)]

    first = struck()

    assert first == struck()
    assert {200, 500} == set(first)


def test_a_fault_ends_by_itself(testnet, client):
    testnet.faults.on('internal-error', seconds=0.2)

    assert wait_for(lambda: client.send('GET', '/position').status_code == 200)
    assert testnet.faults.rows() == []


# WebSockets

def test_sockets_are_dropped(testnet):
    with private(testnet, ['order']) as ws:
        with testnet.faults('dropped-sockets') as fault, pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.until(lambda frame: False)

    assert fault.hits == 1


def test_sockets_are_closed_in_good_order(testnet):
    with private(testnet, ['order']) as ws:
        with testnet.faults('dropped-sockets', close=True):
            opcode, frame = ws.socket.recv_data_frame()[0], None
            while opcode != websocket.ABNF.OPCODE_CLOSE:
                opcode, frame = ws.socket.recv_data_frame()

    assert frame is None or frame.data == b'\x03\xe9'


def test_a_silent_socket_answers_nothing_and_a_new_one_does(testnet, client):
    with private(testnet, ['order']) as ws:
        testnet.faults.on('silent-sockets')
        client.place(**LIMIT)
        ws.socket.ping()
        ws.send('ping')
        ws.socket.settimeout(0.2)
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()
    with private(testnet, ['order']) as ws:
        ws.send('ping')
        assert ws.until(lambda frame: frame == 'pong')


def test_a_pong_takes_its_turn(testnet):
    with Socket(testnet.ws_url) as ws:
        ws.socket.ping('hello')
        frames = [ws.socket.recv_data_frame(control_frame=True) for _ in range(2)]

    assert [(frame.opcode, frame.data) for _, frame in frames][1] == (websocket.ABNF.OPCODE_PONG, b'hello')


def test_one_table_is_silent(testnet, client):
    with private(testnet, ['order', 'execution']) as ws:
        with testnet.faults('silent-table', tables='order'):
            first = client.place(**LIMIT)
            ws.change('execution', 'insert', orderID=first['orderID'])
        second = client.place(**LIMIT)
        ws.change('order', 'insert')

    assert [row['orderID'] for frame in ws.frames if is_about(frame, 'order') and frame['action'] == 'insert'
            for row in frame['data']] == [second['orderID']]


def test_what_a_silent_table_kept_comes_at_the_end(testnet, client):
    with private(testnet, ['order', 'execution']) as ws:
        with testnet.faults('silent-table', tables='order', keep=True):
            first = client.place(**LIMIT)
            ws.change('execution', 'insert', orderID=first['orderID'])
            assert not any(is_about(frame, 'order') and frame['action'] == 'insert' for frame in ws.frames)

        assert ws.change('order', 'insert')['orderID'] == first['orderID']


def test_one_table_is_late_and_in_order(testnet, client):
    with private(testnet, ['order', 'execution']) as ws:
        testnet.faults.on('lag', tables='order', delay=0.3)
        began = time.monotonic()
        ids = [client.place(**LIMIT)['orderID'] for _ in range(3)]
        came = [ws.change('order', 'insert')['orderID'] for _ in range(3)]
        late = time.monotonic() - began
        on_time = [frame for frame in ws.frames if is_about(frame, 'execution')]

    assert (came, len(on_time) > 1) == (ids, True) and late >= 0.3


def test_everything_is_late_pongs_too(testnet, client):
    with private(testnet, ['order']) as ws:
        with testnet.faults('lag', delay=0.3):
            began = time.monotonic()
            ws.send('ping')
            ws.until(lambda frame: frame == 'pong')
            late = time.monotonic() - began
        ws.send('ping')
        ws.until(lambda frame: frame == 'pong')

    assert late >= 0.3


def test_a_lag_that_is_over_leaves_nothing_behind(testnet):
    """However often a connection has been late, its bytes take the straight way when it is not."""
    with private(testnet, ['order']) as ws:
        session = testnet.call(lambda: list(testnet.server.hub.sessions)[-1])
        straight = session.transport
        with testnet.faults('lag', delay=0.01):
            with testnet.faults('lag', delay=0.01):
                assert session.transport is not straight
                testnet.faults.off('lag')
            assert session.transport is straight
        for _ in range(3):
            testnet.faults.on('lag', delay=0.01, seconds=0.02)
        ws.send('ping')
        assert ws.until(lambda frame: frame == 'pong')
        wait_for(lambda: not testnet.faults.rows())

        assert session.transport is straight


def actions(ws, table):
    return [frame['action'] for frame in ws.frames if is_about(frame, table)]


def subscribe(testnet):
    return Socket(testnet.ws_url + '?subscribe=order', auth_headers(testnet.key, testnet.secret))


def test_an_image_is_missing(testnet, client):
    testnet.faults.on('missing-partial', tables='order')
    with subscribe(testnet) as ws:
        ws.until(lambda frame: 'success' in frame)
        client.place(**LIMIT)
        ws.change('order', 'insert')

        assert actions(ws, 'order') == ['insert']


def test_an_image_comes_twice(testnet, client):
    client.place(**LIMIT)
    testnet.faults.on('doubled-partial', tables='order', delay=0.05)
    with subscribe(testnet) as ws:
        images = [ws.partial('order')['data'] for _ in range(2)]

    assert images[0] == images[1] and images[0][-1]['ordStatus'] == 'New'


def test_an_image_comes_late_and_is_of_its_time(testnet, client):
    testnet.faults.on('late-partial', tables='order', delay=1)
    with subscribe(testnet) as ws:
        ws.until(lambda frame: 'success' in frame)
        row = client.place(**LIMIT)
        image = ws.partial('order')

    assert [one['orderID'] for one in image['data'] if one['ordStatus'] == 'New'] == [row['orderID']]
    assert actions(ws, 'order') == ['partial']


def test_changes_come_before_the_image(testnet, client):
    testnet.faults.on('early-deltas', tables='order', delay=1)
    with subscribe(testnet) as ws:
        ws.until(lambda frame: 'success' in frame)
        client.place(**LIMIT)
        ws.partial('order')

    assert actions(ws, 'order') == ['insert', 'partial']


def test_inserts_come_twice(testnet, client):
    with private(testnet, ['execution']) as ws:
        testnet.faults.on('duplicate-inserts')
        client.place(**LIMIT)
        rows = [ws.change('execution', 'insert')['execID'] for _ in range(2)]

    assert rows[0] == rows[1]


def test_tables_overtake_each_other_and_keep_their_own_order(testnet, client):
    with private(testnet, ['order', 'execution', 'margin', 'position']) as ws:
        fault = testnet.faults.on('reordered', delay=0.2)
        ids = [client.place(**LIMIT)['orderID'] for _ in range(2)]
        came = [ws.change('order', 'insert')['orderID'] for _ in range(2)]

    assert came == ids and fault.hits >= 1


@pytest.mark.parametrize('options,status,kind', [
    ({}, 503, 'application/json'), ({'status': '429'}, 429, 'application/json'), ({'status': '502'}, 502, 'text/html'),
    ({'status': 502}, 502, 'text/html'),
])
def test_an_upgrade_is_refused(testnet, options, status, kind):
    with testnet.faults('refused-upgrade', **options), pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Socket(testnet.ws_url)

    assert caught.value.status_code == status
    assert caught.value.resp_headers['content-type'].partition(';')[0] == kind


def test_bid_and_ask_change_places(testnet):
    with private(testnet, ['quote', 'instrument']) as ws:
        with testnet.faults('crossed-book'):
            crossed = ws.change('quote', 'insert')
            row = ws.change('instrument', 'update', bidPrice=60000.1)
        straight = ws.change('quote', 'insert')

    assert (crossed['bidPrice'], crossed['askPrice'], row['askPrice']) == (60000.1, 60000, 60000)
    assert (straight['bidPrice'], straight['askPrice']) == (60000, 60000.1)


# The exchange itself

def test_a_market_closes_and_opens(testnet, client):
    with private(testnet, ['instrument:XBTUSD']) as ws:
        with testnet.faults('market-closed'):
            ws.change('instrument', 'update', state='Closed')
            answer = client.send('POST', '/order', LIMIT)
        ws.change('instrument', 'update', state='Open')

    assert (answer.status_code, answer.json()['error']['message']) == (400, 'Market is not open')
    client.place(**LIMIT)


def test_the_market_leaves_and_comes_back(testnet, client):
    client.place(**LIMIT)
    with testnet.faults('empty-book'):
        book = client.get('/orderBook/L2?symbol=XBTUSD&depth=0')
    wait_for(lambda: len(client.get('/orderBook/L2?symbol=XBTUSD&depth=0')) == 3)

    assert [(row['side'], row['price']) for row in book] == [('Buy', 59000)]


def test_the_tick_changes_while_the_contract_trades(testnet, client):
    """Orders off the new tick are refused, resting ones stay, the market moves on to it, and the end brings it back."""
    resting = client.place(**dict(LIMIT, price=58999.9))
    with private(testnet, ['instrument:XBTUSD']) as ws:
        with testnet.faults('tick-size', factor=5):
            ws.change('instrument', 'update', tickSize=0.5)
            refused = client.send('POST', '/order', dict(LIMIT, price=58999.9))
            client.place(**dict(LIMIT, price=58999.5))
            wait_for(lambda: 60000.5 in [row['price'] for row in client.get('/orderBook/L2?symbol=XBTUSD&depth=0')])
            book = client.get('/orderBook/L2?symbol=XBTUSD&depth=0')
        ws.change('instrument', 'update', tickSize=0.1)
    wait_for(lambda: 60000.1 in [row['price'] for row in client.get('/orderBook/L2?symbol=XBTUSD&depth=0')])

    assert (refused.status_code, refused.json()['error']['message']) == (400, 'Invalid price tickSize')
    assert [row['price'] for row in book if row['price'] % 0.5] == [58999.9]
    assert resting['orderID'] in [order['orderID'] for order in opened(client)]
    client.place(**dict(LIMIT, price=58999.9))


def test_an_account_trades_by_hand(testnet, client):
    with private(testnet, ['position', 'execution']) as ws:
        with testnet.faults('manual-trade', account='alice', quantity=300):
            row = ws.change('execution', 'insert', execType='Trade')
        before = client.get('/position')[0]['currentQty']
        testnet.faults.on('manual-trade', account='alice', quantity=300, side='Sell')
        wait_for(lambda: client.get('/position')[0]['currentQty'] == before - 300)

    assert row['clOrdID'] == '' and not Client(testnet, 'bob', 'his').get('/position')


def test_by_hand_the_first_contract_is_traded():
    """Where there is no XBTUSD, too."""
    with running('still', symbols=['ETHUSD'], accounts=[{'key': 'alice', 'secret': 's'}]) as other:
        account = other.exchange.account_of('alice')
        with other.faults('manual-trade', quantity=3):
            assert other.call(lambda: account.position(other.exchange.instruments['ETHUSD']).quantity) == 3


def test_the_clock_is_off(testnet, client):
    with testnet.faults('clock-skew', offset=-40):
        answer = client.send('GET', '/position')
        placed = client.place(**LIMIT)
    with testnet.faults('clock-skew', offset=90):
        expired = client.send('GET', '/position')
        with pytest.raises(websocket.WebSocketBadStatusException):
            private(testnet, ['order'])
        with Socket(testnet.ws_url) as ws:
            ahead = ws.recv()['timestamp']
    now = time.time()

    assert -60 < seconds(answer.headers['Date']) - now < -30
    assert -60 < seconds(placed['timestamp']) - now < -30
    assert 70 < seconds(ahead) - now < 100
    assert (expired.status_code, 'has expired' in expired.text) == (400, True)
    assert abs(seconds(client.send('GET', '/position').headers['Date']) - time.time()) < 20


def seconds(text):
    """Return the Unix time of an HTTP date or of an ISO one."""
    return seconds_of(text) or email.utils.parsedate_to_datetime(text).timestamp()


@pytest.mark.parametrize('books,left,same', [('kept', 1, True), ('canceled', 0, True), ('fresh', 0, False)])
def test_the_exchange_restarts_on_its_port(books, left, same):
    with running(bid=60000, ask=60000.1) as testnet:
        client = Client(testnet)
        client.place(**LIMIT)
        client.place(symbol='XBTUSD', orderQty=100, ordType='Market')
        who = testnet.server.instance
        with private(testnet, ['order']) as ws:
            testnet.faults.on('restart', down=0.1, books=books)
            with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionResetError)):
                ws.until(lambda frame: False)

        def back():
            try:
                return [opened(client)]
            except GONE:
                return None
        rows = wait_for(back)[0]

        assert len(rows) == left
        assert (testnet.server.instance == who) == same
        client.place(**LIMIT)


def test_a_restart_that_finds_its_port_taken_ends_the_exchange():
    with socket.socket() as stranger:
        with pytest.raises(LocalExchangeError) as caught:
            with running(bid=60000, ask=60000.1) as testnet:
                testnet.faults.on('restart', down=0.5)

                def take():
                    try:
                        stranger.bind(('127.0.0.1', testnet.port))
                        return True
                    except OSError:
                        return False   # not closed yet
                wait_for(take)
                stranger.listen(1)
                wait_for(lambda: testnet.server._ended.done())
    assert 'is taken by another program' in str(caught.value)


def test_a_contract_settles_for_good():
    with running(bid=60000, ask=60000.1) as testnet:
        testnet.faults.on('settled')
        testnet.faults.clear()
        answer = Client(testnet).send('POST', '/order', LIMIT)

    assert (answer.status_code, answer.json()['error']['message']) == (400, 'Instrument expired')


# The board

@pytest.mark.parametrize('word,message', [
    ('lost-replay', "did you mean lost-reply?"), ('lost-reply:rat=1', 'did you mean rate?'),
    ('lost-reply:rate=2', "rate is '2'; take a number from 0 to 1"), ('lost-reply:rate', 'is no option=value'),
    ('lost-reply:verbs=FETCH', 'one or several of GET, POST, PUT, DELETE'), ('overload:rate=1', 'no option but seed'),
    ('silent-table', 'silent-table needs tables'), ('silent-table:tables=qoute', 'one or several of'),
    ('stall:count=0.5', 'a whole number'), ('lost-reply:executed=perhaps', 'true or false'),
    ('empty-book:side=left', 'one of both, Buy, Sell'),
])
def test_a_word_that_makes_no_sense_is_refused(word, message):
    with pytest.raises(SettingsError) as caught:
        faults.parse(word)

    assert message in str(caught.value)


def test_a_contract_that_does_not_trade_is_refused(testnet):
    with pytest.raises(SettingsError) as caught:
        testnet.faults.on('market-closed', symbol='ETHUSD')

    assert 'ETHUSD does not trade here; there are XBTUSD' in str(caught.value)
    assert testnet.faults.rows() == []


def test_every_fault_is_in_the_table_of_the_docstring():
    names = [line.split()[0] for line in inspect.getdoc(faults).splitlines() if line[:1].isalpha()
             and line.split()[0] in faults.CATALOGUE]

    assert names == list(faults.CATALOGUE)


def test_the_docs_have_the_same_table_in_the_same_order():
    """docs/faults.md lists the faults and the profiles, with every option that is theirs alone."""
    page = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'docs', 'faults.md')
    with open(page, encoding='utf-8') as file:
        lines = [line for line in file if line.startswith('| `')]
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    listed = [row for row in cells if row[0].strip('`') in faults.CATALOGUE]

    assert [row[0].strip('`') for row in listed] == list(faults.CATALOGUE)
    assert [row[0].strip('`') for row in cells if row[0].strip('`') in faults.PROFILES] == list(faults.PROFILES)
    for row in listed:
        kind, presets = faults.CATALOGUE[row[0].strip('`')]
        own = set(kind.OPTIONS) - {'verbs', 'routes', 'executed'} - set(presets)
        assert own <= set(re.findall(r'`(\w+)`', row[2])), row


def test_every_turn_of_every_profile_can_be_switched_on(testnet):
    for profile in faults.PROFILES.values():
        for name, options in profile.steady + profile.turns:
            faults.make(name, testnet.server, options, None)


@pytest.mark.parametrize('name', list(faults.PROFILES))
def test_a_profile_plays_until_it_is_cleared(testnet, client, name, monkeypatch):
    quick = faults.PROFILES[name]._replace(calm=(0.0, 0.0), length=(0.02, 0.02))
    monkeypatch.setitem(faults.PROFILES, name, quick)
    testnet.faults.play(name, seed=3)
    drawn = set()

    def several():
        drawn.update(row['fault'] for row in testnet.faults.rows())
        return len(drawn) >= 3

    wait_for(several)
    testnet.faults.clear()
    wait_for(lambda: testnet.server._restart is None)

    assert client.send('GET', '/position').status_code == 200
    assert client.get('/instrument?symbol=XBTUSD')[0]['state'] == 'Open'


def suffer(profile, seed, seconds):
    """Let four clients meet a profile in fast motion; return what they met and the exchange at the end."""
    met = collections.Counter()
    with running('lively', symbols=('XBTUSD', 'ETHUSD'), seed=seed) as testnet:
        testnet.faults.play(profile, seed=seed)
        end = time.monotonic() + seconds

        def order(number):
            client, rng, ids = Client(testnet, timeout=1), random.Random(number), []
            sides, prices = ('Buy', 'Sell'), (70000, 78000.5, 78100, 85000)
            while time.monotonic() < end:
                act = rng.random()
                try:
                    if act < 0.4 or not ids:
                        answer = client.send('POST', '/order', {
                            'symbol': 'XBTUSD', 'orderQty': 100 * rng.randint(1, 9), 'side': rng.choice(sides),
                            'price': rng.choice(prices)})
                        ids = (ids + [answer.json()['orderID']])[-20:] if answer.status_code == 200 else ids
                    elif act < 0.6:
                        answer = client.send('PUT', '/order', {'orderID': rng.choice(ids), 'orderQty': 500})
                    else:
                        answer = client.send('DELETE', '/order', {'orderID': rng.sample(ids, min(3, len(ids)))})
                    met[answer.status_code] += 1
                except (requests.exceptions.RequestException, ValueError) as error:
                    met[type(error).__name__] += 1

        def listen():
            url = testnet.ws_url + '?subscribe=quote,orderBookL2,instrument,order,execution,position,margin'
            while time.monotonic() < end:
                try:
                    with Socket(url, auth_headers(testnet.key, testnet.secret)) as ws:
                        ws.socket.settimeout(0.5)
                        while time.monotonic() < end:
                            ws.recv()
                            ws.frames.clear()
                            met['frame'] += 1
                except (websocket.WebSocketException, OSError) as error:
                    met[type(error).__name__] += 1

        threads = [threading.Thread(target=act, args=args) for act, args in (
            (order, (1,)), (order, (2,)), (listen, ()), (listen, ()))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        testnet.faults.clear()
        wait_for(lambda: testnet.server._restart is None)
        testnet.call(lambda: check_laws(testnet.exchange))
        money = testnet.call(lambda: laws.money(testnet.exchange))
        return met, money, testnet.faults.rows()


@pytest.mark.parametrize('profile,seconds', [('everything', 3)] + [
    pytest.param(name, 60, marks=pytest.mark.soak) for name in faults.PROFILES])
def test_clients_in_trouble_break_nothing_of_the_exchange(profile, seconds, monkeypatch, caplog):
    """Whatever happens, nothing goes wrong inside: no error in the log, books and money in balance, nothing left on."""
    quick = faults.PROFILES[profile]._replace(calm=(0.0, 0.1), length=(0.1, 0.4))
    monkeypatch.setitem(faults.PROFILES, profile, quick)

    met, money, left = suffer(profile, 7, seconds)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert (money, left) == ({'XBt': 0, 'USDt': 0}, [])
    assert met[200] > 10 and met['frame'] > 10 and len(met) > 3, met


def test_an_exchange_may_begin_in_trouble():
    with running(bid=60000, ask=60000.1, faults=['internal-error:verbs=GET', 'overload:seed=1']) as testnet:
        assert Client(testnet).send('GET', '/position').status_code == 500
        assert 'overloaded' in [row['fault'] for row in wait_for(testnet.faults.rows)]
