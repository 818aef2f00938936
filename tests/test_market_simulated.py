"""The simulated market: one seed one history, alive from the start, and fills as the calibration says."""
import random

import pytest

from market_maker.simulator import flow, instruments, market
from market_maker.simulator.exchange import Exchange

NOW = 1777784400.0      # 2026-05-03 05:00 UTC
ALL = ['XBTUSD', 'ETHUSD', 'XBTUSDT', 'XBT7D']


def a_market(kind='simulated', symbols=('XBTUSD',), seed=1):
    street = market.make(kind, list(symbols), seed)
    exchange = Exchange(instruments.catalogue(symbols=symbols), NOW, random.Random(seed))
    street.start(exchange, NOW)
    return street, exchange


def history(street, exchange, seconds, step):
    """Return every public row of so many seconds, as (table, action, rows)."""
    ticks = int(seconds / step)
    for number in range(1, ticks + 1):
        street.step(NOW + number * step)
    return [(change.table, change.action, change.rows) for change in exchange.drain() if change.account_id is None]


def trades(street, exchange, seconds, step=.05):
    return [row for table, _, rows in history(street, exchange, seconds, step) if table == 'trade' for row in rows]


@pytest.mark.parametrize('kind', ['simulated', 'lively'])
def test_there_is_a_full_book_and_a_last_price_before_the_first_step(kind):
    street, exchange = a_market(kind, ALL)

    for symbol in ALL:
        instrument = exchange.instruments[symbol]
        bid, bid_size, ask, ask_size = exchange.touch(symbol)
        assert bid < ask and bid_size > 0 and ask_size > 0
        assert abs(instrument.price_of(bid) / instrument.row['lastPrice'] - 1) < .002
        for side in ('Buy', 'Sell'):
            assert len(exchange.depth(symbol, side, 200)) > 100
    traded = {row['symbol'] for change in exchange.drain() if change.table == 'trade' for row in change.rows}
    assert traded >= set(ALL)


def test_one_seed_gives_one_history():
    first, second, other = (history(*a_market(symbols=ALL, seed=seed), seconds=5, step=.05) for seed in (1, 1, 2))

    assert first == second
    assert first != other


def test_the_history_does_not_depend_on_the_steps():
    """Trades and their times are the same whether time passes in small steps or in one."""
    fine = trades(*a_market(), seconds=20, step=.02)
    coarse = trades(*a_market(), seconds=20, step=20)

    keys = ('timestamp', 'symbol', 'side', 'size', 'price')
    assert [[row[key] for key in keys] for row in fine] == [[row[key] for key in keys] for row in coarse]
    assert len(fine) > 10


def test_prices_stay_on_tick_and_sizes_on_lot():
    street, exchange = a_market('lively', ALL)

    for row in trades(street, exchange, 10):
        instrument = exchange.instruments[row['symbol']]
        if not instrument.is_index:
            assert instrument.ticks_of(row['price']) is not None
            assert row['size'] > 0 and row['size'] % instrument.lot == 0


def test_contracts_on_one_thing_move_together():
    """From second to second XBTUSD and XBTUSDT go the same way, ether mostly."""
    symbols = ('XBTUSD', 'XBTUSDT', 'ETHUSD')
    street, exchange = a_market('lively', symbols, seed=3)
    before = [exchange.touch(symbol)[0] for symbol in symbols]
    moves = []
    for second in range(0, 60, 2):
        street.step(NOW + second)
        after = [exchange.touch(symbol)[0] for symbol in symbols]
        moves.append([1e4 * (now - then) / then for now, then in zip(after, before)])
        before = after

    assert correlation([move[0] for move in moves], [move[1] for move in moves]) > .6
    assert correlation([move[0] for move in moves], [move[2] for move in moves]) > .3


def correlation(one, other):
    def centred(values):
        return [value - sum(values) / len(values) for value in values]
    a, b = centred(one), centred(other)
    return sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** .5


def test_the_index_follows_the_market():
    street, exchange = a_market('simulated')
    for _ in range(20):
        street.step(exchange.now + 5)
        exchange.drain()

        bid = exchange.instruments['XBTUSD'].price_of(exchange.touch('XBTUSD')[0])
        assert abs(bid / exchange.instruments['.BXBT'].row['lastPrice'] - 1) < .003


