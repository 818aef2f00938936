"""What must never be sent: quotes beyond a position limit and quotes that cross the market.  Pure.

A limit counts what could still trade: the position, plus every resting order of that side, plus what was sent and has
not been answered.  Whatever sequence of fills follows, the position then stays within ``[min_position, max_position]``.
"""
from __future__ import absolute_import

from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker.orders.levels import on_lot

REDUCING = ('ReduceOnly', 'Close')   # execInst of orders that can only make a position smaller


def room(side, position, min_position, max_position):
    # type: (str, float, float, float) -> float
    """Return how many contracts of a side may be working at once; never negative."""
    return max(0, max_position - position if side == 'Buy' else position - min_position)


def cut_to_room(orders, side, allowance, lot):
    # type: (List[Dict[str, Any]], str, float, int) -> List[Dict[str, Any]]
    """Return the orders of one side that fit into ``allowance`` contracts, in the order given; inner ones come first to
    be served.

    An order that fits in part is cut down to the lot (as a copy: the caller's dicts stay as they are), one that does
    not fit at all is left out.  Orders that can only reduce the position and orders without a quantity take no room.
    """
    sizes = {}  # type: Dict[int, int]  # position in the list -> contracts granted
    for place in inner_first(orders, side):
        wanted = orders[place].get('orderQty')
        if wanted is None or only_reduces(orders[place]):
            continue
        wanted = abs(wanted)
        sizes[place] = int(wanted) if wanted <= allowance else on_lot(allowance, lot)
        allowance -= sizes[place]
    kept = []
    for place, order in enumerate(orders):
        granted = sizes.get(place)
        if granted is None or granted == abs(order['orderQty']):
            kept.append(order)
        elif granted > 0:
            kept.append(dict(order, orderQty=granted))
    return kept


class Working(object):
    """What works on each side now; tells, step by step, whether the next order may be sent beside it.

    Steps that are on their way may still fail, so what they take away counts as there until the rows say otherwise.
    ``rows`` are resting orders, ``rooms`` the contracts that may work on each side (see ``room``); ``count`` is how
    many rows there were.
    """

    def __init__(self, rows, rooms):
        # type: (List[Dict[str, Any]], Dict[str, float]) -> None
        self.count = len(rows)
        self._rooms = rooms
        self._leaves = {'Buy': 0, 'Sell': 0}   # type: Dict[str, float]   # side -> contracts at work
        self._best = {'Buy': float('-inf'), 'Sell': float('inf')}
        for row in rows:
            if row.get('side') in self._leaves:
                self.step(row['side'], row.get('price'), leaves(row))

    def refusal(self, side, price, grows_by):
        # type: (str, Optional[float], float) -> str
        """Return why an order may not be placed at (or moved to) this price and grow by so many contracts now, or
        ''."""
        if grows_by > 0 and self._leaves[side] + grows_by > self._rooms[side]:
            return '{} more contracts beside the {} at work would pass the position limit'.format(
                grows_by, self._leaves[side])
        other = self._best['Sell' if side == 'Buy' else 'Buy']
        if price is not None and (price >= other if side == 'Buy' else price <= other):
            return 'it would meet our own order at {}'.format(other)
        return ''

    def step(self, side, price, grows_by):
        # type: (str, Optional[float], float) -> None
        """Note an order as placed, or changed."""
        self._leaves[side] += max(grows_by, 0)
        if price is not None:
            self._best[side] = (max if side == 'Buy' else min)(self._best[side], price)


def leaves(row):
    # type: (Dict[str, Any]) -> int
    """Return the contracts of an order that count for a position limit."""
    return 0 if only_reduces(row) else int(row.get('leavesQty') or 0)


def inner_first(orders, side):
    # type: (List[Dict[str, Any]], str) -> List[int]
    """Return the places of the orders in their list, those nearest to the market first (then those without price)."""
    prices = [order.get('price') for order in orders]  # type: List[Any]
    if None in prices:
        none = float('-inf') if side == 'Buy' else float('inf')
        prices = [none if price is None else price for price in prices]
    return sorted(range(len(prices)), key=prices.__getitem__, reverse=side == 'Buy')


def only_reduces(order):
    # type: (Dict[str, Any]) -> bool
    """Tell whether an order can only make a position smaller."""
    instructions = order.get('execInst') or ''
    return instructions != '' and any(part.strip() in REDUCING for part in instructions.split(','))


def is_plain_limit(order):
    # type: (Dict[str, Any]) -> bool
    """Tell whether an order is one that rests at its price at once: no stop, no market order, no peg."""
    return (order.get('price') is not None and order.get('stopPx') is None
            and order.get('ordType') in (None, 'Limit') and not order.get('pegPriceType'))


def crossing(buy_price, sell_price, ticker):
    # type: (Optional[float], Optional[float], Dict[str, float]) -> str
    """Return why the inner quotes must not be placed (they would trade at once, the book is crossed), or ''."""
    bid, ask = ticker['buy'], ticker['sell']
    if bid >= ask:
        return 'the best bid {} is not below the best ask {}'.format(bid, ask)
    if buy_price is not None and buy_price >= ask:
        return 'our best bid {} would take the best ask {}'.format(buy_price, ask)
    if sell_price is not None and sell_price <= bid:
        return 'our best ask {} would take the best bid {}'.format(sell_price, bid)
    return ''
