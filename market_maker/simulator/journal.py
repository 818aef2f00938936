"""What the exchange tells the world: changes of tables, in order, and the rows of positions, margins and wallets as
last told.

Orders and executions are told at once, one change each.  Rows that one event may touch many times (positions, margins,
wallets) are only marked, and told once when the changes are collected.  Pure.
"""
from collections import namedtuple
from functools import partial
from operator import itemgetter
from typing import Any, Dict, List, Optional, Tuple

from market_maker.simulator import clearing
from market_maker.simulator.account import ALL, ORDERS, Position, Purse

Change = namedtuple('Change', 'table action rows account_id symbol')
Change.__doc__ = """A message to come: table, action (insert, update, delete), its rows, whose it is, of which contract.

``account_id`` is None for public tables; ``symbol`` is None where a table is not kept by contract.  Rows are shared:
do not change them. A None in the row of an update means that the field has become empty; rows of inserts and partials
leave empty fields out.
"""


# makes a Change of a tuple of its fields: the same as its constructor, several times as fast
make_change = partial(tuple.__new__, Change)  # type: Any


class Journal(object):
    """Collects changes; ``outbox`` holds those not yet fetched."""

    def __init__(self) -> None:
        self.outbox = []      # type: List[Change]
        self.positions = []   # type: List[Position]  # whose row is out of date
        self.purses = []      # type: List[Purse]
        self.accounts = {}    # type: Dict[int, Any]  # whose keys or settings changed, for whoever keeps them

    def tell(self, table: str, action: str, rows: List[Dict[str, Any]], account_id: Optional[int] = None,
             symbol: Optional[str] = None) -> None:
        """Append a change."""
        self.outbox.append(make_change((table, action, rows, account_id, symbol)))

    def mark_orders(self, position: Position) -> None:
        """Note that the sums over a position's open orders changed, and with them those of the purse."""
        if not position.dirt:
            self.positions.append(position)
            position.dirt = ORDERS
        purse = position.purse
        if not purse.dirt:
            self.purses.append(purse)
            purse.dirt = ORDERS

    def mark_all(self, position: Position) -> None:
        """Note that everything about a position may have changed."""
        if not position.dirt:
            self.positions.append(position)
        position.dirt = ALL
        purse = position.purse
        if not purse.dirt:
            self.purses.append(purse)
        purse.dirt = ALL

    def mark_purse(self, purse: Purse) -> None:
        """Note that a purse changed, and with it the liquidation prices of the positions that it stands behind."""
        if not purse.dirt:
            self.purses.append(purse)
        purse.dirt = ALL

    def settle(self, stamp: str) -> None:
        """Bring every marked row up to date and tell what changed in it."""
        if not self.purses:
            return
        for purse in self.purses:
            if purse.dirt == ALL:
                self._spread(purse)
        for position in self.positions:
            self._tell_position(position, stamp)
        self.positions = []
        for purse in self.purses:
            self._tell_purse(purse, stamp)
        self.purses = []

    def _spread(self, purse: Purse) -> None:
        """Cross positions share the purse: when its equity moved, the limits of all of them moved."""
        basis = (purse.wallet, purse.upnl, purse.maint)
        if basis == purse.shown_equity:
            return
        purse.shown_equity = basis
        for position in purse.account.positions.values():
            if position.purse is purse and position.quantity and position.dirt != ALL:
                if not position.dirt:
                    self.positions.append(position)
                position.dirt = ALL

    def _tell_position(self, position: Position, stamp: str) -> None:
        row = position.row
        account = position.account.id
        symbol = position.instrument.symbol
        if not row:
            clearing.set_limits(position)
            row = position.row = position_row(position)
            position.shown_terms = terms_of(position)
            row['timestamp'] = stamp
            self.outbox.append(make_change(('position', 'insert', [filled(row)], account, symbol)))
            position.dirt = 0
            return
        changed = {name: value for name, value in zip(ORDER_SUMS, order_sums(position)) if row[name] != value}
        if position.dirt == ALL:
            clearing.set_limits(position)
            for name, value in zip(HOLDING, holding(position)):
                if row[name] != value:
                    changed[name] = value
            terms = terms_of(position)
            if terms != position.shown_terms:
                position.shown_terms = terms
                changed.update((name, value) for name, value in terms_row(position).items() if row[name] != value)
        position.dirt = 0
        if not changed:
            return
        changed['timestamp'] = stamp
        row.update(changed)
        changed['account'] = account
        changed['symbol'] = symbol
        changed['strategy'] = 'OneWay'
        changed['currency'] = row['currency']
        changed['currentQty'] = row['currentQty']
        if row['markPrice'] is not None:
            changed['markPrice'] = row['markPrice']
            changed['liquidationPrice'] = row['liquidationPrice']
        self.outbox.append(make_change(('position', 'update', [changed], account, symbol)))

    def _tell_purse(self, purse: Purse, stamp: str) -> None:
        dirt, purse.dirt = purse.dirt, 0
        row = purse.row
        account = purse.account.id
        if not row:
            row = purse.row = margin_row(purse)
            row['timestamp'] = stamp
            self.outbox.append(make_change(('margin', 'insert', [dict(row)], account, None)))
            dirt = ALL
        else:
            names, sums = MARGIN_SUMS, margin_sums(purse)  # type: Tuple[str, ...], Tuple[Any, ...]
            if dirt == ORDERS:
                names, sums = MARGIN_ORDER_SUMS, of_orders(sums)
            changed = {name: value for name, value in zip(names, sums) if row[name] != value}
            if changed:
                changed['timestamp'] = stamp
                row.update(changed)
                changed['account'] = account
                changed['currency'] = purse.currency
                self.outbox.append(make_change(('margin', 'update', [changed], account, None)))
        if dirt == ALL:
            self._tell_wallet(purse, stamp)

    def _tell_wallet(self, purse: Purse, stamp: str) -> None:
        row = purse.wallet_row
        if row and row['amount'] == purse.wallet and row['pendingDebit'] == purse.pending_debit:
            return
        if not row:
            row = purse.wallet_row = wallet_row(purse)
            row['timestamp'] = stamp
            self.outbox.append(make_change(('wallet', 'insert', [dict(row)], purse.account.id, None)))
            return
        changed = {name: value for name, value in zip(WALLET_SUMS, wallet_sums(purse)) if row[name] != value}
        changed['timestamp'] = stamp
        row.update(changed)
        changed['account'] = purse.account.id
        changed['currency'] = purse.currency
        self.outbox.append(make_change(('wallet', 'update', [changed], purse.account.id, None)))


