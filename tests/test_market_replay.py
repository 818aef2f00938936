"""A recorded market plays at its own times, through the whole of its files."""
import collections
import csv
import os
import random

import pytest

from market_maker.simulator import feed, instruments, market
from market_maker.simulator.exchange import Exchange

QUOTES = ['timestamp,symbol,bidSize,bidPrice,askPrice,askSize\n',
          '2022-03-25D06:00:00.000,XBTUSD,500,44000,44000.5,700\n',
          '2022-03-25D06:00:05.000,XBTUSD,300,44000,44000.5,700\n',
          '2022-03-25D06:00:09.000,XBTUSD,300,44001,44001.5,700\n']
TRADES = ['timestamp,symbol,side,size,price\n',
          '2022-03-25D05:59:59.000,XBTUSD,Buy,100,44000.5\n',
          '2022-03-25D06:00:05.000,XBTUSD,Sell,200,44000\n']
BEGINS = 1648187999.0   # 2022-03-25 05:59:59 UTC


def a_replay(trades=TRADES, quotes=QUOTES, later=0., **options):
    """Return a replay and the exchange that it was started on, ``later`` seconds after its own time."""
    replay = market.make('replay', ['XBTUSD'], data=[('trades.csv', trades), ('quotes.csv', quotes)], **options)
    exchange = Exchange(instruments.catalogue('2022-03-25', ['XBTUSD']), replay.begins + later, random.Random(1))
    replay.start(exchange, replay.begins + later)
    return replay, exchange


def touch(exchange):
    bid, bid_size, ask, ask_size = exchange.touch('XBTUSD')
    return bid_size, bid * .5, ask * .5, ask_size


def test_the_first_quote_stands_from_the_start():
    replay, exchange = a_replay()

    assert replay.begins == BEGINS
    assert touch(exchange) == (500, 44000., 44000.5, 700)
    assert not replay.ended


def test_everything_happens_at_its_recorded_time():
    """At the same second the trade comes first, so its size is not taken off the quote that shows it."""
    replay, exchange = a_replay()

    replay.step(BEGINS + .5)
    assert touch(exchange) == (500, 44000., 44000.5, 600)
    replay.step(BEGINS + 1)
    assert touch(exchange) == (500, 44000., 44000.5, 700)
    replay.step(BEGINS + 6)
    assert touch(exchange) == (300, 44000., 44000.5, 700)
    assert exchange.now == BEGINS + 6


def test_after_the_last_row_the_last_quote_stays():
    replay, exchange = a_replay()
    replay.step(BEGINS + 9.9)
    assert not replay.ended

    replay.step(BEGINS + 60)

    assert replay.ended
    assert touch(exchange) == (300, 44001., 44001.5, 700)


def test_started_at_another_time_everything_is_so_much_later():
    replay, exchange = a_replay(later=1e6)

    replay.step(BEGINS + 1e6 + 6)

    assert touch(exchange) == (300, 44000., 44000.5, 700)


def test_the_index_follows_the_middle_of_the_recorded_touch():
    replay, exchange = a_replay()

    replay.step(BEGINS + 60)

    assert exchange.instruments['.BXBT'].row['lastPrice'] == 44001.25


def test_a_bad_row_ends_the_replay_when_its_time_comes_unless_reported():
    bad = TRADES + ['2022-03-25D06:00:06.000,XBTUSD,Sell,lots,44000\n']
    replay, _ = a_replay(trades=bad)
    with pytest.raises(feed.BadRow, match='trades.csv:4: .*lots'):
        replay.step(BEGINS + 60)

    heard = []
    replay, _ = a_replay(trades=bad, report=heard.append)
    replay.step(BEGINS + 60)

    assert replay.ended and len(heard) == 1


def test_a_row_off_the_grid_is_reported_like_one_that_cannot_be_read():
    bad = TRADES + ['2022-03-25D06:00:06.000,XBTUSD,Sell,150,44000\n']
    replay, _ = a_replay(trades=bad)
    with pytest.raises(feed.BadRow, match='trades.csv:4: size 150'):
        replay.step(BEGINS + 60)

    heard = []
    replay, _ = a_replay(trades=bad, report=heard.append)
    replay.step(BEGINS + 60)

    assert replay.ended and len(heard) == 1


def test_a_recording_without_quotes_is_refused():
    with pytest.raises(ValueError, match='no quote of XBTUSD'):
        a_replay(quotes=QUOTES[:1])
    with pytest.raises(ValueError, match='needs the files'):
        market.make('replay', ['XBTUSD'])


def rows(path):
    with open(path) as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize('segment', [1, 3])
@pytest.mark.parametrize('queue', feed.QUEUES)
def test_the_recorded_segments_come_back_as_they_were(recordings, segment, queue):
    """Nobody else trades: after every quote the recorded touch, and every recorded trade with its volume."""
    stem = os.path.join(recordings, 'history', 'xbtusd_20220325_seg{}_'.format(segment))
    quotes_path, trades_path = stem + 'quote_derived.csv', stem + 'trade.csv'
    with open(quotes_path) as quotes, open(trades_path) as trades:
        replay, exchange = a_replay(trades, quotes, queue=queue)
        wrong = []
        for row in rows(quotes_path):
            replay.step(feed.seconds(row['timestamp']) + 1e-6)
            wanted = int(row['bidSize']), float(row['bidPrice']), float(row['askPrice']), int(row['askSize'])
            if touch(exchange) != wanted:
                wrong.append((row, touch(exchange)))
        replay.step(replay.begins + 3600)

    assert wrong == []
    assert replay.ended
    found = [row for change in exchange.drain() if change.table == 'trade' for row in change.rows]
    found = [row for row in found if row['symbol'] == 'XBTUSD']
    assert summed(found) == summed(rows(trades_path))


def summed(trades):
    """Return what was traded at each time, side and price."""
    total = collections.Counter()
    for row in trades:
        total[round(feed.seconds(row['timestamp']), 3), row['side'], float(row['price'])] += int(row['size'])
    return total
