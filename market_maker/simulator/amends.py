"""Changing an order that is there: size, price, stop price, peg offset, annotation, clOrdID.

All values are read and checked before anything changes.  A smaller size alone keeps the order's place in the line; a
larger one or another price puts it at the end (BitMEX announced amends as a way to keep one's place; how far is not
written anywhere, but in rows of 2020 transactTime stays with a smaller size and moves with the two others).  Pure.
"""
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker.simulator import orders
from market_maker.simulator.matching import last_line
from market_maker.simulator.orders import FILLED, PARTIALLY_FILLED, STOP_TYPES, Order, given
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.tables import Tape

REVIVAL_SECONDS = 60    # a filled order may be given new leaves that long (BitMEX, PUT /order)
UNCHANGED = 'Invalid amend: orderQty, leavesQty, price, stopPx unchanged'


class Wish(object):
    """What an order is to become."""

    __slots__ = ('leaves', 'ticks', 'stop_ticks', 'peg_offset', 'client_id', 'text', 'changed', 'named')

    def __init__(self, order: Order) -> None:
        self.leaves = order.leaves
        self.ticks = order.price_ticks
        self.stop_ticks = order.stop_ticks
        self.peg_offset = order.peg_offset
        self.client_id = None  # type: Optional[str]
        self.text = None       # type: Any
        self.changed = []  # type: List[str]  # names of the fields that become others
        self.named = []    # type: List[str]  # and of all that were sent, as the order's text lists them

    def note(self, name: str, is_changed: bool) -> None:
        """Note a field that was sent, and whether it becomes another."""
        self.named.append(name)
        if is_changed:
            self.changed.append(name)