def filled(row: Dict[str, Any]) -> Dict[str, Any]:
    """Return a copy of a row without its empty fields."""
    return {name: value for name, value in row.items() if value is not None}


ORDER_SUMS = ('openOrderBuyQty', 'openOrderBuyCost', 'openOrderBuyPremium', 'openOrderSellQty', 'openOrderSellCost',
              'openOrderSellPremium', 'openOrderRealisedPnl', 'grossOpenPremium', 'initMargin', 'riskValue')


def order_sums(position: Position) -> Tuple[Any, ...]:
    """Return the fields named in ORDER_SUMS: those that depend on a position's open orders."""
    value, buy_cost, sell_cost = position.mark_value, position.buy_cost, position.sell_cost
    if position.instrument.buy_sign < 0:
        buy_cost, sell_cost = -buy_cost, -sell_cost
    return (position.buy_qty, buy_cost, position.buy_premium, position.sell_qty, sell_cost, position.sell_premium,
            realised_by_orders(position) if position.quantity else 0, position.open_premium, position.init,
            (value if value > 0 else -value) + position.open_cost)


def realised_by_orders(position: Position) -> int:
    """Return what the reducing orders would realise against the mark, after the taker fee (openOrderRealisedPnl)."""
    held = position.quantity
    if held > 0:
        quantity, cost, sign = position.sell_qty, position.sell_cost, -position.instrument.buy_sign
    else:
        quantity, cost, sign = position.buy_qty, position.buy_cost, position.instrument.buy_sign
        held = -held
    if not quantity:
        return 0
    if quantity > held:
        cost, quantity = cost * held // quantity, held
    instrument = position.instrument
    at_mark = quantity // instrument.lot * instrument.mark_lot_value
    return -sign * (cost - at_mark) - clearing.portion_up(cost, instrument.commission_rate)


def terms_of(position: Position) -> Any:
    """Return what the fields of ``terms_row`` follow from."""
    return (position.init_rate, position.maint_rate, position.risk_limit, position.isolated,
            position.instrument.commission)


def terms_row(position: Position) -> Dict[str, Any]:
    """Return the fields of a position's row that hold still while the customer changes no margin."""
    instrument = position.instrument
    static = instrument.row
    init = position.init_rate * 1e-12
    return {
        'account': position.account.id, 'symbol': instrument.symbol, 'strategy': 'OneWay',
        'currency': instrument.currency,
        'underlying': static['underlying'], 'quoteCurrency': static['quoteCurrency'],
        'commission': instrument.commission,
        'initMarginReq': round(init, 10), 'maintMarginReq': round(position.maint_rate * 1e-12, 10),
        'riskLimit': position.risk_limit,
        'leverage': round(1 / init, 2), 'crossMargin': not position.isolated,
        'prevUnrealisedPnl': 0, 'currentComm': 0, 'realisedCost': 0, 'posLoss': 0, 'realisedPnl': 0,
    }


HOLDING = ('deleveragePercentile', 'rebalancedPnl', 'prevRealisedPnl', 'openingQty', 'currentQty', 'currentCost',
           'unrealisedCost', 'isOpen', 'markPrice', 'markValue', 'homeNotional', 'foreignNotional', 'posCost',
           'posCross', 'posInit', 'posComm', 'posMargin', 'posMaint', 'maintMargin', 'unrealisedPnl',
           'unrealisedPnlPcnt', 'unrealisedRoePcnt', 'avgCostPrice', 'avgEntryPrice', 'breakEvenPrice',
           'marginCallPrice', 'liquidationPrice', 'bankruptPrice')


