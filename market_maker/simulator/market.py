"""Who trades on the local exchange besides its clients: a simulated street, a still one, or a recorded one.

A market is started on an exchange and then stepped through time; it acts through the market's own hand only
(``rest``, ``take``, ``withdraw``, ``reduce``, ``set_index``).  It owns no clock: whoever calls :meth:`Market.step`
decides how fast time passes, and the history does not depend on how many steps that takes.
"""
import collections
import heapq
import itertools
import random
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple, Union  # noqa: F401

from market_maker import contracts
from market_maker.simulator import feed, flow

Seed = Union[int, random.Random, None]
Price = Optional[float]

KINDS = ('simulated', 'lively', 'still', 'replay')
INDEX_EVERY = 1.    # seconds between two values of an index
STILL_DOLLARS = 250000.

# How much less than in XBTUSD is traded in the other contracts.
SIZES = {'XBTUSD': 1., 'XBTUSDT': .6, 'ETHUSD': .4}
OTHER_SIZE = .25
ETHER_OWN = .75     # ether's own moves beside bitcoin's: correlation 0.8


class Market(object):
    """The street of an exchange: :meth:`start` it once, then :meth:`step` it as time passes.

    ``ended`` becomes true when a recording is over; other markets never end.
    """

    ended = False

    def start(self, exchange, now):
        # type: (Any, float) -> None
        """Populate the books of ``exchange`` at ``now`` (Unix seconds), so that the first client sees a bid and an
        ask."""
        raise NotImplementedError

    def step(self, now):
        # type: (float) -> None
        """Do everything that is due up to ``now``, each thing at its own time, and leave the exchange's clock at
        ``now``.

        Events happen between two steps, so call this before anything else advances the exchange past them.
        """
        raise NotImplementedError


class Simulated(Market):
    """A living market in several contracts at once, on correlated fair prices: see
    :mod:`market_maker.simulator.flow`.

    ``profile`` is 'faithful', 'lively' or a :class:`flow.Profile`; ``prices`` overrides where a symbol's fair price
    starts (default: the instrument's index price, else its mark or last price).
    """

    def __init__(self, symbols, rng, profile='faithful', prices=None):
        # type: (Sequence[str], random.Random, Union[str, flow.Profile], Optional[Dict[str, float]]) -> None
        self._symbols = list(symbols)
        self._seed = rng.getrandbits(64)
        self._profile = flow.PROFILES[profile] if isinstance(profile, str) else profile
        self._prices = dict(prices or {})
        self._queue = []            # type: List[Tuple[float, int]]  # (when, number of the flow; -1 is the index)
        self._flows = []            # type: List[flow.Flow]
        self._underlyings = []      # type: List[flow.Underlying]  # leaders first
        self._indices = []          # type: List[Tuple[str, flow.Flow]]
        self._published = {}        # type: Dict[str, float]
        self._exchange = None       # type: Any

    def start(self, exchange, now):
        # type: (Any, float) -> None
        self._exchange = exchange
        bitcoin = flow.Underlying(self._profile, self._rng('XBT'), now)
        known = collections.OrderedDict([('XBT', bitcoin)])
        for symbol in self._symbols:
            instrument = exchange.instruments[symbol]
            name = instrument.row.get('underlying') or 'XBT'
            if name not in known:
                known[name] = flow.Underlying(self._profile, self._rng(name), now, leader=bitcoin, own=ETHER_OWN)
            price = self._prices.get(symbol) or _starting_price(instrument)
            street = flow.Flow(exchange, symbol, known[name], self._profile, self._rng(symbol), price / instrument.tick,
                               unit=_contracts_per_dollar(instrument, price), size=SIZES.get(symbol, OTHER_SIZE))
            self._flows.append(street)
            reference = instrument.row.get('referenceSymbol')
            if reference in exchange.instruments and reference not in [name for name, _ in self._indices]:
                self._indices.append((reference, street))
        self._underlyings = list(known.values())
        self._publish()
        for number, street in enumerate(self._flows):
            street.start()
            heapq.heappush(self._queue, (street.due, number))
        heapq.heappush(self._queue, (now + INDEX_EVERY, -1))

    def step(self, now):
        # type: (float) -> None
        queue, exchange = self._queue, self._exchange
        while queue[0][0] <= now:
            due, number = queue[0]
            exchange.advance(due)
            for underlying in self._underlyings:
                underlying.advance(due)
            if number < 0:
                self._publish()
                heapq.heapreplace(queue, (due + INDEX_EVERY, -1))
            else:
                street = self._flows[number]
                street.act(due)
                heapq.heapreplace(queue, (street.due, number))
        exchange.advance(now)

    def _rng(self, name):
        # type: (str) -> random.Random
        """Return a generator of its own for one part, so that another symbol more leaves its numbers alone."""
        return random.Random('{}/{}'.format(self._seed, name))

    def _publish(self):
        # type: () -> None
        for symbol, street in self._indices:
            tick = self._exchange.instruments[street.symbol].tick
            price = round(street.index() * tick, 2)
            if price != self._published.get(symbol):
                self._published[symbol] = price
                self._exchange.set_index(symbol, price)


