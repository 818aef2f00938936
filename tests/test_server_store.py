"""The file that accounts survive in: what comes back, what a killed process loses, whom the file is refused to."""
import functools
import json
import os
import random
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

import requests  # noqa: E402
from engine_world import check_laws, money  # noqa: E402
from local_client import Client, Socket, auth_headers  # noqa: E402

from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.simulator import laws, records  # noqa: E402
from market_maker.simulator.refusal import Refusal  # noqa: E402
from market_maker.utils.errors import SettingsError  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEOPLE = [{'key': 'alice', 'secret': 'hers', 'keys': [{'key': 'reader', 'secret': 'r', 'permissions': []}]},
          {'key': 'bob', 'secret': 'his', 'balance': {'XBt': 300000000}}]
LIMIT = {'symbol': 'XBTUSD', 'side': 'Buy', 'orderQty': 100, 'price': 59000}
TABLES = ('/order', '/position', '/execution', '/user/walletHistory?currency=all', '/user/wallet?currency=all',
          '/user/margin?currency=all', '/apiKey')


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'accounts.sqlite')


def start(path, **options):
    options.setdefault('accounts', PEOPLE)
    return running(bid=60000, ask=60000.1, symbols=('XBTUSD', 'ETHUSD'), state=path, **options)


def seen(testnet, who=(('alice', 'hers'), ('bob', 'his'))):
    """Return what the accounts see over REST, but for values at the mark and the times at which they were told."""
    moving = ('timestamp', 'homeNotional', 'foreignNotional', 'deleveragePercentile')
    return {key: {table: [{name: value for name, value in row.items() if table == '/order' or name not in moving}
                          for row in Client(testnet, key, secret).get(table)
                          if row.get('transactType') != 'UnrealisedPNL'] for table in TABLES}
            for key, secret in who}


def trade(testnet):
    """Let both accounts do a bit of everything."""
    alice, bob = Client(testnet, 'alice', 'hers'), Client(testnet, 'bob', 'his')
    alice.place(symbol='XBTUSD', orderQty=5000, ordType='Market', clOrdID='opens')
    bob.place(symbol='XBTUSD', orderQty=-3000, ordType='Market')
    bob.place(symbol='ETHUSD', orderQty=20, ordType='Market')
    alice._good(alice.send('POST', '/position/leverage', {'symbol': 'XBTUSD', 'leverage': 10}))
    first = alice.place(clOrdID='first', **LIMIT)
    bob.place(clOrdID='behind', **LIMIT)
    alice._good(alice.send('PUT', '/order', {'orderID': first['orderID'], 'orderQty': 300}))
    alice.place(clOrdID='iceberg', symbol='XBTUSD', orderQty=1000, price=58000, displayQty=100)
    alice.place(clOrdID='stop', symbol='XBTUSD', side='Sell', orderQty=500, stopPx=55000, execInst='LastPrice')
    alice.place(clOrdID='reducing', symbol='XBTUSD', side='Sell', orderQty=500, price=61000, execInst='ReduceOnly')
    for name, price in (('one', 58500), ('other', 58400)):
        alice.place(clOrdID=name, symbol='XBTUSD', orderQty=100, price=price, clOrdLinkID='pair',
                    contingencyType='OneCancelsTheOther')
    gone = bob.place(clOrdID='gone', **LIMIT)
    bob._good(bob.send('DELETE', '/order', {'orderID': gone['orderID']}))
    bob._good(bob.send('POST', '/user/requestWithdrawal', {
        'currency': 'XBt', 'network': 'btc', 'amount': 1000000, 'address': 'tb1q'}))


def test_everything_that_an_account_has_survives_a_restart(path):
    with start(path) as testnet:
        trade(testnet)
        before, instance = seen(testnet), testnet.server.instance

    with start(path) as testnet:
        after = seen(testnet)
        testnet.call(lambda: check_laws(testnet.exchange))
        kept = testnet.call(lambda: laws.money(testnet.exchange))

        assert after == before
        assert (testnet.server.instance, kept) == (instance, {'XBt': 0, 'USDt': 0})
        assert Client(testnet, 'reader', 'r').send('POST', '/order', LIMIT).status_code == 403


def test_orders_of_one_moment_are_listed_as_they_came(path):
    """A stop has no place in the book, an order that was made larger a later one; both stay where they are listed."""
    with start(path) as testnet:
        testnet.call(lambda: orders_of_one_moment(testnet.exchange))
        before = [order['clOrdID'] for order in Client(testnet, 'alice', 'hers').get('/order')]
    with start(path) as testnet:
        after = [order['clOrdID'] for order in Client(testnet, 'alice', 'hers').get('/order')]

    assert after == before == ['larger', 'resting', 'stop']


