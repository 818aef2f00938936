"""Orders that wait: stops and if-touched orders for a price, linked orders for each other.

Waiting orders stand in heaps by their stop price, so that a new last, mark or index price costs nothing while it
reaches none of them. A waiting order needs no margin; when its turn comes it is checked like a new one, and rejected
if the account cannot carry it (BitMEX, order types).  Pure.
"""
from heapq import heapify, heappop, heappush
from typing import Any, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.simulator.journal import make_change
from market_maker.simulator.matching import last_line
from market_maker.simulator.orders import Order, offset_of
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.tables import Tape

LAST, MARK, INDEX = 'LastPrice', 'MarkPrice', 'IndexPrice'
WITHIN_MARK = 0.05      # LastWithinMark: how far the last price may be from the mark
TRAIL_STEP = 0.001      # a trailing stop follows when its reference has moved this fraction
TRIGGERED = 'StopOrderTriggered'
TIDY_LEAST = 64
# texts as recorded in 2020
REACHED = 'Triggered: Order stop price reached\n'
NOTHING_TO_CLOSE = 'Canceled: Order had execInst of Close or ReduceOnly and side of {} but current position is {}\n{}'


class Waiting(object):
    """The waiting orders of one contract: for each reference price a heap of those that wait for a rise and one for a
    fall.
    """

    def __init__(self) -> None:
        self._heaps = {name: ([], []) for name in (LAST, MARK, INDEX)}  # type: Dict[str, Tuple[List[Any], List[Any]]]
        self._count = 0
        self._tidy_at = TIDY_LEAST  # size of a heap at which what waits no longer is thrown out
        self.trailing = []  # type: List[Order]

    def add(self, order: Order) -> None:
        """Let an order wait for its stop price; also after that price was changed."""
        self._count += 1
        stop = order.stop_ticks or 0
        rising, falling = self._heaps[order.trigger]
        heap = rising if order.waits_for_rise else falling
        heappush(heap, (stop if order.waits_for_rise else -stop, self._count, order))
        if len(heap) >= self._tidy_at:
            heap[:] = [entry for entry in heap if entry[2].is_armed and entry[2].stop_ticks == abs(entry[0])]
            heapify(heap)
            self._tidy_at = max(TIDY_LEAST, 2 * len(heap))

    def __len__(self) -> int:
        """Return how many entries there are, those of orders that wait no longer included."""
        return sum(len(heap) for heaps in self._heaps.values() for heap in heaps)

    def due(self, reference: str, ticks: float) -> Optional[Order]:
        """Take out and return the next order that a reference price (in ticks) reaches, None when there is none."""
        rising, falling = self._heaps[reference]
        for heap, reached in ((rising, ticks), (falling, -ticks)):
            while heap and heap[0][0] <= reached:
                stop, _, order = heappop(heap)
                if order.is_armed and order.stop_ticks == abs(stop):
                    return order  # type: ignore[no-any-return]
        return None


