"""The contracts and indices of the local exchange, each with a full instrument row in BitMEX's field names.

Rows follow those that the exchange published on 2026-05-03; XBT7D is the weekly inverse future of the classic bot's
documentation, with the price level of its day.  An ``Instrument`` keeps its row live and answers, in whole numbers,
what the engine asks millions of times: prices as ticks, the value of one lot, rates.  Pure: no clock, no socket,
nothing random.
"""
from collections import OrderedDict
from fractions import Fraction
from typing import Any, Dict, Iterable, Optional, Tuple, Union  # noqa: F401

from market_maker import contracts
from market_maker.simulator.timestamps import DAY, HOUR, iso, next_multiple, seconds_of, span

RATE_SCALE = 10 ** 12  # rates (fees, margins, funding) as whole numbers: 0.0005 is 500000000

FUNDING_INTERVAL = 8 * HOUR
FUNDING_OFFSET = 4 * HOUR    # 04:00, 12:00 and 20:00 UTC
WEEK = 7 * DAY
FRIDAY_NOON = DAY + 12 * HOUR  # after 1970-01-01, a Thursday: the expiry of weekly and quarterly contracts

PERPETUAL = {
    'state': 'Open', 'typ': 'FFWCSX', 'reference': 'BMEX', 'maxPrice': 1000000, 'isQuanto': False, 'isInverse': False,
    'initMargin': 0.01, 'maintMargin': 0.005, 'taxed': True, 'deleverage': True, 'makerFee': 0.0005, 'takerFee': 0.0005,
    'settlementFee': 0, 'fundingBaseRate': 0.0003, 'fundingQuoteRate': 0.0006,
    'fundingInterval': span(FUNDING_INTERVAL),
    'fundingRate': 0.0001, 'indicativeFundingRate': 0.0001, 'fairMethod': 'FundingRate', 'markMethod': 'FairPrice',
    'instantPnl': True, 'minTick': 0.01, 'pool': 'Primary', 'capped': False,
}
INDEX = {
    'state': 'Unlisted', 'typ': 'MRCXXX', 'quoteCurrency': 'USD', 'reference': 'BMI', 'publishInterval': span(60),
    'minPrice': 0.01, 'tickSize': 0.01,
    'isQuanto': False, 'isInverse': False, 'taxed': False, 'deleverage': False, 'hasLiquidity': False, 'openValue': 0,
    'markMethod': 'LastPrice', 'instantPnl': False, 'lastChangePcnt': 0, 'lastTickDirection': 'ZeroPlusTick',
}

