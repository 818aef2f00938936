"""Signs HTTP requests with an API key and an expiry: the way BitMEX wants it today."""
import time

from requests.auth import AuthBase

from market_maker.auth import signing
from market_maker.auth.signing import generate_signature

__all__ = ['APIKeyAuthWithExpires', 'generate_expires', 'generate_signature']


def generate_expires():
    # type: () -> int
    """Return the Unix second until which a request signed now stays valid."""
    return signing.generate_expires(time.time())


class APIKeyAuthWithExpires(AuthBase):
    """An ``auth=`` for requests: each request gets api-key, api-expires and api-signature."""

    def __init__(self, apiKey, apiSecret):
        # type: (str, str) -> None
        self.apiKey = apiKey
        self.apiSecret = apiSecret

    def __call__(self, r):
        """Sign the prepared request ``r`` over its URL and body as they will be sent."""
        r.headers.update(signing.auth_headers(
            self.apiKey, self.apiSecret, generate_expires(), r.method, r.url, r.body))
        return r