def holding(position: Position) -> Tuple[Any, ...]:
    """Return the fields named in HOLDING: those that depend on what is held, at which mark, and how it is carried."""
    instrument = position.instrument
    quantity, cost, value, upnl = position.quantity, position.cost, position.mark_value, position.upnl
    if not quantity:
        home = foreign = 0  # type: Any
        percent = roe = 0.0
        percentile = mark = None
    else:
        if instrument.kind == 'inverse':
            home, foreign = -value / 100000000, -quantity
        else:
            home, foreign = instrument.notionals(quantity, value)
            foreign = -foreign
        size = cost if cost > 0 else -cost
        percent = round(upnl / size, 4) if size else 0.0
        roe = round(upnl / (size * (position.init_rate * 1e-12)), 4) if size else 0.0
        percentile, mark = position.percentile, instrument.row['markPrice']
    average, limit = clearing.average_entry(position), position.liquidation_price
    return (percentile, position.rebalanced, position.prev_realised, position.opening_qty, quantity, cost,
            cost, quantity != 0, mark, value, home, foreign, cost,
            position.pos_cross, position.pos_init, position.pos_comm, position.pos_margin, position.pos_maint,
            position.maint, upnl, percent, roe, average, average, clearing.break_even(position), limit, limit,
            position.bankrupt_price)


def position_row(position: Position) -> Dict[str, Any]:
    """Return the whole row of a position, without its timestamp; empty fields are None."""
    row = terms_row(position)
    row.update(zip(ORDER_SUMS, order_sums(position)))
    row.update(zip(HOLDING, holding(position)))
    return row


MARGIN_SUMS = ('amount', 'prevRealisedPnl', 'grossOpenCost', 'grossOpenPremium', 'grossMarkValue', 'riskValue',
               'initMargin', 'maintMargin', 'targetExcessMargin', 'unrealisedPnl', 'isolatedUnrealisedPnl',
               'walletBalance', 'marginBalance', 'marginLeverage', 'marginUsedPcnt', 'excessMargin', 'availableMargin',
               'withdrawableMargin', 'systemWithdrawableMargin')


# those of them that depend on the open orders
MARGIN_ORDER_SUMS = ('grossOpenCost', 'grossOpenPremium', 'riskValue', 'initMargin', 'targetExcessMargin',
                     'marginUsedPcnt', 'excessMargin', 'availableMargin', 'withdrawableMargin',
                     'systemWithdrawableMargin')
of_orders = itemgetter(*[MARGIN_SUMS.index(name) for name in MARGIN_ORDER_SUMS])


def margin_sums(purse: Purse) -> Tuple[Any, ...]:
    """Return the fields named in MARGIN_SUMS: those of a margin row that move."""
    wallet, upnl, value, init, maint = purse.wallet, purse.upnl, purse.mark_value, purse.init, purse.maint
    balance = wallet + upnl
    used = init + maint
    excess = balance - used
    free = excess - upnl if upnl > 0 else excess
    if free < 0:
        free = 0
    if balance > 0:
        leverage, percent = round(value / balance, 4), round(used / balance, 4)
    else:
        leverage, percent = 0.0, float(used > 0)
    return (wallet, purse.prev_realised, purse.open_cost, purse.open_premium, value, value + purse.open_cost,
            init, maint, excess, upnl, purse.isolated_upnl,
            wallet, balance, leverage, percent, excess, excess, free, free)


def margin_row(purse: Purse) -> Dict[str, Any]:
    """Return the whole margin row of a purse, without its timestamp."""
    row = {'account': purse.account.id, 'currency': purse.currency,
           'riskLimit': purse.risk_limit, 'grossComm': 0, 'grossExecCost': 0,
           'realisedPnl': 0, 'foreignMarginBalance': 0, 'foreignRequirement': 0}
    row.update(zip(MARGIN_SUMS, margin_sums(purse)))
    return row


WALLET_SUMS = ('amount', 'pendingDebit', 'deposited', 'withdrawn', 'transferIn', 'transferOut')


def wallet_sums(purse: Purse) -> Tuple[Any, ...]:
    """Return the fields named in WALLET_SUMS: those of a wallet row that move."""
    return (purse.wallet, purse.pending_debit, purse.deposited, purse.withdrawn, purse.transferred_in,
            purse.transferred_out)


def wallet_row(purse: Purse) -> Dict[str, Any]:
    """Return the whole wallet row of a purse, without its timestamp."""
    row = {'account': purse.account.id, 'currency': purse.currency, 'pendingCredit': 0, 'confirmedDebit': 0}
    row.update(zip(WALLET_SUMS, wallet_sums(purse)))
    return row
