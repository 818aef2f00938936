"""What the exchange tells the world: changes of tables, in order, and the rows of positions, margins and wallets as
last told.

Orders and executions are told at once, one change each.  Rows that one event may touch many times (positions, margins,
wallets) are only marked, and told once when the changes are collected.  Pure.
"""
from collections import namedtuple
from typing import Any, Dict, List, Optional

from market_maker.simulator import clearing
from market_maker.simulator.account import ALL, ORDERS, RISK_LIMITS, Position, Purse

Change = namedtuple('Change', 'table action rows account_id symbol')
Change.__doc__ = """A message to come: table, action (insert, update, delete), its rows, whose it is, of which contract.

``account_id`` is None for public tables; ``symbol`` is None where a table is not kept by contract.  Rows are shared:
do not change them. A None in the row of an update means that the field has become empty; rows of inserts and partials
leave empty fields out.
"""


def make_change(table: str, action: str, rows: List[Dict[str, Any]], account_id: Optional[int],
                symbol: Optional[str]) -> Change:
    """Return a Change; the same as its constructor, several times as fast."""
    return tuple.__new__(Change, (table, action, rows, account_id, symbol))


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
        self.outbox.append(make_change(table, action, rows, account_id, symbol))

    def mark_orders(self, position: Position) -> None:
        """Note that the sums over a position's open orders changed, and with them the purse."""
        if not position.dirt:
            self.positions.append(position)
            position.dirt = ORDERS
        purse = position.purse
        if not purse.is_dirty:
            purse.is_dirty = True
            self.purses.append(purse)

    def mark_all(self, position: Position) -> None:
        """Note that everything about a position may have changed."""
        if not position.dirt:
            self.positions.append(position)
        position.dirt = ALL
        purse = position.purse
        if not purse.is_dirty:
            purse.is_dirty = True
            self.purses.append(purse)

    def mark_purse(self, purse: Purse) -> None:
        """Note that a purse changed, and with it the liquidation prices of the positions that it stands behind."""
        if not purse.is_dirty:
            purse.is_dirty = True
            self.purses.append(purse)

    def settle(self, stamp: str) -> None:
        """Bring every marked row up to date and tell what changed in it."""
        if not self.purses:
            return
        for purse in self.purses:
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
            row['timestamp'] = stamp
            self.outbox.append(make_change('position', 'insert', [filled(row)], account, symbol))
            position.dirt = 0
            return
        if position.dirt == ALL:
            clearing.set_limits(position)
            now = position_row(position)
        else:
            now = order_sums(position)
        position.dirt = 0
        changed = {name: value for name, value in now.items() if row[name] != value}
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
        self.outbox.append(make_change('position', 'update', [changed], account, symbol))

    def _tell_purse(self, purse: Purse, stamp: str) -> None:
        purse.is_dirty = False
        row = purse.row
        account = purse.account.id
        now = margin_row(purse)
        if not row:
            now['timestamp'] = stamp
            purse.row = now
            self.outbox.append(make_change('margin', 'insert', [dict(now)], account, None))
        else:
            changed = {name: value for name, value in now.items() if row[name] != value}
            if changed:
                changed['timestamp'] = stamp
                row.update(changed)
                changed['account'] = account
                changed['currency'] = purse.currency
                self.outbox.append(make_change('margin', 'update', [changed], account, None))
        self._tell_wallet(purse, stamp)

    def _tell_wallet(self, purse: Purse, stamp: str) -> None:
        row = purse.wallet_row
        if row and (row['amount'], row['pendingDebit']) == (purse.wallet, purse.pending_debit):
            return
        now = wallet_row(purse)
        now['timestamp'] = stamp
        purse.wallet_row = now
        if not row:
            self.outbox.append(make_change('wallet', 'insert', [dict(now)], purse.account.id, None))
            return
        changed = {name: value for name, value in now.items() if row[name] != value}
        changed.update(account=purse.account.id, currency=purse.currency, timestamp=stamp)
        self.outbox.append(make_change('wallet', 'update', [changed], purse.account.id, None))


def filled(row: Dict[str, Any]) -> Dict[str, Any]:
    """Return a copy of a row without its empty fields."""
    return {name: value for name, value in row.items() if value is not None}


def order_sums(position: Position) -> Dict[str, Any]:
    """Return the fields of a position's row that depend on its open orders."""
    instrument = position.instrument
    sign = -1 if instrument.buy_sign < 0 else 1
    value = position.mark_value
    premium = position.open_premium
    return {
        'openOrderBuyQty': position.buy_qty, 'openOrderBuyCost': sign * position.buy_cost,
        'openOrderBuyPremium': position.buy_premium,
        'openOrderSellQty': position.sell_qty, 'openOrderSellCost': sign * position.sell_cost,
        'openOrderSellPremium': position.sell_premium,
        'openOrderRealisedPnl': realised_by_orders(position) if position.quantity else 0, 'grossOpenPremium': premium,
        'initMargin': position.init, 'riskValue': (value if value > 0 else -value) + position.open_cost,
    }


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


