"""Who trades here: accounts with their keys, the purse of each settlement currency, and one position per contract.

State only; what the numbers mean and how they move stands in ``clearing``.  Sums over the open orders and positions
are kept up to date with every change, so that no check ever goes through the orders of an account.  Pure.
"""
import hashlib
import hmac
import sys
from collections import OrderedDict, deque
from typing import Any, Deque, Dict, Iterable, List, Optional  # noqa: F401

from market_maker.simulator.activity import Activity
from market_maker.simulator.instruments import Instrument, scaled

DEFAULT_BALANCES = (('XBt', 1000000000), ('USDt', 100000000000))  # 10 XBT and 100,000 USDT
OTHER_RISK_LIMIT = 1000000000000
RISK_LIMITS = {'XBt': 1000000000000, 'USDt': 500000000000000}      # of an account, minor units

FINISHED_KEPT = 5000       # orders, per account
EXECUTIONS_KEPT = 10000    # rows, per account
TRANSACTIONS_KEPT = 5000   # rows, per account

# a dict that keeps its order, the fastest there is
ordered = dict if sys.version_info >= (3, 7) else OrderedDict  # type: Any

ORDERS, ALL = 1, 2         # how much of the row of a position or a purse is out of date


class Key(object):
    """An API key: its secret, what it may do, and from where."""

    def __init__(self, key: str, secret: str, permissions: Iterable[str] = (), cidr: Optional[str] = None,
                 created: str = ''):
        self.key = key
        self.secret = secret
        self.mac = hmac.new(secret.encode('utf-8'), digestmod=hashlib.sha256)  # to be copied for each signature
        self.permissions = list(permissions)
        self.cidr = cidr
        self.enabled = True
        self.created = created

    def __repr__(self) -> str:
        return '<Key {}...>'.format(self.key[:4])


class Purse(object):
    """The money of an account in one settlement currency, in minor units, with the sums over its orders and
    positions.
    """

    __slots__ = ('account', 'currency', 'wallet', 'risk_limit', 'upnl', 'isolated_upnl', 'init', 'maint', 'open_cost',
                 'open_premium', 'mark_value',
                 'deposited', 'withdrawn', 'transferred_in', 'transferred_out', 'pending_debit', 'prev_realised',
                 'row', 'wallet_row', 'dirt',
                 'shown_equity')

    def __init__(self, account: 'Account', currency: str, wallet: int = 0) -> None:
        self.account = account
        self.currency = currency
        self.wallet = wallet        # walletBalance
        self.risk_limit = RISK_LIMITS.get(currency, OTHER_RISK_LIMIT)
        self.deposited = wallet
        self.withdrawn = 0
        self.transferred_in = self.transferred_out = 0  # from and to other accounts
        self.pending_debit = 0      # requested withdrawals
        self.upnl = 0               # of all positions at the mark
        self.isolated_upnl = 0
        self.init = 0               # initial margin of the open orders
        self.maint = 0              # maintenance margin of the positions
        self.open_cost = 0          # value of open orders that add exposure
        self.open_premium = 0       # what they would lose at once at the mark
        self.mark_value = 0         # sum of |markValue|
        self.prev_realised = 0
        self.row = {}               # type: Dict[str, Any]  # margin row as last published
        self.wallet_row = {}        # type: Dict[str, Any]
        self.dirt = 0
        self.shown_equity = None    # type: Any  # what the liquidation prices were last derived from

    @property
    def balance(self) -> int:
        """marginBalance: the wallet and the unrealised result."""
        return self.wallet + self.upnl

    @property
    def available(self) -> int:
        """availableMargin: what new orders may use; may be negative."""
        return self.wallet + self.upnl - self.init - self.maint


