"""``marketmaker doctor`` against planted faults, over real sockets: the right finding, its way out, and no other."""
import itertools
import os
import shutil
import socket
import sys
import threading
import time
from collections import namedtuple

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from bot import Bot, free_port, until  # noqa: E402
from local_client import Client  # noqa: E402

from market_maker import cli  # noqa: E402
from market_maker.commands import doctor  # noqa: E402
from market_maker.server import accounts  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.settings import forget  # noqa: E402
from market_maker.state import losses  # noqa: E402
from market_maker.state.folder import StateFolder  # noqa: E402
from market_maker.utils import errors  # noqa: E402

NUMBERS = itertools.count(1)
SECRET = 'itssecret'
LIMITS = 'CHECK_POSITION_LIMITS = True\n'   # without them there is a note

Answer = namedtuple('Answer', 'code findings seconds')


class World(object):
    """An exchange, an account of its own on it, an empty folder, and the command line."""

    def __init__(self, testnet, capsys, monkeypatch, folder, more):
        self.testnet, self.capsys, self.monkeypatch, self.folder = testnet, capsys, monkeypatch, folder
        self.key = 'key{}ofthistest'.format(next(NUMBERS))
        description = dict({'key': self.key, 'secret': SECRET, 'permissions': ['order']}, **more)
        testnet.call(lambda: accounts.open_account(testnet.exchange, description))
        self.client = Client(testnet, self.key, SECRET)
        self.settings(LIMITS)

    def settings(self, text):
        (self.folder / 'settings.py').write_text(text)

    def run(self, *words, **options):
        """Return the Answer of ``marketmaker doctor WORDS``."""
        forget()
        self.capsys.readouterr()
        self.monkeypatch.setenv('BITMEX_BASE_URL', options.get('url', self.testnet.url))
        self.monkeypatch.setenv('BITMEX_API_KEY', options.get('key', self.key))
        self.monkeypatch.setenv('BITMEX_API_SECRET', options.get('secret', SECRET))
        words = ['doctor'] + list(words or ['XBTUSD'])
        self.monkeypatch.setattr(sys, 'argv', ['marketmaker'] + words)
        began = time.monotonic()
        code = cli.main(words)
        seconds = time.monotonic() - began
        out, err = self.capsys.readouterr()
        assert err == ''
        found = [line.split(None, 2) for line in out.splitlines()]
        assert [topic for _, topic, _ in found] == sorted((topic for _, topic, _ in found), key=doctor.TOPICS.index)
        assert SECRET not in out and self.key not in out and 'Traceback' not in out
        return Answer(code, [doctor.Finding(*each) for each in found], seconds)

    def orders(self):
        """How many orders of any kind the account ever had."""
        return len(self.client.get('/order'))


def alone(answer, level, topic, *words):
    """Assert that there is one finding worth a thought, of that level, about that topic, with these words."""
    bad = [finding for finding in answer.findings if finding.level not in (doctor.FINE, doctor.NOTE)]
    assert [(finding.level, finding.topic) for finding in bad] == [(level, topic)], answer.findings
    for word in words:
        assert word in bad[0].words, bad[0].words
    assert answer.code == (doctor.EXIT_FAULTS if level == doctor.FAULT else doctor.EXIT_WARNINGS)
    assert answer.seconds < 5


@pytest.fixture(scope='module')
def market():
    """An exchange with accounts of its own, as BitMEX was: it opens none for a key that it does not know."""
    with running(bid=60000, ask=60000.5, accounts=[{'key': 'somebody', 'secret': 'else'}]) as testnet:
        until(lambda: testnet.exchange.instruments['XBTUSD'].row.get('askPrice') == 60000.5, 10, 'no prices yet')
        yield testnet


@pytest.fixture
def more():
    """What is special about the account of a test."""
    return {}


@pytest.fixture
def world(market, more, capsys, monkeypatch, tmp_path, own_log):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    return World(market, capsys, monkeypatch, tmp_path, more)


def with_account(**values):
    """Give the account of a test these properties."""
    return pytest.mark.parametrize('more', [values])


def test_all_is_well(world):
    """A line for each topic, exit code 0, well under five seconds, and no order."""
    answer = world.run()

    assert answer.code == 0 and answer.seconds < 5
    assert [(level, topic) for level, topic, _ in answer.findings] == [
        (doctor.FINE, topic) for topic in doctor.TOPICS if topic != 'bot']
    assert world.orders() == 0


# Planted faults


def test_a_settings_file_with_a_syntax_error(world):
    world.settings('ORDER_PAIRS = = 2\n')

    alone(world.run(), doctor.FAULT, 'settings', 'settings.py:1', 'ORDER_PAIRS = = 2')


def test_settings_that_contradict_each_other(world):
    world.settings(LIMITS + 'MIN_POSITION = 10\nMAX_POSITION = -10\n')

    alone(world.run(), doctor.FAULT, 'settings', 'MIN_POSITION 10 is greater than MAX_POSITION -10')


def test_a_wrong_secret(world):
    alone(world.run(secret='another'), doctor.FAULT, 'key', 'key', '...', 'not with this secret', 'API_SECRET')


