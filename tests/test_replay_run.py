"""The bot quotes on recorded history: BitMEX's XBTUSD of 2022-03-25, at several speeds, for its whole length."""
import glob
import os
import time

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from bot import Bot, until  # noqa: E402

from market_maker.server.local_exchange import running  # noqa: E402
from market_maker.utils.clock import Clock  # noqa: E402

SETTINGS = {'MIN_SPREAD': 0.0001, 'INTERVAL': 0.0001, 'ORDER_PAIRS': 6, 'API_KEY': 'replay-key-1234567890abc',
            'API_SECRET': 'replay-secret'}
ACCOUNT = {'key': SETTINGS['API_KEY'], 'secret': SETTINGS['API_SECRET']}

RUNS = [('seg1', 100), ('seg3', 100), ('seg3', 10)]
RUNS += [pytest.param(segment, speed, marks=pytest.mark.soak) for segment, speed in
         [('seg1', 10), ('seg3', 1), ('seg1', 1)]]

_fills = {}   # side -> executions over all runs: the segments are too quiet to ask both sides of each


class HeldClock(Clock):
    """Stands still until it is let go: at a hundred times its pace a segment is over before a slow machine has started
    a bot."""

    def __init__(self):
        self._began, self._behind = time.time(), None

    def time(self):
        return self._began if self._behind is None else time.time() - self._behind

    def let_go(self):
        self._behind = time.time() - self._began


def margin_row(exchange, account):
    return next(row for row in exchange.rows('margin', account) if row['currency'] == 'XBt')


@pytest.mark.parametrize('segment, speed', RUNS)
def test_the_bot_quotes_on_a_recorded_segment(recordings, tmp_path, segment, speed):
    """No error line, never more than ORDER_PAIRS a side, every execution in the position and the balance."""
    data = sorted(glob.glob(os.path.join(recordings, 'history', 'xbtusd_20220325_{}_[tq]*.csv'.format(segment))))
    assert len(data) == 2, data
    most = {'Buy': 0, 'Sell': 0}
    clock = HeldClock()
    with running(market='replay', data=data, speed=speed, accounts=[ACCOUNT], rate_limits=speed == 1,
                 clock=clock) as testnet:
        exchange = testnet.exchange
        account = exchange.account_of(ACCOUNT['key'])
        opening = testnet.call(lambda: margin_row(exchange, account)['walletBalance'])
        row = testnet.call(lambda: dict(exchange.rows('instrument', symbol='XBTUSD')[0]))
        assert (row['tickSize'], row['lotSize']) == (0.5, 100)
        bot = Bot(tmp_path, testnet.url, dict(SETTINGS, LOOP_INTERVAL=1.0 / speed))
        try:
            bot.start('XBTUSD')
            until(lambda: 'Connected to WS' in bot.text(), 30, bot.text)
            clock.let_go()

            def look():
                resting = [order for order in exchange.rows('order', account)
                           if order['ordStatus'] in ('New', 'PartiallyFilled')]
                for side in most:
                    most[side] = max(most[side], sum(order['side'] == side for order in resting))
                return testnet.server.market.ended
            until(lambda: testnet.call(look), 400 / speed + 30, bot.text)
            assert bot.stop() == 0, bot.text()
        finally:
            bot.kill()
        trades = testnet.call(lambda: [dict(row) for row in exchange.history('execution', account)
                                       if row['execType'] == 'Trade'])
        position = testnet.call(lambda: [dict(row) for row in exchange.rows('position', account)])
        margin = testnet.call(lambda: dict(margin_row(exchange, account)))
        left = testnet.call(lambda: [order for order in exchange.rows('order', account) if order['leavesQty']])

    lines = bot.lines()
    assert not [line for line in lines if line.startswith(('ERROR', 'CRITICAL', 'Traceback'))], bot.text()
    assert 0 < most['Buy'] <= 6 and 0 < most['Sell'] <= 6, most
    assert left == []

    signed = sum(row['lastQty'] if row['side'] == 'Buy' else -row['lastQty'] for row in trades)
    assert sum(row['currentQty'] for row in position) == signed
    cost = sum(row['execCost'] for row in trades)
    fees = sum(row['execComm'] for row in trades)
    value = sum(row.get('markValue') or 0 for row in position)
    assert margin['marginBalance'] == opening - cost - fees + value
    logged = [line for line in lines if ' - Execution: ' in line]
    assert len(logged) == len(trades)
    for row in trades:
        _fills[row['side']] = _fills.get(row['side'], 0) + 1


def test_both_sides_were_filled_over_all_segments(recordings):
    """Runs after the segments above."""
    if not _fills:
        pytest.skip('needs the runs above in the same session')
    assert set(_fills) == {'Buy', 'Sell'}, _fills
