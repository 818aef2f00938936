"""The people of the simulated market: a clumpy fair price, takers who come in bursts, makers who compete.

An :class:`Underlying` is the price that the world believes in; a :class:`Flow` is everybody who trades one contract
on it, and acts on the exchange through the market's own hand (``rest``, ``take``, ``withdraw``).  The model is a
Glosten-Milgrom book with a Hawkes process of uninformed takers and zero-intelligence orders in between:

* **Fair price.**  Log price: diffusion, plus two-sided exponential clumps that carry most of its variance; volatility
  has a memory of 40 minutes and of 11 hours, and news that quickens everything for a minute.
* **Takers.**  Self-exciting on two scales (a fifteenth of a second, four seconds); two parent orders lend them their
  side; sizes are log-normal with a heavy tail, half of them round.  Each moves the belief a little, for 40 seconds.
* **Informed takers** come when the book lags the fair price, and sweep it up to there: this is what a stale quote
  pays for.
* **Makers** see the fair price late and blurred.  They pull what stands on the wrong side of it, queue at the touch
  and keep one order on every rung of a ladder; none ever crosses the book, so everybody else's orders are respected.
* **Random orders** come and go behind the touch; **far orders** stand on round prices out to a fifth of the price.

Nothing here reads a clock or owns a generator: time comes with every call, randomness through the constructor.  The
same generator, instruments and calls give the same history.  Distances are in basis points (bps, 0.01 %) of the
price, sizes in US dollars' worth until :class:`Flow` turns them into contracts, times in seconds, prices in the book
integer ticks.
"""
import bisect
import collections
import math
import random  # noqa: F401  (types only: generators are handed in)
from typing import Any, Dict, List, Optional, Tuple  # noqa: F401

Profile = collections.namedtuple('Profile', [
    'sigma',            # bps per root second of the fair price
    'clump_share',      # share of its variance that comes in clumps
    'clumps',           # clumps a second, at volatility 1
    'wiggle',           # standard deviation in bps of a fast swing around the fair price (0: none)
    'wiggle_time',      # its memory
    'takers',           # uninformed takers a second before excitation
    'informed',         # informed takers a second for each bps that the book is wrong by more than `edge`
    'edge',             # bps
    'informed_size',    # median
    'refresh',          # times a second that each maker looks
    'lag',              # mean age of what a maker sees
    'touch_size',       # median size that each maker keeps at the touch
    'depth',            # dollars per bps and side that all makers keep together between 2 and 50 bps
    'randoms',          # random limit orders a second
    'forget',           # share of them withdrawn a second
])
Profile.__doc__ = """The rates of a market; everything else is the same in all of them."""

FAITHFUL = Profile(sigma=1.2, clump_share=.75, clumps=.10, wiggle=0., wiggle_time=4., takers=.26, informed=.5, edge=.6,
                   informed_size=6000., refresh=4., lag=.2, touch_size=55e3, depth=3e5, randoms=14., forget=.10)
LIVELY = Profile(sigma=.9, clump_share=.75, clumps=.10, wiggle=5., wiggle_time=4., takers=.5, informed=2., edge=.6,
                 informed_size=6000., refresh=5., lag=.1, touch_size=12e3, depth=1e5, randoms=10., forget=.30)
PROFILES = {'faithful': FAITHFUL, 'lively': LIVELY}

# Excitation of takers by takers: (children per trade, decay per second).
FAST, FAST_DECAY = .38, 15.
SLOW, SLOW_DECAY = .40, .25
PARENT_TAIL, PARENT_CAP = 1.15, 300     # children of a parent order: Pareto, at most
TAKER_SIZE, TAKER_SPREAD, SIZE_CAP = 900., 2.3, 2e6     # median, standard deviation of the log, largest
INFORMED_SPREAD = 1.2
RANDOM_SIZE, RANDOM_SPREAD = 1200., 2.2
RANDOM_TAIL, RANDOM_REACH = .6, 60.     # Pareto of their distance behind the touch; the farthest in bps
GRAIN = .5                              # unit of that distance in bps where the tick is smaller
IMPACT, IMPACT_CAP, IMPACT_MEMORY = .012, .6, 40.       # bps at the median size, bps, seconds
MAKERS = 6
NOISE = .35                             # bps by which a maker misjudges the fair price
KEEP_TOUCH, KEEP_RUNG = .5, .2          # share of looks after which an order that stands right is left alone
SECOND_THOUGHTS = .4                    # share of looks that renew the rung of the look before once more
HOLD = .3                               # bps by which the touch may be wrong before a maker leaves it
TOUCH_SPREAD = .5
RUNG_MEDIAN, RUNG_SPREAD = .74, .8      # sizes beside the mean of a rung: its median, standard deviation of the log
RUNGS = (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 64, 90, 125, 170)     # bps from the fair price
FAR_REACH = .20                         # share of the price out to which far orders stand
FAR_STEPS = 60                          # of them a side, about
SLOW_EVERY = 10.                        # seconds between two looks at them
CLOSED_LOOK = 1.                        # seconds between two looks at whether a closed contract trades again
BID_WEIGHT = 1.25                       # far bids outweigh far asks
NEWS_A_DAY, NEWS_SIZE, NEWS_MEMORY = 24., 3., 40.
PREMIUM_MEAN, PREMIUM_SPREAD, PREMIUM_MEMORY = .3, 7.5, 177000.     # bps of the contract over its index; 8 h keep 0.85


