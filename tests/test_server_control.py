"""The control interface over real sockets: who may use it, what it does, what it says when it will not."""
import collections
import json
import logging
import os
import random
import shlex

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import requests  # noqa: E402
from engine_world import check_laws  # noqa: E402
from local_client import Client, Socket, auth_headers  # noqa: E402

from market_maker.server import control as server_control  # noqa: E402
from market_maker.server import faults  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.simulator.timestamps import seconds_of  # noqa: E402

LIMIT = {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 59000}


class Control:
    """Asks the control interface with its token."""

    def __init__(self, testnet):
        self.base = testnet.server.base + '/local-exchange/control'
        self.token = testnet.server.control.token

    def send(self, verb, path='', body=None, **headers):
        headers.setdefault('Authorization', 'Bearer ' + self.token)
        return requests.request(verb, self.base + '/' * bool(path) + path, timeout=30, headers=headers,
                                data=None if body is None else json.dumps(body))

    def ask(self, verb, path='', body=None):
        answer = self.send(verb, path, body)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def error(self, verb, path='', body=None, **headers):
        answer = self.send(verb, path, body, **headers)
        return answer.status_code, answer.json()['error']['message']


@pytest.fixture
def testnet():
    with running(bid=60000, ask=60000.1, symbols=('XBTUSD', 'ETHUSD', 'XBT7D'), control='') as testnet:
        yield testnet


@pytest.fixture
def control(testnet):
    return Control(testnet)


@pytest.fixture
def client(testnet):
    return Client(testnet)


def test_it_says_what_can_be_asked_for(testnet, control):
    said = control.ask('GET')

    assert said['instance'] == testnet.server.instance and 'overload' in said['profiles'] and 'lag' in said['faults']
    assert {(one['verb'], one['path']) for one in said['requests']} >= {
        ('POST', '/local-exchange/control/accounts'), ('PUT', '/local-exchange/control/instruments/SYMBOL')}


def test_it_is_not_there_unless_it_was_asked_for():
    with running(bid=60000, ask=60000.1) as testnet:
        assert requests.get(testnet.server.base + '/local-exchange/control', timeout=10).status_code == 404


@pytest.mark.parametrize('header', ['', 'Bearer ', 'Bearer wrong', 'Basic TOKEN', 'TOKEN', 'Bearer T\xf6ken'])
def test_nobody_is_let_in_without_the_token(testnet, control, header):
    status, message = control.error('GET', Authorization=header.replace('TOKEN', control.token).encode('latin-1'))

    assert (status, 'Authorization: Bearer TOKEN' in message, control.token in message) == (401, True, False)


def test_nobody_is_let_in_from_another_machine(testnet, control, monkeypatch):
    monkeypatch.setattr('market_maker.local.is_loopback', lambda host: False)

    assert control.error('GET')[0] == 403


