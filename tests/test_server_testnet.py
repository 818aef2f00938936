"""The command `testnet`: what it prints, what it refuses, how it ends."""
import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from local_client import Client  # noqa: E402

from market_maker.commands import testnet  # noqa: E402
from market_maker.server import faults  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.utils.errors import LocalExchangeError, SettingsError  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

QUOTES = """timestamp,symbol,bidSize,bidPrice,askPrice,askSize
2022-03-25D05:59:39.000000000,XBTUSD,1000,44000,44000.5,1000
2022-03-25D05:59:49.000000000,XBTUSD,1000,44001,44001.5,1000
"""
TRADES = """timestamp,symbol,side,size,price
2022-03-25D05:59:40.000000000,XBTUSD,Buy,100,44000.5
2022-03-25D05:59:45.000000000,XBTUSD,Sell,200,44000
"""


def parsed(*words):
    parser = argparse.ArgumentParser()
    testnet.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def started(request):
    """Run the command on a free port; return the process, with what it said so far, and its base URL."""
    processes = []

    def start(*words):
        process = subprocess.Popen([sys.executable, '-m', 'market_maker', 'testnet', '--port', '0'] + list(words),
                                   cwd=ROOT,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        processes.append(process)
        lines = []
        while 'Ctrl-C ends it.\n' not in lines:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        process.said = ''.join(lines)
        return process, re.search(r'Local exchange at (http://\S+)/api/v1/', process.said).group(1)
    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends_cleanly(started, number):
    process, base = started('--market', 'still', '--symbol', 'XBTUSD', '--bid', '60000', '--ask', '60000.1')
    with urllib.request.urlopen(base + '/local-exchange') as answer:
        assert json.loads(answer.read().decode('utf-8'))['market'] == 'still'

    process.send_signal(number)
    out, errors = process.communicate(timeout=10)

    assert process.returncode == 0 and errors == ''
    for words in ('API_KEY = ', 'API_SECRET = ', 'curl ', 'marketmaker XBTUSD', 'Market: still'):
        assert words in process.said
    assert out == 'The local exchange has ended.\n'


def test_it_prints_the_line_that_controls_it(started):
    """The curl line that is printed works as it stands."""
    process, base = started('--market', 'still', '--symbol', 'XBTUSD', '--control', '--faults', 'lag:tables=quote')
    token, address = re.search(r'curl -H "Authorization: (Bearer [0-9a-f]{40})" (\S+)\n', process.said).groups()
    request = urllib.request.Request(address + '/faults', headers={'Authorization': token})
    with urllib.request.urlopen(request) as answer:
        assert [row['fault'] for row in json.loads(answer.read().decode('utf-8'))] == ['lag']
    assert address.startswith(base) and 'Faults: lag:tables=quote.' in process.said


def test_the_token_may_come_from_the_environment(started, monkeypatch):
    """It is not printed then."""
    monkeypatch.setenv('LOCAL_CONTROL_TOKEN', 'a-token-of-my-own-choice')
    process, base = started('--market', 'still', '--control')
    request = urllib.request.Request(base + '/local-exchange/control/laws',
                                     headers={'Authorization': 'Bearer a-token-of-my-own-choice'})
    with urllib.request.urlopen(request) as answer:
        assert json.loads(answer.read().decode('utf-8'))['hold'] is True

    assert 'Bearer $LOCAL_CONTROL_TOKEN"' in process.said and 'of-my-own' not in process.said
    monkeypatch.setenv('LOCAL_CONTROL_TOKEN', 'short-secret')
    with pytest.raises(SettingsError) as caught:
        testnet.main(parsed('--control', '--port', '0'))
    assert '16 or more characters' in str(caught.value) and 'short-secret' not in str(caught.value)


@pytest.mark.parametrize('words, expected', [
    (['--port', '70000'], '--port 70000'),
    (['--symbol', 'BXTUSD'], 'did you mean XBTUSD?'),
    (['--market', 'replay'], '--data'),
    (['--market', 'replay', '--data', 'none.csv'], 'none.csv: no such file'),
    (['--data', 'x.csv'], '--market replay'),
    (['--bid', '5'], '--market still'), (['--market', 'still', '--bid', 'inf'], '--bid inf is no price'),
    (['--market', 'still', '--ask', '-1'], '--ask -1 is no price'),
    (['--market', 'still', '--bid', '60000.05'], '60000.05'),
    (['--account', 'nocolon'], 'KEY:SECRET'),
    (['--account', '@none.json'], 'none.json'),
    (['--account', 'a:b', 'a:c'], None),
    (['--fees', '1'], '--fees 1'), (['--fees', '0.5,0.5'], '10 %'), (['--fees', 'nan,0'], '10 %'),
    (['--funding-interval', '0'], 'funding every 0 seconds'), (['--funding-interval', 'nan'], 'take 1 to 28800'),
    (['--faults', 'overlod'], 'did you mean overload'), (['--faults', 'lag:delay=x'], "delay is 'x'"),
    (['--faults', 'lag:delay'], 'no option=value'), (['--state', '/'], '/: Is a directory'),
    (['--state', 'x', '--market', 'replay', '--data', __file__], 'leave out the file x'),
    (['--symbol', '.BXBT'], 'that is traded, not .BXBT alone'),
    (['--speed', '0'], 'speed'), (['--speed', 'nan'], 'speed'), (['--host', '256.1.1.1'], '256.1.1.1'),
])
def test_bad_input_is_one_line(words, expected, tmpdir):
    if expected is None:
        words, expected = ['--account', 'a:b', '--account', 'a:c'], 'already in use'
    with tmpdir.as_cwd():
        if '--port' not in words:
            words = words + ['--port', '0']
        with pytest.raises((SettingsError, LocalExchangeError)) as caught:
            testnet.main(parsed(*words))
    assert expected in str(caught.value) and '\n' not in str(caught.value) and caught.value.exit_code == 2


def test_another_local_exchange_on_the_port_is_named():
    with running(bid=60000, ask=60000.1) as there:
        with pytest.raises(LocalExchangeError) as caught:
            testnet.main(parsed('--port', str(there.port)))
    assert str(caught.value).startswith('a local exchange runs at {} already (market still): '.format(there.url))


def test_faults_are_listed(capsys):
    """One word shows every fault with its options, and every profile."""
    assert testnet.main(parsed('--faults', 'list')) == 0

    shown = capsys.readouterr().out
    listed = [line.split()[0] for line in shown.splitlines() if line[:1].isalpha()]
    assert set(faults.CATALOGUE) | set(faults.PROFILES) <= set(listed)


def test_a_taken_port_is_one_line(monkeypatch):
    monkeypatch.setattr('market_maker.local.PROBE_TIMEOUT', 0.1)   # whoever listens there says nothing
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with pytest.raises(LocalExchangeError) as caught:
            testnet.main(parsed('--port', str(port)))
    assert 'port {} of 127.0.0.1 is taken'.format(port) in str(caught.value)


@pytest.mark.parametrize('text, expected', [
    ('{', 'not JSON'), ('[]', 'describes no account'), ('[5]', 'object with key and secret'),
    ('{"key": "k"}', 'secret'),
    ('{"key": "k", "secret": "s", "balance": {"USD": 5}}', 'USD'),
    ('{"key": "k", "secret": "s", "positions": [{"symbol": "XBTUSD", "currentQty": 50, "avgEntryPrice": 60000}]}',
     'lots of 100'),
    ('{"key": "k", "secret": "s", "permissions": ["all"]}', 'all'),
])
def test_an_account_file_that_makes_no_sense_is_one_line(tmpdir, text, expected):
    path = tmpdir.join('accounts.json')
    path.write(text)
    with pytest.raises(SettingsError) as caught:
        testnet.main(parsed('--port', '0', '--account', '@' + str(path)))
    assert expected in str(caught.value) and '\n' not in str(caught.value)


def test_accounts_come_from_a_file(tmpdir, started):
    path = tmpdir.join('accounts.json')
    path.write(json.dumps([{'key': 'k', 'secret': 's', 'balance': {'XBt': 344349800},
                            'positions': [{'symbol': 'XBT7D', 'currentQty': -1, 'avgEntryPrice': 389.75}]}]))
    process, base = started('--account', '@' + str(path), '--account', 'other:one', '--market', 'still',
                            '--no-rate-limits')

    class There:
        url, key, secret = base + '/api/v1/', 'k', 's'
    held = [row for row in Client(There).get('/position') if row['currentQty']]

    assert [(row['symbol'], row['currentQty']) for row in held] == [('XBT7D', -1)]
    assert abs(held[0]['avgEntryPrice'] - 389.75) < 0.001
    assert Client(There).get('/user/margin')['walletBalance'] == 344349800
    assert Client(There, 'other', 'one').get('/order') == []


# Replay

@pytest.fixture
def recording(tmpdir):
    tmpdir.join('quotes.csv').write(QUOTES)
    tmpdir.join('trades.csv').write(TRADES)
    return [str(tmpdir.join('quotes.csv')), str(tmpdir.join('trades.csv'))]


def test_the_first_client_finds_the_touch_of_the_book_in_the_instrument():
    """Bid and ask of the row are refreshed by a timer; the first time is before anybody can ask."""
    with running(market='still', symbols=('XBT7D',), bid=388.61, ask=389.89) as exchange:
        row = exchange.call(lambda: dict(exchange.exchange.rows('instrument', symbol='XBT7D')[0]))
    assert (row['bidPrice'], row['midPrice'], row['askPrice']) == (388.61, 389.25, 389.89)


def test_a_replay_has_recorded_time_and_the_grid_of_its_day(recording):
    with running(market='replay', symbols=(), data=recording, speed=50.0) as replay:
        client = Client(replay)
        row = client.get('/instrument?symbol=XBTUSD')[0]
        assert (row['tickSize'], row['lotSize'], row['timestamp'][:10]) == (0.5, 100, '2022-03-25')
        placed = client.place(symbol='XBTUSD', side='Buy', orderQty=100, price=43000)
        assert placed['transactTime'][:14] in ('2022-03-25T05:', '2022-03-25T06:')
        deadline = time.monotonic() + 10
        while not replay.server.introduction()['ended']:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        trades = client.get('/trade?symbol=XBTUSD&count=2&reverse=true')
        seen = sorted((trade['side'], trade['size'], trade['price']) for trade in trades)
        assert seen == [('Buy', 100, 44000.5), ('Sell', 200, 44000)]


def test_a_bad_row_is_named_with_file_and_line(tmpdir, recording):
    path = tmpdir.join('bad.csv')
    path.write(QUOTES + '2022-03-25D05:59:50.000000000,XBTUSD,1000,oops,44001.5,1000\n')
    with pytest.raises(SettingsError) as caught:
        testnet.main(parsed('--port', '0', '--market', 'replay', '--data', str(path), '--speed', '1000'))
    assert 'bad.csv:4' in str(caught.value) and '\n' not in str(caught.value)


def test_the_collector_is_spared():
    """It looks at new objects less often and at modules no more, but an exchange is found when it is replaced."""
    words = """
import gc, weakref
from market_maker.server import collector, local_exchange
before = gc.get_threshold()
collector.spare()
exchange = weakref.ref(local_exchange.assemble('still').exchange)
gc.collect()
print(gc.get_threshold()[0] > 10 * before[0], gc.get_threshold()[1:] == before[1:], gc.get_freeze_count() > 1000,
      exchange() is None)
"""

    said = subprocess.check_output([sys.executable, '-c', words], universal_newlines=True)

    assert said.split() == ['True'] * 4
