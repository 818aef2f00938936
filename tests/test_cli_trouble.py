"""Everything that can be wrong at the start of a run: one line with cause, value and way out, the documented exit code,
and nothing left running."""
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from inspect import signature

import pytest
import websocket

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from bot import Bot, free_port, until  # noqa: E402

from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.utils.constants import CLOSING_DATE  # noqa: E402

# Old versions of websocket-client do not hand on what a refused upgrade says.
TELLS_WHY = 'resp_body' in signature(websocket.WebSocketBadStatusException.__init__).parameters

STILL_THERE = '''
import os, sys
for name in os.listdir("/proc"):
    try:
        with open("/proc/{}/environ".format(name), "rb") as file:
            if sys.argv[1].encode() in file.read() and int(name) != os.getpid():
                print(name)
    except (OSError, ValueError):
        pass
'''


@pytest.fixture
def bot(tmp_path):
    """A bot in an empty folder with a port of its own; it must leave no process behind."""
    made = Bot(tmp_path)
    made.env['MARK_OF_THIS_TEST'] = mark = 'mark-{}-{}'.format(os.getpid(), free_port())
    yield made
    made.kill()
    if os.path.isdir('/proc/self'):
        until(lambda: subprocess.check_output([sys.executable, '-c', STILL_THERE, mark]) == b'', 15,
              'a process of this run is still there')


def complaint(bot, *words):
    """Run to the end; return the exit code and the one line of complaint, which is the last one."""
    result = bot.run(*words, timeout=60)
    assert 'Traceback' not in result.stdout
    lines = [line for line in result.stdout.splitlines() if line.startswith('marketmaker: ')]
    assert len(lines) == 1 and result.stdout.splitlines()[-1] == lines[0], result.stdout
    assert ' - ERROR - ' not in result.stdout, result.stdout
    assert 'Shutting down' not in result.stdout, 'there was nothing to shut down'
    return result.returncode, lines[0][len('marketmaker: '):]


def test_a_symbol_that_does_not_exist(bot):
    """The nearest ones are named."""
    code, line = complaint(bot, 'BXTUSD')

    assert code == 2 and 'BXTUSD' in line and 'XBTUSD' in line.replace('BXTUSD', '')


def test_a_symbol_in_small_letters_is_meant_in_capitals(bot):
    """It quotes XBTUSD."""
    bot.start('xbtusd')

    until(lambda: 'Creating 12 orders:' in bot.text(), 30, bot.text)
    assert 'Using symbol XBTUSD.' in bot.text() and bot.stop() == 0


@pytest.mark.parametrize('text, words', [
    ('ORDER_PAIRS = = 2\n', ('settings.py:1: ', 'ORDER_PAIRS = = 2')),
    ('MIN_POSITION = 10\nMAX_POSITION = 1\n', ('settings.py:1: ', 'MIN_POSITION 10', 'MAX_POSITION 1', 'widen them'))])
def test_settings_that_cannot_be_used(bot, text, words):
    """File and line, the value, and what to do."""
    with open(os.path.join(bot.folder, 'settings.py'), 'w') as file:
        file.write(text)

    code, line = complaint(bot, 'XBTUSD')

    assert code == 2 and all(word in line for word in words), line


@pytest.mark.parametrize('host', ['testnet.bitmex.com', 'www.bitmex.com'])
def test_a_settings_file_of_the_classic_bot(bot, host):
    """An unreachable bitmex.com tells when it closed and how to go on.  (The name is made not to resolve.)"""
    bot.folder_settings = os.path.join(bot.folder, 'settings.py')
    with open(bot.folder_settings, 'w') as file:
        file.write('BASE_URL = "https://{}/api/v1/"\nAPI_KEY = "k"\nAPI_SECRET = "s"\n'.format(host))
    os.chmod(bot.folder_settings, 0o600)
    del bot.env['BITMEX_BASE_URL']
    offline = os.path.join(bot.folder, 'offline')
    os.mkdir(offline)
    with open(os.path.join(offline, 'sitecustomize.py'), 'w') as file:
        file.write('import socket\n\n\ndef nowhere(*args, **kwargs):\n'
                   '    raise socket.gaierror(-2, "Name or service not known")\n\n\nsocket.getaddrinfo = nowhere\n')
    bot.env['PYTHONPATH'] = offline + os.pathsep + bot.env['PYTHONPATH']

    code, line = complaint(bot, 'XBTUSD')

    assert code == 4 and host in line and CLOSING_DATE in line and '--local' in line and 'http://127.0.0.1:' in line


def test_a_wrong_secret(bot):
    """Exit code 3; neither key nor secret is shown whole."""
    with running(accounts=[{'key': 'akeyofthisaccount', 'secret': 'right'}]) as testnet:
        bot.env.update(BITMEX_BASE_URL=testnet.url, BITMEX_API_KEY='akeyofthisaccount', BITMEX_API_SECRET='wrongsecret')

        code, line = complaint(bot, 'XBTUSD')

    assert code == 3
    assert ('Signature not valid' if TELLS_WHY else 'HTTP 401') in line
    assert 'wrongsecret' not in line and 'akeyofthisaccount' not in line


