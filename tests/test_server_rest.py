"""REST over real sockets: signatures, bodies, limits, and errors that always have BitMEX's shape."""
import csv
import hashlib
import hmac
import http.client
import io
import json
import logging
import socket
import struct
import time
from urllib.parse import quote

import pytest
import requests

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from local_client import Client  # noqa: E402

from market_maker.auth.signing import generate_signature  # noqa: E402
from market_maker.server.local_exchange import TICK, running  # noqa: E402

LIMIT = {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 59000.0}
ORDER = {'symbol': 'XBTUSD', 'orderQty': 100, 'price': 59000}


@pytest.fixture(scope='module')
def testnet():
    with running(bid=60000, ask=60000.1) as testnet:
        yield testnet


@pytest.fixture
def client(testnet):
    client = Client(testnet)
    yield client
    client.send('DELETE', '/order/all', {})


def error_of(answer):
    """Return the message of an error, which must have BitMEX's shape."""
    body = answer.json()
    assert set(body) == {'error'} and set(body['error']) <= {'message', 'name', 'details'}, body
    return body['error']['message']


def test_a_signed_order_rests_and_is_seen(client):
    row = client.place(clOrdID='first', **LIMIT)

    assert (row['ordStatus'], row['price'], row['orderQty'], row['clOrdID']) == ('New', 59000, 100, 'first')
    assert [order['orderID'] for order in client.get('/order?filter=%7B%22open%22%3A+true%7D')] == [row['orderID']]


@pytest.mark.parametrize('path', [
    '/api/v1/order?filter=%7B%22symbol%22%3A+%22XBTUSD%22%7D', '/api/v1/order?filter={"symbol":"XBTUSD"}',
    '/api/v1/order?count=5&', '/api/v1/order?columns=%5b%22price%22%5D', '/api/v1/order?&reverse=true&&',
    '/api/v1/order?', '/api/v1/order?filter=%7b%7D',
])
def test_the_path_is_signed_as_it_is_sent(testnet, path):
    """Byte for byte: no client's way to encode a query is better than another's."""
    connection = http.client.HTTPConnection('127.0.0.1', testnet.port, timeout=10)
    connection._validate_path = lambda url: None
    expires = later()
    signature = hmac.new(testnet.secret.encode(), ('GET' + path + expires).encode(), hashlib.sha256).hexdigest()
    connection.request('GET', path, headers={'api-key': testnet.key, 'api-expires': expires,
                                             'api-signature': signature})
    answer = connection.getresponse()
    said = json.loads(answer.read().decode())
    connection.close()

    assert (answer.status, type(said)) == (200, list), said


@pytest.mark.parametrize('form', [
    'symbol=XBTUSD&orderQty=100&price=59000', 'symbol=XBTUSD&orderQty=100&price=59000.0&text=a%20b+c',
    'symbol=xbtusd&orderQty=-100&price=61000',
])
def test_a_form_is_as_good_as_json(client, form):
    row = client._good(client.send('POST', '/order', form=form))

    assert (row['symbol'], row['orderQty'], row['ordStatus']) == ('XBTUSD', 100, 'New')


def test_numbers_may_come_as_text(client):
    row = client.place(symbol='XBTUSD', orderQty='100', price='59000.5')

    assert (row['orderQty'], row['price']) == (100, 59000.5)


def test_delete_takes_a_body_a_form_or_a_query(client):
    rows = [client.place(**LIMIT) for _ in range(6)]
    ids = [row['orderID'] for row in rows]

    answers = [
        client.send('DELETE', '/order', {'orderID': ids[0]}),
        client.send('DELETE', '/order', {'orderID': ids[1:3]}),
        client.send('DELETE', '/order', form='orderID=["{}"]'.format(ids[3])),
        client.send('DELETE', '/order?orderID=' + ids[4]),
        client.send('DELETE', '/order?orderID=%5B%22' + ids[5] + '%22%5D'),
    ]

    canceled = [row for answer in answers for row in client._good(answer)]
    assert [row['orderID'] for row in canceled] == ids
    assert {row['ordStatus'] for row in canceled} == {'Canceled'}


def test_a_query_may_name_hundreds_of_orders(client):
    ids = [client.place(**LIMIT)['orderID'] for _ in range(3)]
    others = ['00000000-0000-4000-8000-{:012d}'.format(number) for number in range(400)]

    rows = client._good(client.send('DELETE', '/order?orderID=' + quote(json.dumps(others + ids))))

    assert [row.get('error') for row in rows] == ['Unable to cancel order'] * 400 + [None] * 3