class Position(object):
    """One account's holding of one contract, with the sums over its open orders there.

    ``quantity`` is signed contracts, ``cost`` their signed entry cost in minor units (sign as in BitMEX's rows:
    inverse longs negative).
    """

    __slots__ = ('account', 'instrument', 'purse', 'quantity', 'cost', 'mark_value', 'upnl', 'maint', 'rebalanced',
                 'prev_realised',
                 'buy_qty', 'buy_cost', 'buy_premium', 'sell_qty', 'sell_cost', 'sell_premium', 'open_orders', 'stops',
                 'reducers',
                 'open_cost', 'open_premium', 'init', 'isolated', 'leverage', 'init_rate', 'maint_rate', 'order_rate',
                 'risk_limit',
                 'pos_init', 'pos_comm', 'pos_cross', 'pos_margin', 'pos_maint', 'percentile', 'row',
                 'dirt', 'opening_qty', 'shown_terms',
                 'liquidation_price', 'bankrupt_price')

    def __init__(self, account: 'Account', instrument: Instrument, purse: Purse) -> None:
        self.account = account
        self.instrument = instrument
        self.purse = purse
        self.quantity = self.cost = self.mark_value = self.upnl = self.maint = 0
        self.rebalanced = self.prev_realised = 0    # realised results: of this position, of the one before
        self.buy_qty = self.buy_cost = self.buy_premium = 0
        self.sell_qty = self.sell_cost = self.sell_premium = 0
        self.open_orders = 0
        self.stops = 0
        self.reducers = []          # type: List[Any]  # resting orders that may only reduce
        self.open_cost = self.open_premium = self.init = 0
        self.isolated = False
        self.leverage = None        # type: Optional[float]  # None: cross margin
        self.risk_limit = instrument.row['riskLimit']
        self.pos_init = self.pos_comm = self.pos_cross = self.pos_margin = self.pos_maint = 0
        self.percentile = None      # type: Optional[float]
        self.liquidation_price = self.bankrupt_price = None  # type: Any
        self.row = {}               # type: Dict[str, Any]  # as last published
        self.dirt = 0
        self.opening_qty = 0
        self.shown_terms = None     # type: Any  # rates and limits that the row was last derived from
        self.init_rate = self.maint_rate = self.order_rate = 0
        self.set_rates()

    def set_rates(self) -> None:
        """Derive the margin rates from the contract, the risk limit and the leverage.

        Every risk step above the base limit adds one base maintenance margin to both (BitMEX, risk limits); a chosen
        leverage can only raise the initial margin.  An order needs its initial margin and the taker fee both ways
        (BitMEX, margin guide).
        """
        row = self.instrument.row
        steps = max(0, -(-(self.risk_limit - row['riskLimit']) // row['riskStep']))
        initial = row['initMargin'] + steps * row['maintMargin']
        if self.leverage:
            initial = max(initial, 1.0 / self.leverage)
        fee = self.instrument.commission
        self.init_rate = scaled(initial)
        self.maint_rate = scaled(row['maintMargin'] * (1 + steps))
        self.order_rate = scaled(initial + 2 * fee + initial * fee)


class Account(object):
    """One customer: keys, purses, positions, orders, and what has happened to him (bounded)."""

    def __init__(self, number: int, opened: str = ''):
        self.id = number
        self.opened = opened
        self.is_market = False         # the market's own hand: no margin, no private tables
        self.keys = []                 # type: List[Key]
        self.purses = ordered()        # type: Dict[str, Purse]
        self.positions = ordered()     # type: Dict[str, Position]
        self.orders = ordered()        # type: Dict[str, Any]  # open orders by orderID
        self.by_client = {}            # type: Dict[str, Any]  # open orders by clOrdID
        self.finished = OrderedDict()   # type: Any  # by orderID, oldest first
        self.finished_by_client = {}   # type: Dict[str, Any]
        self.executions = deque(maxlen=EXECUTIONS_KEPT)      # type: Deque[Dict[str, Any]]
        self.transactions = deque(maxlen=TRANSACTIONS_KEPT)  # type: Deque[Dict[str, Any]]
        self.links = {}                # type: Dict[str, List[Any]]  # clOrdLinkID -> orders of a contingency
        self.cancel_at = None          # type: Optional[float]  # Unix seconds of the armed cancelAllAfter
        self.switch_at = None          # type: Optional[float]  # when the exchange looks at it next
        self.restricted = False
        self.activity = Activity()     # quotes, fills and volume by the hour

    def __repr__(self) -> str:
        return '<Account {}>'.format(self.id)

    def key(self, name: str) -> Key:
        """Return the API key of that name; KeyError when the account has none."""
        for key in self.keys:
            if key.key == name:
                return key
        raise KeyError(name)

    def purse(self, currency: str) -> Purse:
        """Return the purse of a settlement currency, an empty one at first."""
        purse = self.purses.get(currency)
        if purse is None:
            purse = self.purses[currency] = Purse(self, currency)
        return purse

    def position(self, instrument: Instrument) -> Position:
        """Return the position in a contract, a flat one at first."""
        position = self.positions.get(instrument.symbol)
        if position is None:
            position = self.positions[instrument.symbol] = Position(self, instrument, self.purse(instrument.currency))
        return position

    def finish(self, order: Any) -> None:
        """Move an order from the open ones to the finished ones; the oldest of those is forgotten when there are too
        many.
        """
        del self.orders[order.order_id]
        client_id = order.client_id
        if client_id:
            if self.by_client.get(client_id) is order:
                del self.by_client[client_id]
            self.finished_by_client[client_id] = order
        finished = self.finished
        finished[order.order_id] = order
        if len(finished) > FINISHED_KEPT:
            oldest = finished.popitem(last=False)[1]
            client_id = oldest.client_id
            if client_id and self.finished_by_client.get(client_id) is oldest:
                del self.finished_by_client[client_id]

    def recently_filled(self, since: float) -> List[Any]:
        """Return the orders that were filled after ``since`` (Unix seconds), oldest first."""
        found = []  # type: List[Any]
        for order_id in reversed(self.finished):
            order = self.finished[order_id]
            if order.finished_at < since:
                break
            if order.row['ordStatus'] == 'Filled':
                found.append(order)
        return found[::-1]
