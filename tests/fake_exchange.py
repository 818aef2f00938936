"""A connector without sockets: an exchange in a few dicts, for tests of what stands above it.

``FakeBitMEX`` has the methods and attributes of ``market_maker.bitmex.BitMEX`` that ExchangeInterface uses.  Its truth
is ``rows``; its tables show that truth at once, or with ``echo`` off when ``catch_up()`` is called.  ``requests`` lists
what was sent, one entry a request.
"""
import itertools
import logging
import threading

from market_maker import exchange_interface
from market_maker.bitmex import OrderRows
from market_maker.market_maker import OrderManager, log, settings
from market_maker.utils.errors import APIError
from market_maker.ws.executions import Executions
from market_maker.ws.health import Health

INSTRUMENT = {
    'symbol': 'XBTUSD', 'state': 'Open', 'tickSize': 0.5, 'tickLog': 1, 'lotSize': 100, 'settlCurrency': 'XBt',
    'bidPrice': 50000.0, 'midPrice': 50000.5, 'askPrice': 50001.0, 'lastPrice': 50000.0, 'markPrice': 50000.4,
    'indicativeSettlePrice': 50000.2, 'isInverse': True, 'isQuanto': False, 'multiplier': -100000000,
    'underlyingToSettleMultiplier': -100000000, 'quoteToSettleMultiplier': None, 'initMargin': 0.01,
    'maintMargin': 0.005,
}
MARGIN = {'currency': 'XBt', 'walletBalance': 100000000, 'marginBalance': 100000000, 'availableMargin': 100000000}


class FakeSocket(object):
    """The tables of a FakeBitMEX."""

    def __init__(self, bitmex):
        self.bitmex = bitmex
        self.data = {'order': []}
        self.finished = {}
        self.connected = True
        self.reconnects, self.last_gap, self.opened_at = 0, None, 0.0
        self.changed = threading.Event()
        self.executions = Executions()
        self.health = Health('XBTUSD', 5.0, 15.0)

    def funds(self, currency):
        return self.bitmex.margin

    def finished_order(self, order_id):
        return self.finished.get(order_id)

    def ready(self):
        return self.connected

    def reason(self):
        return None if self.connected else 'no live data'

    def wait_until_ready(self, seconds):
        return self.connected

    def add_executions(self, rows):
        return len(self.executions.add(rows))

    def reopen(self, reason):
        self.reopened = reason

    def exit(self):
        self.connected = False