@pytest.mark.parametrize('verb, path, body, status, words', [
    ('GET', 'acounts', None, 404, 'There is no acounts'),
    ('DELETE', 'accounts', None, 405, 'take GET or POST'),
    ('GET', 'accounts/nobody', None, 404, 'No account has the number or the key nobody'),
    ('POST', 'accounts', {'balanse': {}}, 400, "an account has no 'balanse'"),
    ('POST', 'accounts', {'key': 'k', 'secret': 's', 'keys': [{'key': 'k', 'secret': 't'}]}, 400, 'is there twice'),
    ('POST', 'accounts', {'key': 'LocalExchangeDemoAccount'}, 400, 'the key is already in use'),
    ('POST', 'accounts/100001/keys', {'permission': []}, 400, "a key has no 'permission'"),
    ('POST', 'accounts/100001/keys', {'key': 'LocalExchangeDemoAccount'}, 400, 'the key is already in use'),
    ('PUT', 'keys/LocalExchangeDemoAccount', {'cidr': ['10.0.0.0/33']}, 400, 'is no network'),
    ('PUT', 'keys/LocalExchangeDemoAccount', {'permissions': ['all']}, 400, "unknown permission 'all'"),
    ('PUT', 'keys/nobody', {'enabled': True}, 404, 'No account has the key nobody'),
    ('POST', 'accounts/100001/deposit', {'amount': -5}, 400, 'amount is -5; take a whole number'),
    ('POST', 'accounts/100001/deposit', {}, 400, 'a deposit needs amount'),
    ('POST', 'accounts/100001/deposit', {'amount': 5, 'currency': 'BTC'}, 400, 'one of XBt, USDt'),
    ('PUT', 'withdrawals/0', {'action': 'confirm'}, 404, 'No withdrawal with the transactID 0 waits'),
    ('PUT', 'instruments/XBTEUR', {}, 404, 'XBTEUR does not trade here; there are XBTUSD'),
    ('PUT', 'instruments/XBTUSD', {'tick': 1}, 400, 'did you mean tickSize?'),
    ('PUT', 'instruments/XBTUSD', {'tickSize': 0.25}, 400, 'is no multiple of 0.1'),
    ('PUT', 'instruments/XBTUSD', {'lotSize': 150}, 400, 'is no multiple of 100'),
    ('PUT', 'instruments/XBTUSD', {'state': 'open'}, 400, 'one of Open, Closed, Settled'),
    ('PUT', 'instruments/XBTUSD', {'markPrice': 'high'}, 400, 'markPrice is'),
    ('PUT', 'instruments/XBT7D', {'fundingRate': 0.001}, 400, 'XBT7D expires'),
    ('PUT', 'instruments/.BXBT', {'state': 'Closed'}, 400, 'is an index'),
    ('POST', 'trades', {'symbol': '.BXBT', 'side': 'Buy', 'quantity': 100}, 404, '.BXBT does not trade here'),
    ('POST', 'trades', {'symbol': 'XBTUSD', 'side': 'Buy', 'quantity': 150}, 400, 'multiple of the lot 100'),
    ('POST', 'trades', {'symbol': 'XBTUSD', 'side': 'Buy', 'quantity': 100, 'price': 60000.05}, 400, 'no multiple'),
    ('PUT', 'market', {'bid': 60000}, 400, 'Give both bid and ask'),
    ('PUT', 'market', {'bid': 60001, 'ask': 60000}, 400, 'a bid below its ask'),
    ('PUT', 'market', {'bid': 60000.05, 'ask': 60001}, 400, 'is not a multiple of 0.1'),
    ('PUT', 'clock', {'advance': -1}, 400, 'a number from 0'),
    ('POST', 'faults', {'fault': 'lost-replay'}, 400, 'did you mean lost-reply?'),
    ('POST', 'faults', {}, 400, 'Give {"fault": NAME'),
    ('POST', 'faults', {'profile': 'overlode'}, 400, 'one of overload'),
    ('DELETE', 'faults/none', None, 404, 'No fault is called none'),
])
def test_errors_say_what_is_wrong_and_change_nothing(testnet, control, verb, path, body, status, words):
    before = testnet.call(lambda: [str(row) for row in testnet.exchange.rows('instrument')][:3])
    said = control.error(verb, path, body)

    assert said[0] == status and words in said[1], said
    assert len(before) == 3 and control.ask('GET', 'laws')['hold']
    assert [one['account'] for one in control.ask('GET', 'accounts')] == [100001]


def test_what_is_no_json_object_is_refused(control):
    for body in (b'[1]', b'{', b'\xff'):
        answer = requests.post(control.base + '/accounts', data=body, timeout=10,
                               headers={'Authorization': 'Bearer ' + control.token})
        assert answer.status_code == 400, answer.text


