"""Answers from the live tables: touch, ticker, position, funds, orders, book."""
import pytest

from market_maker.utils.errors import MarketEmptyError, SettingsError
from market_maker.ws import views
from market_maker.ws.tables import Tables


def instrument(symbol='XBTUSD', **fields):
    return dict({'symbol': symbol, 'tickSize': 0.5, 'bidPrice': 100.0, 'askPrice': 101.0, 'lastPrice': 100.5,
                 'markPrice': 100.7, 'timestamp': '2026-01-01T00:00:05.000Z'}, **fields)


def quote(timestamp, bid, ask, symbol='XBTUSD'):
    return {'symbol': symbol, 'timestamp': timestamp, 'bidPrice': bid, 'askPrice': ask}


def with_rows(**rows):
    keys = {'instrument': ['symbol'], 'position': ['account', 'symbol'], 'margin': ['account', 'currency'],
            'order': ['orderID'], 'orderBookL2': ['symbol', 'id', 'side']}
    tables = Tables()
    for name, data in rows.items():
        tables.apply({'table': name, 'action': 'partial', 'keys': keys.get(name, []), 'data': data})
    return tables


def touched(rows=(), quotes=()):
    touch = views.Touch()
    touch.refreshed(rows)
    touch.quoted(quotes)
    return touch


@pytest.mark.parametrize('stamp, wanted', [
    ('2026-01-01T00:00:04.999Z', (100.0, 101.0)), ('2026-01-01T00:00:05.000Z', (99.0, 99.5)),
    ('2026-01-01T00:00:06.000Z', (99.0, 99.5)), (None, (100.0, 101.0))])
def test_the_newer_source_tells_the_touch(stamp, wanted):
    """Quotes win over the instrument's snapshot unless that is newer by the exchange's own clock."""
    row = instrument()

    assert touched([row], [quote(stamp, 99.0, 99.5)]).prices(row) == wanted


def test_a_newer_row_without_prices_does_not_count():
    """A mark price of this moment does not make the row's older bid the truth."""
    row = instrument()
    touch = touched([row], [quote('2026-01-01T00:00:06.000Z', 99.0, 99.5)])
    row['timestamp'] = '2026-01-01T00:00:07.000Z'
    touch.refreshed([{'symbol': 'XBTUSD', 'markPrice': 1.0, 'timestamp': '2026-01-01T00:00:07.000Z'}])

    assert touch.prices(row) == (99.0, 99.5)
    touch.refreshed([{'symbol': 'XBTUSD', 'bidPrice': 100.0, 'timestamp': '2026-01-01T00:00:07.000Z'}])
    assert touch.prices(row) == (100.0, 101.0)


@pytest.mark.parametrize('fields, wanted', [
    ({}, {'last': 100.5, 'buy': 100.0, 'sell': 101.0, 'mid': 100.5}),
    ({'askPrice': 101.5}, {'last': 100.5, 'buy': 100.0, 'sell': 101.5, 'mid': 101.0}),  # 100.75 to the even tick
    ({'bidPrice': None}, {'last': 100.5, 'buy': 100.5, 'sell': 101.0, 'mid': 101.0}),
    ({'bidPrice': None, 'askPrice': None}, {'last': 100.5, 'buy': 100.5, 'sell': 100.5, 'mid': 100.5}),
    ({'lastPrice': None}, {'last': 100.5, 'buy': 100.0, 'sell': 101.0, 'mid': 100.5}),  # the mark, on the tick
    ({'bidPrice': 100, 'askPrice': 100.4, 'lastPrice': 100.3},
     {'last': 100.5, 'buy': 100.0, 'sell': 100.5, 'mid': 100.0}),
])
def test_ticker(fields, wanted):
    """Floats on the tick; the last price stands in for an empty side."""
    tables = with_rows(instrument=[instrument(**fields)])

    ticker = views.get_ticker(tables, touched(), 'XBTUSD')

    assert ticker == wanted and all(type(price) is float for price in ticker.values())
    assert views.get_ticker(tables, touched(), 'XBTUSD') is not ticker


