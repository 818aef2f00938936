"""Which limits bite now, and what they leave to be placed.  Pure: rows, settings and monotonic seconds are handed in.

Everything that holds quotes back becomes one number a side: the contracts that may still be at work there (its room).
A position limit leaves what is missing to it, a brake or a loss limit leaves nothing, a thin margin leaves what closes
the position.  Orders that can only reduce the position take no room, and stay on a closed side too.  Besides, each
order by itself must make sense: its size, its price, its place among the others.

``bounds`` is a mapping of the settings, by the names that they have there.
"""
from __future__ import absolute_import

import collections
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

from market_maker.orders import risk
from market_maker.orders.levels import on_lot

# The settings that are looked at here.
NAMES = ('CHECK_POSITION_LIMITS', 'MIN_POSITION', 'MAX_POSITION', 'ORDER_SIZE_LIMIT', 'ORDER_COUNT_LIMIT', 'PRICE_BAND',
         'LOSS_LIMIT', 'DRAWDOWN_LIMIT', 'DAILY_LOSS_LIMIT', 'FREE_MARGIN_LIMIT', 'LIQUIDATION_LIMIT', 'FILLED_LIMIT',
         'FILLED_WINDOW', 'MOVE_LIMIT', 'MOVE_WINDOW')
SIDES = ('Buy', 'Sell')
ANY = float('inf')
SAMPLES = 1000   # of the price and of the fills, that a window holds at the most
RELIEF = 1.1     # times a margin or a distance that is too small: where it is enough again, so that nothing flutters

Facts = collections.namedtuple('Facts', 'now low high position margin price bought sold loss')
Facts.__doc__ = """What the limits look at.

``now`` in monotonic seconds; ``low`` and ``high``: the position in contracts, which the tables know within these
bounds; ``position`` and ``margin``: the exchange's rows; ``price``: the middle of the market, or None; ``bought`` and
``sold``: contracts of our own fills in this run; ``loss``: why no more may be lost, or ''.
"""


