"""Tells what in a message matters to whoever quotes: the touch, an own order, the position.  Pure."""
from typing import Any, Dict, List  # noqa: F401

from market_maker.ws.health import Health  # noqa: F401
from market_maker.ws.tables import Row, Tables  # noqa: F401
from market_maker.ws.views import Touch  # noqa: F401


class Watch:
    """Looks at the messages of one symbol after they were applied, and feeds ``touch`` and ``health`` on the way."""

    def __init__(self, symbol, tables, touch, health):
        # type: (str, Tables, Touch, Health) -> None
        self.symbol = symbol
        self._tables = tables
        self._touch = touch
        self._health = health
        self._best = None      # type: Any  # (bid, ask) as last seen
        self._quantity = None  # type: Any  # currentQty as last seen
        self._looks = {'quote': self._quote, 'instrument': self._instrument, 'order': self._order,
                       'position': self._position}  # type: Dict[str, Any]

    def notice(self, table, rows, now):
        # type: (str, List[Row], float) -> bool
        """Take note of rows that came for a table; return whether a quoting loop should look again now."""
        look = self._looks.get(table)
        return look is not None and look(rows, now)

    def _quote(self, rows, now):
        # type: (List[Row], float) -> bool
        self._touch.quoted(rows)
        quote = self._touch.quotes.get(self.symbol)
        if quote is None or not rows:
            return False
        self._health.quoted(now, quote.get('bidPrice'), quote.get('askPrice'), quote.get('timestamp'))
        return self._has_touch_moved()

    def _instrument(self, rows, now):
        # type: (List[Row], float) -> bool
        self._touch.refreshed(rows)
        moved = False
        for row in rows:
            if row.get('symbol') == self.symbol:
                whole = self._tables.row('instrument', self.symbol) or row
                self._health.refreshed(now, whole.get('bidPrice'), whole.get('askPrice'), row.get('timestamp'))
                moved = self._has_touch_moved()
        return moved

    def _has_touch_moved(self):
        # type: () -> bool
        row = self._tables.row('instrument', self.symbol)
        best = self._touch.prices(row if row is not None else {'symbol': self.symbol})
        moved, self._best = best != self._best, best
        return moved

    def _order(self, rows, now):
        # type: (List[Row], float) -> bool
        return True

    def _position(self, rows, now):
        # type: (List[Row], float) -> bool
        for row in rows:
            if row.get('symbol') == self.symbol and row.get('currentQty', self._quantity) != self._quantity:
                self._quantity = row['currentQty']
                return True
        return False