class Amender(object):
    """Amends the orders of an exchange (``house``)."""

    def __init__(self, house: Any):
        self.house = house

    def amend(self, account: Any, fields: Dict[str, Any]) -> Order:
        """Change an order found by orderID or origClOrdID and return it; Refusal leaves it as it was."""
        order = self.house.desk.find(account, fields, 'origClOrdID')  # type: Order
        revives = order.is_final and self._may_revive(order, fields)
        if order.is_final and not revives:
            raise Refusal(400, 'Invalid ordStatus: {}'.format(order.row['ordStatus']))
        if order.instrument.row['state'] != 'Open':
            raise Refusal(400, 'Market is not open')
        tape = self.house.tapes[order.instrument.symbol]
        wish = self._read(order, fields)
        if wish.changed or revives:
            self._check(order, wish, tape)
        if revives:
            self._revive(order)
        self._carry_out(order, wish, tape)
        return order

    # -- reading ---------------------------------------------------------------------------------------

    def _read(self, order: Order, fields: Dict[str, Any]) -> Wish:
        get = fields.get
        wish = Wish(order)
        quantity, rest, price = get('orderQty'), get('leavesQty'), get('price')
        if quantity is not None and quantity != '' or rest is not None and rest != '':
            wish.leaves = self._leaves(order, quantity, rest, wish)
        if price is not None and price != '':
            if order.price_ticks is None:
                raise Refusal(400, 'Invalid price')
            wish.ticks = orders.price_to_ticks(order.instrument, price, 'Invalid price', 'Invalid price tickSize')
            wish.note('price', wish.ticks != order.price_ticks)
        if 'stopPx' in fields or 'pegOffsetValue' in fields:
            self._read_trigger(order, wish, get('stopPx'), get('pegOffsetValue'))
        if get('clOrdID'):
            wish.client_id = self._client_id(order, get('clOrdID'))
        text = get('text')
        if text:
            wish.text = str(text)[:orders.TEXT_LIMIT]
        if not wish.changed and wish.client_id is None and not text:
            raise Refusal(400, UNCHANGED)
        return wish

    @staticmethod
    def _leaves(order: Order, quantity: Any, rest: Any, wish: Wish) -> int:
        """Return the wanted leaves; orderQty counts what is filled, leavesQty does not."""
        instrument = order.instrument
        if not given(rest):
            count = abs(quantity if type(quantity) is int else orders.whole(quantity, 'Invalid orderQty'))
            leaves = orders.lots_only(instrument, count) - order.filled
            if leaves <= 0:
                raise Refusal(400, 'Invalid orderQty')
            wish.note('orderQty', leaves != order.leaves)
            return leaves
        if given(quantity):
            raise Refusal(400, 'Invalid orderQty')
        leaves = abs(rest if type(rest) is int else orders.whole(rest, 'Invalid leavesQty'))
        if leaves % instrument.order_lot:
            raise Refusal(400, 'Invalid leavesQty for lotSize')
        if not 0 < leaves <= instrument.max_quantity:
            raise Refusal(400, 'Invalid leavesQty')
        wish.note('leavesQty', leaves != order.leaves)
        return leaves

    def _read_trigger(self, order: Order, wish: Wish, stop: Any, offset: Any) -> None:
        trails = order.peg == 'TrailingStopPeg'
        if given(stop):
            if trails or order.kind not in STOP_TYPES or not order.is_armed:
                raise Refusal(400, 'Invalid stopPx for ordType')
            wish.stop_ticks = orders.price_to_ticks(order.instrument, stop, 'Invalid stopPx for ordType',
                                                    'Invalid stopPx tickSize')
            wish.note('stopPx', wish.stop_ticks != order.stop_ticks)
        if given(offset):
            if not trails or not order.is_armed:
                raise Refusal(400, 'Invalid pegOffsetValue for pegPriceType')
            wish.peg_offset = orders.peg_offset(order, offset)
            wish.note('pegOffsetValue', wish.peg_offset != order.peg_offset)

    @staticmethod
    def _client_id(order: Order, client_id: Any) -> Optional[str]:
        """Return the clOrdID that the order is to have from now on; None to keep its own."""
        if not isinstance(client_id, str) or len(client_id) > orders.CLIENT_ID_LIMIT:
            raise Refusal(400, 'Invalid clOrdID')
        if client_id == order.client_id:
            return None
        if client_id in order.account.by_client:
            raise Refusal(400, 'Duplicate clOrdID')
        return client_id

    def _may_revive(self, order: Order, fields: Dict[str, Any]) -> bool:
        return bool(order.row['ordStatus'] == FILLED and given(fields.get('leavesQty'))
                    and order.price_ticks is not None
                    and self.house.now - order.finished_at <= REVIVAL_SECONDS
                    and (not order.client_id or order.client_id not in order.account.by_client))

    # -- checking --------------------------------------------------------------------------------------

    def _check(self, order: Order, wish: Wish, tape: Tape) -> None:
        desk, position = self.house.desk, order.position
        if order.reduce_only and wish.leaves > order.leaves and wish.leaves > abs(position.quantity):
            raise Refusal(400, orders.against_position('Close' if order.close else 'ReduceOnly', order.side,
                                                       position.quantity))
        if not order.is_counted and not order.is_final:
            return  # it waits; money is looked at when it begins to work
        before = order.price_ticks
        if wish.ticks == before:
            if wish.leaves < order.leaves:
                return
        else:
            order.price_ticks = wish.ticks
            try:
                desk.protect(order, wish.leaves, tape)
                desk.check_liquidation(position, wish.ticks)
            finally:
                order.price_ticks = before
        premium = order.premium if order.premium_epoch == order.instrument.mark_epoch else 0
        desk.afford(order, wish.leaves, wish.ticks, tape, order.leaves, order.open_cost, premium)

    # -- doing -----------------------------------------------------------------------------------------

    @staticmethod
    def _revive(order: Order) -> None:
        """Take a filled order back among the open ones."""
        account = order.account
        del account.finished[order.order_id]
        if order.client_id:
            if account.finished_by_client.get(order.client_id) is order:
                del account.finished_by_client[order.client_id]
            account.by_client[order.client_id] = order
        account.orders[order.order_id] = order
        order.is_final = order.is_counted = False
        order.position.open_orders += 1

    def _carry_out(self, order: Order, wish: Wish, tape: Tape) -> None:
        """Make the amended order, tell it, and let it meet the book if it moved."""
        matcher, account, row = self.house.matcher, order.account, order.row
        stamp = self.house.stamp()
        instrument = order.instrument
        update = {'orderID': order.order_id, 'clOrdID': order.client_id, 'account': account.id,
                  'symbol': instrument.symbol,
                  'timestamp': stamp, 'transactTime': stamp}
        moves = False
        changed = wish.changed
        if changed:
            leaves, ticks = wish.leaves, wish.ticks
            if order.is_counted:
                if ticks == order.price_ticks and leaves < order.leaves:
                    matcher.resize(order, leaves, tape)
                else:
                    moves = True
                    matcher.uncount(order)
                    tape.book.remove(order, stamp)
            elif row['ordStatus'] == FILLED:
                moves = True
                update['ordStatus'], update['workingIndicator'] = PARTIALLY_FILLED, True
            if row['leavesQty'] != leaves:
                order.leaves = leaves
                order.quantity = order.filled + leaves
                update['orderQty'] = order.quantity
                update['leavesQty'] = leaves
                order.is_whole = False
            if ticks != order.price_ticks:
                order.price_ticks = ticks
                update['price'] = instrument.price_of(ticks or 0)
            self._move_trigger(order, wish, update, tape)
            update['text'] = 'Amended {}\n{}'.format(' '.join(wish.named), wish.text or last_line(order))
        elif wish.text:
            update['text'] = wish.text
        if wish.client_id is not None:
            if account.by_client.get(order.client_id) is order:
                del account.by_client[order.client_id]
            order.client_id = update['clOrdID'] = wish.client_id
            account.by_client[wish.client_id] = order
        row.update(update)
        matcher.journal.tell('order', 'update', [update], account.id, instrument.symbol)
        matcher.report(order, 'Replaced')
        if moves:
            if order in order.position.reducers:
                order.position.reducers.remove(order)
            self.house.desk.work(order, tape)
        elif order.is_armed and not order.is_held:
            self.house.trigger.check(tape, order.trigger)

    def _move_trigger(self, order: Order, wish: Wish, update: Dict[str, Any], tape: Tape) -> None:
        if not order.is_armed:
            return
        trigger, stop = self.house.trigger, wish.stop_ticks
        if wish.peg_offset != order.peg_offset:
            order.peg_offset = wish.peg_offset
            update['pegOffsetValue'] = order.instrument.price_of(orders.offset_of(order))
            stop = trigger.trail_from(order, tape)
        if stop is None or stop == order.stop_ticks:
            return
        update['stopPx'] = order.instrument.price_of(stop)
        if order.is_held:
            order.stop_ticks = stop
        else:
            trigger.move(order, stop, tape)
