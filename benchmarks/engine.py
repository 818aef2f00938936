"""How many orders the exchange's engine takes a second by itself, and whether a deep book slows it down.

    python benchmarks/engine.py [--rounds N] [--levels N ...] [--quick] [--json FILE]

No socket and no JSON: a request goes in as a dict, and after each one the changed rows of all tables are drained as
dicts, as the server does.  So each figure holds the checks of the request, the book, the margin of every account that
is touched, and the public and private rows.  The clock of the engine runs along, with all that falls due on it.

    place      a post-only limit order of a customer comes to rest, at a price of the book or at one of its own
    amend      one of 100 resting orders gets another price
    cancel     one of 100 resting orders is canceled
    match      a market order of one customer fills a resting one of another, with the margin of both

The book has --levels price levels of the market on each side.  The depths take turns; seconds are those of this
process's processor, so that other work on the machine does not count.  Every answer and the tables at the end are
checked.
"""
import random
import statistics
import sys
import time

import common
from market_maker.server import collector
from market_maker.simulator.exchange import Exchange
from market_maker.simulator.instruments import catalogue

NOW = 1777784515.0      # 2026-05-03T05:01:55Z
STEP = 1 / 32768.0      # seconds of the engine's clock from one request to the next
BATCH = 100             # orders between two measured acts of another kind: at most 200 may be open
BID, ASK = 600000, 600101   # ticks of the market's best prices; what is between them belongs to the customers
DEEPEST = 5000          # ticks below the best bid where customers' orders still come to rest
TARGETS = {'place': 30000, 'amend': 30000, 'cancel': 30000, 'match': 12000}   # a second
GROWTH = 1.3            # of the time of any of them, from the shallowest book to the deepest


class World(object):
    """An exchange with a book of ``levels`` levels on each side, two customers, and a seeded flow of their requests."""

    def __init__(self, levels, seed=1):
        self.rng = random.Random(seed)
        self.exchange = exchange = Exchange(catalogue(None, ('XBTUSD',)), NOW, random.Random(seed))
        self.instrument = exchange.instruments['XBTUSD']
        self.now = NOW
        self.count = 0
        self.levels = levels
        exchange.set_index('XBTUSD', 60005.0)
        for number in range(levels):
            exchange.rest('XBTUSD', 'Buy', BID - number, 100000)
            exchange.rest('XBTUSD', 'Sell', ASK + number, 100000)
        exchange.set_mark('XBTUSD', 60005.0)
        self.maker = exchange.open_account('maker', 'secret', {'XBt': 10 ** 11})
        self.taker = exchange.open_account('taker', 'secret', {'XBt': 10 ** 11})
        self.selling = False
        exchange.drain()

    def price(self):
        """Return the price of a bid that rests: as often inside the spread as at the depth of a small book or of a
        deep one.
        """
        reach = self.rng.choice((10, 1000, DEEPEST))
        return self.instrument.price_of(BID + 50 - self.rng.randrange(reach))

    def name(self):
        """Return the next clOrdID."""
        self.count += 1
        return 'mm_bitmex_{:022d}'.format(self.count)

    def timed(self, act, requests):
        """Do ``act`` with each request, the engine's clock moved on before and the changes drained after each; return
        (answers, changes of the last one, processor seconds).
        """
        exchange, now = self.exchange, self.now
        answers = []
        began = time.process_time()
        for account, fields in requests:
            now += STEP
            exchange.advance(now)
            answers.append(act(account, fields))
            changes = exchange.drain()
        spent = time.process_time() - began
        self.now = now
        return answers, changes, spent

    def quiet_cycle(self):
        """Place, amend and cancel a batch; return {act: processor seconds}."""
        exchange, maker = self.exchange, self.maker
        wanted = [(maker, {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': self.price(),
                           'ordType': 'Limit', 'execInst': 'ParticipateDoNotInitiate', 'clOrdID': self.name()})
                  for _ in range(BATCH)]
        placed, changes, place = self.timed(exchange.place, wanted)
        assert [row['price'] for row in placed] == [fields['price'] for _, fields in wanted], placed[0]
        assert all(row['ordStatus'] == 'New' for row in placed), placed[0]
        tables = [change.table for change in changes]
        assert {'order', 'execution', 'margin', 'orderBookL2'} <= set(tables), tables
        moves = []
        for row in placed:
            price = self.price()
            while price == row['price']:
                price = self.price()
            moves.append((maker, {'orderID': row['orderID'], 'price': price}))
        amended, changes, amend = self.timed(exchange.amend, moves)
        assert [row['price'] for row in amended] == [fields['price'] for _, fields in moves], amended[0]
        assert 'order' in [change.table for change in changes], changes
        canceled, changes, cancel = self.timed(exchange.cancel,
                                               [(maker, {'orderID': row['orderID']}) for row in placed])
        assert all(rows[0]['ordStatus'] == 'Canceled' and len(rows) == 1 for rows in canceled), canceled[0]
        assert 'order' in [change.table for change in changes], changes
        return {'place': place, 'amend': amend, 'cancel': cancel}

    def busy_cycle(self):
        """Let one customer rest a batch inside the spread and the other take it; return {'match': seconds}."""
        exchange = self.exchange
        self.selling = not self.selling   # so that positions come back to nothing
        resting, taking = ('Buy', 'Sell') if self.selling else ('Sell', 'Buy')
        prices = [self.instrument.price_of(self.rng.randrange(BID + 1, ASK)) for _ in range(BATCH)]
        for price in prices:
            row = exchange.place(self.maker, {'symbol': 'XBTUSD', 'side': resting, 'orderQty': 100, 'price': price,
                                              'clOrdID': self.name()})
            assert row['ordStatus'] == 'New', row
        exchange.drain()
        taken, changes, match = self.timed(
            exchange.place, [(self.taker, {'symbol': 'XBTUSD', 'side': taking, 'orderQty': 100, 'ordType': 'Market',
                                           'clOrdID': self.name()}) for _ in range(BATCH)])
        # avgPx is derived from a value in whole satoshis: for 100 contracts it is good to less than half a dollar
        for row, price in zip(taken, sorted(prices, reverse=resting == 'Buy')):
            assert row['ordStatus'] == 'Filled' and abs(row['avgPx'] - price) < 0.5, (row, price)
        for account in (self.maker, self.taker):
            tables = {change.table for change in changes if change.account_id == account.id}
            assert {'order', 'execution', 'position', 'margin'} <= tables, tables
        return {'match': match}

    def check(self):
        """Check that all that was counted adds up."""
        held = [account.positions['XBTUSD'].quantity for account in (self.maker, self.taker)]
        assert sum(held) == 0 and abs(held[0]) <= BATCH * 100, held
        assert not self.maker.orders and not self.taker.orders, (self.maker.orders, self.taker.orders)
        for side in ('Buy', 'Sell'):
            assert self.exchange.depth('XBTUSD', side, 0) == [
                (BID - number if side == 'Buy' else ASK + number, 100000) for number in range(self.levels)], side


