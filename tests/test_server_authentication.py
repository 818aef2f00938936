"""Who may do what, over real sockets: BitMEX's published signatures, and every way to get a login wrong, by name, each
with its status and text, on REST and on the WebSocket.
"""
import base64
import hashlib
import hmac
import json
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import requests  # noqa: E402
from local_client import Client, Socket  # noqa: E402

from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.utils.clock import ManualClock  # noqa: E402

KEY, SECRET = 'LAqUlngMIQkIUjXMUreyu3qn', 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'
FILTERED = '/api/v1/instrument?filter=%7B%22symbol%22%3A+%22XBTM15%22%7D'
BODY = '{"symbol":"XBTM15","price":219.0,"clOrdID":"mm_bitmex_1a/oemUeQ4CAJZgP3fjHsA","orderQty":98}'
VECTORS = [
    ('GET', '/api/v1/instrument', 1518064236, '', 'c7682d435d0cfe87c16098df34ef2eb5a549d4c5a3c2b1f0f77b8af73423bf00'),
    ('GET', FILTERED, 1518064237, '', 'e2f422547eecb5b3cb29ade2127e21b858b235b386bfa45e1c1756eb3383919f'),
    ('POST', '/api/v1/order', 1518064238, BODY, '1749cd2ccae4aa49048ae09f0b95110cee706e0944e6a14ad0b3a8cb45bd336b'),
]
PEOPLE = [
    {'key': KEY, 'secret': SECRET},
    {'key': 'reader', 'secret': SECRET, 'permissions': []},
    {'key': 'canceler', 'secret': SECRET, 'permissions': ['orderCancel']},
    {'key': 'trader', 'secret': SECRET, 'permissions': ['order']},
    {'key': 'payer', 'secret': SECRET, 'permissions': ['withdraw']},
    {'key': 'elsewhere', 'secret': SECRET, 'cidr': '10.0.0.0/8'},
    {'key': 'here', 'secret': SECRET, 'cidr': '127.0.0.0/8'},
    {'key': 'here-or-there', 'secret': SECRET, 'cidr': ['10.0.0.0/8', '127.0.0.0/8', '::1/128']},
    {'key': 'there', 'secret': SECRET, 'cidr': ['10.0.0.0/8', '127.0.0.2/32', '::1/128']},
    {'key': 'disabled', 'secret': SECRET},
]
INVALID, UNKNOWN, REQUIRED = 'Signature not valid.', 'Invalid API Key.', 'Authorization Required'
FRACTION = '`api-expires` is not a whole number of seconds'
EXPIRED = 'This request has expired - `expires` is in the past. Current time: {}'
ORDER = '{"symbol":"XBTUSD","orderQty":100,"price":59000}'


@pytest.fixture(scope='module')
def testnet():
    """An exchange with keys of all kinds."""
    with running(bid=60000, ask=60000.1, accounts=PEOPLE) as testnet:
        testnet.exchange.account_of('disabled').keys[0].enabled = False
        yield testnet


def later(seconds=60):
    """Return a Unix second from now, as text."""
    return str(int(time.time()) + seconds)


def digest(verb, path, expires, body='', secret=SECRET, kind=hashlib.sha256):
    """Return the signature of a request as raw bytes."""
    return hmac.new(secret.encode(), (verb + path + expires + body).encode(), kind).digest()


class Sent(object):
    """A request that is right until something about it is changed."""

    def __init__(self, verb='GET', path='/api/v1/position?count=5', body='', key=KEY, **signed):
        self.verb, self.path, self.body = verb, path, body
        expires = signed.pop('expires', None) or later()
        fields = {'verb': verb, 'path': path, 'expires': expires, 'body': body}
        fields.update(signed)   # what was signed instead of what is sent
        self.headers = {'api-key': key, 'api-expires': expires, 'api-signature': digest(**fields).hex()}

    def but(self, **changes):
        """Change headers; None leaves one out."""
        for name, value in changes.items():
            self.headers['api-' + name] = value
        self.headers = {name: value for name, value in self.headers.items() if value is not None}
        return self

    def to(self, testnet):
        """Send it and return the answer."""
        session = requests.Session()
        session.trust_env = False
        request = requests.Request(self.verb, testnet.url[:-len('/api/v1/')], headers=self.headers, data=self.body)
        if self.body:
            request.headers['Content-Type'] = 'application/json'
        prepared = request.prepare()
        prepared.url = testnet.url[:-len('/api/v1/')] + self.path   # byte for byte
        return session.send(prepared, timeout=10)