# symbol -> (template, own fields, price at the start, contracts held by the unseen rest of the world)
CATALOGUE = OrderedDict([
    ('XBTUSD', (PERPETUAL, {
        'rootSymbol': 'XBT', 'listing': '2016-05-13T12:00:00.000Z', 'front': '2016-05-13T12:00:00.000Z',
        'positionCurrency': 'USD',
        'underlying': 'XBT', 'quoteCurrency': 'USD', 'underlyingSymbol': 'XBT=', 'referenceSymbol': '.BXBT',
        'maxOrderQty': 10000000,
        'minPrice': 0.1, 'lotSize': 100, 'tickSize': 0.1, 'multiplier': -100000000, 'settlCurrency': 'XBt',
        'underlyingToSettleMultiplier': -100000000, 'isInverse': True, 'riskLimit': 20000000000,
        'riskStep': 15000000000,
        'fundingBaseSymbol': '.XBTBON8H', 'fundingQuoteSymbol': '.USDBON8H', 'fundingPremiumSymbol': '.XBTUSDPI8H',
        'prevTotalVolume': 4075314191789, 'prevTotalTurnover': 37882942161064729, 'instrumentID': 2776}, 78176.6,
                182340800)),
    ('ETHUSD', (PERPETUAL, {
        'rootSymbol': 'ETH', 'listing': '2018-08-01T12:00:00.000Z', 'front': '2018-08-01T12:00:00.000Z',
        'underlying': 'ETH', 'quoteCurrency': 'USD', 'underlyingSymbol': 'ETH=', 'referenceSymbol': '.BETH',
        'maxOrderQty': 10000000,
        'minPrice': 0.01, 'lotSize': 1, 'tickSize': 0.01, 'multiplier': 100, 'settlCurrency': 'XBt',
        'quoteToSettleMultiplier': 1279,
        'isQuanto': True, 'riskLimit': 7500000000, 'riskStep': 10000000000,
        'fundingBaseSymbol': '.ETHBON8H', 'fundingQuoteSymbol': '.USDBON8H', 'fundingPremiumSymbol': '.ETHUSDPI8H',
        'prevTotalVolume': 70412190733, 'prevTotalTurnover': 1562319033610217, 'instrumentID': 2325}, 2302.03, 106520)),
    ('XBTUSDT', (PERPETUAL, {
        'rootSymbol': 'XBT', 'listing': '2021-11-10T04:00:00.000Z', 'front': '2021-11-10T04:00:00.000Z',
        'positionCurrency': 'XBT',
        'underlying': 'XBT', 'quoteCurrency': 'USDT', 'underlyingSymbol': 'XBTT=', 'referenceSymbol': '.BXBTT',
        'maxOrderQty': 1000000000,
        'minPrice': 0.1, 'lotSize': 100, 'tickSize': 0.1, 'multiplier': 1, 'settlCurrency': 'USDt',
        'underlyingToPositionMultiplier': 1000000,
        'quoteToSettleMultiplier': 1000000, 'riskLimit': 1000000000000, 'riskStep': 1000000000000,
        'fundingBaseSymbol': '.XBTBON8H', 'fundingQuoteSymbol': '.USDTBON8H', 'fundingPremiumSymbol': '.XBTUSDTPI8H',
        'prevTotalVolume': 602481331900, 'prevTotalTurnover': 30277165410882210, 'instrumentID': 2777}, 78184.5,
                 226895000)),
    ('XBT7D', (PERPETUAL, {
        'rootSymbol': 'XBT', 'typ': 'FFCCSX', 'positionCurrency': 'USD', 'underlying': 'XBT', 'quoteCurrency': 'USD',
        'underlyingSymbol': 'XBT=',
        'referenceSymbol': '.XBT', 'maxOrderQty': 10000000, 'minPrice': 0.01, 'lotSize': 1, 'tickSize': 0.01,
        'multiplier': -100000000,
        'settlCurrency': 'XBt', 'underlyingToSettleMultiplier': -100000000, 'isInverse': True, 'riskLimit': 20000000000,
        'riskStep': 15000000000, 'relistInterval': span(WEEK), 'fairMethod': 'ImpactMidPrice',
        'prevTotalVolume': 18110420,
        'prevTotalTurnover': 4612280114023,
        'instrumentID': 7}, 389.25, 52000)),
    ('.BXBT', (INDEX, {'rootSymbol': 'XBT', 'underlying': 'XBT', 'instrumentID': 1164}, 78176.66, 0)),
    ('.BETH', (INDEX, {'rootSymbol': 'ETH', 'underlying': 'ETH', 'instrumentID': 1165}, 2302.03, 0)),
    ('.BXBTT', (INDEX, {'rootSymbol': 'XBT', 'underlying': 'XBT', 'quoteCurrency': 'USDT', 'instrumentID': 1166},
                78184.59, 0)),
    ('.XBT', (INDEX, {'rootSymbol': 'XBT', 'underlying': 'XBT', 'instrumentID': 1}, 389.25, 0)),
])

NEVER_FOR_DATED = ('fundingBaseRate', 'fundingQuoteRate', 'fundingInterval', 'fundingRate', 'indicativeFundingRate')

# first day (UTC) -> lot, tick of XBTUSD from then on.  BitMEX's notes on its lot size (2021) and tick size (2024).
XBTUSD_GRIDS = (('2016-05-13', 1, 0.5), ('2021-06-08', 100, 0.5), ('2024-07-31', 100, 0.1))
# first day -> maker, taker fee of derivatives (base tier).  BitMEX's fee announcements.
FEES = (('2016-01-01', -0.00025, 0.00075), ('2021-08-18', -0.0001, 0.0005), ('2023-01-17', 0.0002, 0.00075),
        ('2024-11-01', 0.0005, 0.0005))
