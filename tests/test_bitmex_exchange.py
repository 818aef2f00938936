"""BitMEX against the local exchange, over real sockets: REST and live tables tell the same story."""
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from market_maker import bitmex  # noqa: E402
from market_maker.rest.names import is_generated  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.utils.errors import (APIError, AuthenticationError, ConnectionLost, InsufficientFunds,  # noqa: E402
                                       OrderNotFound, OrderRejected)


def wait_for(ready, seconds=5.0):
    """Return what ``ready()`` returns as soon as that is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = ready()
        if value:
            return value
        assert time.monotonic() < deadline, 'waited {} s in vain'.format(seconds)
        time.sleep(0.005)


@pytest.fixture(scope='module')
def testnet():
    with running(bid=60000, ask=60010, symbols=('XBTUSD', 'ETHUSD')) as exchange:
        yield exchange


@pytest.fixture
def bot(testnet):
    connector = bitmex.BitMEX(testnet.url, 'XBTUSD')
    yield connector
    connector.cancel([row['orderID'] for row in connector.http_open_orders()])
    connector.exit()


def test_order_lives_and_dies(bot):
    """Created, seen in both places, amended, cancelled: each row tells its state, and both views agree."""
    row = bot.buy(100, 59000)
    assert (row['ordStatus'], row['side'], row['orderQty'], row['price'], row['leavesQty']) == ('New', 'Buy', 100,
                                                                                                59000, 100)
    assert is_generated(row['clOrdID'], 'mm_bitmex_')
    live = wait_for(bot.open_orders)[0]
    assert [each['orderID'] for each in bot.http_open_orders()] == [live['orderID']] == [row['orderID']]

    assert bot.amend_order({'orderID': row['orderID'], 'price': 59010, 'orderQty': 200})['price'] == 59010
    assert bot.amend_orders([{'clOrdID': row['clOrdID'], 'orderQty': 300}])[0]['orderQty'] == 300
    wait_for(lambda: (live['price'], live['orderQty']) == (59010, 300))

    assert [each['ordStatus'] for each in bot.cancel(row['orderID'])] == ['Canceled']
    wait_for(lambda: not bot.open_orders())
    assert bot.http_open_orders() == []
    assert bot.look_up([row['clOrdID']])[0]['ordStatus'] == 'Canceled'
    assert bot.look_up(orderIDs=[row['orderID']])[0]['clOrdID'] == row['clOrdID']


def test_ladder_is_placed_and_one_bad_order_is_left_out(bot):
    """Five good orders rest; the bad ones come back with the exchange's reasons."""
    good = [{'side': side, 'orderQty': 100, 'price': price} for side, price in
            [('Buy', 59000), ('Buy', 58900), ('Sell', 61000), ('Sell', 61100), ('Sell', 61200)]]
    bad = [{'side': 'Buy', 'orderQty': 100, 'price': 58000.03}, {'side': 'Buy', 'orderQty': 50, 'price': 58000},
           {'side': 'Buy', 'orderQty': 10000000, 'price': 58000}, {'symbol': 'NOSUCH', 'orderQty': 100, 'price': 1}]
    bot.isolate_margin('XBTUSD', 1)   # so that ten million contracts cost more than the account has
    rows = bot.create_bulk_orders(good[:2] + bad + good[2:])
    assert [row['price'] for row in rows] == [order['price'] for order in good]
    assert [order for order, _ in rows.errors] == bad
    errors = [error for _, error in rows.errors]
    assert all(isinstance(error, OrderRejected) and error.status == 400 for error in errors), errors
    assert isinstance(errors[2], InsufficientFunds) and errors[2].required > 0 and errors[2].currency == 'XBt'
    assert len(bot.http_open_orders()) == 5
    assert len(bot.cancel_orders(rows)) == 5 and bot.http_open_orders() == []


def test_orders_that_do_not_rest_come_back_with_their_state(bot):
    """A post-only order that would trade is Canceled, a market order is Filled: rows, not errors."""
    assert bot.buy(100, 60010, execInst='ParticipateDoNotInitiate')['ordStatus'] == 'Canceled'
    row = bot.buy(100, None, ordType='Market')
    assert row['ordStatus'] == 'Filled' and row['avgPx']
    wait_for(lambda: bot.position('XBTUSD').get('currentQty') == 100)
    assert bot.delta() > 0
    assert bot.place_order(None, None, execInst='Close')['ordStatus'] == 'Filled'
    wait_for(lambda: not bot.position('XBTUSD').get('currentQty'))


