"""What the simulated market looks like in numbers, beside what was measured on recorded ones.

    python benchmarks/market_table.py                                    # two hours of XBTUSD as it is today, seed 1
    python benchmarks/market_table.py --price 8500 --tick 0.5 --lot 1    # as in the recordings of 2019
    python benchmarks/market_table.py --market lively --hours 0.5 --seeds 1 2 3 --out /tmp/market

Prints one row a statistic and one column a seed.  With --out it also writes, for each seed, the trades, the quotes and
(with --book) the rows of orderBookL2 as CSV files in BitMEX's columns, so that anybody can measure them again.
"""
import argparse
import bisect
import collections
import csv
import math
import os
import random
import sys
import time

from market_maker.simulator import feed, instruments, market
from market_maker.simulator.exchange import Exchange

START = 1777784400.0    # 2026-05-03 05:00 UTC
WAIT = 20               # seconds that a fresh bid and ask are given to trade

# statistic -> lowest and highest of the recordings of 2019 to 2022 (trades of 28 s to 6 minutes, quotes up to 24 hours)
RECORDED = collections.OrderedDict([
    ('trade rows a second', (.6, 27)),
    ('taker orders a second', (.37, 3.7)),
    ('rows of a taker order', (1.6, 8)),
    ('contracts a second', (4400, 104000)),
    ('Fano factor of taker orders, 1 s', (2.2, 7)),
    ('Fano factor of taker orders, 10 s', (4.1, 25)),
    ('taker order, median contracts', (500, 4400)),
    ('taker order, sd of log', (1.7, 3.5)),
    ('memory of side, lag 1', (0, .46)),
    ('memory of side, lag 10', (-.05, .31)),
    ('changes of the touch a second', (2.4, 20.6)),
    ('moves of a best price a second', (.02, .48)),
    ('spread is one tick, share of time', (.97, 1)),
    ('spread, mean in bps', (.06, 1.2)),
    ('size at the touch, median', (68000, 578000)),
    ('taker trades at the price of the last', (.45, .68)),
    ('taker moves the touch', (.07, .42)),
    ('half spread that takers pay, ticks', (.51, 1.2)),
    ('price after a taker, 1 s, bps', (.13, .66)),
    ('price after a taker, 10 s, bps', (.27, 1.8)),
    ('passive fill after 1 s, bps', (-.63, .4)),
    ('passive fill after 10 s, bps', (-.63, -.16)),
    ('volatility over 10 s, bps', (.5, 6.8)),
    ('volatility over 60 s, bps', (4.6, 18.7)),
    ('bid and ask 2 bps away both trade in 20 s', (.004, .038)),
    ('bid and ask 5 bps away both trade in 20 s', (.0002, .013)),
    ('seconds of processor for a simulated hour', (None, None)),
])

TRADE_COLUMNS = 'timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional'
QUOTE_COLUMNS = 'timestamp,symbol,bidSize,bidPrice,askPrice,askSize'
BOOK_COLUMNS = 'timestamp,symbol,side,price,size,id,action'

# what one order took: price and last are those of its first and last trade, worth is the sum of price times size
Taker = collections.namedtuple('Taker', 'time sign size price last worth')


def simulate(options, seed):
    """Return (trade rows, quote rows, book rows, seconds of processor) of one history."""
    listed = instruments.catalogue(symbols=[options.symbol])
    instrument = listed[options.symbol]
    instrument.set_grid(options.tick or instrument.tick, options.lot or instrument.lot)
    if options.price:
        instrument.park(options.price)
    exchange = Exchange(listed, START, random.Random(seed))
    exchange.skipped = frozenset(('orderBookL2_25', 'orderBook10'))
    street = market.make(options.market, [options.symbol], seed, prices={options.symbol: options.price})
    tables = collections.defaultdict(list)
    began = time.process_time()
    street.start(exchange, START)
    for step in range(int(options.hours * 3600 / options.step) + 1):
        street.step(START + step * options.step)
        for change in exchange.drain():
            if change.symbol == options.symbol and change.table in ('trade', 'quote', 'orderBookL2'):
                if change.table != 'orderBookL2':
                    tables[change.table].extend(change.rows)
                elif options.book:
                    action = change.action if step else 'partial'
                    tables['book'].extend(dict(row, action=action) for row in change.rows)
    spent = time.process_time() - began
    # While the first book is laid a side is empty; nobody sees that.
    quotes = [row for row in tables['quote'] if row.get('bidPrice') and row.get('askPrice')]
    return tables['trade'], quotes, tables['book'], spent


