"""ccxt's bitmex class, the synchronous one: every unified method that a trader needs, checked against plain REST."""
import ccxt
import pytest
from exchange_process import start, stop
from local_client import Client

BTC, ETH, TETHER = 'BTC/USD:BTC', 'ETH/USD:BTC', 'BTC/USDT:USDT'
NOBODYS = '00000000-0000-4000-8000-000000000000'


def ccxt_client(exchange, key=None, secret=None):
    """Return a client that knows nothing but address and key; its own throttle stays on."""
    return ccxt.bitmex({'apiKey': key or exchange.key, 'secret': secret or exchange.secret,
                        'urls': {'api': {'public': exchange.base, 'private': exchange.base}}})


@pytest.fixture(scope='module')
def client(still):
    return ccxt_client(still)


@pytest.fixture(scope='module')
def plain(still):
    """Our own view of the same account."""
    return Client(still)


@pytest.fixture(scope='module')
def other(still):
    """The account on the other side of a trade."""
    return Client(still, *still.other)


@pytest.fixture(autouse=True)
def clean(plain, other):
    """Leave neither orders nor a position to the next test."""
    yield
    for one in (plain, other):
        one.send('DELETE', '/order/all', {})
        for position in one.get('/position'):
            if position['currentQty']:
                one.place(symbol=position['symbol'], execInst='Close')


def test_markets_and_currencies(client):
    """What ccxt derives from the instrument rows is what BitMEX's contracts are."""
    markets = client.load_markets()

    assert {BTC, ETH, TETHER} <= set(markets)
    kinds = {symbol: [kind for kind in ('inverse', 'quanto', 'linear') if markets[symbol][kind]]
             for symbol in (BTC, ETH, TETHER)}
    assert kinds == {BTC: ['inverse'], ETH: ['quanto'], TETHER: ['linear']}
    assert markets[BTC]['precision'] == {'amount': 100.0, 'price': 0.1} and markets[BTC]['active']
    assert markets[TETHER]['contractSize'] == 0.000001 and markets[BTC]['limits']['leverage']['max'] == 100
    assert {market['type'] for market in markets.values()} >= {'swap', 'future'}
    assert client.currencies['BTC']['precision'] == 1e-8 and client.currencies['USDT']['precision'] == 1e-6
    assert client.fetch_currencies()['BTC']['withdraw'] is True


def test_ticker_order_book_trades_and_candles(client, other):
    client.load_markets()
    other.place(symbol='XBTUSD', side='Buy', orderQty=300, ordType='Market')

    ticker = client.fetch_ticker(BTC)
    assert (ticker['bid'], ticker['ask']) == (60000.0, 60000.5)
    assert set(client.fetch_tickers([BTC, ETH])) == {BTC, ETH}
    book = client.fetch_order_book(BTC, 10)
    assert book['bids'][0][0] == 60000.0 and book['asks'][0][0] == 60000.5
    assert book['bids'] == sorted(book['bids'], reverse=True) and book['asks'] == sorted(book['asks'])
    trades = client.fetch_trades(BTC, limit=1000)
    assert (trades[-1]['side'], trades[-1]['price'], trades[-1]['amount']) == ('buy', 60000.5, 300.0)
    assert client.fetch_trades(BTC, since=trades[-1]['timestamp'], limit=10)[-1]['id'] == trades[-1]['id']
    for frame in ('1m', '5m', '1h', '1d'):
        opened, first, high, low, last, volume = client.fetch_ohlcv(BTC, frame, limit=5)[-1]
        assert low <= last <= high and first > 0 and volume >= 0
        assert opened % (client.parse_timeframe(frame) * 1000) == 0


def test_balance(client, plain):
    balance = client.fetch_balance()

    wallet = plain.get('/user/margin?currency=all')
    assert {row['currency'] for row in wallet} == {'XBt', 'USDt'}
    assert balance['total']['BTC'] == [row['marginBalance'] / 1e8 for row in wallet if row['currency'] == 'XBt'][0]
    assert balance['free']['USDT'] == 100000.0


