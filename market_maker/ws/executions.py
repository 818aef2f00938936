"""The account's own executions of this run, each once, however often it is heard of.

Rows may come from the stream, from the image after a reconnect and from REST, and from two threads.
"""
import collections
import threading
from typing import Any, Dict, Iterable, List, Optional  # noqa: F401

from market_maker.ws.tables import Row  # noqa: F401

REMEMBERED = 1000  # names of executions: far more than any image repeats
KEPT = 500         # rows kept whole, so that a run of weeks does not grow


class Executions:
    """Fills and funding since the start, with their sums.

    ``fills``: number of trades.  ``bought`` and ``sold``: symbol -> contracts.  ``fees`` and ``funding``: currency ->
    minor units, positive when paid.  The sums are of all executions; whole rows are kept of the newest 500.
    """

    def __init__(self):
        # type: () -> None
        self.fills = 0
        self.bought = collections.defaultdict(int)   # type: Dict[str, int]
        self.sold = collections.defaultdict(int)     # type: Dict[str, int]
        self.fees = collections.defaultdict(int)     # type: Dict[str, int]
        self.funding = collections.defaultdict(int)  # type: Dict[str, int]
        self._known = collections.OrderedDict()      # type: Any  # execID -> None, oldest first
        self._rows = collections.deque(maxlen=KEPT)  # type: Any
        self._newest = ''                            # time stamp of the newest row of the stream
        self._begun = False
        self._lock = threading.Lock()

    def rows(self, order_id=None):
        # type: (Optional[str]) -> List[Row]
        """Return the trades and funding of this run in the order they were heard of; with ``order_id``, its own."""
        with self._lock:
            return [row for row in self._rows if order_id is None or row.get('orderID') == order_id]

    def image(self, rows):
        # type: (Iterable[Row]) -> List[Row]
        """Take an image of the execution table; return the trades in it that are news.

        The first image is the past: nothing in it is news.  A later one may hold what happened while nobody listened;
        rows from before the last known one are old, even when their names are forgotten.
        """
        with self._lock:
            if self._begun:
                return self._add([row for row in rows if (row.get('timestamp') or '') >= self._newest])
            self._begun = True
            for row in rows:
                self._is_news(row)
            return []

    def add(self, rows):
        # type: (Iterable[Row]) -> List[Row]
        """Take rows of the stream, or of a REST answer; return the trades among them that are news."""
        with self._lock:
            self._begun = True
            return self._add(rows)

    def _add(self, rows):
        # type: (Iterable[Row]) -> List[Row]
        trades = []
        for row in rows:
            kind = row.get('execType')
            if not self._is_news(row) or kind not in ('Trade', 'Funding'):
                continue
            self._rows.append(row)
            if kind == 'Trade':
                trades.append(row)
            self._count(kind, row)
        return trades

    def _is_news(self, row):
        # type: (Row) -> bool
        name = row.get('execID')
        if not name or name in self._known:
            return False
        self._known[name] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        self._newest = max(self._newest, row.get('timestamp') or '')
        return True

    def _count(self, kind, row):
        # type: (str, Row) -> None
        currency = row.get('execCommCcy') or row.get('settlCurrency') or 'XBt'
        if kind == 'Funding':
            self.funding[currency] += row.get('execComm') or 0
            return
        self.fills += 1
        self.fees[currency] += row.get('execComm') or 0
        volume = self.bought if row.get('side') == 'Buy' else self.sold
        volume[row.get('symbol') or ''] += row.get('lastQty') or 0


def describe(row, order, digits):
    # type: (Row, Optional[Row], int) -> str
    """Return the log line of one trade; ``order`` fills in what the row lacks, ``digits`` are the price's decimals.

    >>> describe({'side': 'Sell', 'lastQty': 1, 'symbol': 'XBT7D', 'lastPx': 389.88}, None, 2)
    'Execution: Sell 1 Contracts of XBT7D at 389.88'
    """
    whole = dict(order or {})
    whole.update((name, value) for name, value in row.items() if value not in (None, ''))
    price = whole.get('lastPx', whole.get('price'))
    return 'Execution: {} {:d} Contracts of {} at {}'.format(
        whole.get('side', '?'), int(whole.get('lastQty') or 0), whole.get('symbol', '?'),
        '?' if price is None else '{:.{}f}'.format(price, digits))
