"""What happens to those who cannot carry their positions: takeover at the bankruptcy price, insurance fund,
auto-deleveraging.

The liquidation engine is an account of its own, and its purse is the insurance fund: it takes a position over at the
price at which its owner's money is used up and works a limit order at that price; whatever it makes or loses is the
fund's.  Steps, as BitMEX describes them: cancel the orders on the contract; lower the risk limit to what position and
orders need; sell a part to reach the next lower tier of the risk limits; take everything over.  Pure.
"""
from typing import Any, Dict, List  # noqa: F401

from market_maker.simulator import clearing
from market_maker.simulator.account import Position, Purse
from market_maker.simulator.matching import last_line
from market_maker.simulator.orders import BUY, SELL, Order
from market_maker.simulator.schema import PRIMARY_POOL
from market_maker.simulator.tables import Tape

LIQUIDATOR_ACCOUNT = 1
TEXT = 'Liquidation'
CANCELED = 'Canceled: Position is in liquidation\n'


class Liquidation(object):
    """Watches the margins of an exchange (``house``)."""

    def __init__(self, house: Any):
        self.house = house
        self._is_busy = False
        self.orders = {}  # type: Dict[str, Order]  # working takeover orders by orderID

    # -- watching --------------------------------------------------------------------------------------

    def check(self) -> None:
        """Look at every customer whose numbers moved since the last look, liquidate those who fell short, until all
        can carry.
        """
        if self._is_busy:
            return  # one at a time: the prices that a liquidation moves are looked at when it is done
        self._is_busy = True
        try:
            while self._check_once():
                pass
        finally:
            self._is_busy = False
        if self.house.liquidator.positions:
            self._work()

    def _check_once(self) -> bool:
        acted = False
        for purse in list(self.house.journal.purses):
            reached = [position for position in purse.account.positions.values() if position.isolated
                       and position.quantity and position.purse is purse and self._is_reached(position)]
            if reached:
                self._liquidate(reached)
                acted = True
            if purse.wallet + purse.upnl < purse.maint and self._cross(purse):
                self._liquidate_cross(purse)
                acted = True
        return acted

    @staticmethod
    def _is_reached(position: Position) -> bool:
        """Tell whether the mark has come to an isolated position's liquidation price, as its row shows it."""
        clearing.set_limits(position)
        mark, limit = position.instrument.row['markPrice'], position.liquidation_price
        if limit is None:
            return False
        return bool(mark <= limit) if position.quantity > 0 else bool(mark >= limit)

    @staticmethod
    def _cross(purse: Purse) -> List[Position]:
        return [position for position in purse.account.positions.values()
                if position.purse is purse and position.quantity and not position.isolated]

    # -- the steps -------------------------------------------------------------------------------------

    def _liquidate_cross(self, purse: Purse) -> None:
        positions = self._cross(purse)
        for position in positions:
            self._cancel_orders(position)
        for position in positions:
            self._lower_risk_limit(position)
        if purse.wallet + purse.upnl < purse.maint:
            for position in positions:
                if self._reduce(position) and purse.wallet + purse.upnl >= purse.maint:
                    return
        if purse.wallet + purse.upnl < purse.maint:
            self._take_over_all(self._cross(purse))

    def _liquidate(self, positions: List[Position]) -> None:
        for position in positions:
            self._cancel_orders(position)
            self._lower_risk_limit(position)
            if not self._is_reached(position):
                continue
            if self._reduce(position) and (not position.quantity or not self._is_reached(position)):
                continue
            self._take_over(position, position.bankrupt_price)

    def _cancel_orders(self, position: Position) -> None:
        house = self.house
        tape = house.tapes[position.instrument.symbol]
        for order in list(position.account.orders.values()):
            if order.position is position:
                house.matcher.cancel(order, CANCELED + last_line(order), tape)
        tape.check_quote(house.stamp())

    def _lower_risk_limit(self, position: Position) -> None:
        """Bring a raised risk limit down to the tier that the position needs: lower tiers need less margin."""
        row = position.instrument.row
        base, step = row['riskLimit'], row['riskStep']
        needed = max(0, -(-(abs(position.mark_value) - base) // step))
        limit = base + needed * step
        if limit < position.risk_limit:
            position.risk_limit = limit
            position.set_rates()
            clearing.carry(position)
            clearing.recharge(position)
            self.house.journal.mark_all(position)

    def _reduce(self, position: Position) -> bool:
        """Sell what lies above the next lower tier, at once or not at all, no worse than the bankruptcy price; tell
        whether it sold.
        """
        house, instrument = self.house, position.instrument
        row = instrument.row
        excess = abs(position.mark_value) - row['riskLimit']
        if excess <= 0:
            return False
        over = excess % row['riskStep'] or row['riskStep']
        lots = min(-(-over // instrument.mark_lot_value), abs(position.quantity) // instrument.lot)
        clearing.set_limits(position)
        tape = house.tapes[instrument.symbol]
        side = SELL if position.quantity > 0 else BUY
        order = house.desk.forced(position, side, lots * instrument.lot,
                                  instrument.nearest_ticks(position.bankrupt_price),
                                  TEXT, tape)
        self._lower_risk_limit(position)
        return bool(order.filled)

    # -- takeover --------------------------------------------------------------------------------------

    def _take_over_all(self, positions: List[Position]) -> None:
        """Take over all cross positions of a purse: each bears the loss that uses up its share of what is left."""
        left = sum(position.maint for position in positions)
        for position in positions:
            purse, share = position.purse, position.maint
            others = purse.maint - sum(one.maint for one in self._cross(purse))
            equity = purse.wallet + purse.upnl - others
            part = equity * share // left if left else equity
            left -= share
            self._take_over(position, clearing.price_of_result(position, position.upnl - part))

    def _take_over(self, position: Position, price: float) -> None:
        """Move a position to the liquidation engine at a price and let it work an order there."""
        house, instrument = self.house, position.instrument
        tape = house.tapes[instrument.symbol]
        quantity, size = position.quantity, abs(position.quantity)
        value = size // instrument.lot * instrument.lot_value_at(price)
        cost = value * instrument.buy_sign * (-1 if quantity > 0 else 1)
        fee = 0
        if position.isolated:  # the exit fee was set aside
            fee = min(clearing.portion(value, instrument.taker_rate), position.pos_comm)
        order = house.desk.closed_by_force(position, price, TEXT)
        result = house.matcher.book_fill(position, -quantity, cost, fee, tape)
        self._report(order, position, price, cost, fee, result)
        other = house.liquidator.position(instrument)
        before = other.quantity
        other.purse.wallet += clearing.apply_fill(other, quantity, -cost)
        clearing.carry(other)
        tape.long_interest += max(0, other.quantity) - max(0, before)
        self._place(other, SELL if quantity > 0 else BUY, size, instrument.nearest_ticks(price), tape)

    def _report(self, order: Order, position: Position, price: float, cost: int, fee: int, result: int) -> None:
        """Tell the owner: an order of the engine's that filled, and an execution of type Liquidation."""
        house, instrument = self.house, position.instrument
        stamp = house.stamp()
        home, foreign = instrument.notionals(order.quantity, abs(cost))
        sign = 1 if order.is_buy else -1
        execution = dict(order.row, execID=house.new_execution_id(), execType='Liquidation', lastQty=order.quantity,
                         lastPx=price, lastLiquidityInd='RemovedLiquidity', commission=instrument.taker_fee
                         if fee else 0,
                         feeType='Taker', tradePublishIndicator='DoNotPublishTrade',
                         trdMatchID=house.new_execution_id(),
                         execCost=cost, execComm=fee, execCommCcy=instrument.currency, brokerCommission=0.0,
                         brokerExecComm=0, homeNotional=sign * home, foreignNotional=-sign * foreign,
                         realisedPnl=result, trdType='Liquidation', tradePool=PRIMARY_POOL, transactTime=stamp,
                         timestamp=stamp)
        position.account.executions.append(execution)
        house.journal.tell('execution', 'insert', [execution], position.account.id, instrument.symbol)
        house.banker.note_result(position, result, fee, order.order_id, stamp)

    def _place(self, position: Position, side: str, size: int, ticks: int, tape: Tape) -> None:
        """Work a takeover order: fill what the book gives, rest the remainder, and show it in the liquidation table."""
        house = self.house
        order = Order(house.liquidator, position, tape.instrument, side, ticks, size)
        order.order_id = house.new_order_id()
        order.is_liquidation = True
        row = {'orderID': order.order_id, 'symbol': tape.symbol, 'side': side, 'price': tape.instrument.price_of(ticks),
               'leavesQty': size}
        house.liquidations[order.order_id] = row
        house.journal.tell('liquidation', 'insert', [dict(row)], None, tape.symbol)
        self.orders[order.order_id] = order
        house.matcher.match(order, tape, ticks)
        if order.leaves:
            order.shown = order.leaves
            tape.book.add(order, house.stamp())
        house.after(tape)

    def _work(self) -> None:
        """Bring the liquidation table up to date, and deleverage when the fund cannot carry what it took over."""
        house = self.house
        for order_id, order in list(self.orders.items()):
            row = house.liquidations[order_id]
            if row['leavesQty'] == order.leaves:
                continue
            key = {'orderID': order_id, 'symbol': row['symbol']}
            if order.leaves:
                row['leavesQty'] = order.leaves
                house.journal.tell('liquidation', 'update', [dict(key, leavesQty=order.leaves)], None, row['symbol'])
            else:
                self._done(order, key)
        for purse in house.liquidator.purses.values():
            self._revalue(purse)
            if purse.wallet + purse.upnl < 0:
                self._deleverage(purse)

    def _done(self, order: Order, key: Dict[str, Any]) -> None:
        house = self.house
        del self.orders[order.order_id]
        del house.liquidations[order.order_id]
        house.journal.tell('liquidation', 'delete', [key], None, key['symbol'])
        house.tell_insurance(order.instrument.currency)

    @staticmethod
    def _revalue(purse: Purse) -> None:
        for position in purse.account.positions.values():
            if position.purse is purse:
                clearing.carry(position)

    # -- auto-deleveraging -----------------------------------------------------------------------------

    def rank(self, symbol: str, quantity: int) -> List[Position]:
        """Return the holders on one side (the sign of ``quantity``), first to be deleveraged first.

        By profit times leverage where there is profit, by loss over leverage where there is none (BitMEX,
        auto-deleveraging).
        """
        holders = [position for position in self.house.holders[symbol].values()
                   if (position.quantity > 0) == (quantity > 0)]
        return sorted(holders, key=lambda position: (-score(position), position.account.id))

    def _deleverage(self, purse: Purse) -> None:
        """Close what the fund holds against the customers on the other side, at the prices of its orders."""
        house = self.house
        for order in list(self.orders.values()):
            if order.instrument.currency != purse.currency or not order.leaves:
                continue
            tape = house.tapes[order.instrument.symbol]
            for position in self.rank(tape.symbol, -1 if order.side == SELL else 1):
                if not order.leaves:
                    break
                self._cancel_orders(position)
                self._close_against(position, order, min(abs(position.quantity), order.leaves), tape)
            if order.leaves:
                self._close_market(order, tape)
            key = {'orderID': order.order_id, 'symbol': tape.symbol}
            self._done(order, key)
            house.after(tape)

    def _shrink(self, order: Order, size: int, tape: Tape) -> None:
        """Take a size that was closed outside the book off a takeover order."""
        if order.level is not None:
            tape.book.remove(order, self.house.stamp())
        order.leaves -= size
        order.shown = order.leaves
        if order.leaves:
            tape.book.add(order, self.house.stamp())

    def _transfer(self, order: Order, size: int, cost: int, tape: Tape) -> None:
        instrument = order.instrument
        own = self.house.liquidator.position(instrument)
        before = own.quantity
        own.purse.wallet += clearing.apply_fill(own, size if order.is_buy else -size, cost)
        clearing.carry(own)
        tape.long_interest += max(0, own.quantity) - max(0, before)
        self._shrink(order, size, tape)

    def _close_against(self, position: Position, order: Order, size: int, tape: Tape) -> None:
        house, instrument = self.house, position.instrument
        price = instrument.price_of(order.price_ticks)
        cost = size // instrument.lot * instrument.lot_value(order.price_ticks) * instrument.buy_sign
        cost = cost if order.is_buy else -cost
        forced = house.desk.closed_by_force(position, price, 'Auto-Deleveraging', size)
        result = house.matcher.book_fill(position, -size if order.is_buy else size, -cost, 0, tape)
        self._report(forced, position, price, -cost, 0, result)
        self._transfer(order, size, cost, tape)

    def _close_market(self, order: Order, tape: Tape) -> None:
        """Where no customer is left on the other side, the market takes the rest."""
        instrument, size = order.instrument, order.leaves
        cost = size // instrument.lot * instrument.lot_value(order.price_ticks) * instrument.buy_sign
        cost = cost if order.is_buy else -cost
        other = self.house.market.position(instrument)
        before = other.quantity
        other.purse.wallet += clearing.apply_fill(other, -size if order.is_buy else size, -cost)
        clearing.carry(other)
        tape.long_interest += max(0, other.quantity) - max(0, before)
        self._transfer(order, size, cost, tape)

    def set_percentiles(self, symbol: str) -> None:
        """Set deleveragePercentile of all holders: five lights, all of them for the first in line."""
        holders = self.house.holders[symbol]
        if not holders:
            return
        for sign in (1, -1):
            line = self.rank(symbol, sign)
            for place, position in enumerate(line):
                percentile = -(-5 * (len(line) - place) // len(line)) / 5.0
                if position.percentile != percentile:
                    position.percentile = percentile
                    self.house.journal.mark_all(position)


def score(position: Position) -> float:
    """Return the rank value of a position for auto-deleveraging."""
    entry = abs(position.cost)
    if not entry:
        return 0.0
    profit = position.upnl / entry
    equity = position.pos_margin + position.upnl if position.isolated else position.purse.balance
    leverage = abs(position.mark_value) / equity if equity > 0 else 1e9
    return profit * leverage if profit > 0 else profit / leverage if leverage else profit