def test_an_order_from_its_creation_to_its_end(client, plain):
    """Create, fetch, edit, cancel."""
    made = client.create_order(BTC, 'limit', 'buy', 100, 59000, {'clientOrderId': 'from-ccxt'})
    assert (made['status'], made['price'], made['clientOrderId'], made['side']) == ('open', 59000.0, 'from-ccxt', 'buy')
    assert client.fetch_order(made['id'], BTC)['id'] == made['id']
    assert [order['id'] for order in client.fetch_open_orders(BTC)] == [made['id']]

    edited = client.edit_order(made['id'], BTC, 'limit', 'buy', 200, 59000.5)
    assert (edited['id'], edited['price'], edited['info']['orderQty']) == (made['id'], 59000.5, 200)

    canceled = client.cancel_order(made['id'], BTC)
    assert canceled['status'] == 'canceled' and client.fetch_open_orders(BTC) == []
    assert made['id'] in [order['id'] for order in client.fetch_closed_orders(BTC)]
    assert [row['ordStatus'] for row in plain.get('/order') if row['orderID'] == made['id']] == ['Canceled']


def test_orders_are_canceled_by_several_ids_and_all_together(client):
    ids = [client.create_order(BTC, 'limit', 'sell', 100, 61000 + number)['id'] for number in range(4)]

    assert {order['status'] for order in client.cancel_orders(ids[:2])} == {'canceled'}
    assert {order['id'] for order in client.fetch_open_orders()} == set(ids[2:])
    assert {order['id'] for order in client.cancel_all_orders(BTC)} == set(ids[2:])
    assert client.fetch_open_orders() == []


@pytest.mark.parametrize('kind, price, options, expected', [
    ('limit', 59000, {'postOnly': True}, {'ordType': 'Limit', 'execInst': 'ParticipateDoNotInitiate'}),
    ('limit', 59000, {'timeInForce': 'ImmediateOrCancel'},
     {'timeInForce': 'ImmediateOrCancel', 'ordStatus': 'Canceled'}),
    ('market', None, {'triggerPrice': 65000, 'triggerDirection': 'above'}, {'ordType': 'Stop', 'stopPx': 65000}),
    ('limit', 64000, {'triggerPrice': 65000, 'triggerDirection': 'above'}, {'ordType': 'StopLimit', 'stopPx': 65000}),
    ('market', None, {'triggerPrice': 50000, 'triggerDirection': 'below'},
     {'ordType': 'MarketIfTouched', 'stopPx': 50000}),
    ('limit', 50000, {'triggerPrice': 50000, 'triggerDirection': 'below'},
     {'ordType': 'LimitIfTouched', 'stopPx': 50000}),
    ('market', None, {'trailingAmount': 100, 'triggerDirection': 'above'},
     {'pegPriceType': 'TrailingStopPeg', 'pegOffsetValue': 100}),
])
def test_every_kind_of_order_that_ccxt_knows(client, kind, price, options, expected):
    order = client.create_order(BTC, kind, 'buy', 100, price, options)

    assert {name: order['info'].get(name) for name in expected} == expected
    if expected.get('ordStatus') != 'Canceled':
        assert client.cancel_order(order['id'], BTC)['status'] == 'canceled'


