"""What one pass of the loop costs in processor time, from the look at the market to the decision what to send.

    python benchmarks/converge.py [--baseline-python PATH] [--rounds N] [--pairs N ...] [--quick] [--json FILE]

The bots quote on their own live tables, which are fed by hand with rows in the shape of the wire; requests are answered
at once in memory, and their echo is in the tables before the answer is.  So the pass alone is measured: tables, limits,
ladder, plan, and what stands around a request.  Contenders take turns, each in a process of its own: ``ours``, and
``classic``, bitmex-market-maker 1.6.1 run by the Python that --baseline-python names.

    steady     the touch has moved by one tick, inside the tolerance, to where it has been before: nothing to send.
               Ours is a pass between two status lines; the classic bot prints its lines on every pass
    further    the same, to where it has not been since the orders were placed
    lines      the same with the status lines of both (written to nowhere)
    amended    the touch has jumped: every order is amended; with what the ledger does for it a moment later

Every pass is checked: a steady one sends nothing, an amended one sends one amend an order.  Figures are medians over
the rounds, ratios those of the same round.
"""
import os
import statistics
import sys
import tempfile

import common

WORKER = r'''
import json, logging, os, sys, threading, time
kind, pairs = sys.argv[1], int(sys.argv[2])
sys.argv[1:] = []
out, sys.stdout = sys.stdout, open(os.devnull, 'w')
errors, sys.stderr = sys.stderr, open(os.devnull, 'w')   # the handlers of the log keep this one

ACCOUNT, SYMBOL = 273093, 'XBTUSD'
KEYS = {'order': ['orderID'], 'position': ['account', 'symbol', 'strategy'], 'margin': ['account', 'currency'],
        'instrument': ['symbol'], 'execution': [], 'quote': [], 'trade': []}
INSTRUMENT = {'symbol': SYMBOL, 'state': 'Open', 'tickSize': 0.5, 'lotSize': 1, 'settlCurrency': 'XBt',
              'maxOrderQty': 10000000, 'maxPrice': 1000000, 'bidPrice': 50000.0, 'midPrice': 50000.25,
              'askPrice': 50000.5, 'lastPrice': 50000.0, 'markPrice': 50000.4, 'indicativeSettlePrice': 50000.2,
              'isInverse': True, 'isQuanto': False, 'multiplier': -100000000, 'initMargin': 0.01, 'maintMargin': 0.005,
              'underlyingToSettleMultiplier': -100000000, 'positionCurrency': 'USD', 'underlying': 'XBT',
              'quoteCurrency': 'USD', 'timestamp': '2026-01-01T00:00:00.000Z'}
ROWS = {'instrument': [INSTRUMENT],
        'position': [{'account': ACCOUNT, 'symbol': SYMBOL, 'strategy': 'OneWay', 'currency': 'XBt', 'currentQty': 100,
                      'avgCostPrice': 50000.0, 'avgEntryPrice': 50000.0, 'markPrice': 50000.4,
                      'timestamp': '2026-01-01T00:00:00.000Z'}],
        'margin': [{'account': ACCOUNT, 'currency': 'XBt', 'amount': 10 ** 9, 'marginBalance': 10 ** 9,
                    'walletBalance': 10 ** 9, 'availableMargin': 10 ** 9, 'timestamp': '2026-01-01T00:00:00.000Z'}],
        'quote': [{'timestamp': '2026-01-01T00:00:00.000Z', 'symbol': SYMBOL, 'bidSize': 1, 'bidPrice': 50000.0,
                   'askPrice': 50000.5, 'askSize': 1}],
        'order': [], 'execution': [], 'trade': []}


class Exchange(object):
    """Answers at once, counts, and tells the tables first."""

    def __init__(self):
        self.sent, self.tell, self.stamp, self.rows, self.lock = [], None, 0, {}, threading.RLock()

    def now(self):
        self.stamp += 1
        return '2026-01-01T%02d:%02d:%02d.%03dZ' % (self.stamp // 3600000, self.stamp // 60000 % 60,
                                                    self.stamp // 1000 % 60, self.stamp % 1000)

    def order(self, verb, body):
        with self.lock:
            return self.answer(verb, body)

    def answer(self, verb, body):
        self.sent.append(verb)
        now = self.now()
        if verb == 'POST':
            size = abs(body['orderQty'])
            row = {'orderID': '%08x-0000-4000-8000-000000000000' % len(self.rows), 'clOrdID': body['clOrdID'],
                   'account': ACCOUNT, 'symbol': SYMBOL, 'side': body.get('side') or (
                       'Buy' if body['orderQty'] > 0 else 'Sell'), 'orderQty': size, 'price': body['price'],
                   'currency': 'USD', 'settlCurrency': 'XBt', 'ordType': 'Limit', 'timeInForce': 'GoodTillCancel',
                   'execInst': '', 'ordStatus': 'New', 'workingIndicator': True, 'leavesQty': size, 'cumQty': 0,
                   'text': 'Submitted via API.', 'transactTime': now, 'timestamp': now}
            self.rows[row['orderID']] = row
            self.tell('order', 'insert', dict(row))
        else:
            assert verb == 'PUT', verb
            row = self.rows[body['orderID']]
            row.update(price=body['price'], timestamp=now, transactTime=now, text='Amended price: Amended via API.')
            size = body.get('orderQty', row['orderQty'])
            row.update(orderQty=size, leavesQty=size - row['cumQty'])
            self.tell('order', 'update', {name: row[name] for name in ('orderID', 'clOrdID', 'account', 'symbol',
                                                                       'price', 'text', 'transactTime', 'timestamp')})
        return dict(row)


exchange = Exchange()
SETTINGS = dict(ORDER_PAIRS=pairs, ORDER_START_SIZE=100, ORDER_STEP_SIZE=100, INTERVAL=0.0005, MIN_SPREAD=0.001,
                RELIST_INTERVAL=0.01, API_REST_INTERVAL=0, LOOP_INTERVAL=0, API_KEY='key', API_SECRET='secret',
                BASE_URL='http://exchange.test/api/v1/')


def images():
    for table, rows in ROWS.items():
        yield {'table': table, 'action': 'partial', 'keys': KEYS[table], 'types': {}, 'filter': {}, 'data': rows}


def classic():
    from market_maker import bitmex
    from market_maker.ws.ws_thread import BitMEXWebsocket

    def connect(ws, *args, **kwargs):
        ws.ws = None
        ws._BitMEXWebsocket__reset()
        ws.symbol = SYMBOL
        take = ws._BitMEXWebsocket__on_message
        for image in images():
            take(json.dumps(image))
        exchange.tell = lambda table, action, *rows: take(json.dumps({'table': table, 'action': action, 'data': rows}))

    def curl(self, path='', query=None, postdict=None, timeout=None, verb=None, **more):
        if not path.startswith('order') or verb == 'GET' or not (postdict or verb in ('POST', 'PUT', 'DELETE')):
            return []
        if 'orders' in (postdict or {}):
            return [exchange.order(verb or 'POST', body) for body in postdict['orders']]
        return exchange.order(verb or 'POST', postdict)
    BitMEXWebsocket.connect = connect
    bitmex.BitMEX._curl_bitmex = curl
    from market_maker.market_maker import OrderManager
    from market_maker.settings import settings
    settings.update(SETTINGS)
    return OrderManager()


def ours():
    from market_maker.bitmex import BitMEX
    from market_maker.exchange_interface import ExchangeInterface
    from market_maker.market_maker import OrderManager
    from market_maker.rest.transport import Response
    from market_maker.settings import settings
    from market_maker.ws.ws_thread import BitMEXWebsocket
    settings.update(SETTINGS, ORDER_COUNT_LIMIT=1000)

    class InMemory(object):
        def send(self, request):
            if not request.path.startswith('/order') or request.verb == 'GET':
                return Response(200, {}, '[]')
            return Response(200, {}, json.dumps(exchange.order(request.verb, json.loads(request.body))))

        def close(self):
            pass

    def connect(interface):
        ws = BitMEXWebsocket('key', 'secret')
        ws._prepare(SETTINGS['BASE_URL'], SYMBOL, True)
        ws._begin(time.monotonic())
        ws.health.heartbeat = ws.health.stale_after = 1e6   # a turn of the other one is no silence

        def tell(message):
            now = ws.health.last_frame = time.monotonic()
            ws._take(message, now)
        for image in images():
            tell(image)
        exchange.tell = lambda table, action, *rows: tell({'table': table, 'action': action, 'data': list(rows)})
        assert ws.ready() and ws.reason() is None, ws.reason()
        return BitMEX(SETTINGS['BASE_URL'], SYMBOL, 'key', 'secret', transport=InMemory(), ws=ws)
    ExchangeInterface._connect = connect
    return OrderManager()


try:
    bot = classic() if kind == 'classic' else ours()
finally:
    sys.stderr = errors
assert len(exchange.rows) == 2 * pairs, len(exchange.rows)


def quote(bid):
    now = exchange.now()
    exchange.tell('quote', 'insert', {'timestamp': now, 'symbol': SYMBOL, 'bidSize': 1, 'bidPrice': bid,
                                      'askPrice': bid + 0.5, 'askSize': 1})
    exchange.tell('instrument', 'update', {'symbol': SYMBOL, 'bidPrice': bid, 'midPrice': bid + 0.25,
                                           'askPrice': bid + 0.5, 'timestamp': now})


def lines():
    bot.sanity_check()
    bot.print_status()
    bot.place_orders()


def quiet():
    if kind == 'classic':
        lines()
    else:
        bot._mm_quiet_pass()


def settle():
    if kind == 'ours':
        bot.exchange.bitmex.ledger.flush()   # what a thread would do for these orders a moment later


def seconds(act, prices, passes, expected):
    settle()
    del exchange.sent[:]
    spent = 0.0
    for number in range(passes):
        quote(prices[number % len(prices)])
        began = time.process_time()
        act()
        spent += time.process_time() - began
    began = time.process_time()
    settle()
    spent += time.process_time() - began
    assert len(exchange.sent) == expected * passes, (len(exchange.sent), expected, passes)
    return spent / passes


NEAR = [50000.0 + step / 2 for step in (0, 1, 2, 3, 2, 3, 4, 3, 2, 1)]   # a touch that wanders
FURTHER = [50000.0 + step / 2 for step in range(100)]
FAR = (52000.0, 50000.0)
tasks = {'seen': (quiet, NEAR[:5], 0), 'steady': (quiet, NEAR, 0), 'further': (quiet, FURTHER, 0),
         'lines': (lines, NEAR, 0), 'amended': (quiet, FAR, 2 * pairs)}
quote(NEAR[0])
out.write('ready\n')
out.flush()
for line in sys.stdin:
    task, passes = line.split()
    act, prices, expected = tasks[task]
    out.write('%r\n' % seconds(act, prices, int(passes), expected))
    out.flush()
os._exit(0)   # nobody is there to cancel orders at
'''