def test_a_good_request_passes(testnet):
    """What is broken below is right before it is broken."""
    assert Sent().to(testnet).status_code == 200
    assert Sent(key='here').to(testnet).status_code == 200
    assert Sent(key='here-or-there').to(testnet).status_code == 200
    assert Sent(path='/api/v1/apiKey', key='here-or-there').to(testnet).json()[0]['cidrs'] == [
        '10.0.0.0/8', '127.0.0.0/8', '::1/128']


@pytest.mark.parametrize('verb, path, expires, body, signature', VECTORS)
def test_published_signatures(verb, path, expires, body, signature):
    """Each passes in the second that it names, and a second later it is refused."""
    clock = ManualClock(expires)
    with running(bid=60000, ask=60000.1, accounts=PEOPLE, clock=clock) as exchange:
        sent = Sent(verb, path, body).but(expires=str(expires), signature=signature)
        answer = sent.to(exchange)
        assert answer.json() == {'error': {'message': 'Invalid symbol', 'name': 'HTTPError'}} if body else \
            answer.status_code == 200
        clock.advance(1)
        answer = sent.to(exchange)
        assert (answer.status_code, answer.json()['error']['message']) == (400, EXPIRED.format(expires + 1))


BROKEN = {
    # the secret
    'another secret': (lambda: Sent(secret='wrong'), 401, INVALID),
    'a secret with a space after it': (lambda: Sent(secret=SECRET + ' '), 401, INVALID),
    'a secret in small letters': (lambda: Sent(secret=SECRET.lower()), 401, INVALID),
    'the key used as the secret': (lambda: Sent(secret=KEY), 401, INVALID),
    # the key
    'an unknown key': (lambda: Sent().but(key='nobody'), 401, UNKNOWN),
    'a key in capitals': (lambda: Sent().but(key=KEY.upper()), 401, UNKNOWN),
    'a key with more behind it': (lambda: Sent().but(key=KEY + '0'), 401, UNKNOWN),
    'the key of somebody with another secret': (lambda: Sent(secret='own').but(key='trader'), 401, INVALID),
    'an empty key': (lambda: Sent().but(key=''), 401, REQUIRED),
    'no key': (lambda: Sent().but(key=None), 401, REQUIRED),
    'a disabled key': (lambda: Sent(key='disabled'), 403, 'This key is disabled.'),
    'a disabled key with a wrong secret': (lambda: Sent(key='disabled', secret='x'), 401, INVALID),
    'a key from an address off its list': (lambda: Sent(key='elsewhere'), 403,
                                           'This IP address is not allowed to use this key.'),
    'a key from an address that none of its networks has': (lambda: Sent(key='there'), 403,
                                                            'This IP address is not allowed to use this key.'),
    # the signature
    'no signature': (lambda: Sent().but(signature=None), 401, REQUIRED),
    'an empty signature': (lambda: Sent().but(signature=''), 401, REQUIRED),
    'half a signature': (lambda: Sent().but(signature=Sent().headers['api-signature'][:32]), 401, INVALID),
    'a signature with a digit more': (lambda: Sent().but(signature=Sent().headers['api-signature'] + '0'), 401,
                                      INVALID),
    'a signature that is no hex': (lambda: Sent().but(signature='z' * 64), 401, INVALID),
    'a signature of zeros': (lambda: Sent().but(signature='0' * 64), 401, INVALID),
    'a signature beyond ASCII': (lambda: Sent().but(signature=b'\xff' * 64), 401, INVALID),
    'a signature in base 64': (lambda: Sent().but(signature=base64.b64encode(
        digest('GET', '/api/v1/position?count=5', later())).decode()), 401, INVALID),
    'a signature with SHA-512': (lambda: Sent(kind=hashlib.sha512), 401, INVALID),
    'a signature with SHA-1': (lambda: Sent(kind=hashlib.sha1), 401, INVALID),
    'a signature without HMAC': (lambda: Sent().but(signature=hashlib.sha256(
        (SECRET + 'GET/api/v1/position?count=5' + later()).encode()).hexdigest()), 401, INVALID),
    # what was signed
    'another verb signed': (lambda: Sent(verb='GET').but(signature=digest(
        'POST', '/api/v1/position?count=5', later()).hex()), 401, INVALID),
    'the verb signed in small letters': (lambda: Sent().but(signature=digest(
        'get', '/api/v1/position?count=5', later()).hex()), 401, INVALID),
    'another path signed': (lambda: Sent().but(signature=digest('GET', '/api/v1/order?count=5', later()).hex()), 401,
                            INVALID),
    'the path signed without its base': (lambda: Sent().but(signature=digest(
        'GET', '/position?count=5', later()).hex()), 401, INVALID),
    'the whole address signed': (lambda: Sent().but(signature=digest(
        'GET', 'https://www.bitmex.com/api/v1/position?count=5', later()).hex()), 401, INVALID),
    'the path signed without its query': (lambda: Sent().but(signature=digest(
        'GET', '/api/v1/position', later()).hex()), 401, INVALID),
    'a query signed in another encoding': (lambda: Sent(path=FILTERED).but(signature=digest(
        'GET', FILTERED.replace('+', '%20'), later()).hex()), 401, INVALID),
    'a body sent and not signed': (lambda: Sent('POST', '/api/v1/order', ORDER).but(signature=digest(
        'POST', '/api/v1/order', later()).hex()), 401, INVALID),
    'a body signed and not sent': (lambda: Sent('POST', '/api/v1/order').but(signature=digest(
        'POST', '/api/v1/order', later(), ORDER).hex()), 401, INVALID),
    'a body signed with other spaces': (lambda: Sent('POST', '/api/v1/order', ORDER).but(signature=digest(
        'POST', '/api/v1/order', later(), json.dumps(json.loads(ORDER))).hex()), 401, INVALID),
    'the login of the WebSocket': (lambda: Sent().but(signature=digest('GET', '/realtime', later()).hex()), 401,
                                   INVALID),
    # the time
    'another time signed': (lambda: Sent().but(expires=later(61)), 401, INVALID),
    'no expires': (lambda: Sent().but(expires=None), 401, REQUIRED),
    'an empty expires': (lambda: Sent().but(expires=''), 401, REQUIRED),
    'a nonce instead of expires': (lambda: Sent().but(expires=None, nonce='1'), 401, REQUIRED),
    'expires in words': (lambda: Sent(expires='soon'), 400, FRACTION),
    'expires that is not a number': (lambda: Sent(expires='nan'), 400, FRACTION),
    'expires with a fraction': (lambda: Sent(expires=later() + '.5'), 400, FRACTION),
    'expires below zero': (lambda: Sent(expires='-1'), 400, FRACTION),
    'expires of a thousand digits': (lambda: Sent(expires='9' * 1000), 400, FRACTION),
    'expires a minute ago': (lambda: Sent(expires=later(-60)), 400, EXPIRED),
    'expires in 1970': (lambda: Sent(expires='5'), 400, EXPIRED),
    'an expired request with a wrong secret': (lambda: Sent(expires='5', secret='x'), 400, EXPIRED),
    # no login at all
    'no headers': (lambda: Sent().but(key=None, expires=None, signature=None), 401, REQUIRED),
    # a good login for what it may not do
    'a reader who places an order': (lambda: Sent('POST', '/api/v1/order', ORDER, 'reader'), 403, 'Access Denied'),
    'a reader who cancels': (lambda: Sent('DELETE', '/api/v1/order/all', '{}', 'reader'), 403, 'Access Denied'),
    'a reader who changes leverage': (lambda: Sent(
        'POST', '/api/v1/position/leverage', '{"symbol":"XBTUSD","leverage":5}', 'reader'), 403, 'Access Denied'),
    'a canceler who places an order': (lambda: Sent('POST', '/api/v1/order', ORDER, 'canceler'), 403, 'Access Denied'),
    'a canceler who amends': (lambda: Sent('PUT', '/api/v1/order', ORDER, 'canceler'), 403, 'Access Denied'),
    'a canceler who closes a position': (lambda: Sent(
        'POST', '/api/v1/order/closePosition', '{"symbol":"XBTUSD"}', 'canceler'), 403, 'Access Denied'),
    'a trader who withdraws': (lambda: Sent('POST', '/api/v1/user/requestWithdrawal', '{}', 'trader'), 403,
                               'Access Denied'),
    'a trader who sends money': (lambda: Sent('POST', '/api/v1/user/walletTransfer', '{}', 'trader'), 403,
                                 'Access Denied'),
    'a payer who trades': (lambda: Sent('POST', '/api/v1/order', ORDER, 'payer'), 403, 'Access Denied'),
    'a key that asks for another account': (lambda: Sent(path='/api/v1/user/walletHistory?targetAccountId=5'), 403,
                                            'Access Denied'),
    # where no login was needed, a bad one counts all the same
    'a wrong secret on a public route': (lambda: Sent(path='/api/v1/trade', secret='x'), 401, INVALID),
    'an unknown key on a public route': (lambda: Sent(path='/api/v1/trade').but(key='x'), 401, UNKNOWN),
    'an expired request on a public route': (lambda: Sent(path='/api/v1/trade', expires='5'), 400, EXPIRED),
    'a wrong secret on no route': (lambda: Sent(path='/api/v1/nothing', secret='x'), 401, INVALID),
}


