"""The live data against the local exchange: what the tables show is what its books say."""
import logging
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.utils.errors import AuthenticationError, SettingsError  # noqa: E402
from market_maker.ws.ws_thread import BitMEXWebsocket  # noqa: E402

SYMBOL = 'XBTUSD'


def until(is_there, seconds=10.0):
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < deadline, 'it did not happen within {} s'.format(seconds)
        time.sleep(0.005)


@pytest.fixture(scope='module')
def testnet():
    with running(market='still', bid=60000, ask=60010, symbols=(SYMBOL,)) as exchange:
        yield exchange


@pytest.fixture
def ws(testnet):
    """Live data of the first account, closed at the end."""
    live = BitMEXWebsocket(testnet.key, testnet.secret)
    live.connect(testnet.url, SYMBOL)
    yield live
    live.exit()


@pytest.fixture
def act(testnet):
    """Return a function that lets the account do something at the exchange: ``act('place', {...})``."""
    account = testnet.exchange.account_of(testnet.key)

    def act(verb, fields):
        return testnet.call(lambda: getattr(testnet.exchange, verb)(account, fields))
    yield act
    act('cancel_all', {})


def told(rows):
    """Return rows as the wire tells them: without the fields that are empty, in a fixed order."""
    return sorted(sorted((name, value) for name, value in row.items() if value is not None and name != 'tickLog')
                  for row in rows)


def agrees(ws, testnet, table):
    account = testnet.exchange.account_of(testnet.key)
    truth = testnet.call(lambda: [dict(row) for row in testnet.exchange.rows(table, account)])
    return told(ws.data[table]) == told(row for row in truth if row.get('leavesQty') != 0)


def test_tables_agree_with_the_exchange(ws, testnet, act):
    """Orders placed, amended, filled and cancelled: orders, position and margin are those of the exchange's books."""
    rows = [act('place', {'symbol': SYMBOL, 'side': side, 'orderQty': 1000, 'price': price})
            for side, price in (('Buy', 60001), ('Buy', 59000), ('Sell', 60009), ('Sell', 61000))]
    act('amend', {'orderID': rows[1]['orderID'], 'price': 59100, 'orderQty': 900})
    act('cancel', {'orderID': rows[3]['orderID']})
    testnet.call(lambda: testnet.exchange.take(SYMBOL, 'Sell', 400))
    testnet.call(lambda: testnet.exchange.take(SYMBOL, 'Buy', 1000))

    for table in ('order', 'position', 'margin', 'instrument'):
        until(lambda table=table: agrees(ws, testnet, table))
    assert ws.position(SYMBOL)['currentQty'] == -600
    assert {row['price'] for row in ws.open_orders()} == {60001, 59100}
    assert ws.finished_order(rows[3]['orderID'])['ordStatus'] == 'Canceled'
    assert ws.get_ticker(SYMBOL) == {'last': 60009.0, 'buy': 60001.0, 'sell': 60010.0, 'mid': 60005.5}


def test_fills_are_logged(ws, testnet, act, caplog):
    """One line a match, in the words that people know, and the sums for the closing summary."""
    caplog.set_level(logging.INFO, 'root')
    order = act('place', {'symbol': SYMBOL, 'side': 'Sell', 'orderQty': 300, 'price': 60009.9})
    testnet.call(lambda: testnet.exchange.take(SYMBOL, 'Buy', 100))
    testnet.call(lambda: testnet.exchange.take(SYMBOL, 'Buy', 200))

    until(lambda: ws.executions.fills == 2)
    assert [record.getMessage() for record in caplog.records if record.module == 'ws_thread'] == [
        'Execution: Sell 100 Contracts of XBTUSD at 60009.9', 'Execution: Sell 200 Contracts of XBTUSD at 60009.9']
    assert [row['lastQty'] for row in ws.fills(order['orderID'])] == [100, 200]
    assert ws.executions.sold == {SYMBOL: 300} and ws.executions.fees['XBt'] != 0


def test_after_a_cut_the_tables_agree_again(ws, testnet, act):
    """Orders that came, went and traded while there was no connection: the fresh images show the truth."""
    kept = act('place', {'symbol': SYMBOL, 'side': 'Buy', 'orderQty': 500, 'price': 59500})
    gone = act('place', {'symbol': SYMBOL, 'side': 'Buy', 'orderQty': 500, 'price': 59600})
    until(lambda: len(ws.open_orders()) == 2)
    held = ws.tables.row('order', kept['orderID'])

    testnet.drop_sockets()
    act('cancel', {'orderID': gone['orderID']})
    act('amend', {'orderID': kept['orderID'], 'price': 59550})
    act('place', {'symbol': SYMBOL, 'side': 'Sell', 'orderQty': 100, 'ordType': 'Market'})
    until(lambda: ws.reconnects == 1)

    for table in ('order', 'position', 'margin'):
        until(lambda table=table: agrees(ws, testnet, table))
    assert held['price'] == 59550 and ws.tables.row('order', kept['orderID']) is held
    assert ws.reason() is None


def test_the_book_is_the_exchange_s_book(ws, testnet, act):
    """Subscribed when first asked for, then kept by deltas."""
    assert ws.market_depth()[0]['price'] >= 60010
    act('place', {'symbol': SYMBOL, 'side': 'Buy', 'orderQty': 700, 'price': 60005})

    until(lambda: agrees(ws, testnet, 'orderBookL2'))
    assert [row['size'] for row in ws.market_depth() if row['price'] == 60005] == [700]


def test_a_wrong_secret_is_refused(testnet):
    """The exchange checks the signature of the handshake."""
    ws = BitMEXWebsocket(testnet.key, 'not the secret')
    with pytest.raises(AuthenticationError, match='401'):
        ws.connect(testnet.url, SYMBOL)


def test_a_symbol_that_does_not_trade(testnet):
    """The nearest one is named, at once."""
    began = time.monotonic()
    with pytest.raises(SettingsError, match='BXTUSD; did you mean XBTUSD'):
        BitMEXWebsocket(testnet.key, testnet.secret).connect(testnet.url, 'BXTUSD')
    assert time.monotonic() - began < 8


def test_public_data_need_no_key(testnet):
    """Prices without an account."""
    ws = BitMEXWebsocket()
    ws.connect(testnet.url, SYMBOL, shouldAuth=False)
    assert ws.get_ticker(SYMBOL)['buy'] >= 60000 and 'margin' not in ws.data
    ws.exit()


def test_a_moving_market_is_never_stale():
    """Prices keep moving, quote and instrument keep agreeing, and the rows arrive without delay."""
    with running(market='lively', seed=5, symbols=(SYMBOL,)) as testnet:
        ws = BitMEXWebsocket(testnet.key, testnet.secret, heartbeat=0.5, stale_after=2.5)
        ws.connect(testnet.url, SYMBOL)
        deadline = time.monotonic() + 4.0
        while time.monotonic() < deadline:
            assert ws.reason() is None and ws.ready()
            time.sleep(0.05)
        assert ws.reconnects == 0 and -0.5 < ws.lag() < 2.0
        ws.exit()
