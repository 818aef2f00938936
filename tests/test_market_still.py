"""A still market keeps what it was told to keep."""
import random

import pytest

from market_maker.simulator import instruments, market
from market_maker.simulator.exchange import Exchange

NOW = 1777784400.0      # 2026-05-03 05:00 UTC


def a_market(symbols=('XBT7D',), **options):
    still = market.make('still', symbols, **options)
    exchange = Exchange(instruments.catalogue(symbols=symbols), NOW, random.Random(1))
    still.start(exchange, NOW)
    return still, exchange


def test_it_keeps_the_given_bid_and_ask_with_the_given_size():
    still, exchange = a_market(bid=388.61, ask=389.89, size=1000)

    still.step(NOW + 60)

    assert exchange.touch('XBT7D') == (38861, 1000, 38989, 1000)
    assert exchange.now == NOW + 60


def test_mark_and_index_stand_in_the_middle():
    still, exchange = a_market(bid=388.61, ask=389.89)
    still.step(NOW + 5)

    row = exchange.instruments['XBT7D'].row
    assert row['markPrice'] == 389.25
    assert exchange.instruments[row['referenceSymbol']].row['lastPrice'] == 389.25


def test_what_is_taken_is_there_again_at_the_next_step():
    still, exchange = a_market(bid=388.61, ask=389.89, size=1000)
    assert exchange.take('XBT7D', 'Buy', 1500) == 1000
    assert exchange.touch('XBT7D')[2:] == (None, None)

    still.step(NOW + 1)

    assert exchange.touch('XBT7D') == (38861, 1000, 38989, 1000)


def test_what_is_put_back_queues_behind_those_who_wait():
    still, exchange = a_market(bid=388.61, ask=389.89, size=1000)
    account = exchange.open_account('key', 'secret', balances={'XBt': 10 ** 10})
    order = exchange.place(account, {'symbol': 'XBT7D', 'side': 'Sell', 'price': 389.89, 'orderQty': 100})
    exchange.take('XBT7D', 'Buy', 600)
    still.step(NOW + 1)

    exchange.take('XBT7D', 'Buy', 500)

    left = [row for row in exchange.history('order', account) if row['orderID'] == order['orderID']]
    assert left[0]['leavesQty'] == 0


def test_an_order_across_the_still_price_trades_with_it_until_it_is_gone():
    still, exchange = a_market(bid=388.61, ask=389.89, size=1000)
    account = exchange.open_account('key', 'secret', balances={'XBt': 10 ** 11})
    exchange.place(account, {'symbol': 'XBT7D', 'side': 'Buy', 'price': 389.89, 'orderQty': 2500})
    assert exchange.touch('XBT7D') == (38989, 1500, None, None)

    still.step(NOW + 1)
    assert exchange.touch('XBT7D') == (38989, 500, None, None)
    still.step(NOW + 2)
    assert exchange.touch('XBT7D') == (38861, 1000, 38989, 500)
    still.step(NOW + 3)
    assert exchange.touch('XBT7D') == (38861, 1000, 38989, 1000)


@pytest.mark.parametrize('symbol', ['XBTUSD', 'ETHUSD', 'XBTUSDT', 'XBT7D'])
def test_every_contract_has_defaults_one_tick_apart(symbol):
    _, exchange = a_market(symbols=(symbol,))
    instrument = exchange.instruments[symbol]

    bid, bid_size, ask, ask_size = exchange.touch(symbol)

    assert ask == bid + 1
    assert abs(instrument.price_of(bid) / instrument.row['lastPrice'] - 1) < .001
    assert bid_size == ask_size > 0 and bid_size % instrument.lot == 0


def test_one_price_puts_the_other_a_tick_from_it_and_leaves_other_symbols_alone():
    _, exchange = a_market(symbols=('XBTUSD', 'ETHUSD'), bid=70000.0)

    assert exchange.touch('XBTUSD')[0] == 700000 and exchange.touch('XBTUSD')[2] == 700001
    assert exchange.touch('ETHUSD')[0] == 230203


@pytest.mark.parametrize('options, complaint', [
    ({'bid': 390.0, 'ask': 389.0}, 'a bid below its ask, not 390.0 and 389.0'),
    ({'bid': 388.615}, '388.615 is not a multiple of 0.01, the tick of XBT7D'),
    ({'size': 0}, 'size 0 is not a positive multiple of 1, the lot of XBT7D'),
])
def test_what_makes_no_sense_is_refused_with_its_value(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        a_market(**options)


def test_an_unknown_kind_and_no_symbol_are_refused():
    with pytest.raises(ValueError, match="'wild' is no kind of market; take one of simulated, lively, still, replay"):
        market.make('wild', ['XBTUSD'])
    with pytest.raises(ValueError, match='at least one symbol'):
        market.make('still', ['.BXBT'])


def test_a_closed_contract_is_left_alone():
    still, exchange = a_market(bid=388.61, ask=389.89, size=1000)
    exchange.take('XBT7D', 'Buy', 400)
    exchange.set_state('XBT7D', 'Closed')

    still.step(NOW + 1)
    assert exchange.touch('XBT7D') == (38861, 1000, 38989, 600)
    exchange.set_state('XBT7D', 'Open')
    still.step(NOW + 2)
    assert exchange.touch('XBT7D') == (38861, 1000, 38989, 1000)


@pytest.mark.parametrize('begun, expiry', [
    (1777636799, '2026-05-08T12:00:00.000Z'),    # the second before Friday noon: that one is all but over
    (1777633200, '2026-05-08T12:00:00.000Z'),    # an hour before it
    (1777633199, '2026-05-01T12:00:00.000Z')])
def test_a_weekly_future_in_its_last_hour_is_not_begun_any_more(begun, expiry):
    assert Exchange(instruments.catalogue(symbols=['XBT7D']), begun, random.Random(1)).instruments[
        'XBT7D'].row['expiry'] == expiry
