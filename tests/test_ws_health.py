"""When data are too old to trade on, and when to try again."""
import itertools

import pytest

from market_maker.ws.backoff import BURST, LONGEST, PACE, Backoff
from market_maker.ws.health import Health, unix_seconds


@pytest.fixture
def health():
    """Health of a connection that was opened at second 100."""
    health = Health('XBTUSD', heartbeat=5.0, stale_after=15.0)
    health.began(100.0)
    return health


def test_a_new_connection_is_healthy(health):
    """All ages count from its beginning."""
    assert health.reason(100.0) is None and health.reason(110.0) is None


def test_silence(health):
    """One heartbeat without a frame asks for a ping, two are too long."""
    health.last_frame = 103.0
    assert not health.needs_ping(107.9) and health.needs_ping(108.0)
    assert not health.is_silent(113.0) and health.is_silent(113.1)
    assert health.reason(113.1) == 'nothing was heard from the exchange for 10.1 s'


def test_no_row_of_the_traded_instrument(health):
    """Frames alone do not make prices fresh."""
    health.refreshed(104.0, 1.0, 2.0)
    health.last_frame = 119.5
    assert health.reason(119.0) is None
    assert health.reason(119.5) == 'no row of the instrument XBTUSD for 15.5 s'
    health.refreshed(119.6, 1.0, 2.0)
    assert health.reason(119.6) is None


def alive(health, now):
    """Let a row of the instrument come that shows what it showed before."""
    health.last_frame = now
    health.refreshed(now, 1.0, 2.0)


def test_a_quote_that_stands_still_while_the_instrument_moves(health):
    """Sources that show different prices for long are both doubted."""
    health.quoted(100.0, 9.0, 9.5)
    for now in range(101, 116):
        alive(health, float(now))
    assert health.reason(116.0) is None
    alive(health, 117.0)
    assert health.reason(117.0) == 'quote 9.0/9.5 and instrument 1.0/2.0 of XBTUSD disagree for 16.0 s'
    health.quoted(117.5, 1.0, 2.0)
    assert health.reason(117.5) is None


def test_a_snapshot_that_trails_the_quotes_agrees(health):
    """In a busy market the instrument shows a touch that the quotes had a moment ago: that is no disagreement."""
    prices = itertools.count(1)
    for step in range(400):
        now = 100.0 + step / 10.0
        touch = (next(prices) / 2.0, 1000.0)
        health.last_frame = now
        health.quoted(now, *touch)
        if step % 5 == 0:
            shown = touch
        if step % 5 == 3:
            health.refreshed(now, *shown)
        assert health.reason(now) is None


def test_a_source_does_not_agree_with_itself(health):
    """Quotes that swing between two touches do not vouch for an instrument that stands still at a third."""
    for step in range(40):
        now = 100.0 + step
        alive(health, now)
        health.quoted(now, 5.0 + step % 2, 8.0)

    assert 'disagree' in health.reason(140.0)


def test_quiet_tables_are_not_stale(health):
    """Trades, orders and executions may be quiet for ever; their ages can be read."""
    health.last_rows['trade'] = 101.0
    alive(health, 400.0)

    assert health.reason(401.0) is None
    assert health.ages(401.0) == {'trade': 300.0}


def test_lag(health):
    """The exchange's time stamp against the arrival, with the clock's offset allowed for."""
    assert health.lag(100.0, 1534431385.0) is None
    health.quoted(101.0, 1.0, 2.0, '2018-08-16T14:56:25.126Z')   # 1534431385.126

    assert health.lag(103.0, 1534431388.0) == pytest.approx(0.874)
    assert health.lag(103.0, 1534431388.0, offset=-0.5) == pytest.approx(0.374)


@pytest.mark.parametrize('text, seconds', [
    ('2018-08-16T14:56:25.126Z', 1534431385.126), ('2018-08-16T14:56:25Z', 1534431385.0),
    ('1970-01-01T00:00:00.5Z', 0.5)])
def test_time_stamps(text, seconds):
    """ISO time stamps, with or without a fraction."""
    assert unix_seconds(text) == pytest.approx(seconds)


def test_waits_grow_and_start_over():
    """Each failure doubles the wait up to a bound; a connection that worked resets it."""
    backoff = Backoff(lambda: 1.0)
    waits = [backoff.wait(0.0) for _ in range(10)]
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0] and waits[-1] == LONGEST

    backoff.worked()
    assert backoff.wait(0.0) == 0.25


def test_waits_are_spread():
    """Clients that were cut off together do not come back together."""
    assert Backoff(lambda: 0.0).wait(0.0) == 0.125
    assert 0.125 <= Backoff(lambda: 0.5).wait(0.0) <= 0.25


def test_the_exchange_s_wish_counts():
    """A wait that the exchange asks for is kept, also when it is longer than our longest."""
    assert Backoff(lambda: 1.0).wait(0.0, least=960.0) == 960.0


def test_connections_stay_inside_the_limit():
    """However often a connection breaks, no hour sees more than the limit once the burst is used up."""
    backoff, now, opened = Backoff(lambda: 0.0), 0.0, []
    while now < 7200:
        backoff.worked()
        now += backoff.wait(now)
        opened.append(now)

    assert sum(1 for at in opened if at <= 3600) <= 3600 * PACE + BURST + 1
    assert sum(1 for at in opened if 3600 < at <= 7200) <= 3600 * PACE + 1