def test_a_key_of_another_environment(world):
    alone(world.run(key='akeyofthetestnet'), doctor.FAULT, 'key', 'does not know the key akey...', 'testnet')


@with_account(permissions=['orderCancel'])
def test_a_key_that_may_not_place_orders(world):
    alone(world.run(), doctor.FAULT, 'permissions', 'may not place orders (orderCancel)', '"order"')


@pytest.mark.parametrize('offset, words', [(30, 'behind'), (-30, 'ahead of')])
def test_a_clock_that_is_off(world, offset, words):
    """It is measured, and the requests and the login still go through."""
    with world.testnet.faults('clock-skew', offset=offset):
        answer = world.run()

    alone(answer, doctor.WARNING, 'clock', words, 'NTP')
    measured = float(answer.findings[[topic for _, topic, _ in answer.findings].index('clock')].words.split()[4])
    assert abs(measured - 30) < 1


def test_the_time_of_a_replay_is_no_clock_that_is_off(world):
    """Its feed lives in the recorded past, while requests expire by the clock of the day."""
    world.monkeypatch.setattr(world.testnet.server.hub, 'stamp', lambda: '2022-03-25T00:00:00.000Z')

    assert world.run().code == 0


def test_a_symbol_that_does_not_exist(world):
    alone(world.run('BXTUSD'), doctor.FAULT, 'symbol', 'BXTUSD', 'did you mean XBTUSD?')


def test_an_index_is_no_contract(world):
    alone(world.run('.BXBT'), doctor.FAULT, 'symbol', 'which the bot cannot quote')


def test_a_contract_that_is_closed(world):
    with world.testnet.faults('market-closed'):
        answer = world.run()

    alone(answer, doctor.WARNING, 'symbol', 'does not trade now')


def test_sizes_that_do_not_fit_the_lot(world):
    world.settings(LIMITS + 'ORDER_START_SIZE = 150\n')

    alone(world.run(), doctor.WARNING, 'symbol', 'ORDER_START_SIZE is 150', 'no multiple of 100')


def test_a_loss_limit_that_was_hit(world):
    state = StateFolder(world.testnet.url, world.key, world.testnet.server.instance)
    watch = losses.Losses(state.file(losses.file_name('XBTUSD mm_bitmex_')))
    bounds = losses.Bounds(0.5, None, None, 'XBt', 10 ** 8)
    assert not watch.check(10 ** 9, bounds, 0.0, 0.0) and watch.check(9 * 10 ** 8, bounds, 0.0, 1.0)

    alone(world.run(), doctor.FAULT, 'limits', 'LOSS_LIMIT is 0.5', 'marketmaker resume')


@with_account(positions=[{'symbol': 'XBTUSD', 'currentQty': 10000, 'avgEntryPrice': 60000}])
def test_a_position_at_its_limit(world):
    alone(world.run(), doctor.WARNING, 'limits', 'the position of 10000 has reached MAX_POSITION 10000', 'flatten')


def test_a_high_leverage(world):
    world.client._good(world.client.send('POST', '/position/leverage', {'symbol': 'XBTUSD', 'leverage': 100}))

    alone(world.run(), doctor.WARNING, 'leverage', 'isolated at 100 times', 'lower the leverage')


@with_account(balance={'XBt': 3000000})
def test_a_ladder_that_is_too_large_for_the_balance(world):
    """It can be carried, and a small move would cost it all."""
    world.settings('ORDER_START_SIZE = 8000\nORDER_STEP_SIZE = 0\nCHECK_POSITION_LIMITS = True\nMAX_POSITION = 90000\n')

    alone(world.run(), doctor.WARNING, 'leverage', 'times the balance', 'smaller sizes')


@with_account(balance={'XBt': 0})
def test_an_account_without_money(world):
    alone(world.run(), doctor.FAULT, 'funds', 'has no XBT', 'deposit')


@with_account(balance={'XBt': 1000000})
def test_an_account_that_cannot_carry_the_ladder(world):
    world.settings('ORDER_START_SIZE = 1000000\n')

    answer = world.run()

    assert (doctor.FAULT, 'funds') in [finding[:2] for finding in answer.findings] and answer.code == doctor.EXIT_FAULTS


def test_orders_of_somebody_else(world):
    world.client.place(symbol='XBTUSD', side='Buy', orderQty=100, price=50000)
    world.client.place(symbol='XBTUSD', side='Buy', orderQty=100, price=50000, clOrdID='mm_bitmex_2_' + 'A' * 22)

    alone(world.run(), doctor.WARNING, 'orders', "2 open orders are not this bot's (XBTUSD 2)")


def test_orders_that_an_earlier_run_has_left(world):
    """They are worth a note: the next start takes them away."""
    world.client.place(symbol='XBTUSD', side='Buy', orderQty=100, price=50000, clOrdID='mm_bitmex_' + 'A' * 22)

    answer = world.run()

    assert answer.code == 0
    assert any(level == doctor.NOTE and 'left from an earlier run' in words for level, _, words in answer.findings)