def orders_of_one_moment(exchange):
    account = exchange.account_of('alice')
    exchange.place(account, dict(LIMIT, clOrdID='larger'))
    exchange.place(account, dict(LIMIT, clOrdID='resting'))
    exchange.place(account, dict(LIMIT, clOrdID='stop', price=None, stopPx=61000))
    exchange.amend(account, {'origClOrdID': 'larger', 'orderQty': 300})


def test_orders_live_on_in_their_place(path):
    """Time priority, linked orders, stops, icebergs, reduce-only and amends go on as if nothing had been."""
    with start(path) as testnet:
        trade(testnet)
    with start(path) as testnet:
        alice, bob = Client(testnet, 'alice', 'hers'), Client(testnet, 'bob', 'his')
        testnet.call(lambda: testnet.server.hold_market('the test', True))
        testnet.call(lambda: testnet.exchange.take('XBTUSD', 'Sell', 100000000, 590000))
        orders = {order['clOrdID']: order for client in (alice, bob) for order in client.get('/order')}
        # bob's came first once alice had made hers larger
        assert [orders[name]['leavesQty'] for name in ('behind', 'first')] == [0, 0]
        fills = [row['clOrdID'] for row in sorted(alice.get('/execution') + bob.get('/execution'),
                                                  key=lambda row: row['execID'])
                 if row['execType'] == 'Trade' and row.get('price') == 59000]
        assert fills == ['behind', 'first']
        testnet.call(lambda: testnet.exchange.take('XBTUSD', 'Sell', 100, 585000))
        testnet.call(lambda: testnet.exchange.take('XBTUSD', 'Sell', 100, 580000))
        orders = {order['clOrdID']: order for order in alice.get('/order')}
        assert (orders['one']['ordStatus'], orders['other']['ordStatus']) == ('Filled', 'Canceled')
        assert (orders['iceberg']['leavesQty'], orders['iceberg']['displayQty']) == (900, 100)
        again = alice.place(clOrdID='new', **LIMIT)
        assert again['orderID'] not in [order['orderID'] for name, order in orders.items()]
        alice._good(alice.send('PUT', '/order', {'origClOrdID': 'stop', 'stopPx': 57900}))
        testnet.call(lambda: check_laws(testnet.exchange))
        assert len({row['execID'] for row in alice.get('/execution')}) == len(alice.get('/execution'))


def test_the_market_goes_on_where_it_was(path):
    with running('simulated', symbols=('XBTUSD',), state=path, seed=3) as testnet:
        testnet.call(lambda: testnet.exchange.set_index('.BXBT', 50000, at_once=True))
        testnet.call(lambda: testnet.exchange.set_mark('XBTUSD', 50000))
    with running('simulated', symbols=('XBTUSD',), state=path, seed=3) as testnet:
        row = Client(testnet).get('/instrument?symbol=XBTUSD')[0]

    assert abs(row['markPrice'] / 50000 - 1) < 0.01 and abs(row['bidPrice'] / 50000 - 1) < 0.01


def test_accounts_that_are_opened_meanwhile_are_kept(path):
    key = {'key': 'late', 'secret': 'l'}
    with running(bid=60000, ask=60000.1, state=path, control='') as testnet:
        requests.post(testnet.server.base + '/local-exchange/accounts', json=key, timeout=10)
        requests.put(testnet.server.base + '/local-exchange/control/keys/late', data='{"permissions": []}', timeout=10,
                     headers={'Authorization': 'Bearer ' + testnet.server.control.token})
    with running(bid=60000, ask=60000.1, state=path) as testnet:
        client = Client(testnet, 'late', 'l')

        assert client.get('/user/wallet')['amount'] == 1000000000
        assert client.send('POST', '/order', LIMIT).status_code == 403


def test_the_dead_mans_switch_stays_armed(path):
    with start(path) as testnet:
        client = Client(testnet)
        client.place(**LIMIT)
        client._good(client.send('POST', '/order/cancelAllAfter', {'timeout': 60000}))
    with start(path) as testnet:
        testnet.call(lambda: testnet.exchange.advance(testnet.exchange.now + 61))

        assert Client(testnet).get('/order')[-1]['ordStatus'] == 'Canceled'


