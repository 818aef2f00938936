"""Recordings are read row by row, and played into a book by the rules that feed.py states."""
import random

import pytest
from hypothesis import given, settings, strategies

from market_maker.simulator import feed, instruments
from market_maker.simulator.exchange import Exchange

NOON = 1648209600.0     # 2022-03-25 12:00 UTC
TRADES = 'timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional'
QUOTES = 'timestamp,symbol,bidSize,bidPrice,askPrice,askSize'


def read(*lines, **options):
    """Return the rows of XBTUSD in these lines."""
    return list(feed.read(options.get('name', 'some.csv'), list(lines), options.get('symbols', ['XBTUSD'])))


def a_book(queue='back'):
    """Return an exchange with the grid of 2022 (tick 0.5, lot 100) and the recorded market of XBTUSD in it."""
    exchange = Exchange(instruments.catalogue('2022-03-25', ['XBTUSD']), NOON, random.Random(1))
    return exchange, feed.RecordedBook(exchange, 'XBTUSD', queue)


def a_quote(bid_size, bid, ask, ask_size):
    return feed.Quote(NOON, 'XBTUSD', bid_size, bid, ask, ask_size, 'quotes.csv:2')


def a_trade(side, size, price):
    return feed.Trade(NOON, 'XBTUSD', side, size, price, 'trades.csv:2')


def a_guest(exchange):
    return exchange.open_account('key', 'secret', balances={'XBt': 10 ** 11})


def place(exchange, account, side, price, quantity):
    return exchange.place(account, {'symbol': 'XBTUSD', 'side': side, 'price': price, 'orderQty': quantity})['orderID']


def leaves(exchange, account, order_id):
    return [row for row in exchange.history('order', account) if row['orderID'] == order_id][0]['leavesQty']


def touch(exchange):
    """Return the touch as a quote has it: size, price, price, size."""
    bid, bid_size, ask, ask_size = exchange.touch('XBTUSD')
    return bid_size, bid and bid * .5, ask and ask * .5, ask_size


def printed(exchange):
    """Return side, size and price of every trade since the last drain."""
    rows = [row for change in exchange.drain() if change.table == 'trade' for row in change.rows]
    return [(row['side'], row['size'], row['price']) for row in rows if row['symbol'] == 'XBTUSD']


# Reading

def test_trades_and_quotes_are_told_apart_by_their_header():
    """The header names the columns; their order does not matter and unknown ones are ignored."""
    trades = read(TRADES, '2022-03-25D05:59:39.702000000,XBTUSD,Sell,35000,44089.5,ZeroMinusTick,id,1,0.79,35000')
    quotes = read('askSize,askPrice,symbol,bidPrice,bidSize,timestamp,colour',
                  '500,44090,XBTUSD,44089.5,400,2022-03-25T05:59:39.702Z,blue')

    assert trades == [feed.Trade(1648187979.702, 'XBTUSD', 'Sell', 35000, 44089.5, 'some.csv:2')]
    assert quotes == [feed.Quote(1648187979.702, 'XBTUSD', 400, 44089.5, 44090.0, 500, 'some.csv:2')]


def test_other_symbols_and_empty_lines_are_passed_over():
    rows = read(QUOTES, '2019-04-19D00:00:05.759343000,ADAM19,159977,1.58e-05,1.581e-05,185957', '',
                '2019-04-19D00:00:06.000000000,XBTUSD,10,5200,5200.5,20')

    assert [(row.where, row.bid) for row in rows] == [('some.csv:4', 5200.0)]


def test_an_empty_side_of_a_quote_is_none():
    row, = read(QUOTES, '2019-04-19D00:00:06.000000000,XBTUSD,10,5200,,')

    assert (row.bid, row.ask, row.ask_size) == (5200.0, None, None)