def test_header_names_in_any_case(client, testnet):
    expires = str(int(time.time()) + 60)
    signature = generate_signature(testnet.secret, 'GET', '/api/v1/position', expires, '')

    answer = client.send('GET', '/position', signed=False, headers={
        'API-Key': testnet.key, 'Api-Expires': expires, 'API-SIGNATURE': signature.upper()})

    assert answer.status_code == 200


@pytest.mark.parametrize('verb, path', [
    ('GET', '/nothing'), ('GET', '/orders'), ('GET', '/user/nobody'), ('GET', '/local-exchange'), ('PUT', '/trade'),
    ('GET', '/order/bulk'), ('POST', '/order/bulk'), ('PUT', '/order/bulk'), ('DELETE', '/order/bulk'),
    ('POST', '/order/cancelAll'), ('GET', '/orderBook'),
])
def test_an_unknown_route_is_a_404(client, verb, path):
    """The bulk routes too, which BitMEX took away in 2021."""
    answer = client.send(verb, path, {} if verb != 'GET' else None)

    assert (answer.status_code, error_of(answer)) == (404, 'Not Found')
    assert answer.json()['error']['name'] == 'HTTPError'


def test_an_unknown_address_is_a_404_in_the_same_shape(testnet):
    client = Client(testnet)
    answer = client.session.get('http://127.0.0.1:{}/favicon.ico'.format(testnet.port))

    assert (answer.status_code, error_of(answer)) == (404, 'Not Found')


def test_csv(client):
    client.place(**LIMIT)
    answer = client.send('GET', '/order?_format=csv&count=1')

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers['Content-Type'].startswith('text/csv')
    assert rows[0]['symbol'] == 'XBTUSD' and rows[0]['workingIndicator'] in ('true', 'false')
    assert error_of(client.send('GET', '/order?_format=xml')) == '_format is invalid'


# Authentication (what is refused: test_server_authentication.py)

def later(seconds=60):
    return str(int(time.time()) + seconds)


def test_expires_in_milliseconds_is_far_away_and_fine(testnet):
    expires = str(int(time.time() * 1000) + 5000)
    answer = Client(testnet).send('GET', '/position', signed=False, headers={
        'api-key': testnet.key, 'api-expires': expires,
        'api-signature': generate_signature(testnet.secret, 'GET', '/api/v1/position', expires, '')})

    assert answer.status_code == 200


def test_a_changed_body_is_refused(testnet):
    client = Client(testnet)
    body = json.dumps(ORDER)
    expires = later()
    headers = {'api-key': testnet.key, 'api-expires': expires, 'Content-Type': 'application/json',
               'api-signature': generate_signature(testnet.secret, 'POST', '/api/v1/order', expires, body)}

    assert client.session.post(client.base + '/order', data=body + ' ', headers=headers).status_code == 401
    assert client.session.post(client.base + '/order', data=body, headers=headers).status_code == 200
    client.send('DELETE', '/order/all', {})


# Nothing that is sent may end in a 500

@pytest.mark.parametrize('send', [
    lambda c: c.send('POST', '/order', form='{"symbol"', headers={'Content-Type': 'application/json'}),
    lambda c: c.send('POST', '/order', [1, 2]),
    lambda c: c.send('POST', '/order', 'text'),
    lambda c: c.send('POST', '/order', {}),
    lambda c: c.send('POST', '/order', dict(ORDER, orderQty=10 ** 400)),
    lambda c: c.send('POST', '/order', dict(ORDER, orderQty='1e400')),
    lambda c: c.send('POST', '/order', dict(ORDER, price=1e308)),
    lambda c: c.send('POST', '/order', dict(ORDER, price='NaN')),
    lambda c: c.send('POST', '/order', dict(ORDER, price=[59000])),
    lambda c: c.send('POST', '/order', dict(ORDER, price={})),
    lambda c: c.send('POST', '/order', dict(ORDER, symbol=5)),
    lambda c: c.send('POST', '/order', dict(ORDER, symbol=['XBTUSD'])),
    lambda c: c.send('POST', '/order', dict(ORDER, side='Up')),
    lambda c: c.send('POST', '/order', dict(ORDER, clOrdID='x' * 1000)),
    lambda c: c.send('POST', '/order', dict(ORDER, clOrdID={'a': 1})),
    lambda c: c.send('PUT', '/order', {'orderID': 7, 'price': 1}),
    lambda c: c.send('PUT', '/order', {'orderID': 'ffff', 'price': 1}),
    lambda c: c.send('PUT', '/order', {}),
    lambda c: c.send('DELETE', '/order', {}),
    lambda c: c.send('GET', '/order?filter={'),
    lambda c: c.send('GET', '/order?filter=[]'),
    lambda c: c.send('GET', '/order?filter=%FF%FE'),
    lambda c: c.send('GET', '/order?count=ten'),
    lambda c: c.send('GET', '/order?count=-1'),
    lambda c: c.send('GET', '/order?count=100000'),
    lambda c: c.send('GET', '/order?start=1e99'),
    lambda c: c.send('GET', '/order?startTime=yesterday'),
    lambda c: c.send('GET', '/trade/bucketed?binSize=2m'),
    lambda c: c.send('GET', '/orderBook/L2'),
    lambda c: c.send('GET', '/orderBook/L2?symbol=NOPE'),
    lambda c: c.send('POST', '/position/leverage', {'symbol': 'XBTUSD', 'leverage': 1e9}),
    lambda c: c.send('POST', '/position/leverage', {'symbol': 'XBTUSD', 'leverage': None}),
    lambda c: c.send('POST', '/order/cancelAllAfter', {'timeout': 'x'}),
    lambda c: c.send('PATCH', '/order', {}),
], ids=lambda send: None)
def test_nonsense_is_refused_in_bitmex_shape(client, send):
    answer = send(client)

    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert error_of(answer)