def test_a_fresh_exchange_forgets_the_file_too(path):
    with start(path) as testnet:
        trade(testnet)
        instance = testnet.server.instance
        testnet.faults.on('restart', down=0.0, books='fresh')
        while testnet.call(lambda: testnet.server._restart is not None):
            pass
        renewed = testnet.server.instance
    with start(path) as testnet:
        client = Client(testnet)

        assert (client.get('/order'), client.get('/position')) == ([], [])
        assert testnet.server.instance == renewed != instance


def test_the_file_is_for_its_owner_alone(path):
    with open(path, 'w'):
        pass
    os.chmod(path, 0o644)
    with start(path):
        modes = {name: stat.S_IMODE(os.stat(os.path.join(os.path.dirname(path), name)).st_mode)
                 for name in os.listdir(os.path.dirname(path))}

    assert set(modes.values()) == {0o600}, modes


def refused(path, **options):
    with pytest.raises(SettingsError) as caught:
        with start(path, **options):
            pass
    message = str(caught.value)
    assert message.startswith(path) or path in message
    assert '\n' not in message
    return message


def test_a_second_process_is_refused(path):
    with start(path) as testnet:
        assert 'is in use by another local exchange' in refused(path)
        Client(testnet).place(**LIMIT)
    with start(path) as testnet:
        assert len(Client(testnet).get('/order')) == 1


def test_a_file_that_is_something_else_is_refused(path, tmp_path):
    with open(path, 'wb') as file:
        file.write(b'timestamp,symbol,price\n' * 100)
    assert 'is damaged or no file of the local exchange' in refused(path)

    other = str(tmp_path / 'other.sqlite')
    database = sqlite3.connect(other)
    database.execute('CREATE TABLE mine (a)')
    database.commit()
    database.close()
    assert 'none of the local exchange' in refused(other)
    assert 'Is a directory' in refused(str(tmp_path))
    assert 'No such file or directory' in refused(str(tmp_path / 'nowhere' / 'file'))


def test_a_damaged_file_is_refused(path):
    with start(path) as testnet:
        trade(testnet)
    with open(path, 'r+b') as file:
        file.seek(8192)
        file.write(os.urandom(4096) * 4)

    assert 'is damaged' in refused(path)


@pytest.mark.parametrize('statement', [
    "UPDATE orders SET data = 'x'", "UPDATE positions SET data = '[1]'", "UPDATE accounts SET data = '{}'",
    "UPDATE house SET data = '[]'", "DELETE FROM accounts", "DROP TABLE executions",
])
def test_a_file_whose_rows_make_no_sense_is_refused(path, statement):
    with start(path) as testnet:
        trade(testnet)
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()

    assert 'is damaged' in refused(path)


@pytest.mark.skipif(os.name != 'posix', reason='needs limits of a process')
def test_a_disk_without_room_is_refused(path):
    import resource   # posix only
    command = [sys.executable, '-m', 'market_maker', 'testnet', '--port', '0', '--state', path]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                           timeout=60, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))

    assert (found.returncode, found.stdout) == (2, '')
    assert found.stderr.startswith('marketmaker: {}: cannot be written ('.format(path))
    assert found.stderr.count('\n') == 1


def test_a_newer_file_is_left_alone(path):
    with start(path):
        pass
    database = sqlite3.connect(path)
    database.execute('PRAGMA user_version = 99')
    database.close()

    assert 'written by a newer version' in refused(path)


def test_a_file_is_refused_where_it_does_not_fit(path, tmp_path):
    with start(path) as testnet:
        trade(testnet)
    with pytest.raises(SettingsError) as caught:
        with running(bid=60000, ask=60000.1, symbols=('XBTUSD',), accounts=PEOPLE, state=path):
            pass
    assert 'ETHUSD, which is not traded here' in str(caught.value)
    assert 'with another secret' in refused(path, accounts=[{'key': 'alice', 'secret': 'wrong'}])


def test_a_full_disk_is_told_once_and_made_up_for(path, caplog):
    with start(path) as testnet:
        client = Client(testnet)
        testnet.call(lambda: testnet.server.store._db.execute('PRAGMA max_page_count = 1'))
        placed = [client.place(text='x' * 60, **LIMIT)['orderID'] for _ in range(150)]
        told = [record for record in caplog.records if 'cannot be written' in record.getMessage()]
        testnet.call(lambda: testnet.server.store._db.execute('PRAGMA max_page_count = 1000000'))
    with start(path) as testnet:
        kept = [order['orderID'] for order in Client(testnet).get('/order?count=500')]

    assert len(told) == 1 and path in told[0].getMessage()
    assert kept == placed


