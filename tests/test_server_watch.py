"""What whoever runs the exchange sees: the picture, the screen on a terminal, the lines of the diary."""
import logging
import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from local_client import Client  # noqa: E402

from market_maker.server import watch  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEOPLE = [{'key': 'alice-has-a-long-key', 'secret': 's'}, {'key': 'bob', 'secret': 's', 'balance': {'XBt': 300000000}}]


@pytest.fixture(scope='module')
def testnet():
    with running(bid=60000, ask=60000.1, symbols=('XBTUSD', 'ETHUSD'), accounts=PEOPLE) as testnet:
        client = Client(testnet)
        client.place(symbol='XBTUSD', orderQty=12300, ordType='Market')
        client.place(symbol='XBTUSD', orderQty=500, price=59000)
        yield testnet


def draw(testnet, notes=(), width=120, height=50):
    return testnet.call(lambda: watch.picture(testnet.server, list(notes), width, height))


def test_the_picture_shows_market_book_trades_and_accounts(testnet):
    lines = draw(testnet, ['12:00:00 a note'])
    text = '\n'.join(lines)

    assert testnet.url in lines[0] and 'still' in lines[0]
    assert re.search(r'XBTUSD  open  last 60,000\.1  mark 60,000\.05  index .* funding 0\.\d{4} % in \d:\d\d', text)
    assert re.search(r'^\*          500     59,000\.0 \| ', text, re.MULTILINE), text
    assert re.search(r'\d\d:\d\d:\d\d Buy     12,300 at 60,000\.1$', text, re.MULTILINE)
    assert re.search(r'^ETHUSD   open     bid +[\d,.]+ ask +[\d,.]+ mark', text, re.MULTILINE)
    assert re.search(r'^100001   alic\.\.\. +9\.\d{8} XBT +-?0\.\d{8} XBT +1  \+12,300 XBTUSD$', text, re.MULTILINE)
    assert re.search(r'^100002   bob +3\.00000000 XBT +0\.00000000 XBT +0$', text, re.MULTILINE)
    assert '12:00:00 a note' in lines and lines[-1] == 'Ctrl-C ends it.'


@pytest.mark.parametrize('width, height', [(120, 50), (80, 24), (40, 12), (20, 5), (1, 1)])
def test_the_picture_fits_the_terminal(testnet, width, height):
    lines = draw(testnet, ['a note that is longer than forty characters in any case'] * 3, width, height)

    assert len(lines) <= height and max(len(line) for line in lines) <= width
    assert lines[-1] == 'Ctrl-C ends it.'[:width]


def test_the_picture_names_faults_and_a_frozen_market(testnet):
    testnet.call(lambda: testnet.server.hold_market('the test', True))
    with testnet.faults('lag', tables='quote'):
        text = '\n'.join(draw(testnet))
    testnet.call(lambda: testnet.server.hold_market('the test', False))

    assert 'still, frozen' in text and 'faults: lag (' in text


@pytest.mark.parametrize('market', ['simulated', 'lively'])
def test_living_markets_can_be_drawn(market):
    with running(market, symbols=(), seed=5) as testnet:
        lines = testnet.call(lambda: watch.picture(testnet.server, [], 100, 40))

    assert ', seed 5' in lines[0] and len(lines) <= 40


def test_the_diary_has_a_line_for_all_that_moves_money(caplog):
    caplog.set_level(logging.INFO)
    with running(bid=60000, ask=60000.1, accounts=PEOPLE) as testnet:
        testnet.call(lambda: testnet.server.keep_diary(watch.Diary()))
        alice = Client(testnet)
        alice.place(symbol='XBTUSD', orderQty=1000, ordType='Market', clOrdID='mine')
        alice.place(symbol='XBTUSD', orderQty=100, price=59000)
        alice._good(alice.send('POST', '/user/requestWithdrawal', {
            'currency': 'XBt', 'network': 'btc', 'amount': 1000000, 'address': 'tb1q'}))
        testnet.call(lambda: testnet.exchange.set_funding('XBTUSD', 0.0001))
        testnet.call(lambda: testnet.exchange.funding.pay(testnet.exchange.tapes['XBTUSD']))
        testnet.call(lambda: testnet.exchange.set_state('XBTUSD', 'Settled'))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith('Account')]

    assert lines[0] == 'Account 100001 buys 1,000 XBTUSD at 60,000.1, order mine; fee 0.00000833 XBT.'
    assert lines[1] == 'Account 100001: withdrawal of 0.01000000 XBT is pending.'
    assert [re.sub(r' at .*| on .*', '', line) for line in lines[2:]] == [
        'Account 100001 pays funding', 'Account 100001 settles 1,000 XBTUSD']


def test_a_sweep_is_counted(caplog):
    caplog.set_level(logging.INFO)
    with running(bid=60000, ask=60000.1, accounts=PEOPLE) as testnet:
        testnet.call(lambda: testnet.server.keep_diary(watch.Diary()))
        for number in range(15):
            Client(testnet).place(symbol='XBTUSD', orderQty=100, price=50000 + number)
        testnet.call(lambda: testnet.server.hold_market('the test', True))
        testnet.call(lambda: testnet.exchange.take('XBTUSD', 'Sell', 10 ** 9))
    lines = [record.getMessage() for record in caplog.records]

    assert sum(line.startswith('Account 100001 buys') for line in lines) == watch.MOST_LINES
    assert '... and 5 more.' in lines


def start(words, stdout):
    return subprocess.Popen([sys.executable, '-m', 'market_maker', 'testnet', '--port', '0'] + words, cwd=ROOT,
                            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE)


@pytest.mark.skipif(os.name != 'posix', reason='needs a pseudo-terminal')
def test_the_screen_is_drawn_and_the_terminal_given_back():
    import pty   # posix only
    ours, theirs = pty.openpty()
    process = start(['--market', 'lively', '--seed', '5', '--watch'], theirs)
    os.close(theirs)
    seen = b''
    deadline = time.monotonic() + 60
    signalled = False
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:
                break   # it has ended
        if not signalled and seen.count(b'Ctrl-C ends it.') >= 4:
            signalled = True
            process.send_signal(signal.SIGINT)
    os.close(ours)
    errors = process.communicate(timeout=20)[1]

    text = seen.decode('utf-8')
    assert (process.returncode, errors) == (0, b'')
    assert text.count(watch.ENTER) == text.count(watch.LEAVE) == 1
    assert 'The local exchange has ended.' in text.partition(watch.LEAVE)[2]
    assert 'lively, seed 5' in text and 'account' in text


def test_a_screen_needs_a_terminal():
    process = start(['--watch'], subprocess.PIPE)
    out, errors = process.communicate(timeout=60)

    assert (process.returncode, out) == (2, b'')
    assert errors == b'marketmaker: --watch draws on a terminal, and the output goes elsewhere: leave it out\n'
