"""REST without HTTP: every route, the parameters of tables, and what nonsense is answered."""

import pytest

from engine_world import NOW, a_market, an_exchange, check_laws, order
from market_maker.simulator import schema
from market_maker.simulator.api import Api
from market_maker.simulator.exchange import Refusal


class Client(object):
    """Sends requests for an account and returns (status, payload), refusals as their bodies."""

    def __init__(self, exchange, account):
        self.exchange, self.account, self.api = exchange, account, Api(exchange)

    def __call__(self, verb, path, query=None, body=None, account='own'):
        try:
            return self.api.request(verb, path, query, body, self.account if account == 'own' else account,
                                    self.exchange.now)
        except Refusal as refusal:
            return refusal.status, refusal.body()

    def get(self, path, **query):
        """Return the payload of a GET that is answered with 200."""
        status, payload = self('GET', path, query)
        assert status == 200, payload
        return payload


@pytest.fixture
def client():
    """A customer with some history: fills, open and canceled orders, minutes of market."""
    exchange = a_market(bid=50000.0, ask=50000.1)
    client = Client(exchange, exchange.open_account('key', 'secret'))
    for count in range(3):
        exchange.place(client.account, order('Buy', 100 * (count + 1), clOrdID='m{}'.format(count)))
        exchange.place(client.account, order('Buy', 100, 49000 + count, clOrdID='b{}'.format(count)))
        exchange.place(client.account, order('Sell', 100, 51000 + count, clOrdID='s{}'.format(count)))
        exchange.advance(NOW + 60 * (count + 1))
    exchange.cancel(client.account, {'clOrdID': 's0'})
    return client


def test_an_orders_life_over_rest(client):
    """Place, look up, amend, cancel: answers with sorted keys, lists from cancels, numbers as text understood."""
    status, row = client('POST', '/order', {}, {'symbol': 'xbtusd', 'orderQty': '-300', 'price': '50500',
                                                'clOrdID': 'z'})
    assert status == 200 and list(row) == sorted(row)
    assert client('PUT', '/order', {}, {'origClOrdID': 'z', 'price': 50600})[1]['price'] == 50600
    assert client.get('/order', filter='{"clOrdID": "z"}')[0]['price'] == 50600
    status, rows = client('DELETE', '/order', {'clOrdID': '["z","y"]'}, {})
    assert status == 200 and [row.get('error') for row in rows] == [None, 'Unable to cancel order']
    assert client('DELETE', '/order', {}, {'orderID': row['orderID']})[1][0]['error'] == 'Unable to cancel order'
    status, rows = client('DELETE', '/order/all', {'filter': '{"side": "Buy"}'}, {'symbol': 'XBTUSD'})
    assert sorted(row['clOrdID'] for row in rows) == ['b0', 'b1', 'b2']
    assert client('POST', '/order/cancelAllAfter', {}, {'timeout': 60000})[1]['cancelTime'] > '2026'
    assert client('POST', '/order/cancelAllAfter', {}, {})[0] == 400
    assert client('POST', '/order/closePosition', {}, {'symbol': 'XBTUSD'})[1]['ordStatus'] == 'Filled'
    check_laws(client.exchange)


def test_positions_over_rest(client):
    """The four requests of /position answer with the position's row."""
    assert client('POST', '/position/leverage', {}, {'symbol': 'XBTUSD', 'leverage': 10})[1]['leverage'] == 10
    assert client('POST', '/position/isolate', {}, {'symbol': 'XBTUSD', 'enabled': False})[1]['crossMargin'] is True
    assert client('POST', '/position/riskLimit', {}, {'symbol': 'XBTUSD',
                                                      'riskLimit': 35000000000})[1]['riskLimit'] == \
        35000000000
    assert client('POST', '/position/transferMargin', {}, {'symbol': 'XBTUSD', 'amount': 5})[1]['error']['message'] == \
        'Position has cross margin enabled'
    row, = client.get('/position')
    assert row['currentQty'] == 600 and list(row) and row['isOpen']
    assert client.get('/position', filter='{"isOpen": true}', columns='["currentQty"]') == [
        {'account': client.account.id, 'symbol': 'XBTUSD', 'strategy': 'OneWay', 'currentQty': 600}]


