"""``status``, ``cancel``, ``flatten`` and ``resume`` over real sockets: what they say, what they send, how they end."""
import io
import itertools
import json
import os
import re
import signal
import socket
import sys

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from bot import Bot, free_port, until  # noqa: E402
from local_client import Client  # noqa: E402

from market_maker import cli  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.settings import forget  # noqa: E402
from market_maker.state import losses  # noqa: E402
from market_maker.state.folder import StateFolder  # noqa: E402
from market_maker.utils.constants import CLOSING_DATE  # noqa: E402

NUMBERS = itertools.count(1)
OURS = 'mm_bitmex_' + 'A' * 21
OTHERS = ('', 'by-hand', 'mm_bitmex_2_' + 'B' * 22)


@pytest.fixture(scope='module')
def market():
    with running(bid=60000, ask=60000.5, symbols=('XBTUSD', 'ETHUSD')) as testnet:
        until(lambda: testnet.exchange.instruments['XBTUSD'].row.get('askPrice') == 60000.5, 10, 'no prices yet')
        yield testnet


class World(object):
    """One account of its own on that market, and the command line in an empty folder."""

    def __init__(self, testnet, capsys, monkeypatch, folder):
        self.testnet, self.capsys, self.monkeypatch, self.folder = testnet, capsys, monkeypatch, folder
        self.key, self.secret = 'key-{}'.format(next(NUMBERS)), 'secret'
        testnet.call(lambda: testnet.exchange.open_account(self.key, self.secret))
        self.client = Client(testnet, self.key, self.secret)

    def run(self, *words, **options):
        """Return (exit code, stdout, lines of complaint) of ``marketmaker WORDS``."""
        forget()
        self.capsys.readouterr()
        self.monkeypatch.setenv('BITMEX_BASE_URL', options.get('url', self.testnet.url))
        self.monkeypatch.setenv('BITMEX_API_KEY', self.key)
        self.monkeypatch.setenv('BITMEX_API_SECRET', self.secret)
        self.monkeypatch.setattr(sys, 'argv', ['marketmaker'] + list(words))
        code = cli.main(list(words))
        out, err = self.capsys.readouterr()
        return code, out, [line for line in err.splitlines() if line]

    def place(self, name, side='Buy', price=50000, size=100, **more):
        more.update({'clOrdID': name} if name else {})
        return self.client.place(symbol='XBTUSD', side=side, price=price, orderQty=size, **more)

    def open_names(self):
        return sorted(row.get('clOrdID') or '' for row in self.client.get(
            '/order?filter=%7B%22open%22%3Atrue%7D'))

    def position(self):
        rows = self.client.get('/position')
        return rows[0]['currentQty'] if rows else 0

    def watch(self):
        """Return the loss watch of XBTUSD as the bot would open it."""
        state = StateFolder(self.testnet.url, self.key, self.testnet.server.instance)
        return losses.Losses(state.file(losses.file_name('XBTUSD mm_bitmex_')))


@pytest.fixture
def world(market, capsys, monkeypatch, tmp_path, own_log):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    return World(market, capsys, monkeypatch, tmp_path)


# status


def test_status_tells_what_is_so(world):
    world.place(OURS + 'A')
    world.place(OURS + 'Q', price=49000, size=300)
    world.place('by-hand')
    world.client.place(symbol='XBTUSD', side='Sell', orderQty=200, ordType='Market')

    code, out, err = world.run('status', 'XBTUSD')

    assert (code, err) == (0, [])
    assert re.search(r'^Position  -200 contracts at (59999|60000)\.\d, unrealised ', out, re.MULTILINE), out
    assert 'Bids      2 orders of the bot, 400 contracts, the innermost at 50000.0' in out
    assert 'Asks      0 orders of the bot' in out and "1 open orders that are not the bot's" in out
    assert 'XBTUSD    Open; bid 60000.0, ask 60000.5' in out and 'no limit is set' in out


def test_status_as_json_is_one_object_and_nothing_else(world):
    world.place(OURS + 'A')

    code, out, err = world.run('status', '--json')

    found = json.loads(out)
    assert (code, err) == (0, [])
    assert found['symbol'] == 'XBTUSD' and found['position']['currentQty'] == 0 and found['bot']['running'] is False
    assert [(order['clOrdID'], order['leavesQty']) for order in found['orders']['own']] == [(OURS + 'A', 100)]
    assert found['balance']['marginBalance'] == 10 * found['balance']['scale']
    assert found['losses']['halted'] == '' and found['market']['state'] == 'Open'


def test_status_takes_the_settings_of_a_run(world):
    """settings.py, the symbol's own file, and the symbol of the command line in capitals."""
    (world.folder / 'settings.py').write_text('ORDERID_PREFIX = "mine_"\nSYMBOL = "ETHUSD"\nLOSS_LIMIT = 1\n')
    (world.folder / 'settings-XBTUSD.py').write_text('ORDERID_PREFIX = "xbt_"\n')

    assert json.loads(world.run('status', '--json')[1])['prefix'] == 'mine_'
    found = json.loads(world.run('status', 'xbtusd', '--json')[1])
    assert (found['symbol'], found['prefix'], found['losses']['limits']['LOSS_LIMIT']) == ('XBTUSD', 'xbt_', 1)