@pytest.mark.parametrize('line, complaint', [
    ('2022-03-25D05:59:39.7,XBTUSD,Sold,100,44089.5', "side 'Sold'"),
    ('2022-03-25D05:59:39.7,XBTUSD,Sell,0,44089.5', "size '0'"),
    ('2022-03-25D05:59:39.7,XBTUSD,Sell,1.5,44089.5', "size '1.5'"),
    ('2022-03-25D05:59:39.7,XBTUSD,Sell,100,-1', "price '-1'"),
    ('2022-03-25D05:59:39.7,XBTUSD,Sell,100,nan', "price 'nan'"),
    ('2022-03-25D05:59:39.7,XBTUSD,Sell,many,44089.5', 'many'),
    ('yesterday,XBTUSD,Sell,100,44089.5', 'yesterday'),
    ('2022-03-25D25:59:39.7,XBTUSD,Sell,100,44089.5', '25:59'),
    ('2022-13-25D05:59:39.7,XBTUSD,Sell,100,44089.5', '2022-13-25'),
    ('2022-03-25D05:59:39.7,XBTUSD,Sell,100', '4 cells under 5 columns'),
])
def test_a_bad_trade_is_reported_with_its_place_and_its_text(line, complaint):
    bad, good = read('timestamp,symbol,side,size,price', line, '2022-03-25D06:00:00,XBTUSD,Buy,100,44090')

    assert isinstance(bad, feed.BadRow) and isinstance(good, feed.Trade)
    assert str(bad).startswith('some.csv:2: ') and complaint in str(bad) and line in str(bad)
    assert '\n' not in str(bad)


def test_a_crossed_quote_and_a_row_out_of_order_are_bad():
    rows = read(QUOTES, '2022-03-25D05:00:00,XBTUSD,100,44090,44090,100',
                '2022-03-25D05:00:01,XBTUSD,100,44089.5,44090,100',
                '2022-03-25D05:00:00,XBTUSD,100,44089.5,44090,100')

    assert [isinstance(row, feed.BadRow) for row in rows] == [True, False, True]
    assert 'not below' in str(rows[0]) and 'some.csv:4: earlier' in str(rows[2])


@pytest.mark.parametrize('lines', [[], [''], ['timestamp,symbol,open,close', '1,2,3,4']])
def test_a_file_of_something_else_is_refused(lines):
    with pytest.raises(feed.BadRow, match='some.csv:1: neither'):
        read(*lines)


def test_merging_goes_by_time_and_puts_trades_before_the_quotes_that_show_them():
    def at(seconds, make):
        return make._replace(time=seconds)

    quotes = [at(time, a_quote(size, 10., 11., 100)) for time, size in ((1, 100), (2, 200), (2, 300))]
    trades = [at(0, a_trade('Buy', 100, 11.)), at(2, a_trade('Sell', 200, 10.)), at(2, a_trade('Sell', 300, 10.))]

    merged = list(feed.merge([quotes, trades]))

    assert [type(row).__name__ for row in merged] == ['Trade', 'Quote', 'Trade', 'Trade', 'Quote', 'Quote']
    assert [row.size for row in merged if isinstance(row, feed.Trade)] == [100, 200, 300]
    assert [row.bid_size for row in merged if isinstance(row, feed.Quote)] == [100, 200, 300]


def test_bad_rows_are_raised_unless_somebody_wants_to_hear_of_them():
    rows = [a_trade('Buy', 100, 11.), feed.BadRow('some.csv:3: size'), a_trade('Sell', 100, 10.)]
    heard = []

    assert len(list(feed.merge([rows], heard.append))) == 2
    assert [str(error) for error in heard] == ['some.csv:3: size']
    with pytest.raises(feed.BadRow, match='some.csv:3'):
        list(feed.merge([rows]))


# Playing

def test_the_recorded_touch_is_held():
    """A quote sets prices and sizes; what was better than the new touch is gone."""
    exchange, book = a_book()
    for row in ((500, 100., 100.5, 700), (900, 100., 100.5, 200), (300, 99., 100., 400), (100, 100., 101.5, 100)):
        book.quote(a_quote(*row))

        assert touch(exchange) == row