def test_a_maker_and_a_taker_fill_with_their_fees(client, plain, other):
    """Both fills are in my trades, with side, liquidity and fee; the position and the ledger follow."""
    maker = client.create_order(BTC, 'limit', 'buy', 200, 60000.2)
    other.place(symbol='XBTUSD', side='Sell', orderQty=200, price=60000.2)
    taker = client.create_order(BTC, 'market', 'buy', 100)
    assert taker['status'] == 'closed' and client.fetch_order(maker['id'], BTC)['status'] == 'closed'

    trades = {trade['order']: trade for trade in client.fetch_my_trades(BTC)}
    assert (trades[maker['id']]['takerOrMaker'], trades[taker['id']]['takerOrMaker']) == ('maker', 'taker')
    assert trades[maker['id']]['amount'] == 200 and trades[maker['id']]['side'] == 'buy'
    for trade in (trades[maker['id']], trades[taker['id']]):
        assert trade['fee']['cost'] == trade['info']['execComm'] and trade['fee']['rate'] == trade['info']['commission']
    position = client.fetch_positions([BTC])[0]
    row = [row for row in plain.get('/position') if row['symbol'] == 'XBTUSD'][0]
    assert (position['side'], position['contracts']) == ('long', 300.0)
    assert position['entryPrice'] == row['avgEntryPrice'] and position['liquidationPrice'] == row['liquidationPrice']
    assert client.fetch_ledger('BTC')[-1]['currency'] == 'BTC'

    closed = client.close_position(BTC)
    assert (closed['side'], closed['status']) == ('sell', 'closed')
    assert [one['contracts'] for one in client.fetch_positions([BTC]) if one['contracts']] == []


def test_leverage_and_margin_mode(client, plain):
    assert client.set_leverage(7, BTC)['leverage'] == 7
    assert client.fetch_leverages([BTC])[BTC]['longLeverage'] == 7
    assert client.fetch_leverages([BTC])[BTC]['marginMode'] == 'isolated'
    assert client.set_margin_mode('cross', BTC)['crossMargin'] is True
    assert client.fetch_leverages([BTC])[BTC]['marginMode'] == 'cross'
    assert [row['crossMargin'] for row in plain.get('/position') if row['symbol'] == 'XBTUSD'] == [True]


def test_funding_and_the_rest_of_the_market(client, plain):
    rates = client.fetch_funding_rates([BTC, ETH])
    assert set(rates) == {BTC, ETH}
    row = plain.get('/instrument?symbol=XBTUSD')[0]
    assert rates[BTC]['fundingRate'] == row['fundingRate'] and rates[BTC]['nextFundingTimestamp'] is None
    assert rates[BTC]['fundingDatetime'] == row['fundingTimestamp']
    assert client.fetch_liquidations(BTC) == [] and client.fetch_open_interests()
    assert client.fetch_positions_adl_rank() is not None
    assert client.fetch_deposit_address('BTC', {'network': 'BTC'})['address']
    assert client.fetch_deposit_withdraw_fees(['BTC'])['BTC']['withdraw']['fee'] > 0


def test_funding_that_was_paid(ours):
    """When eight hours have passed the rate is in the history of funding, and what was paid among the trades."""
    client = ccxt_client(ours)
    client.create_order(BTC, 'market', 'buy', 1000)
    ours.control('PUT', 'clock', advance=8 * 3600)

    history = client.fetch_funding_rate_history(BTC, limit=50)
    assert [row['fundingRate'] for row in history] == [0.0001] and history[0]['symbol'] == BTC
    paid, = [trade for trade in client.fetch_my_trades(BTC) if trade['info']['execType'] == 'Funding']
    assert paid['timestamp'] == history[0]['timestamp'] and paid['timestamp'] % (4 * 3600 * 1000) == 0
    assert paid['fee']['cost'] > 0 and paid['takerOrMaker'] is None


def test_a_withdrawal_stays_pending_until_it_is_confirmed(ours):
    client = ccxt_client(ours)
    asked = client.withdraw('BTC', 0.5, 'an-address-of-mine', None, {'network': 'BTC'})
    assert (asked['type'], asked['status'], asked['amount']) == ('withdrawal', 'pending', 0.5)

    waiting, = ours.control('GET', 'withdrawals')
    ours.control('PUT', 'withdrawals/' + waiting['transactID'], action='confirm')
    moved = {one['type']: one for one in client.fetch_deposits_withdrawals('BTC')}
    assert (moved['deposit']['status'], moved['deposit']['amount']) == ('ok', 10.0)
    assert (moved['withdrawal']['status'], moved['withdrawal']['amount']) == ('ok', 0.5)
    assert client.fetch_balance()['total']['BTC'] == 10 - 0.5 - moved['withdrawal']['fee']['cost']


