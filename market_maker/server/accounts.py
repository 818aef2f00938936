"""Accounts as they are described outside: by a command line, a file, a request or a test.

Pure.  A description is a dict: ``key`` and ``secret``, and optionally ``permissions`` (list), ``cidr`` (the network
from which the key may be used, or a list of them), ``enabled``; ``balance`` (currency -> minor units), ``positions``
(dicts of ``symbol``, ``currentQty``, ``avgEntryPrice``), and ``keys``: further keys of the same account, each with key,
secret, permissions, cidr, enabled.
"""
from ipaddress import ip_network
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker.utils.errors import SettingsError

KEY_FIELDS = ('key', 'secret', 'permissions', 'cidr', 'enabled')
FIELDS = KEY_FIELDS + ('balance', 'positions', 'keys')
PERMISSIONS = ('order', 'orderCancel', 'withdraw')
DEFAULT_PERMISSIONS = ('order', 'withdraw')
POSITION_FIELDS = ('symbol', 'currentQty', 'avgEntryPrice')
LONGEST_KEY = 256


def check(description: Any, instruments: Dict[str, Any]) -> Dict[str, Any]:
    """Return the description when an account can be opened from it; raise SettingsError naming what is wrong."""
    if not isinstance(description, dict):
        raise SettingsError('an account is an object with key and secret, not {!r}'.format(description))
    for name in description:
        if name not in FIELDS:
            raise SettingsError('an account has no {!r}; it has {}'.format(name, ', '.join(FIELDS)))
    check_key({name: description[name] for name in KEY_FIELDS if name in description})
    who = 'account {}'.format(description['key'])
    _check_balance(who, description.get('balance') or {})
    for name in ('positions', 'keys'):
        if not isinstance(description.get(name) or [], (list, tuple)):
            raise SettingsError('{}: {} is a list, not {!r}'.format(who, name, description[name]))
    for position in description.get('positions') or []:
        _check_position(who, position, instruments)
    names = [description['key']] + [check_key(key)['key'] for key in description.get('keys') or []]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError('{}: key {} is there twice'.format(who, name))
    return description


def check_key(key: Any) -> Dict[str, Any]:
    """Return the description of a key when it can be used; raise SettingsError naming what is wrong."""
    if not isinstance(key, dict):
        raise SettingsError('a key is an object with key and secret, not {!r}'.format(key))
    for name in key:
        if name not in KEY_FIELDS:
            raise SettingsError('a key has no {!r}; it has {}'.format(name, ', '.join(KEY_FIELDS)))
    for name in ('key', 'secret'):
        _check_text(name, key.get(name))
    who = 'account {}'.format(key['key'])
    permissions_of(who, key.get('permissions'))
    networks_of(who, key.get('cidr'))
    if not isinstance(key.get('enabled', True), bool):
        raise SettingsError('{}: enabled is true or false, not {!r}'.format(who, key['enabled']))
    return key


def permissions_of(who: str, given: Any) -> Optional[List[str]]:
    """Return a list of permissions, None when none was given; raise SettingsError for one that does not exist."""
    if given is None:
        return None
    if not isinstance(given, (list, tuple)):
        raise SettingsError('{}: permissions is a list, not {!r}'.format(who, given))
    for permission in given:
        if permission not in PERMISSIONS:
            raise SettingsError('{}: unknown permission {!r}; there are {}'.format(
                who, permission, ', '.join(PERMISSIONS)))
    return list(given)


def networks_of(who: str, given: Any) -> Optional[str]:
    """Return one or several networks as the engine takes them, joined by commas; None for no limit; SettingsError."""
    if given is None:
        return None
    networks = given.split(',') if isinstance(given, str) else given
    try:
        if not isinstance(networks, (list, tuple)) or not networks:
            raise ValueError
        return ','.join(str(ip_network(network.strip(), strict=False)) for network in networks)
    except (ValueError, AttributeError):
        raise SettingsError('{}: cidr {!r} is no network; take one like 10.0.0.0/8, or a list of them'.format(
            who, given))


def open_account(exchange: Any, description: Dict[str, Any]) -> Any:
    """Open the account on the exchange and return it; SettingsError when the description or a key cannot be used."""
    check(description, exchange.instruments)
    keys = [description] + list(description.get('keys') or [])
    for key in keys:
        if exchange.account_of(key['key']) is not None:
            raise SettingsError('account {}: the key is already in use'.format(key['key']))
    account = exchange.open_account(balances=description.get('balance') or None,
                                    positions=description.get('positions') or ())
    for key in keys:
        add_key(exchange, account, key)
    return account


def add_key(exchange: Any, account: Any, key: Dict[str, Any]) -> Any:
    """Give an account a key as it is described, and return it; SettingsError when somebody has it already."""
    if exchange.account_of(key['key']) is not None:
        raise SettingsError('account {}: the key is already in use'.format(key['key']))
    permissions = permissions_of(key['key'], key.get('permissions'))
    exchange.add_key(account, key['key'], key['secret'],
                     DEFAULT_PERMISSIONS if permissions is None else permissions,
                     networks_of(key['key'], key.get('cidr')))
    added = account.keys[-1]
    added.enabled = key.get('enabled', True)
    return added


def _check_text(name, text):
    # type: (str, Any) -> None
    if not isinstance(text, str) or not text or len(text) > LONGEST_KEY or not text.isprintable() or ' ' in text:
        # The value stays out of the message, for it may be a secret.
        raise SettingsError("an account's {} is 1 to {} printable characters without spaces".format(name, LONGEST_KEY))


def _check_balance(who, balance):
    # type: (str, Any) -> None
    if not isinstance(balance, dict):
        raise SettingsError('{}: balance maps currencies to minor units, for example {{"XBt": 100000000}}, not {!r}'
                            .format(who, balance))
    for currency, amount in balance.items():
        if currency not in ('XBt', 'USDt'):
            raise SettingsError('{}: balance in {!r}; the currencies are XBt and USDt, in minor units'
                                .format(who, currency))
        if not _is_whole(amount) or amount < 0:
            raise SettingsError('{}: balance of {!r} {}; take a whole number of minor units'
                                .format(who, amount, currency))


def _check_position(who, position, instruments):
    # type: (str, Any, Dict[str, Any]) -> None
    if not isinstance(position, dict) or sorted(position) != sorted(POSITION_FIELDS):
        raise SettingsError('{}: a position has {}; this one is {!r}'.format(who, ', '.join(POSITION_FIELDS), position))
    instrument = instruments.get(position['symbol']) if isinstance(position['symbol'], str) else None
    if instrument is None or instrument.kind == 'index':
        raise SettingsError('{}: position in {!r}, which does not trade here'.format(who, position['symbol']))
    if not _is_whole(position['currentQty']) or position['currentQty'] % instrument.lot:
        raise SettingsError('{}: currentQty of {!r} {}; take a whole number of lots of {}'.format(
            who, position['currentQty'], position['symbol'], instrument.lot))
    price = position['avgEntryPrice']
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 < price < 1e12:
        raise SettingsError('{}: avgEntryPrice of {!r} in {}; take a price above 0'.format(
            who, price, position['symbol']))


def _is_whole(value):
    # type: (Any) -> bool
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2 ** 63