def test_what_is_written_with_an_order_does_not_grow(path):
    """The same statements and rows for the last order as for the first, with many accounts and orders around."""
    people = PEOPLE + [{'key': 'other{}'.format(number), 'secret': 's'} for number in range(60)]
    with start(path, accounts=people) as testnet:
        client = Client(testnet)
        for person in people[2:12]:
            Client(testnet, person['key'], 's').place(symbol='XBTUSD', orderQty=100, ordType='Market')
        written = []

        def count(order):
            before = testnet.server.store._db.total_changes
            client.place(**order)
            return testnet.call(lambda: testnet.server.store._db.total_changes) - before

        for number in range(100):
            written.append(count(dict(LIMIT, price=50000 + number)))

    assert max(written[-10:]) <= max(written[:10]) <= 20


def test_old_rows_are_forgotten(path, monkeypatch):
    monkeypatch.setattr('market_maker.server.store.AGING', (('orders', 'is_open = 0', 5), ('executions', '1', 7),
                                                            ('transactions', '1', 5)))
    monkeypatch.setattr('market_maker.server.store.TIDY_EVERY', 20)
    with start(path) as testnet:
        client = Client(testnet)
        resting = client.place(**LIMIT)['orderID']
        for _ in range(30):
            client.send('DELETE', '/order', {'orderID': client.place(**LIMIT)['orderID']})
    database = sqlite3.connect(path)
    orders, executions = [database.execute('SELECT count(*) FROM ' + table).fetchone()[0]
                          for table in ('orders', 'executions')]
    rests = database.execute('SELECT count(*) FROM orders WHERE id = ?', (resting,)).fetchone()[0]
    database.close()

    assert orders <= 30 and executions <= 40 and rests == 1


class Killed:
    """The command as a process of its own, to be killed."""

    def __init__(self, path, port=0):
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'market_maker', 'testnet', '--port', str(port), '--market', 'lively', '--seed', '5',
             '--symbol', 'XBTUSD', '--no-rate-limits', '--account', 'alice:hers', '--account', 'bob:his',
             '--state', path],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        line = self.process.stdout.readline()
        assert line.startswith('Local exchange at '), line + self.process.stderr.read()
        self.url = line.split()[3]
        self.key, self.secret = 'alice', 'hers'

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def fill_summary(log):
    """Return the number of fills in a bot's closing summary."""
    return int(re.search(r'Fills: (\d+), volume', log).group(1))


@pytest.mark.soak
def test_a_bot_goes_on_after_its_exchange_was_killed(path, tmp_path):
    """The same process quotes again on the same account, counts every fill once, and leaves nothing behind."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    exchange = Killed(path, port)
    alice = Client(exchange)
    environment = dict(os.environ, BITMEX_BASE_URL=exchange.url, BITMEX_API_KEY='alice', BITMEX_API_SECRET='hers',
                       XDG_STATE_HOME=str(tmp_path / 'state'), PYTHONPATH=ROOT)
    subprocess.run([sys.executable, '-m', 'market_maker', 'setup'], cwd=str(tmp_path), env=environment, check=True,
                   stdout=subprocess.DEVNULL)
    with open(str(tmp_path / 'bot.log'), 'w+') as log:
        bot = subprocess.Popen([sys.executable, '-m', 'market_maker', 'XBTUSD'], cwd=str(tmp_path), env=environment,
                               stdout=subprocess.DEVNULL, stderr=log)
        try:
            for life in range(3):
                wait_for(lambda: quotes(alice) >= 10)
                wait_for(lambda life=life: len(trades(alice)) > 2 * life)
                exchange.kill()
                exchange = Killed(path, port)
            wait_for(lambda: quotes(alice) >= 10)
        finally:
            bot.send_signal(signal.SIGINT)
            code = bot.wait(60)
        log.seek(0)
        said = log.read()
    fills, left = trades(alice), quotes(alice)
    exchange.kill()

    assert (code, left) == (0, 0), said[-3000:]
    assert fill_summary(said) == len(fills) > 0
    assert 'Traceback' not in said


def trades(client):
    """Return all executions that were trades."""
    return [row for row in every(client, '/execution') if row['execType'] == 'Trade']


def quotes(client):
    """Return how many open orders there are."""
    try:
        return len(client.get('/order?filter=%7B%22open%22%3A+true%7D'))
    except requests.exceptions.RequestException:
        return 0


def wait_for(what, seconds=90):
    """Wait until what() is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, 'nothing came of it within {} s'.format(seconds)
        time.sleep(0.05)


