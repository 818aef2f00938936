"""The old README's sample run, line for line: fed row by row, and end to end over real sockets."""
import json
import logging
import queue
import sys

import pytest

from market_maker import bitmex, market_maker
from market_maker.rest.transport import Response
from market_maker.settings import settings
from market_maker.utils.constants import VERSION
from market_maker.ws import ws_thread
from market_maker.ws.link import Link, LinkError

START = """\
INFO - market_maker - BitMEX Market Maker Version: {version}
INFO - ws_thread - Connecting to {ws}/realtime?subscribe={topics}
INFO - ws_thread - Authenticating with API Key.
INFO - ws_thread - Started thread
INFO - ws_thread - Connected to WS. Waiting for data images, this may take a moment...
INFO - ws_thread - Got all market data. Starting.
INFO - market_maker - Using symbol XBT7D.
INFO - market_maker - Order Manager initializing, connecting to BitMEX. Live run: executing real trades.
INFO - market_maker - Resetting current position. Cancelling all existing orders.
INFO - market_maker - XBT7D Ticker: Buy: 388.61, Sell: 389.89
INFO - market_maker - Start Positions: Buy: 388.62, Sell: 389.88, Mid: 389.25
INFO - market_maker - Current XBT Balance: 3.443498
INFO - market_maker - Current Contract Position: -1
INFO - market_maker - Avg Cost Price: 389.75
INFO - market_maker - Avg Entry Price: 389.75
INFO - market_maker - Contracts Traded This Run: 0
INFO - market_maker - Total Contract Delta: -17.7510 XBT
INFO - market_maker - Creating 4 orders:
INFO - market_maker - Sell 100 @ 389.88
INFO - market_maker - Sell 200 @ 390.27
INFO - market_maker -  Buy 100 @ 388.62
INFO - market_maker -  Buy 200 @ 388.23
-----""".splitlines()

AFTER_THE_FILL = """\
INFO - ws_thread - Execution: Sell 1 Contracts of XBT7D at 389.88
INFO - market_maker - XBT7D Ticker: Buy: 388.62, Sell: 389.88
INFO - market_maker - Start Positions: Buy: 388.62, Sell: 389.88, Mid: 389.25
INFO - market_maker - Current XBT Balance: 3.443496
INFO - market_maker - Current Contract Position: -2
INFO - market_maker - Avg Cost Price: {average}
INFO - market_maker - Avg Entry Price: {average}
INFO - market_maker - Contracts Traded This Run: -1
INFO - market_maker - Total Contract Delta: -17.7510 XBT
INFO - market_maker - Amending Sell: 99 @ 389.88 to 100 @ 389.88 (+0.00)""".splitlines()

SETTINGS = {'ORDER_PAIRS': 2, 'ORDER_START_SIZE': 100, 'ORDER_STEP_SIZE': 100, 'INTERVAL': 0.001, 'MIN_SPREAD': 0.003,
            'MAINTAIN_SPREADS': True, 'CONTRACTS': ['XBTUSD'], 'LOOP_INTERVAL': 1, 'API_KEY': 'sample-key-1234567890ab',
            'API_SECRET': 'sample-secret'}


# Printed on stdout before the log begins, as strategies' wrappers know it; the sample is older than symbol settings.
SYMBOL_SETTINGS = ('Importing symbol settings for XBT7D...', 'Unable to find settings-XBT7D.py.')


TOPICS = 'quote:XBT7D,trade:XBT7D,instrument,order:XBT7D,execution:XBT7D,margin,position'


def expected(lines, **values):
    return [line.format(topics=TOPICS, **values) for line in lines]


ACCOUNT = 1
KEYS = {'quote': [], 'trade': [], 'instrument': ['symbol'], 'order': ['orderID'], 'execution': [],
        'margin': ['account', 'currency'], 'position': ['account', 'symbol', 'currency']}
XBT7D = {'symbol': 'XBT7D', 'state': 'Open', 'tickSize': 0.01, 'lotSize': 1, 'multiplier': -100000000,
         'isInverse': True, 'isQuanto': False, 'underlyingToSettleMultiplier': -100000000, 'settlCurrency': 'XBt',
         'bidPrice': 388.61, 'askPrice': 389.89, 'lastPrice': 389.0, 'midPrice': 389.25, 'markPrice': 389.2,
         'indicativeSettlePrice': 389.2, 'timestamp': '2016-01-28T17:29:31.000Z'}