def position_row(position: Position) -> Dict[str, Any]:
    """Return the whole row of a position, without its timestamp; empty fields are None."""
    instrument = position.instrument
    static = instrument.row
    quantity, cost, upnl = position.quantity, position.cost, position.upnl
    size = cost if cost > 0 else -cost
    init = position.init_rate * 1e-12
    row = order_sums(position)
    average = clearing.average_entry(position)
    home = foreign = 0  # type: Any
    if not quantity:
        pass
    elif instrument.kind == 'inverse':
        home, foreign = -position.mark_value / 100000000, -quantity
    else:
        home, foreign = instrument.notionals(quantity, position.mark_value)
        foreign = -foreign
    row.update({
        'account': position.account.id, 'symbol': instrument.symbol, 'strategy': 'OneWay',
        'currency': instrument.currency,
        'underlying': static['underlying'], 'quoteCurrency': static['quoteCurrency'],
        'commission': instrument.commission,
        'initMarginReq': round(init, 10), 'maintMarginReq': round(position.maint_rate * 1e-12, 10),
        'riskLimit': position.risk_limit,
        'leverage': round(1 / init, 2), 'crossMargin': not position.isolated,
        'deleveragePercentile': position.percentile if quantity else None,
        'rebalancedPnl': position.rebalanced, 'prevRealisedPnl': position.prev_realised, 'prevUnrealisedPnl': 0,
        'openingQty': position.opening_qty, 'currentQty': quantity, 'currentCost': cost, 'currentComm': 0,
        'realisedCost': 0,
        'unrealisedCost': cost, 'isOpen': quantity != 0, 'markPrice': static['markPrice'] if quantity else None,
        'markValue': position.mark_value, 'homeNotional': home, 'foreignNotional': foreign,
        'posCost': cost, 'posCross': position.pos_cross, 'posInit': position.pos_init, 'posComm': position.pos_comm,
        'posLoss': 0,
        'posMargin': position.pos_margin, 'posMaint': position.pos_maint, 'maintMargin': position.maint,
        'realisedPnl': 0,
        'unrealisedPnl': upnl, 'unrealisedPnlPcnt': round(upnl / size, 4) if size else 0,
        'unrealisedRoePcnt': round(upnl / (size * init), 4) if size else 0, 'avgCostPrice': average,
        'avgEntryPrice': average,
        'breakEvenPrice': clearing.break_even(position), 'marginCallPrice': position.liquidation_price,
        'liquidationPrice': position.liquidation_price, 'bankruptPrice': position.bankrupt_price,
    })
    return row


def margin_row(purse: Purse) -> Dict[str, Any]:
    """Return the whole margin row of a purse, without its timestamp."""
    balance = purse.wallet + purse.upnl
    used = purse.init + purse.maint
    excess = balance - used
    value = purse.mark_value
    profit = purse.upnl if purse.upnl > 0 else 0
    free = excess - profit
    return {
        'account': purse.account.id, 'currency': purse.currency,
        'riskLimit': RISK_LIMITS.get(purse.currency, 1000000000000),
        'amount': purse.wallet, 'prevRealisedPnl': purse.prev_realised, 'grossComm': 0,
        'grossOpenCost': purse.open_cost,
        'grossOpenPremium': purse.open_premium, 'grossExecCost': 0, 'grossMarkValue': value,
        'riskValue': value + purse.open_cost,
        'initMargin': purse.init, 'maintMargin': purse.maint, 'targetExcessMargin': excess, 'realisedPnl': 0,
        'unrealisedPnl': purse.upnl,
        'isolatedUnrealisedPnl': purse.isolated_upnl, 'walletBalance': purse.wallet, 'marginBalance': balance,
        'marginLeverage': round(value / balance, 4) if balance > 0 else 0.0,
        'marginUsedPcnt': round(used / balance, 4) if balance > 0 else float(used > 0),
        'excessMargin': excess, 'availableMargin': excess, 'withdrawableMargin': free if free > 0 else 0,
        'systemWithdrawableMargin': free if free > 0 else 0, 'foreignMarginBalance': 0, 'foreignRequirement': 0,
    }


def wallet_row(purse: Purse) -> Dict[str, Any]:
    """Return the whole wallet row of a purse, without its timestamp."""
    return {
        'account': purse.account.id, 'currency': purse.currency, 'deposited': purse.deposited,
        'withdrawn': purse.withdrawn, 'transferIn': purse.transferred_in, 'transferOut': purse.transferred_out,
        'amount': purse.wallet, 'pendingCredit': 0, 'pendingDebit': purse.pending_debit, 'confirmedDebit': 0,
    }
