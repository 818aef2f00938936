"""Marks HTTP requests with an access token, the login of BitMEX's early years; kept for those who import it."""
from requests.auth import AuthBase


class AccessTokenAuth(AuthBase):
    """An ``auth=`` for requests: each request carries the token, or nothing when there is none."""

    def __init__(self, accessToken):
        # type: (str) -> None
        self.token = accessToken

    def __call__(self, r):
        """Put the token on the prepared request ``r``."""
        if self.token:
            r.headers['access-token'] = self.token
        return r
