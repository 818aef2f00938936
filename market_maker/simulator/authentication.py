"""Who sent a request: the three headers of a signed request, checked as BitMEX checks them, with its texts.

Pure: the moment is handed in.  The signature covers verb, path and query byte for byte as they came, the text of
api-expires, and the body; it is therefore computed here from the raw path and not from a URL that was taken apart.
"""
import hmac
import re
from ipaddress import ip_address, ip_network
from typing import Any, Dict, Optional, Tuple  # noqa: F401

from market_maker.simulator.account import Account, Key
from market_maker.simulator.refusal import Refusal

HEADERS = ('api-key', 'api-expires', 'api-signature')
REALTIME = '/realtime'
SECONDS = re.compile(r'[0-9]{1,20}\Z')   # an api-expires


def signature(key: Key, verb: str, raw_path: str, expires: str, body: str) -> str:
    """Return the hex digest that a request must carry."""
    mac = key.mac.copy()
    mac.update((verb.upper() + raw_path + expires + body).encode('utf-8', 'replace'))
    return mac.hexdigest()


def header(headers: Any, name: str) -> Optional[str]:
    """Return a header in whatever case it was sent; None when it was not."""
    value = headers.get(name)
    if value is None:
        for other in headers:
            if other.lower() == name:
                return str(headers[other])
    return value


def credentials(headers: Any) -> Optional[Tuple[str, str, str]]:
    """Return (key, expires, signature); None when the request is not signed at all."""
    key, expires, digest = [header(headers, name) for name in HEADERS]
    if key and expires and digest:
        return key, expires, digest
    if key or expires or digest:
        raise Refusal(401, 'Authorization Required')
    return None


def verify(house: Any, sent: Tuple[Any, Any, Any], verb: str, raw_path: str, body: str, now: float,
           address: Optional[str] = None) -> Tuple[Account, Key]:
    """Return the account and the key of a signed request; Refusal with BitMEX's status and text when anything is
    wrong.
    """
    name, expires, digest = sent
    text = str(expires).strip()
    if not SECONDS.match(text):
        raise Refusal(400, '`api-expires` is not a whole number of seconds')
    if float(text) < now:
        raise Refusal(400, 'This request has expired - `expires` is in the past. Current time: {}'.format(int(now)))
    account = house.account_of(name) if isinstance(name, str) else None
    if account is None:
        raise Refusal(401, 'Invalid API Key.')
    key = account.key(name)
    if not isinstance(digest, str) or not hmac.compare_digest(
            signature(key, verb, raw_path, text, body).encode('ascii'), digest.lower().encode('utf-8', 'replace')):
        raise Refusal(401, 'Signature not valid.')
    if not key.enabled:
        raise Refusal(403, 'This key is disabled.')
    if key.cidr and address and not inside(address, key.cidr):
        raise Refusal(403, 'This IP address is not allowed to use this key.')
    return account, key


def inside(address: str, networks: str) -> bool:
    """Tell whether an address lies in one of some networks (joined by commas); an unreadable address lies in none."""
    try:
        there = ip_address(address)
        return any(there in ip_network(network, strict=False) for network in networks.split(','))
    except ValueError:
        return False


def may(key: Key, permission: Optional[str]) -> bool:
    """Tell whether a key may do what needs a permission: 'order', 'cancel' (order or orderCancel), 'withdraw', None:
    read.
    """
    if permission == 'cancel':
        return 'order' in key.permissions or 'orderCancel' in key.permissions
    return permission is None or permission in key.permissions
