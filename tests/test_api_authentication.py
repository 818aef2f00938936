"""Who sent it: BitMEX's published signatures, and every way to get one wrong, each with its status and text."""
import hashlib
import hmac

import pytest

from engine_world import NOW, an_exchange, order
from market_maker.simulator.api import Api
from market_maker.simulator.exchange import Refusal

KEY = 'LAqUlngMIQkIUjXMUreyu3qn'
SECRET = 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'
FILTERED = '/api/v1/instrument?filter=%7B%22symbol%22%3A+%22XBTM15%22%7D'
BODY = '{"symbol":"XBTM15","price":219.0,"clOrdID":"mm_bitmex_1a/oemUeQ4CAJZgP3fjHsA","orderQty":98}'
VECTORS = [
    ('GET', '/api/v1/instrument', 1518064236, '', 'c7682d435d0cfe87c16098df34ef2eb5a549d4c5a3c2b1f0f77b8af73423bf00'),
    ('GET', FILTERED, 1518064237, '', 'e2f422547eecb5b3cb29ade2127e21b858b235b386bfa45e1c1756eb3383919f'),
    ('POST', '/api/v1/order', 1518064238, BODY, '1749cd2ccae4aa49048ae09f0b95110cee706e0944e6a14ad0b3a8cb45bd336b'),
]


@pytest.fixture
def api():
    """An API with one account under BitMEX's published example key."""
    exchange = an_exchange()
    exchange.open_account(KEY, SECRET)
    return Api(exchange)


def sign(verb, path, expires, body='', secret=SECRET):
    """Return the hex signature of a request."""
    return hmac.new(secret.encode(), (verb + path + str(expires) + body).encode(), hashlib.sha256).hexdigest()


def headers(verb, path, expires, body='', key=KEY, secret=SECRET, **changed):
    """Return the three headers of a signed request; None takes one away."""
    made = {'api-key': key, 'api-expires': str(expires), 'api-signature': sign(verb, path, expires, body, secret)}
    made.update({name.replace('_', '-'): value for name, value in changed.items()})
    return {name: value for name, value in made.items() if value is not None}


@pytest.mark.parametrize('verb, path, expires, body, digest', VECTORS)
def test_published_signatures(api, verb, path, expires, body, digest):
    """The three vectors that BitMEX published are accepted in the second before they expire, and no later."""
    sent = {'api-key': KEY, 'api-expires': str(expires), 'api-signature': digest}

    assert api.authenticate(verb, path, sent, body, expires - 1).id == 100001
    with pytest.raises(Refusal) as caught:
        api.authenticate(verb, path, sent, body, expires + 1)
    assert caught.value.status == 400


def test_unsigned_requests_are_nobodys(api):
    """Without any of the headers a request is public."""
    assert api.authenticate('GET', '/api/v1/trade', {}, '', NOW) is None


@pytest.mark.parametrize('name', ['api-key', 'API-KEY', 'Api-Key'])
def test_header_names_and_hex_come_in_any_case(api, name):
    """Names of headers and the digits of a signature may be capitals; milliseconds are far in the future."""
    sent = headers('GET', '/api/v1/order', int(NOW * 1000))
    sent[name] = sent.pop('api-key')
    sent['api-signature'] = sent['api-signature'].upper()

    assert api.authenticate('GET', '/api/v1/order', sent, '', NOW).keys[0].key == KEY


GOOD = ('POST', '/api/v1/order?a=%7b', int(NOW) + 5, '{"symbol":"XBTUSD"}')