def test_status_tells_how_much_of_a_loss_limit_is_used(world):
    (world.folder / 'settings.py').write_text('LOSS_LIMIT = 1\nDAILY_LOSS_LIMIT = 0.25\n')
    assert 'Losses    nothing was watched yet' in world.run('status')[1]
    world.watch().check(10 ** 9 + 2 * 10 ** 7, losses.Bounds(1, None, 0.25, 'XBt', 10 ** 8), 0.0, 0.0)

    out = world.run('status')[1]

    assert 'Losses    0.20000000 of LOSS_LIMIT 1, 0.20000000 of DAILY_LOSS_LIMIT 0.25' in out


def test_status_where_nothing_can_be_kept(world):
    """It does not claim to know what only the state folder tells."""
    (world.folder / 'file').write_text('')
    world.monkeypatch.setenv('XDG_STATE_HOME', str(world.folder / 'file'))

    code, out, _ = world.run('status')

    assert code == 0 and 'whether one runs cannot be told' in out
    assert json.loads(world.run('status', '--json')[1])['bot']['running'] is None


@pytest.mark.parametrize('command', ['status', 'cancel', 'flatten', 'resume'])
def test_where_nothing_runs_one_line_says_so_and_nothing_is_started(world, command):
    url = 'http://127.0.0.1:{}/api/v1/'.format(free_port())

    code, out, (line,) = world.run(command, url=url)

    assert (code, out) == (4, '') and 'no local exchange runs at ' + url in line
    assert world.run(command, url=url)[0] == 4


@pytest.mark.parametrize('command', ['status'])
def test_an_exchange_that_is_gone_is_told_in_one_line(world, command):
    """Those who name BitMEX's hosts learn when they closed.  (No name resolves here.)"""
    def nowhere(*args, **kwargs):
        raise socket.gaierror(-2, 'Name or service not known')
    world.monkeypatch.setattr(socket, 'getaddrinfo', nowhere)

    code, out, (line,) = world.run(command, url='https://testnet.bitmex.com/api/v1/')

    assert (code, out) == (4, '') and CLOSING_DATE in line and '--local' in line


@pytest.mark.parametrize('command', ['status', 'cancel', 'flatten', 'resume'])
def test_a_symbol_that_does_not_exist_is_told_with_the_nearest(world, command):
    code, out, (line,) = world.run(command, 'BXTUSD')

    assert (code, out) == (2, '') and 'did you mean XBTUSD?' in line


def test_a_wrong_secret_is_told(world):
    world.secret = 'wrong'

    code, out, (line,) = world.run('status')

    assert code == 3 and 'Signature not valid' in line and world.key not in line


def test_settings_that_cannot_be_used_are_told(world):
    (world.folder / 'settings.py').write_text('MIN_POSITION = 5\nMAX_POSITION = 1\nCHECK_POSITION_LIMITS = True\n')

    code, out, (line,) = world.run('cancel')

    assert (code, out) == (2, '') and 'MIN_POSITION 5 is greater than MAX_POSITION 1' in line


# cancel


def test_cancel_takes_the_bots_own_orders_and_only_those(world):
    for name in OTHERS + (OURS + 'A', OURS + 'Q', OURS + 'g'):
        world.place(name)

    code, out, err = world.run('cancel', 'XBTUSD')

    assert (code, err) == (0, [])
    assert out == "3 orders of XBTUSD with the prefix 'mm_bitmex_' cancelled; 3 others stay.\n"
    assert world.open_names() == sorted(OTHERS)


def test_cancel_finds_an_order_that_a_strategy_named_by_its_ledger(world):
    state = StateFolder(world.testnet.url, world.key, world.testnet.server.instance)
    from market_maker.state.ledger import CREATE, DONE, Ledger, Order
    ledger = Ledger(state.file('ledger.db'), 'XBTUSD mm_bitmex_')
    ledger.end(ledger.begin(CREATE, [Order('my-own-stop', '', 'XBTUSD', {})], 0.0)[0], DONE)
    ledger.close()
    world.place('my-own-stop')
    world.place('by-hand')

    assert world.run('cancel')[0] == 0
    assert world.open_names() == ['by-hand']


def test_cancel_with_nothing_to_cancel_is_done(world):
    code, out, err = world.run('cancel')

    assert (code, err) == (0, []) and out.startswith('0 orders')


# flatten


def test_flatten_closes_the_position_with_orders_that_only_reduce(world):
    world.place(OURS + 'A')
    world.place('by-hand', price=50500)
    world.client.place(symbol='XBTUSD', side='Buy', orderQty=700, ordType='Market')

    code, out, err = world.run('flatten', 'XBTUSD', '--yes')

    assert (code, err) == (0, []), out
    assert out.splitlines()[0].startswith('XBTUSD: 700 contracts at 60000.')
    assert out.splitlines()[1] == 'XBTUSD is flat, 1 orders cancelled.'
    assert world.position() == 0 and world.open_names() == ['by-hand']
    newest = world.client.get('/order?reverse=true&count=1&filter=%7B%22side%22%3A%22Sell%22%7D')[0]
    assert (newest['ordType'], newest['execInst'], newest['orderQty']) == ('Market', 'ReduceOnly', 700)


