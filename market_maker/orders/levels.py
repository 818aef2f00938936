"""The ladder: at which prices, and how large, the bot quotes.

Levels count from 1, the innermost.  An index is a level with a sign: negative buys, positive sells.  Prices are floats
on the instrument's tick, sizes ints on its lot.  Pure: settings, ticker and random generator are handed in.
"""
from __future__ import absolute_import

from collections import namedtuple
from functools import lru_cache
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.utils.math import ceil_to, decimals, floor_to, ticks

StartPrices = namedtuple('StartPrices', 'buy sell mid')
StartPrices.__doc__ = """Where each side begins to quote, and the middle of the market; not rounded to the tick."""


def start_prices(ticker, tick, maintain_spreads, min_spread, own_buy=None, own_sell=None):
    # type: (Dict[str, float], float, bool, float, Optional[float], Optional[float]) -> StartPrices
    """Return where the ladder starts: just inside the best prices, at least ``min_spread`` (a fraction) apart.

    ``own_buy`` and ``own_sell`` are the best prices of our own resting orders, or None.  With ``maintain_spreads`` a
    best price that is ours already is kept instead of being bettered; and where the market is too tight for quotes
    inside it, both sides join the best prices, so that neither takes the other or the market.
    """
    bid, ask = float(ticker['buy']), float(ticker['sell'])
    buy = bid if maintain_spreads and _same(bid, own_buy, tick) else bid + tick
    sell = ask if maintain_spreads and _same(ask, own_sell, tick) else ask - tick
    if buy * (1.00 + min_spread) > sell:
        buy *= 1.00 - min_spread / 2
        sell *= 1.00 + min_spread / 2
    if (maintain_spreads and not (buy + tick < min(ask, sell) and sell - tick > bid)   # as it nearly always is
            and _too_tight(floor_to(buy, tick), ceil_to(sell, tick), bid, ask)):
        buy, sell = bid, ask
    return StartPrices(buy, sell, ticker.get('mid', (bid + ask) / 2))


def level_price(index, start_buy, start_sell, interval, maintain_spreads, tick):
    # type: (int, float, float, float, bool, float) -> float
    """Return the price of a level: ``interval`` (a fraction) further out than the level before it.

    With ``maintain_spreads`` level 1 stands at the start price itself, else one interval away from it; then a start
    price that has crossed the other side's gives way to that one.  A bid is never rounded up to the tick and an ask
    never down.
    """
    start = start_buy if index < 0 else start_sell
    if maintain_spreads:
        steps = index + 1 if index < 0 else index - 1
    else:
        steps = index
        start = min(start_buy, start_sell) if index < 0 else max(start_buy, start_sell)
    wanted = start * (1.00 + interval) ** steps
    return floor_to(wanted, tick) if index < 0 else ceil_to(wanted, tick)


def ladder(pairs, start_buy, start_sell, interval, maintain_spreads, tick, start_size, step_size, lot):
    # type: (int, float, float, float, bool, float, float, float, int) -> Tuple[List[Any], List[Any]]
    """Return the orders (price, orderQty, side) of both sides, outer levels first.

    They are those of ``level_price`` and ``level_size``, worked out together, which takes a tenth of the time.
    """
    sizes = _sizes(pairs, start_size, step_size, lot)
    if not maintain_spreads:
        start_buy, start_sell = min(start_buy, start_sell), max(start_buy, start_sell)
    bids = _on_tick(start_buy, _factors(pairs, interval, -1, bool(maintain_spreads)), tick, 0, floor_to)
    asks = _on_tick(start_sell, _factors(pairs, interval, 1, bool(maintain_spreads)), tick, 1, ceil_to)
    return ([{'price': price, 'orderQty': size, 'side': 'Buy'} for price, size in zip(bids, sizes)],
            [{'price': price, 'orderQty': size, 'side': 'Sell'} for price, size in zip(asks, sizes)])


@lru_cache(maxsize=8)
def _sizes(pairs, start_size, step_size, lot):
    # type: (int, float, float, int) -> Tuple[int, ...]
    return tuple(level_size(level, start_size, step_size, lot) for level in range(pairs, 0, -1))


@lru_cache(maxsize=8)
def _factors(pairs, interval, direction, maintain_spreads):
    # type: (int, float, int, bool) -> Tuple[float, ...]
    """Return what the start price is multiplied by at each level, the outermost first."""
    first = 0 if maintain_spreads else 1
    return tuple((1.00 + interval) ** (direction * steps) for steps in range(pairs - 1 + first, first - 1, -1))


def _on_tick(start, factors, tick, up, exactly):
    # type: (float, Tuple[float, ...], float, int, Callable[[float, float], float]) -> List[float]
    """Return the prices on the tick, rounded down (``up`` 0) or up (1); doubtful ones are left to ``exactly``."""
    places, prices = decimals(tick), []
    for factor in factors:
        steps = start * factor / tick
        whole = int(steps)
        if 1e-6 < steps - whole < 0.999999 and steps < 1e7:
            prices.append(round((whole + up) * tick, places))
        else:
            prices.append(exactly(start * factor, tick))
    return prices


def level_size(index, start_size, step_size, lot):
    # type: (int, float, float, int) -> int
    """Return the size of a level: ``start_size`` for the innermost, ``step_size`` more for each one out, on the lot."""
    return on_lot(start_size + (abs(index) - 1) * step_size, lot) or int(lot)


def random_size(smallest, largest, lot, randint):
    # type: (float, float, int, Callable[[int, int], int]) -> int
    """Return a size drawn evenly from the lots between two sizes (both included); ``randint(a, b)`` is the chance."""
    lots = int(ceil_to(smallest, lot)) // int(lot), int(floor_to(largest, lot)) // int(lot)
    return int(lot) * max(randint(lots[0], max(lots)), 1)


def on_lot(quantity, lot):
    # type: (float, int) -> int
    """Return the quantity rounded down to whole lots."""
    return int(floor_to(quantity, lot))


def _too_tight(buy, sell, bid, ask):
    # type: (float, float, float, float) -> bool
    return bid < ask and (buy >= min(ask, sell) or sell <= bid)


def _same(price, own_price, tick):
    # type: (float, Optional[float], float) -> bool
    if own_price is None or abs(price - own_price) > 2 * tick:   # as it nearly always is
        return False
    return price == own_price or ticks(price, tick) == ticks(own_price, tick)