PROTECTED_SINCE = '2021-02-16'  # first day of price protection (BitMEX, fat-finger rule)


def _day(date: Any) -> str:
    """Return a date (text, datetime.date or Unix seconds) as 'YYYY-MM-DD'."""
    if isinstance(date, (int, float)):
        return iso(date)[:10]
    return date[:10] if isinstance(date, str) else date.isoformat()[:10]


def at(date: Any) -> Tuple[float, int]:
    """Return (tick, lot) of XBTUSD on a day given as text 'YYYY-MM-DD...', datetime.date or Unix seconds.

    BitMEX changed its lot from 1 to 100 contracts on 2021-06-08 and its tick from 0.5 to 0.1 on 2024-07-31.
    """
    day = _day(date)
    rows = [row for row in XBTUSD_GRIDS if row[0] <= day] or [XBTUSD_GRIDS[0]]
    return rows[-1][2], rows[-1][1]


def fees_at(date: Any) -> Tuple[float, float]:
    """Return the (maker, taker) rates of derivatives on a day, as fractions; negative is a rebate."""
    day = _day(date)
    rows = [row for row in FEES if row[0] <= day] or [FEES[0]]
    return rows[-1][1], rows[-1][2]


def catalogue(date: Any = None, symbols: Optional[Iterable[str]] = None) -> 'OrderedDict[str, Instrument]':
    """Return symbol -> Instrument, contracts first; with their indices, whichever ``symbols`` (default: all) are asked
    for.

    ``date`` gives the tick, lot and fees of that day (None: today's).  Raise KeyError for a symbol that does not exist
    here.
    """
    wanted = list(CATALOGUE) if symbols is None else [str(symbol) for symbol in symbols]
    rows = [_row(symbol) for symbol in wanted]
    names = set(wanted) | {row['referenceSymbol'] for row in rows}
    made = OrderedDict((symbol, make(symbol)) for symbol in CATALOGUE if symbol in names)
    if date is not None:
        for instrument in made.values():
            instrument.back_to(date)
    return made


def _row(symbol: str) -> Dict[str, Any]:
    if symbol not in CATALOGUE:
        raise KeyError('no such instrument here: {}; there are {}'.format(symbol, ', '.join(CATALOGUE)))
    template, own = CATALOGUE[symbol][:2]
    row = dict(template, symbol=symbol)
    row.update(own)
    if template is INDEX:
        row['referenceSymbol'] = symbol
    elif row['typ'] != 'FFWCSX':
        for name in NEVER_FOR_DATED:
            del row[name]
    return row


def make(symbol: str) -> 'Instrument':
    """Return a fresh Instrument of the catalogue; KeyError when there is none of that name."""
    row = _row(symbol)
    instrument = Instrument(row)
    instrument.park(CATALOGUE[symbol][2])
    instrument.unseen_interest = CATALOGUE[symbol][3]
    return instrument


def scaled(rate: float) -> int:
    """Return a rate as a whole number of 1/RATE_SCALE."""
    return int(round(rate * RATE_SCALE))


