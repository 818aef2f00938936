"""Who trades on the local exchange besides its clients: a simulated street, a still one, or a recorded one.

A market is started on an exchange and then stepped through time; it acts through the market's own hand only (``rest``,
``take``, ``withdraw``, ``reduce``, ``set_index``).  It owns no clock: whoever calls :meth:`Market.step` decides how fast
time passes, and the history does not depend on how many steps that takes.
"""
from __future__ import absolute_import

import collections
import heapq
import random
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union  # noqa: F401

from market_maker import contracts
from market_maker.simulator import flow

KINDS = ('simulated', 'lively', 'still')
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
        """Populate the books of ``exchange`` at ``now`` (Unix seconds), so that the first client sees a bid and an ask."""
        raise NotImplementedError

    def step(self, now):
        # type: (float) -> None
        """Do everything that is due up to ``now``, each thing at its own time, and leave the exchange's clock at ``now``.

        Events happen between two steps, so call this before anything else advances the exchange past them.
        """
        raise NotImplementedError

    @staticmethod
    def make(kind, symbols, seed=None, **options):
        # type: (str, Sequence[str], Union[int, random.Random, None], **Any) -> Market
        """Return the market called ``kind``: see :func:`make`."""
        return make(kind, symbols, seed, **options)


class Simulated(Market):
    """A living market in several contracts at once, on correlated fair prices: see :mod:`market_maker.simulator.flow`.

    ``profile`` is 'faithful', 'lively' or a :class:`flow.Profile`; ``prices`` overrides where a symbol's fair price starts
    (default: the instrument's index price, else its mark or last price).
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
    """A street that keeps one bid and one ask and never moves: whatever is taken from it is there again at the next step.

    ``bid`` and ``ask`` are prices of the first symbol, ``size`` contracts; what is not given, and the other symbols, stand
    one tick apart around the instrument's price with a quarter of a million dollars' worth a side.  Mark and index stand
    at their middle.  An order of somebody else that stands across the still price when the size is renewed trades with it.
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
            instrument = exchange.instruments[symbol]
            bid, ask, size = self._place(instrument, *(self._given if number == 0 else (None, None, None)))
            middle = (instrument.price_of(bid) + instrument.price_of(ask)) / 2.
            reference = instrument.row.get('referenceSymbol')
            if reference in exchange.instruments:
                exchange.set_index(reference, middle)
            exchange.set_mark(symbol, middle)
            self._sides += [_StillSide(exchange, symbol, 'Buy', bid, size), _StillSide(exchange, symbol, 'Sell', ask, size)]
        self._renew()

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
                raise ValueError('{} is not a multiple of {}, the tick of {}'.format(price, instrument.tick, instrument.symbol))
        if size is not None and (size <= 0 or size % instrument.lot):
            raise ValueError('size {} is not a positive multiple of {}, the lot of {}'.format(
                size, instrument.lot, instrument.symbol))
        if bid is None:
            low = instrument.ticks_of(ask) - 1 if ask is not None else int(_starting_price(instrument) / instrument.tick)
        else:
            low = instrument.ticks_of(bid)
        high = instrument.ticks_of(ask) if ask is not None else low + 1
        if size is None:
            lots = STILL_DOLLARS * _contracts_per_dollar(instrument, instrument.price_of(low)) / instrument.lot
            size = max(int(round(lots)), 1) * int(instrument.lot)
        return low, high, size


class _StillSide(object):
    """One side of a still book; ``renew`` tops it up."""

    def __init__(self, exchange, symbol, side, price, size):
        # type: (Any, str, str, int, int) -> None
        self._exchange = exchange
        self._symbol, self._side, self._price, self._size = symbol, side, price, size
        self._orders = []   # type: List[Any]

    def renew(self):
        # type: () -> None
        """Add what has been taken, behind what is left, so that nobody loses his place to it."""
        self._orders = [order for order in self._orders if order.leaves]
        missing = self._size - sum(order.leaves for order in self._orders)
        if missing <= 0:
            return
        order = self._exchange.rest(self._symbol, self._side, self._price, missing)
        if order is None:
            missing -= self._exchange.take(self._symbol, self._side, missing, self._price)
            order = self._exchange.rest(self._symbol, self._side, self._price, missing) if missing else None
        if order is not None:
            self._orders.append(order)


def make(kind, symbols, seed=None, bid=None, ask=None, size=None, prices=None):
    # type: (str, Sequence[str], Union[int, random.Random, None], Optional[float], Optional[float], Optional[int], Optional[Dict[str, float]]) -> Market
    """Return a market for ``symbols`` (indices among them are left out): 'simulated', 'lively' or 'still'.

    ``seed`` is a number or a generator; None asks for a history that nobody can repeat.  Raises ValueError for an unknown
    kind, and for options that make no sense.
    """
    traded = [symbol for symbol in symbols if not symbol.startswith('.')]
    if not traded:
        raise ValueError('a market needs at least one symbol that is traded, not {}'.format(list(symbols)))
    if kind in ('simulated', 'lively'):
        rng = seed if isinstance(seed, random.Random) else random.Random(seed)
        return Simulated(traded, rng, 'lively' if kind == 'lively' else 'faithful', prices)
    if kind == 'still':
        return Still(traded, bid, ask, size)
    raise ValueError('{!r} is no kind of market; take one of {}'.format(kind, ', '.join(KINDS)))


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