class Underlying(object):
    """What the world thinks one thing is worth: ``x`` in bps of log price from its start, ``volatility`` around 1.

    ``swing`` is how far, in bps, all who trade on it are carried away from that for the moment (lively markets only).
    One that has a ``leader`` moves with it, bps by bps, quickens with it, and adds ``own`` of its own moves (1: as
    large as the leader's).
    """

    def __init__(self, profile, rng, now, leader=None, own=1.):
        # type: (Profile, random.Random, float, Optional[Underlying], float) -> None
        self.x = 0.
        self.swing = 0.
        self.volatility = 1.
        self.now = now
        self._profile = profile
        self._rng = rng
        self._leader = leader
        self._own = own
        self._own_x = 0.
        self._own_swing = 0.
        self._moods = [rng.gauss(0, 1) * .6, rng.gauss(0, 1) * .6]
        self._news = 0.
        self._mood_due = now

    def advance(self, now):
        # type: (float) -> None
        """Move to ``now`` (Unix seconds); a leader must have been moved there before."""
        dt = now - self.now
        if dt <= 0:
            return
        self.now = now
        if now >= self._mood_due:
            self._change_mood()
        profile, rng, volatility = self._profile, self._rng, self.volatility
        scale = profile.sigma * self._own
        self._own_x += scale * volatility * math.sqrt(dt * (1 - profile.clump_share)) * rng.gauss(0, 1)
        if rng.random() < profile.clumps * volatility * dt:
            # A two-sided exponential of mean size m has variance 2 m^2.
            size = scale * math.sqrt(profile.clump_share * volatility / profile.clumps / 2)
            self._own_x += rng.expovariate(1 / size) * (1 if rng.random() < .5 else -1)
        self.x = self._own_x + (self._leader.x if self._leader else 0.)
        if profile.wiggle:
            self._sway(dt)

    def _sway(self, dt):
        # type: (float) -> None
        profile = self._profile
        self._own_swing += (-self._own_swing * min(dt / profile.wiggle_time, 1.)
                            + profile.wiggle * math.sqrt(2 * dt / profile.wiggle_time) * self._rng.gauss(0, 1))
        self.swing = .8 * self._leader.swing + .6 * self._own_swing if self._leader else self._own_swing

    def _change_mood(self):
        # type: () -> None
        """Step volatility by a second: two slow moods and the news, or the leader's."""
        self._mood_due = self.now + 1
        if self._leader:
            self.volatility = self._leader.volatility
            return
        rng, moods = self._rng, self._moods
        for i, memory in enumerate((2400., 39600.)):
            moods[i] += -moods[i] / memory + math.sqrt(2 / memory) * rng.gauss(0, 1)
        self._news *= 1 - 1 / NEWS_MEMORY
        if rng.random() < NEWS_A_DAY / 86400:
            self._news += rng.expovariate(1 / NEWS_SIZE)
        self.volatility = math.exp(.5 * moods[0] + .5 * moods[1] - .25) * (1 + self._news)