class Limits(object):
    """The limits of one run.  ``take_news`` returns a line for each that began to bite, or let go, since the last call.
    """

    def __init__(self):
        # type: () -> None
        self.biting = collections.OrderedDict()   # type: Dict[str, str]   # name of a limit -> what it says
        self._news = collections.deque()          # type: Any   # (whether it bites, words)
        self._fills = {'Buy': _Window(), 'Sell': _Window()}
        self._prices = _Window()

    def take_news(self):
        # type: () -> List[Tuple[bool, str]]
        """Return (whether it bites, a line for the log) for everything that has changed."""
        news = []
        while self._news:
            news.append(self._news.popleft())
        return news

    def rooms(self, facts, bounds):
        # type: (Any, Any) -> Dict[str, float]
        """Return for each side how many contracts may be at work, infinity where nothing limits them."""
        rooms = {'Buy': ANY, 'Sell': ANY}
        if bounds['CHECK_POSITION_LIMITS']:
            rooms = {'Buy': risk.room('Buy', facts.high, bounds['MIN_POSITION'], bounds['MAX_POSITION']),
                     'Sell': risk.room('Sell', facts.low, bounds['MIN_POSITION'], bounds['MAX_POSITION'])}
        self._brake_fills(facts, bounds, rooms)
        thin = self._hold('FREE_MARGIN_LIMIT', thin_margin, facts.margin, bounds)
        near = self._hold('LIQUIDATION_LIMIT', near_liquidation, facts.position, bounds)
        if thin or near:
            rooms = {'Buy': min(rooms['Buy'], max(0, -facts.high)), 'Sell': min(rooms['Sell'], max(0, facts.low))}
        fast = self._say('MOVE_LIMIT', self._fast_move(facts, bounds))
        lost = self._say('LOSS_LIMIT', facts.loss)
        return {'Buy': 0, 'Sell': 0} if fast or lost else rooms

    def _hold(self, name, fault_of, row, bounds):
        # type: (str, Callable[..., str], Dict[str, Any], Any) -> bool
        least = bounds[name]
        return self._say(name, fault_of(row, least, least * RELIEF if name in self.biting else least) if least else '')

    def _brake_fills(self, facts, bounds, rooms):
        # type: (Any, Any, Dict[str, float]) -> None
        """Leave no room on a side that has traded too much lately."""
        most, seconds = bounds['FILLED_LIMIT'], bounds['FILLED_WINDOW']
        for side, total, done, quotes in (('Buy', facts.bought, 'bought', 'bids'),
                                          ('Sell', facts.sold, 'sold', 'asks')):
            words = ''
            if most is not None:
                window = self._fills[side]
                window.add(facts.now, total, seconds)
                traded = total - window.first()
                if traded >= most:
                    words = '{} contracts {} within {:g} s, FILLED_LIMIT is {}: no {} for now'.format(
                        traded, done, seconds, most, quotes)
            if self._say('FILLED_LIMIT ' + side, words):
                rooms[side] = 0

    def _fast_move(self, facts, bounds):
        # type: (Any, Any) -> str
        most, seconds = bounds['MOVE_LIMIT'], bounds['MOVE_WINDOW']
        if most is None or not facts.price:
            return ''
        self._prices.add(facts.now, facts.price, seconds)
        low, high = self._prices.span()
        if high - low <= most * low:
            return ''
        return 'the price has moved between {} and {} within {:g} s, {:.2f} % and MOVE_LIMIT is {:.2f} %: no quotes ' \
            'for now'.format(low, high, seconds, 100.0 * (high - low) / low, 100.0 * most)

    def admitted(self, buys, sells, rooms, bounds, instrument):
        # type: (List[Dict[str, Any]], List[Dict[str, Any]], Dict[str, float], Any, Dict[str, Any]) -> List[Dict[str, Any]]
        """Return the wanted orders of both sides, each with its side, without those that must not be sent, and cut to
        what may.

        The caller's lists and dicts stay as they are.  ``instrument`` is the exchange's row.
        """
        lot = instrument.get('lotSize') or 1
        most = largest(bounds, instrument)
        faults = {}   # type: Dict[str, str]
        lists, spans = [list(buys), list(sells)], []   # type: List[List[Dict[str, Any]]], List[Any]
        for side, orders in zip(SIDES, lists):
            lowest, highest = band(side, bounds['PRICE_BAND'], instrument)
            span = span_of(orders, side, most)
            spans.append(None if span is None or span[0] < lowest or span[1] > highest else span)
        if None in spans:
            lists = self._fitting(lists, {side: checker(side, bounds, instrument) for side in SIDES}, lot, faults)
        if None in spans or spans[0][1] >= spans[1][0]:
            lists = self._without_crosses(lists, faults)
        lists = self._few_enough(lists, bounds['ORDER_COUNT_LIMIT'], faults)
        if faults or self.biting:
            for name in ORDER_LIMITS:
                self._say(name, faults.get(name, ''))
        buys, sells = (orders if rooms[side] == ANY else risk.cut_to_room(orders, side, rooms[side], lot)
                       for side, orders in zip(SIDES, lists))
        return buys + sells

    @staticmethod
    def _fitting(lists, checks, lot, faults):
        # type: (List[List[Dict[str, Any]]], Dict[str, Any], int, Dict[str, str]) -> List[List[Dict[str, Any]]]
        """Return the orders of both sides that make sense, each with its side and beside its like, those that are too
        large cut down."""
        kept = collections.OrderedDict((side, []) for side in SIDES)   # type: Dict[str, List[Dict[str, Any]]]
        for list_side, orders in zip(SIDES, lists):
            for order in orders:
                order = with_numbers(order if order.get('side') else dict(order, side=list_side))
                side = order['side'] if order['side'] in checks else list_side
                fault = checks[side](order)
                if fault is None:
                    kept[side].append(order)
                elif fault[0] == 'ORDER_SIZE_LIMIT':
                    kept[side].append(dict(order, orderQty=on_lot(fault[2], lot)))
                    faults.setdefault(fault[0], '{}: it is cut down'.format(fault[1]))
                else:
                    faults.setdefault(fault[0], '{}: it is left out'.format(fault[1]))
        return list(kept.values())

    @staticmethod
    def _without_crosses(checked, faults):
        # type: (List[List[Dict[str, Any]]], Dict[str, str]) -> List[List[Dict[str, Any]]]
        """Leave out what would trade with ourselves: neither side of such a pair can be trusted."""
        bids, asks = ([order['price'] for order in orders if risk.is_plain_limit(order)] for orders in checked)
        if not bids or not asks or max(bids) < min(asks):
            return checked
        bid, ask = max(bids), min(asks)
        faults['own orders'] = 'our bid at {} would trade with our ask at {}: both are left out'.format(bid, ask)
        return [[order for order in checked[0] if not risk.is_plain_limit(order) or order['price'] < ask],
                [order for order in checked[1] if not risk.is_plain_limit(order) or order['price'] > bid]]

    @staticmethod
    def _few_enough(checked, most, faults):
        # type: (List[List[Dict[str, Any]]], Optional[int], Dict[str, str]) -> List[List[Dict[str, Any]]]
        """Keep the inner levels of both sides, as many as may rest."""
        total = len(checked[0]) + len(checked[1])
        if most is None or total <= most:
            return checked
        faults['ORDER_COUNT_LIMIT'] = '{} orders are wanted, ORDER_COUNT_LIMIT is {}: the outer ones are left out' \
            .format(total, most)
        fewer = min(len(checked[0]), len(checked[1]), most // 2)
        shares = [most - fewer, fewer] if len(checked[0]) > len(checked[1]) else [fewer, most - fewer]
        kept = []
        for orders, side, share in zip(checked, SIDES, shares):
            inner = set(risk.inner_first(orders, side)[:share])
            kept.append([order for place, order in enumerate(orders) if place in inner])
        return kept

    def _say(self, name, words):
        # type: (str, str) -> bool
        """Keep in mind whether a limit bites, with a line of news when that has changed; return whether it does."""
        if words:
            if name not in self.biting:
                self._news.append((True, words))
            self.biting[name] = words
        elif self.biting.pop(name, None) is not None:
            self._news.append((False, name))
        return bool(words)


# the limits of a single order, or of the orders among themselves
ORDER_LIMITS = ('nonsense', 'ORDER_SIZE_LIMIT', 'PRICE_BAND', 'own orders', 'ORDER_COUNT_LIMIT')


def with_numbers(order):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    """Return the order with its price and size as numbers, for the API takes them as text too; what is no number stays.
    """
    for name in ('price', 'orderQty'):
        if isinstance(order.get(name), str):
            try:
                order = dict(order, **{name: float(order[name])})
            except ValueError:
                continue   # the check says so
    return order


def span_of(orders, side, most):
    # type: (List[Dict[str, Any]], str, float) -> Any
    """Return the lowest and the highest price of ordinary orders of one side, none too large: what most ladders are.

    None where one of them needs a closer look (``checker``), which takes several times as long.
    """
    if not orders:
        return NOWHERE
    try:
        prices = [order['price'] for order in orders]
        sizes = [order['orderQty'] for order in orders]
        sides = [order['side'] for order in orders]
        total = sum(prices) + sum(sizes)   # is nan where one of them is
        if total == total and 0 <= min(sizes) and max(sizes) <= most and sides.count(side) == len(sides):
            return min(prices), max(prices)
    except (KeyError, TypeError):
        pass   # a price, a size or a side is missing, or is no number
    return None


def checker(side, bounds, instrument):
    # type: (str, Any, Dict[str, Any]) -> Callable[[Dict[str, Any]], Optional[Tuple[Any, ...]]]
    """Return the check of a single order of a side: None, or (name of the limit, words, largest size)."""
    most = largest(bounds, instrument)
    lowest, highest = band(side, bounds['PRICE_BAND'], instrument)

    def check(order):
        # type: (Dict[str, Any]) -> Optional[Tuple[Any, ...]]
        price, size = order.get('price'), order.get('orderQty')
        try:
            if size is not None and not abs(size) < ANY:
                return 'nonsense', 'an order of {} contracts makes no sense'.format(size), 0
            if price is not None and not lowest <= price <= highest:
                if not 0 < price < ANY:
                    return 'nonsense', 'an order at the price {} makes no sense'.format(price), 0
                if risk.is_plain_limit(order):   # a stop may stand where a plain order must not
                    return 'PRICE_BAND', words_of_band(side, price, bounds, instrument), 0
            if size is not None and abs(size) > most:
                words = '{} contracts in one order are more than {}'.format(size, _name(most, bounds))
                return 'ORDER_SIZE_LIMIT', words, most
        except (TypeError, ValueError):
            return 'nonsense', 'an order of {!r} contracts at {!r} makes no sense'.format(size, price), 0
        return None
    return check


def words_of_band(side, price, bounds, instrument):
    # type: (str, float, Any, Dict[str, Any]) -> str
    """Return why a price is too far on the wrong side of the market."""
    return '{} at {} is worse than the mark {} and the last price {} by more than PRICE_BAND {:g} %'.format(
        'a bid' if side == 'Buy' else 'an ask', price, instrument.get('markPrice'), instrument.get('lastPrice'),
        100.0 * bounds['PRICE_BAND'])


def largest(bounds, instrument):
    # type: (Any, Dict[str, Any]) -> float
    """Return the most contracts that one order may have: ORDER_SIZE_LIMIT, or what the exchange takes."""
    most = instrument.get('maxOrderQty') or ANY
    wanted = bounds['ORDER_SIZE_LIMIT']
    return most if wanted is None else min(most, wanted)


def band(side, fraction, instrument):
    # type: (str, Optional[float], Dict[str, Any]) -> Tuple[float, float]
    """Return the lowest and the highest price of a limit order of a side.

    Only the wrong side is bounded: a bid far above the market is a mistake, one far below it hurts nobody.  A price
    counts as wrong only where both the mark and the last price say so.
    """
    known = [instrument[name] for name in ('markPrice', 'lastPrice') if instrument.get(name)]
    if not known or fraction is None:
        return SMALLEST, LARGEST
    if side == 'Buy':
        return SMALLEST, max(known) * (1 + fraction)
    return min(known) * (1 - fraction), LARGEST


SMALLEST, LARGEST = 1e-300, 1e300   # prices that are none
NOWHERE = LARGEST, SMALLEST         # lowest and highest price of no orders


def _name(most, bounds):
    # type: (float, Any) -> str
    wanted = bounds['ORDER_SIZE_LIMIT']
    return 'ORDER_SIZE_LIMIT {}'.format(most) if most == wanted else 'the {} that the exchange takes'.format(most)


def thin_margin(margin, limit, least):
    # type: (Dict[str, Any], float, float) -> str
    """Return why nothing may add to the position as it holds too much of the balance, or ''.

    Orders do not count: they would, in taking themselves away, make room for themselves.
    """
    balance, held = margin.get('marginBalance'), margin.get('maintMargin')
    if balance is None or held is None:
        return 'the margin is not known and FREE_MARGIN_LIMIT is set: only what reduces the position is placed'
    free = (balance - held) / balance if balance > 0 else 0.0
    return '' if free >= least else '{:.1f} % of the balance are free, FREE_MARGIN_LIMIT is {:.1f} %: only what ' \
        'reduces the position is placed'.format(100.0 * free, 100.0 * limit)


def near_liquidation(position, limit, least):
    # type: (Dict[str, Any], float, float) -> str
    """Return why nothing may add to the position as its liquidation is near, or ''."""
    price, mark = position.get('liquidationPrice'), position.get('markPrice')
    if not price or not mark or not position.get('currentQty'):
        return ''
    distance = abs(mark - price) / mark
    return '' if distance >= least else 'the liquidation price {} is {:.1f} % from the mark, LIQUIDATION_LIMIT is ' \
        '{:.1f} %: only what reduces the position is placed'.format(price, 100.0 * distance, 100.0 * limit)


class _Window(object):
    """The values of the last seconds, and the newest one before them: what was so when the window began."""

    def __init__(self):
        # type: () -> None
        self._values = collections.deque()   # type: Any   # (moment, value), oldest first

    def add(self, now, value, seconds):
        # type: (float, float, float) -> None
        """Note a value, and forget what is older than the window."""
        values = self._values
        if not values or values[-1][1] != value:
            values.append((now, value))
        while len(values) > 1 and (values[1][0] <= now - seconds or len(values) > SAMPLES):
            values.popleft()

    def first(self):
        # type: () -> float
        """Return the value at the beginning of the window."""
        return self._values[0][1]

    def span(self):
        # type: () -> Tuple[float, float]
        """Return the least and the largest value."""
        values = [value for _, value in self._values]
        return min(values), max(values)