def test_a_state_folder_that_cannot_be_written(world):
    (world.folder / 'file').write_text('')
    world.monkeypatch.setenv('XDG_STATE_HOME', str(world.folder / 'file'))

    alone(world.run(), doctor.WARNING, 'disk', 'the state folder', 'is no folder', 'XDG_STATE_HOME')


def test_a_log_file_that_cannot_be_written(world):
    world.settings(LIMITS + 'LOG_FILE = "no-such-folder/bot.log"\n')

    alone(world.run(), doctor.FAULT, 'disk', 'LOG_FILE', 'there is no folder')


def test_a_disk_that_is_full(world):
    Usage = namedtuple('Usage', 'total used free')
    world.monkeypatch.setattr(shutil, 'disk_usage', lambda path: Usage(10 ** 12, 10 ** 12, 10 ** 6))

    alone(world.run(), doctor.WARNING, 'disk', '1 MB are free')


def test_a_library_that_is_missing(world):
    """Only the standard library is needed to say so."""
    world.monkeypatch.setitem(sys.modules, 'websocket', None)

    alone(world.run(), doctor.FAULT, 'dependencies', 'python -m pip install websocket-client')


def test_a_library_that_is_too_old(world):
    import requests
    world.monkeypatch.setattr(requests, '__version__', '2.9.1')

    alone(world.run(), doctor.FAULT, 'dependencies', 'requests 2.9.1 is older than 2.25.1')


def test_the_extra_that_the_local_exchange_needs_is_missing(world):
    world.monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    url = 'http://127.0.0.1:{}/api/v1/'.format(free_port())

    alone(world.run(url=url), doctor.FAULT, 'dependencies', 'pip install "bitmex-market-maker[testnet]"')


def test_no_local_exchange_yet_is_no_fault_and_none_is_started(world):
    url = 'http://127.0.0.1:{}/api/v1/'.format(free_port())

    for _ in range(2):
        answer = world.run(url=url)
        assert answer.code == 0
        assert any('no local exchange runs' in words for _, _, words in answer.findings)


def test_a_stranger_on_the_port(world):
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(5)

        def answer():
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b'220 mail.example.org ESMTP\r\n')
        threading.Thread(target=answer, daemon=True).start()

        found = world.run(url='http://127.0.0.1:{}/api/v1/'.format(listener.getsockname()[1]))

    alone(found, doctor.FAULT, 'connection', 'is taken by a program that is not the local exchange', 'BASE_URL')


def test_somebody_who_is_silent(world):
    """An answer stands within five seconds all the same."""
    assert doctor.PATIENCE < 4.5
    world.monkeypatch.setattr(doctor, 'PATIENCE', 0.5)
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(5)

        found = world.run(url='http://127.0.0.1:{}/api/v1/'.format(listener.getsockname()[1]))

    alone(found, doctor.FAULT, 'connection', 'not everything was answered within 0.5 s')


def test_a_slow_exchange(world):
    with world.testnet.faults('slow-reply', delay=0.6, routes='/instrument'):
        alone(world.run(), doctor.WARNING, 'latency', 'ms')


def test_a_feed_that_cannot_be_opened(world):
    with world.testnet.faults('refused-upgrade'):
        alone(world.run(), doctor.FAULT, 'feed', 'cannot be opened', 'HTTP 503')


def test_an_exchange_that_is_down(world):
    with world.testnet.faults('unavailable'):
        alone(world.run(), doctor.FAULT, 'connection', '503')


# Beside these


def test_a_strategy_that_cannot_be_loaded(world):
    alone(world.run('XBTUSD', '--strategy', 'none.py'), doctor.FAULT, 'settings', 'there is no such file')


def test_the_exit_codes_are_the_documented_ones():
    assert (doctor.EXIT_WARNINGS, doctor.EXIT_FAULTS) == (errors.EXIT_WARNINGS, errors.EXIT_FAULTS)


@pytest.mark.skipif(os.name != 'posix', reason='signals are those of POSIX')
@pytest.mark.parametrize('offset', [45, -45])
def test_a_run_is_not_bothered_by_a_clock_that_is_off(world, offset):
    """Login, creates, amends and cancels: everything that is signed allows for it."""
    bot = Bot(world.folder, world.testnet.url, {
        'LOOP_INTERVAL': 0.2, 'API_KEY': world.key, 'API_SECRET': SECRET, 'ORDER_PAIRS': 2, 'MIN_SPREAD': 0,
        'ORDER_START_SIZE': 200})
    exchange = world.testnet.exchange
    with world.testnet.faults('clock-skew', offset=offset):
        try:
            bot.start('XBTUSD')
            until(lambda: len(exchange.account_of(world.key).orders) == 4, 30, bot.text)
            assert world.testnet.call(lambda: exchange.take('XBTUSD', 'Sell', 100)) == 100
            until(lambda: 'Amending  Buy: 100 @' in bot.text(), 30, bot.text)
            assert bot.stop() == 0, bot.text()
        finally:
            bot.kill()
    assert not exchange.account_of(world.key).orders
    assert 'ERROR' not in bot.text() and 'Traceback' not in bot.text(), bot.text()