@pytest.mark.parametrize('query, ids', [
    ({}, 'm0 b0 s0 m1 b1 s1 m2 b2 s2'),
    ({'reverse': 'true', 'count': '2'}, 's0 s2'),
    ({'reverse': True, 'count': 1, 'start': 3}, 'm2'),
    ({'filter': '{"open": true}'}, 'b0 b1 s1 b2 s2'),
    ({'filter': '{"open": "true", "side": "Sell"}'}, 's1 s2'),
    ({'filter': {'ordStatus.isTerminated': False}}, 'b0 b1 s1 b2 s2'),
    ({'filter': '{"ordStatus.isTerminated": true}'}, 'm0 m1 m2 s0'),
    ({'filter': '{"clOrdID": ["b1", "m1", "x"]}'}, 'm1 b1'),
    ({'filter': '{"price": null}'}, 'm0 m1 m2'), ({'filter': '{"avgPx": "", "side": "Sell"}'}, 's0 s1 s2'),
    ({'filter': '{"price": ["49001", 51000, "x", null], "orderQty": 100}'}, 'm0 b1 s0'),
    ({'filter': '{"pool": "Primary", "clOrdID": "m0"}'}, 'm0'), ({'filter': '{"pool": ["Secondary"]}'}, ''),
    ({'filter': '{"pool": "Aggregated", "clOrdID": "m0"}'}, 'm0'),
    ({'filter': '{"orderQty": 200}'}, 'm1'), ({'filter': '{"orderQty": "200"}'}, 'm1'),
    ({'filter': '{"price": 49001.0}'}, 'b1'), ({'filter': '{"workingIndicator": "true"}'}, 'b0 b1 s1 b2 s2'),
    ({'filter': '{"symbol": "xbtusd", "side": "Sell"}'}, 's1 s2 s0'),
    ({'symbol': 'xbtusd', 'count': '1'}, 'm0'), ({'symbol': 'XBT:perpetual', 'count': '1'}, 'm0'),
    ({'symbol': 'XBT', 'count': 1}, 'm0'), ({'symbol': 'ETHUSD'}, ''), ({'symbol': 'XBT:quarterly'}, ''),
    ({'startTime': '2026-05-03T05:03:00'}, 'm2 b2 s2 s0'), ({'endTime': '2026-05-03 05:02'}, 'm0 b0'),
    ({'filter': '{"startTime": "2026-05-03T05:02:00Z", "endTime": "2026-05-03T05:03:00Z"}'}, 'm1 b1 s1'),
    ({'count': 0}, ''),
    ({'startTime': '2026-05-03T05:01:55.5001Z', 'endTime': '2026-05-03T05:01:55.4999Z'}, ''),
    ({'startTime': '2026-05-03T07:03:00+02:00'}, 'm2 b2 s2 s0'), ({'endTime': '2026-05-03 05:02:00.+00:00'}, 'm0 b0'),
    ({'filter': '{"timestamp": "2026-05-03 05:01:55.5"}'}, 'm0 b0'),
    ({'filter': '{"timestamp": ["2026-05-03T05:01:55.500000Z", "2000"]}'}, 'm0 b0'),
    ({'filter': '{"timestamp.date": "2026-05-03", "timestamp.minute": "05:01"}'}, 'm0 b0'),
    ({'filter': '{"timestamp.second": "05:01:55"}'}, 'm0 b0'), ({'filter': '{"timestamp.ss": 54}'}, ''),
    ({'filter': '{"timestamp.hh": "05", "timestamp.mm": 1, "timestamp.dd": 3, "timestamp.year": 2026}'}, 'm0 b0'),
    ({'filter': '{"timestamp.month": "2026-05", "timestamp.time": "05:01:55.5"}'}, 'm0 b0'),
    ({'filter': '{"timestamp.time": "05:01"}'}, ''), ({'filter': '{"timestamp.hh": 6}'}, ''),
    ({'filter': '{"timestamp.ww": 1, "clOrdID": ["m0"]}'}, 'm0'), ({'filter': '{"timestamp.ww": 6}'}, ''),
    ({'filter': '{"timestamp.week": "2026-04-27", "clOrdID": "m0"}'}, 'm0'),
    ({'filter': '{"timestamp.week": "2026-05-03", "clOrdID": "m0"}'}, 'm0'),
    ({'filter': '{"timestamp.week": "2026-05-04"}'}, ''), ({'filter': '{"timestamp.week": "2026-04-26"}'}, ''),
])
def test_queries_of_a_table(client, query, ids):
    """symbol, filter, count, start, reverse, startTime and endTime choose the rows."""
    rows = client.get('/order', **query)

    wanted = ids.split()
    found = [row['clOrdID'] for row in rows]
    assert (found if query.get('reverse') else sorted(found)) == (wanted if query.get('reverse') else sorted(wanted))


