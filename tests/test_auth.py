"""Signing: the published vectors, and what goes over the wire."""
import json
import time

import requests

from market_maker import auth
from market_maker.auth import signing
from market_maker.auth.APIKeyAuth import generate_expires, generate_nonce, generate_signature

KEY = 'LAqUlngMIQkIUjXMUreyu3qn'
SECRET = 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'
BODY = '{"symbol":"XBTM15","price":219.0,"clOrdID":"mm_bitmex_1a/oemUeQ4CAJZgP3fjHsA","orderQty":98}'
FILTER = '/api/v1/instrument?filter=%7B%22symbol%22%3A+%22XBTM15%22%7D'


def test_published_vector_without_query():
    """BitMEX's first example: a bare GET."""
    assert generate_signature(SECRET, 'GET', '/api/v1/instrument', 1518064236, '') == (
        'c7682d435d0cfe87c16098df34ef2eb5a549d4c5a3c2b1f0f77b8af73423bf00')


def test_published_vector_with_query():
    """BitMEX's second example: the query counts as it is encoded on the wire."""
    assert generate_signature(SECRET, 'GET', FILTER, 1518064237, '') == (
        'e2f422547eecb5b3cb29ade2127e21b858b235b386bfa45e1c1756eb3383919f')


def test_published_vector_with_body():
    """BitMEX's third example: the body is part of what is signed."""
    assert generate_signature(SECRET, 'POST', '/api/v1/order', 1518064238, BODY) == (
        '1749cd2ccae4aa49048ae09f0b95110cee706e0944e6a14ad0b3a8cb45bd336b')


def test_whole_url_signs_as_its_path():
    """Scheme, host and port are no part of the signature; bytes and text bodies sign alike, None is no body."""
    whole = generate_signature(SECRET, 'get', 'https://www.bitmex.com:443' + FILTER, 1518064237, None)

    assert whole == generate_signature(SECRET, 'GET', FILTER, 1518064237, '')
    assert generate_signature(SECRET, 'POST', '/api/v1/order', 1, BODY) == (
        generate_signature(SECRET, 'POST', '/api/v1/order', 1, BODY.encode()))


def test_semicolons_and_empty_queries_stay_in_the_path():
    """Nothing of the path is lost to URL parsing."""
    whole = generate_signature('s', 'GET', 'http://h/a;b/c;d?x=1;y', 1)
    assert generate_signature('s', 'GET', '/a;b/c;d?x=1;y', 1) == whole
    assert generate_signature('s', 'GET', '/a;b', 1) != generate_signature('s', 'GET', '/a', 1)


def test_websocket_login_signs_the_bare_path():
    """A WebSocket handshake signs GET/realtime without its query."""
    headers = signing.auth_headers(KEY, SECRET, 1518064236)

    assert headers == {
        'api-key': KEY, 'api-expires': '1518064236',
        'api-signature': generate_signature(SECRET, 'GET', '/realtime', 1518064236, '')}


def test_names_of_the_package_are_classes():
    """auth.APIKeyAuth and its kin are classes, and their modules can be reached into all the same."""
    import market_maker.auth.APIKeyAuthWithExpires  # noqa: F401  (must not turn the class back into a module)

    for name in ('APIKeyAuth', 'APIKeyAuthWithExpires', 'AccessTokenAuth'):
        assert isinstance(getattr(auth, name), type)
        assert issubclass(getattr(auth, name), requests.auth.AuthBase)


def test_expires_is_a_whole_second_ahead():
    """A fractional expires would be refused by BitMEX."""
    assert signing.generate_expires(1000.25, 5) == 1006
    assert isinstance(generate_expires(), int)
    assert time.time() < generate_expires() < time.time() + 3700


def test_nonces_grow():
    """The next nonce is larger, even within one millisecond or after the clock was set back."""
    assert signing.generate_nonce(5.0, 4000) == 5000
    assert signing.generate_nonce(5.0, 5000) == 5001
    assert generate_nonce() > 1500000000000


def prepared(auth_, verb='GET', url='http://localhost/api/v1/order', **kwargs):
    return requests.Request(verb, url, auth=auth_, **kwargs).prepare()


def test_request_is_signed_as_it_is_sent():
    """The signature covers the path with requests' own encoding of the query, and the JSON body byte for byte."""
    query = prepared(auth.APIKeyAuthWithExpires(KEY, SECRET), params={'filter': json.dumps({'symbol': 'XBTUSD'})})
    body = prepared(auth.APIKeyAuthWithExpires(KEY, SECRET), 'POST', json={'symbol': 'XBTUSD', 'price': 219.0})

    for request in (query, body):
        expires = request.headers['api-expires']
        assert request.headers['api-key'] == KEY
        assert request.headers['api-signature'] == (
            generate_signature(SECRET, request.method, request.path_url, expires, request.body))


def test_nonce_auth_never_repeats():
    """Two requests of one millisecond get two nonces."""
    signer = auth.APIKeyAuth(KEY, SECRET)

    nonces = [int(prepared(signer).headers['api-nonce']) for _ in range(20)]

    assert sorted(set(nonces)) == nonces


def test_access_token():
    """The token travels in its header, and no header is sent without one."""
    assert prepared(auth.AccessTokenAuth('abc')).headers['access-token'] == 'abc'
    assert 'access-token' not in prepared(auth.AccessTokenAuth('')).headers
