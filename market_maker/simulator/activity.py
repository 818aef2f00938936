"""What an account did, hour by hour: what its quote ratios and its trading volume are counted from.

BitMEX counts as a quote every new order and every amend (quote fill ratio, 2019; quote value ratio, 2020).  The hours
of a month are kept.  Pure: the moment is handed in, in Unix seconds.
"""
from collections import OrderedDict
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker.simulator.timestamps import DAY, HOUR, iso

HOURS_KEPT = 30 * 24
VALUE_RATIO_SYMBOL = 'XBTUSD'   # the one contract whose quotes are held against its volume
VOLUME_DAYS = 30                # that an average daily volume looks back
FILL_DAYS = 7                   # that a moving average of the fill ratio looks back

QUOTES, FILLS, DOLLARS, VALUE_QUOTES, VALUE_XBT = range(5)


class Activity(object):
    """Counts of one account."""

    __slots__ = ('_hours', '_hour', '_ends', '_counts')

    def __init__(self) -> None:
        self._hours = OrderedDict()  # type: OrderedDict[int, List[float]]  # Unix hour -> counts
        self._hour = -1
        self._ends = 0               # Unix seconds, of the newest hour
        self._counts = []            # type: List[float]  # of the newest hour

    def _at(self, now: float) -> List[float]:
        if now >= self._ends:
            self._hour = int(now // HOUR)
            self._ends = (self._hour + 1) * HOUR
            self._counts = self._hours[self._hour] = [0, 0, 0.0, 0, 0.0]
            if len(self._hours) > HOURS_KEPT:
                self._hours.popitem(last=False)
        return self._counts

    def note_quote(self, now: float, symbol: str) -> None:
        """Count a new order or an amend."""
        counts = self._at(now)
        counts[QUOTES] += 1
        if symbol == VALUE_RATIO_SYMBOL:
            counts[VALUE_QUOTES] += 1

    def note_fill(self, now: float, symbol: str, home: float, foreign: float) -> None:
        """Count a fill by its notionals, both positive: underlying and quote currency, a dollar of any kind as one."""
        counts = self._at(now)
        counts[FILLS] += 1
        counts[DOLLARS] += foreign
        if symbol == VALUE_RATIO_SYMBOL:
            counts[VALUE_XBT] += home

    def _sum(self, place: int, since: float) -> float:
        """Return the sum of one count over the hours that begin at ``since`` or later."""
        return sum(counts[place] for hour, counts in self._hours.items() if hour * HOUR >= since)

    # -- rows ----------------------------------------------------------------------------------------

    def volume_row(self, now: float) -> Dict[str, Any]:
        """Return the row of GET /user/tradingVolume: dollars a day, on average over 30 days."""
        average = round(self._sum(DOLLARS, now - VOLUME_DAYS * DAY) / VOLUME_DAYS, 2)
        return {'advUsd': average, 'advUsdSpot': 0, 'advUsdContract': average}

    def fill_ratio_row(self, account: int, now: float) -> Dict[str, Any]:
        """Return the row of GET /user/quoteFillRatio: the day so far, and its average with the six days before."""
        day = now // DAY * DAY
        week = day - (FILL_DAYS - 1) * DAY
        quotes, fills = self._sum(QUOTES, week), self._sum(FILLS, week)
        return {'date': iso(day), 'account': account, 'quoteCount': self._sum(QUOTES, day),
                'dealtCount': self._sum(FILLS, day), 'quotesMavg7': round(quotes / FILL_DAYS, 4),
                'dealtMavg7': round(fills / FILL_DAYS, 4),
                'quoteFillRatioMavg7': round(fills / quotes, 4) if quotes else 0}

    def value_ratio_row(self, account: int, now: float) -> Dict[str, Any]:
        """Return the row of GET /user/quoteValueRatio: the hour so far on XBTUSD; without a trade there is no ratio."""
        counts = self._at(now)
        row = {'timestamp': iso(self._hour * HOUR), 'account': account, 'symbol': VALUE_RATIO_SYMBOL,
               'quoteCount': counts[VALUE_QUOTES], 'volumeXBT': round(counts[VALUE_XBT], 8),
               'id': self._hour}  # type: Dict[str, Any]
        if counts[VALUE_XBT]:
            row['QVR'] = round(counts[VALUE_QUOTES] / counts[VALUE_XBT], 4)
        return row
