"""Contract arithmetic against rows that BitMEX published, and its own laws."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_maker import contracts

XBTUSD = {'symbol': 'XBTUSD', 'isInverse': True, 'isQuanto': False, 'multiplier': -100000000, 'lotSize': 100,
          'underlyingToSettleMultiplier': -100000000, 'settlCurrency': 'XBt', 'initMargin': 0.01}
XBT7D = dict(XBTUSD, symbol='XBT7D', lotSize=1)
ETHUSD = {'symbol': 'ETHUSD', 'isInverse': False, 'isQuanto': True, 'multiplier': 100, 'lotSize': 1,
          'quoteToSettleMultiplier': 1279, 'settlCurrency': 'XBt', 'initMargin': 0.01}
XBTUSDT = {'symbol': 'XBTUSDT', 'isInverse': False, 'isQuanto': False, 'multiplier': 1, 'lotSize': 100,
           'underlyingToPositionMultiplier': 1000000, 'quoteToSettleMultiplier': 1000000, 'settlCurrency': 'USDt',
           'initMargin': 0.01}
XBT_USDT = {'symbol': 'XBT_USDT', 'isInverse': False, 'isQuanto': False, 'multiplier': 1, 'lotSize': 1000,
            'underlyingToPositionMultiplier': 100000000, 'quoteToSettleMultiplier': 1000000}
INDEX = {'symbol': '.BXBT', 'isInverse': False, 'isQuanto': False}


@pytest.mark.parametrize('row, expected', [(XBTUSD, 'inverse'), (ETHUSD, 'quanto'), (XBTUSDT, 'linear'),
                                           (XBT_USDT, 'spot'), (INDEX, 'index')])
def test_kind_follows_the_flags_of_the_row(row, expected):
    assert contracts.kind(row) == expected


@pytest.mark.parametrize('row, quantity, price, expected', [
    (XBTUSD, 900, 32180.5, 2796723),                    # grossValue of a trade, 2021-07-22
    (XBTUSD, 100, 32180.5, 310747),
    (XBTUSD, 182340800, 78175.02, 233246704544),        # openValue, 2026-05-03
    (XBTUSD, 1438000, 78173.24, 1839503980),            # markValue of a short, 2026-05-03
    (ETHUSD, 106520, 2302.23, 24523353960),             # openValue
    (XBTUSDT, 4800, 97343.4, 467248320),
    (XBT_USDT, 10000, 101709, 10170900),                # 0.0001 XBT for 10.1709 USDT
    (dict(XBTUSD, lotSize=1), 500, 10330.5, 4840000),   # single contracts were rounded before 2021-06-08
])
def test_values_are_those_that_bitmex_published(row, quantity, price, expected):
    assert contracts.value(row, quantity, price) == expected


def test_signs_follow_the_wire():
    assert contracts.signed_value(XBTUSD, 100, 50000) == -200000
    assert contracts.signed_value(XBTUSD, -100, 50000) == 200000
    assert contracts.signed_value(ETHUSD, 1000, 2300) == 230000000
    assert contracts.signed_value(XBTUSDT, -100000, 78000) == -7800000000


@pytest.mark.parametrize('row, quantity, entry, leave, expected', [
    (XBTUSD, 10000, 50000, 55000, 1818200),
    (ETHUSD, 1000, 2300, 2400, 10000000),
    (XBTUSDT, 100000, 78000, 79000, 100000000),
    (XBTUSDT, -100000, 78000, 79000, -100000000),
])
def test_profit_matches_the_worked_examples(row, quantity, entry, leave, expected):
    assert contracts.profit(row, quantity, entry, leave) == expected


def test_average_price_of_a_recorded_short():
    assert contracts.average_price(XBTUSD, -1438000, 1951105699) == 73701.7438


def test_average_price_of_two_sales_on_a_contract_of_lot_one():
    sold = contracts.value(XBT7D, 1, 389.75) + contracts.value(XBT7D, 1, 389.88)
    assert round(contracts.average_price(XBT7D, -2, sold), 2) == 389.81


def test_average_price_of_nothing_is_zero():
    assert contracts.average_price(XBTUSD, 0, 0) == 0.0


def test_delta_rules():
    assert contracts.delta(XBT7D, -6910, 389.25) == pytest.approx(-6910 / 389.25)
    assert contracts.delta(ETHUSD, 1279, 2000) == pytest.approx(1279 * 100 / 1279 * 2000)
    assert contracts.delta(XBTUSDT, 1000000, 78000) == pytest.approx(1.0)


def test_notionals_of_a_trade():
    home, foreign = contracts.home_foreign(XBTUSD, 900, 32180.5)
    assert (home, foreign) == (0.02796723, 900.0)
    assert contracts.home_foreign(ETHUSD, 1279, 2000.0) == (100.0, 200000.0)
    assert contracts.home_foreign(XBTUSDT, 4800, 97343.4) == (0.0048, 467.24832)


def test_cost_and_margin_are_unrounded():
    assert contracts.cost(XBTUSD, -100, 30000) == pytest.approx(333333.3333)
    assert contracts.margin(XBTUSD, 100, 30000) == pytest.approx(3333.3333)
    assert contracts.cost(ETHUSD, 10, 2000) == 2000000


@given(row=st.sampled_from([XBTUSD, XBT7D, ETHUSD, XBTUSDT]), lots=st.integers(1, 10000), ticks=st.integers(1, 10 ** 7))
def test_value_is_proportional_to_lots(row, lots, ticks):
    price = ticks / 10.0
    assert contracts.value(row, lots * row['lotSize'], price) == lots * contracts.value(row, row['lotSize'], price)


@given(row=st.sampled_from([XBTUSD, XBT7D, ETHUSD, XBTUSDT]), lots=st.integers(1, 1000),
       entry=st.integers(1000, 10 ** 6), leave=st.integers(1000, 10 ** 6))
def test_what_the_long_earns_the_short_loses(row, lots, entry, leave):
    quantity = lots * row['lotSize']
    assert contracts.profit(row, quantity, entry, leave) == -contracts.profit(row, -quantity, entry, leave)


@given(quantity=st.integers(1, 10 ** 6), ticks=st.integers(10 ** 4, 10 ** 6))
def test_odd_lots_are_never_lost(quantity, ticks):
    price = ticks / 10.0
    lots, odd = divmod(quantity, 100)
    expected = lots * contracts.value(XBTUSD, 100, price) + (contracts.value(XBTUSD, odd, price) if odd else 0)
    assert contracts.value(XBTUSD, quantity, price) == expected