class Trigger(object):
    """Watches the prices of an exchange (``house``) for its waiting orders."""

    def __init__(self, house: Any):
        self.house = house
        self.waiting = {}   # type: Dict[str, Waiting]  # by symbol
        self.to_link = []   # type: List[Order]  # linked orders that something happened to

    def reference(self, tape: Tape, name: str) -> float:
        """Return a reference price of a contract, in ticks."""
        instrument = tape.instrument
        if name == LAST:
            return tape.last_ticks
        row = instrument.row
        price = row['markPrice'] if name == MARK else row['indicativeSettlePrice']
        return price * instrument.tick_bottom / instrument.tick_top  # type: ignore[no-any-return]

    def arm(self, order: Order, tape: Tape) -> None:
        """Let an order wait."""
        waiting = self.waiting.get(tape.symbol)
        if waiting is None:
            waiting = self.waiting[tape.symbol] = Waiting()
        if order.peg == 'TrailingStopPeg':
            waiting.trailing.append(order)
        waiting.add(order)
        order.position.stops += 1

    def trail_from(self, order: Order, tape: Tape) -> int:
        """Return the stop price, in ticks, of a trailing stop at the present reference."""
        return max(1, int(round(self.reference(tape, order.trigger))) + offset_of(order))

    def move(self, order: Order, stop_ticks: int, tape: Tape) -> None:
        """Give a waiting order another stop price."""
        order.stop_ticks = stop_ticks
        self.waiting[tape.symbol].add(order)

    def disarm(self, order: Order) -> None:
        """An order waits no longer, for whatever reason; its entry in the heap is passed over later."""
        order.is_armed = False
        order.position.stops -= 1
        if order.peg == 'TrailingStopPeg':
            trailing = self.waiting[order.instrument.symbol].trailing
            if order in trailing:
                trailing.remove(order)

    def check(self, tape: Tape, *references: str) -> None:
        """Set off every order that the present prices reach, and those that these reach in turn."""
        waiting = self.waiting.get(tape.symbol)
        if waiting is None:
            return
        skipped = []  # type: List[Order]
        for name in references:
            while True:
                order = waiting.due(name, self.reference(tape, name))
                if order is None:
                    break
                if order.within_mark and not self._is_within_mark(tape):
                    skipped.append(order)
                else:
                    self.set_off(order, tape)
        for order in skipped:
            waiting.add(order)

    def _is_within_mark(self, tape: Tape) -> bool:
        mark = self.reference(tape, MARK)
        return abs(tape.last_ticks - mark) <= mark * WITHIN_MARK

    def set_off(self, order: Order, tape: Tape) -> None:
        """Turn a waiting order into a working one; cancel it when it should reduce a position and there is none, reject
        it when the account cannot carry it.
        """
        house, desk, matcher = self.house, self.house.desk, self.house.matcher
        self.disarm(order)
        if order.reduce_only and not self._reduces(order):
            matcher.cancel(order, NOTHING_TO_CLOSE.format(order.side, order.position.quantity, last_line(order)), tape,
                           triggered=TRIGGERED)
            return
        stamp = house.stamp()
        changed = {'orderID': order.order_id, 'clOrdID': order.client_id, 'account': order.account.id,
                   'symbol': tape.symbol,
                   'triggered': TRIGGERED, 'workingIndicator': True, 'text': REACHED + last_line(order),
                   'timestamp': stamp, 'transactTime': stamp}
        self._resize(order, changed)
        order.row.update(changed)
        matcher.journal.outbox.append(make_change(('order', 'update', [changed], order.account.id, tape.symbol)))
        matcher.report(order, 'TriggeredOrActivatedBySystem')
        if order.link:
            self.to_link.append(order)
        try:
            desk.check_working(order, tape)
        except Refusal as refusal:
            matcher.cancel(order, '{}\n{}'.format(refusal.message, last_line(order)), tape, 'Rejected',
                           ordRejReason=refusal.message)
            return
        desk.work(order, tape)

    @staticmethod
    def _reduces(order: Order) -> bool:
        held = order.position.quantity
        return bool(held) and (held > 0) != order.is_buy

    @staticmethod
    def _resize(order: Order, changed: Dict[str, Any]) -> None:
        """Fit a Close to what the position is now."""
        held = order.position.quantity
        size = abs(held) if held and (held > 0) != order.is_buy else 0
        if order.is_whole and size or order.reduce_only and order.leaves > size > 0:
            order.leaves = order.shown = size
            order.quantity = order.filled + size
            changed['orderQty'] = order.quantity
            changed['leavesQty'] = size

    def follow(self, tape: Tape) -> None:
        """Let trailing stops follow their reference: when it moved by more than a thousandth, at most once a second."""
        waiting = self.waiting.get(tape.symbol)
        if waiting is None:
            return
        for order in list(waiting.trailing):
            reference = self.reference(tape, order.trigger)
            stop = self.trail_from(order, tape)
            better = stop > order.stop_ticks if not order.waits_for_rise else stop < order.stop_ticks  # type: ignore
            if not better or abs(stop - (order.stop_ticks or 0)) <= TRAIL_STEP * reference:
                continue
            self.move(order, stop, tape)
            stamp = self.house.stamp()
            changed = {'orderID': order.order_id, 'clOrdID': order.client_id, 'account': order.account.id,
                       'symbol': tape.symbol, 'stopPx': tape.instrument.price_of(stop), 'timestamp': stamp}
            order.row.update(changed)
            self.house.journal.outbox.append(make_change(('order', 'update', [changed], order.account.id, tape.symbol)))

    # -- links --------------------------------------------------------------------------------------------------------

    def link(self, order: Order) -> None:
        """Note a linked order; it is held back while the group's OneTriggersTheOther has not filled."""
        group = order.account.links.setdefault(order.link, [])
        group.append(order)
        if not order.contingency or order.contingency == 'OneCancelsTheOther':
            order.is_held = any(other.contingency == 'OneTriggersTheOther' and not other.is_final
                                for other in group[:-1])

    def act_on_links(self) -> None:
        """Cancel or release what is linked to orders that were triggered, filled or ended."""
        while self.to_link:
            order = self.to_link.pop(0)
            group = order.account.links.get(order.link, [])
            others = [other for other in group if other is not order and not other.is_final]
            tapes = self.house.tapes
            if order.contingency == 'OneTriggersTheOther':
                if order.is_final and order.filled:
                    self._release(others)
                elif order.is_final:
                    for other in others:
                        self._cancel(other, tapes[other.instrument.symbol])
            elif order.filled or order.row.get('triggered'):
                for other in others:
                    if 'OneCancelsTheOther' in (order.contingency, other.contingency) and not other.is_held:
                        self._cancel(other, tapes[other.instrument.symbol])
            if not any(not other.is_final for other in group):
                order.account.links.pop(order.link, None)

    def _cancel(self, order: Order, tape: Tape) -> None:
        text = 'Canceled: Order had contingencyType of {}\n{}'.format(order.contingency or 'OneTriggersTheOther',
                                                                      last_line(order))
        self.house.matcher.cancel(order, text, tape)
        tape.check_quote(self.house.stamp())

    def _release(self, orders: List[Order]) -> None:
        """Let orders work, or wait for their own price, that were held back until another one had filled."""
        for order in orders:
            if not order.is_held:
                continue
            order.is_held = False
            tape = self.house.tapes[order.instrument.symbol]
            if order.is_armed:
                self.arm(order, tape)
                self.check(tape, order.trigger)
                continue
            order.is_armed = True
            order.position.stops += 1
            self.set_off(order, tape)
            tape.check_quote(self.house.stamp())