def test_a_trade_and_the_quote_that_shows_it_do_not_count_twice():
    exchange, book = a_book()
    book.quote(a_quote(500, 100., 100.5, 700))

    book.trade(a_trade('Sell', 200, 100.))
    assert touch(exchange) == (300, 100., 100.5, 700)
    book.quote(a_quote(300, 100., 100.5, 700))
    assert touch(exchange) == (300, 100., 100.5, 700)


def test_a_trade_beyond_what_is_held_prints_all_of_it_and_leaves_a_lot():
    exchange, book = a_book()
    book.quote(a_quote(500, 100., 100.5, 700))
    exchange.drain()

    book.trade(a_trade('Sell', 900, 100.))

    assert printed(exchange) == [('Sell', 900, 100.)]
    assert touch(exchange) == (100, 100., 100.5, 700)


def test_a_trade_at_a_worse_price_passes_what_stood_before_it():
    exchange, book = a_book()
    book.quote(a_quote(500, 100., 100.5, 700))
    exchange.drain()

    book.trade(a_trade('Buy', 300, 102.))

    assert printed(exchange) == [('Buy', 300, 102.)]
    assert touch(exchange) == (500, 100., 102., 100)


def test_a_guest_waits_for_those_who_came_before():
    """First come, first served: 500 of the recording, then the guest's 200, then 400 more of the recording."""
    exchange, book = a_book()
    book.quote(a_quote(500, 100., 100.5, 700))
    guest = a_guest(exchange)
    order = place(exchange, guest, 'Buy', 100., 200)
    book.quote(a_quote(900, 100., 100.5, 700))

    book.trade(a_trade('Sell', 500, 100.))
    assert leaves(exchange, guest, order) == 200
    book.trade(a_trade('Sell', 100, 100.))
    assert leaves(exchange, guest, order) == 100
    book.trade(a_trade('Sell', 300, 100.))
    assert leaves(exchange, guest, order) == 0


@pytest.mark.parametrize('queue, before', [('back', 500), ('front', 100), ('proportional', 300)])
def test_the_queue_rule_says_from_where_cancelled_size_goes(queue, before):
    """500 ahead of the guest and 500 behind: 400 are cancelled, and this much is still ahead of him."""
    exchange, book = a_book(queue)
    book.quote(a_quote(500, 100., 100.5, 700))
    guest = a_guest(exchange)
    order = place(exchange, guest, 'Buy', 100., 200)
    book.quote(a_quote(1000, 100., 100.5, 700))

    book.quote(a_quote(600, 100., 100.5, 700))

    assert book.held('Buy', 200) == 600
    book.trade(a_trade('Sell', before, 100.))
    assert leaves(exchange, guest, order) == 200
    book.trade(a_trade('Sell', 100, 100.))
    assert leaves(exchange, guest, order) == 100


def test_a_guest_at_a_better_price_trades_first_at_his_own():
    exchange, book = a_book()
    book.quote(a_quote(500, 100., 102., 700))
    guest = a_guest(exchange)
    order = place(exchange, guest, 'Sell', 101., 200)
    exchange.drain()

    book.trade(a_trade('Buy', 300, 102.))

    assert printed(exchange) == [('Buy', 200, 101.), ('Buy', 100, 102.)]
    assert leaves(exchange, guest, order) == 0
    assert touch(exchange) == (500, 100., 102., 600)


def test_a_recorded_quote_that_crosses_a_guest_takes_him():
    """Trade-through: the recorded seller at 99 meets the guest's bid at 100 with the recorded size, and no more."""
    exchange, book = a_book()
    book.quote(a_quote(500, 100., 100.5, 700))
    guest = a_guest(exchange)
    order = place(exchange, guest, 'Buy', 100., 1000)

    book.quote(a_quote(500, 98., 99., 600))
    assert leaves(exchange, guest, order) == 400
    book.quote(a_quote(400, 98., 99., 600))
    assert leaves(exchange, guest, order) == 400
    book.quote(a_quote(400, 98., 99., 700))
    assert leaves(exchange, guest, order) == 300
    book.quote(a_quote(400, 97., 98., 800))
    assert leaves(exchange, guest, order) == 0
    assert touch(exchange) == (400, 97., 98., 500)


