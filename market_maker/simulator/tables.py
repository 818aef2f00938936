"""The public tables of one contract: trades, quotes, the three order book views, and the live fields of its instrument
row.

A trade and a quote are told with every event.  Book levels and instrument fields are only marked and told when changes
are collected, the two short book views on a grid of tenths of a second, as BitMEX throttles them.  Pure.
"""
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.simulator.bins import Bins
from market_maker.simulator.book import Book
from market_maker.simulator.instruments import Instrument
from market_maker.simulator.journal import Journal
from market_maker.simulator.schema import ALL_POOLS, PRIMARY_POOL

TRADES_KEPT = 20000  # rows, per contract
QUOTES_KEPT = 10000
IDS_OF_A_SYMBOL = 100000000
SHORT_DEPTHS = {'orderBookL2_25': 25, 'orderBookL2_100': 100}   # levels a side
TEN = 10
# fields of an instrument that follow its trades: those of 24 hours (the last three only where there were any), others
DAY_FIELDS = ('prevPrice24h', 'lastChangePcnt', 'volume24h', 'turnover24h', 'homeNotional24h', 'foreignNotional24h',
              'vwap', 'highPrice', 'lowPrice')
TRADE_FIELDS = ('lastPrice', 'lastPriceProtected', 'lastTickDirection', 'volume', 'turnover', 'totalVolume',
                'totalTurnover', 'openInterest', 'openValue')
IMPACT_VALUE = {'XBt': 1000000000, 'USDt': 500000000000}  # 10 XBT; 500,000 USDT: what impact prices trade, minor units