@pytest.mark.parametrize('kind', list(BROKEN))
def test_broken_requests(testnet, kind):
    """Status and text as BitMEX has them, in its shape; failures to authenticate carry no limits."""
    make, status, text = BROKEN[kind]
    before = time.time()
    answer = make().to(testnet)

    message = answer.json()['error']['message']
    assert answer.json() == {'error': {'message': message, 'name': 'HTTPError'}}
    times = {text.format(int(before) + seconds) for seconds in range(12)}
    assert answer.status_code == status and message in times, (answer.status_code, message)
    has_limits = any(name.lower().startswith('x-ratelimit') for name in answer.headers)
    assert not has_limits or kind == 'a key that asks for another account'


@pytest.mark.parametrize('key, verb, path, body', [
    ('reader', 'GET', '/api/v1/user/margin', ''), ('canceler', 'DELETE', '/api/v1/order/all', '{}'),
    ('canceler', 'POST', '/api/v1/order/cancelAllAfter', '{"timeout":0}'), ('trader', 'POST', '/api/v1/order', ORDER),
    ('trader', 'DELETE', '/api/v1/order/all', '{}'),
    ('payer', 'POST', '/api/v1/user/requestWithdrawal',
     '{"currency":"XBt","network":"btc","amount":5000,"address":"x"}'),
])
def test_what_keys_may_do(testnet, key, verb, path, body):
    """Each key does what it was made for."""
    assert Sent(verb, path, body, key).to(testnet).status_code == 200


