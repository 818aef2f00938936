"""BitMEX's own Python client of the WebSocket, bitmex-ws: its tables, its readers, and a longer ride."""
import logging
import time

import pytest
from bitmex_websocket import BitMEXWebsocket
from local_client import Client

# Everything that its documentation and BitMEX's help name, public and private.
PUBLIC = ['instrument', 'orderBookL2', 'orderBookL2_25', 'orderBookL2_100', 'orderBook10', 'quote', 'trade',
          'quoteBin1m', 'quoteBin5m', 'quoteBin1h', 'quoteBin1d', 'tradeBin1m', 'tradeBin5m',
          'tradeBin1h', 'tradeBin1d', 'funding', 'insurance',
          'liquidation', 'settlement', 'announcement', 'chat', 'connected', 'publicNotifications']
PRIVATE = ['account', 'affiliate', 'execution', 'order', 'margin', 'position', 'privateNotifications', 'transact',
           'wallet']
TURN = 0.2   # seconds between two decisions of the account that trades


def keep_looking(look, seconds):
    """Look again and again for some seconds."""
    end = time.time() + seconds
    while time.time() < end:
        look()
        time.sleep(0.01)


def settled(condition, timeout=20):
    """Return whether the condition came true."""
    deadline = time.time() + timeout
    while not condition() and time.time() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def connect():
    """Make clients that are closed at the end."""
    made = []

    def make(exchange, **options):
        options.setdefault('api_key', exchange.key)
        options.setdefault('api_secret', exchange.secret)
        made.append(BitMEXWebsocket(exchange.ws_url, 'XBTUSD', **options))
        return made[-1]
    yield make
    for client in made:
        client.exit()


@pytest.fixture(autouse=True)
def no_complaints(caplog):
    """The client logs what it cannot digest; nothing of the kind may happen."""
    yield
    bad = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not bad, bad[0]


def test_its_readers(still, connect):
    plain = Client(still)
    client = connect(still)

    assert client.get_instrument()['symbol'] == 'XBTUSD' and client.get_instrument()['tickLog'] == 1
    ticker = client.get_ticker()
    assert (ticker['buy'], ticker['sell']) == (60000.0, 60000.5) and ticker['last'] > 0
    assert client.funds()['currency'] in ('XBt', 'USDt') and client.funds()['marginBalance'] > 0
    assert client.positions() == [] and client.open_orders('') == []
    book = {(row['side'], row['price']): row['size'] for row in client.market_depth()}
    assert book == {(row['side'], row['price']): row['size']
                    for row in plain.get('/orderBook/L2?symbol=XBTUSD&depth=0')}
    assert client.recent_trades()


def test_orders_come_and_go(still, connect):
    """open_orders() finds an order by the prefix of its clOrdID from its creation to its end, also one without id."""
    plain, other = Client(still), Client(still, *still.other)
    client = connect(still)
    nameless = plain.place(symbol='XBTUSD', side='Buy', orderQty=100, price=59000)
    named = plain.place(symbol='XBTUSD', side='Buy', orderQty=200, price=60000.2, clOrdID='mm_1')
    assert settled(lambda: len(client.open_orders('')) == 2)
    assert [order['orderID'] for order in client.open_orders('mm_')] == [named['orderID']]
    assert {order['orderID'] for order in client.open_orders('')} == {nameless['orderID'], named['orderID']}
    # Another one that joins later sees the same.
    assert {order['orderID'] for order in connect(still).open_orders('')} == {nameless['orderID'], named['orderID']}

    other.place(symbol='XBTUSD', side='Sell', orderQty=100, price=60000.2)
    assert settled(lambda: [order['leavesQty'] for order in client.open_orders('mm_')] == [100])
    plain.send('PUT', '/order', {'orderID': nameless['orderID'], 'orderQty': 300})
    assert settled(lambda: 300 in [order['orderQty'] for order in client.open_orders('')])
    other.place(symbol='XBTUSD', side='Sell', orderQty=100, price=60000.2)
    assert settled(lambda: client.open_orders('mm_') == [])
    plain.send('DELETE', '/order/all', {})
    assert settled(lambda: client.open_orders('') == [])

    fills = [row for row in client.data['execution'] if row['execType'] == 'Trade']
    assert [row['lastQty'] for row in fills] == [100, 100]
    assert [row['currentQty'] for row in client.positions()] == [200]
    plain.place(symbol='XBTUSD', execInst='Close')
    assert settled(lambda: [row['currentQty'] for row in client.positions()] == [0])