@pytest.mark.parametrize('changes, status, text', [
    ({'api_signature': 'nonsense'}, 401, 'Signature not valid.'),
    ({'api_signature': 'é' * 64}, 401, 'Signature not valid.'),
    ({'api_signature': sign(*GOOD)[:-1]}, 401, 'Signature not valid.'),
    ({'api_signature': sign(*GOOD) + '0'}, 401, 'Signature not valid.'),
    ({'api_signature': sign(GOOD[0].lower(), *GOOD[1:])}, 401, 'Signature not valid.'),
    ({'api_signature': sign('PUT', *GOOD[1:])}, 401, 'Signature not valid.'),
    ({'api_signature': sign(GOOD[0], '/api/v1/order', *GOOD[2:])}, 401, 'Signature not valid.'),
    ({'api_signature': sign(GOOD[0], '/api/v1/order?a=%7B', *GOOD[2:])}, 401, 'Signature not valid.'),
    ({'api_signature': sign(GOOD[0], '/order?a=%7b', *GOOD[2:])}, 401, 'Signature not valid.'),
    ({'api_signature': sign(GOOD[0], '/api/v1/order?a={', *GOOD[2:])}, 401, 'Signature not valid.'),
    ({'api_signature': sign(GOOD[0], GOOD[1], GOOD[2] + 1, GOOD[3])}, 401, 'Signature not valid.'),
    ({'api_signature': sign(GOOD[0], GOOD[1], GOOD[2], '')}, 401, 'Signature not valid.'),
    ({'api_signature': sign(GOOD[0], GOOD[1], GOOD[2], '{"symbol": "XBTUSD"}')}, 401, 'Signature not valid.'),
    ({'api_signature': sign(*GOOD, secret='other')}, 401, 'Signature not valid.'),
    ({'api_key': 'unknown'}, 401, 'Invalid API Key.'),
    ({'api_key': KEY.lower()}, 401, 'Invalid API Key.'),
    ({'api_key': KEY + ' x'}, 401, 'Invalid API Key.'),
    ({'api_key': None}, 401, 'Authorization Required'),
    ({'api_key': ''}, 401, 'Authorization Required'),
    ({'api_signature': None}, 401, 'Authorization Required'),
    ({'api_expires': None}, 401, 'Authorization Required'),
    ({'api_expires': str(int(NOW) - 1)}, 400,
     'This request has expired - `expires` is in the past. Current time: 1777784515'),
    ({'api_expires': '0'}, 400, 'This request has expired - `expires` is in the past. Current time: 1777784515'),
    ({'api_expires': str(NOW + 5)}, 400, '`api-expires` is not a whole number of seconds'),
    ({'api_expires': 'soon'}, 400, '`api-expires` is not a whole number of seconds'),
    ({'api_expires': '-5'}, 400, '`api-expires` is not a whole number of seconds'),
    ({'api_expires': '1e12'}, 400, '`api-expires` is not a whole number of seconds'),
    ({'api_expires': '٣' * 12}, 400, '`api-expires` is not a whole number of seconds'),
    ({'api_expires': '9' * 400}, 400, '`api-expires` is not a whole number of seconds'),
    ({'api_expires': None, 'api_nonce': '5'}, 401, 'Authorization Required'),
])
def test_broken_signatures(api, changes, status, text):
    """Whatever is wrong has its status and BitMEX's text, and the right headers pass."""
    verb, path, expires, body = GOOD
    assert api.authenticate(verb, path, headers(*GOOD), body, NOW) is not None

    with pytest.raises(Refusal) as caught:
        api.authenticate(verb, path, headers(*GOOD, **changes), body, NOW)
    assert (caught.value.status, caught.value.message) == (status, text)
    assert caught.value.body() == {'error': {'message': text, 'name': 'HTTPError'}}


def test_a_bad_signature_is_refused_on_public_routes_too(api):
    """A request that claims to be signed is checked, wherever it goes."""
    with pytest.raises(Refusal) as caught:
        api.authenticate('GET', '/api/v1/trade', headers('GET', '/api/v1/trade', int(NOW) + 5, secret='x'), '', NOW)
    assert caught.value.status == 401


@pytest.mark.parametrize('permissions, verb, path, allowed', [
    ((), 'GET', '/api/v1/order', True), ((), 'GET', '/api/v1/user/margin', True), ((), 'POST', '/api/v1/order', False),
    ((), 'DELETE', '/api/v1/order/all', False), ((), 'POST', '/api/v1/position/leverage', False),
    (('order',), 'POST', '/api/v1/order', True), (('order',), 'DELETE', '/api/v1/order', True),
    (('order',), 'POST', '/api/v1/user/requestWithdrawal', False),
    (('orderCancel',), 'PUT', '/api/v1/order', False), (('orderCancel',), 'DELETE', '/api/v1/order', True),
    (('orderCancel',), 'POST', '/api/v1/order/cancelAllAfter', True),
    (('withdraw',), 'POST', '/api/v1/user/requestWithdrawal', True), (('withdraw',), 'POST', '/api/v1/order', False),
])
def test_permissions_of_keys(permissions, verb, path, allowed):
    """A key does what it was given: reading always, orders, cancels and withdrawals when allowed."""
    exchange = an_exchange()
    exchange.open_account('k', 's', permissions=permissions)
    sent = headers(verb, path, int(NOW) + 5, key='k', secret='s')

    try:
        assert Api(exchange).authenticate(verb, path, sent, '', NOW) and allowed
    except Refusal as refusal:
        assert (refusal.status, refusal.message) == (403, 'Access Denied') and not allowed


