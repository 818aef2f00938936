"""Recorded quotes and trades: how their files are read, and how they are played into a book with other people in it.

**Files.**  Text lines in the columns of BitMEX's daily files: ``timestamp,symbol,side,size,price,...`` for trades
(``side`` is the taker's) and ``timestamp,symbol,bidSize,bidPrice,askPrice,askSize`` for quotes.  The header says
which it is, columns may come in any order, others are ignored, rows of other symbols too.  Times are
``2022-03-25D05:59:39.702000000`` or ``2022-03-25T05:59:39.702Z``.  An empty side of a quote is a side without
orders.  Several files are merged by time; at the same time trades come before quotes, because a quote shows the book
after the trades that changed it.

**What is held.**  The recording is the *recorded market*; everybody else's orders are *guests* in its book.

1. The recorded touch is held: at the recorded best bid and ask the recorded market keeps exactly the recorded sizes.
   A quote sets sizes, it does not add or subtract, so a trade and the quote that shows its effect do not count twice.
   Prices between the old and the new touch lose what the recorded market had there.  A price that the touch has left
   behind keeps what was last seen at it (quotes say no more about it) until the touch comes back, passes it, or is 25
   ticks away; prices that were never at the touch are empty.
2. New size queues behind everybody who is at that price already, guests included.
3. Size that vanishes without a trade is a cancellation, and nobody recorded from which place in the queue.  The queue
   rule decides: ``back`` takes it from the youngest recorded orders, so that guests move up as little as the
   recording allows (the careful choice, and the default); ``front`` takes it from the oldest, so that guests move up
   as much as they can; ``proportional`` takes the same share of each recorded order.
4. A recorded trade is a taker of that size with that price as its limit.  What the recorded market had at better
   prices is gone first (the recording traded past it).  Guests at better prices trade first, at their own prices;
   then the queue at the recorded price trades in order of arrival.  Where the recorded market holds less than was
   traded, the difference arrives just before the trade, behind everybody.  So a trade always prints its whole
   recorded size; size that it took from guests stays with the recorded orders that it would have taken, until the
   next quote sets them.
5. A recorded quote that crosses a guest's order takes it (trade-through): up to the recorded size when the price is
   new, else up to its increase.  Recorded orders that a trade implies and that would cross a guest do the same.
6. Where a trade would leave a side without recorded orders, one lot stays (at the traded price, or a tick off it on
   the taker's side) until the next quote.
7. Gaps stay gaps: without rows nothing happens.  Sizes that guests take from the recorded market come back with the
   next quote.  After the last row the last touch stays.

This module reads no files: lines come in, with a name for error messages.
"""
import calendar
import collections
import functools
import heapq
import re
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union  # noqa: F401

QUEUES = ('back', 'front', 'proportional')
KEPT_BEHIND = 25    # ticks behind the touch within which a price keeps what was last seen at it

Trade = collections.namedtuple('Trade', 'time symbol side size price where')
Trade.__doc__ = """A recorded trade: Unix seconds, symbol, the taker's side, contracts, price, and ``file:line``."""
Quote = collections.namedtuple('Quote', 'time symbol bid_size bid ask ask_size where')
Quote.__doc__ = """A recorded touch: Unix seconds, symbol, contracts, prices (None: an empty side), ``file:line``."""


class BadRow(ValueError):
    """A row of a recording cannot be used; the text is one line: file:line, what is wrong, and the row."""


# Reading

def read(name, lines, symbols):
    # type: (str, Iterable[str], Sequence[str]) -> Iterator[Union[Trade, Quote, BadRow]]
    """Yield the rows of ``symbols`` in the lines of one file, in their order; a row that cannot be used comes as
    BadRow.

    Raises BadRow when there is no usable header.
    """
    wanted = frozenset(symbols)
    lines = iter(lines)
    header = [column.strip() for column in next(lines, '').lstrip('\ufeff').strip().split(',')]
    parse = _parser(name, header)
    symbol_at = header.index('symbol')
    newest = {}     # type: Dict[str, float]  # symbol -> time of its last row
    for number, line in enumerate(lines, 2):
        cells = line.strip().split(',')
        if cells == ['']:
            continue
        where = '{}:{}'.format(name, number)
        try:
            if len(cells) != len(header):
                raise ValueError('{} cells under {} columns'.format(len(cells), len(header)))
            if cells[symbol_at] not in wanted:
                continue
            row = parse(cells, where)
            if row.time < newest.get(row.symbol, row.time):
                raise ValueError('earlier than the row before')
        except ValueError as error:
            yield BadRow('{}: {} in {!r}'.format(where, error, line.strip()))
            continue
        newest[row.symbol] = row.time
        yield row


def merge(sources, report=None):
    # type: (Iterable[Iterable[Any]], Optional[Callable[[BadRow], None]]) -> Iterator[Union[Trade, Quote]]
    """Merge the rows of several files by time, trades before quotes of the same time.

    A bad row is raised; with ``report`` it is handed to that instead, and skipped.
    """
    return heapq.merge(*[_good(source, report) for source in sources],
                       key=lambda row: (row.time, isinstance(row, Quote)))


