"""The bot as a process on an exchange apart from it: killed, told to end, out of disk, and an exchange that changes."""
import contextlib
import glob
import os
import random
import signal
import sqlite3
import sys
import threading

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from bot import STOP_SIGNALS, Bot, until   # noqa: E402
from live_manager import KEY, SECRET, beating, live   # noqa: E402
from live_manager import until as soon   # noqa: E402
from market_maker.server.local_exchange import running   # noqa: E402
from market_maker.settings import settings   # noqa: E402

PREFIX = 'mm_bitmex_'
QUICK = {'ORDER_PAIRS': 2, 'LOOP_INTERVAL': 0.05, 'API_KEY': KEY, 'API_SECRET': SECRET, 'DEADMAN_TIMEOUT': 0,
         'WATCHED_FILES': [], 'INTERVAL': 0.001, 'MIN_SPREAD': 0.0002, 'RELIST_INTERVAL': 0.0001, 'TIMEOUT': 2}
# What was being sent in the moment of a kill keeps its place for a minute; here it is certain after two seconds.
SCALED = 'from market_maker.state import ledger; ledger.LOOKS = (0.1, 0.3, 0.7, 1.5, 2.0); ledger.CERTAIN = 2.0'


@pytest.fixture
def testnet():
    with running(bid=60000, ask=60030) as exchange:   # so wide that our quotes are the best ones
        yield exchange


@pytest.fixture
def launch(testnet, tmp_path):
    """Start bots in processes of their own; whatever is left of them ends with the test."""
    bots = []

    def launch(before='', **names):
        bot = Bot(tmp_path, testnet.url, dict(QUICK, **names))
        if before:
            program = '{}; import runpy; runpy.run_module("market_maker", run_name="__main__")'.format(before)
            bot.command = lambda *words: [sys.executable, '-c', program] + list(words)
        bots.append(bot)
        bot.start('XBTUSD')
        return bot
    yield launch
    for bot in bots:
        bot.kill()


def account(testnet):
    return testnet.exchange.account_of(KEY)


def open_orders(testnet):
    """(clOrdID, side, price in ticks) of each open order of the account, as the exchange has them."""
    if account(testnet) is None:
        return []
    return testnet.call(lambda: [(order.client_id, order.side, order.price_ticks)
                                 for order in account(testnet).orders.values()])


def own_fills(testnet):
    """execID -> contracts, signed, of each trade of an order of the bot's."""
    rows = testnet.call(lambda: list(account(testnet).executions))
    return {row['execID']: row['lastQty'] if row['side'] == 'Buy' else -row['lastQty'] for row in rows
            if row['execType'] == 'Trade' and row['clOrdID'].startswith(PREFIX)}


def fills_in_the_ledger():
    path, = glob.glob(os.path.join(os.environ['XDG_STATE_HOME'], '*', '*', 'ledger.db'))
    with sqlite3.connect(path) as database:
        rows = database.execute('SELECT execID, side, quantity FROM fills').fetchall()
        unknown = database.execute("SELECT count(*) FROM commands WHERE state IN ('sent', 'unknown')").fetchone()[0]
        names = database.execute("SELECT count(*), count(DISTINCT clOrdID) FROM commands WHERE kind = 'create'")
        created, distinct = names.fetchone()
    assert created == distinct and len(rows) == len({name for name, _, _ in rows})
    return {name: quantity if side == 'Buy' else -quantity for name, side, quantity in rows}, unknown


class Takers(object):
    """Trade against the best bid or ask every few hundredths of a second."""

    def __init__(self, testnet, rng):
        self.testnet, self.rng = testnet, rng
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.trade, name='takers')

    def trade(self):
        while not self.over.wait(0.05):
            side = self.rng.choice(['Buy', 'Sell'])
            self.testnet.call(lambda side=side: self.testnet.exchange.take('XBTUSD', side, 100))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()


def survive(testnet, launch, kills, seed):
    """Kill a bot again and again while it trades, let it come back; hold its ledger against the exchange's books."""
    rng = random.Random(seed)
    with Takers(testnet, random.Random(seed + 1)):
        for _ in range(kills):
            bot = launch(SCALED)
            until(lambda bot=bot: 'Got all market data' in bot.text(), 20, bot.text)
            threading.Event().wait(rng.uniform(0.0, 0.6))   # any moment will do
            bot.process.send_signal(signal.SIGKILL)
            bot.process.wait(10)
            resting = [order for order in open_orders(testnet) if order[0].startswith(PREFIX)]
            assert len(resting) <= 2 * QUICK['ORDER_PAIRS'], resting
    bot = launch(SCALED)
    until(lambda: '-----' in bot.text(), 20, bot.text)
    until(lambda: fills_in_the_ledger()[0] == own_fills(testnet), 20, lambda: str(
        sorted(set(own_fills(testnet)) ^ set(fills_in_the_ledger()[0]))) + bot.text())
    until(lambda: len(open_orders(testnet)) == 4 and not fills_in_the_ledger()[1], 20, bot.text)
    assert len({(side, price) for _, side, price in open_orders(testnet)}) == 4
    assert bot.stop() == 0, bot.text()
    assert open_orders(testnet) == []
    fills, unknown = fills_in_the_ledger()
    assert fills == own_fills(testnet) and unknown == 0
    return fills