def both_sides(kind, seed, bps, wait, windows):
    """Return in which share of windows a fresh bid and ask, so many bps from the middle, both trade in time."""
    street, exchange = a_market(kind, seed=seed)
    account = exchange.open_account('key', 'secret', balances={'XBt': 10 ** 12})
    instrument = exchange.instruments['XBTUSD']
    filled = 0
    for _ in range(windows):
        bid, _, ask, _ = exchange.touch('XBTUSD')
        middle = (bid + ask) / 2.
        prices = int(middle * (1 - bps * 1e-4)), int(middle * (1 + bps * 1e-4)) + 1
        orders = [exchange.place(account, {'symbol': 'XBTUSD', 'side': side, 'orderQty': 100,
                                           'price': instrument.price_of(price)})['orderID']
                  for side, price in zip(('Buy', 'Sell'), prices)]
        street.step(exchange.now + wait)
        rows = {row['orderID']: row for row in exchange.history('order', account)}
        filled += all(rows[order]['leavesQty'] == 0 for order in orders)
        exchange.cancel_all(account, {})
        exchange.drain()
    return filled / float(windows)


@pytest.mark.parametrize('seed', [1, 2, 3])
def test_the_lively_market_fills_both_sides_at_2_bps_within_20_seconds_mostly(seed):
    assert both_sides('lively', seed, bps=2, wait=20, windows=15) >= .6


def test_classic_quotes_half_a_percent_away_rarely_trade():
    """Ten windows of a minute: hardly a fill on either side in the faithful market."""
    street, exchange = a_market('simulated', seed=4)
    account = exchange.open_account('key', 'secret', balances={'XBt': 10 ** 12})
    instrument = exchange.instruments['XBTUSD']
    fills = 0
    for _ in range(10):
        bid, _, ask, _ = exchange.touch('XBTUSD')
        for side, price in (('Buy', int(bid * .995)), ('Sell', int(ask * 1.005))):
            exchange.place(account, {'symbol': 'XBTUSD', 'side': side, 'orderQty': 100,
                                     'price': instrument.price_of(price)})
        street.step(exchange.now + 60)
        fills += sum(row['cumQty'] > 0 for row in exchange.history('order', account))
        exchange.cancel_all(account, {})
        exchange.drain()

    assert fills <= 1


def test_the_market_respects_other_peoples_orders():
    """Somebody improves the touch: nobody crosses him by mistake, and his order is the touch until it trades."""
    street, exchange = a_market('simulated', seed=5)
    account = exchange.open_account('key', 'secret', balances={'XBt': 10 ** 12})
    instrument = exchange.instruments['XBTUSD']
    exchange.place(account, {'symbol': 'XBTUSD', 'side': 'Sell', 'orderQty': 100,
                             'price': instrument.price_of(exchange.touch('XBTUSD')[2])})
    for _ in range(400):
        street.step(exchange.now + .05)
        bid, _, ask, _ = exchange.touch('XBTUSD')
        assert bid < ask


def test_an_empty_book_is_quoted_again():
    """However deep somebody sweeps, the makers come back within seconds."""
    street, exchange = a_market('simulated', seed=6)
    exchange.take('XBTUSD', 'Buy', 10 ** 10)
    exchange.take('XBTUSD', 'Sell', 10 ** 10)
    assert exchange.touch('XBTUSD') == (None, None, None, None)

    street.step(NOW + 5)

    bid, bid_size, ask, ask_size = exchange.touch('XBTUSD')
    assert 0 < ask - bid < 200 and bid_size > 0 and ask_size > 0


def test_volatility_has_a_memory_and_stays_in_reason():
    """An hour of the underlying alone: neither dead nor wild."""
    xbt = flow.Underlying(flow.FAITHFUL, random.Random(7), NOW)
    ether = flow.Underlying(flow.FAITHFUL, random.Random(8), NOW, leader=xbt, own=.75)
    x, y = [], []
    for second in range(1, 3601):
        xbt.advance(NOW + second)
        ether.advance(NOW + second)
        x.append(xbt.x)
        y.append(ether.x)

    assert 15 < (sum((b - a) ** 2 for a, b in zip(x, x[1:]))) ** .5 < 300
    assert .6 < correlation([b - a for a, b in zip(x, x[1:])], [b - a for a, b in zip(y, y[1:])]) < .95


def test_nobody_trades_in_a_closed_contract_and_all_come_back_when_it_opens():
    street, exchange = a_market('lively', ALL, seed=9)
    exchange.set_state('XBTUSD', 'Closed')
    exchange.drain()

    street.step(NOW + 10)
    assert 'XBTUSD' not in symbols_traded(exchange)
    exchange.set_state('XBTUSD', 'Open')
    street.step(NOW + 20)
    assert 'XBTUSD' in symbols_traded(exchange)


def symbols_traded(exchange):
    return {row['symbol'] for change in exchange.drain() if change.table == 'trade' for row in change.rows}