# -- the WebSocket ---------------------------------------------------------------------------------


def login(key=KEY, expires=None, **signed):
    """Return key, expires and signature of a login that is right until something is changed."""
    expires = later() if expires is None else expires
    fields = {'verb': 'GET', 'path': '/realtime', 'expires': expires}
    fields.update(signed)
    return [key, expires, digest(**fields).hex()]


LOGINS = {
    'another secret': (lambda: login(secret='wrong'), 401, INVALID),
    'an unknown key': (lambda: login(key='nobody'), 401, UNKNOWN),
    'a key in capitals': (lambda: login(key=KEY.upper()), 401, UNKNOWN),
    'a disabled key': (lambda: login(key='disabled'), 403, 'This key is disabled.'),
    'a key from an address off its list': (lambda: login(key='elsewhere'), 403,
                                           'This IP address is not allowed to use this key.'),
    'no signature': (lambda: login()[:2] + [''], 401, REQUIRED),
    'half a signature': (lambda: login()[:2] + [login()[2][:32]], 401, INVALID),
    'a signature that is no hex': (lambda: login()[:2] + ['z' * 64], 401, INVALID),
    'another verb signed': (lambda: login(verb='POST'), 401, INVALID),
    'a REST path signed': (lambda: login(path='/api/v1/realtime'), 401, INVALID),
    'the query signed with the path': (lambda: login(path='/realtime?subscribe=order'), 401, INVALID),
    'the old path of the platform signed': (lambda: login(path='/realtimePlatform'), 401, INVALID),
    'another time signed': (lambda: login()[:1] + [later(61)] + login()[2:], 401, INVALID),
    'no expires': (lambda: login()[:1] + [''] + login()[2:], 401, REQUIRED),
    'expires in words': (lambda: login(expires='soon'), 400, FRACTION),
    'expires with a fraction': (lambda: login(expires=later() + '.5'), 400, FRACTION),
    'expires a minute ago': (lambda: login(expires=later(-60)), 400, EXPIRED),
    'expires in 1970': (lambda: login(expires='5'), 400, EXPIRED),
}
NAMES = ('api-key', 'api-expires', 'api-signature')
UPGRADE = {'Connection': 'Upgrade', 'Upgrade': 'websocket', 'Sec-WebSocket-Version': '13',
           'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='}


