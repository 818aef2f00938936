"""The questions that strategies ask the live data, answered from memory at once, from any thread and without a lock."""
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker.utils.errors import MarketMakerError  # noqa: F401
from market_maker.ws import views
from market_maker.ws.executions import Executions
from market_maker.ws.tables import HISTORY, Row, Tables  # noqa: F401


class Reading:
    """Live tables, the touch and own executions, with their questions.

    Every answer raises ``_failure`` instead, once there is one: what went wrong for good in the thread that writes.
    """

    def __init__(self, history=HISTORY):
        # type: (int) -> None
        self.tables = Tables(history)
        self.executions = Executions()
        self._touch = views.Touch()
        self._failure = None  # type: Optional[MarketMakerError]

    def _raise_failure(self):
        # type: () -> None
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))

    @property
    def data(self):
        # type: () -> Any
        """Table name -> fresh list of live rows."""
        return self.tables.data

    @property
    def keys(self):
        # type: () -> Dict[str, List[str]]
        """Table name -> names of its key fields."""
        return self.tables.keys

    def get_instrument(self, symbol):
        # type: (str) -> Row
        """Return the live row of an instrument, with ``tickLog``, the decimals of its tick; raise SettingsError."""
        self._raise_failure()
        return views.get_instrument(self.tables, symbol)

    def get_instruments(self):
        # type: () -> List[Row]
        """Return the live rows of all instruments."""
        self._raise_failure()
        return [views.get_instrument(self.tables, row['symbol']) for row in self.tables.rows('instrument')]

    def get_ticker(self, symbol):
        # type: (str) -> Dict[str, float]
        """Return a new dict of the prices last, buy, sell and mid, each on the tick; raise MarketEmptyError."""
        self._raise_failure()
        return views.get_ticker(self.tables, self._touch, symbol)

    def position(self, symbol):
        # type: (str) -> Row
        """Return the live position row of a symbol, or a new row of zeros when there never was one."""
        self._raise_failure()
        return views.position(self.tables, symbol)

    def positions(self):
        # type: () -> List[Row]
        """Return the live rows of all positions."""
        self._raise_failure()
        return self.tables.rows('position')

    def funds(self, currency='XBt'):
        # type: (str) -> Row
        """Return the live margin row of a currency, amounts in its minor unit (satoshi); KeyError without a login."""
        self._raise_failure()
        return views.funds(self.tables, currency)

    def open_orders(self, clOrdIDPrefix=''):
        # type: (str) -> List[Row]
        """Return the live rows of the open orders whose clOrdID has this prefix."""
        self._raise_failure()
        return views.open_orders(self.tables, clOrdIDPrefix)

    def finished_order(self, order_id):
        # type: (str) -> Optional[Row]
        """Return the last state of an order that rests no more, or None when it is unknown or long forgotten."""
        return self.tables.finished_order(order_id)

    def executions_since_start(self):
        # type: () -> List[Row]
        """Return the account's trades and funding since the connection was made, each once, in the order heard of.

        Whole rows are kept of the newest 500; the sums in ``executions`` (fills, bought, sold, fees, funding) are of
        all.  What came while there was no connection is in it as far as the next image showed it, or as it was handed
        to ``add_executions``.
        """
        return self.executions.rows()

    def fills(self, order_id):
        # type: (str) -> List[Row]
        """Return the trades of one order since the start, each once."""
        return self.executions.rows(order_id)

    def recent_trades(self):
        # type: () -> List[Row]
        """Return the latest public trades, oldest first, 200 at most."""
        self._raise_failure()
        return self.tables.rows('trade')