def _good(rows, report):
    # type: (Iterable[Any], Optional[Callable[[BadRow], None]]) -> Iterator[Any]
    for row in rows:
        if not isinstance(row, BadRow):
            yield row
        elif report is None:
            raise row
        else:
            report(row)


def _parser(name, header):
    # type: (str, List[str]) -> Callable[[List[str], str], Any]
    """Return the function that makes a Trade or a Quote of cells, by what the header names."""
    at = {column: i for i, column in enumerate(header)}
    if {'timestamp', 'symbol', 'side', 'size', 'price'} <= set(at):
        def trade(cells, where):
            # type: (List[str], str) -> Trade
            side = cells[at['side']]
            if side not in ('Buy', 'Sell'):
                raise ValueError('side {!r} is neither Buy nor Sell'.format(side))
            return Trade(seconds(cells[at['timestamp']]), cells[at['symbol']], side, _size(cells[at['size']]),
                         _price(cells[at['price']]), where)
        return trade
    if {'timestamp', 'symbol', 'bidSize', 'bidPrice', 'askPrice', 'askSize'} <= set(at):
        def quote(cells, where):
            # type: (List[str], str) -> Quote
            bid, bid_size = _side(cells[at['bidPrice']], cells[at['bidSize']])
            ask, ask_size = _side(cells[at['askPrice']], cells[at['askSize']])
            if bid is not None and ask is not None and bid >= ask:
                raise ValueError('bid {} is not below ask {}'.format(bid, ask))
            return Quote(seconds(cells[at['timestamp']]), cells[at['symbol']], bid_size, bid, ask, ask_size, where)
        return quote
    raise BadRow('{}:1: neither the columns of trades nor those of quotes in {!r}'.format(name, ','.join(header)))


TIME = re.compile(r'(\d{4}-\d\d-\d\d)[DT]([01]\d|2[0-3]):([0-5]\d):([0-5]\d(?:\.\d+)?)Z?$')


def seconds(text):
    # type: (str) -> float
    """Return the Unix seconds of a time as BitMEX's files or rows write it; raises ValueError for anything else."""
    match = TIME.match(text)
    if not match:
        raise ValueError('no time: {!r}'.format(text))
    day, hours, minutes, rest = match.groups()
    return midnight(day) + int(hours) * 3600 + int(minutes) * 60 + float(rest)


@functools.lru_cache(maxsize=8)
def midnight(day):
    # type: (str) -> int
    """Return the Unix seconds at which a day, 'YYYY-MM-DD', begins."""
    return calendar.timegm(time.strptime(day, '%Y-%m-%d'))


def _price(text):
    # type: (str) -> float
    price = float(text)
    if not 0 < price < 1e12:
        raise ValueError('price {!r}'.format(text))
    return price


def _size(text):
    # type: (str) -> int
    size = float(text)
    if not 0 < size < 1e15 or size != int(size):
        raise ValueError('size {!r}'.format(text))
    return int(size)


def _side(price, size):
    # type: (str, str) -> Tuple[Optional[float], Optional[int]]
    return (_price(price), _size(size)) if price or size else (None, None)


# Playing