def measure(depths, rounds, cycles):
    """Return {act: {depth: [acts a second, one value a round]}}."""
    collector.spare()   # as the exchange's own process does
    worlds = [(depth, World(depth)) for depth in depths]
    for _, world in worlds:
        world.quiet_cycle()
        world.busy_cycle()
    figures = {}
    for number in range(rounds):
        for depth, world in worlds if number % 2 else worlds[::-1]:
            sums = {}
            for _ in range(cycles):
                for act, spent in dict(world.quiet_cycle(), **world.busy_cycle()).items():
                    sums[act] = sums.get(act, 0.0) + spent
            for act, spent in sums.items():
                figures.setdefault(act, {}).setdefault(depth, []).append(cycles * BATCH / spent)
    for _, world in worlds:
        if world.selling:
            world.busy_cycle()
        world.check()
    return figures


def table(figures, depths):
    """Return the lines of a Markdown table, the same numbers as a dict, and the ratios."""
    lines = ['| a second (median, best) | ' + ' | '.join('{:,} levels'.format(depth) for depth in depths)
             + ' | growth of the time | target |', '| --- |' + ' --- |' * (len(depths) + 2)]
    numbers, ratios = {}, {}
    for act in ('place', 'amend', 'cancel', 'match'):
        found = numbers[act] = {'per_second': {str(depth): statistics.median(figures[act][depth]) for depth in depths},
                                'best': {str(depth): max(figures[act][depth]) for depth in depths}}
        # round by round, for the machine may be slower in one round than in another
        found['growth'] = statistics.median(shallow / deep for shallow, deep in zip(figures[act][depths[0]],
                                                                                    figures[act][depths[-1]]))
        ratios['1 / growth, ' + act] = 1 / found['growth']
        cells = ['{:,.0f}, {:,.0f}'.format(found['per_second'][str(depth)], found['best'][str(depth)])
                 for depth in depths]
        lines.append('| {} | {} | {:.2f}x | {} |'.format(
            act, ' | '.join(cells), found['growth'],
            '>= {:,}, <= {}x'.format(TARGETS[act], GROWTH)))
    return lines, numbers, ratios


def main(argv=None):
    """Run the benchmark and print its table."""
    parser = common.parser(__doc__, 9, baseline=False)
    parser.add_argument('--cycles', type=int, default=30, help='batches of {} in a round'.format(BATCH))
    parser.add_argument('--levels', type=int, nargs='+', default=[10, 10000], help='levels on each side of the book')
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.cycles = 3, 5
    return common.finish(options, 'engine', *table(measure(options.levels, options.rounds, options.cycles),
                                                   options.levels))


if __name__ == '__main__':
    sys.exit(main())