def measure(trades, quotes, tick, hours, spent):
    """Return the statistics of RECORDED as a dict; rows are those of the tables trade and quote."""
    seconds = hours * 3600
    takers = taker_orders(trades)
    fields = ('bidPrice', 'askPrice', 'bidSize', 'askSize')
    touches = [(feed.seconds(row['timestamp']) - START,) + tuple(row[field] for field in fields)
               for row in quotes]
    touches = [touch for touch, after in zip(touches, touches[1:] + [None]) if after is None or touch[0] < after[0]]
    sizes = sorted(taker.size for taker in takers)
    logs = [math.log(size) for size in sizes]
    spans = [after[0] - touch[0] for touch, after in zip(touches, touches[1:])] + [seconds - touches[-1][0]]
    wide = [(ask - bid) / tick for _, bid, ask, _, _ in touches]
    found = {
        'trade rows a second': len(trades) / seconds,
        'taker orders a second': len(takers) / seconds,
        'rows of a taker order': len(trades) / len(takers),
        'contracts a second': sum(sizes) / seconds,
        'Fano factor of taker orders, 1 s': fano(takers, 1, seconds),
        'Fano factor of taker orders, 10 s': fano(takers, 10, seconds),
        'taker order, median contracts': sizes[len(sizes) // 2],
        'taker order, sd of log': deviation(logs),
        'memory of side, lag 1': memory(takers, 1),
        'memory of side, lag 10': memory(takers, 10),
        'changes of the touch a second': len(touches) / seconds,
        'moves of a best price a second': sum(a[1:3] != b[1:3] for a, b in zip(touches, touches[1:])) / seconds,
        'spread is one tick, share of time': sum(span for span, ticks in zip(spans, wide) if ticks < 1.5) / sum(spans),
        'spread, mean in bps': sum(span * 1e4 * (ask / bid - 1) for span, (_, bid, ask, _, _) in zip(spans, touches))
                               / sum(spans),
        'size at the touch, median': middle([size for touch in touches for size in touch[3:]]),
        'seconds of processor for a simulated hour': spent / hours,
    }
    at = [touch[0] for touch in touches]

    def mid(second):
        touch = touches[max(bisect.bisect_right(at, second) - 1, 0)]
        return (touch[1] + touch[2]) / 2

    found.update(consequences(takers, touches, at, mid, tick, seconds))
    for step in (10, 60):
        moves = [1e4 * math.log(mid(second + step) / mid(second)) for second in range(0, int(seconds) - step, step)]
        found['volatility over {} s, bps'.format(step)] = math.sqrt(sum(move * move for move in moves) / len(moves))
    low, high = extremes(trades, int(seconds))
    for bps in (2, 5):
        both = 0
        starts = range(0, int(seconds) - WAIT)
        for second in starts:
            middle_price = mid(second)
            both += (min(low[second:second + WAIT]) <= middle_price * (1 - bps * 1e-4)
                     and max(high[second:second + WAIT]) >= middle_price * (1 + bps * 1e-4))
        found['bid and ask {} bps away both trade in 20 s'.format(bps)] = both / len(starts)
    return found


def consequences(takers, touches, at, mid, tick, seconds):
    """Return what takers pay and what follows them, on average; in bps of the price where no other unit is named."""
    sums = collections.defaultdict(list)
    for before, taker in zip(takers, takers[1:]):
        sums['taker trades at the price of the last'].append(taker.price == before.last)
        place = bisect.bisect_left(at, taker.time) - 1
        if place < 0 or taker.time > seconds - 10:
            continue
        _, bid, ask = touches[place][:3]
        middle_price = (bid + ask) / 2
        # recorded books were told every tenth of a second
        after = touches[bisect.bisect_right(at, taker.time + .15) - 1]
        sums['taker moves the touch'].append(after[2] > ask if taker.sign > 0 else after[1] < bid)
        paid = taker.worth / taker.size
        sums['half spread that takers pay, ticks'].append(taker.sign * (paid - middle_price) / tick)
        for wait in (1, 10):
            later = mid(taker.time + wait)
            sums['price after a taker, {} s, bps'.format(wait)].append(
                taker.sign * (later - middle_price) / middle_price * 1e4)
            sums['passive fill after {} s, bps'.format(wait)].append(
                taker.sign * (taker.price - later) / middle_price * 1e4)
    return {name: sum(values) / len(values) for name, values in sums.items()}


def taker_orders(trades):
    """Return what one order took as one Taker: rows of the same time and side."""
    takers = []
    for row in trades:
        when, sign = feed.seconds(row['timestamp']) - START, 1 if row['side'] == 'Buy' else -1
        if takers and takers[-1][:2] == (when, sign):
            before = takers[-1]
            takers[-1] = before._replace(size=before.size + row['size'], last=row['price'],
                                         worth=before.worth + row['size'] * row['price'])
        else:
            takers.append(Taker(when, sign, row['size'], row['price'], row['price'], row['size'] * row['price']))
    return takers


def extremes(trades, seconds):
    """Return for each second the lowest price that a seller took and the highest that a buyer took."""
    low, high = [float('inf')] * seconds, [0.] * seconds
    for row in trades:
        second = int(feed.seconds(row['timestamp']) - START)
        if second < seconds:
            if row['side'] == 'Sell':
                low[second] = min(low[second], row['price'])
            else:
                high[second] = max(high[second], row['price'])
    return low, high


def fano(takers, window, seconds):
    """Return variance over mean of the number of orders in windows of so many seconds; 1 without clustering."""
    counts = [0] * int(seconds / window)
    for taker in takers:
        if taker.time < len(counts) * window:
            counts[int(taker.time / window)] += 1
    return deviation(counts) ** 2 / (sum(counts) / len(counts))


def memory(takers, lag):
    """Return the correlation of a taker's side with that of the one ``lag`` orders later."""
    signs = [taker.sign for taker in takers]
    mean = sum(signs) / len(signs)
    return (sum((a - mean) * (b - mean) for a, b in zip(signs, signs[lag:]))
            / sum((sign - mean) ** 2 for sign in signs))


def deviation(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def middle(values):
    return sorted(values)[len(values) // 2]


def write(folder, name, rows, columns):
    """Write rows as a CSV file of these columns and return its path."""
    path = os.path.join(folder, name)
    with open(path, 'w') as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows([[row.get(column, '') for column in columns] for row in rows])
    return path


def print_table(columns, options):
    """Print a column a seed, and last what was recorded."""
    ranges = {name: '' if low is None else '{:g} .. {:g}'.format(low, high) for name, (low, high) in RECORDED.items()}
    heads = ['seed {}'.format(seed) for seed in options.seeds]
    if options.markdown:
        print('| | {} | recorded |'.format(' | '.join(heads)))
        print('| --- |' + ' --- |' * (len(heads) + 1))
        for name in RECORDED:
            print('| {} | {} | {} |'.format(name, ' | '.join('{:.3g}'.format(column[name]) if abs(column[name]) < 1000
                                                             else '{:,.0f}'.format(column[name])
                                                             for column in columns), ranges[name]))
        return
    print('{:<44}'.format('') + ''.join('{:>12}'.format(head) for head in heads) + '    recorded')
    for name in RECORDED:
        line = '{:<44}'.format(name) + ''.join('{:>12.4g}'.format(column[name]) for column in columns)
        print((line + '    ' + ranges[name]).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--market', choices=('simulated', 'lively'), default='simulated')
    parser.add_argument('--symbol', default='XBTUSD')
    parser.add_argument('--hours', type=float, default=2.)
    parser.add_argument('--seeds', type=int, nargs='+', default=[1])
    parser.add_argument('--price', type=float, help='where the price starts (default: as the exchange lists it)')
    parser.add_argument('--tick', type=float, help='price step (default: as the exchange lists it)')
    parser.add_argument('--lot', type=int, help='contracts in a lot (default: as the exchange lists it)')
    parser.add_argument('--step', type=float, default=.02, help='seconds between two looks at the market (0.02)')
    parser.add_argument('--out', help='folder for the CSV files')
    parser.add_argument('--book', action='store_true', help='write the rows of orderBookL2 too')
    parser.add_argument('--markdown', action='store_true', help='print the table as Markdown')
    options = parser.parse_args()
    columns = []
    for seed in options.seeds:
        trades, quotes, book, spent = simulate(options, seed)
        tick = options.tick or instruments.catalogue(symbols=[options.symbol])[options.symbol].tick
        columns.append(measure(trades, quotes, tick, options.hours, spent))
        if options.out:
            os.makedirs(options.out, exist_ok=True)
            stem = '{}_{}_seed{}_'.format(options.market, options.symbol.lower(), seed)
            for name, rows, fields in (
                    ('trade', trades, TRADE_COLUMNS), ('quote', quotes, QUOTE_COLUMNS),
                    ('orderBookL2', book, BOOK_COLUMNS)):
                if rows:
                    print(write(options.out, stem + name + '.csv', rows, fields.split(',')), file=sys.stderr)
    print_table(columns, options)
    return 0


if __name__ == '__main__':
    sys.exit(main())