@pytest.mark.slow
@pytest.mark.skipif(os.name != 'posix', reason='there is no SIGKILL elsewhere')
def test_a_killed_bot_starts_again_without_duplicates_orphans_or_lost_fills(testnet, launch):
    """No order of before is left, none is there twice, and the ledger has every fill once, of the downtime too."""
    assert survive(testnet, launch, 3, seed=1)


@pytest.mark.parametrize('number', STOP_SIGNALS)
def test_each_signal_leaves_nothing_behind(testnet, launch, number):
    bot = launch(DEADMAN_TIMEOUT=60)
    until(lambda: len(open_orders(testnet)) == 4 and '-----' in bot.text(), 20, bot.text)

    assert bot.stop(number) == 0
    assert open_orders(testnet) == [] and account(testnet).cancel_at is None
    assert 'Traceback' not in bot.text()


@pytest.mark.slow
@pytest.mark.skipif(os.name != 'posix', reason='limits on files are made with setrlimit')
def test_a_full_disk_stops_creates_and_not_the_clean_end(testnet, launch):
    """Ledger, log and output cannot grow any more: what rests is looked after, nothing new is placed, and the end is a
    clean one."""
    bot = launch('import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (120000, 120000))', LOG_FILE='bot.log',
                 LOOP_INTERVAL=0.01)
    until(lambda: len(open_orders(testnet)) == 4, 20, bot.text)

    def is_full():
        testnet.call(lambda: testnet.exchange.take('XBTUSD', 'Buy', 100))
        return len(open_orders(testnet)) < 4 and os.path.getsize(bot.output) >= 119000
    until(is_full, 60, bot.text)

    assert bot.process.poll() is None
    assert bot.stop() == 0
    assert open_orders(testnet) == []


def test_a_tick_that_changes_under_way_is_followed(monkeypatch, caplog):
    """Nothing stays on prices that are none any more."""
    with live(monkeypatch) as one:
        one.loop()
        soon(one.ladder_is_there)
        with one.testnet.faults('tick-size', factor=5):
            settings.ORDER_START_SIZE = 300

            def is_on_the_tick():
                rows = one.exchange.get_orders()
                return len(rows) == 4 and {row['leavesQty'] for row in rows} == {300, 400} and all(
                    round(row['price'] * 10) % 5 == 0 for row in rows)
            soon(is_on_the_tick, what=lambda: caplog.text)


def test_an_exchange_that_starts_anew_is_another_one(monkeypatch, caplog):
    """Its books are empty: the ladder is laid again, in the same process, and the ledger is one of its own."""
    with live(monkeypatch, AUDIT_INTERVAL=0.5) as one:
        one.loop()
        soon(one.ladder_is_there)
        before = one.bitmex.state.path
        one.testnet.faults.on('restart', down=0.5, books='fresh')

        soon(lambda: one.bitmex.state.path != before, what=lambda: caplog.text)
        soon(one.ladder_is_there, what=lambda: caplog.text)
        assert len(one.bitmex.ledger.commands()) >= 4
        assert one.ended is None


def test_a_local_exchange_that_was_started_anew_by_hand_is_told_of_our_account(monkeypatch, caplog):
    """It knows nobody; a bot with a key of its own introduces itself again and goes on."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(bid=60000, ask=60000.5))
        with live(monkeypatch, testnet=first, HEARTBEAT=0.5) as one:
            one.loop()
            soon(one.ladder_is_there)
            before = one.bitmex.state.path
            port = first.port
            stack.pop_all().close()
            second = stack.enter_context(running(bid=60000, ask=60000.5, port=port))
            stack.enter_context(beating(second))
            one.testnet = second

            soon(lambda: one.bitmex.state.path != before, 30, what=lambda: caplog.text)
            soon(lambda: one.account() is not None and one.ladder_is_there(), what=lambda: caplog.text)
            assert one.ended is None


def test_a_request_that_is_the_first_to_reach_the_other_exchange_introduces_us(monkeypatch):
    """The feed may notice only later: a cancel at that moment must not take the unknown key for the end."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(bid=60000, ask=60000.5))
        with live(monkeypatch, testnet=first) as one:
            stack.pop_all().close()
            stack.enter_context(running(bid=60000, ask=60000.5, port=first.port))

            assert one.bitmex.cancel('00000000-0000-4000-8000-000000000000')[0]['error'] == 'Unable to cancel order'
            assert one.bitmex.http_open_orders() == []


def test_where_nothing_can_be_kept_memory_serves_and_this_is_said_once(monkeypatch, caplog, tmp_path):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'file' / 'folder'))
    with live(monkeypatch, AUDIT_INTERVAL=0.2) as one:
        one.loop()
        soon(one.ladder_is_there)
        soon(lambda: one.guard.counts.audits > 2)
        assert caplog.text.count('Nothing can be kept in') == 1
        assert len(one.bitmex.ledger.commands()) == 4