def test_an_account_is_opened_with_several_keys(testnet, control):
    made = control.ask('POST', 'accounts', {
        'key': 'alice', 'secret': 'hers', 'balance': {'XBt': 500000000},
        'positions': [{'symbol': 'XBTUSD', 'currentQty': -500, 'avgEntryPrice': 59000}],
        'keys': [{'key': 'reader', 'secret': 'r', 'permissions': []},
                 {'key': 'far', 'secret': 'f', 'cidr': ['10.0.0.0/8', '192.168.0.0/16']},
                 {'key': 'off', 'secret': 'o', 'enabled': False}]})
    codes = {name: Client(testnet, name, secret).send('POST', '/order', LIMIT).status_code
             for name, secret in (('alice', 'hers'), ('reader', 'r'), ('far', 'f'), ('off', 'o'))}

    assert (made['key'], made['secret'], made['positions']) == ('alice', 'hers', {'XBTUSD': -500})
    assert codes == {'alice': 200, 'reader': 403, 'far': 403, 'off': 403}
    assert Client(testnet, 'reader', 'r').get('/user/margin')['walletBalance'] == 500000000
    assert [key['key'] for key in control.ask('GET', 'accounts/alice')['keys']] == ['alice', 'reader', 'far', 'off']


def test_keys_are_made_up_where_none_is_given(testnet, control):
    made = control.ask('POST', 'accounts', {})
    other = control.ask('POST', 'accounts/{}/keys'.format(made['account']), {'permissions': ['orderCancel']})

    Client(testnet, made['key'], made['secret']).place(**LIMIT)
    assert Client(testnet, other['key'], other['secret']).send('DELETE', '/order/all', {}).status_code == 200
    assert made['secret'] not in control.send('GET', 'accounts').text


def test_a_key_is_changed_and_forgotten(testnet, control, client):
    key = testnet.key

    assert control.ask('PUT', 'keys/' + key, {'enabled': False})['enabled'] is False
    assert client.send('GET', '/position').json()['error']['message'] == 'This key is disabled.'
    control.ask('PUT', 'keys/' + key, {'enabled': True, 'cidr': '10.0.0.0/8,192.168.1.1'})
    assert client.send('GET', '/position').json()['error']['message'] == \
        'This IP address is not allowed to use this key.'
    control.ask('PUT', 'keys/' + key, {'cidr': None, 'permissions': ['withdraw']})
    assert client.send('POST', '/order', LIMIT).json()['error']['message'] == 'Access Denied'
    control.ask('DELETE', 'keys/' + key)
    assert client.send('GET', '/position').json()['error']['message'] == 'Invalid API Key.'


def test_an_account_is_restricted(control, client):
    control.ask('PUT', 'accounts/100001', {'restricted': True})

    assert client.send('POST', '/order', LIMIT).json()['error']['message'] == 'Account is restricted'


def withdraw(client, amount):
    """Request a withdrawal of bitcoin; return its row."""
    return client._good(client.send('POST', '/user/requestWithdrawal', {
        'currency': 'XBt', 'network': 'btc', 'amount': amount, 'address': 'tb1q'}))


def test_money_comes_and_goes(testnet, control, client):
    """A deposit is there at once; a withdrawal waits until it is confirmed or taken back."""
    with Socket(testnet.ws_url + '?subscribe=wallet,transact', auth_headers(testnet.key, testnet.secret)) as ws:
        ws.partial('transact')
        control.ask('POST', 'accounts/100001/deposit', {'amount': 5000000})
        ws.change('wallet', 'update', amount=1005000000)
        asked = [withdraw(client, amount) for amount in (1000000, 2000000)]
        waiting = control.ask('GET', 'withdrawals')
        still_there = client.get('/user/wallet')['amount']
        done = control.ask('PUT', 'withdrawals/' + asked[0]['transactID'], {'action': 'confirm'})
        ws.change('transact', 'update', transactID=asked[0]['transactID'], transactStatus='Completed')
        taken_back = control.ask('PUT', 'withdrawals/' + asked[1]['transactID'], {'action': 'cancel'})
        again = control.error('PUT', 'withdrawals/' + asked[0]['transactID'], {'action': 'confirm'})

    assert [row['transactID'] for row in waiting] == [row['transactID'] for row in asked]
    assert still_there == 1005000000
    assert (done['transactStatus'], taken_back['transactStatus'], again[0]) == ('Completed', 'Canceled', 404)
    wallet = client.get('/user/wallet')
    assert (wallet['amount'], wallet['withdrawn'], wallet['pendingDebit']) == (1005000000 - 1001000, 1001000, 0)
    history = client.get('/user/walletHistory')
    assert sorted((row['transactType'], row['amount'], row['transactStatus']) for row in history) == [
        ('Deposit', 5000000, 'Completed'), ('Deposit', 1000000000, 'Completed'),
        ('Withdrawal', -2000000, 'Canceled'), ('Withdrawal', -1000000, 'Completed')]
    assert control.ask('GET', 'laws')['hold']