class RecordedBook(object):
    """One symbol's recorded market in the book of an exchange: rules 1 to 6 of this module, without time."""

    def __init__(self, exchange, symbol, queue='back'):
        # type: (Any, str, str) -> None
        if queue not in QUEUES:
            raise ValueError('{!r} is no queue rule; take one of {}'.format(queue, ', '.join(QUEUES)))
        self._exchange = exchange
        self._symbol = symbol
        self._instrument = exchange.instruments[symbol]
        self._lot = int(self._instrument.lot)
        self._queue = queue
        # side -> price in ticks -> recorded orders there, oldest first
        self._held = {'Buy': collections.OrderedDict(), 'Sell': collections.OrderedDict()}  # type: Dict[str, Any]
        self._last = {'Buy': (None, 0), 'Sell': (None, 0)}  # type: Dict[str, Tuple[Optional[int], int]]

    def quote(self, row):
        # type: (Quote) -> None
        """Hold the touch of ``row``; raises BadRow when it does not fit the instrument's tick or lot."""
        touch = (('Buy', self._level(row.bid, row.bid_size, row)), ('Sell', self._level(row.ask, row.ask_size, row)))
        for side, (price, _) in touch:
            self._clear(side, price)
        for side, (price, size) in touch:
            if price is not None:
                last_price, last_size = self._last[side]
                fresh = size if price != last_price else size - last_size
                self._hold(side, price, size - self._cross(side, price, fresh))
            self._last[side] = (price, size)

    def trade(self, row):
        # type: (Trade) -> None
        """Let the recorded taker of ``row`` trade; raises BadRow when it does not fit the instrument's tick or lot."""
        price, size = self._level(row.price, row.size, row)
        resting = _opposite(row.side)
        behind = price - 1 if row.side == 'Buy' else price + 1
        self._clear(resting, price)
        self._clear(row.side, behind)
        if not self._held[row.side]:
            self._add(row.side, behind, self._lot)
        missing = max(size - self.held(resting, price), 0)
        crossed = self._cross(resting, price, missing)
        missing -= crossed
        if len(self._held[resting]) <= (price in self._held[resting]) and size >= self.held(resting, price):
            missing += self._lot
        self._add(resting, price, missing)
        if size > crossed:
            self._exchange.take(self._symbol, row.side, size - crossed, price)
        self._forget(resting)

    def held(self, side, price):
        # type: (str, int) -> int
        """Return the contracts that the recorded market has at a price in ticks."""
        return sum(order.leaves for order in self._held[side].get(price, ()))

    def _level(self, price, size, row):
        # type: (Optional[float], Optional[int], Any) -> Tuple[Any, int]
        """Return price in ticks and size in contracts; both must fit the instrument."""
        if price is None or size is None:
            return None, 0
        ticks = price / self._instrument.tick
        if abs(ticks - round(ticks)) > 1e-3:
            raise BadRow('{}: price {} is not a multiple of {}, the tick of {}'.format(
                row.where, price, self._instrument.tick, self._symbol))
        if size % self._lot:
            raise BadRow('{}: size {} is not a multiple of {}, the lot of {}'.format(
                row.where, size, self._lot, self._symbol))
        return int(round(ticks)), size

    def _clear(self, side, best):
        # type: (str, Optional[int]) -> None
        """Withdraw what the recorded market has at better prices than ``best`` and far behind it; None: all of it."""
        sign = 1 if side == 'Buy' else -1
        for price in list(self._held[side]):
            if best is None or sign * (price - best) > 0 or sign * (best - price) > KEPT_BEHIND:
                for order in self._held[side].pop(price):
                    if order.leaves:
                        self._exchange.withdraw(order)

    def _cross(self, side, price, size):
        # type: (str, int, int) -> int
        """Take guests' orders that stand across a recorded order of ``size``; return what was taken."""
        bid, _, ask, _ = self._exchange.touch(self._symbol)
        across = ask is not None and ask <= price if side == 'Buy' else bid is not None and bid >= price
        return self._exchange.take(self._symbol, side, size, price) if across and size > 0 else 0

    def _hold(self, side, price, size):
        # type: (str, int, int) -> None
        """Make the recorded market's size at a price ``size``, by the queue rule."""
        self._forget(side)
        change = size - self.held(side, price)
        if change > 0:
            self._add(side, price, change)
        elif change < 0:
            self._remove(side, price, -change)

    def _add(self, side, price, size):
        # type: (str, int, int) -> None
        if not size:
            return
        if self._alone(side, price):
            # Nobody can tell one order from several here, and one trade of the recording then stays one trade.
            before = self._held[side].pop(price)
            size += sum(order.leaves for order in before)
        else:
            before = []
        order = self._exchange.rest(self._symbol, side, price, size)
        if order is not None:       # None: a guest's order, larger than what we may take of it, stands across
            self._held[side].setdefault(price, []).append(order)
        for order in before:
            if order.leaves:
                self._exchange.withdraw(order)

    def _alone(self, side, price):
        # type: (str, int) -> bool
        """Tell whether all that stands at the touch is the recorded market's, at ``price``."""
        bid, bid_size, ask, ask_size = self._exchange.touch(self._symbol)
        held = self.held(side, price)
        return held > 0 and (price, held) == ((bid, bid_size) if side == 'Buy' else (ask, ask_size))

    def _remove(self, side, price, size):
        # type: (str, int, int) -> None
        orders = self._held[side][price]
        if self._queue == 'proportional':
            parts = self._shares(orders, size)
        else:
            parts = []
            for order in (reversed(orders) if self._queue == 'back' else orders):
                parts.append((order, min(order.leaves, size)))
                size -= parts[-1][1]
        for order, part in parts:
            if part == order.leaves:
                self._exchange.withdraw(order)
            elif part:
                self._exchange.reduce(order, part)
        self._forget(side)

    def _shares(self, orders, size):
        # type: (List[Any], int) -> List[Tuple[Any, int]]
        """Split ``size`` over orders in proportion to what is left of them, in whole lots."""
        parts = []
        left = sum(order.leaves for order in orders)
        for order in orders:
            # What is still to go, over what is still to come: the rounding of each is made good by the next ones.
            part = int(round(float(size) * order.leaves / left / self._lot)) * self._lot
            part = max(min(part, order.leaves, size), size - (left - order.leaves))
            parts.append((order, part))
            size -= part
            left -= order.leaves
        return parts

    def _forget(self, side):
        # type: (str) -> None
        """Drop recorded orders that have traded or gone."""
        for price, orders in list(self._held[side].items()):
            left = [order for order in orders if order.leaves]
            if left:
                self._held[side][price] = left
            else:
                del self._held[side][price]


def _opposite(side):
    # type: (str) -> str
    return 'Sell' if side == 'Buy' else 'Buy'
