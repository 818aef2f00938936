"""Old scripts as users run them: a folder, a settings.py, a process of its own, real sockets to the exchange."""
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from bot import STOP_SIGNALS
from old_strategies import SCRIPTS

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from market_maker import local  # noqa: E402
from market_maker.server.local_exchange import running  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SETTINGS = '''
BASE_URL = "{url}"
LOOP_INTERVAL = 0.1
API_REST_INTERVAL = 0.1
'''


@pytest.fixture(scope='module')
def testnet():
    with running(market='still', bid=50000, ask=50001, symbols=('XBTUSD',), rate_limits=False) as testnet:
        yield testnet


def resting(testnet):
    """The open orders of the demo account, from the exchange's own side, as (side, price, size)."""
    def look():
        account = testnet.exchange.account_of(local.LOCAL_API_KEY)
        return [dict(row) for row in testnet.exchange.rows('order', account)]
    return {(row['side'], row.get('price'), row['leavesQty']) for row in testnet.call(look) if row.get('leavesQty')}


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def started(folder, testnet, *command, **more):
    (folder / 'settings.py').write_text(SETTINGS.format(url=testnet.url) + more.get('settings', ''))
    environment = dict(os.environ, PYTHONPATH=ROOT, PYTHONDONTWRITEBYTECODE='1')
    with open(str(folder / 'output'), 'wb') as output:   # a pipe that nobody reads would fill up and stop the script
        return subprocess.Popen([sys.executable, '-u'] + list(command), cwd=str(folder), env=environment,
                                stdout=output, stderr=subprocess.STDOUT)


