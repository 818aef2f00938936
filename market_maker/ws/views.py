"""Questions to the live tables, answered from memory: the touch, the ticker, the position, own orders, the book.

Pure.  Every answer is at once; rows that are handed out are the live ones, lists are fresh.
"""
import difflib
import functools
from typing import Any, Dict, Iterable, List, Optional, Tuple  # noqa: F401

from market_maker.utils.errors import MarketEmptyError, SettingsError
from market_maker.utils.math import decimals, toNearest
from market_maker.ws.tables import Row, Tables  # noqa: F401

# What strategies read of a position without asking whether there is one.
NO_POSITION = ('currentQty', 'avgCostPrice', 'avgEntryPrice', 'openOrderBuyQty', 'openOrderSellQty',
               'openOrderBuyCost', 'openOrderSellCost', 'liquidationPrice', 'marginCallPrice', 'bankruptPrice',
               'breakEvenPrice', 'markPrice', 'markValue', 'maintMargin', 'initMargin', 'posMargin', 'homeNotional',
               'foreignNotional', 'realisedPnl', 'unrealisedPnl', 'unrealisedGrossPnl', 'unrealisedPnlPcnt',
               'unrealisedRoePcnt', 'leverage')
BOOKS = ('orderBookL2', 'orderBookL2_25')


_rounded = functools.lru_cache(maxsize=1024)(toNearest)   # the same few prices, again and again


class Touch:
    """The best bid and ask of every symbol, from the quotes or the instrument row, whichever is newer.

    BitMEX, instrument guide: an instrument's bid and ask are a snapshot that a timer refreshes, quotes come with each
    change.  Messages of different tables come in any order, so the exchange's own time stamps decide.
    """

    def __init__(self):
        # type: () -> None
        self.quotes = {}   # type: Dict[str, Row]  # symbol -> its newest quote
        self._stamps = {}  # type: Dict[str, str]  # symbol -> time stamp of the newest change of its row's bid or ask

    def quoted(self, rows):
        # type: (Iterable[Row]) -> None
        """Take note of rows of the quote table, oldest first."""
        for row in rows:
            self.quotes[row.get('symbol', '')] = row

    def refreshed(self, rows):
        # type: (Iterable[Row]) -> None
        """Take note of changes of the instrument table."""
        for row in rows:
            if 'bidPrice' in row or 'askPrice' in row:
                self._stamps[row.get('symbol', '')] = row.get('timestamp') or ''

    def prices(self, instrument):
        # type: (Row) -> Tuple[Optional[float], Optional[float]]
        """Return (bid, ask) of a live instrument row; None stands for a side without orders."""
        symbol = instrument['symbol']
        quote = self.quotes.get(symbol)
        if quote is not None and (quote.get('timestamp') or '') >= self._stamps.get(symbol, ''):
            return quote.get('bidPrice'), quote.get('askPrice')
        return instrument.get('bidPrice'), instrument.get('askPrice')


def get_instrument(tables, symbol):
    # type: (Tables, str) -> Row
    """Return the live row of an instrument or index, with ``tickLog``, the decimals of its tick.

    Raise SettingsError, naming the nearest symbol, when there is none.
    """
    row = tables.row('instrument', symbol)
    if row is None:
        raise SettingsError(unknown_symbol(symbol, (known['symbol'] for known in tables.rows('instrument'))))
    digits = decimals(row['tickSize']) if row.get('tickSize') else 0
    if row.get('tickLog') != digits:
        row['tickLog'] = digits
    return row


def unknown_symbol(symbol, known):
    # type: (str, Iterable[str]) -> str
    """Return one line about a symbol that the exchange does not have, with the nearest that it has."""
    near = difflib.get_close_matches(symbol.upper(), list(known), 1, 0.5)
    return 'The exchange has no instrument {}{}'.format(
        symbol, '; did you mean {}?'.format(near[0]) if near else ': check SYMBOL, or the symbol on the command line')


def get_ticker(tables, touch, symbol):
    # type: (Tables, Touch, str) -> Dict[str, float]
    """Return a new dict of the prices last, buy, sell and mid, each on the tick.

    buy is the best bid, sell the best ask; where one is missing the last price stands in.  An index trades nowhere: all
    four are its mark price.  Raise MarketEmptyError when there is no price at all.
    """
    row = get_instrument(tables, symbol)
    if symbol.startswith('.'):
        last = bid = ask = _first(row.get('markPrice'), row.get('lastPrice'))
    else:
        best_bid, best_ask = touch.prices(row)
        last = _first(row.get('lastPrice'), row.get('markPrice'), best_bid, best_ask)
        bid, ask = _first(best_bid, last), _first(best_ask, last)
    if last is None or bid is None or ask is None:
        raise MarketEmptyError('{} has no price: nothing is bid or asked, and nothing has traded'.format(symbol))
    tick = row.get('tickSize') or 0.01
    prices = {'last': last, 'buy': bid, 'sell': ask, 'mid': (float(bid) + float(ask)) / 2}
    return {name: _rounded(price, tick) for name, price in prices.items()}


def position(tables, symbol):
    # type: (Tables, str) -> Row
    """Return the live position row of a symbol, or a new row of zeros when the account never had one."""
    for row in tables.rows('position'):
        if row.get('symbol') == symbol:
            return row
    return dict(dict.fromkeys(NO_POSITION, 0), symbol=symbol, isOpen=False)


def funds(tables, currency='XBt'):
    # type: (Tables, str) -> Row
    """Return the live margin row of a currency (amounts in its minor unit); without one, the first there is.

    Raise KeyError when the account has no margin row at all, as before a login.
    """
    rows = tables.rows('margin')
    for row in rows:
        if row.get('currency') == currency:
            return row
    if not rows:
        raise KeyError('margin')
    return rows[0]


def open_orders(tables, prefix=''):
    # type: (Tables, str) -> List[Row]
    """Return the live rows of the open orders whose clOrdID begins with ``prefix``; all of them for ''."""
    return [row for row in tables.rows('order')
            if (row.get('clOrdID') or '').startswith(prefix) and row.get('leavesQty')]


def market_depth(tables, symbol):
    # type: (Tables, str) -> List[Row]
    """Return the live rows of a symbol's book, highest price first; empty when no book is subscribed to."""
    for name in BOOKS:
        rows = [row for row in tables.rows(name) if row.get('symbol') == symbol]
        if rows:
            return sorted(rows, key=lambda row: -row['price'])
    return []


def _first(*values):
    # type: (*Optional[float]) -> Optional[float]
    for value in values:
        if value is not None:
            return value
    return None
