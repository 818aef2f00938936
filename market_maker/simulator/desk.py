"""Where customers' requests arrive: place, amend, cancel, with every check that needs book, position or money.

A refused request leaves everything as it was.  Order of the checks: the request by itself (``orders``), the state of
the market, the order counts, price protection, position (reduce-only), money.  Pure.
"""
from typing import Any, Dict, List, Optional

from market_maker.simulator import clearing, orders
from market_maker.simulator.instruments import Instrument  # noqa: F401
from market_maker.simulator.matching import last_line
from market_maker.simulator.orders import CANCELED_VIA_API, Order
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.tables import Tape

MAX_OPEN_ORDERS = 200   # per contract and account (BitMEX, order limits)
MAX_STOPS = 10          # of them, orders that wait for a trigger
# market orders and large limit orders reach 5 % beyond the market (BitMEX, trading rules, since 2021-02-16)
PROTECTION = 1.05

BALANCE_TEXT = 'Account has insufficient Available Balance, {} {} required'


class Desk(object):
    """Accepts the orders of the customers of an exchange (``house``)."""

    def __init__(self, house: Any):
        self.house = house
        self.matcher = house.matcher

    # -- placing -----------------------------------------------------------------------------------

    def place(self, account: Any, fields: Dict[str, Any]) -> Order:
        """Accept a new order, or refuse it."""
        instrument = self.house.tradable(fields.get('symbol'))
        order = orders.read_order(account, instrument, fields)
        tape = self.house.tapes[instrument.symbol]
        position = order.position
        if account.restricted:
            raise Refusal(400, 'Account is restricted')
        if position.open_orders >= MAX_OPEN_ORDERS:
            raise Refusal(400, 'Too many open orders')
        if order.peg:
            self._fix(order, tape)
        if order.is_armed and position.stops >= MAX_STOPS:
            raise Refusal(400, 'Too many open stop orders')
        if order.link:
            self.house.trigger.link(order)
        if not order.is_armed and not order.is_held:
            try:
                self.check_working(order, tape)
            except Refusal:
                if order.link:
                    account.links[order.link].remove(order)
                raise
        self._accept(order, fields, tape)
        return order

    def check_working(self, order: Order, tape: Tape) -> None:
        """Refuse an order that would work now but may not: position, price protection, money."""
        if order.reduce_only:
            self._fit(order)
        self.protect(order, order.leaves, tape)
        self.check_liquidation(order.position, order.price_ticks)
        self.afford(order, order.leaves, order.price_ticks, tape)

    @staticmethod
    def check_liquidation(position: Any, ticks: Optional[int]) -> None:
        """Refuse a price beyond the one at which the position would be liquidated (BitMEX, margin checks)."""
        if not position.quantity or ticks is None:
            return
        clearing.set_limits(position)
        limit, price = position.liquidation_price, position.instrument.price_of(ticks)
        if position.quantity > 0 and price < limit:
            raise Refusal(400, 'Order price is below the liquidation price of current long position')
        if position.quantity < 0 and price > limit:
            raise Refusal(400, 'Order price is above the liquidation price of current short position')

    def _fix(self, order: Order, tape: Tape) -> None:
        """Give a pegged order its price: of a trailing stop its stop, of the others the limit, fixed from the best
        prices.
        """
        if order.peg == 'TrailingStopPeg':
            order.stop_ticks = self.house.trigger.trail_from(order, tape)
            return
        near = tape.book.bids if order.is_buy else tape.book.asks
        far = tape.book.asks if order.is_buy else tape.book.bids
        best = (near if order.peg == 'PrimaryPeg' else far).touch()
        ticks = best.ticks + orders.offset_of(order) if best else 0
        if not 0 < ticks <= order.instrument.max_ticks:
            raise Refusal(400, 'Invalid price')
        order.price_ticks = ticks

    def _fit(self, order: Order) -> None:
        """Let a reduce-only order be no larger than the position that it reduces; a Close takes competing orders out
        of its way.
        """
        held = order.position.quantity
        if not held or (held > 0) == order.is_buy:
            raise Refusal(400, orders.against_position('Close' if order.close else 'ReduceOnly', order.side, held))
        size = abs(held)
        if order.leaves > size:
            order.quantity = order.leaves = size
            order.shown = size if order.display is None else min(order.display, size)

    def protect(self, order: Order, leaves: int, tape: Tape) -> None:
        """Refuse a limit order that reaches more than 5 % beyond the market and is larger than the best level there."""
        ticks = order.price_ticks
        if ticks is None or not order.instrument.is_protected:
            return
        book = tape.book
        side = book.asks if order.is_buy else book.bids
        if not side.prices:
            return
        best = side.levels[side.prices[-1]]
        if order.is_buy and ticks <= best.ticks or not order.is_buy and ticks >= best.ticks:
            return  # it does not even cross
        bound = self._bound(order, best.ticks)
        if (ticks > bound if order.is_buy else ticks < bound) and leaves > best.quantity:
            raise Refusal(400, 'Price greater than limitUpPrice' if order.is_buy else 'Price less than limitDownPrice')

    @staticmethod
    def _bound(order: Order, best: int) -> int:
        """Return the last price, in ticks, that price protection lets an order reach; ``best`` is the opposite best
        price.
        """
        instrument = order.instrument
        if not instrument.is_protected:
            return instrument.max_ticks if order.is_buy else 1
        mark = instrument.row.get('markPrice')
        mark_ticks = best if mark is None else mark * instrument.tick_bottom / instrument.tick_top
        if order.is_buy:
            return int(max(best, mark_ticks) * PROTECTION)
        return -int(-min(best, mark_ticks) * (2 - PROTECTION) // 1)

    def afford(self, order: Order, leaves: int, ticks: Optional[int], tape: Tape, replaced: int = 0,
                replaced_cost: int = 0, replaced_premium: int = 0) -> None:
        """Refuse an order that the account cannot carry; ``replaced...`` is what the same order already counts for
        (amends).

        A limit order is charged at its price, a sale at the best bid if that is higher; a market order at the best
        price of the other side.
        """
        instrument, position = order.instrument, order.position  # type: Instrument, Any
        book = tape.book
        is_buy = order.is_buy
        if not is_buy:
            bids = book.bids
            if bids.prices and (ticks is None or bids.prices[-1] > ticks):
                ticks = bids.prices[-1]
        elif ticks is None and book.asks.prices:
            ticks = -book.asks.prices[-1]
        lot_value = instrument.mark_lot_value if ticks is None else instrument.lot_value(ticks)
        lots = leaves // instrument.lot
        cost = lots * lot_value - replaced_cost
        premium = clearing.premium_of_lot(instrument, is_buy, lot_value) * lots - replaced_premium
        size = leaves - replaced
        if is_buy:
            needs = clearing.order_needs(position, position.buy_qty + size, position.buy_cost + cost,
                                         position.buy_premium + premium,
                                         position.sell_qty, position.sell_cost, position.sell_premium)
        else:
            needs = clearing.order_needs(position, position.buy_qty, position.buy_cost, position.buy_premium,
                                         position.sell_qty + size, position.sell_cost + cost,
                                         position.sell_premium + premium)
        extra = needs[2] - position.init
        if extra <= 0:
            return
        purse = position.purse
        if extra > purse.wallet + purse.upnl - purse.init - purse.maint:
            if not purse.wallet:
                raise Refusal(400, 'Account has no {}'.format(purse.currency))
            raise Refusal(400, BALANCE_TEXT.format(extra, purse.currency), 'CodedHTTPError', '19000')
        value = position.mark_value
        if (value if value > 0 else -value) + needs[0] > position.risk_limit:
            raise Refusal(400, 'Value of position and orders exceeds position Risk Limit')
        if purse.mark_value + purse.open_cost - position.open_cost + needs[0] > purse.risk_limit:
            raise Refusal(400, 'Value of positions and orders exceeds account Risk Limit')

    def _accept(self, order: Order, fields: Dict[str, Any], tape: Tape) -> None:
        """Take the order in: number it, tell it, match it, rest or end what is left."""
        house, matcher, account = self.house, self.matcher, order.account
        order.order_id = order_id = house.new_order_id()
        order.row = orders.new_row(order, fields, house.stamp())
        account.orders[order_id] = order
        if order.client_id:
            account.by_client[order.client_id] = order
        order.position.open_orders += 1
        order.instrument.parked = False
        if order.close and order.kind != 'Market':
            self._clear_the_way(order, tape)
        matcher.report(order, 'New')
        if order.is_armed or order.is_held:
            matcher.tell_new(order)
            if not order.is_held:
                house.trigger.arm(order, tape)
                house.trigger.check(tape, order.trigger)
            return
        self.work(order, tape)
        if not order.is_told:
            matcher.tell_new(order)

    def _clear_the_way(self, order: Order, tape: Tape) -> None:
        """Cancel same-side limit orders that together with a Close exceed the position (BitMEX, order types)."""
        position = order.position
        open_size = position.buy_qty if order.is_buy else position.sell_qty
        if open_size + order.leaves <= abs(position.quantity):
            return
        for other in list(order.account.orders.values()):
            if other.position is position and other.is_counted and other.side == order.side:
                self.matcher.cancel(other, 'Canceled: Order had execInst of Close\n' + last_line(other), tape)

    def work(self, order: Order, tape: Tape) -> None:
        """Let an order meet the book; rest what may rest, end what may not."""
        book, matcher = tape.book, self.matcher
        ticks = order.price_ticks
        side = book.asks if order.is_buy else book.bids
        prices = side.prices
        if prices and (ticks is None or prices[-1] >= (-ticks if order.is_buy else ticks)):
            if order.post_only:
                self._end(order, 'execInst of ParticipateDoNotInitiate', tape)
                return
            limit = self._bound(order, side.levels[prices[-1]].ticks) if ticks is None else ticks
            if order.time_in_force == 'FillOrKill' and not self._fills(order, side, limit):
                self._end(order, 'timeInForce of FillOrKill', tape)
                return
            if not order.is_told:
                matcher.tell_new(order)   # as recorded: an insert that says New, then updates with the fills
            matcher.match(order, tape, limit)
            if not order.leaves:
                return
        if ticks is None:
            self._end(order, 'ordType of {}'.format(order.kind), tape)
        elif order.time_in_force == 'ImmediateOrCancel' or order.time_in_force == 'FillOrKill':
            self._end(order, 'timeInForce of {}'.format(order.time_in_force), tape)
        else:
            if order.display is None:
                order.shown = order.leaves
            else:
                order.shown = min(order.display, order.leaves)
            matcher.rest(order, tape)
            if order.reduce_only:
                order.position.reducers.append(order)
                matcher.to_trim.append(order.position)

    @staticmethod
    def _fills(order: Order, side: Any, limit: int) -> bool:
        """Tell whether the other side holds enough for the whole order within its limit."""
        key_limit = -limit if order.is_buy else limit
        left = order.leaves
        for level in side.walk():
            if level.key < key_limit:
                return False
            left -= level.quantity + level.hidden
            if left <= 0:
                return True
        return False

    def _end(self, order: Order, reason: str, tape: Tape) -> None:
        self.matcher.cancel(order, 'Canceled: Order had {}\n{}'.format(reason, last_line(order)), tape)

    # -- by force --------------------------------------------------------------------------------------

    def forced(self, position: Any, side: str, quantity: int, ticks: int, text: str, tape: Tape) -> Order:
        """Place a fill-or-kill order that the liquidation engine sends for an account, unchecked; return it."""
        order = Order(position.account, position, tape.instrument, side, ticks, quantity)
        order.time_in_force = 'FillOrKill'
        self._accept(order, {'text': text}, tape)
        return order

    def closed_by_force(self, position: Any, price: float, text: str, size: int = 0) -> Order:
        """Return the order, told as filled, that stands for a position (or ``size`` of it) taken away outside the
        book.
        """
        house, instrument, account = self.house, position.instrument, position.account
        size = size or abs(position.quantity)
        order = Order(account, position, instrument, orders.SELL if position.quantity > 0 else orders.BUY,
                      instrument.nearest_ticks(price), size)
        order.order_id = house.new_order_id()
        order.leaves, order.filled, order.is_final = 0, size, True
        order.finished_at = house.now
        order.row = orders.new_row(order, {'text': text}, house.stamp())
        order.row.update(ordStatus='Filled', cumQty=size, avgPx=price, price=price, workingIndicator=False)
        account.finished[order.order_id] = order
        self.matcher.tell_new(order)
        return order

    # -- finding -----------------------------------------------------------------------------------

    def find(self, account: Any, fields: Dict[str, Any], by_client: str) -> Order:
        """Return the open order that a request names by orderID or, in the field ``by_client``, by clOrdID."""
        order_id, client_id = fields.get('orderID'), fields.get(by_client)
        if order_id:
            order = account.orders.get(order_id) if isinstance(order_id, str) else None
            if order is None:
                order = account.finished.get(order_id) if isinstance(order_id, str) else None
                if order is None:
                    raise Refusal(400, 'Invalid orderID')
        elif client_id:
            order = account.by_client.get(client_id) if isinstance(client_id, str) else None
            if order is None:
                order = account.finished_by_client.get(client_id) if isinstance(client_id, str) else None
                if order is None:
                    raise Refusal(400, 'Invalid {}'.format(by_client))
        else:
            raise Refusal(400, 'orderID or {} must be sent.'.format(by_client))
        return order

    # -- canceling ---------------------------------------------------------------------------------

    def cancel(self, account: Any, fields: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Cancel orders by orderID or clOrdID, one or many; an item that cannot be canceled carries ``error`` in its
        row.
        """
        wanted = fields.get('orderID')
        name = 'orderID'
        if not wanted:
            name, wanted = 'clOrdID', fields.get('clOrdID')
        if not wanted:
            raise Refusal(400, 'orderID or clOrdID must be sent.')
        open_orders = account.orders if name == 'orderID' else account.by_client
        if type(wanted) is str and wanted in open_orders:
            return [self._cancel_one(open_orders[wanted], fields.get('text'))]
        answers = []
        for item in orders.words(wanted, 'Invalid {}'.format(name)):
            order = open_orders.get(item)
            if order is not None:
                answers.append(self._cancel_one(order, fields.get('text')))
            else:
                answers.append(self._not_canceled(account, name, item))
        return answers

    def _cancel_one(self, order: Order, text: Any = None) -> Dict[str, Any]:
        tape = self.house.tapes[order.instrument.symbol]
        row = self.matcher.cancel(order, 'Canceled\n{}'.format(str(text)[:orders.TEXT_LIMIT]
                                                               if text else CANCELED_VIA_API), tape)
        tape.check_quote(self.house.stamp())
        return dict(row)

    def _not_canceled(self, account: Any, name: str, item: str) -> Dict[str, Any]:
        """Return the item of an order that cannot be canceled, and tell the CancelReject (BitMEX, rows recorded in
        2025).  Both name an orderID; the zero guid stands for that of an unknown clOrdID.
        """
        stamp = self.house.stamp()
        known = (account.finished if name == 'orderID' else account.finished_by_client).get(item)
        reason = 'Invalid {}'.format(name) if known is None else 'Invalid ordStatus: {}'.format(known.row['ordStatus'])
        order_id = item if name == 'orderID' else orders.NO_ID if known is None else known.order_id
        execution = {'execID': self.house.new_execution_id(), 'orderID': order_id, name: item, 'account': account.id,
                     'execType': 'CancelReject',
                     'ordStatus': 'Rejected', 'workingIndicator': False, 'ordRejReason': reason, 'text': reason,
                     'transactTime': stamp,
                     'timestamp': stamp}
        execution.setdefault('clOrdID', '')
        account.executions.append(execution)
        self.house.journal.tell('execution', 'insert', [execution], account.id)
        return {'account': account.id, 'error': 'Unable to cancel order', 'orderID': order_id, name: item,
                'timestamp': stamp, 'transactTime': stamp, 'workingIndicator': False}

    def cancel_all(self, account: Any, matches: Any, text: Optional[str] = None) -> List[Dict[str, Any]]:
        """Cancel all open orders whose row ``matches`` accepts; return their rows."""
        answers = []
        touched = {}  # type: Dict[str, Tape]
        for order in list(account.orders.values()):
            if order.is_final or order.is_liquidation or not matches(order.row):
                continue
            tape = touched.setdefault(order.instrument.symbol, self.house.tapes[order.instrument.symbol])
            answers.append(dict(self.matcher.cancel(order, text or 'Canceled\n{}'.format(CANCELED_VIA_API), tape)))
        for symbol in sorted(touched):
            touched[symbol].check_quote(self.house.stamp())
        return answers
