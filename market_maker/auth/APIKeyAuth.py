"""Signs HTTP requests with an API key and a growing number, the way before expiries; kept for those who import it.

BitMEX refuses nonces since 2019: use APIKeyAuthWithExpires for anything that is to be answered.
"""
import threading
import time

from requests.auth import AuthBase

from market_maker.auth import signing
from market_maker.auth.APIKeyAuthWithExpires import generate_expires
from market_maker.auth.signing import generate_signature

__all__ = ['APIKeyAuth', 'generate_expires', 'generate_nonce', 'generate_signature']


def generate_nonce():
    # type: () -> int
    """Return the present moment in milliseconds, a nonce that grows from call to call unless calls share one."""
    return signing.generate_nonce(time.time())


class APIKeyAuth(AuthBase):
    """An ``auth=`` for requests: each request gets api-key, api-nonce and api-signature."""

    def __init__(self, apiKey, apiSecret):
        # type: (str, str) -> None
        self.apiKey = apiKey
        self.apiSecret = apiSecret
        self._last_nonce = 0
        self._lock = threading.Lock()

    def __call__(self, r):
        """Sign the prepared request ``r``; two threads never get the same nonce."""
        with self._lock:
            nonce = self._last_nonce = signing.generate_nonce(time.time(), self._last_nonce)
        r.headers['api-key'] = self.apiKey
        r.headers['api-nonce'] = str(nonce)
        r.headers['api-signature'] = generate_signature(self.apiSecret, r.method, r.url, nonce, r.body)
        return r