def test_late_and_unknown_amends_and_cancels(bot):
    """An amend of a cancelled order, of an unknown one, and cancels of both have their own meanings."""
    row = bot.sell(100, 61000)
    bot.cancel(row['orderID'])
    with pytest.raises(APIError) as caught:
        bot.amend_order({'orderID': row['orderID'], 'price': 61001})
    assert caught.value.message.startswith('Invalid ordStatus')
    with pytest.raises(OrderNotFound):
        bot.amend_order({'orderID': '00000000-0000-4000-8000-000000000000', 'price': 61001})
    again = bot.cancel(row['orderID'])
    assert again is None or again[0].get('error') or again[0]['ordStatus'] == 'Canceled'


def test_name_in_use_is_refused_and_a_free_one_is_not(bot):
    """The exchange keeps names apart among open orders only."""
    bot.buy(100, 59000, clOrdID='mm_bitmex_mine')
    with pytest.raises(OrderRejected) as caught:
        bot.buy(100, 59000, clOrdID='mm_bitmex_mine')
    assert caught.value.message == 'Duplicate clOrdID'
    bot.cancel_orders([{'clOrdID': 'mm_bitmex_mine'}])
    assert bot.buy(100, 59000, clOrdID='mm_bitmex_mine')['ordStatus'] == 'New'


def test_reads(bot):
    """Ticker, instrument, depth, instruments, funds and trades answer."""
    assert bot.ticker_data() == {'last': pytest.approx(60000, abs=100), 'buy': 60000, 'sell': 60010, 'mid': 60005}
    assert bot.instrument()['symbol'] == 'XBTUSD' and bot.instrument('ETHUSD')['symbol'] == 'ETHUSD'
    book = bot.market_depth()
    assert {row['side'] for row in book} == {'Buy', 'Sell'} and {'symbol', 'id', 'side', 'size',
                                                                 'price'} <= set(book[0])
    assert max(row['price'] for row in book if row['side'] == 'Buy') == 60000
    assert {row['symbol'] for row in bot.instruments()} >= {'XBTUSD', 'ETHUSD'}
    assert [row['symbol'] for row in bot.instruments({'symbol': 'ETHUSD'})] == ['ETHUSD']
    assert bot.funds()['marginBalance'] > 0 and isinstance(bot.recent_trades(), list)
    assert bot.isolate_margin('XBTUSD', 3)['leverage'] == 3
    assert bot._curl_bitmex('user/margin', {'currency': 'XBt'})['currency'] == 'XBt'


def test_two_symbols_in_one_process(testnet, bot):
    """Connectors with different symbols do not see each other's orders."""
    other = bitmex.BitMEX(testnet.url, 'ETHUSD')
    try:
        bot.buy(100, 59000)
        assert other.http_open_orders() == [] and len(bot.http_open_orders()) == 1
        assert other.ticker_data()['buy'] < 60000
    finally:
        other.exit()


def test_wrong_secret_is_refused(testnet):
    """The exchange knows the key, and another secret: one line, a SystemExit for scripts, nothing left running."""
    with running(bid=60000, ask=60010, accounts=[{'key': 'known', 'secret': 'right'}]) as closed:
        with pytest.raises(AuthenticationError) as caught:
            bitmex.BitMEX(closed.url, 'XBTUSD', 'known', 'wrong')
        assert isinstance(caught.value, SystemExit) and '\n' not in str(caught.value)
        assert 'wrong' not in str(caught.value).replace('wrong secret', '')


def test_exchange_that_ends_is_lost_and_said_so():
    """When nobody answers any more, calls end with ConnectionLost, and exit still returns."""
    with running(bid=60000, ask=60010) as exchange:
        connector = bitmex.BitMEX(exchange.url, 'XBTUSD', timeout=1)
        row = connector.buy(100, 59000)
    with pytest.raises(ConnectionLost):
        connector._curl_bitmex('order', max_retries=0)
    with pytest.raises(ConnectionLost):
        connector._curl_bitmex('order', postdict={'orderID': row['orderID']}, verb='DELETE', max_retries=1)
    connector.exit()


def test_rate_limits_are_kept(testnet):
    """With limits on, fifteen orders in a row are paced so that none is refused, and the cancel still goes through
    at once."""
    with running(bid=60000, ask=60010, rate_limits=True) as exchange:
        connector = bitmex.BitMEX(exchange.url, 'XBTUSD')
        rows = connector.create_orders([{'side': 'Buy', 'orderQty': 100, 'price': 59000 - number}
                                        for number in range(15)])
        assert len(rows) == 15 and not rows.errors
        began = time.monotonic()
        assert len(connector.cancel([row['orderID'] for row in rows])) == 15
        assert time.monotonic() - began < 1
        connector.exit()
