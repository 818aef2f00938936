"""The account and the contract of a run, over REST: what ``status``, ``cancel``, ``flatten`` and ``resume`` share.

They take the settings as a run does, start no local exchange, and work beside a running bot: they share its request
budget and know its orders by its ledger.
"""
from __future__ import absolute_import

import contextlib
import io
import logging
import time
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker import bitmex, local
from market_maker.contracts import settle_scale
from market_maker.rest.names import is_generated
from market_maker.rest.transport import Transport
from market_maker.settings import command_line, settings, validate
from market_maker.state import losses
from market_maker.state.lock import InstanceLock
from market_maker.utils import log
from market_maker.utils.errors import SettingsError
from market_maker.utils.math import decimals
from market_maker.ws.views import unknown_symbol

GONE_WITHIN = 5.0   # seconds for cancelled orders to be gone
PAUSE = 0.2         # seconds between two looks


def add_arguments(parser: Any) -> None:
    """Add what says which account and contract is meant, as for a run."""
    parser.add_argument('symbol', nargs='?', metavar='SYMBOL', help='the contract (default: SYMBOL of settings.py)')
    parser.add_argument('--local', action='store_true', help='use the local exchange, whatever BASE_URL says')
    parser.add_argument('--base-url', metavar='URL', help='use the exchange at this address instead of BASE_URL')


def read_settings() -> None:
    """Read and check the settings without a word but for faults: a run and ``doctor`` tell the rest, stdout is the
    command's."""
    log.setup_custom_logger('root', logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        validate(strict=False)   # a strategy may be the user's own


def opened() -> 'Account':
    """Read the settings and return the account that they name; reads are tried three times, and the last failure is
    told."""
    read_settings()
    return Account(max_retries=2)


class Account(object):
    """One account seen through one symbol; ``bitmex`` is its connector, which has no live tables.

    ``timeout`` is in seconds a request, ``max_retries`` how often a read is repeated (None: as the policy says);
    ``any_symbol`` leaves it to the caller to see whether there is such a contract.
    Building it connects and may raise what a run's start raises, and ConnectionLost where no local exchange runs.
    """

    def __init__(self, timeout: Optional[float] = None, max_retries: Optional[int] = None,
                 any_symbol: bool = False) -> None:
        self.max_retries = max_retries
        self.url = settings.BASE_URL
        self.symbol = command_line().symbol or settings.SYMBOL
        self.prefix = settings.ORDERID_PREFIX
        key, secret = settings.API_KEY, settings.API_SECRET
        if local.is_local(self.url):
            key, secret = local.ensure(self.url, key or '', secret or '', start=False,
                                       symbols=() if any_symbol else (self.symbol,))
        self.key, self.secret = key, secret
        self.bitmex = bitmex.BitMEX(self.url, self.symbol, key, secret, self.prefix,
                                    timeout=timeout or settings.TIMEOUT, transport=Transport(self.url, key, secret),
                                    ws=NoTables())
        self.state = self.bitmex.remember()

    def close(self) -> None:
        """Close every connection."""
        self.bitmex.exit()

    def __enter__(self) -> 'Account':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def instrument(self) -> Dict[str, Any]:
        """Return the contract's row; raise SettingsError when there is no such contract."""
        rows = self.get('instrument', filter={'symbol': self.symbol}, count=1)
        if rows:
            return rows[0]   # type: ignore[no-any-return]
        raise SettingsError(unknown_symbol(self.symbol, [
            row['symbol'] for row in self.get('instrument/active')]))

    def position(self) -> Dict[str, Any]:
        """Return the position's row, {} where there never was one."""
        rows = self.get('position', filter={'symbol': self.symbol}, count=1)
        return rows[0] if rows else {}

    def margin(self, currency: str) -> Dict[str, Any]:
        """Return the margin row of a currency."""
        return self.get('user/margin', currency=currency) or {}   # type: ignore[no-any-return]

    def open_orders(self) -> List[Dict[str, Any]]:
        """Return the account's open orders of the contract, anybody's."""
        return self.get('order', filter={'symbol': self.symbol, 'open': True}, count=500)   # type: ignore[no-any-return]

    def get(self, path: str, **query: Any) -> Any:
        """Return the decoded answer of a read."""
        return self.bitmex._curl_bitmex(path, query, max_retries=self.max_retries)

    def is_own(self, order: Dict[str, Any]) -> bool:
        """Tell whether an order is the bot's: by its name, or because the ledger says so."""
        name = order.get('clOrdID')
        return is_generated(name, self.prefix) or bool(self.bitmex.ledger and self.bitmex.ledger.owns(name))

    def cancel(self, orders: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Cancel orders and return those that are still open some seconds later."""
        log.setup_custom_logger('root', logging.WARNING)   # this may take its time: let us see why
        ids = {order['orderID'] for order in orders}
        deadline = time.monotonic() + GONE_WITHIN
        left = orders
        while left:
            self.bitmex.cancel([order['orderID'] for order in left])
            left = [order for order in self.open_orders() if order['orderID'] in ids]
            if time.monotonic() > deadline:
                break
            time.sleep(PAUSE if left else 0)
        return left

    def running_bot(self) -> Optional[int]:
        """Return the process that quotes this symbol with this prefix on this machine, or None."""
        for other in InstanceLock(self.state.path, '').neighbours():
            if other.alive and other.bot == self.bot:
                return int(other.pid)
        return None

    @property
    def bot(self) -> str:
        """What tells this bot from the others of the account: symbol and prefix."""
        return '{} {}'.format(self.symbol, self.prefix)

    def losses(self) -> losses.Losses:
        """Return the bot's loss watch."""
        return losses.Losses(self.state.file(losses.file_name(self.bot)))


class NoTables(object):
    """What stands in for the live tables where only REST is used."""

    data = {}   # type: Dict[str, Any]

    def exit(self) -> None:
        """Nothing is open."""


def money(amount: Optional[float], currency: str, sign: str = '') -> str:
    """Return an amount of minor units in words, such as ``0.00012345 XBT``."""
    if amount is None:
        return 'unknown'
    scale = settle_scale(currency)
    return '{:{}.{}f} {}'.format(amount / float(scale), sign, len(str(scale)) - 1, currency.upper())


def price(value: Optional[float], instrument: Dict[str, Any]) -> str:
    """Return a price with the decimals of the contract's tick, '-' for none."""
    return '-' if value is None else '{:.{}f}'.format(value, decimals(instrument.get('tickSize') or 1))
