"""The order book of one contract: price levels in order, orders of a level in a line, everything found at once.

Prices are whole ticks.  Adding or removing an order costs the same however many levels and orders there are: a level
is found in a dict, an order is taken out of its line by its own neighbours, and the sorted list of prices is touched
only when a level is born or dies, mostly at its cheap end (the best prices stand last).  Pure: no matching rule, no
money, no accounts in here.
"""
from bisect import bisect_left, insort
from typing import Any, Dict, Iterator, List, Optional, Tuple  # noqa: F401

BUY, SELL = 'Buy', 'Sell'


class Level(object):
    """All orders at one price of one side, first come first.

    ``quantity`` is what the public sees; ``hidden`` is the rest (iceberg reserves and hidden orders).  ``row`` is the
    row of orderBookL2 as last published, None before that.
    """

    __slots__ = ('side', 'ticks', 'key', 'price', 'lot_value', 'quantity', 'hidden', 'head', 'tail', 'row', 'is_dirty',
                 'changed', 'average')

    def __init__(self, side: 'Side', ticks: int, key: int, price: float, lot_value: int) -> None:
        self.side = side            # the Side it stands in
        self.ticks = ticks
        self.key = key              # its place in Side.prices
        self.price = price
        self.lot_value = lot_value  # value of one lot at this price, minor units
        self.quantity = 0
        self.hidden = 0
        self.head = None            # type: Any
        self.tail = None            # type: Any
        self.row = None             # type: Optional[Dict[str, Any]]
        self.is_dirty = False
        self.changed = ''           # time of the last change, as text
        self.average = 0.0          # avgPx of who trades here alone, once somebody has

    def __iter__(self) -> Iterator[Any]:
        """Go through the orders in the order of their time."""
        order = self.head
        while order is not None:
            following = order.next
            yield order
            order = following


class Side(object):
    """The bids or the asks.

    ``prices`` holds one key per level, ascending, the best last: the ticks of a bid, the negated ticks of an ask.
    """

    __slots__ = ('name', 'sign', 'levels', 'prices', 'invisible')

    def __init__(self, name: str) -> None:
        self.name = name
        self.sign = 1 if name == BUY else -1
        self.levels = {}     # type: Dict[int, Level]
        self.prices = []     # type: List[int]
        self.invisible = 0   # levels of which the public sees nothing

    def best(self) -> Optional[Level]:
        """Return the level that is matched first, None when there is none."""
        return self.levels[self.prices[-1]] if self.prices else None

    def touch(self) -> Optional[Level]:
        """Return the best level that the public can see."""
        if not self.invisible:
            return self.levels[self.prices[-1]] if self.prices else None
        for level in self.walk():
            if level.quantity:
                return level
        return None

    def walk(self) -> Iterator[Level]:
        """Go through the levels from the best to the worst."""
        levels = self.levels
        for key in reversed(self.prices):
            yield levels[key]

    def top(self, count: int) -> List[Level]:
        """Return the best ``count`` levels that the public can see, best first; 0 means all."""
        if not self.invisible:
            keys = self.prices[-count:] if count else self.prices
            return [self.levels[key] for key in reversed(keys)]
        visible = [level for level in self.walk() if level.quantity]
        return visible[:count] if count else visible

    def open_level(self, key: int, price: float, lot_value: int) -> Level:
        """Make the level at a new price."""
        level = self.levels[key] = Level(self, key * self.sign, key, price, lot_value)
        prices = self.prices
        if not prices or key > prices[-1]:
            prices.append(key)
        else:
            insort(prices, key)
        return level

    def close_level(self, level: Level) -> None:
        """Forget a level that has no orders left."""
        key = level.key
        del self.levels[key]
        prices = self.prices
        if key == prices[-1]:
            prices.pop()
        else:
            del prices[bisect_left(prices, key)]