def test_a_withdrawal_of_money_that_was_lost_meanwhile_is_not_confirmed(control, client):
    asked = withdraw(client, 950000000)
    client.place(symbol='XBTUSD', orderQty=200000, ordType='Market')
    control.ask('PUT', 'instruments/XBTUSD', {'markPrice': 50000})
    status, message = control.error('PUT', 'withdrawals/' + asked['transactID'], {'action': 'confirm'})

    assert (status, 'insufficient Available Balance' in message) == (400, True)
    assert control.ask('GET', 'withdrawals')


def test_the_market_moves_freezes_and_trades(testnet, control, client):
    row = client.place(**LIMIT)
    control.ask('PUT', 'market', {'bid': 59500, 'ask': 59500.5})
    quote = client.get('/quote?symbol=XBTUSD&count=1&reverse=true')[0]
    control.ask('PUT', 'market', {'frozen': True})
    taken = control.ask('POST', 'trades', {'symbol': 'XBTUSD', 'side': 'Sell', 'quantity': 100000000, 'price': 59000})
    gone = client.get('/orderBook/L2?symbol=XBTUSD')
    released = control.ask('PUT', 'market', {'frozen': False})
    filled = client.get('/order')[-1]

    assert (quote['bidPrice'], quote['askPrice']) == (59500, 59500.5)
    assert (filled['orderID'], filled['ordStatus']) == (row['orderID'], 'Filled')
    assert 0 < taken['filled'] < 100000000 and [one['side'] for one in gone] == ['Sell']
    assert released == {'market': 'still', 'frozen': False}
    assert client.get('/orderBook/L2?symbol=XBTUSD')


def test_another_market_moves_by_itself():
    with running('simulated', symbols=('XBTUSD',), control='') as testnet:
        control = Control(testnet)

        assert 'moves by itself' in control.error('PUT', 'market', {'bid': 1, 'ask': 2})[1]
        control.ask('PUT', 'market', {'frozen': True})
        before = testnet.call(lambda: testnet.exchange.depth('XBTUSD', 'Buy', 0))
        control.ask('PUT', 'clock', {'advance': 30})
        assert testnet.call(lambda: testnet.exchange.depth('XBTUSD', 'Buy', 0)) == before
        control.ask('PUT', 'market', {'frozen': False})
        control.ask('PUT', 'clock', {'advance': 30})
        assert testnet.call(lambda: testnet.exchange.depth('XBTUSD', 'Buy', 0)) != before
        assert control.ask('GET', 'laws')['hold']


def test_an_instrument_changes_for_everybody_to_see(testnet, control, client):
    changes = {'state': 'Closed', 'tickSize': 0.5, 'lotSize': 1000, 'makerFee': -0.0002, 'takerFee': 0.001,
               'markPrice': 61000.5, 'fundingRate': 0.0003}
    with Socket(testnet.ws_url + '?subscribe=instrument:XBTUSD') as ws:
        ws.partial('instrument')
        row = control.ask('PUT', 'instruments/XBTUSD', changes)
        seen = ws.change('instrument', 'update', tickSize=0.5)

    assert {name: row[name] for name in changes} == changes
    assert (seen['state'], seen['lotSize'], seen['takerFee']) == ('Closed', 1000, 0.001)
    assert client.send('POST', '/order', LIMIT).json()['error']['message'] == 'Market is not open'
    control.ask('PUT', 'instruments/xbtusd', {'state': 'Open'})
    refused = client.send('POST', '/order', LIMIT).json()['error']['message']
    assert refused == 'Order quantity must be a multiple of lot size: 1000'
    placed = client.place(symbol='XBTUSD', orderQty=1000, ordType='Market')
    assert client.get('/execution')[-1]['commission'] == 0.001 and placed['ordStatus'] == 'Filled'


