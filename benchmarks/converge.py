"""What one pass of the loop costs in processor time, from the look at the market to the decision what to send.

    python benchmarks/converge.py [--baseline-python PATH] [--rounds N] [--pairs N ...] [--quick] [--json FILE]

The bot quotes on a connector in memory that answers at once, so that the pass alone is measured.  Contenders take
turns, each in a process of its own: ``ours``, and ``classic``, bitmex-market-maker 1.6.1 run by the Python that
--baseline-python names (python -m venv DIR; DIR/bin/pip install bitmex-market-maker==1.6.1 websocket-client==0.56).

    steady     the touch has moved by one tick, inside the tolerance: a pass between two status lines, nothing to send
    lines      the same with its status lines (written to nowhere)
    amended    the touch has jumped: every order is amended

Every pass is checked: a steady one sends nothing, an amended one sends one amend an order.  Figures are medians over
the rounds.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

WORKER = r'''
import logging, os, sys, time
kind, pairs = sys.argv[1], int(sys.argv[2])
sys.argv[1:] = []
out, sys.stdout = sys.stdout, open(os.devnull, 'w')
sys.stderr = open(os.devnull, 'w') if kind == 'classic' else sys.stderr

INSTRUMENT = {'symbol': 'XBTUSD', 'state': 'Open', 'tickSize': 0.5, 'tickLog': 1, 'lotSize': 1, 'settlCurrency': 'XBt',
              'bidPrice': 50000.0, 'midPrice': 50000.5, 'askPrice': 50001.0, 'lastPrice': 50000.0, 'markPrice': 50000.4,
              'indicativeSettlePrice': 50000.2, 'isInverse': True, 'isQuanto': False, 'multiplier': -100000000,
              'underlyingToSettleMultiplier': -100000000, 'quoteToSettleMultiplier': None, 'initMargin': 0.01}
POSITION = {'symbol': 'XBTUSD', 'currentQty': 100, 'avgCostPrice': 50000.0, 'avgEntryPrice': 50000.0, 'timestamp': ''}
MARGIN = {'currency': 'XBt', 'marginBalance': 10 ** 8, 'walletBalance': 10 ** 8}


class Sums(object):
    fills, funding = 0, {}
    last_rows = {}

    def rows(self):
        return []


class Tables(object):
    """What both bots read; the rows are live."""

    executions = Sums()
    health = Sums()
    exited = False

    def __init__(self, rows):
        self.rows = rows

    @property
    def data(self):
        return {'order': list(self.rows.values())}

    def finished_order(self, name):
        return None

    def funds(self, currency='XBt'):
        return MARGIN

    def ready(self):
        return True

    def reason(self):
        return None

    def exit(self):
        pass


class Connector(object):
    """Answers at once, and counts."""

    orderIDPrefix = 'mm_bitmex_'
    symbol = 'XBTUSD'

    def __init__(self, *args, **kwargs):
        self.rows, self.sent, self.stamp = {}, [], 0
        self.ws = Tables(self.rows)

    def now(self):
        self.stamp += 1
        Sums.last_rows['order'] = self.stamp   # when the order table changed
        return '2026-01-01T00:00:%09d' % self.stamp

    def ticker_data(self, symbol=None):
        row = INSTRUMENT
        return {'last': row['lastPrice'], 'buy': row['bidPrice'], 'sell': row['askPrice'], 'mid': row['midPrice']}

    def instrument(self, symbol=None):
        return INSTRUMENT

    def position(self, symbol=None):
        return POSITION

    def funds(self):
        return MARGIN

    def open_orders(self):
        return [row for row in self.rows.values() if row['clOrdID'].startswith('mm_bitmex_')]

    http_open_orders = open_orders

    def _curl_bitmex(self, *args, **kwargs):
        return []

    def create_orders(self, orders):
        answer = []
        for order in orders:
            self.sent.append('create')
            name = 'id-%d' % len(self.rows)
            given = order.get('clOrdID') or 'mm_bitmex_%021dA' % len(self.rows)
            row = dict(order, orderID=name, clOrdID=given, cumQty=0, ordType='Limit', execInst='',
                       leavesQty=order['orderQty'], ordStatus='New', timestamp=self.now(), timeInForce='GoodTillCancel')
            self.rows[name] = row
            answer.append(dict(row))
        return answer

    def amend_orders(self, orders):
        answer = []
        for order in orders:
            self.sent.append('amend')
            row = self.rows[order['orderID']]
            row.update(order, leavesQty=order['orderQty'], timestamp=self.now())
            answer.append(dict(row))
        return answer

    create_bulk_orders, amend_bulk_orders = create_orders, amend_orders

    def cancel(self, ids):
        return []

    ledger = None

    def remember(self):
        pass

    def look_up(self, names, ids=()):
        return []

    def cancel_orders(self, orders):
        self.sent.append('cancel')
        return []

    def exit(self):
        pass


from market_maker import bitmex
bitmex.BitMEX = Connector
from market_maker.market_maker import OrderManager
from market_maker.settings import settings
settings.update(ORDER_PAIRS=pairs, ORDER_COUNT_LIMIT=None, ORDER_START_SIZE=100, ORDER_STEP_SIZE=100,
                INTERVAL=0.0005, MIN_SPREAD=0.001, RELIST_INTERVAL=0.01, API_REST_INTERVAL=0,
                LOOP_INTERVAL=0, API_KEY='k', API_SECRET='s')
bot = OrderManager()
connector = bot.exchange.bitmex
assert len(connector.rows) == 2 * pairs, len(connector.rows)


def quote(bid):
    INSTRUMENT.update(bidPrice=bid, midPrice=bid + 0.5, askPrice=bid + 1)


def quiet():
    if kind == 'ours':
        bot._mm_quiet_pass()
    else:
        bot.sanity_check()
        bot.place_orders()


def lines():
    bot.sanity_check()
    bot.print_status()
    bot.place_orders()


def seconds(act, prices, passes, expected):
    del connector.sent[:]
    spent = 0.0
    for number in range(passes):
        quote(prices[number % 2])
        began = time.process_time()
        act()
        spent += time.process_time() - began
    assert len(connector.sent) == expected * passes, (len(connector.sent), expected, passes)
    return spent / passes


NEAR, FAR = (50000.0, 50000.5), (52000.0, 50000.0)
tasks = {'steady': (quiet, NEAR, 0), 'lines': (lines, NEAR, 0), 'amended': (quiet, FAR, 2 * pairs)}
quote(NEAR[0])
out.write('ready\n')
out.flush()
for line in sys.stdin:
    task, passes = line.split()
    act, prices, expected = tasks[task]
    out.write('%r\n' % seconds(act, prices, int(passes), expected))
    out.flush()
'''

CLASSIC_SETTINGS = 'import logging\nLOG_LEVEL = logging.INFO\nWATCHED_FILES = []\n'
TASKS = ('steady', 'lines', 'amended')


class Process(object):
    """A child that answers each line with a line."""

    def __init__(self, python, pairs, kind, folder, path):
        environment = dict(os.environ, PYTHONPATH=path)
        errors = subprocess.DEVNULL if kind == 'classic' else None
        self.child = subprocess.Popen([python, '-c', WORKER, kind, str(pairs)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=errors, universal_newlines=True, cwd=folder,
                                      env=environment)
        while self._read() != 'ready':   # the classic one prints lines of its own
            continue

    def ask(self, task, passes):
        self.child.stdin.write('{} {}\n'.format(task, passes))
        self.child.stdin.flush()
        return float(self._read())

    def end(self):
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.kill()
        self.child.wait(10)

    def _read(self):
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit('a contender ended with status {}'.format(self.child.wait(10)))
        return line.strip()


def measure(baseline, rounds, sizes, effort):
    """Return {(contender, task, pairs): [seconds a pass, one a round]}."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    figures = {}
    with tempfile.TemporaryDirectory(prefix='converge-') as folder:
        with open(os.path.join(folder, 'settings.py'), 'w') as settings:
            settings.write(CLASSIC_SETTINGS)
        for pairs in sizes:
            workers = [('ours', Process(sys.executable, pairs, 'ours', folder, root))]
            if baseline:
                workers.insert(0, ('classic', Process(baseline, pairs, 'classic', folder, '')))
            passes = max(4, effort // pairs // 2 * 2)
            try:
                for number in range(rounds):
                    for name, worker in workers if number % 2 else workers[::-1]:
                        for task in TASKS:
                            figures.setdefault((name, task, pairs), []).append(worker.ask(task, passes))
            finally:
                for _, worker in workers:
                    worker.end()
    return figures


def table(figures, sizes):
    """Return the lines of a Markdown table, and the same numbers as a dict."""
    lines = ['| | pairs | classic, us | ours, us | minimum, us | ratio |', '| --- | --- | --- | --- | --- | --- |']
    numbers = {}
    for task in TASKS:
        for pairs in sizes:
            ours = [value * 1e6 for value in figures['ours', task, pairs]]
            row = {'ours_us': statistics.median(ours), 'ours_us_min': min(ours)}
            if ('classic', task, pairs) in figures:
                row['classic_us'] = statistics.median(figures['classic', task, pairs]) * 1e6
                row['ratio'] = row['classic_us'] / row['ours_us']
            numbers['{} {}'.format(task, pairs)] = row
            lines.append('| {} | {} | {} | {:.0f} | {:.0f} | {} |'.format(
                task, pairs, '{:.0f}'.format(row['classic_us']) if 'ratio' in row else '', row['ours_us'],
                row['ours_us_min'], '{:.2f}'.format(row['ratio']) if 'ratio' in row else ''))
    growth = numbers['amended {}'.format(sizes[-1])]['ours_us'] / numbers['amended {}'.format(sizes[0])]['ours_us']
    numbers['growth'] = {'ours': growth}
    lines.append('')
    lines.append('All amended, {} to {} pairs: {:.1f} times the processor time.'.format(sizes[0], sizes[-1], growth))
    return lines, numbers


def main(argv=None):
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--baseline-python', metavar='PATH', help='Python of an environment with the classic bot')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--pairs', type=int, nargs='+', default=[6, 50, 200])
    parser.add_argument('--quick', action='store_true', help='three short rounds: does it still run?')
    parser.add_argument('--json', metavar='FILE', help='write the numbers there too')
    options = parser.parse_args(argv)
    effort = 1200
    if options.quick:
        options.rounds, effort = 3, 240
    lines, numbers = table(measure(options.baseline_python, options.rounds, options.pairs, effort), options.pairs)
    print('\n'.join(lines))
    if options.json:
        with open(options.json, 'w') as output:
            json.dump(numbers, output, indent=2, sort_keys=True)


if __name__ == '__main__':
    main()
