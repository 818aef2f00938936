"""The old README's sample run, line for line: fed row by row, and end to end over real sockets."""
import pytest

START = """\
INFO - market_maker - BitMEX Market Maker Version: {version}
INFO - ws_thread - Connecting to {ws}/realtime?subscribe=quote:XBT7D,trade:XBT7D,instrument,order:XBT7D,execution:XBT7D,margin,position
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


def expected(lines, **values):
    return [line.format(**values) for line in lines]


def test_the_sample_run_end_to_end(tmp_path):
    """The same lines over real sockets; the averages after the fill are the true ones, which the sample's are not."""
    pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')
    from bot import Bot, until

    from market_maker.server.local_exchange import running
    from market_maker.utils.constants import VERSION

    account = {'key': SETTINGS['API_KEY'], 'secret': SETTINGS['API_SECRET'], 'balance': {'XBt': 344349965},
               'positions': [{'symbol': 'XBT7D', 'currentQty': -1, 'avgEntryPrice': 389.75},
                             {'symbol': 'XBTUSD', 'currentQty': -1065000, 'avgEntryPrice': 60000}]}
    with running(market='still', symbols=('XBT7D', 'XBTUSD'), accounts=[account],
                 bid=388.61, ask=389.89) as testnet:
        exchange = testnet.exchange

        def prepare():
            exchange.set_index('XBTUSD', 59996.62)    # -1065000 / 59996.62 = -17.7510
            exchange.set_mark('XBTUSD', 60000)        # nothing unrealised there,
            exchange.set_mark('XBT7D', 390)           # a fee and what the mark takes make 200 satoshi
        testnet.call(prepare)
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