def test_an_index_moves_and_a_contract_settles_at_it(control, client):
    client.place(symbol='ETHUSD', orderQty=10, ordType='Market')
    price = control.ask('PUT', 'instruments/.BETH', {'indexPrice': 2500})['lastPrice']
    row = control.ask('PUT', 'instruments/ETHUSD', {'state': 'Settled'})

    assert (price, row['state'], row['settledPrice']) == (2500, 'Settled', 2500)
    assert client.get('/position')[0]['currentQty'] == 0
    assert control.ask('GET', 'laws')['hold']


def test_time_jumps_and_funding_is_paid(control, client):
    """What the holders pay is what the holders get, the remainder goes to the insurance fund, and no unit is lost."""
    client.place(symbol='XBTUSD', orderQty=12300, ordType='Market')
    control.ask('PUT', 'instruments/XBTUSD', {'fundingInterval': 3600, 'fundingRate': 0.0001})
    before = client.get('/user/wallet')['amount']
    control.ask('PUT', 'clock', {'advance': 3600})

    rows = [row for row in client.get('/execution') if row['execType'] == 'Funding']
    assert len(rows) == 1 and rows[0]['execComm'] > 0
    assert client.get('/user/wallet')['amount'] == before - rows[0]['execComm']
    assert [row['transactType'] for row in client.get('/user/walletHistory')].count('Funding') == 1
    assert control.ask('GET', 'laws') == {'hold': True, 'positions': {'XBTUSD': 0, 'ETHUSD': 0, 'XBT7D': 0},
                                          'money': {'XBt': 0, 'USDt': 0}, 'crossed': []}


def test_funding_is_paid_at_a_chosen_pace():
    """Paid is what is received, but for the remainder that the insurance fund takes."""
    people = [{'key': name, 'secret': 's'} for name in ('long', 'short', 'other')]
    with running(bid=60000, ask=60000.1, accounts=people, funding_interval=3600, control='') as testnet:
        clients = [Client(testnet, person['key'], 's') for person in people]
        control = Control(testnet)
        control.ask('PUT', 'market', {'frozen': True})
        testnet.call(lambda: [testnet.exchange.take('XBTUSD', side, 10 ** 9) for side in ('Buy', 'Sell')])
        control.ask('PUT', 'instruments/XBTUSD', {'fundingRate': 0.000333})
        clients[0].place(symbol='XBTUSD', orderQty=70100, price=60000)
        clients[1].place(symbol='XBTUSD', orderQty=-33300, price=60000)
        clients[2].place(symbol='XBTUSD', orderQty=-36800, price=60000)
        fund = [row['walletBalance'] for row in testnet.call(lambda: testnet.exchange.rows('insurance'))
                if row['currency'] == 'XBt'][0]
        control.ask('PUT', 'clock', {'advance': 3600})
        paid = [[row['execComm'] for row in client.get('/execution') if row['execType'] == 'Funding']
                for client in clients]
        now = testnet.call(lambda: testnet.exchange.liquidator.purse('XBt').wallet)

        assert client_intervals(clients[0]) == '2000-01-01T01:00:00.000Z'
        assert [len(amounts) for amounts in paid] == [1, 1, 1]
        assert paid[0][0] > 0 > paid[1][0] and now - fund == sum(amounts[0] for amounts in paid)
        assert control.ask('GET', 'laws')['hold']


def client_intervals(client):
    """Return the funding interval that the instrument shows."""
    return client.get('/instrument?symbol=XBTUSD')[0]['fundingInterval']