def test_ticker_of_an_index_is_its_mark():
    """An index has neither bids nor asks."""
    tables = with_rows(instrument=[instrument('.BXBT', tickSize=0.01, markPrice=7.123, bidPrice=None, askPrice=None)])

    assert views.get_ticker(tables, touched(), '.BXBT') == {'last': 7.12, 'buy': 7.12, 'sell': 7.12, 'mid': 7.12}


def test_no_price_at_all():
    """A book without orders, trades and mark is an empty market, not a price of zero."""
    tables = with_rows(instrument=[instrument(bidPrice=None, askPrice=None, lastPrice=None, markPrice=None)])

    with pytest.raises(MarketEmptyError, match='XBTUSD'):
        views.get_ticker(tables, touched(), 'XBTUSD')


@pytest.mark.parametrize('tick, digits', [(0.5, 1), (0.01, 2), (1e-06, 6), (1, 0), (5.0, 0), (None, 0)])
def test_tick_log(tick, digits):
    """tickLog is the number of decimals of the tick, kept on the live row and set right when the tick changes."""
    tables = with_rows(instrument=[instrument(tickSize=0.25)])
    row = views.get_instrument(tables, 'XBTUSD')
    assert row['tickLog'] == 2

    tables.apply({'table': 'instrument', 'action': 'update', 'data': [{'symbol': 'XBTUSD', 'tickSize': tick}]})

    assert views.get_instrument(tables, 'XBTUSD') is row and row['tickLog'] == digits


def test_unknown_symbols():
    """The nearest symbol is named, when one is near."""
    tables = with_rows(instrument=[instrument(), instrument('ETHUSD')])

    with pytest.raises(SettingsError, match='BXTUSD; did you mean XBTUSD'):
        views.get_instrument(tables, 'BXTUSD')
    with pytest.raises(SettingsError, match='QQQ: check SYMBOL'):
        views.get_instrument(tables, 'QQQ')


def test_positions():
    """The live row, or zeros in every field that strategies read unasked."""
    tables = with_rows(position=[{'account': 1, 'symbol': 'XBTUSD', 'currentQty': 5}])

    assert views.position(tables, 'XBTUSD') is tables.rows('position')[0]
    none = views.position(tables, 'ETHUSD')
    assert none['symbol'] == 'ETHUSD'
    assert all(none[name] == 0 for name in ('currentQty', 'avgCostPrice', 'avgEntryPrice', 'openOrderBuyQty',
                                            'openOrderSellQty', 'liquidationPrice', 'marginCallPrice', 'markPrice',
                                            'markValue', 'maintMargin', 'unrealisedGrossPnl', 'realisedPnl'))


def test_funds():
    """Satoshi unless another currency is asked for."""
    tables = with_rows(margin=[{'account': 1, 'currency': 'USDt', 'marginBalance': 2},
                               {'account': 1, 'currency': 'XBt', 'marginBalance': 1}])

    assert views.funds(tables)['marginBalance'] == 1
    assert views.funds(tables, 'USDt')['marginBalance'] == 2
    assert views.funds(tables, 'ETH')['marginBalance'] == 2
    with pytest.raises(KeyError):
        views.funds(Tables())


def test_open_orders():
    """By prefix; orders without a name belong to nobody's prefix but the empty one."""
    tables = with_rows(order=[{'orderID': 'a', 'clOrdID': 'mm_1', 'leavesQty': 1},
                              {'orderID': 'b', 'clOrdID': None, 'leavesQty': 1}, {'orderID': 'c', 'leavesQty': 2},
                              {'orderID': 'd', 'clOrdID': 'mm_2', 'leavesQty': None}])

    assert [row['orderID'] for row in views.open_orders(tables, 'mm_')] == ['a']
    assert [row['orderID'] for row in views.open_orders(tables)] == ['a', 'b', 'c']
    assert views.open_orders(tables, 'mm_')[0] is tables.row('order', 'a')


def test_depth():
    """Highest price first, one symbol only, nothing without a book."""
    level = {'side': 'Buy', 'size': 1}
    tables = with_rows(orderBookL2=[dict(level, symbol='A', id=1, price=1.0), dict(level, symbol='A', id=2, price=3.0),
                                    dict(level, symbol='B', id=3, price=2.0)])

    assert [row['price'] for row in views.market_depth(tables, 'A')] == [3.0, 1.0]
    assert views.market_depth(tables, 'C') == []
