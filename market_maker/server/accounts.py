"""Accounts as they are described outside: by a command line, a file, a request or a test.

Pure.  A description is a dict: ``key`` and ``secret``, and optionally ``balance`` (currency -> minor units),
``positions`` (dicts of ``symbol``, ``currentQty``, ``avgEntryPrice``), ``permissions`` (list) and ``cidr`` (network
from which the key may be used).
"""
from ipaddress import ip_network
from typing import Any, Dict  # noqa: F401

from market_maker.utils.errors import SettingsError

FIELDS = ('key', 'secret', 'balance', 'positions', 'permissions', 'cidr')
PERMISSIONS = ('order', 'orderCancel', 'withdraw')
POSITION_FIELDS = ('symbol', 'currentQty', 'avgEntryPrice')
LONGEST_KEY = 256


def check(description: Any, instruments: Dict[str, Any]) -> Dict[str, Any]:
    """Return the description when an account can be opened from it; raise SettingsError naming what is wrong."""
    if not isinstance(description, dict):
        raise SettingsError('an account is an object with key and secret, not {!r}'.format(description))
    for name in description:
        if name not in FIELDS:
            raise SettingsError('an account has no {!r}; it has {}'.format(name, ', '.join(FIELDS)))
    for name in ('key', 'secret'):
        _check_key(name, description.get(name))
    who = 'account {}'.format(description['key'])
    _check_balance(who, description.get('balance') or {})
    for name in ('positions', 'permissions'):
        if not isinstance(description.get(name) or [], (list, tuple)):
            raise SettingsError('{}: {} is a list, not {!r}'.format(who, name, description[name]))
    for position in description.get('positions') or []:
        _check_position(who, position, instruments)
    for permission in description.get('permissions') or []:
        if permission not in PERMISSIONS:
            raise SettingsError('{}: unknown permission {!r}; there are {}'.format(
                who, permission, ', '.join(PERMISSIONS)))
    _check_network(who, description.get('cidr'))
    return description


def open_account(exchange: Any, description: Dict[str, Any]) -> Any:
    """Open the account on the exchange and return it; SettingsError when the description or its key cannot be used."""
    check(description, exchange.instruments)
    if exchange.account_of(description['key']) is not None:
        raise SettingsError('account {}: the key is already in use'.format(description['key']))
    options = {'balances': description.get('balance') or None, 'positions': description.get('positions') or (),
               'cidr': description.get('cidr')}  # type: Dict[str, Any]
    if description.get('permissions') is not None:
        options['permissions'] = tuple(description['permissions'])
    return exchange.open_account(description['key'], description['secret'], **options)


def _check_key(name, text):
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


def _check_network(who, cidr):
    # type: (str, Any) -> None
    try:
        if cidr is not None:
            ip_network(cidr, strict=False)
    except ValueError:
        raise SettingsError('{}: cidr {!r} is no network; take one like 10.0.0.0/8'.format(who, cidr))


def _is_whole(value):
    # type: (Any) -> bool
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2 ** 63