class Flow(object):
    """Everybody who trades one contract: asks to be called at ``due`` and does one thing then.

    ``level`` is the price in ticks at ``underlying.x`` = 0; ``unit`` the contracts that a dollar buys; ``size``
    scales all sizes, for contracts in which less is traded.
    """

    def __init__(self, exchange, symbol, underlying, profile, rng, level, unit=1., size=1.):
        # type: (Any, str, Underlying, Profile, random.Random, float, float, float) -> None
        self.symbol = symbol
        self.due = underlying.now
        self._exchange = exchange
        self._underlying = underlying
        self._profile = profile
        self._rng = rng
        self._level = level
        self._row = exchange.instruments[symbol].row
        self._lot = int(exchange.instruments[symbol].lot)
        self._unit = unit * size
        self._now = underlying.now
        self._fast = self._slow = 0.            # excitation, takers a second
        self._pull = 0.                         # bps that takers pulled the price away for a while
        self._premium = PREMIUM_MEAN            # bps
        self._parents = [[1, 0], [-1, 0]]       # [sign, children left]
        self._seen_at = []      # type: List[float]  # times of the last fair prices
        self._seen = []         # type: List[float]  # those fair prices, in ticks
        self._fair = level      # ticks, fractional
        self._hold = max(0., HOLD * level * 1e-4 - .5)      # ticks
        self._grain = max(1., GRAIN * level * 1e-4)         # ticks
        # the order of each rung, bids first, then asks
        self._makers = [[None] * (2 * len(RUNGS)) for _ in range(MAKERS)]  # type: List[List[Any]]
        self._rungs = [1] * MAKERS              # the rung that each maker renewed last
        self._touch_sizes = [_lognormal(rng, profile.touch_size, .4) for _ in range(MAKERS)]
        self._randoms = []      # type: List[Any]  # random orders, oldest first
        self._far = collections.OrderedDict()  # type: Dict[int, Any]  # price in ticks -> far order
        self._slow_due = self._now + SLOW_EVERY
        self._rates = (0., 0., 0., 0., 0.)
        self._widths = _widths(RUNGS)

    # Life

    def start(self):
        # type: () -> None
        """Fill the empty book, and trade once so that there is a last price."""
        self._look(self._now)
        self._keep_far()
        for number in range(MAKERS):
            self._queue(number, self._fair)
            for rung in range(1, len(RUNGS)):
                self._step_on(number, rung, self._fair)
        for _ in range(int(self._profile.randoms / self._profile.forget)):
            self._random_limit()
        self._exchange.take(self.symbol, self._rng.choice(('Buy', 'Sell')), self._contracts(TAKER_SIZE))
        self._plan()

    def act(self, now):
        # type: (float) -> None
        """Do what is due at ``now`` (Unix seconds, not before :attr:`due`), and choose when to act next."""
        decay = now - self._now
        self._now = now
        if self._row.get('state') != 'Open':
            self.due = now + CLOSED_LOOK
            return
        self._fast *= math.exp(-FAST_DECAY * decay)
        self._slow *= math.exp(-SLOW_DECAY * decay)
        self._pull *= math.exp(-decay / IMPACT_MEMORY)
        self._look(now)
        if now >= self._slow_due:
            self._slow_due = now + SLOW_EVERY
            self._drift(SLOW_EVERY)
            self._keep_far()
        takers, informed, makers, randoms, total = self._rates
        pick = self._rng.random() * total
        if pick < takers:
            # The excitation has decayed since the rate was set: what is missing is nobody.
            if pick < takers - self._excited + self._fast + self._slow:
                self._taker()
        elif pick < informed:
            self._informed()
        elif pick < makers:
            self._refresh(self._rng.randrange(MAKERS))
        elif pick < randoms:
            self._random_limit()
        else:
            self._random_cancel()
        self._plan()

    def index(self):
        # type: () -> float
        """Return the price of the underlying in ticks of this contract."""
        return self._level * math.exp(self._underlying.x * 1e-4)

    def _drift(self, dt):
        # type: (float) -> None
        """Let the contract's premium over its index wander; funding lives on it."""
        self._premium += ((PREMIUM_MEAN - self._premium) * dt / PREMIUM_MEMORY
                          + PREMIUM_SPREAD * math.sqrt(2 * dt / PREMIUM_MEMORY) * self._rng.gauss(0, 1))

    def _look(self, now):
        # type: (float) -> None
        """Work out the fair price of the contract and remember it for those who see it late."""
        bps = self._underlying.x + self._underlying.swing + self._premium + self._pull
        self._fair = self._level * math.exp(bps * 1e-4)
        self._seen_at.append(now)
        self._seen.append(self._fair)
        if len(self._seen) > 2000:
            del self._seen[:1000], self._seen_at[:1000]

    def _plan(self):
        # type: () -> None
        """Set the rates from the state as it is now, cumulated, and draw the time of the next event."""
        profile = self._profile
        pace = self._underlying.volatility ** .7
        calm = min(max(pace, .5), 3.)
        self._excited = self._fast + self._slow
        takers = profile.takers * pace + self._excited
        bid, _, ask, _ = self._exchange.touch(self.symbol)
        wrong = 0.
        if bid is not None and ask is not None:
            wrong = max(abs(self._fair - (bid + ask) / 2.) / self._fair * 1e4 - profile.edge, 0.)
        informed = takers + profile.informed * wrong
        makers = informed + MAKERS * profile.refresh * calm
        randoms = makers + profile.randoms * calm
        total = randoms + profile.forget * len(self._randoms)
        self._rates = (takers, informed, makers, randoms, total)
        self.due = self._now + self._rng.expovariate(total)

    # Takers

    def _taker(self):
        # type: () -> None
        rng = self._rng
        parent = self._parents[0 if rng.random() < .5 else 1]
        if parent[1] <= 0:
            parent[0] = 1 if rng.random() < .5 else -1
            parent[1] = min(int(rng.paretovariate(PARENT_TAIL)), PARENT_CAP)
        parent[1] -= 1
        dollars = min(_lognormal(rng, TAKER_SIZE, TAKER_SPREAD), SIZE_CAP)
        quantity = self._contracts(dollars, rng.random() < .5)
        if self._exchange.take(self.symbol, 'Buy' if parent[0] > 0 else 'Sell', quantity):
            self._pull += parent[0] * min(IMPACT * math.sqrt(dollars / TAKER_SIZE), IMPACT_CAP)
            self._excite()

    def _informed(self):
        # type: () -> None
        rng = self._rng
        bid, _, ask, _ = self._exchange.touch(self.symbol)
        if bid is None or ask is None:
            return
        buys = self._fair > (bid + ask) / 2.
        dollars = min(_lognormal(rng, self._profile.informed_size, INFORMED_SPREAD), SIZE_CAP)
        limit = int(math.floor(self._fair)) if buys else int(math.ceil(self._fair))
        quantity = self._contracts(dollars, rng.random() < .5)
        if self._exchange.take(self.symbol, 'Buy' if buys else 'Sell', quantity, limit):
            self._excite()

    def _excite(self):
        # type: () -> None
        self._fast += FAST * FAST_DECAY
        self._slow += SLOW * SLOW_DECAY

    # Makers

    def _refresh(self, number):
        # type: (int) -> None
        """Let one maker look: pull what stands wrong, renew both touch orders and one rung of each side."""
        rng = self._rng
        at = bisect.bisect_left(self._seen_at, self._now - rng.expovariate(1 / self._profile.lag))
        view = self._seen[min(at, len(self._seen) - 1)] * (1 + NOISE * 1e-4 * rng.gauss(0, 1))
        high, low = view + self._hold, view - self._hold
        orders, half = self._makers[number], len(RUNGS)
        for i, order in enumerate(orders):
            if order is not None and (order.price_ticks > high if i < half else order.price_ticks < low):
                self._pull_order(orders, i)
        self._queue(number, view)
        if rng.random() >= SECOND_THOUGHTS:
            self._rungs[number] = rng.randrange(1, half)
        self._step_on(number, self._rungs[number], view)

    def _queue(self, number, view):
        # type: (int, float) -> None
        """Renew one maker's bid and ask at the touch."""
        orders, half, rng = self._makers[number], len(RUNGS), self._rng
        bid, ask = self._touch_prices(view)
        for i, side, price in ((0, 'Buy', bid), (half, 'Sell', ask)):
            before = orders[i]
            if before is None or before.price_ticks != price or not before.leaves or rng.random() >= KEEP_TOUCH:
                self._renew(orders, i, side, price, _lognormal(rng, self._touch_sizes[number], TOUCH_SPREAD))

    def _step_on(self, number, rung, view):
        # type: (int, int, float) -> None
        """Renew one maker's bid and ask on a rung of his ladder around ``view`` (ticks), somewhere in its width."""
        orders, half, rng = self._makers[number], len(RUNGS), self._rng
        near, far = self._widths[rung]
        median = RUNG_MEDIAN * self._profile.depth * (far - near) / MAKERS
        for i, side, sign in ((rung, 'Buy', -1), (rung + half, 'Sell', 1)):
            before = orders[i]
            if before is not None and before.leaves and rng.random() < KEEP_RUNG:
                if near <= sign * (before.price_ticks / view - 1) * 1e4 <= far:
                    continue
            price = view * (1 + sign * rng.uniform(near, far) * 1e-4)
            price = int(price) if side == 'Buy' else int(math.ceil(price))
            self._renew(orders, i, side, price, _lognormal(rng, median, RUNG_SPREAD))

    def _renew(self, orders, i, side, price, dollars):
        # type: (List[Any], int, str, int, float) -> None
        self._pull_order(orders, i)
        orders[i] = self._rest(side, price, dollars)

    def _touch_prices(self, view):
        # type: (float) -> Tuple[int, int]
        """Where a maker queues: at the touch while that is about right, else beside his view, never across the book."""
        bid, _, ask, _ = self._exchange.touch(self.symbol)
        low = int(math.floor(view))
        high = low + 1
        if bid is None or ask is None:
            return low, high
        hold = self._hold
        if bid - hold <= view <= ask + hold:
            if ask - bid == 1:
                return bid, ask
            if view - bid <= min(hold, ask - view):
                return bid, bid + 1
            if ask - view <= min(hold, view - bid):
                return ask - 1, ask
        return min(low, ask - 1), max(high, bid + 1)

    def _pull_order(self, orders, i):
        # type: (List[Any], int) -> None
        order = orders[i]
        if order is not None:
            orders[i] = None
            if order.leaves:
                self._exchange.withdraw(order)

    # Random and far orders

    def _random_limit(self):
        # type: () -> None
        rng = self._rng
        bid, _, ask, _ = self._exchange.touch(self.symbol)
        if bid is None or ask is None:
            return
        buys = rng.random() < .5
        if ask - bid > 1 and rng.random() < .5:
            price = rng.randint(bid + 1, ask - 1)
        else:
            steps = int(min(rng.paretovariate(RANDOM_TAIL) - 1, 1e9))
            away = min((steps + rng.random()) * self._grain, RANDOM_REACH * self._level * 1e-4) if steps else 0
            price = bid - int(away) if buys else ask + int(away)
        dollars = min(_lognormal(rng, RANDOM_SIZE, RANDOM_SPREAD), SIZE_CAP)
        order = self._rest('Buy' if buys else 'Sell', price, dollars, rng.random() < .5)
        if order is not None:
            self._randoms.append(order)

    def _random_cancel(self):
        # type: () -> None
        """Withdraw a random order, mostly a young one; one that has traded meanwhile is only forgotten."""
        rng, orders = self._rng, self._randoms
        if not orders:
            return
        reach = min(12, len(orders)) if rng.random() < .6 else len(orders)
        order = orders.pop(len(orders) - 1 - rng.randrange(reach))
        if order.leaves:
            self._exchange.withdraw(order)

    def _keep_far(self):
        # type: () -> None
        """Stand far orders on round prices from the makers' last rung to a fifth of the price; drop those beyond."""
        fair = self._fair
        step = _round_number(fair * FAR_REACH / FAR_STEPS)
        for price, order in list(self._far.items()):
            if order.leaves and abs(price - fair) > 1.2 * FAR_REACH * fair:
                self._exchange.withdraw(order)
            if not order.leaves:
                del self._far[price]
        reach = int(FAR_REACH * fair / step)
        here = int(fair / step)
        for n in range(here - reach, here + reach + 2):
            price = n * step
            away = abs(price - fair) / fair * 1e4
            if price <= 0 or away < RUNGS[-1] or price in self._far:
                continue
            dollars = self._profile.depth * (away / 100) ** -1.2 * step / fair * 1e4
            dollars *= _lognormal(self._rng, RUNG_MEDIAN, RUNG_SPREAD)
            order = self._rest('Buy' if price < fair else 'Sell', price, dollars * (BID_WEIGHT if price < fair else 1))
            if order is not None:
                self._far[price] = order

    # Sizes

    def _rest(self, side, price, dollars, rounded=False):
        # type: (str, int, float, bool) -> Any
        if price < 1:
            return None
        return self._exchange.rest(self.symbol, side, price, self._contracts(dollars, rounded))

    def _contracts(self, dollars, rounded=False):
        # type: (float, bool) -> int
        """Return dollars' worth in whole lots, at least one; ``rounded`` to one digit, as people do."""
        contracts = dollars * self._unit
        if rounded and contracts > 0:
            digit = 10 ** math.floor(math.log10(contracts))
            contracts = round(contracts / digit) * digit
        return max(int(round(contracts / self._lot)), 1) * self._lot


def _lognormal(rng, median, spread):
    # type: (random.Random, float, float) -> float
    return median * math.exp(spread * rng.gauss(0, 1))


def _widths(rungs):
    # type: (Tuple[int, ...]) -> List[Tuple[float, float]]
    """Return for each rung the bps from which to which its orders stand: the rungs share out the ladder."""
    edges = [(a + b) / 2. for a, b in zip(rungs, rungs[1:])] + [1.15 * rungs[-1]]
    return [(edges[i - 1] if i else 0., edge) for i, edge in enumerate(edges)]


def _round_number(least):
    # type: (float) -> int
    """Return the least of 1, 2, 5, 10, 20, 50, ... that is not below ``least``."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= least:
                return digit * power
        power *= 10