def test_a_stranger_on_the_port(bot):
    """It says who answers there, and leaves him alone."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(5)
        bot.env['BITMEX_BASE_URL'] = 'http://127.0.0.1:{}/api/v1/'.format(listener.getsockname()[1])

        def answer():
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b'220 mail.example.org ESMTP\r\n')
        threading.Thread(target=answer, daemon=True).start()

        code, line = complaint(bot, 'XBTUSD')

        listener.shutdown(socket.SHUT_RDWR)
    assert code == 2 and str(listener) not in line and 'is taken by a program' in line and 'BASE_URL' in line


def test_without_the_extra_the_pip_command_is_named(bot):
    """The base install alone says what is missing."""
    hidden = os.path.join(bot.folder, 'hidden')
    os.mkdir(hidden)
    with open(os.path.join(hidden, 'sitecustomize.py'), 'w') as file:
        file.write('import sys\nsys.modules["aiohttp"] = None\n')
    bot.env['PYTHONPATH'] = hidden + os.pathsep + bot.env['PYTHONPATH']

    code, line = complaint(bot, 'XBTUSD')

    assert code == 2 and 'pip install "bitmex-market-maker[testnet]"' in line


def test_an_unwritable_log(bot):
    """Before anything connects."""
    with open(os.path.join(bot.folder, 'settings.py'), 'w') as file:
        file.write('LOG_FILE = "no-such-folder/bot.log"\n')

    code, line = complaint(bot, 'XBTUSD')

    assert code == 2 and re.search(r"LOG_FILE '.*no-such-folder/bot.log' cannot be written \(No such file", line)


def test_the_log_file_tells_why_a_run_ended(bot):
    """Who runs the bot unattended finds the reason there."""
    path = os.path.join(bot.folder, 'bot.log')
    with open(os.path.join(bot.folder, 'settings.py'), 'w') as file:
        file.write('LOG_FILE = {!r}\n'.format(path))

    code, line = complaint(bot, 'BXTUSD')

    with open(path) as file:
        text = file.read()
    assert code == 2 and ' - ERROR - cli - ' + line in text


@pytest.mark.skipif(os.name != 'posix', reason='signals are those of POSIX')
@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGTERM])
def test_an_early_signal_ends_the_start(bot, ending):
    """Ctrl-C while the local exchange still starts: exit code 0, no traceback, nothing left."""
    bot.start('XBTUSD')
    until(lambda: 'Version' in bot.text() or 'No settings.py' in bot.text(), 20, bot.text)

    assert bot.stop(ending) == 0, bot.text()
    assert 'Traceback' not in bot.text()


@pytest.mark.skipif(os.name != 'posix', reason='modes are those of POSIX')
def test_a_dry_run_sends_nothing(bot):
    """It shows what it would place."""
    with running(bid=60000, ask=60000.5) as testnet:
        bot.env['BITMEX_BASE_URL'] = testnet.url
        bot.start('XBTUSD', '--dry-run')
        until(lambda: 'Creating 12 orders:' in bot.text(), 30, bot.text)
        resting = testnet.call(lambda: [row for account in testnet.exchange.accounts.values()
                                        for row in testnet.exchange.rows('order', account)])

        assert bot.stop() == 0, bot.text()
    assert resting == []


@pytest.mark.skipif(os.name != 'posix', reason='signals are those of POSIX')
def test_a_strategy_file_is_run(bot):
    """`--strategy FILE` finds the class, its symbol and the settings, and its neighbours can be imported."""
    with open(os.path.join(bot.folder, 'helper.py'), 'w') as file:
        file.write('PRICE = 100.0\n')
    with open(os.path.join(bot.folder, 'mine.py'), 'w') as file:
        file.write('from helper import PRICE\nfrom market_maker.market_maker import OrderManager\n\n\n'
                   'class Mine(OrderManager):\n    def place_orders(self):\n        self.converge_orders('
                   '[{"price": PRICE, "orderQty": 100, "side": "Buy"}], [])\n')
    bot.start('XBTUSD', '--strategy', 'mine.py')

    until(lambda: 'Buy 100 @ 100.0' in bot.text(), 30, bot.text)
    assert bot.stop() == 0, bot.text()


@pytest.mark.slow
@pytest.mark.skipif(os.name != 'posix', reason='signals are those of POSIX')
@pytest.mark.parametrize('ending', [None, signal.SIGINT, signal.SIGTERM])
def test_the_demo_shows_fills_on_both_sides_and_leaves_nothing_behind(bot, tmp_path, ending):
    """By its own clock, by Ctrl-C or by SIGTERM: quotes, fills, the closing summary, exit code 0, no folder left."""
    place = tmp_path / 'temporary'
    place.mkdir()
    bot.env.update(TMPDIR=str(place), XDG_STATE_HOME=str(place / 'state'))
    bot.start('demo', *(['--seconds', '20'] if ending is None else []))
    until(lambda: 'Execution: Buy' in bot.text() and 'Execution: Sell' in bot.text(), 30, bot.text)

    code = bot.process.wait(60) if ending is None else bot.stop(ending, timeout=30)

    text = bot.text()
    assert code == 0, text
    assert 'Creating 12 orders:' in text and 'Run time' in text and 'Traceback' not in text
    assert os.listdir(str(place)) == []


def test_settings_written_by_setup_keep_a_secret(bot):
    """Mode 0600 from the first moment."""
    assert bot.run('setup').returncode == 0
    if os.name == 'posix':
        assert stat.S_IMODE(os.stat(os.path.join(bot.folder, 'settings.py')).st_mode) == 0o600
