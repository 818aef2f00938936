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
REVIVAL_SECONDS = 60    # a filled order may be given new leaves that long

BALANCE_TEXT = 'Account has insufficient Available Balance, {} {} required'


class Desk(object):
    """Accepts the orders of the customers of an exchange (``house``)."""

    def __init__(self, house: Any):
        self.house = house
        self.matcher = house.matcher

    # -- placing ---------------------------------------------------------------------------------------------------

    def place(self, account: Any, fields: Dict[str, Any]) -> Order:
        """Accept a new order, or refuse it."""
        instrument = self.house.tradable(fields.get('symbol'))
        order = orders.read_order(account, instrument, fields)
        tape = self.house.tapes[instrument.symbol]
        position = order.position
        if account.restricted:
            raise Refusal(400, 'Account is restricted')
        if position.liquidating:
            raise Refusal(400, 'Position is in liquidation')
        if position.open_orders >= MAX_OPEN_ORDERS:
            raise Refusal(400, 'Too many open orders')
        if order.reduce_only:
            self._fit(order)
        self._protect(order, order.leaves, tape)
        self._afford(order, order.leaves, order.price_ticks, tape)
        self._accept(order, fields, tape)
        return order

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

    def _protect(self, order: Order, leaves: int, tape: Tape) -> None:
        """Refuse a limit order that reaches more than 5 % beyond the market and is larger than the best level there."""
        ticks = order.price_ticks
        if ticks is None:
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
        mark = instrument.row.get('markPrice')
        mark_ticks = best if mark is None else mark * instrument.tick_bottom / instrument.tick_top
        if order.is_buy:
            return int(max(best, mark_ticks) * PROTECTION)
        return -int(-min(best, mark_ticks) * (2 - PROTECTION) // 1)

    def _afford(self, order: Order, leaves: int, ticks: Optional[int], tape: Tape, replaced: int = 0,
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
        self.work(order, tape)
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

    # -- finding ---------------------------------------------------------------------------------------------------

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

    # -- amending --------------------------------------------------------------------------------------------------

    def amend(self, account: Any, fields: Dict[str, Any]) -> Order:
        """Change an open order; a smaller size alone keeps its place in the line, anything else goes to the end of
        it.
        """
        order = self.find(account, fields, 'origClOrdID')
        house, instrument = self.house, order.instrument
        if order.is_final and not self._revivable(order, fields):
            raise Refusal(400, 'Invalid ordStatus: {}'.format(order.row['ordStatus']))
        if instrument.row['state'] != 'Open':
            raise Refusal(400, 'Market is not open')
        tape = house.tapes[instrument.symbol]
        changed = []  # type: List[str]
        leaves = self._new_leaves(order, fields, changed)
        ticks = order.price_ticks
        price = fields.get('price')
        if price is not None and price != '':
            if ticks is None:
                raise Refusal(400, 'Invalid price')
            ticks = orders.price_to_ticks(instrument, price, 'Invalid price', 'Invalid price tickSize')
            if ticks != order.price_ticks:
                changed.append('price')
        client_id = self._new_client_id(order, fields)
        text = fields.get('text')
        if not changed and client_id is None and not text:
            raise Refusal(400, 'Invalid amend: orderQty, leavesQty, price, stopPx unchanged')
        if changed:
            self._check_amend(order, leaves, ticks, tape)
        self._carry_out(order, leaves, ticks, changed, client_id, text, tape)
        return order

    @staticmethod
    def _revivable(order: Order, fields: Dict[str, Any]) -> bool:
        return False

    @staticmethod
    def _new_leaves(order: Order, fields: Dict[str, Any], changed: List[str]) -> int:
        """Return the wanted leaves; orderQty counts what is filled, leavesQty does not."""
        instrument = order.instrument
        quantity, rest = fields.get('orderQty'), fields.get('leavesQty')
        if quantity is not None and quantity != '':
            if rest is not None and rest != '':
                raise Refusal(400, 'Invalid orderQty or leavesQty')
            count = abs(quantity if type(quantity) is int else orders.whole(quantity, 'Invalid orderQty'))
            leaves = orders.lots_only(instrument, count) - order.filled
            if leaves <= 0:
                raise Refusal(400, 'Invalid orderQty')
            if leaves != order.leaves:
                changed.append('orderQty')
            return leaves
        if rest is not None and rest != '':
            leaves = abs(rest if type(rest) is int else orders.whole(rest, 'Invalid leavesQty'))
            if leaves % instrument.lot:
                raise Refusal(400, 'Invalid leavesQty for lotSize')
            if not 0 < leaves <= instrument.max_quantity:
                raise Refusal(400, 'Invalid leavesQty')
            if leaves != order.leaves:
                changed.append('leavesQty')
            return leaves
        return order.leaves

    @staticmethod
    def _new_client_id(order: Order, fields: Dict[str, Any]) -> Optional[str]:
        """Return the clOrdID that an order found by origClOrdID is to have from now on; None to keep its own."""
        client_id = fields.get('clOrdID')
        if not client_id or client_id == order.client_id:
            return None
        if not isinstance(client_id, str) or len(client_id) > orders.CLIENT_ID_LIMIT:
            raise Refusal(400, 'Invalid clOrdID')
        if client_id in order.account.by_client:
            raise Refusal(400, 'Duplicate clOrdID')
        return client_id

    def _check_amend(self, order: Order, leaves: int, ticks: Optional[int], tape: Tape) -> None:
        position = order.position
        if position.liquidating:
            raise Refusal(400, 'Position is in liquidation')
        if order.reduce_only and leaves > order.leaves and leaves > abs(position.quantity):
            raise Refusal(400, orders.against_position('Close' if order.close else 'ReduceOnly', order.side,
                                                       position.quantity))
        if not order.is_counted:
            return
        before = order.price_ticks
        if ticks == before:
            if leaves < order.leaves:
                return
        else:
            order.price_ticks = ticks
            try:
                self._protect(order, leaves, tape)
            finally:
                order.price_ticks = before
        premium = order.premium if order.premium_epoch == order.instrument.mark_epoch else 0
        self._afford(order, leaves, ticks, tape, order.leaves, order.open_cost, premium)

    def _carry_out(self, order: Order, leaves: int, ticks: Optional[int], changed: List[str], client_id: Optional[str],
                   text: Any, tape: Tape) -> None:
        """Make the amended order, tell it, and let it meet the book if it moved."""
        matcher, account, stamp = self.matcher, order.account, self.house.stamp()
        row = order.row
        update = {'orderID': order.order_id, 'clOrdID': order.client_id, 'account': account.id,
                  'symbol': order.instrument.symbol,
                  'timestamp': stamp, 'transactTime': stamp}
        moves = False
        if changed and order.is_counted:
            if ticks == order.price_ticks and leaves < order.leaves:
                matcher.resize(order, leaves, tape)
            else:
                moves = True
                matcher.uncount(order)
                tape.book.remove(order, stamp)
        if changed:
            order.leaves = leaves
            order.quantity = order.filled + leaves
            if row['leavesQty'] != leaves or row['orderQty'] != order.quantity:
                update['orderQty'] = order.quantity
                update['leavesQty'] = leaves
            if ticks != order.price_ticks:
                order.price_ticks = ticks
                update['price'] = order.instrument.price_of(ticks or 0)
            update['text'] = 'Amended {}\n{}'.format(' '.join(changed), str(text)[:orders.TEXT_LIMIT]
                                                     if text else last_line(order))
        elif text:
            update['text'] = str(text)[:orders.TEXT_LIMIT]
        if client_id is not None:
            if account.by_client.get(order.client_id) is order:
                del account.by_client[order.client_id]
            order.client_id = update['clOrdID'] = client_id
            account.by_client[client_id] = order
        row.update(update)
        matcher.journal.tell('order', 'update', [update], account.id, order.instrument.symbol)
        matcher.report(order, 'Replaced')
        if moves:
            if order.reduce_only:
                order.position.reducers.remove(order)
            self.work(order, tape)

    # -- canceling -------------------------------------------------------------------------------------------------

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
        2025).
        """
        stamp = self.house.stamp()
        known = (account.finished if name == 'orderID' else account.finished_by_client).get(item)
        reason = 'Invalid {}'.format(name) if known is None else 'Invalid ordStatus: {}'.format(known.row['ordStatus'])
        execution = {'execID': self.house.new_execution_id(), name: item, 'account': account.id,
                     'execType': 'CancelReject',
                     'ordStatus': 'Rejected', 'workingIndicator': False, 'ordRejReason': reason, 'text': reason,
                     'transactTime': stamp,
                     'timestamp': stamp}
        execution.setdefault('clOrdID', '')
        account.executions.append(execution)
        self.house.journal.tell('execution', 'insert', [execution], account.id)
        return {'account': account.id, 'error': 'Unable to cancel order', name: item, 'timestamp': stamp,
                'transactTime': stamp,
                'workingIndicator': False}

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