def test_a_liquidation(ours):
    """An isolated position is gone once the mark has passed the liquidation price that ccxt was shown."""
    client = ccxt_client(ours)
    client.set_leverage(100, BTC)
    client.create_order(BTC, 'market', 'buy', 1000)
    held, = client.fetch_positions([BTC])
    assert 59000 < held['liquidationPrice'] < 60000 and held['marginMode'] == 'isolated'
    ours.control('PUT', 'instruments/XBTUSD', markPrice=held['liquidationPrice'] + 0.5)
    assert client.fetch_positions([BTC])[0]['contracts'] == 1000
    ours.control('PUT', 'instruments/XBTUSD', markPrice=held['liquidationPrice'] - 0.5)

    assert [one for one in client.fetch_positions([BTC]) if one['contracts']] == []
    assert sum(trade['amount'] for trade in client.fetch_my_trades(BTC) if trade['side'] == 'sell') == 1000


def test_cancel_all_after(client):
    """ccxt takes milliseconds and sends seconds, which BitMEX takes for milliseconds: the switch acts at once."""
    client.create_order(BTC, 'limit', 'buy', 100, 59000)
    said = client.cancel_all_orders_after(100000)
    assert client.parse8601(said['cancelTime']) - client.parse8601(said['now']) == 100

    while client.fetch_open_orders(BTC):
        pass
    assert client.fetch_closed_orders(BTC)[-1]['status'] == 'canceled'


@pytest.mark.parametrize('error, act', [
    (ccxt.InsufficientFunds, lambda client: client.create_order(TETHER, 'limit', 'buy', 500000000, 70000)),
    (ccxt.BadRequest, lambda client: client.create_order(BTC, 'limit', 'buy', 100, 59000, {'orderQty': 150})),
    (ccxt.OrderNotFound, lambda client: client.fetch_order(NOBODYS, BTC)),
    (ccxt.BadRequest, lambda client: client.edit_order(NOBODYS, BTC, 'limit', 'buy', 100)),
    (ccxt.BadRequest, lambda client: client.set_leverage(100, BTC, {'leverage': 1000})),
])
def test_refusals_arrive_as_the_errors_that_ccxt_has_for_them(client, error, act):
    client.load_markets()
    with pytest.raises(error) as caught:
        act(client)
    assert type(caught.value) is error, caught.value


def test_a_client_order_id_in_use_is_an_invalid_order(client):
    client.create_order(BTC, 'limit', 'buy', 100, 59000, {'clientOrderId': 'twice'})
    with pytest.raises(ccxt.InvalidOrder):
        client.create_order(BTC, 'limit', 'buy', 100, 59000, {'clientOrderId': 'twice'})


def test_wrong_keys_are_authentication_errors(still):
    for key, secret in ((still.key, 'wrong'), ('nobody', still.secret)):
        with pytest.raises(ccxt.AuthenticationError):
            ccxt_client(still, key, secret).fetch_balance()


def test_who_asks_too_fast_is_told_so():
    """Without its throttle the client runs into the limit, and knows it for one."""
    limited = start('--market', 'still', '--symbol', 'XBTUSD')
    try:
        client = ccxt_client(limited)
        client.enableRateLimit = False
        with pytest.raises(ccxt.DDoSProtection):
            for _ in range(200):
                client.fetch_ticker(BTC)
    finally:
        stop(limited)


def test_a_client_without_a_key_reads_the_market(still):
    client = ccxt.bitmex({'urls': {'api': {'public': still.base, 'private': still.base}}})

    assert client.fetch_ticker(BTC)['bid'] == 60000.0
    with pytest.raises(ccxt.AuthenticationError):
        client.fetch_balance()