def told(text, message, before):
    """Tell whether a message is the expected text, whatever second it was told in."""
    return message in {text.format(int(before) + seconds) for seconds in range(12)}


@pytest.mark.parametrize('way', ['headers', 'query'])
@pytest.mark.parametrize('kind', list(LOGINS))
def test_handshakes_that_are_refused(testnet, kind, way):
    """A login in headers or query that is wrong ends the handshake with an HTTP error."""
    make, status, text = LOGINS[kind]
    values, before = make(), time.time()
    headers, query = dict(UPGRADE), ''
    if way == 'headers':
        headers.update(zip(NAMES, values))
    else:
        query = '?' + '&'.join('{}={}'.format(*pair) for pair in zip(NAMES, values))

    session = requests.Session()
    session.trust_env = False
    answer = session.get('http' + testnet.ws_url[len('ws'):] + query, headers=headers, timeout=10)
    assert answer.status_code == status
    assert told(text, answer.json()['error']['message'], before), answer.text


@pytest.mark.parametrize('kind', list(LOGINS))
def test_logins_that_are_refused(testnet, kind):
    """A login by command that is wrong is answered by an error frame, and the connection stays nobody's."""
    make, status, text = LOGINS[kind]
    request, before = {'op': 'authKeyExpires', 'args': make()}, time.time()
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send(request)
        frame = ws.recv()
        assert (frame['status'], frame['meta'], frame['request']) == (status, {}, request)
        assert told(text, frame['error'], before), frame
        ws.send({'op': 'subscribe', 'args': ['order']})
        assert ws.recv()['status'] == 401
        ws.send({'op': 'authKeyExpires', 'args': login()})
        assert ws.recv()['success'] is True


@pytest.mark.parametrize('arguments', [[], ['x'], login()[:2], login() + ['more'], 'text', [None, None, None],
                                       [[], {}, []], [5, True, 7], [{'a': 1}, later(), 'x']])
def test_logins_that_make_no_sense(testnet, arguments):
    """Whatever stands for the three arguments, there is an answer of 400 or 401."""
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send({'op': 'authKeyExpires', 'args': arguments})
        assert ws.recv()['status'] in (400, 401)


def test_a_connection_logs_in_once(testnet):
    """A second login is refused, for the same account and for another, and the first one stays."""
    with Socket(testnet.ws_url) as ws:
        ws.recv()
        ws.send({'op': 'authKeyExpires', 'args': login()})
        assert ws.recv()['success'] is True
        for key in (KEY, 'reader'):
            ws.send({'op': 'authKeyExpires', 'args': login(key)})
            frame = ws.recv()
            assert (frame['status'], frame['error']) == (400, 'This connection is already authenticated.')
        ws.send({'op': 'cancelAllAfter', 'args': 0})
        assert ws.recv()['cancelTime'] == 0


@pytest.mark.parametrize('key, status', [(KEY, None), ('canceler', None), ('trader', None), ('reader', 403),
                                         ('payer', 403)])
def test_who_may_arm_the_switch(testnet, key, status):
    """cancelAllAfter over the WebSocket needs a key that may cancel."""
    with Socket(testnet.ws_url, ['{}: {}'.format(*pair) for pair in zip(NAMES, login(key))]) as ws:
        ws.recv()
        ws.send({'op': 'cancelAllAfter', 'args': 0})
        frame = ws.recv()
    assert frame.get('status') == status
    assert status is None or frame['error'] == 'Access Denied'


def test_a_header_beats_no_login_in_the_query(testnet):
    """Headers are looked at first; private tables follow at once."""
    client = Client(testnet, KEY, SECRET)
    with Socket(testnet.ws_url + '?subscribe=margin',
                ['{}: {}'.format(*pair) for pair in zip(NAMES, login())]) as ws:
        assert ws.partial('margin')['filter'] == {'account': client.get('/user')['id']}