def test_a_future_settles_when_its_time_comes(testnet, control, client):
    """Orders are gone, the position is closed at the index, and a minute later the next week is listed."""
    control.ask('PUT', 'market', {'frozen': True})
    client.place(symbol='XBT7D', orderQty=50, ordType='Market')
    client.place(symbol='XBT7D', orderQty=10, price=300)
    row = control.ask('GET', 'instruments/XBT7D')
    left = seconds_of(row['expiry']) - testnet.call(lambda: testnet.exchange.now)
    with Socket(testnet.ws_url + '?subscribe=settlement,instrument:XBT7D') as ws:
        ws.partial('instrument')
        for _ in range(7):   # a day at a time, for a week takes a slow machine longer than a client waits
            control.ask('PUT', 'clock', {'advance': (left + 1) / 7})
        settled = ws.change('settlement', 'insert', symbol='XBT7D')
        after = control.ask('GET', 'instruments/XBT7D')
        control.ask('PUT', 'clock', {'advance': 61})
        relisted = control.ask('GET', 'instruments/XBT7D')
    position = [one for one in client.get('/position') if one['symbol'] == 'XBT7D'][0]
    execution = [one for one in client.get('/execution') if one['execType'] == 'Settlement'][0]

    index = control.ask('GET', 'instruments/.XBT')['lastPrice']
    assert (after['state'], relisted['state']) == ('Settled', 'Open') and relisted['expiry'] > row['expiry']
    assert settled['settledPrice'] == after['settledPrice'] == execution['lastPx'] == index
    assert position['currentQty'] == 0 and client.get('/order')[-1]['ordStatus'] == 'Canceled'
    assert control.ask('GET', 'laws')['hold']


@pytest.mark.parametrize('side, beyond', [('Buy', -1), ('Sell', 1)])
def test_an_isolated_position_is_liquidated_at_the_price_that_was_shown(control, client, side, beyond):
    """A tick before liquidationPrice nothing happens; at it the position goes, its margin with it and no more."""
    client._good(client.send('POST', '/position/leverage', {'symbol': 'XBTUSD', 'leverage': 50}))
    client.place(symbol='XBTUSD', side=side, orderQty=10000, ordType='Market')
    before = client.get('/user/wallet')['amount']
    shown = client.get('/position')[0]
    price = shown['liquidationPrice']

    control.ask('PUT', 'instruments/XBTUSD', {'markPrice': round(price - beyond * 0.1, 1)})
    still_there = client.get('/position')[0]['currentQty']
    control.ask('PUT', 'instruments/XBTUSD', {'markPrice': price})
    gone = client.get('/position')[0]['currentQty']

    lost = before - client.get('/user/wallet')['amount']
    assert (still_there, gone) == (10000 if side == 'Buy' else -10000, 0)
    assert [row['text'] for row in client.get('/execution') if row['execType'] == 'Liquidation'] == ['Liquidation']
    assert 0 < lost <= shown['posMargin']
    assert control.ask('GET', 'laws')['hold']


def test_the_clock_is_made_wrong(control, client):
    assert control.ask('PUT', 'clock', {'skew': 90})['skew'] == 90
    assert 'has expired' in client.send('GET', '/position').text


def test_faults_are_switched(control, client):
    on = control.ask('POST', 'faults', {'fault': 'internal-error', 'options': {'verbs': ['GET'], 'count': 5}})
    assert client.send('GET', '/position').status_code == 500
    assert [(row['fault'], row['hits']) for row in control.ask('GET', 'faults')] == [('internal-error', 1)]
    assert control.ask('DELETE', 'faults/internal-error') == {'off': 1}
    assert client.send('GET', '/position').status_code == 200
    control.ask('POST', 'faults', {'profile': 'overload', 'seed': 4})
    control.ask('POST', 'faults', {'fault': 'stall'})
    assert control.ask('DELETE', 'faults')['off'] >= 1
    assert control.ask('GET', 'faults') == [] and on[0]['options']['count'] == 5


ANYTHING = [None, True, 0, -1, 3, 100, 1e308, 2 ** 80, 0.1, '', 'x', 'XBTUSD', '.BXBT', 'Buy', 'Open', 'confirm', [],
            [1], ['order'], ['10.0.0.0/8'], {}, {'XBt': 5}, {'a': 1}, 'overload', '\u00e9\u0000', 'nan', '2',
            [{'symbol': 'XBTUSD', 'currentQty': 100, 'avgEntryPrice': 60000}], [{'key': 'q', 'secret': 's'}]]