@pytest.mark.parametrize('query, message', [
    ({'filter': '{'}, 'filter values are not valid'), ({'filter': '[1]'}, 'filter values are not valid'),
    ({'filter': '5'}, 'filter values are not valid'), ({'filter': '{"open": 7}'}, 'filter values are not valid'),
    ({'filter': '{"nothing": 1}'}, 'filter columns are not valid'),
    ({'filter': '{"side": {"a": 1}}'}, 'filter values are not valid'),
    ({'filter': '[' * 100000}, 'filter values are not valid'),
    ({'columns': '["nothing"]'}, 'columns are not valid'), ({'columns': '[5]'}, 'columns are not valid'),
    ({'columns': '['}, 'columns are not valid'), ({'columns': 'symbol,x'}, 'columns are not valid'),
    ({'count': 'x'}, 'count is invalid'), ({'count': 501}, 'count is invalid'), ({'count': -1}, 'count is invalid'),
    ({'count': 1.5}, 'count is invalid'), ({'count': '1e400'}, 'count is invalid'), ({'count': []}, 'count is invalid'),
    ({'start': -1}, 'start is invalid'), ({'start': 'x'}, 'start is invalid'),
    ({'reverse': 'maybe'}, 'reverse is invalid'),
    ({'startTime': 'yesterday'}, 'startTime is invalid'), ({'endTime': 5}, 'endTime is invalid'),
    ({'filter': '{"timestamp.hh": "x"}'}, 'filter values are not valid'),
    ({'filter': '{"timestamp.hh": [5]}'}, 'filter values are not valid'),
    ({'filter': '{"timestamp.ww": 7}'}, 'filter values are not valid'),
    ({'filter': '{"timestamp.week": 5}'}, 'filter values are not valid'),
    ({'filter': '{"timestamp.date": 5}'}, 'filter values are not valid'),
    ({'filter': '{"timestamp.eon": 1}'}, 'filter columns are not valid'),
    ({'startTime': '2026-13-01'}, 'startTime is invalid'), ({'endTime': '2026-05-03T24:00'}, 'endTime is invalid'),
    ({'startTime': '9999-12-31T23:59:59.9999'}, 'startTime is invalid'),
    ({'startTime': '0001-01-01T00:00:00+23:00'}, 'startTime is invalid'),
    ({'symbol': 'XBT:sometimes'}, 'Invalid symbol'),
])
def test_bad_queries(client, query, message):
    """Each bad parameter is a 400 with its text."""
    status, payload = client('GET', '/order', query)
    assert (status, payload) == (400, {'error': {'message': message, 'name': 'HTTPError'}})