def stopped(folder, process, number=signal.SIGINT):
    """Stop a script as a user does and return (exit code, what it printed)."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(15)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode, (folder / 'output').read_text()


def run_and_stop(folder, testnet, wanted, command, number=signal.SIGINT):
    process = started(folder, testnet, *command)
    came = wait_until(lambda: process.poll() is not None or wanted <= resting(testnet))
    code, output = stopped(folder, process, number)
    assert came and wanted, output
    assert code == 0, output
    assert 'Traceback' not in output and ' - ERROR - ' not in output, output
    assert resting(testnet) == set(), output
    return output


@pytest.fixture
def stops(testnet):
    """Skip where the local exchange has no stop orders."""
    order = {'symbol': 'XBTUSD', 'side': 'Sell', 'orderQty': 100, 'price': 40000, 'stopPx': 40100,
             'ordType': 'StopLimit'}

    def place():
        account = testnet.exchange.account_of(local.LOCAL_API_KEY)
        return testnet.exchange.cancel(account, {'orderID': testnet.exchange.place(account, order)['orderID']})

    try:
        testnet.call(place)
    except Exception as error:
        if 'Unsupported ordType' not in str(error):
            raise
        pytest.skip('the local exchange has no stop orders')


@pytest.mark.parametrize('name', sorted(SCRIPTS))
def test_an_old_script_runs_unchanged(request, tmp_path, testnet, name):
    """What it wants rests at the exchange; after Ctrl-C nothing does, and no traceback is printed."""
    source, wanted = SCRIPTS[name]
    if 'stopPx' in source:
        request.getfixturevalue('stops')
    (tmp_path / 'my_strategy.py').write_text(source)

    output = run_and_stop(tmp_path, testnet, wanted, ['my_strategy.py'])

    assert 'Shutting down. All open orders will be cancelled.' in output


def test_sigterm_in_the_middle_of_a_strategys_sleep(tmp_path, testnet):
    source = SCRIPTS['place_orders only'][0].replace(
        'self.converge_orders(buy_orders, sell_orders)', 'self.converge_orders(buy_orders, sell_orders); sleep(600)')
    (tmp_path / 'sleeper.py').write_text('from time import sleep\n' + source)

    run_and_stop(tmp_path, testnet, SCRIPTS['place_orders only'][1], ['sleeper.py'], signal.SIGTERM)


def test_the_example_strategy_runs_as_a_script(tmp_path, testnet):
    with open(os.path.join(ROOT, 'market_maker', 'custom_strategy.py')) as source:
        (tmp_path / 'custom_strategy.py').write_text(source.read())
    prices = {('Buy', 49975.4, 100), ('Sell', 50025.6, 100)}

    output = run_and_stop(tmp_path, testnet, prices, ['custom_strategy.py', 'XBTUSD'])

    assert re.search(r'Orders: \d+ created, \d+ amended, \d+ cancelled', output)


def test_the_bot_runs_a_strategy_by_file(tmp_path, testnet):
    source, wanted = SCRIPTS['prices of its own']
    (tmp_path / 'mine.py').write_text(source)

    run_and_stop(tmp_path, testnet, wanted | {('Buy', 48100.0, 200)},
                 ['-m', 'market_maker', 'XBTUSD', '--strategy', 'mine.py'])


@pytest.mark.parametrize('number', STOP_SIGNALS)
def test_the_bot_leaves_nothing_behind(tmp_path, testnet, number):
    process = started(tmp_path, testnet, '-m', 'market_maker', 'XBTUSD')
    assert wait_until(lambda: len(resting(testnet)) == 12, 5.0)

    code, output = stopped(tmp_path, process, number)

    assert (code, resting(testnet)) == (0, set()), output
    assert 'Traceback' not in output


def test_a_refused_key_ends_a_script_with_one_line(tmp_path, testnet):
    (tmp_path / 'my_strategy.py').write_text(SCRIPTS['loop of its own'][0])
    process = started(tmp_path, testnet, 'my_strategy.py', settings='API_KEY = "{}"\nAPI_SECRET = "wrong"\n'.format(
        local.LOCAL_API_KEY))

    process.wait(20)
    output = (tmp_path / 'output').read_text()

    assert process.returncode == 1
    assert 'Traceback' not in output
    assert len([line for line in output.splitlines() if 'efuse' in line or 'ignature' in line]) == 1, output


@pytest.mark.parametrize('command', [['-m', 'market_maker', 'XBTUSD'], ['my_strategy.py']])
def test_a_change_of_settings_starts_the_program_again(tmp_path, testnet, command):
    """The same process goes on with the new settings; a script of the user's is what runs again."""
    (tmp_path / 'my_strategy.py').write_text(
        'from market_maker.market_maker import OrderManager\nOrderManager().run_loop()\n')
    process = started(tmp_path, testnet, *command)
    try:
        assert wait_until(lambda: len(resting(testnet)) == 12)
        path = tmp_path / 'settings.py'
        path.write_text(path.read_text() + 'ORDER_PAIRS = 1\n')
        os.utime(str(path), (time.time() + 10, time.time() + 10))

        came = wait_until(lambda: len(resting(testnet)) == 2)
    finally:
        code, output = stopped(tmp_path, process)

    assert came and 'Restarting the market maker...' in output, output
    assert (code, resting(testnet)) == (0, set())


def test_an_error_in_a_strategy_does_not_end_it(tmp_path, testnet):
    """Its orders are taken back, the place is logged once, and the next pass that works quotes again."""
    source = SCRIPTS['place_orders only'][0].replace(
        'buy_orders = []', "buy_orders = []\n        import os\n        if os.path.exists('broken'): 1 / 0", 1)
    (tmp_path / 'my_strategy.py').write_text(source)
    wanted = SCRIPTS['place_orders only'][1]
    process = started(tmp_path, testnet, 'my_strategy.py')
    try:
        assert wait_until(lambda: resting(testnet) == wanted)
        (tmp_path / 'broken').write_text('')
        assert wait_until(lambda: resting(testnet) == set())
        (tmp_path / 'broken').unlink()
        came = wait_until(lambda: resting(testnet) == wanted)
    finally:
        code, output = stopped(tmp_path, process)

    assert came and code == 0, output
    assert len(re.findall(r'The strategy failed at .*my_strategy.py:\d+: ZeroDivisionError', output)) == 1, output
