"""Trades and quotes of a contract summed up by minute, five minutes, hour and day, and over the last 24 hours.

A bin is stamped with its end; its open is the close of the bin before, also where its own trades lie elsewhere; a
minute without trades makes a row all the same, with the last price throughout (BitMEX's bucketed tables).  Pure.
"""
from collections import OrderedDict, deque
from typing import Any, Deque, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.simulator.instruments import Instrument
from market_maker.simulator.schema import ALL_POOLS
from market_maker.simulator.timestamps import DAY, HOUR, MINUTE, iso

SIZES = OrderedDict([('1m', MINUTE), ('5m', 5 * MINUTE), ('1h', HOUR), ('1d', DAY)])
KEPT = {'1m': 2880, '5m': 2016, '1h': 1500, '1d': 750}  # rows
MINUTES_OF_A_DAY = 1440


class Bucket(object):
    """The trades of one stretch of time, added up; prices in ticks."""

    __slots__ = ('open', 'high', 'low', 'close', 'trades', 'volume', 'weighted', 'last_size', 'turnover')

    def __init__(self, close: int) -> None:
        self.open = self.high = self.low = self.close = close
        self.trades = self.volume = self.turnover = self.last_size = 0
        self.weighted = 0  # sum of ticks times size

    def add(self, ticks: int, size: int, value: int) -> None:
        """Count one trade."""
        if not self.trades:
            self.high = self.low = ticks
        elif ticks > self.high:
            self.high = ticks
        elif ticks < self.low:
            self.low = ticks
        self.close = ticks
        self.trades += 1
        self.volume += size
        self.weighted += ticks * size
        self.last_size = size
        self.turnover += value

    def merge(self, later: 'Bucket') -> None:
        """Count all that a later stretch counted."""
        if later.trades:
            if not self.trades:
                self.high, self.low = later.high, later.low
            self.high = max(self.high, later.high)
            self.low = min(self.low, later.low)
            self.last_size = later.last_size
        self.close = later.close
        self.trades += later.trades
        self.volume += later.volume
        self.weighted += later.weighted
        self.turnover += later.turnover

    def row(self, instrument: Instrument, end: float) -> Dict[str, Any]:
        """Return the row of tradeBin."""
        price = instrument.price_of
        home, foreign = instrument.notionals(self.volume, self.turnover)
        vwap = round(self.weighted / self.volume * instrument.tick_top / instrument.tick_bottom,
                     4) if self.volume else price(self.close)
        return {'timestamp': iso(end), 'symbol': instrument.symbol, 'open': price(self.open), 'high': price(self.high),
                'low': price(self.low),
                'close': price(self.close), 'trades': self.trades, 'volume': self.volume, 'vwap': vwap,
                'lastSize': self.last_size,
                'turnover': self.turnover, 'homeNotional': home, 'foreignNotional': foreign, 'pool': ALL_POOLS}


class Bins(object):
    """The bins of one contract: closed ones as rows by size, running ones as buckets, and the day gone by."""

    def __init__(self, instrument: Instrument):
        self.instrument = instrument
        start = instrument.nearest_ticks(instrument.row['lastPrice'])
        self.running = OrderedDict((size, Bucket(start)) for size in SIZES)
        self.trade_rows = {size: deque(maxlen=KEPT[size]) for size in SIZES}  # type: Dict[str, Deque[Dict[str, Any]]]
        self.quote_rows = {size: deque(maxlen=KEPT[size]) for size in SIZES}  # type: Dict[str, Deque[Dict[str, Any]]]
        self.minute = self.running['1m']
        self._day = deque()  # type: Deque[Bucket]
        self.past = Bucket(start)  # the whole minutes of the last 24 hours
        self.day_ago = start       # ticks, the close of the minute before them

    def close_minute(self, end: float, quote: Dict[str, Any]) -> List[Tuple[str, str, Dict[str, Any]]]:
        """Close the running minute at ``end`` (Unix seconds, a whole minute); return (table, size, row) for every bin
        that ends there.
        """
        minute = self.minute
        closed = []
        for size, length in SIZES.items():
            if size != '1m':
                self.running[size].merge(minute)
            if end % length:
                continue
            bucket = self.running[size]
            row = bucket.row(self.instrument, end)
            self.trade_rows[size].append(row)
            closed.append(('tradeBin', size, row))
            last = dict(quote, timestamp=row['timestamp'])
            self.quote_rows[size].append(last)
            closed.append(('quoteBin', size, last))
            self.running[size] = Bucket(minute.close)
        self.minute = self.running['1m']
        self._roll(minute)
        return closed

    def _roll(self, minute: Bucket) -> None:
        """Let the day of 24 hours move on by one minute."""
        day, past = self._day, self.past
        day.append(minute)
        past.merge(minute)
        if len(day) <= MINUTES_OF_A_DAY:
            return
        gone = day.popleft()
        self.day_ago = gone.close
        past.trades -= gone.trades
        past.volume -= gone.volume
        past.weighted -= gone.weighted
        past.turnover -= gone.turnover
        traded = [bucket for bucket in day if bucket.trades]
        past.high = max(bucket.high for bucket in traded) if traded else past.close
        past.low = min(bucket.low for bucket in traded) if traded else past.close

    def unfinished(self, size: str, now: float) -> Dict[str, Any]:
        """Return the row of the running bin with its future end time (``partial=true``)."""
        length = SIZES[size]
        bucket = self.running[size]
        if size != '1m':
            whole = Bucket(bucket.open)
            whole.merge(bucket)
            whole.merge(self.minute)
            bucket = whole
        return bucket.row(self.instrument, (now // length + 1) * length)