def test_tables_of_many_contracts_are_one_in_time():
    """Rows of all contracts and indices come in order of time, backwards too, page by page."""
    exchange = an_exchange(('XBTUSD', 'ETHUSD'))
    client = Client(exchange, exchange.open_account('key', 'secret'))
    for symbol in ('XBTUSD', 'ETHUSD'):
        exchange.rest(symbol, 'Sell', exchange.instruments[symbol].ticks_of(2000.0), 10 ** 6)
    for second in range(6):
        exchange.advance(NOW + second)
        exchange.take('XBTUSD' if second % 2 else 'ETHUSD', 'Buy', 100)
        exchange.set_index('XBTUSD', 2000 + second)

    for path in ('/trade', '/quote', '/trade/bucketed'):
        rows = client.get(path, count=1000)
        assert [row['timestamp'] for row in rows] == sorted(row['timestamp'] for row in rows)
        assert {'XBTUSD', 'ETHUSD'} <= {row['symbol'] for row in rows} or path == '/trade/bucketed'
        assert client.get(path, count=1000, reverse=True) == rows[::-1]
        assert [client.get(path, count=1, start=place)[0] for place in range(len(rows))] == rows
        assert client.get(path, symbol='ETHUSD', count=1000) == [row for row in rows if row['symbol'] == 'ETHUSD']
    assert client.get('/trade', symbol='.BXBT', reverse='true', count=1)[0]['price'] == 2005


@pytest.mark.parametrize('series, symbols', [
    ('XBT', 'XBT7D'), ('xbt:nearest', 'XBT7D'), ('XBT:weekly', 'XBT7D'), ('XBT:Perpetual', 'XBTUSD XBTUSDT'),
    ('XBT:quarterly', ''), ('ETH', 'ETHUSD'), ('eth:perpetual', 'ETHUSD'), ('ETH:weekly', ''), ('LTC', ''),
    ('xbtusd', 'XBTUSD'), ('.bxbt', '.BXBT'),
])
def test_series_of_contracts(series, symbols):
    """A bare series is its contract that expires first, or its perpetual; with a timeframe it is those of that one."""
    exchange = an_exchange(None)
    client = Client(exchange, exchange.open_account('key', 'secret'))

    assert sorted(row['symbol'] for row in client.get('/instrument', symbol=series)) == symbols.split()
    assert client.get('/instrument/activeIntervals') == {
        'intervals': ['XBT:perpetual', 'ETH:perpetual', 'XBT:perpetual', 'XBT:weekly'],
        'symbols': ['XBTUSD', 'ETHUSD', 'XBTUSDT', 'XBT7D']}


def test_columns_keep_the_keys(client):
    """Chosen columns come with the key columns, also as a comma list."""
    assert client.get('/order', columns='side,price', count=1, filter='{"open": true}')[0].keys() == {'orderID', 'side',
                                                                                                      'price'}
    assert client.get('/trade', columns='["size"]', count=1)[0].keys() == {'size'}
    assert client.get('/trade', columns='[]', count=1) == client.get('/trade', count=1)


def test_histories(client):
    """Executions are noisy, tradeHistory and executionHistory have what moved the balance."""
    kinds = {row['execType'] for row in client.get('/execution', count=500)}
    assert kinds == {'New', 'Trade', 'Canceled'}
    trades = client.get('/execution/tradeHistory')
    assert [row['clOrdID'] for row in trades] == ['m0', 'm1', 'm2']
    assert client.get('/user/executionHistory', symbol='XBTUSD', timestamp='2026-05-03T00:00:00.000Z') == trades
    assert client('GET', '/user/executionHistory', {'symbol': 'XBTUSD'})[0] == 400


def test_money_over_rest(client):
    """margin and wallet are objects in bitcoin, lists for all; histories begin with the newest."""
    assert client.get('/user/margin')['currency'] == client.get('/user/wallet',
                                                                currency='xbt' + '')['currency'] == 'XBt'
    assert [row['currency'] for row in client.get('/user/margin', currency='all')] == ['XBt', 'USDt']
    assert client.get('/user/wallet', currency='Gwei')['amount'] == 0
    assert client('GET', '/user/wallet', {'currency': 'DOGE'}) == (400, {'error': {'message': 'Invalid currency',
                                                                                   'name': 'HTTPError'}})
    client.exchange.set_mark('XBTUSD', 51000)
    history = client.get('/user/walletHistory')
    assert [row['transactType'] for row in history][-1] == 'Deposit' and history[0]['transactStatus'] == 'Pending'
    assert len(client.get('/user/walletHistory', count=2)) == 2
    summary = {row['transactType']: row['amount'] for row in client.get('/user/walletSummary')}
    assert summary['Deposit'] + summary['RealisedPNL'] == summary['Total'] == client.get('/user/wallet')['amount']
    assert client.get('/user/commission')['XBTUSD'] == {'maxFee': 0.0005, 'makerFee': 0.0005, 'takerFee': 0.0005,
                                                        'settlementFee': 0}
    assert client.get('/user/depositAddress', currency='XBt', network='btc')