class Still(Market):
    """A street that keeps one bid and one ask and never moves: whatever is taken from it is there again at the next
    step.

    ``bid`` and ``ask`` are prices of the first symbol, ``size`` contracts; what is not given, and the other symbols,
    stand one tick apart around the instrument's price with a quarter of a million dollars' worth a side.  Mark and
    index stand at their middle.  An order of somebody else that stands across the still price when the size is
    renewed trades with it.
    """

    def __init__(self, symbols, bid=None, ask=None, size=None):
        # type: (Sequence[str], Optional[float], Optional[float], Optional[int]) -> None
        if bid is not None and ask is not None and bid >= ask:
            raise ValueError('a still market needs a bid below its ask, not {} and {}'.format(bid, ask))
        self._symbols = list(symbols)
        self._given = (bid, ask, size)
        self._exchange = None   # type: Any
        self._sides = []        # type: List[_StillSide]

    def start(self, exchange, now):
        # type: (Any, float) -> None
        self._exchange = exchange
        for number, symbol in enumerate(self._symbols):
            self._settle_at(symbol, *(self._given if number == 0 else (None, None, None)))
        self._renew()

    def move(self, symbol, bid, ask):
        # type: (str, float, float) -> None
        """Stand at another bid and ask from now on, mark and index between them; what others have in between trades.

        ValueError when they are off the grid or not one below the other.
        """
        if bid >= ask:
            raise ValueError('a still market needs a bid below its ask, not {} and {}'.format(bid, ask))
        self._place(self._exchange.instruments[symbol], bid, ask, None)
        for side in [side for side in self._sides if side.symbol == symbol]:
            side.leave()
            self._sides.remove(side)
        self._settle_at(symbol, bid, ask, None)
        self._renew()

    def _settle_at(self, symbol, bid, ask, size):
        # type: (str, Optional[float], Optional[float], Optional[int]) -> None
        exchange = self._exchange
        instrument = exchange.instruments[symbol]
        low, high, size = self._place(instrument, bid, ask, size)
        middle = (instrument.price_of(low) + instrument.price_of(high)) / 2.
        reference = instrument.row.get('referenceSymbol')
        if reference in exchange.instruments:
            exchange.set_index(reference, middle)
        exchange.set_mark(symbol, middle)
        self._sides.append(_StillSide(exchange, symbol, 'Buy', low, size))
        self._sides.append(_StillSide(exchange, symbol, 'Sell', high, size))

    def step(self, now):
        # type: (float) -> None
        self._exchange.advance(now)
        self._renew()

    def _renew(self):
        # type: () -> None
        for side in self._sides:
            side.renew()

    @staticmethod
    def _place(instrument, bid, ask, size):
        # type: (Any, Optional[float], Optional[float], Optional[int]) -> Tuple[int, int, int]
        """Return bid and ask in ticks and the size in contracts; raises ValueError when they are off the grid."""
        for price in (bid, ask):
            if price is not None and abs(price / instrument.tick - round(price / instrument.tick)) > 1e-6:
                raise ValueError('{} is not a multiple of {}, the tick of {}'.format(
                    price, instrument.tick, instrument.symbol))
        if size is not None and (size <= 0 or size % instrument.lot):
            raise ValueError('size {} is not a positive multiple of {}, the lot of {}'.format(
                size, instrument.lot, instrument.symbol))
        if bid is not None:
            low = instrument.ticks_of(bid)
        elif ask is not None:
            low = instrument.ticks_of(ask) - 1
        else:
            low = int(_starting_price(instrument) / instrument.tick)
        high = instrument.ticks_of(ask) if ask is not None else low + 1
        if size is None:
            lots = STILL_DOLLARS * _contracts_per_dollar(instrument, instrument.price_of(low)) / instrument.lot
            size = max(int(round(lots)), 1) * int(instrument.lot)
        return low, high, size


