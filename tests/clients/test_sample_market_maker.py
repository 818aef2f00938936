"""BitMEX's own sample market maker 1.6.1, as it was published: a project set up, quoting, filled, ended by Ctrl-C."""
import os
import signal
import subprocess
import time

import pytest
from exchange_process import ROOT
from local_client import Client

CLASSIC = os.path.join(ROOT, '.venvs', 'classic', 'bin', 'marketmaker')
if not os.path.exists(CLASSIC):
    pytest.skip('the classic bot is not installed: `make test-clients` does that', allow_module_level=True)

SETTINGS = """
BASE_URL = {url!r}
API_KEY = {key!r}
API_SECRET = {secret!r}
LOOP_INTERVAL = 1
ORDER_PAIRS = 3
INTERVAL = 0.0001
MIN_SPREAD = 0.0001
RELIST_INTERVAL = 0.00005
"""
BITMEX_2021 = "Unknown error on amend: {'error': {'message': 'Invalid ordStatus: Filled', 'name': 'HTTPError'}}."


def hear_ctrl_c():
    """Undo what a shell does to the commands that it runs in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def project(tmp_path, lively):
    """The folder that its `marketmaker setup` makes, with our address and key."""
    subprocess.run([CLASSIC, 'setup'], cwd=str(tmp_path), check=True, stdout=subprocess.DEVNULL)
    with open(str(tmp_path / 'settings.py'), 'a') as file:
        file.write(SETTINGS.format(url=lively.url, key=lively.key, secret=lively.secret))
    return tmp_path


def run(project, done):
    """Run the bot until ``done()`` or its own end; press Ctrl-C in the first case.  Return what it logged."""
    with open(str(project / 'log'), 'w+') as log:
        bot = subprocess.Popen([CLASSIC, 'XBTUSD'], cwd=str(project), stdout=log, stderr=subprocess.STDOUT,
                               preexec_fn=hear_ctrl_c)
        try:
            while bot.poll() is None and not done():
                time.sleep(0.1)
            bot.send_signal(signal.SIGINT)
            bot.wait(30)
        finally:
            if bot.poll() is None:
                bot.kill()
            log.seek(0)
            print(log.read()[-3000:])
        log.seek(0)
        return log.read()


def test_it_quotes_trades_and_cleans_up(project, lively, seconds):
    """Three orders a side close to the market are filled again and again, and none is left when it ends."""
    plain = Client(lively)
    seen, begun = set(), time.time()

    def resting():
        return [row for row in plain.get('/order?count=500&reverse=true') if row['leavesQty']]

    def done():
        assert time.time() < begun + seconds + 120, 'no trades, or not on both sides'
        orders = resting()
        assert all(row['clOrdID'].startswith('mm_bitmex_') for row in orders)
        seen.update(row['side'] for row in orders)
        return (time.time() > begun + seconds and seen == {'Buy', 'Sell'}
                and plain.get('/execution/tradeHistory?count=1'))

    while True:
        said = run(project, done)
        assert resting() == []
        # At its end it leaves by SystemExit, which newer Pythons show.
        working = said.partition('Shutting down.')[0]
        errors = [line for line in working.splitlines() if ' - ERROR - ' in line or 'Traceback' in line]
        # It knows the text of an amend that came too late as it was until December 2021, and ends at the newer one.
        if not any(BITMEX_2021 in line for line in errors):
            break
        assert len(errors) == 3, errors
    assert errors == [] and 'Execution: ' in working