CLASSIC_SETTINGS = 'import logging\nLOG_LEVEL = logging.INFO\nWATCHED_FILES = []\n'
TASKS = ('steady', 'further', 'lines', 'amended')
TARGETS = {('steady', 6): '>= 8x', ('steady', 50): '>= 10x', ('steady', 200): '>= 15x', ('lines', 6): '>= 1x',
           ('lines', 50): '>= 1x', ('lines', 200): '>= 1x'}


def measure(baseline, rounds, sizes, effort):
    """Return {(contender, task, pairs): [seconds a pass, one a round]}."""
    figures = {}
    people = [('ours', sys.executable)] + ([('classic', baseline)] if baseline else [])
    with tempfile.TemporaryDirectory(prefix='converge-') as folder:
        with open(os.path.join(folder, 'settings.py'), 'w') as settings:
            settings.write(CLASSIC_SETTINGS)
        for pairs in sizes:
            state = os.path.join(folder, str(pairs))
            workers = [(name, common.Child(python, WORKER, name, pairs, name=name, cwd=folder, env=common.environment(
                common.ROOT if name == 'ours' else '', XDG_STATE_HOME=state))) for name, python in people]
            try:
                for _, worker in workers:
                    worker.wait_until_ready()
                for number in range(rounds):
                    for name, worker in common.turns(workers, number):
                        for task in TASKS:
                            if task == 'steady':
                                worker.ask('seen 5')
                            passes = max(10 if task != 'amended' else 4, min(100, effort // pairs // 10 * 10))
                            figures.setdefault((name, task, pairs), []).append(
                                float(worker.ask('{} {}'.format(task, passes))))
            finally:
                for _, worker in workers:
                    worker.end()
    return figures


def table(figures, sizes):
    """Return the lines of a Markdown table, the same numbers as a dict, and the ratios."""
    lines = ['| processor time of a pass, us (median, minimum) | pairs | classic | ours | ratio | target |',
             '| --- |' + ' --- |' * 5]
    numbers, ratios = {}, {}
    for task in TASKS:
        for pairs in sizes:
            name = '{} {}'.format(task, pairs)
            ours, classic = figures['ours', task, pairs], figures.get(('classic', task, pairs))
            numbers[name] = {'ours_us': statistics.median(ours) * 1e6, 'ours_us_min': min(ours) * 1e6}
            cells = ['', '']
            if classic:
                numbers[name]['classic_us'] = statistics.median(classic) * 1e6
                ratios['classic / ours, ' + name] = numbers[name]['ratio'] = common.paired(classic, ours)
                cells = [common.summary([value * 1e6 for value in classic], '{:.0f}'),
                         '{:.2f}x'.format(numbers[name]['ratio'])]
            lines.append('| {} | {} | {} | {} | {} | {} |'.format(
                task, pairs, cells[0], common.summary([value * 1e6 for value in ours], '{:.0f}'), cells[1],
                TARGETS.get((task, pairs), '')))
    few, many = sizes[0], sizes[-1]
    growth = {name: common.paired(figures[name, 'amended', many], figures[name, 'amended', few])
              for name in ('classic', 'ours') if (name, 'amended', few) in figures}
    numbers['growth'] = growth
    ratios['1 / growth, all amended'] = 1 / growth['ours']
    lines.append('| growth, all amended, {} to {} pairs | | {} | {:.1f}x | | <= 36x |'.format(
        few, many, '{:.1f}x'.format(growth['classic']) if 'classic' in growth else '', growth['ours']))
    return lines, numbers, ratios


def main(argv=None):
    """Run the benchmark and print its table."""
    parser = common.parser(__doc__, 7)
    parser.add_argument('--pairs', type=int, nargs='+', default=[6, 50, 200])
    options = parser.parse_args(argv)
    effort = 3000
    if options.quick:
        options.rounds, effort = 3, 300
    figures = measure(options.baseline_python, options.rounds, options.pairs, effort)
    return common.finish(options, 'converge', *table(figures, options.pairs))


if __name__ == '__main__':
    sys.exit(main())