def test_a_body_that_is_no_text_is_refused(testnet):
    client = Client(testnet)
    answer = client.session.post(client.base + '/order', data=b'\xff\xfe', headers={'Content-Type': 'application/json'})

    assert answer.status_code == 400 and error_of(answer)


def test_a_huge_body_is_refused(testnet):
    client = Client(testnet)
    answer = client.session.post(client.base + '/order', data=b'{' * 2000000,
                                 headers={'Content-Type': 'application/json'})

    assert answer.status_code == 413 and error_of(answer)


def test_a_fault_of_ours_is_a_500_in_the_same_shape(client, testnet, monkeypatch, caplog):
    def broken(*args):
        raise ZeroDivisionError('inside')
    monkeypatch.setattr(testnet.server.api, 'request', broken)

    answer = client.send('GET', '/position')

    assert (answer.status_code, error_of(answer)) == (500, 'Internal Server Error')
    assert 'ZeroDivisionError' in caplog.text
    monkeypatch.undo()


def test_bytes_that_are_no_request_are_a_line_in_the_log(testnet, caplog):
    caplog.set_level('INFO')
    with socket.create_connection(('127.0.0.1', testnet.port), 5) as raw:
        raw.sendall(b'GET /api/v1/trade?' + b'a' * 70000 + b' HTTP/1.1\r\napi-key: hidden\r\n\r\n')
        answer = b''.join(iter(lambda: raw.recv(65536), b''))

    assert answer.split(b' ')[1] == b'400'
    assert 'Refused what is no HTTP request: LineTooLong.' in caplog.text
    assert 'Traceback' not in caplog.text and 'aaa' not in caplog.text


def test_a_client_that_asks_first_is_told_to_go_on(testnet):
    with socket.create_connection(('127.0.0.1', testnet.port), 5) as raw:
        raw.sendall(b'POST /api/v1/order HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n')
        assert raw.recv(65536).startswith(b'HTTP/1.1 100 Continue\r\n\r\n')
        raw.sendall(b'{}')
        assert raw.recv(65536).startswith(b'HTTP/1.1 401')


def test_a_market_that_breaks_ends_the_exchange(caplog):
    def broken(now):
        raise ZeroDivisionError('inside the market')
    with pytest.raises(ZeroDivisionError):
        with running() as doomed:
            doomed.call(lambda: setattr(doomed.server.market, 'step', broken))
            with pytest.raises(requests.ConnectionError):
                while True:
                    assert Client(doomed).send('GET', '/trade', signed=False).status_code in (200, 500)
    assert caplog.text.count('The market of the local exchange failed.') == 1