def test_every_table(still, connect):
    """Whatever the help names can be subscribed to, and has its image."""
    client = connect(still, subscriptions=PUBLIC + PRIVATE)

    assert settled(lambda: set(client.data) >= set(PUBLIC + PRIVATE)), set(PUBLIC + PRIVATE) - set(client.data)
    subjects = Client(still).get('/schema/websocketHelp')['subscriptionSubjects']
    assert set(subjects['public']) == set(PUBLIC) and set(subjects['authenticationRequired']) == set(PRIVATE)
    assert client.data['instrument'][0]['symbol'] == 'XBTUSD' and client.data['wallet']
TURN = 0.2   # seconds between two decisions of the account that trades


def test_without_a_key(still, connect):
    client = connect(still, api_key=None, api_secret=None, subscriptions=PUBLIC)

    assert client.get_instrument()['tickSize'] == 0.1
    assert client.get_ticker()['buy'] == 60000.0 and client.market_depth()


def test_a_longer_ride(lively, connect, seconds):
    """While an account trades on a lively market, the client follows without a complaint and sees every fill."""
    plain = Client(lively)
    client = connect(lively, subscriptions=PUBLIC + PRIVATE)
    client.get_instrument()   # get_ticker() needs what this adds to the row
    fills, end, turn = {}, time.time() + seconds, 0

    def look():
        # The client keeps the last 100 to 200 rows of a table.
        fills.update((row['execID'], row) for row in list(client.data['execution']) if row['execType'] == 'Trade')
        return fills

    while time.time() < end or turn < 10:
        ticker = client.get_ticker()
        for side, price in (('Buy', ticker['buy']), ('Sell', ticker['sell'])):
            plain.place(symbol='XBTUSD', side=side, orderQty=100, price=price, clOrdID='ride{}{}'.format(side, turn))
        if turn % 5 == 0:
            plain.place(symbol='XBTUSD', side='Buy' if turn % 2 else 'Sell', orderQty=100, ordType='Market')
            plain.send('DELETE', '/order/all', {})
        turn += 1
        keep_looking(look, TURN)
    plain.send('DELETE', '/order/all', {})
    filled = fills_of(plain)

    assert settled(lambda: set(look()) == set(filled)), (len(fills), len(filled))
    assert {name: row['lastQty'] for name, row in fills.items()} == {
        name: row['lastQty'] for name, row in filled.items()}
    assert settled(lambda: client.open_orders('ride') == [])
    position = [row['currentQty'] for row in plain.get('/position') if row['symbol'] == 'XBTUSD']
    assert settled(lambda: [row['currentQty'] for row in client.positions()] == position)
    assert sum(row['lastQty'] * (1 if row['side'] == 'Buy' else -1) for row in filled.values()) == position[0]
    levels = [row['price'] for row in client.market_depth() if row['side'] == 'Buy']
    assert levels and max(levels) < min(row['price'] for row in client.market_depth() if row['side'] == 'Sell')


def fills_of(plain):
    """Return all fills of an account by execID, page after page."""
    rows, start = {}, 0
    while True:
        page = plain.get('/execution/tradeHistory?symbol=XBTUSD&count=500&start={}'.format(start))
        rows.update((row['execID'], row) for row in page if row['execType'] == 'Trade')   # not funding
        if len(page) < 500:
            return rows
        start += 500