@pytest.mark.parametrize('changes, message', [
    ({}, None), ({'amount': 'x'}, 'Invalid amount'), ({'amount': 5}, 'Invalid amount'),
    ({'amount': -60000000}, 'Invalid amount'),
    ({'currency': 'DOGE'}, 'Invalid currency'), ({'network': 'eth'}, 'Invalid network'), ({'fee': -1}, 'Invalid fee'),
    ({'address': ''}, 'address, addressId or targetUserId must be sent.'),
    ({'currency': None}, "'currency' is a required arg."),
    ({'amount': 10 ** 12}, 'Account has insufficient Available Balance, 1000000001000 XBt required'),
])
def test_withdrawals_over_rest(client, changes, message):
    """A withdrawal becomes a pending transaction, or a 400 that says why not."""
    body = dict({'currency': 'XBt', 'network': 'btc', 'amount': 60000000, 'address': 'bc1'}, **changes)
    status, payload = client('POST', '/user/requestWithdrawal', {}, body)
    if message:
        assert (status, payload['error']['message']) == (400, message)
        return
    assert (status, payload['transactStatus'], payload['network']) == (200, 'Pending', 'btc')
    assert client('DELETE', '/user/withdrawal', {},
                  {'transactID': payload['transactID']})[1]['transactStatus'] == 'Canceled'
    assert client('DELETE', '/user/withdrawal', {}, {'transactID': payload['transactID']})[0] == 404


def test_the_market_over_rest(client):
    """Instruments, trades, quotes, bins, book, stats: rows as the WebSocket has them."""
    assert [row['symbol'] for row in client.get('/instrument/active')] == ['XBTUSD']
    assert [row['symbol'] for row in client.get('/instrument/indices')] == ['.BXBT']
    assert [row['symbol'] for row in client.get('/instrument/activeAndIndices')] == ['XBTUSD', '.BXBT']
    assert client.get('/instrument', symbol='.BXBT')[0]['lastPrice'] == 50000.05
    assert client.get('/instrument', filter='{"state": "Open"}',
                      columns='["lotSize"]') == [{'symbol': 'XBTUSD', 'lotSize': 100}]
    assert client.get('/instrument/activeIntervals') == {'intervals': ['XBT:perpetual'], 'symbols': ['XBTUSD']}
    assert client.get('/instrument/compositeIndex', symbol='.BXBT')[0]['indexSymbol'] == '.BXBT'
    assert client.get('/instrument/usdVolume')[0]['symbol'] == 'XBTUSD'
    last = client.get('/trade', symbol='XBTUSD', reverse='true', count='1')[0]
    assert (last['size'], last['side'], last['trdType']) == (300, 'Buy', 'Regular')
    assert client.get('/quote', reverse='true', count=1)[0]['askSize'] == 100000 - 600
    bins = client.get('/trade/bucketed', binSize='1m', symbol='XBTUSD', reverse='true')
    assert [row['volume'] for row in bins] == [300, 200, 100] and bins[0]['timestamp'] == '2026-05-03T05:04:00.000Z'
    assert client.get('/trade/bucketed', binSize='1h', partial='true')[0]['volume'] == 600
    running = client.get('/quote/bucketed', binSize='1h', partial='true')[-1]
    assert (running['timestamp'], running['askSize']) == ('2026-05-03T06:00:00.000Z', 100000 - 600)
    assert client.get('/quote/bucketed', binSize='1m')[0]['bidPrice'] == 50000.0
    book = client.get('/orderBook/L2', symbol='xbtusd', depth=1)
    assert [(row['side'], row['price']) for row in book] == [('Sell', 50000.1), ('Buy', 50000.0)]
    assert len(client.get('/orderBook/L2', symbol='XBT:perpetual', depth='0')) == 7
    assert [row['rootSymbol'] for row in client.get('/stats')] == ['XBT', 'Total']
    assert client.get('/insurance')[0]['currency'] == 'XBt'