def test_flatten_asks_and_no_means_no(world):
    world.client.place(symbol='XBTUSD', side='Sell', orderQty=300, ordType='Market')
    answers = []

    class Terminal(io.StringIO):
        def isatty(self):
            return True

        def readline(self):
            return answers.pop(0)
    world.monkeypatch.setattr(sys, 'stdin', Terminal())
    answers[:] = ['\n', 'n\n', 'yes\n']

    for _ in range(2):
        code, out, err = world.run('flatten')
        assert code == 1 and out.endswith('Buy 300 contracts at the market? [y/N] Nothing was done.\n')
        assert world.position() == -300
    assert world.run('flatten')[0] == 0 and world.position() == 0


def test_flatten_without_anybody_to_ask_does_nothing(world):
    world.client.place(symbol='XBTUSD', side='Buy', orderQty=300, ordType='Market')
    world.monkeypatch.setattr(sys, 'stdin', io.StringIO('yes\n'))

    code, out, (line,) = world.run('flatten')

    assert code == 2 and '--yes' in line and world.position() == 300


def test_flatten_says_what_is_left(world):
    """A book without a bid closes nothing; the exit code tells."""
    world.client.place(symbol='XBTUSD', side='Buy', orderQty=300, ordType='Market')
    world.monkeypatch.setattr('market_maker.bitmex.BitMEX.place_order', lambda *args, **kwargs: {
        'text': 'Canceled: Order had ordType of Market\nSubmitted via API.'})

    code, out, err = world.run('flatten', '--yes')

    assert code == 1
    assert out.splitlines()[-1] == '300 contracts of XBTUSD are still open (Canceled: Order had ordType of Market).'


def test_flatten_with_nothing_to_do_is_done(world):
    code, out, err = world.run('flatten')

    assert code == 0 and 'nothing to do' in out


# resume


def test_resume_after_a_loss_limit(world):
    watch = world.watch()
    bounds = losses.Bounds(0.5, None, None, 'XBt', 10 ** 8)
    assert watch.check(10 ** 9, bounds, 0.0, 0.0) == ''
    assert watch.check(9 * 10 ** 8, bounds, 0.0, 1.0)
    assert '1 XBT were lost' in world.run('status')[1]

    code, out, err = world.run('resume', 'XBTUSD')

    assert (code, err) == (0, []) and 'XBTUSD may be quoted again' in out and 'LOSS_LIMIT is 0.5' in out
    assert world.watch().halted == ''
    assert 'nothing to resume' in world.run('resume')[1]


# Beside a running bot


@pytest.mark.skipif(os.name != 'posix', reason='signals are those of POSIX')
def test_beside_a_running_bot(world):
    """status sees its orders, cancel takes them and it quotes again, flatten closes what it holds, resume wakes it."""
    bot = Bot(world.folder, world.testnet.url, {
        'LOOP_INTERVAL': 0.2, 'API_KEY': world.key, 'API_SECRET': world.secret, 'LOSS_LIMIT': 0.001,
        'ORDER_PAIRS': 2})
    try:
        bot.start('XBTUSD')
        until(lambda: len(world.open_names()) == 4, 30, bot.text)
        before = world.open_names()
        found = json.loads(world.run('status', '--json')[1])
        assert len(found['orders']['own']) == 4 and found['bot'] == {'running': True, 'pid': bot.process.pid}
        assert any('it runs, process' in line for line in world.run('doctor')[1].splitlines())

        code, out, err = world.run('cancel')
        assert (code, err) == (0, []) and 'The bot runs (process {})'.format(bot.process.pid) in out
        until(lambda: len(world.open_names()) == 4 and not set(before) & set(world.open_names()), 30, bot.text)

        world.client.place(symbol='XBTUSD', side='Buy', orderQty=500000, ordType='Market')   # the fee is a loss
        until(lambda: world.open_names() == [] and 'LOSS_LIMIT is 0.001' in bot.text(), 30, bot.text)
        assert world.run('flatten', '--yes')[0] == 0 and world.position() == 0

        bot.process.kill()   # a limit that was hit holds over a restart of any kind
        bot.process.wait(10)
        bot.start('XBTUSD')
        until(lambda: 'Limit: ' in bot.text() and bot.text().count('-----') > 2, 30, bot.text)
        assert world.open_names() == [] and 'Creating' not in bot.text()
        assert world.run('resume')[0] == 0
        until(lambda: len(world.open_names()) == 4, 30, bot.text)
        assert bot.stop(signal.SIGTERM) == 0, bot.text()
        assert world.open_names() == [] and 'ERROR' not in bot.text() and 'Traceback' not in bot.text()
        assert json.loads(world.run('status', '--json')[1])['bot']['running'] is False
    finally:
        bot.kill()