def test_whatever_is_asked_for_nothing_breaks(testnet, control, client, caplog):
    """Random verbs, paths and bodies get an answer below 500, and positions and money stay in balance."""
    rng = random.Random(11)
    routes = [(one['verb'], one['path'][len('/local-exchange/control'):].strip('/'))
              for one in control.ask('GET')['requests']]
    names = sorted(set(list(server_control.INSTRUMENT) + list(server_control.MARKET) + list(server_control.TRADE)
                       + list(server_control.KEY) + list(server_control.MONEY) + ['restricted', 'key', 'secret', 'keys',
                                                                                  'balance', 'positions', 'action']))
    codes = collections.Counter()
    for symbol, quantity in (('XBTUSD', 1000), ('ETHUSD', -20), ('XBT7D', 50)):
        client.place(symbol=symbol, orderQty=quantity, ordType='Market')
        client.place(symbol=symbol, orderQty=abs(quantity), price=100)
    for _ in range(400):
        verb, path = rng.choice(routes)
        path = path.replace('ACCOUNT', rng.choice(['100001', '9', 'x'])).replace('KEY', rng.choice(['q', 'zz']))
        path = path.replace('SYMBOL', rng.choice(['XBTUSD', '.BXBT', 'XBT7D', 'none'])).replace('ID', '0')
        body = {rng.choice(names): rng.choice(ANYTHING) for _ in range(rng.randint(0, 3))}
        if path == 'faults' and verb == 'POST':
            name = rng.choice([name for name in faults.CATALOGUE if name not in ('restart', 'settled')])
            options = rng.sample(sorted(faults.CATALOGUE[name][0].OPTIONS), 1)
            body = {'fault': name, 'options': {option: rng.choice(ANYTHING) for option in options}}
        answer = control.send(verb, path.replace('FAULT', 'lag'), body)
        codes[answer.status_code] += 1
        assert answer.status_code < 500, (verb, path, body, answer.text)
    control.ask('DELETE', 'faults')

    testnet.call(lambda: check_laws(testnet.exchange))
    assert {200, 400, 404} <= set(codes) and control.ask('GET', 'laws')['hold']
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def section_of_the_docs():
    """Return what docs/local-exchange.md says about the control interface."""
    page = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'docs', 'local-exchange.md')
    with open(page, encoding='utf-8') as file:
        return file.read().partition('\n## Control\n')[2].partition('\n## ')[0]


def test_the_lines_of_the_docs_do_what_they_say():
    """Each call of curl on the page is answered as it stands, but for the id of a withdrawal."""
    with running(bid=60000, ask=60000.1, accounts=[{'key': 'mykey', 'secret': 's'}], control='') as testnet:
        control = Control(testnet)
        waiting = withdraw(Client(testnet), 1000000)['transactID']
        lines = [line for line in section_of_the_docs().splitlines() if line.startswith('control ')]
        for line in lines:
            words = shlex.split(line.replace('TRANSACTID', waiting), comments=True)[1:]
            path = words[-1].replace('$CONTROL', '').strip('/')
            data = words[words.index('-d') + 1] if '-d' in words else None
            verb = words[words.index('-X') + 1] if '-X' in words else 'POST' if data else 'GET'
            control.ask(verb, path, None if data is None else json.loads(data))
        assert len(lines) > 12 and control.ask('GET', 'laws')['hold']
        assert control.ask('GET', 'instruments/XBTUSD')['state'] == 'Closed'


def test_the_docs_list_what_can_be_asked_for(control):
    """The table in docs/local-exchange.md has each verb and path of the control interface, and no others."""
    section = section_of_the_docs()
    rows = [[cell.strip() for cell in line.split('|')[1:3]] for line in section.splitlines() if line.startswith('| ')]
    listed = {(verb, path.strip('`')) for verbs, paths in rows[1:] for verb in verbs.split(', ')
              for path in paths.split(', ')}
    served = {(one['verb'], one['path'][len('/local-exchange/control'):].strip('/'))
              for one in control.ask('GET')['requests']}

    assert listed - {('GET', 'faults/FAULT'), ('POST', 'faults/FAULT'), ('---', '---')} == served