XBTUSD = dict(XBT7D, symbol='XBTUSD', tickSize=0.5, lotSize=100, indicativeSettlePrice=388.71, markPrice=388.71)
ROWS = {
    'quote': [{'symbol': 'XBT7D', 'timestamp': '2016-01-28T17:29:31.000Z', 'bidSize': 50, 'bidPrice': 388.61,
               'askPrice': 389.89, 'askSize': 50}],
    'trade': [], 'instrument': [XBT7D, XBTUSD], 'order': [], 'execution': [],
    'margin': [{'account': ACCOUNT, 'currency': 'XBt', 'marginBalance': 344349800, 'walletBalance': 344349800,
                'availableMargin': 344349800}],
    'position': [{'account': ACCOUNT, 'symbol': 'XBT7D', 'currency': 'XBt', 'currentQty': -1, 'avgCostPrice': 389.75,
                  'avgEntryPrice': 389.75},
                 {'account': ACCOUNT, 'symbol': 'XBTUSD', 'currency': 'XBt', 'currentQty': -6900}],
}


class ScriptedExchange:
    """Feeds the given rows in place of a socket, and answers requests as the sample's exchange did.

    Once four orders rest, one contract of the inner sell trades; once that is amended, the user presses Ctrl-C.
    """

    def __init__(self):
        self.frames = queue.Queue()
        self.orders = {}
        for table in sorted(ROWS):
            self.tell(table, 'partial', ROWS[table], keys=KEYS[table], types={}, filter={})

    def tell(self, table, action, rows, **more):
        message = dict(more, table=table, action=action, data=rows)
        self.frames.put(json.dumps(message).encode('utf-8'))

    def send(self, request):
        """Stand in for the transport: one request in, one Response out."""
        body = json.loads(request.body) if request.body else {}
        path = request.path.partition('?')[0].rpartition('/api/v1')[2]
        if request.verb == 'POST':
            return self.answer(self.create(body))
        if request.verb == 'PUT':
            self.amended = body
            raise KeyboardInterrupt()
        if request.verb == 'DELETE':
            rows = [dict(order, ordStatus='Canceled', leavesQty=0) for order in self.orders.values()]
            self.orders.clear()
            return self.answer(rows)
        return self.answer([dict(order) for order in self.orders.values()] if path == '/order' else [])

    @staticmethod
    def answer(data):
        return Response(200, {}, json.dumps(data))

    def create(self, body):
        row = dict(body, orderID='order-{}'.format(len(self.orders)), account=ACCOUNT, ordType='Limit', ordStatus='New',
                   leavesQty=body['orderQty'], cumQty=0, workingIndicator=True, timestamp='2016-01-28T17:29:33.500Z',
                   transactTime='2016-01-28T17:29:33.500Z')
        self.orders[row['orderID']] = row
        self.tell('order', 'insert', [row])
        if len(self.orders) == 4:
            self.trade()
        return row

    def trade(self):
        inner = next(row for row in self.orders.values() if row['side'] == 'Sell' and row['price'] == 389.88)
        inner.update(leavesQty=99, cumQty=1, ordStatus='PartiallyFilled')
        self.tell('instrument', 'update', [{'symbol': 'XBT7D', 'bidPrice': 388.62, 'askPrice': 389.88,
                                            'timestamp': '2016-01-28T17:29:37.000Z'}])
        self.tell('quote', 'insert', [{'symbol': 'XBT7D', 'timestamp': '2016-01-28T17:29:37.000Z', 'bidSize': 100,
                                       'bidPrice': 388.62, 'askPrice': 389.88, 'askSize': 99}])
        changed = {'orderID': inner['orderID'], 'clOrdID': inner['clOrdID'], 'account': ACCOUNT, 'symbol': 'XBT7D'}
        self.tell('order', 'update', [dict(changed, leavesQty=99, cumQty=1, ordStatus='PartiallyFilled')])
        self.tell('position', 'update', [{'account': ACCOUNT, 'symbol': 'XBT7D', 'currency': 'XBt', 'currentQty': -2}])
        self.tell('margin', 'update', [{'account': ACCOUNT, 'currency': 'XBt', 'marginBalance': 344349600}])
        self.tell('execution', 'insert', [dict(changed, execID='fill-1', execType='Trade', side='Sell', lastQty=1,
                                               lastPx=389.88, price=389.88, orderQty=100, leavesQty=99, cumQty=1,
                                               ordStatus='PartiallyFilled', timestamp='2016-01-28T17:29:37.000Z')])

    def link(self, options=None, tick=0.25):
        """Return what takes the place of the WebSocket."""
        exchange = self

        class FedLink(Link):
            has_been_closed = False

            def open(self, url, headers):
                assert url.startswith('wss://testnet.bitmex.com/realtime?subscribe=')
                assert headers['api-key'] == SETTINGS['API_KEY']
                self.sock.connected = True

            def receive(self):
                if self.has_been_closed:
                    raise LinkError('closed', opened=True)
                try:
                    return exchange.frames.get(timeout=0.05)
                except queue.Empty:
                    return None

            def send(self, text):
                assert text == 'ping'

            def interrupt(self):
                self.has_been_closed = True

            def close(self, farewell=True):
                self.sock.connected = False
        return FedLink(options, tick)