def test_a_proxy_may_send_the_whole_address(testnet):
    with socket.create_connection(('127.0.0.1', testnet.port), 5) as raw:
        raw.sendall('GET {}trade?count=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.format(testnet.url).encode())
        answer = b''.join(iter(lambda: raw.recv(65536), b''))

    assert answer.startswith(b'HTTP/1.1 200')


# Limits

def test_headers_and_refusals_of_the_limits():
    with running(bid=60000, ask=60000.1, rate_limits=True) as limited:
        client = Client(limited)
        first = client.send('POST', '/order', ORDER)
        assert first.headers['x-ratelimit-limit'] == '120'
        assert first.headers['x-ratelimit-remaining'] == '119'
        assert 0 <= int(first.headers['x-ratelimit-reset']) - time.time() < 2
        assert first.headers['x-ratelimit-remaining-1s'] == '9'

        answers = [client.send('POST', '/order', ORDER) for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429][0]
        assert refused.json() == {'error': {'message': 'Rate limit exceeded, retry in 1 seconds.',
                                            'name': 'RateLimitError'}}
        assert refused.headers['Retry-After'] == '1' and refused.headers['x-ratelimit-remaining'] == '0'

        unsigned = [client.send('GET', '/trade?count=1', signed=False) for _ in range(32)]
        assert unsigned[0].headers['x-ratelimit-limit'] == '30'
        assert [answer.status_code for answer in unsigned].count(429) >= 1
        assert client.send('DELETE', '/order/all', {}).status_code in (200, 429)


def test_without_limits_the_headers_stay(client):
    answers = [client.send('POST', '/order', ORDER) for _ in range(15)]

    assert {answer.status_code for answer in answers} == {200}
    assert answers[-1].headers['x-ratelimit-remaining'] == '120'


# The handshake

def test_the_handshake_introduces_the_exchange(testnet):
    client = Client(testnet)
    said = client.session.get('http://127.0.0.1:{}/local-exchange'.format(testnet.port)).json()

    assert said['name'] == 'bitmex-market-maker local exchange'
    assert said['market'] == 'still' and said['accounts'] == 'open' and 'XBTUSD' in said['symbols']
    assert len(said['instance']) == 36


def register(testnet, account, **options):
    options.setdefault('json', account)
    return Client(testnet).session.post('http://127.0.0.1:{}/local-exchange/accounts'.format(testnet.port), **options)


def test_a_key_is_registered_once(testnet):
    account = {'key': 'new-key', 'secret': 'new-secret'}

    first, again, other = [register(testnet, one) for one in (account, account, dict(account, secret='else'))]

    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 409)
    assert first.json() == again.json()
    assert Client(testnet, 'new-key', 'new-secret').get('/user/margin')['walletBalance'] > 0


@pytest.mark.parametrize('account', [
    {}, {'key': 'k'}, {'key': '', 'secret': 's'}, {'key': 'a b', 'secret': 's'}, {'key': 5, 'secret': 's'},
    {'key': 'k', 'secret': 's' * 300},
    {'key': 'k', 'secret': 's', 'nonsense': 1}, {'key': 'k', 'secret': 's', 'balance': {'XBt': 1.5}},
    {'key': 'k', 'secret': 's', 'cidr': 'here'}, {'key': 'k', 'secret': 's', 'permissions': 'order'},
    {'key': 'k', 'secret': 's', 'positions': [{'symbol': 'NOPE', 'currentQty': 1, 'avgEntryPrice': 1}]},
])
def test_an_account_that_makes_no_sense_is_refused(testnet, account):
    answer = register(testnet, account)

    assert answer.status_code == 400 and error_of(answer)


def test_a_web_page_cannot_register(testnet):
    answer = register(testnet, None, json=None, data='{"key":"k","secret":"s"}', headers={'Content-Type': 'text/plain'})

    assert answer.status_code == 400


def test_an_exchange_with_accounts_of_its_own_opens_no_others():
    with running(accounts=[{'key': 'mine', 'secret': 's'}]) as closed:
        assert register(closed, {'key': 'k', 'secret': 's'}).status_code == 403
        assert register(closed, {'key': 'mine', 'secret': 's'}).status_code == 200


# Time

def test_time_passes_in_ticks_and_not_in_a_busy_loop(testnet, monkeypatch):
    steps = []
    step = testnet.server.market.step
    monkeypatch.setattr(testnet.server.market, 'step', lambda now: (steps.append(now), step(now)))
    began = time.monotonic()
    while len(steps) < 10:
        assert time.monotonic() - began < 10
        time.sleep(0.01)

    assert steps == sorted(steps) and abs(steps[-1] - time.time()) < 1
    assert (steps[9] - steps[0]) / 9 > TICK / 2


def test_a_client_that_hangs_up_in_the_middle_of_a_body_is_no_error(testnet, caplog):
    """Nothing is carried out, nothing is logged, and the next client is served."""
    head = 'POST /api/v1/order HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{'
    before = testnet.server.connections
    for _ in range(3):
        with socket.create_connection(('127.0.0.1', testnet.port), timeout=10) as caller:
            caller.sendall(head.encode('ascii'))
            wait_until(lambda: testnet.server.connections > before)
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        wait_until(lambda: testnet.server.connections <= before)

    assert Client(testnet).send('GET', '/position').status_code == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def wait_until(done):
    """Wait until done() is true, a minute at most."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, 'it did not come to pass'
        time.sleep(0.01)