@pytest.mark.parametrize('cidr, address, allowed', [
    ('10.0.0.0/8', '10.1.2.3', True), ('10.0.0.0/8', '11.1.2.3', False), ('127.0.0.1', '127.0.0.1', True),
    ('::1', '127.0.0.1', False), ('::/0', '::1', True), ('10.0.0.0/8', 'nonsense', False), (None, '1.2.3.4', True),
    ('10.0.0.0/8', None, True),
])
def test_addresses_of_keys(cidr, address, allowed):
    """A key with a network is refused from elsewhere."""
    exchange = an_exchange()
    exchange.open_account('k', 's', cidr=cidr)
    sent = headers('GET', '/api/v1/order', int(NOW) + 5, key='k', secret='s')

    try:
        assert Api(exchange).authenticate('GET', '/api/v1/order', sent, '', NOW, address) and allowed
    except Refusal as refusal:
        assert (refusal.status, refusal.message) == (403, 'This IP address is not allowed to use this key.')
        assert not allowed


def test_a_disabled_key(api):
    """A key that was switched off is told so, after its signature was checked."""
    api.exchange.account_of(KEY).keys[0].enabled = False
    with pytest.raises(Refusal) as caught:
        api.authenticate('GET', '/api/v1/order', headers('GET', '/api/v1/order', int(NOW) + 5), '', NOW)
    assert (caught.value.status, caught.value.message) == (403, 'This key is disabled.')


def test_websocket_login(api):
    """A login signs GET/realtime; number or text will do; the same texts as in REST."""
    expires = int(NOW) + 5
    digest = sign('GET', '/realtime', expires)

    assert api.authenticate_ws(KEY, expires, digest, NOW).id == 100001
    assert api.authenticate_ws(KEY, str(expires), digest.upper(), NOW).id == 100001
    for sent, status in (((KEY, expires, 'x'), 401), ((KEY, 5, sign('GET', '/realtime', 5)), 400),
                         (('x', expires, digest), 401),
                         ((KEY, None, digest), 401), ((None, expires, digest), 401), (([], {}, []), 400),
                         ((5, True, 7), 400), ((KEY, expires, 5), 401), (({'a': 1}, expires, digest), 401)):
        with pytest.raises(Refusal) as caught:
            api.authenticate_ws(*(sent + (NOW,)))
        assert caught.value.status == status, sent


def test_private_routes_need_an_account(api):
    """Nobody may ask for orders; an unknown route is unknown to everybody."""
    for path, status in (('/order', 401), ('/nothing', 404), ('/user/', 404), ('/trade', 200)):
        try:
            assert api.request('GET', path, {}, {}, None, NOW)[0] == status
        except Refusal as refusal:
            assert refusal.status == status
            assert refusal.message == {401: 'Authorization Required', 404: 'Not Found'}[status]


def test_keys_are_kept_apart(api):
    """A key belongs to one account; further keys lead to the same one."""
    exchange = api.exchange
    account = exchange.account_of(KEY)
    exchange.add_key(account, 'second', 'other', ())
    with pytest.raises(ValueError):
        exchange.open_account(KEY, 'x')

    row = exchange.place(account, order('Buy', 100, 70000))
    sent = headers('GET', '/api/v1/order', int(NOW) + 5, key='second', secret='other')
    assert api.authenticate('GET', '/api/v1/order', sent, '', NOW) is account
    assert api.request('GET', '/order', {}, {}, account, NOW)[1] == [row]
    assert 'secret' not in str(api.request('GET', '/apiKey', {}, {}, account, NOW)[1])