def test_what_a_guest_takes_comes_back_with_the_next_quote():
    exchange, book = a_book()
    book.quote(a_quote(500, 100., 100.5, 700))
    place(exchange, a_guest(exchange), 'Buy', 100.5, 300)
    assert touch(exchange)[3] == 400

    book.quote(a_quote(500, 100., 100.5, 800))

    assert touch(exchange) == (500, 100., 100.5, 800)


def test_a_price_left_behind_keeps_what_was_seen_until_it_is_far():
    exchange, book = a_book()
    book.quote(a_quote(500, 100., 100.5, 700))

    book.quote(a_quote(300, 101., 101.5, 700))
    assert book.held('Buy', 200) == 500 and book.held('Sell', 201) == 0
    book.quote(a_quote(300, 113., 113.5, 700))
    assert book.held('Buy', 200) == 0


@pytest.mark.parametrize('row, complaint', [
    (a_quote(500, 100.2, 101., 700), 'quotes.csv:2: price 100.2 is not a multiple of 0.5'),
    (a_quote(550, 100., 101., 700), 'quotes.csv:2: size 550 is not a multiple of 100'),
])
def test_a_row_off_the_grid_is_reported(row, complaint):
    _, book = a_book()

    with pytest.raises(feed.BadRow, match=complaint):
        book.quote(row)


def test_an_unknown_queue_rule_is_refused():
    with pytest.raises(ValueError, match="'middle' is no queue rule; take one of back, front, proportional"):
        a_book('middle')


sizes = strategies.integers(1, 40).map(lambda lots: lots * 100)
prices = strategies.integers(195, 205)      # ticks
quotes = strategies.tuples(sizes, prices, strategies.integers(1, 3), sizes).map(
    lambda it: a_quote(it[0], it[1] * .5, (it[1] + it[2]) * .5, it[3]))
trades = strategies.tuples(strategies.sampled_from(('Buy', 'Sell')), sizes, prices).map(
    lambda it: a_trade(it[0], it[1], it[2] * .5))


@settings(deadline=None, max_examples=60)
@given(strategies.lists(strategies.one_of(quotes, trades), max_size=30), strategies.sampled_from(feed.QUEUES))
def test_any_recording_shows_its_touch_and_prints_its_trades_when_nobody_else_trades(rows, queue):
    """After a quote the touch is the recorded one; a trade prints one row of its size, at its price."""
    exchange, book = a_book(queue)
    for row in rows:
        exchange.drain()
        if isinstance(row, feed.Quote):
            book.quote(row)
            assert touch(exchange) == (row.bid_size, row.bid, row.ask, row.ask_size)
        else:
            book.trade(row)
            assert printed(exchange) == [(row.side, row.size, row.price)]


guests = strategies.tuples(strategies.sampled_from(('Buy', 'Sell')), prices, sizes)


@settings(deadline=None, max_examples=60)
@given(strategies.lists(strategies.one_of(quotes, trades, guests), max_size=40), strategies.sampled_from(feed.QUEUES))
def test_guests_neither_cross_the_book_nor_change_what_the_recording_holds(rows, queue):
    """With guests: never a crossed book; after a quote the recorded market holds its size, less what it just took."""
    exchange, book = a_book(queue)
    guest = a_guest(exchange)
    for row in rows:
        if isinstance(row, feed.Quote):
            book.quote(row)
            assert book.held('Buy', round(row.bid * 2)) <= row.bid_size
            assert book.held('Sell', round(row.ask * 2)) <= row.ask_size
        elif isinstance(row, feed.Trade):
            book.trade(row)
        else:
            place(exchange, guest, row[0], row[1] * .5, row[2])
        bid, _, ask, _ = exchange.touch('XBTUSD')
        assert bid is None or ask is None or bid < ask