def play(testnet, key, secret, acknowledged, seed):
    """Place, amend and cancel until the exchange dies; note every answer."""
    client = Client(testnet, key, secret)
    rng = random.Random(seed)
    number = 0
    try:
        bid = client.get('/quote?symbol=XBTUSD&count=1&reverse=true')[0]['bidPrice']
        while True:
            number += 1
            name = '{}-{}-{}'.format(key, seed, number)
            price = round(bid * rng.choice((0.98, 0.99, 0.9999, 1.0001)), 1)
            row = client.place(symbol='XBTUSD', side=rng.choice(('Buy', 'Sell')), orderQty=100 * rng.randint(1, 9),
                               price=price, clOrdID=name)
            acknowledged[row['orderID']] = row['ordStatus']
            if number % 3 == 0 and row['ordStatus'] == 'New':
                for gone in client._good(client.send('DELETE', '/order', {'orderID': row['orderID']})):
                    if 'error' not in gone:
                        acknowledged[row['orderID']] = 'Canceled'
    except (requests.exceptions.RequestException, ValueError):
        return   # it was killed


PAGE = 500


def every(client, path):
    """Return all rows of a table, however many."""
    rows = []
    while True:
        more = client.get('{}?count={}&start={}'.format(path, PAGE, len(rows)))
        rows += more
        if len(more) < PAGE:
            return rows


@pytest.mark.parametrize('lives', [2, pytest.param(25, marks=pytest.mark.soak)])
def test_a_killed_exchange_loses_at_most_what_was_under_way(path, lives):
    """Over several kills every order that was answered is there, ended ones are ended, and nothing is out of balance.
    """
    acknowledged = {'alice': {}, 'bob': {}}
    for life in range(lives):
        exchange = Killed(path)
        threads = [threading.Thread(target=play, args=(exchange, key, secret, acknowledged[key], life))
                   for key, secret in (('alice', 'hers'), ('bob', 'his'))]
        for thread in threads:
            thread.start()
        goal = {key: len(orders) + 25 for key, orders in acknowledged.items()}
        while any(thread.is_alive() for thread in threads) and any(
                len(acknowledged[key]) < goal[key] for key in goal):
            threads[0].join(0.01)
        exchange.kill()
        for thread in threads:
            thread.join()
        assert all(len(acknowledged[key]) >= goal[key] for key in goal)

    people = [{'key': 'alice', 'secret': 'hers'}, {'key': 'bob', 'secret': 'his'}]
    with running('still', symbols=('XBTUSD',), accounts=people, state=path) as testnet:
        found = {key: {order['orderID']: order['ordStatus'] for order in every(Client(testnet, key, secret), '/order')}
                 for key, secret in (('alice', 'hers'), ('bob', 'his'))}
        testnet.call(lambda: check_laws(testnet.exchange))
        assert not any(testnet.call(lambda: laws.money(testnet.exchange)).values())
        assert testnet.call(lambda: money(testnet.exchange))
        sums = {}
        for key, secret in (('alice', 'hers'), ('bob', 'his')):
            client = Client(testnet, key, secret)
            for row in every(client, '/execution'):
                if row['execType'] == 'Trade':
                    sums[key] = sums.get(key, 0) + row['lastQty'] * (1 if row['side'] == 'Buy' else -1)
            held = client.get('/position')
            assert (held[0]['currentQty'] if held else 0) == sums.get(key, 0)
    for key in acknowledged:
        assert set(acknowledged[key]) <= set(found[key])
        assert all(found[key][order] == 'Canceled' for order, status in acknowledged[key].items()
                   if status == 'Canceled')


def test_the_command_says_where_accounts_are_kept_and_refuses_a_bad_file(path):
    exchange = Killed(path)
    try:
        second = subprocess.run([sys.executable, '-m', 'market_maker', 'testnet', '--port', '0', '--state', path],
                                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                                timeout=60)
    finally:
        exchange.kill()

    assert second.returncode == 2 and second.stdout == ''
    assert second.stderr.count('\n') == 1 and 'is in use by another local exchange' in second.stderr


