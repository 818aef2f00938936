"""How a request proves who sent it: the signature, its expiry, and the headers that carry both.

Pure: the moment and the last nonce are handed in, nothing is read from a clock and nothing is remembered.
BitMEX, "Using API keys": the signature is HMAC-SHA256 of verb + path + expires + body, in lower-case hex.
"""
import hashlib
import hmac
import math
from urllib.parse import urlsplit

LIFETIME = 60  # seconds for which a signed request stays valid: survives a clock that is half a minute off
WEBSOCKET_PATH = '/realtime'  # what a WebSocket login signs, whatever its URL and query are


def generate_signature(secret, verb, url, nonce, data=''):
    # type: (str, str, str, object, object) -> str
    """Return the hex signature of one request.

    ``url`` is a path or a whole URL; its path and query count byte for byte as they are sent, so percent-encode first.
    ``nonce`` is the value of the api-expires (or api-nonce) header.  ``data`` is the body exactly as sent: text, bytes,
    or empty (also None) when there is none.
    """
    parts = urlsplit(url)
    path = parts.path + '?' + parts.query if parts.query else parts.path
    body = data or b''
    if not isinstance(body, (bytes, bytearray)):
        body = str(body).encode('utf-8')
    message = (verb.upper() + path + str(nonce)).encode('utf-8') + bytes(body)
    return hmac.new(secret.encode('utf-8'), message, digestmod=hashlib.sha256).hexdigest()


def generate_expires(now, lifetime=LIFETIME):
    # type: (float, float) -> int
    """Return the Unix second until which a request signed at ``now`` (Unix seconds) is valid, as an int."""
    return math.ceil(now + lifetime)


def generate_nonce(now, last=0):
    # type: (float, int) -> int
    """Return a number larger than ``last``, the nonce before it; ``now`` is in Unix seconds.

    Nonces are the way of signing before 2019; BitMEX takes only expiries today.
    """
    return max(int(now * 1000), last + 1)


def auth_headers(api_key, api_secret, expires, verb='GET', url=WEBSOCKET_PATH, data=''):
    # type: (str, str, int, str, str, object) -> dict
    """Return the three headers that sign a request; by default those of a WebSocket handshake."""
    return {
        'api-key': api_key,
        'api-expires': str(expires),
        'api-signature': generate_signature(api_secret, verb, url, expires, data),
    }