@pytest.mark.parametrize('path, query, status, message', [
    ('/orderBook/L2', {}, 400, "'symbol' is a required arg."),
    ('/orderBook/L2', {'symbol': 'BXT'}, 400, 'Unknown or expired symbol'),
    ('/orderBook/L2', {'symbol': 'XBTUSD', 'depth': 'x'}, 400, 'depth is invalid'),
    ('/trade', {'count': 1001}, 400, 'count is invalid'),
    ('/trade/bucketed', {'binSize': '2m'}, 400, 'binSize is invalid'),
    ('/trade/bucketed', {'binSize': []}, 400, 'binSize is invalid'),
    ('/schema', {'model': 'Nothing'}, 404, 'Not Found'),
    ('/user/depositAddress', {}, 400, "'currency' is a required arg."),
    ('/user/executionHistory', {'symbol': 'XBTUSD'}, 400, "'timestamp' is a required arg."),
    ('/user/executionHistory', {'symbol': 'XBTUSD', 'timestamp': '9999-12-31'}, 400, 'timestamp is invalid'),
    ('/user/depositAddress', {'currency': 'XBt'}, 400, "'network' is a required arg."),
    ('/user/depositAddress', {'currency': 'DOGE', 'network': 'btc'}, 400, 'Invalid currency'),
    ('/user/depositAddressInformation', {'currency': 'XBt', 'network': 'eth'}, 400, 'Invalid network'),
])
def test_bad_questions_about_the_market(client, path, query, status, message):
    """Public routes have their texts, too."""
    assert client('GET', path, query) == (status, {'error': {'message': message, 'name': 'HTTPError'}})


def test_schema_knows_every_column(client):
    """What the tables hold is what GET /schema and the partials name, with a type for each column."""
    models = client.get('/schema')
    assert models['Order']['keys'] == ['orderID'] and client.get('/schema',
                                                                 model='Position')['types']['currentQty'] == 'long'
    assert 'orderBookL2' in client.get('/schema/websocketHelp')['subscriptionSubjects']['public']
    exchange, account = client.exchange, client.account
    exchange.set_funding('XBTUSD', 0.0001, 60)
    exchange.advance(exchange.now + 100)
    exchange.banker.request_withdrawal(account.purse('XBt'), 5000, 1000, 'x')
    values = {'long': int, 'float': (int, float), 'symbol': str, 'timestamp': str, 'timespan': str, 'guid': str,
              'boolean': bool, '': (str, list)}
    for table, (keys, types, _, _) in schema.TABLES.items():
        rows = exchange.rows(table, account)
        if table in ('order', 'execution', 'transact'):
            rows = exchange.history(table, account)
        for row in rows:
            assert set(row) <= set(types), (table, set(row) - set(types))
            assert set(keys) <= set(row), (table, row)
            for name, value in row.items():
                assert isinstance(value, values[types[name]]), (table, name, value)
                assert not (types[name] in ('long', 'float') and isinstance(value, bool)), (table, name, value)


def test_every_get_route_of_the_specification_is_answered_or_unknown(client, specification):
    """What a trader reads exists; what does not exist says 404; nothing breaks."""
    missing = []
    for path, verbs in specification['paths'].items():
        for verb in verbs:
            status, _ = client(verb.upper(), path, {}, {})
            assert status in (200, 400, 404), (verb, path, status)
            if status == 404:
                missing.append(verb.upper() + ' ' + path)
    assert not [one for one in missing if one.split()[1].split('/')[1] in (
        'order', 'execution', 'position', 'instrument', 'trade', 'quote', 'orderBook', 'funding', 'stats', 'settlement',
        'insurance', 'liquidation', 'schema', 'wallet', 'announcement', 'leaderboard')], missing