class Book(object):
    """Bids and asks of one contract, and which levels changed since the public was last told.

    An order handed in has ``side`` ('Buy'/'Sell'), ``price_ticks``, ``leaves``, ``shown`` (the part of leaves that the
    public sees) and room for ``level``, ``prev`` and ``next``.
    """

    def __init__(self, instrument: Any):
        self.instrument = instrument
        self.bids = Side(BUY)
        self.asks = Side(SELL)
        self.tickets = 0  # given out to orders that joined a line
        self.dirty = []  # type: List[Level]  # levels whose published row is out of date

    def side(self, name: str) -> Side:
        """Return the bids for 'Buy', the asks for 'Sell'."""
        return self.bids if name == BUY else self.asks

    def add(self, order: Any, stamp: str) -> Level:
        """Put an order at the end of the line at its price."""
        if order.side == BUY:
            side, key = self.bids, order.price_ticks
        else:
            side, key = self.asks, -order.price_ticks
        level = side.levels.get(key)
        if level is None:
            instrument = self.instrument
            level = side.open_level(key, instrument.price_of(order.price_ticks),
                                    instrument.lot_value(order.price_ticks))
            if not order.shown:
                side.invisible += 1
        elif not level.quantity and order.shown:
            side.invisible -= 1
        self.join(level, order)
        level.quantity += order.shown
        level.hidden += order.leaves - order.shown
        level.changed = stamp
        if not level.is_dirty:
            level.is_dirty = True
            self.dirty.append(level)
        return level

    def join(self, level: Level, order: Any) -> None:
        """Append an order to the line of a level, without counting its size."""
        self.tickets = order.ticket = self.tickets + 1
        last = order.prev = level.tail
        order.next = None
        order.level = level
        if last is None:
            level.head = order
        else:
            last.next = order
        level.tail = order

    @staticmethod
    def leave(order: Any) -> None:
        """Take an order out of its line, without counting its size."""
        level, before, after = order.level, order.prev, order.next
        if before is None:
            level.head = after
        else:
            before.next = after
        if after is None:
            level.tail = before
        else:
            after.prev = before
        order.prev = order.next = None

    def remove(self, order: Any, stamp: str) -> None:
        """Take an order out of the book."""
        level = order.level
        self.leave(order)
        order.level = None
        self.shrink(level, order.shown, order.leaves - order.shown, stamp)

    def shrink(self, level: Level, shown: int, hidden: int, stamp: str) -> None:
        """Take sizes (negative ones add) off a level; close it when nothing is left."""
        seen = level.quantity
        level.quantity = left = seen - shown
        level.hidden -= hidden
        level.changed = stamp
        if not level.is_dirty:
            level.is_dirty = True
            self.dirty.append(level)
        if not left:
            side = level.side
            if level.head is None:
                if not seen:
                    side.invisible -= 1
                side.close_level(level)
            elif seen:
                side.invisible += 1
        elif not seen:
            level.side.invisible -= 1

    def touch(self) -> Tuple[Optional[int], Optional[int], Optional[int], Optional[int]]:
        """Return (bid ticks, bid size, ask ticks, ask size) as the public sees them; None where a side is empty."""
        bid, ask = self.bids.touch(), self.asks.touch()
        return (bid.ticks if bid else None, bid.quantity if bid else None, ask.ticks if ask else None, ask.quantity
                if ask else None)

    def average(self, name: str, worth: int) -> Optional[float]:
        """Return the average price of trading ``worth`` minor units against one side, None when it holds less: the
        impact price.
        """
        instrument = self.instrument
        lots, left = 0.0, worth
        for level in self.side(name).walk():
            here = level.quantity // instrument.lot
            if here * level.lot_value >= left:
                contracts = (lots + left / level.lot_value) * instrument.lot
                size = abs(instrument.row['multiplier']) * contracts
                return size / worth if instrument.kind == 'inverse' else worth / size
            lots += here
            left -= here * level.lot_value
        return None