class _StillSide(object):
    """One side of a still book; ``renew`` tops it up."""

    def __init__(self, exchange, symbol, side, price, size):
        # type: (Any, str, str, int, int) -> None
        self.symbol = symbol
        self._exchange = exchange
        self._side, self._price, self._size = side, price, size
        self._orders = []   # type: List[Any]
        self._grain = 1     # of the instrument when they were placed

    def leave(self):
        # type: () -> None
        """Take everything out of the book."""
        for order in self._orders:
            self._exchange.withdraw(order)

    def renew(self):
        # type: () -> None
        """Add what has been taken, behind what is left, so that nobody loses his place to it."""
        grain = self._exchange.instruments[self.symbol].grain
        missing = self._size - sum([order.leaves for order in self._orders])
        if missing <= 0 and grain == self._grain or not is_open(self._exchange, self.symbol):
            return
        if grain != self._grain:
            self._grain = grain
            self.leave()
            missing = self._size
        self._orders = [order for order in self._orders if order.leaves]
        order = self._exchange.rest(self.symbol, self._side, self._price, missing)
        if order is None:
            missing -= self._exchange.take(self.symbol, self._side, missing, self._price)
            order = self._exchange.rest(self.symbol, self._side, self._price, missing) if missing else None
        if order is not None:
            self._orders.append(order)


class Replay(Market):
    """A recorded market: quotes and trades of files, played by the rules of :mod:`market_maker.simulator.feed`.

    ``data`` is a sequence of (name, lines): the name is for messages; the lines are an opened text file or a list, or
    a function that opens one, which is called once per symbol (needed for several symbols of one file that is not in
    order of time as a whole).  A row that cannot be used is raised as :class:`feed.BadRow` when its time comes, or
    handed to ``report`` and skipped.

    Time is recorded time: start the exchange at :attr:`begins` and its clock shows the recording's.  Started at
    another time, everything happens by so much later or earlier.  :attr:`ended` is true after the last row.
    """

    def __init__(self, symbols, data, queue='back', report=None):
        # type: (Sequence[str], Sequence[Tuple[str, Any]], str, Optional[Callable[[feed.BadRow], None]]) -> None
        self._symbols = list(symbols)
        self._queue = queue
        self._report = report
        sources = []
        for name, lines in data:
            for group in ([[symbol] for symbol in self._symbols] if callable(lines) else [self._symbols]):
                sources.append(feed.read(name, lines() if callable(lines) else lines, group))
        self._rows = feed.merge(sources, report)
        self._opening = collections.OrderedDict()   # type: Dict[str, feed.Quote]  # symbol -> its first quote
        self._waiting = collections.deque()         # type: Deque[Any]  # rows read in search of it
        self._read_openings()
        self.begins = self._waiting[0].time     # type: float
        self._books = {}        # type: Dict[str, feed.RecordedBook]
        self._middles = {}      # type: Dict[str, float]  # index -> the middle of its contract's last quote
        self._published = {}    # type: Dict[str, float]
        self._index_due = 0.
        self._later = 0.        # seconds by which the exchange's clock is later than the recording's
        self._exchange = None   # type: Any

    def start(self, exchange, now):
        # type: (Any, float) -> None
        self._exchange = exchange
        self._later = now - self.begins
        for symbol, quote in self._opening.items():
            self._books[symbol] = feed.RecordedBook(exchange, symbol, self._queue)
            self._play(quote)
        self._publish(now)

    def step(self, now):
        # type: (float) -> None
        exchange, waiting = self._exchange, self._waiting
        while waiting:
            row = waiting[0]
            due = row.time + self._later
            if due > now:
                break
            exchange.advance(due)
            waiting.popleft()
            self._play(row)
            self._publish(due)
            if not waiting:
                waiting.extend(itertools.islice(self._rows, 1))
        self.ended = not waiting
        exchange.advance(now)

    def _read_openings(self):
        # type: () -> None
        """Read up to the first quote of every symbol: it is held from the start, even where trades come before it."""
        for row in self._rows:
            self._waiting.append(row)
            if isinstance(row, feed.Quote):
                self._opening.setdefault(row.symbol, row)
                if len(self._opening) == len(self._symbols):
                    return
        missing = [symbol for symbol in self._symbols if symbol not in self._opening]
        raise ValueError('the recording has no quote of {}'.format(', '.join(missing)))

    def _play(self, row):
        # type: (Any) -> None
        book = self._books[row.symbol]
        if not is_open(self._exchange, row.symbol):
            return
        try:
            if isinstance(row, feed.Trade):
                book.trade(row)
                return
            book.quote(row)
        except feed.BadRow as error:
            if self._report is None:
                raise
            self._report(error)
            return
        if row.bid is not None and row.ask is not None:
            self._middles[row.symbol] = (row.bid + row.ask) / 2.

    def _publish(self, now):
        # type: (float) -> None
        """Let the indices follow the middle of their contracts, once a second at most."""
        if now < self._index_due:
            return
        self._index_due = now + INDEX_EVERY
        done = set()    # type: Set[str]
        for symbol in self._symbols:
            name = self._exchange.instruments[symbol].row.get('referenceSymbol')
            price = self._middles.get(symbol)
            if name in self._exchange.instruments and name not in done and price:
                done.add(name)
                if price != self._published.get(name):
                    self._published[name] = price
                    self._exchange.set_index(name, price)