class Tape(object):
    """What the public sees of one contract."""

    def __init__(self, instrument: Instrument, book: Book, journal: Journal, stamp: str):
        self.instrument = instrument
        self.book = book
        self.journal = journal
        self.symbol = instrument.symbol
        self.bins = Bins(instrument)
        self.trades = deque(maxlen=TRADES_KEPT)   # type: Deque[Dict[str, Any]]
        self.quotes = deque(maxlen=QUOTES_KEPT)   # type: Deque[Dict[str, Any]]
        self.new_trades = []                      # type: List[Dict[str, Any]]
        self.new_quotes = []                      # type: List[Dict[str, Any]]
        self.changes = {}                         # type: Dict[str, Any]  # instrument fields not yet told
        self.last_ticks = instrument.nearest_ticks(instrument.row['lastPrice'])
        self.direction = 'ZeroPlusTick'
        self.has_traded = False                   # since the last settle
        self.session_volume = 0                   # of this hourly session
        self.session_turnover = 0
        self.long_interest = 0                    # contracts held long by all accounts here
        self.interest_told = 0
        # bid ticks and size, ask ticks and size of the last quote
        self._touch = (None, None, None, None)  # type: Any
        self._ids = instrument.row['instrumentID'] * IDS_OF_A_SYMBOL
        self.book_moved = False                   # since the short views were told
        self.impact_moved = True
        # short book view -> its rows as told; the deeper one is kept from the first time that somebody looks at it
        self.short_rows = {'orderBookL2_25': {}}  # type: Dict[str, Dict[Tuple[str, int], Dict[str, Any]]]
        self.ten_row = {'symbol': self.symbol, 'bids': [], 'asks': [], 'timestamp': stamp,
                        'pool': ALL_POOLS}  # type: Dict[str, Any]
        self._begin(stamp)

    def _begin(self, stamp: str) -> None:
        """A contract begins with the last print and quote of the session before: its parked prices, so that no client
        finds nothing.
        """
        row = self.instrument.row
        home, foreign = self.instrument.notionals(self.instrument.lot, self.instrument.lot_value(self.last_ticks))
        self.trades.append({
            'timestamp': stamp, 'symbol': self.symbol, 'side': 'Buy', 'size': self.instrument.lot,
            'price': row['lastPrice'],
            'tickDirection': 'ZeroPlusTick', 'trdMatchID': '00000000-0000-0000-0000-000000000000',
            'grossValue': self.instrument.lot_value(self.last_ticks), 'homeNotional': home, 'foreignNotional': foreign,
            'trdType': 'Regular', 'pool': PRIMARY_POOL})
        self.quotes.append({'timestamp': stamp, 'symbol': self.symbol, 'bidSize': 0, 'bidPrice': row['bidPrice'],
                            'askPrice': row['askPrice'], 'askSize': 0, 'pool': ALL_POOLS})

    def repark(self, price: float, stamp: str) -> None:
        """Let a contract that nobody has traded yet follow its index: prices, opening print, quote and bins."""
        row = self.instrument.row
        if self.instrument.nearest_ticks(price) == self.last_ticks:
            return
        before = dict(row)
        self.instrument.park(price)
        self.changes.update((name, value) for name, value in row.items() if before.get(name) != value)
        self.last_ticks = self.instrument.nearest_ticks(row['lastPrice'])
        self.trades.clear()
        self.bins = Bins(self.instrument)
        self._begin(stamp)
        self.new_quotes.append(self.quotes[-1])

    # -- trades ------------------------------------------------------------------------------------

    def print_trade(self, side: str, size: int, ticks: int, price: float, value: int, notionals: Tuple[float, float],
                    match_id: str, stamp: str) -> None:
        """Append a trade; ``side`` is the taker's, ``value`` in minor units, ``notionals`` are home and foreign."""
        last = self.last_ticks
        if ticks > last:
            self.direction = 'PlusTick'
        elif ticks < last:
            self.direction = 'MinusTick'
        elif self.direction == 'PlusTick':
            self.direction = 'ZeroPlusTick'
        elif self.direction == 'MinusTick':
            self.direction = 'ZeroMinusTick'
        self.last_ticks = ticks
        home, foreign = notionals
        row = {'timestamp': stamp, 'symbol': self.symbol, 'side': side, 'size': size, 'price': price,
               'tickDirection': self.direction,
               'trdMatchID': match_id, 'grossValue': value, 'homeNotional': home, 'foreignNotional': foreign,
               'trdType': 'Regular', 'pool': PRIMARY_POOL}
        self.trades.append(row)
        self.new_trades.append(row)
        self.bins.minute.add(ticks, size, value)
        self.session_volume += size
        self.session_turnover += value
        self.has_traded = True

    # -- quotes ------------------------------------------------------------------------------------

    def check_quote(self, stamp: str) -> None:
        """Append a quote when the best price or size of a side is another than in the last one."""
        bids, asks = self.book.bids, self.book.asks
        bid = ask = None
        if bids.prices:
            bid = bids.levels[bids.prices[-1]] if not bids.invisible else bids.touch()
        if asks.prices:
            ask = asks.levels[asks.prices[-1]] if not asks.invisible else asks.touch()
        touch = (bid.ticks if bid else None, bid.quantity if bid else None, ask.ticks if ask else None, ask.quantity
                 if ask else None)
        if touch == self._touch:
            return
        self._touch = touch
        row = {'timestamp': stamp, 'symbol': self.symbol, 'pool': ALL_POOLS}  # type: Dict[str, Any]
        if bid:
            row['bidSize'] = touch[1]
            row['bidPrice'] = bid.price
        if ask:
            row['askPrice'] = ask.price
            row['askSize'] = touch[3]
        self.quotes.append(row)
        self.new_quotes.append(row)

    # -- collecting --------------------------------------------------------------------------------

    def settle(self, stamp: str) -> None:
        """Tell all that is marked."""
        tell, symbol = self.journal.tell, self.symbol
        if self.new_trades:
            tell('trade', 'insert', self.new_trades, None, symbol)
            self.new_trades = []
        if self.new_quotes:
            tell('quote', 'insert', self.new_quotes, None, symbol)
            self.new_quotes = []
        if self.book.dirty:
            self._settle_book(stamp)
        if self.has_traded:
            self._settle_trades()
        if self.changes:
            changes = self.changes
            self.changes = {}
            changes['symbol'] = symbol
            changes['timestamp'] = self.instrument.row['timestamp'] = stamp
            tell('instrument', 'update', [changes], None, symbol)

    def _settle_book(self, stamp: str) -> None:
        deleted = []   # type: List[Dict[str, Any]]
        updated = []   # type: List[Dict[str, Any]]
        inserted = []  # type: List[Dict[str, Any]]
        symbol, ids = self.symbol, self._ids
        dirty = self.book.dirty
        self.book.dirty = []
        self.book_moved = self.impact_moved = True
        for level in dirty:
            level.is_dirty = False
            told, size = level.row, level.quantity  # type: Any, int
            if told is None and not size or told is not None and told['size'] == size:
                continue
            if not size:
                deleted.append({'symbol': symbol, 'id': told['id'], 'side': told['side'], 'price': level.price,
                                'timestamp': stamp,
                                'transactTime': level.changed})
                level.row = None
                continue
            level.row = row = {'symbol': symbol, 'id': ids + level.ticks, 'side': level.side.name, 'size': size,
                               'price': level.price, 'timestamp': stamp, 'transactTime': level.changed,
                               'pool': ALL_POOLS}
            (inserted if told is None else updated).append(row)
        tell = self.journal.tell
        if deleted:
            tell('orderBookL2', 'delete', deleted, None, symbol)
        if updated:
            tell('orderBookL2', 'update', updated, None, symbol)
        if inserted:
            tell('orderBookL2', 'insert', inserted, None, symbol)

    def _settle_trades(self) -> None:
        """Derive the trade fields of the instrument row."""
        self.has_traded = False
        self.set_day()
        row, instrument = self.instrument.row, self.instrument
        last = instrument.price_of(self.last_ticks)
        volume, turnover = self.session_volume, self.session_turnover
        interest = instrument.unseen_interest + self.long_interest
        self._put(TRADE_FIELDS, (
            last, last, self.direction, volume, turnover, row['prevTotalVolume'] + volume,
            row['prevTotalTurnover'] + turnover, interest, interest // instrument.lot * instrument.mark_lot_value))

    def set_day(self) -> None:
        """Derive what the instrument row tells of the last 24 hours: with every trade, and as old ones pass out of
        them.
        """
        instrument, past, minute = self.instrument, self.bins.past, self.bins.minute
        price = instrument.price_of
        volume, turnover = past.volume + minute.volume, past.turnover + minute.turnover
        home, foreign = instrument.notionals(volume, turnover)
        before = price(self.bins.day_ago)
        values = (before, round(price(self.last_ticks) / before - 1, 4), volume, turnover, home, foreign)
        if volume:
            weighted = past.weighted + minute.weighted
            traded = past if not minute.trades else minute if not past.trades else None
            values += (round(weighted / volume * instrument.tick_top / instrument.tick_bottom, 4),
                       price(traded.high if traded else max(past.high, minute.high)),
                       price(traded.low if traded else min(past.low, minute.low)))  # type: ignore[assignment]
        self._put(DAY_FIELDS, values)

    def _put(self, names: Tuple[str, ...], values: Tuple[Any, ...]) -> None:
        """Change fields of the instrument row, none of them to nothing, as many as there are values; told at the next
        settle.
        """
        row, changes = self.instrument.row, self.changes
        for name, value in zip(names, values):
            if row.get(name) != value:
                row[name] = changes[name] = value

    def set(self, name: str, value: Any) -> None:
        """Change a field of the instrument row, None empties it; told at the next settle."""
        row = self.instrument.row
        if row.get(name) == value:
            return
        if value is None:
            del row[name]
        else:
            row[name] = value
        self.changes[name] = value

    def set_interest(self) -> None:
        """Derive open interest and its value at the mark."""
        interest = self.instrument.unseen_interest + self.long_interest
        self.set('openInterest', interest)
        self.set('openValue', interest // self.instrument.lot * self.instrument.mark_lot_value)

    # -- on the clock ------------------------------------------------------------------------------

    def set_prices(self) -> None:
        """Refresh bid, ask and impact prices of the instrument row (BitMEX does so on a timer, not with every
        change).
        """
        if self.instrument.parked or not self.impact_moved:
            return
        self.impact_moved = False
        bid, _, ask, _ = self.book.touch()
        price = self.instrument.price_of
        self.set('bidPrice', None if bid is None else price(bid))
        self.set('askPrice', None if ask is None else price(ask))
        self.set('midPrice', None if bid is None or ask is None else round((price(bid) + price(ask)) / 2, 8))
        worth = IMPACT_VALUE[self.instrument.currency]
        low, high = self.book.average('Buy', worth), self.book.average('Sell', worth)
        self.set('impactBidPrice', None if low is None else round(low, 4))
        self.set('impactAskPrice', None if high is None else round(high, 4))
        if low is None or high is None:
            self.set('impactMidPrice', None)
            self.set('hasLiquidity', False)
            return
        half = self.instrument.tick / 2
        self.set('impactMidPrice', round(round((low + high) / 2 / half) * half, 8))
        self.set('hasLiquidity', high / low - 1 <= self.instrument.row['maintMargin'])

    def close_session(self, opening: str, closing: str) -> None:
        """End the hourly session: volumes start again, the mark becomes prevClosePrice."""
        row = self.instrument.row
        self.set('openingTimestamp', opening)
        self.set('closingTimestamp', closing)
        self.set('prevClosePrice', row.get('markPrice'))
        self.set('prevTotalVolume', row['prevTotalVolume'] + self.session_volume)
        self.set('prevTotalTurnover', row['prevTotalTurnover'] + self.session_turnover)
        self.session_volume = self.session_turnover = 0
        self.set('volume', 0)
        self.set('turnover', 0)

    def tell_short_views(self, stamp: str, skipped: Any) -> None:
        """Tell what changed in the short book views since the last time."""
        if not self.book_moved:
            return
        self.book_moved = False
        for table in self.short_rows:
            if table not in skipped:
                for action, changes in self._step(table, stamp):
                    if changes:
                        self.journal.tell(table, action, changes, None, self.symbol)
        if 'orderBook10' not in skipped:
            self._tell_10(self.book.bids.top(TEN), self.book.asks.top(TEN), stamp)

    def short_view(self, table: str, stamp: str) -> List[Dict[str, Any]]:
        """Return the rows of a short book view as told so far."""
        if table not in self.short_rows:
            self.short_rows[table] = {}
            self._step(table, stamp)
        return list(self.short_rows[table].values())

    def _step(self, table: str, stamp: str) -> List[Tuple[str, List[Dict[str, Any]]]]:
        """Bring the rows of a short book view up to date; return what changed in them, action by action."""
        depth = SHORT_DEPTHS[table]
        bids, asks = self.book.bids.top(depth), self.book.asks.top(depth)
        told = self.short_rows[table]
        rows = {}      # type: Dict[Tuple[str, int], Dict[str, Any]]
        updated = []   # type: List[Dict[str, Any]]
        inserted = []  # type: List[Dict[str, Any]]
        for level in asks + bids:
            key = (level.side.name, level.ticks)
            before = told.pop(key, None)
            if before is not None and before['size'] == level.quantity:
                rows[key] = before
                continue
            rows[key] = row = {'symbol': self.symbol, 'id': self._ids + level.ticks, 'side': level.side.name,
                               'size': level.quantity,
                               'price': level.price, 'timestamp': stamp, 'transactTime': level.changed,
                               'pool': ALL_POOLS}
            (inserted if before is None else updated).append(row)
        deleted = [{'symbol': self.symbol, 'id': row['id'], 'side': row['side'], 'price': row['price'],
                    'timestamp': stamp,
                    'transactTime': stamp} for row in told.values()]
        self.short_rows[table] = rows
        return [('delete', deleted), ('update', updated), ('insert', inserted)]

    def _tell_10(self, bids: Any, asks: Any, stamp: str) -> None:
        row = {'symbol': self.symbol, 'bids': [[level.price, level.quantity] for level in bids],
               'asks': [[level.price, level.quantity] for level in asks], 'timestamp': stamp, 'pool': ALL_POOLS}
        if row['bids'] == self.ten_row['bids'] and row['asks'] == self.ten_row['asks']:
            return
        self.ten_row = row
        self.journal.tell('orderBook10', 'update', [row], None, self.symbol)

    def book_rows(self, depth: int) -> List[Dict[str, Any]]:
        """Return the rows of orderBookL2, asks first and highest price first; ``depth`` levels a side, 0 for all."""
        asks = self.book.asks.top(depth)
        return [level.row for level in reversed(asks) if level.row] + [level.row for level in self.book.bids.top(depth)
                                                                       if level.row]