def test_the_wallet_stream_of_a_restored_account_goes_on(path):
    with start(path) as testnet:
        trade(testnet)
    with start(path) as testnet:
        with Socket(testnet.ws_url + '?subscribe=margin,order,position', auth_headers('alice', 'hers')) as ws:
            images = {table: ws.partial(table)['data'] for table in ('margin', 'order', 'position')}
        rest = Client(testnet, 'alice', 'hers')
        assert {row['clOrdID'] for row in images['order']} >= {'first', 'stop', 'iceberg', 'one', 'other', 'reducing'}
        assert images['position'][0]['currentQty'] == rest.get('/position')[0]['currentQty'] == 5000
        assert json.dumps(images['margin'][0]['walletBalance']) == json.dumps(rest.get('/user/margin')['walletBalance'])


def wild(rng, testnet, accounts, steps):
    """Let accounts do whatever they can think of, straight at the engine, as requests would."""
    exchange = testnet.exchange
    kinds = ({}, {'execInst': 'ParticipateDoNotInitiate'}, {'displayQty': 100}, {'execInst': 'ReduceOnly'},
             {'timeInForce': 'ImmediateOrCancel'}, {'clOrdLinkID': 'pair', 'contingencyType': 'OneCancelsTheOther'},
             {'clOrdLinkID': 'first', 'contingencyType': 'OneTriggersTheOther'}, {'clOrdLinkID': 'first'})
    for step in range(steps):
        account = rng.choice(accounts)
        side, number = rng.choice(('Buy', 'Sell')), 100 * rng.randint(1, 30)
        price = 60000 + rng.choice((-2000, -500, -0.5, 0.5, 500, 2000)) + 0.1 * rng.randint(0, 9)
        act = rng.random()
        try:
            if act < 0.45:
                exchange.place(account, dict(rng.choice(kinds), symbol='XBTUSD', side=side, orderQty=number,
                                             price=round(price, 1), clOrdID='{}-{}'.format(account.id, step)))
            elif act < 0.55:
                exchange.place(account, {'symbol': 'XBTUSD', 'side': side, 'orderQty': number, 'ordType': 'Market'})
            elif act < 0.65:
                exchange.place(account, {'symbol': 'XBTUSD', 'side': side, 'orderQty': number, 'ordType': 'Stop',
                                         'stopPx': 60000 + (1500 if side == 'Buy' else -1500), 'execInst': 'LastPrice'})
            elif act < 0.8 and account.orders:
                exchange.amend(account, {'orderID': rng.choice(sorted(account.orders)), 'orderQty': number})
            elif act < 0.9 and account.orders:
                exchange.cancel(account, {'orderID': rng.choice(sorted(account.orders))})
            elif act < 0.93:
                exchange.leverage(account, {'symbol': 'XBTUSD', 'leverage': rng.choice((0, 3, 20))})
            elif act < 0.96:
                exchange.banker.request_withdrawal(account.purse('XBt'), 1000 * rng.randint(1, 50), 1000, 'somewhere')
            else:
                exchange.take('XBTUSD', side, 100 * rng.randint(1, 300))
        except Refusal:
            pass   # some of it cannot be done
        testnet.server.hub.flush()


def everything(exchange):
    """Return all that belongs to somebody."""
    return [(records.account_record(account),
             [(currency, records.purse_record(purse)) for currency, purse in account.purses.items()],
             [(symbol, records.position_record(position)) for symbol, position in account.positions.items()],
             [records.order_record(account.orders[name]) for name in sorted(account.orders)],
             sorted(account.finished), list(account.executions), list(account.transactions),
             [(side.name, level.price, [order.order_id for order in level if order.account is account])
              for book in exchange.books.values() for side in (book.bids, book.asks) for level in side.walk()
              if any(order.account is account for order in level)])
            for account in exchange.accounts.values()]


@pytest.mark.parametrize('seed', range(3))
def test_random_sessions_come_back_as_they_were(path, seed):
    """Three runs on one file, each with a wild session: the next one finds what the last one had, and its laws hold."""
    rng = random.Random(seed)
    before = None
    for _ in range(3):
        with start(path) as testnet:
            accounts = list(testnet.exchange.accounts.values())
            found = testnet.call(lambda: without_tickets(everything(testnet.exchange)))
            testnet.call(lambda: check_laws(testnet.exchange))
            assert before is None or found == before
            testnet.call(functools.partial(wild, rng, testnet, accounts, 150), 120)
            testnet.call(lambda: check_laws(testnet.exchange))
            before = testnet.call(lambda: without_tickets(everything(testnet.exchange)))
            assert len(before[0][5]) > 10 and before[0][3]


def without_tickets(accounts):
    """Return the same but for the numbers that tell places in a line: the places themselves are there."""
    for account in accounts:
        for order in account[3]:
            del order['ticket']
    return json.loads(json.dumps(accounts))