class Instrument(object):
    """One contract or index: its live row and the whole numbers behind it.

    ``row`` is the live dict (BitMEX field names); ``tick`` the price step as float, ``lot`` the size step in
    contracts, ``kind`` as in ``contracts.kind``.  ``buy_sign`` is the sign of a buyer's cost in BitMEX's rows: -1 on
    inverse contracts, else 1.
    """

    def __init__(self, row: Dict[str, Any]):
        self.row = row
        self.symbol = row['symbol']          # type: str
        self.kind = contracts.kind(row)
        self.is_index = self.kind == 'index'
        self.currency = row.get('settlCurrency', '')
        self.buy_sign = -1 if self.kind == 'inverse' else 1
        self.index_symbol = row.get('referenceSymbol', '')
        self.expires = seconds_of(row.get('expiry'))  # Unix seconds, None for perpetuals
        self.parked = True                   # no order has touched the book yet: quotes follow the index
        self.unseen_interest = 0             # contracts of open interest that no account here holds
        self.mark_lot_value = 0              # value of one lot at the mark, minor units
        self.funding_interval = FUNDING_INTERVAL  # type: float  # seconds
        self.funding_at = 0.0                # Unix seconds of the next payment
        self.mark_epoch = 0                  # counts the published marks
        self.mark_pinned = None              # type: Optional[float]
        self.is_protected = True             # price protection holds
        self.set_grid(row['tickSize'], row.get('lotSize', 1))
        self.set_fees(row.get('makerFee', 0), row.get('takerFee', 0))
        self.set_funding_rate(row.get('fundingRate'))

    def __repr__(self) -> str:
        return '<Instrument {}>'.format(self.symbol)

    # -- the grid ----------------------------------------------------------------------------------

    def set_grid(self, tick: float, lot: int) -> None:
        """Set tick and lot in the row and in the numbers derived from them."""
        self.tick, self.lot = tick, lot
        self.order_lot = lot                 # contracts that a new order must be a multiple of
        self.grain = 1                       # ticks that the price of a new order must be a multiple of
        step = Fraction(repr(tick))
        self.tick_top, self.tick_bottom = step.numerator, step.denominator
        self.row['tickSize'] = tick
        if self.is_index:
            return
        self.row['lotSize'] = lot
        size = self.lot_size = abs(self.row['multiplier']) * lot
        # value of a lot = top / ticks on inverse contracts, top * ticks / bottom on the others; all whole numbers
        if self.kind == 'inverse':
            self._value_top, self._value_bottom = size * self.tick_bottom, self.tick_top
        else:
            self._value_top, self._value_bottom = size * self.tick_top, self.tick_bottom
        self.max_ticks = self.row['maxPrice'] * self.tick_bottom // self.tick_top
        self.max_quantity = self.row['maxOrderQty']

    def price_of(self, ticks: int) -> float:
        """Return the price of a whole number of ticks, without binary noise."""
        return ticks * self.tick_top / self.tick_bottom

    def ticks_of(self, price: float) -> Optional[int]:
        """Return a price as a whole number of ticks, or None when it does not lie on the grid."""
        steps = price * self.tick_bottom / self.tick_top
        ticks = int(steps + 0.5) if steps >= 0 else -int(0.5 - steps)
        return ticks if abs(steps - ticks) < 1e-6 else None

    def nearest_ticks(self, price: float) -> int:
        """Return the tick nearest to a price, at least one."""
        return max(1, int(round(price * self.tick_bottom / self.tick_top)))

    def lot_value(self, ticks: int) -> int:
        """Return the value of one lot in minor units, rounded halves up: the unit of all money (BitMEX, note on lot
        sizes).
        """
        if self.kind == 'inverse':
            bottom = ticks * self._value_bottom
            return (2 * self._value_top + bottom) // (2 * bottom)
        return (2 * self._value_top * ticks + self._value_bottom) // (2 * self._value_bottom)

    def ticks_of_value(self, lot_value: int, up: bool) -> int:
        """Return the price, in ticks, at which one lot is worth that much (above zero), rounded up or down."""
        if self.kind == 'inverse':
            top, bottom = self._value_top, self._value_bottom * lot_value
        else:
            top, bottom = self._value_bottom * lot_value, self._value_top
        return -(-top // bottom) if up else top // bottom

    def lot_value_at(self, price: float) -> int:
        """Return the value of one lot at a price off the grid (mark and index prices), in minor units."""
        return contracts.lot_value(self.row, self.lot, price)

    # -- rates -------------------------------------------------------------------------------------

    def set_fees(self, maker: float, taker: float) -> None:
        """Set the fee rates, as fractions; negative is a rebate."""
        self.maker_fee, self.taker_fee = maker, taker
        self.maker_rate, self.taker_rate = scaled(maker), scaled(taker)
        if not self.is_index:
            self.row['makerFee'], self.row['takerFee'] = maker, taker
        self.commission = max(maker, taker, self.row.get('settlementFee', 0))
        self.commission_rate = scaled(self.commission)

    def set_funding_rate(self, rate: Optional[float]) -> None:
        """Set the rate that is due at the next funding time; None on contracts without funding."""
        self.funding_rate = rate or 0.0
        self.funding_scaled = scaled(self.funding_rate)
        if rate is not None:
            self.row['fundingRate'] = rate

    @property
    def timeframe(self) -> str:
        """What a contract is called in its series: 'perpetual', 'weekly' when it is listed anew each week, else
        'quarterly'.
        """
        if self.expires is None:
            return 'perpetual'
        return 'weekly' if self.row.get('relistInterval') == span(WEEK) else 'quarterly'

    # -- life --------------------------------------------------------------------------------------

    def back_to(self, date: Any) -> None:
        """Take the tick, lot, fees and rules of an earlier day (the grid changed on XBTUSD alone, the others on all
        contracts).
        """
        if self.is_index:
            return
        self.set_fees(*fees_at(date))
        self.is_protected = _day(date) >= PROTECTED_SINCE
        if self.symbol == 'XBTUSD':
            price = self.row['lastPrice']
            self.set_grid(*at(date))
            self.row['minPrice'] = self.tick
            self.park(price)

    def park(self, price: float) -> None:
        """Give all price fields the values of a quiet contract around ``price``, one tick between bid and ask."""
        row = self.row
        if self.is_index:
            row['lastPrice'] = row['markPrice'] = price
            return
        ticks = self.nearest_ticks(price)
        last = self.price_of(ticks)
        for name in ('lastPrice', 'lastPriceProtected', 'prevPrice24h', 'prevClosePrice', 'vwap', 'highPrice',
                     'lowPrice', 'bidPrice', 'impactBidPrice'):
            row[name] = last
        ask = self.price_of(ticks + 1)
        row['askPrice'] = row['impactAskPrice'] = ask
        row['midPrice'] = row['impactMidPrice'] = round((last + ask) / 2, 8)
        row['lastTickDirection'] = 'ZeroPlusTick'
        row['lastChangePcnt'] = 0
        row['hasLiquidity'] = True
        for name in ('volume', 'volume24h', 'turnover', 'turnover24h', 'homeNotional24h', 'foreignNotional24h'):
            row[name] = 0
        row['totalVolume'] = row['prevTotalVolume']
        row['totalTurnover'] = row['prevTotalTurnover']

    def begin(self, now: float) -> None:
        """Set the dates of the row as they stand at ``now``: hourly session, next funding, and the week of a weekly
        future, next week's in the last hour before one expires: nobody wants to begin with that.
        """
        row = self.row
        row['timestamp'] = iso(now)
        if self.is_index:
            return
        row['openingTimestamp'] = iso(next_multiple(now, HOUR) - HOUR)
        row['closingTimestamp'] = iso(next_multiple(now, HOUR))
        if row['typ'] == 'FFWCSX':
            self.funding_at = next_multiple(now, FUNDING_INTERVAL, FUNDING_OFFSET)
            row['fundingTimestamp'] = iso(self.funding_at)
            return
        self.expires = next_multiple(now + HOUR, WEEK, FRIDAY_NOON)
        row['listing'] = row['front'] = iso(self.expires - WEEK)
        row['expiry'] = row['settle'] = row['listedSettle'] = iso(self.expires)

    def notionals(self, quantity: int, value: int) -> Tuple[float, float]:
        """Return (home, foreign) of a quantity worth ``value`` minor units, both positive: underlying and quote
        currency.
        """
        if self.kind == 'inverse':
            return value / 100000000, float(quantity)
        to_settle = self.row['quoteToSettleMultiplier']
        if self.kind == 'quanto':
            return quantity * self.row['multiplier'] / to_settle, value / to_settle
        return quantity / self.row['underlyingToPositionMultiplier'], value / to_settle