class FakeBitMEX(object):
    """One account on one symbol."""

    def __init__(self, *args, **kwargs):
        self.symbol = 'XBTUSD'
        self.orderIDPrefix = 'mm_bitmex_'
        self.ws = FakeSocket(self)
        self.rows = {}          # orderID -> row, the exchange's truth
        self.requests = []      # ('POST' | 'PUT' | 'DELETE' | 'GET', what)
        self.echo = True
        self.in_doubt = []      # names of orders that nobody knows the fate of
        self.refuse = None      # callable (verb, order) -> an error, or None to accept
        self.row = dict(INSTRUMENT)
        self.position_row = {'symbol': 'XBTUSD', 'currentQty': 0, 'avgCostPrice': None, 'avgEntryPrice': None,
                             'unrealisedPnl': 0, 'timestamp': ''}
        self.margin = dict(MARGIN)
        self.exits = 0
        self.ledger = self.state = self.gate = None
        self._numbers = itertools.count(1)
        self._clock = itertools.count(1)

    # Reads

    def instrument(self, symbol=None):
        return self.row

    def ticker_data(self, symbol=None):
        return {'last': self.row['lastPrice'], 'buy': self.row['bidPrice'], 'sell': self.row['askPrice'],
                'mid': self.row['midPrice']}

    def position(self, symbol=None):
        return self.position_row

    def http_open_orders(self):
        self.requests.append(('GET', 'open'))
        return [dict(row) for row in self.rows.values()
                if row['leavesQty'] and row['clOrdID'].startswith(self.orderIDPrefix)]

    def look_up(self, clOrdIDs=(), orderIDs=()):
        self.requests.append(('GET', list(clOrdIDs) + list(orderIDs)))
        return [dict(row) for row in self.rows.values()
                if row['clOrdID'] in clOrdIDs or row['orderID'] in orderIDs]

    def _curl_bitmex(self, path, query=None, postdict=None, timeout=None, verb=None, rethrow_errors=False,
                     max_retries=None):
        if verb == 'DELETE':
            assert not isinstance(postdict.get('orderID'), str)
            return self.cancel_orders([row for row in self.rows.values()
                                       if row['orderID'] in postdict.get('orderID', ())
                                       or row['clOrdID'] in postdict.get('clOrdID', ())])
        self.requests.append(('GET', path))
        return [dict(row) for row in self.rows.values() if row['leavesQty']]

    def remember(self):
        """Nothing is kept."""

    def resolve_due(self):
        return []

    def resolve_now(self):
        """Nothing is kept."""

    def unsettled(self):
        return list(self.in_doubt)

    # What the guard asks

    def exchange_time(self):
        return 1767225600.0

    def seconds_to_wait(self):
        return 0.0

    def account_orders(self):
        self.requests.append(('GET', 'all'))
        return [dict(row) for row in self.rows.values() if row['leavesQty']]

    def http_position(self):
        return dict(self.position_row)

    def executions_since(self, stamp, **patience):
        self.requests.append(('GET', 'executions'))
        return self.ws.executions.rows()

    def cancel_all_after(self, seconds):
        self.requests.append(('POST', seconds))

    # Commands

    def create_orders(self, orders):
        return self._each('POST', orders, self._create)

    def amend_orders(self, orders):
        return self._each('PUT', orders, self._amend)

    def cancel_orders(self, orders):
        self.requests.append(('DELETE', [order['orderID'] for order in orders]))
        answers = []
        for order in orders:
            row = self.rows[order['orderID']]
            if row['leavesQty']:
                row.update(ordStatus='Canceled', leavesQty=0, timestamp=self.now())
                answers.append(dict(row))
            else:
                answers.append({'orderID': row['orderID'], 'error': 'Unable to cancel order'})
        self._show()
        return answers

    def exit(self):
        self.exits += 1
        self.ws.exit()

    # What tests do to it

    def now(self):
        return '2026-01-01T00:00:{:02d}.{:03d}Z'.format(*divmod(next(self._clock), 1000))

    def place(self, clOrdID, side='Buy', price=49000.0, size=100, **more):
        """Put an order of anybody's on the book."""
        name = 'id-{}'.format(next(self._numbers))
        row = {'orderID': name, 'clOrdID': clOrdID, 'symbol': self.symbol, 'side': side, 'price': price,
               'orderQty': size, 'leavesQty': size, 'cumQty': 0, 'ordType': 'Limit', 'execInst': '',
               'timeInForce': 'GoodTillCancel', 'ordStatus': 'New', 'timestamp': self.now()}
        self.rows[name] = dict(row, **more)
        self._show()
        return self.rows[name]

    def fill(self, row, size, moves_position=True, shows=True):
        """Let a resting order trade; position and order row may follow at different times."""
        row = self.rows[row['orderID']]
        row['leavesQty'] -= size
        row['cumQty'] += size
        row['ordStatus'] = 'PartiallyFilled' if row['leavesQty'] else 'Filled'
        row['timestamp'] = self.now()
        self.ws.executions.add([{
            'execID': 'exec-{}'.format(next(self._numbers)), 'execType': 'Trade', 'orderID': row['orderID'],
            'clOrdID': row['clOrdID'], 'side': row['side'], 'lastQty': size, 'lastPx': row['price'], 'execComm': 5}])
        if moves_position:
            self.move_position(size if row['side'] == 'Buy' else -size, row['price'])
        if shows:
            self._show()

    def move_position(self, contracts, price=None):
        self.position_row['currentQty'] += contracts
        self.position_row['timestamp'] = self.now()
        self.position_row.update(avgCostPrice=price, avgEntryPrice=price)

    def quote(self, bid, ask):
        self.row.update(bidPrice=bid, askPrice=ask, midPrice=(bid + ask) / 2, lastPrice=bid, markPrice=(bid + ask) / 2)

    def catch_up(self):
        """Let the tables show what is true now."""
        shown = {row['orderID']: row for row in self.ws.data['order']}
        for name, row in self.rows.items():
            if not row['leavesQty']:
                shown.pop(name, None)
                self.ws.finished[name] = dict(row)
            elif name in shown:
                shown[name].update(row)
            else:
                shown[name] = dict(row)
        self.ws.data['order'] = list(shown.values())
        self.ws.health.last_rows['order'] = next(self._clock)

    def resting(self):
        """(side, price, leavesQty) of everything on the book, from low to high."""
        return sorted((row['price'], row['side'], row['leavesQty']) for row in self.rows.values() if row['leavesQty'])

    def sent(self, *verbs):
        """How many requests of these verbs were sent."""
        return sum(verb in verbs for verb, _ in self.requests)

    def _show(self):
        if self.echo:
            self.catch_up()

    def _each(self, verb, orders, act):
        rows, errors = [], []
        for order in orders:
            self.requests.append((verb, dict(order)))
            try:
                error = self.refuse(verb, order) if self.refuse else None
            except SystemExit:   # a stop while it is under way
                self.in_doubt.append(order.get('clOrdID') or order.get('orderID'))
                raise
            try:
                if error is not None:
                    raise error
                rows.append(act(order))
            except APIError as refusal:
                errors.append((order, refusal))
            except Exception as unknown:
                if not hasattr(unknown, 'clOrdIDs'):
                    raise
                errors.append((order, unknown))
        self._show()
        return OrderRows(rows, errors)

    def _create(self, order):
        more = {name: value for name, value in order.items()
                if name not in ('side', 'price', 'orderQty', 'clOrdID', 'symbol')}
        return dict(self.place(order['clOrdID'], order['side'], order.get('price'), order.get('orderQty'), **more))

    def _amend(self, change):
        row = next(row for row in self.rows.values()
                   if change.get('orderID', change.get('clOrdID')) in (row['orderID'], row['clOrdID']))
        if not row['leavesQty']:
            raise APIError('refused', status=400, message='Invalid ordStatus: ' + row['ordStatus'])
        row['price'] = change.get('price', row['price'])
        row['orderQty'] = change.get('orderQty', row['orderQty'])
        row['leavesQty'] = max(0, row['orderQty'] - row['cumQty'])
        row['ordStatus'] = row['ordStatus'] if row['leavesQty'] else 'Filled'
        row['timestamp'] = self.now()
        return dict(row)


def make(monkeypatch, manager=OrderManager, connector=None, **names):
    """Return (manager, connector) on a FakeBitMEX under these settings; signals and atexit stay as they are."""
    connector = connector or FakeBitMEX()
    for name, value in names.items():
        settings[name] = value
    monkeypatch.setattr(exchange_interface.bitmex, 'BitMEX', lambda *args, **kwargs: connector)
    monkeypatch.setattr(OrderManager, '_mm_be_ready_to_stop', lambda self: None)
    monkeypatch.setattr(OrderManager, '_mm_watch', lambda self: None)
    monkeypatch.setattr(log, 'setup_custom_logger', lambda *args: logging.getLogger('root').setLevel(logging.INFO))
    return manager(), connector