def make(kind, symbols, seed=None, bid=None, ask=None, size=None, prices=None, data=(), queue='back', report=None):
    # type: (str, Sequence[str], Seed, Price, Price, Optional[int], Optional[Dict[str, float]], Any, str, Any) -> Market
    """Return a market for ``symbols`` (indices among them are left out): 'simulated', 'lively', 'still' or 'replay'.

    ``seed`` (simulated, lively) is a number or a generator; None asks for a history that nobody can repeat.  ``bid``,
    ``ask``, ``size`` are those of :class:`Still`, ``prices`` those of :class:`Simulated`, ``data``, ``queue`` and
    ``report`` those of :class:`Replay`.  How fast a recording plays is the business of whoever steps the market.
    Raises ValueError for an unknown kind, for options that make no sense, and for a recording that cannot be used.
    """
    traded = [symbol for symbol in symbols if not symbol.startswith('.')]
    if not traded:
        raise ValueError('a market needs at least one symbol that is traded, not {} alone'.format(
            ', '.join(symbols) or 'nothing'))
    if kind in ('simulated', 'lively'):
        rng = seed if isinstance(seed, random.Random) else random.Random(seed)
        return Simulated(traded, rng, 'lively' if kind == 'lively' else 'faithful', prices)
    if kind == 'still':
        return Still(traded, bid, ask, size)
    if kind == 'replay':
        if not data:
            raise ValueError('a replay needs the files of a recording')
        return Replay(traded, data, queue, report)
    raise ValueError('{!r} is no kind of market; take one of {}'.format(kind, ', '.join(KINDS)))


def is_open(exchange, symbol):
    # type: (Any, str) -> bool
    """Tell whether a contract trades now; the market leaves one that does not alone."""
    return bool(exchange.instruments[symbol].row.get('state') == 'Open')


def _starting_price(instrument):
    # type: (Any) -> float
    """Return the price around which an instrument trades, from its row; raises ValueError when the row has none."""
    for field in ('indicativeSettlePrice', 'fairPrice', 'markPrice', 'lastPrice'):
        if instrument.row.get(field):
            return float(instrument.row[field])
    raise ValueError('{} has no index, mark or last price to start from; give one'.format(instrument.symbol))


def _contracts_per_dollar(instrument, price):
    # type: (Any, float) -> float
    """Return how many contracts trade for one unit of the quote currency."""
    many = 1000000 * int(instrument.lot)
    return many / contracts.home_foreign(instrument.row, many, price)[1]