class Lines(logging.Handler):
    """Collects what is logged and what is printed, in one list, in order."""

    def __init__(self):
        logging.Handler.__init__(self)
        self.seen = []

    def emit(self, record):
        self.seen.append('{} - {} - {}'.format(record.levelname, record.module, record.getMessage()))

    def write(self, text):
        """Stand in for stdout."""
        self.seen.extend(line for line in text.splitlines() if line)

    def flush(self):
        """Nothing is held back."""


def test_the_sample_run_fed_with_its_rows(monkeypatch, tmp_path):
    """Every line of the sample, the averages included, for these are rows that the exchange sent."""
    scripted, lines = ScriptedExchange(), Lines()
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'settings.py').write_text('SYMBOL = "XBT7D"\n')
    monkeypatch.setattr(sys, 'argv', ['marketmaker', 'XBT7D'])
    monkeypatch.setattr(ws_thread, 'Link', scripted.link)
    monkeypatch.setattr(bitmex.direct, 'fastest', lambda *words: scripted)
    monkeypatch.setattr(sys, 'stdout', lines)
    logging.getLogger('root').addHandler(lines)
    try:
        with settings.override(**dict(SETTINGS, BASE_URL='https://testnet.bitmex.com/api/v1/', LOOP_INTERVAL=0.5)):
            with pytest.raises(SystemExit) as ended:
                market_maker.run()
    finally:
        logging.getLogger('root').removeHandler(lines)
    assert ended.value.code in (None, 0)
    assert '-----' in lines.seen   # somewhere about the fill, which another thread reports
    seen = [line for line in lines.seen if not line.startswith(SYMBOL_SETTINGS) and line != '-----']
    wanted = expected(START[:-1], version=VERSION, ws='wss://testnet.bitmex.com')
    wanted += expected(AFTER_THE_FILL, average='389.75')
    assert seen[:len(wanted)] == wanted
    assert (scripted.amended['orderQty'], scripted.amended['price']) == (101, 389.88)   # the filled one counts


def test_the_sample_run_end_to_end(tmp_path):
    """The same lines over real sockets; the averages after the fill are the true ones, which the sample's are not."""
    pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')
    from bot import Bot, until

    from market_maker.server.local_exchange import running

    positions = [{'symbol': 'XBT7D', 'currentQty': -1, 'avgEntryPrice': 389.75},
                 {'symbol': 'XBTUSD', 'currentQty': -1065000, 'avgEntryPrice': 60000}]
    with running(market='still', symbols=('XBT7D', 'XBTUSD'), bid=388.61, ask=389.89) as testnet:
        exchange = testnet.exchange

        def prepare():
            exchange.set_index('XBTUSD', 59996.62)    # -1065000 / 59996.62 = -17.7510
            exchange.set_mark('XBTUSD', 60000)        # nothing unrealised there,
            exchange.set_mark('XBT7D', 390)           # a fee and what the mark takes make 200 satoshi
            exchange.open_account(SETTINGS['API_KEY'], SETTINGS['API_SECRET'], {'XBt': 344349965}, positions)
        testnet.call(prepare)
        until(lambda: testnet.call(lambda: exchange.instruments['XBTUSD'].row['indicativeSettlePrice']) == 59996.62, 15,
              'the index was not published')
        bot = Bot(tmp_path, testnet.url, SETTINGS)
        try:
            bot.start('XBT7D')
            until(lambda: '-----' in bot.lines(), 15, bot.text)
            assert testnet.call(lambda: exchange.take('XBT7D', 'Buy', 1)) == 1
            until(lambda: any('Amending' in line for line in bot.lines()), 15, bot.text)
            seen = [line for line in bot.lines() if not line.startswith(SYMBOL_SETTINGS)]
            started = expected(START, version=VERSION, ws=testnet.ws_url.rsplit('/', 1)[0])
            assert seen[:len(started)] == started
            rest = [line for line in seen[len(started):] if line != '-----']
            wanted = expected(AFTER_THE_FILL, average='389.81')
            begin = rest.index(wanted[0])
            assert rest[begin:begin + len(wanted)] == wanted
            assert bot.stop() == 0
        finally:
            bot.kill()
