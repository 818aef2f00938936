"""Where the WebSocket is and what it is asked for.  Pure."""
from typing import List  # noqa: F401
from urllib.parse import urlsplit

from market_maker.utils.constants import CLOSING_DATE, LOCAL_BASE_URL
from market_maker.utils.errors import SettingsError

CLOSED = 'BitMEX and its testnet closed on {}; set BASE_URL = "{}" for the local exchange, or run with --local'.format(
    CLOSING_DATE, LOCAL_BASE_URL)


def topics(symbol, is_private):
    # type: (str, bool) -> List[str]
    """Return what is subscribed to, in the order of the URL: instruments, margin and positions of all symbols."""
    public = ['quote:' + symbol, 'trade:' + symbol, 'instrument']
    return public + ['order:' + symbol, 'execution:' + symbol, 'margin', 'position'] if is_private else public


def websocket_url(endpoint):
    # type: (str) -> str
    """Return the WebSocket's URL for a REST API's: same host and port, path /realtime; raise SettingsError."""
    parts = urlsplit(endpoint)
    scheme = {'http': 'ws', 'https': 'wss', 'ws': 'ws', 'wss': 'wss'}.get(parts.scheme.lower())
    if scheme is None or not parts.hostname:
        raise SettingsError('BASE_URL {!r} is no address of an exchange: it should look like {}'.format(
            endpoint, LOCAL_BASE_URL))
    return '{}://{}/realtime'.format(scheme, parts.netloc.rpartition('@')[2])


def is_bitmex(url):
    # type: (str) -> bool
    """Say whether a URL is BitMEX's or its testnet's, which nobody answers any more."""
    host = (urlsplit(url).hostname or '').lower()
    return host == 'bitmex.com' or host.endswith('.bitmex.com')
