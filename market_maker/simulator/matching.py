"""Where orders meet: price-time priority, fills at the resting order's price, and all that a fill and an end of an
order entail.

Two orders of one account that meet trade like any others.  An iceberg whose visible part is used up goes to the end of
the line with its next part.  Pure.
"""
from typing import Any, Dict, Optional

from market_maker import contracts
from market_maker.simulator import clearing
from market_maker.simulator.book import Level
from market_maker.simulator.journal import make_change
from market_maker.simulator.orders import CANCELED, FILLED, PARTIALLY_FILLED, Order
from market_maker.simulator.schema import PRIMARY_POOL
from market_maker.simulator.tables import Tape

ADDED, REMOVED = 'AddedLiquidity', 'RemovedLiquidity'


class Matcher(object):
    """Matches orders on the books of an exchange and keeps orders, executions, positions and purses true.

    ``house`` is the exchange: its clock text, ids, journal, tapes, market account and collected fees.
    """

    def __init__(self, house: Any):
        self.house = house
        self.journal = house.journal
        self.to_trim = []  # type: Any  # positions whose reduce-only orders may have become too large

    # -- meeting -----------------------------------------------------------------------------------

    def match(self, taker: Order, tape: Tape, limit_ticks: Optional[int]) -> None:
        """Fill an arriving order as far as the other side reaches; ``limit_ticks`` None means at any price."""
        if taker.is_buy:
            side = tape.book.asks
            limit = None if limit_ticks is None else -limit_ticks
        else:
            side = tape.book.bids
            limit = limit_ticks
        prices = side.prices
        while taker.leaves and prices:
            key = prices[-1]
            if limit is not None and key < limit:
                return
            level = side.levels[key]
            maker = level.head
            size = maker.shown or maker.leaves
            if size > taker.leaves:
                size = taker.leaves
            self._trade(taker, maker, level, size, tape)

    def _trade(self, taker: Order, maker: Order, level: Level, size: int, tape: Tape) -> None:
        house = self.house
        stamp = house.stamp()
        value = size // taker.instrument.lot * level.lot_value
        match_id = house.new_execution_id()
        notionals = taker.instrument.notionals(size, value)
        taker.leaves -= size
        if taker.account is maker.account and taker.row is None:
            self._take_from(maker, level, size, tape, stamp)
        else:
            if maker.row is None:
                self._hand_fill(maker, size, value, tape)
                self._take_from(maker, level, size, tape, stamp)
            else:
                self._take_from(maker, level, size, tape, stamp)
                self._fill(maker, size, value, level, ADDED, match_id, tape, stamp, notionals)
            if taker.row is None:
                self._hand_fill(taker, size, value, tape)
            else:
                self._fill(taker, size, value, level, REMOVED, match_id, tape, stamp, notionals)
        tape.print_trade(taker.side, size, level.ticks, level.price, value, notionals, match_id, stamp)

    @staticmethod
    def _take_from(maker: Order, level: Level, size: int, tape: Tape, stamp: str) -> None:
        """Take a fill out of the book; an iceberg shows its next part at the end of the line."""
        book = tape.book
        maker.leaves -= size
        if not maker.leaves:
            book.leave(maker)
            maker.level = None
        if not maker.shown:
            book.shrink(level, 0, size, stamp)
            return
        maker.shown -= size
        book.shrink(level, size, 0, stamp)
        if not maker.shown and maker.leaves:
            maker.shown = min(maker.display, maker.leaves)
            book.leave(maker)
            book.join(level, maker)
            book.shrink(level, -maker.shown, maker.shown, stamp)

    def _hand_fill(self, order: Order, size: int, value: int, tape: Tape) -> None:
        """Book a fill of the market's own hand or the liquidation engine: position and money, no fee, no rows."""
        instrument = order.instrument
        position = order.account.position(instrument)
        before = position.quantity
        change, cost = (size, value * instrument.buy_sign) if order.is_buy else (-size, -value * instrument.buy_sign)
        position.purse.wallet += clearing.apply_fill(position, change, cost)
        order.filled += size
        after = position.quantity
        tape.long_interest += (after if after > 0 else 0) - (before if before > 0 else 0)

    def _fill(self, order: Order, size: int, value: int, level: Level, liquidity: str, match_id: str, tape: Tape,
              stamp: str, notionals: Any) -> None:
        """Book a fill of a customer's order: position, purse, order row, execution row, wallet history."""
        house, instrument, position = self.house, order.instrument, order.position
        if order.is_counted:
            self._uncount_part(order, size, size // instrument.lot * level.lot_value)
        is_maker = liquidity is ADDED and not order.is_hidden
        rate = instrument.maker_rate if is_maker else instrument.taker_rate
        fee = clearing.portion(value, rate)
        change, cost = (size, value * instrument.buy_sign) if order.is_buy else (-size, -value * instrument.buy_sign)
        result = self.book_fill(position, change, cost, fee, tape)
        if not order.filled:
            order.first_ticks = level.ticks
        elif order.first_ticks != level.ticks:
            order.is_mixed = True
        order.filled += size
        order.cost += value
        leaves = order.leaves
        status = PARTIALLY_FILLED if leaves else FILLED
        average = self._average_price(order, level)
        row = order.row
        changed = {'orderID': order.order_id, 'clOrdID': order.client_id, 'account': order.account.id,
                   'symbol': instrument.symbol, 'leavesQty': leaves, 'cumQty': order.filled, 'timestamp': stamp}
        if row['ordStatus'] != status:
            changed['ordStatus'] = status
        if row.get('avgPx') != average:
            changed['avgPx'] = average
        if not leaves:
            changed['workingIndicator'] = False
        row.update(changed)
        home, foreign = notionals
        account = order.account
        account.activity.note_fill(house.now, instrument.symbol, home, foreign)
        if order.is_buy:
            foreign = -foreign
        else:
            home = -home
        execution = {
            'execID': house.new_execution_id(), 'execType': 'Trade', 'lastQty': size, 'lastPx': level.price,
            'lastLiquidityInd': liquidity, 'commission': rate / 1e12, 'brokerCommission': 0.0,
            'feeType': 'Maker' if is_maker else 'Taker',
            'tradePublishIndicator': 'PublishTrade' if liquidity is REMOVED else 'DoNotPublishTrade',
            'trdMatchID': match_id, 'execCost': cost, 'execComm': fee, 'brokerExecComm': 0,
            'execCommCcy': instrument.currency,
            **row,
            'homeNotional': home, 'foreignNotional': foreign, 'realisedPnl': result, 'trdType': 'Regular',
            'tradePool': PRIMARY_POOL, 'transactTime': stamp, 'timestamp': stamp}
        account.executions.append(execution)
        outbox = self.journal.outbox
        outbox.append(make_change(('order', 'update', [changed], account.id, instrument.symbol)))
        outbox.append(make_change(('execution', 'insert', [execution], account.id, instrument.symbol)))
        if result or fee:
            house.banker.note_result(position, result, fee, order.order_id, stamp)
        if not leaves:
            self.finish(order)
        elif order.link:
            house.trigger.to_link.append(order)

    def book_fill(self, position: Any, change: int, cost: int, fee: int, tape: Tape) -> int:
        """Book a change of a position and its fee; return the realised result before the fee."""
        before = position.quantity
        result = clearing.apply_fill(position, change, cost)
        purse = position.purse
        net = result - fee
        purse.wallet += net
        self.house.fees[purse.currency] += fee
        after = position.quantity
        position.rebalanced += net
        if before and (not after or (before > 0) != (after > 0)):
            position.prev_realised = position.rebalanced
            position.rebalanced = 0
        if not before or not after or (before > 0) != (after > 0):
            self.house.note_holder(position)
        tape.long_interest += (after if after > 0 else 0) - (before if before > 0 else 0)
        clearing.carry(position)
        if position.buy_qty or position.sell_qty or position.init:
            clearing.recharge(position)
            if position.reducers:
                self.to_trim.append(position)
        self.journal.mark_all(position)
        return result

    @staticmethod
    def _average_price(order: Order, level: Level) -> float:
        """avgPx: of the lot-rounded cost; to the tick while there is one price, when there are several of the cost of a
        lot in whole units, cut off, to four decimals (rows recorded in 2020 and 2025).
        """
        instrument = order.instrument
        if order.is_mixed:
            lot_value = order.cost // (order.filled // instrument.lot)
            return round(clearing.price_at_lot_value(instrument, lot_value), contracts.AVERAGE_PRICE_DECIMALS)
        if instrument.kind != 'inverse':
            return level.price
        if not level.average:
            price = clearing.price_at_lot_value(instrument, level.lot_value)
            level.average = instrument.price_of(instrument.nearest_ticks(price))
        return level.average

    # -- resting -----------------------------------------------------------------------------------

    def rest(self, order: Order, tape: Tape) -> None:
        """Put what is left of a customer's order into the book and into the sums of its position."""
        stamp = self.house.stamp()
        level = tape.book.add(order, stamp)
        self.count(order, level.lot_value)

    def count(self, order: Order, lot_value: int) -> None:
        """Add an order to the sums over its position's open orders."""
        position, instrument, leaves = order.position, order.instrument, order.leaves
        lots = leaves // instrument.lot
        order.open_cost = cost = lots * lot_value
        premium = clearing.premium_of_lot(instrument, order.is_buy, lot_value)
        if premium:
            order.premium = premium = premium * lots
            order.premium_epoch = instrument.mark_epoch
            self.house.note_premium(position)
        if order.is_buy:
            position.buy_qty += leaves
            position.buy_cost += cost
            position.buy_premium += premium
        else:
            position.sell_qty += leaves
            position.sell_cost += cost
            position.sell_premium += premium
        order.is_counted = True
        clearing.recharge(position)
        self.journal.mark_orders(position)

    def uncount(self, order: Order) -> None:
        """Take an order out of those sums."""
        self._uncount_part(order, order.leaves, order.open_cost)
        order.is_counted = False
        position = order.position
        clearing.recharge(position)
        self.journal.mark_orders(position)

    @staticmethod
    def _uncount_part(order: Order, size: int, cost: int) -> None:
        position = order.position
        order.open_cost -= cost
        premium = 0
        if order.premium and order.premium_epoch == order.instrument.mark_epoch:
            premium = order.premium if not order.open_cost else order.premium * cost // (order.open_cost + cost)
            order.premium -= premium
        if order.is_buy:
            position.buy_qty -= size
            position.buy_cost -= cost
            position.buy_premium -= premium
        else:
            position.sell_qty -= size
            position.sell_cost -= cost
            position.sell_premium -= premium

    # -- ends --------------------------------------------------------------------------------------

    def finish(self, order: Order) -> None:
        """Take a finished order out of the open ones."""
        order.is_final = True
        order.finished_at = self.house.now
        position = order.position
        position.open_orders -= 1
        if order.reduce_only and order in position.reducers:
            position.reducers.remove(order)
        order.account.finish(order)
        if order.link:
            self.house.trigger.to_link.append(order)

    def cancel(self, order: Order, text: str, tape: Tape, status: str = CANCELED, **more: Any) -> Dict[str, Any]:
        """End an order: out of the book, its row Canceled (or Rejected) with that text and whatever else changes in it;
        return the row.
        """
        stamp = self.house.stamp()
        if order.is_counted:
            self.uncount(order)
        if order.level is not None:
            tape.book.remove(order, stamp)
        if order.is_armed and not order.is_held:
            self.house.trigger.disarm(order)
        order.leaves = order.shown = 0
        row = order.row
        changed = {'orderID': order.order_id, 'clOrdID': order.client_id, 'account': order.account.id,
                   'symbol': order.instrument.symbol,
                   'ordStatus': status, 'leavesQty': 0, 'text': text, 'timestamp': stamp, 'transactTime': stamp}
        changed.update(more)
        if row['workingIndicator']:
            changed['workingIndicator'] = False
        row.update(changed)
        if order.is_told:
            self.journal.outbox.append(make_change(('order', 'update', [changed], order.account.id,
                                                   order.instrument.symbol)))
        self.report(order, status)
        self.finish(order)
        return row

    def report(self, order: Order, kind: str) -> None:
        """Tell an execution that moves no money: New, Canceled, Replaced, TriggeredOrActivatedBySystem."""
        execution = dict(order.row)
        execution['execID'] = self.house.new_execution_id()
        execution['execType'] = kind
        account = order.account
        account.executions.append(execution)
        symbol = order.instrument.symbol
        self.journal.outbox.append(make_change(('execution', 'insert', [execution], account.id, symbol)))

    def tell_new(self, order: Order) -> None:
        """Tell the insert of a new order; one that ends or rests without a fill is told in that state."""
        order.is_told = True
        row = dict(order.row)
        self.journal.outbox.append(make_change(('order', 'insert', [row], order.account.id, order.instrument.symbol)))

    def trim(self, position: Any, tape: Tape) -> None:
        """Make reduce-only orders fit the position again: the least aggressive ones shrink or go first (BitMEX, order
        types).
        """
        held = position.quantity
        fitting = [order for order in position.reducers if order.is_counted]
        for order in [order for order in fitting if not held or order.is_buy == (held > 0)]:
            self.cancel(order, 'Canceled: Order had execInst of {}\n{}'.format('Close' if order.close else 'ReduceOnly',
                                                                               last_line(order)), tape)
        against = [order for order in fitting if not order.is_final]
        excess = sum(order.leaves for order in against) - abs(held)
        against.sort(key=lambda order: order.price_ticks if order.is_buy else -order.price_ticks)
        for order in against:
            if excess <= 0:
                return
            if order.leaves <= excess:
                excess -= order.leaves
                self.cancel(order, 'Canceled: Order had execInst of {}\n{}'.format('Close'
                                                                                   if order.close else 'ReduceOnly',
                                                                                   last_line(order)), tape)
            else:
                self.shrink(order, order.leaves - excess, 'Amended orderQty\n' + last_line(order), tape)
                excess = 0

    def shrink(self, order: Order, leaves: int, text: str, tape: Tape) -> None:
        """Cut a resting order down to ``leaves``; it keeps its place in the line."""
        stamp = self.house.stamp()
        self.resize(order, leaves, tape)
        changed = {'orderID': order.order_id, 'clOrdID': order.client_id, 'account': order.account.id,
                   'symbol': order.instrument.symbol,
                   'orderQty': order.quantity, 'leavesQty': leaves, 'text': text, 'timestamp': stamp,
                   'transactTime': stamp}
        order.row.update(changed)
        symbol = order.instrument.symbol
        self.journal.outbox.append(make_change(('order', 'update', [changed], order.account.id, symbol)))
        self.report(order, 'Replaced')

    def resize(self, order: Order, leaves: int, tape: Tape) -> None:
        """Make a resting order smaller, where it stands."""
        level = order.level
        self._uncount_part(order, order.leaves, order.open_cost)
        shown = leaves if order.display is None else min(order.shown, leaves)
        tape.book.shrink(level, order.shown - shown, order.leaves - order.shown - (leaves - shown), self.house.stamp())
        order.leaves, order.shown = leaves, shown
        order.quantity = order.filled + leaves
        self.count(order, level.lot_value)


def last_line(order: Order) -> str:
    """Return the annotation of an order: the last line of its text."""
    return order.row['text'].rsplit('\n', 1)[-1]
